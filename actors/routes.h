// Finding a database and its shards in the latest map.
#pragma once

#include <algorithm>

#include "actors/messages.h"

namespace jade {

struct Routes {
  ClusterMapPtr map;  // null until the catalog has been read
  std::shared_ptr<const std::map<uint64_t, shard_actor>> shards =
      std::make_shared<const std::map<uint64_t, shard_actor>>();
  std::shared_ptr<const std::map<uint64_t, Status>> failures =
      std::make_shared<const std::map<uint64_t, Status>>();
  replica_actor peer;  // for shards that are elsewhere
  uint64_t node = 0;   // this one

  void change(RoutesChanged& changed) {
    map = std::move(changed.map);
    shards = std::move(changed.shards);
    failures = std::move(changed.failures);
    peer = std::move(changed.peer);
    node = changed.node;
  }

  Status known() const {
    return map ? Status() : unavailable("the catalog is still being read; try again");
  }

  Result<const DatabaseEntry*> database(const std::string& name) const {
    JADE_RETURN_IF_ERROR(known());
    if (const DatabaseEntry* entry = map->find(name)) return entry;
    return not_found("database \"" + name + "\" does not exist");
  }

  // A replica of this node where there is one, otherwise the way to another's.
  Result<replica_actor> shard(const ShardPlacement& placement) const {
    auto found = shards->find(placement.group);
    if (found != shards->end() && found->second) return replica_actor(found->second);
    if (std::any_of(placement.nodes.begin(), placement.nodes.end(),
                    [this](uint64_t other) { return other != node; })) {
      return peer;
    }
    if (auto failed = failures->find(placement.group); failed != failures->end()) {
      return failed->second.with_context("shard " + std::to_string(placement.group));
    }
    return unavailable("shard " + std::to_string(placement.group) + " is starting; try again");
  }

  // Handles of all shards of a database, in their order.
  Result<std::vector<replica_actor>> all(const DatabaseEntry& database) const {
    std::vector<replica_actor> out;
    for (const ShardPlacement& placement : database.shards) {
      auto handle = shard(placement);
      if (!handle.ok()) return handle.status();
      out.push_back(*handle);
    }
    return out;
  }
};

}  // namespace jade
