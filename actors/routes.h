// Finding a database and its shards in the latest map.
#pragma once

#include "actors/messages.h"

namespace jade {

struct Routes {
  ClusterMapPtr map;  // null until the catalog has been read
  std::shared_ptr<const std::map<uint64_t, shard_actor>> shards =
      std::make_shared<const std::map<uint64_t, shard_actor>>();
  std::shared_ptr<const std::map<uint64_t, Status>> failures =
      std::make_shared<const std::map<uint64_t, Status>>();

  void change(RoutesChanged& changed) {
    map = std::move(changed.map);
    shards = std::move(changed.shards);
    failures = std::move(changed.failures);
  }

  Status known() const {
    return map ? Status() : unavailable("the catalog is still being read; try again");
  }

  Result<const DatabaseEntry*> database(const std::string& name) const {
    JADE_RETURN_IF_ERROR(known());
    if (const DatabaseEntry* entry = map->find(name)) return entry;
    return not_found("database \"" + name + "\" does not exist");
  }

  Result<shard_actor> shard(uint64_t group) const {
    auto found = shards->find(group);
    if (found != shards->end() && found->second) return found->second;
    if (auto failed = failures->find(group); failed != failures->end()) {
      return failed->second.with_context("shard " + std::to_string(group));
    }
    return unavailable("shard " + std::to_string(group) + " is starting; try again");
  }

  // Handles of all shards of a database, in their order.
  Result<std::vector<shard_actor>> all(const DatabaseEntry& database) const {
    std::vector<shard_actor> out;
    for (const ShardPlacement& placement : database.shards) {
      auto handle = shard(placement.group);
      if (!handle.ok()) return handle.status();
      out.push_back(*handle);
    }
    return out;
  }
};

}  // namespace jade
