// What every node knows of the cluster: which databases exist and where their
// shards are. A newer version replaces it whole.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "actors/api.h"
#include "storage/record.h"
#include "storage/row_key.h"

namespace jade {

constexpr uint64_t metadata_group = 1;  // those of shards follow

using ShardPlacement = ShardRecord;

enum class MoveReason : uint8_t { none, drain, replace, replicas, balance };

struct DatabaseEntry {
  DatabaseSpec spec;
  std::vector<ShardPlacement> shards;  // by hash_begin, the first of which is 0
  // With sharding by vector: the router in force, and one that is on its way. Null: none.
  // The centre of shards[i] is their i-th.
  std::shared_ptr<const RouterRecord> router = nullptr;
  std::shared_ptr<const RouterRecord> next_router = nullptr;

  bool by_vector() const { return spec.sharding == Sharding::vector; }
  // Every shard refuses by now what older routers say where to search.
  bool is_moving() const { return next_router && next_router->announced.size() == shards.size(); }
  // The one that says where vectors go; null: none yet, an id's home has its vector too.
  const RouterRecord* router_of_writes() const {
    return is_moving() ? next_router.get() : router.get();
  }
  // The one that says where to search; null: everywhere.
  const RouterRecord* router_of_searches() const { return next_router ? nullptr : router.get(); }
};

using NodeEntry = NodeRecord;

// What a node is there for.
enum class NodeRole : uint8_t {
  master = 1,   // may vote on the catalog, and thus be the master
  worker = 2,   // holds replicas
  gateway = 4,  // answers clients
};
constexpr uint8_t all_roles = 7;

inline std::optional<NodeRole> parse_role(std::string_view name) {
  if (name == "master") return NodeRole::master;
  if (name == "worker") return NodeRole::worker;
  if (name == "gateway") return NodeRole::gateway;
  return std::nullopt;
}

inline bool has_role(const NodeEntry& node, NodeRole role) {
  return node.roles == 0 || (node.roles & static_cast<uint8_t>(role)) != 0;
}

struct ClusterMap {
  uint64_t version = 0;  // index of the metadata log entry that made it
  std::map<uint64_t, NodeEntry> nodes;
  std::map<std::string, DatabaseEntry> databases;
  // Nodes that were members and never will be again. That `nodes` lacks one means nothing: it may
  // be on its way in, or this map be behind.
  std::set<uint64_t> removed = {};
  uint64_t next_group = 2;  // of the next shard; 1 is the metadata group itself

  const DatabaseEntry* find(const std::string& name) const {
    auto found = databases.find(name);
    return found == databases.end() ? nullptr : &found->second;
  }
};

// Whether anybody who is to stay may be master.
inline bool any_master(const ClusterMap& map) {
  return std::any_of(map.nodes.begin(), map.nodes.end(), [](const auto& node) {
    return !node.second.draining && has_role(node.second, NodeRole::master);
  });
}

// Those who hold the shard once its move is over.
inline std::vector<uint64_t> target_of(const ShardPlacement& placement) {
  std::vector<uint64_t> out;
  for (uint64_t node : placement.nodes) {
    const auto& leaving = placement.leaving;
    if (std::find(leaving.begin(), leaving.end(), node) == leaving.end()) out.push_back(node);
  }
  return out;
}

// The others who hold the shard, in the order in which `node` asks them: from those after it
// on, so that a question which several of them pass on, as they have nothing yet, goes round
// until it comes to one who has. Those who are still to get it come last.
inline std::vector<uint64_t> others_of(const ShardPlacement& placement, uint64_t node) {
  std::vector<uint64_t> out = placement.nodes;
  auto own = std::find(out.begin(), out.end(), node);
  if (own != out.end()) {
    std::rotate(out.begin(), own, out.end());
    out.erase(out.begin());
  }
  std::stable_partition(out.begin(), out.end(), [&](uint64_t other) {
    const auto& joining = placement.joining;
    return std::find(joining.begin(), joining.end(), other) == joining.end();
  });
  return out;
}

// The shard of a database that is this group, or null.
inline const ShardPlacement* find_shard(const DatabaseEntry& database, uint64_t group) {
  for (const ShardPlacement& placement : database.shards) {
    if (placement.group == group) return &placement;
  }
  return nullptr;
}

// A map as actors hand it to each other: it does not change, and tells of thousands of shards which
// is which without looking at them all.
class PublishedMap : public ClusterMap {
 public:
  explicit PublishedMap(ClusterMap map) : ClusterMap(std::move(map)) {
    for (const auto& [name, entry] : databases) {
      for (const ShardPlacement& placement : entry.shards) {
        by_group_.emplace(placement.group, std::pair(&entry, &placement));
      }
    }
  }
  PublishedMap(const PublishedMap&) = delete;
  PublishedMap& operator=(const PublishedMap&) = delete;

  // The database that a Raft group is a shard of, or null.
  const DatabaseEntry* owner_of(uint64_t group) const { return find_group(group).first; }
  // Where it is, or null.
  const ShardPlacement* placement_of(uint64_t group) const { return find_group(group).second; }

 private:
  using Shard = std::pair<const DatabaseEntry*, const ShardPlacement*>;
  Shard find_group(uint64_t group) const {
    auto found = by_group_.find(group);
    return found == by_group_.end() ? Shard() : found->second;
  }

  std::unordered_map<uint64_t, Shard> by_group_;
};

using ClusterMapPtr = std::shared_ptr<const PublishedMap>;

inline ClusterMapPtr publish(ClusterMap map) {
  return std::make_shared<const PublishedMap>(std::move(map));
}

// The shard that an id belongs to, by its key form.
inline size_t shard_of(std::string_view id_key, const DatabaseEntry& database) {
  auto after = std::upper_bound(
      database.shards.begin(), database.shards.end(), hash_of_row_key(id_key),
      [](uint64_t hash, const ShardPlacement& shard) { return hash < shard.hash_begin; });
  return static_cast<size_t>(after - database.shards.begin()) - 1;
}

// Where the hashes of a shard end; 0: with the greatest there is.
inline uint64_t hash_end(const DatabaseEntry& database, size_t shard) {
  return shard + 1 < database.shards.size() ? database.shards[shard + 1].hash_begin : 0;
}

// Whether a shard whose hashes end there has this one.
inline bool is_before(uint64_t hash, uint64_t hash_end) { return hash_end == 0 || hash < hash_end; }

}  // namespace jade
