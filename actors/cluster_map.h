// What every node knows of the cluster: which databases exist and where their
// shards are. Immutable once published; a newer version replaces it whole.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "actors/api.h"

namespace jade {

struct ShardPlacement {
  uint64_t group = 0;           // Raft group; unique in the cluster, never used again
  std::vector<uint64_t> nodes;  // that hold a replica; the first leads if it can
};

struct DatabaseEntry {
  DatabaseSpec spec;
  std::vector<ShardPlacement> shards;  // an id belongs to shards[hash(id) % size]
};

struct NodeEntry {
  uint64_t id = 0;  // unique for ever: drawn by the node itself
  std::string name;
  std::string address;      // HOST:PORT of its cluster port; empty: a cluster of one
  std::string api_address;  // for display
};

struct ClusterMap {
  uint64_t version = 0;  // index of the metadata log entry that made it
  std::map<uint64_t, NodeEntry> nodes;
  std::map<std::string, DatabaseEntry> databases;

  const DatabaseEntry* find(const std::string& name) const {
    auto found = databases.find(name);
    return found == databases.end() ? nullptr : &found->second;
  }
};

// The placement of a group, or null.
inline const ShardPlacement* find_placement(const ClusterMap& map, uint64_t group) {
  for (const auto& [name, entry] : map.databases) {
    for (const ShardPlacement& placement : entry.shards) {
      if (placement.group == group) return &placement;
    }
  }
  return nullptr;
}

using ClusterMapPtr = std::shared_ptr<const ClusterMap>;

// By the key form of an id.
inline size_t shard_of(std::string_view id_key, const DatabaseEntry& database) {
  return VectorId::hash_of_key(id_key) % database.shards.size();
}

}  // namespace jade
