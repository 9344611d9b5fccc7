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

  ClusterMap map_;
  uint64_t next_group_ = 2;  // 1 is the metadata group itself
};

constexpr uint64_t metadata_group = 1;

// What may be asked for, whatever exists: names, ranges, combinations. Says what
// would be right.
Status validate(const DatabaseSpec& spec);

// The command that creates `spec` with its shards' replicas on `nodes`.
std::string create_command(const DatabaseSpec& spec, const std::vector<uint64_t>& nodes);
std::string drop_command(const std::string& name);

}  // namespace jade
