// The catalog: the pure state machine of the metadata group. It holds which
// databases exist and where their shards are. No clock, no randomness, no I/O:
// the same commands in the same order give the same catalog on every master.
#pragma once

#include <string>
#include <string_view>

#include "actors/cluster_map.h"

namespace jade {

class Catalog {
 public:
  Catalog() = default;

  // Applies one encoded command (storage/record.h). `index` becomes the map's
  // version when it changed something. A refusal (already_exists, not_found)
  // changes nothing and is an outcome like any other; corruption means that the
  // command cannot be read.
  Status apply(uint64_t index, std::string_view command);

  // Shares nothing with the catalog: a copy for publishing.
  ClusterMapPtr map() const { return std::make_shared<const ClusterMap>(map_); }
  uint64_t version() const { return map_.version; }

  // The whole state as bytes, and back.
  std::string encode() const;
  Status restore(std::string_view state);

 private:
  Status create(uint64_t index, const DatabaseEntry& entry);
  Status drop(uint64_t index, const std::string& name);
  Status join(uint64_t index, const NodeEntry& node);

  ClusterMap map_;
  uint64_t next_group_ = 2;  // 1 is the metadata group itself
};

constexpr uint64_t metadata_group = 1;

// What may be asked for, whatever exists: names, ranges, combinations. Says what
// would be right.
Status validate(const DatabaseSpec& spec);

// Where the replicas of a new database go: on different nodes, those with the
// fewest first. failed_precondition: there are not enough nodes.
Result<std::vector<ShardPlacement>> place(const DatabaseSpec& spec, const ClusterMap& map);

// The command that creates `spec` with its shards where `shards` says; the catalog
// numbers their groups.
std::string create_command(const DatabaseSpec& spec, const std::vector<ShardPlacement>& shards);
// The same command with the placement that `map` suggests, where it creates.
Result<std::string> complete_command(const std::string& command, const ClusterMap& map);
// A node that is new, or that has another name or address than before.
std::string join_command(const NodeEntry& node);
std::string drop_command(const std::string& name);

}  // namespace jade
