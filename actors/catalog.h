// The catalog: the pure state machine of the metadata group. It holds which
// databases exist and where their shards are. No clock, no randomness, no I/O:
// the same commands in the same order give the same catalog on every master.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "actors/cluster_map.h"
#include "storage/log_store.h"

namespace jade {

class Catalog {
 public:
  Catalog() = default;

  // Applies one encoded command (storage/record.h). `index` becomes the map's
  // version when it changed something. A refusal (already_exists, not_found)
  // changes nothing and is an outcome like any other; corruption means that the
  // command cannot be read.
  Status apply(uint64_t index, std::string_view command);

  const ClusterMap& state() const { return map_; }
  // Shares nothing with the catalog: a copy for publishing.
  ClusterMapPtr map() const { return publish(map_); }
  uint64_t version() const { return map_.version; }

  // The whole state as bytes, and back.
  std::string encode() const;
  Status restore(std::string_view state);

 private:
  // One for each kind of command.
  Status carry_out(const DatabaseRecord& create);
  Status carry_out(const DropRecord& drop);
  Status carry_out(const NodeRecord& join);
  Status carry_out(const DrainRecord& drain);
  Status carry_out(const RemoveRecord& remove);
  Status carry_out(const ReplicasRecord& replicas);
  Status carry_out(const ReindexRecord& reindex);
  Status carry_out(const ShardRecord& place);
  Status carry_out(const FoundRecord& found);
  Status carry_out(const SplitRecord& split);
  Status carry_out(const RouteRecord& route);
  Status carry_out(const LivesRecord& live);
  Status begin_split(DatabaseEntry& entry, size_t shard);
  void cut_over(DatabaseEntry& entry, size_t shard);
  ShardPlacement* placement_of(uint64_t group);
  // Null: there is no such shard.
  std::pair<DatabaseEntry*, size_t> shard_of(uint64_t group);

  ClusterMap map_;
  uint64_t index_ = 0;  // of the command at hand
};

// 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' and '-', the first a letter or digit.
bool is_name(const std::string& name);

// What may be asked for, whatever exists: names, ranges, combinations. Says what
// would be right.
Status validate(const DatabaseSpec& spec);

// The command that creates `spec` with its shards where `shards` says; the catalog
// numbers their groups.
std::string create_command(const DatabaseSpec& spec, const std::vector<ShardPlacement>& shards);
// A node that is new, or that has another name, address or role than before.
std::string join_command(const NodeEntry& node);
std::string drop_command(const std::string& name);
std::string reindex_command(const std::string& name, const IndexChange& change);

// Why a node must not take part: it has an older copy of its data directory.
Status outlived(const std::string& node_name);

// Why a node must not take part: it was removed, which is for ever.
Status removed_from(const std::string& cluster_id, const std::string& node_name,
                    const std::string& data_dir);

// The nodes as a member's own log has them, also by entries of which it does not know yet whether
// they are committed: whoever has stored a life of one must not forget it.
Result<std::map<uint64_t, NodeEntry>> nodes_in(const LogStore::Loaded& metadata_log);
// Their lives, of those that have one.
std::map<uint64_t, Life> lives_of(const std::map<uint64_t, NodeEntry>& nodes);

// What `create_command` was made of; nothing for any other command.
std::optional<DatabaseSpec> created_by(const CatalogCommand& command);

}  // namespace jade
