// Finding a database and its shards in the latest map.
#pragma once

#include <algorithm>

#include "actors/messages.h"

namespace jade {

inline Status no_database(const std::string& name) {
  return not_found("database \"" + name + "\" does not exist");
}

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

  // Where there is none, and the gateway has not said so, it has been dropped since.
  Result<const DatabaseEntry*> database(const std::string& name) const {
    JADE_RETURN_IF_ERROR(known());
    if (const DatabaseEntry* entry = map->find(name)) return entry;
    return no_database(name);
  }

  // A replica of this node where one serves, otherwise the way to another's, where a
  // request can also wait for one that is starting.
  Result<replica_actor> shard(const ShardPlacement& placement) const {
    auto found = shards->find(placement.group);
    if (found != shards->end() && found->second) return replica_actor(found->second);
    bool elsewhere = std::any_of(placement.nodes.begin(), placement.nodes.end(),
                                 [this](uint64_t other) { return other != node; });
    auto failed = failures->find(placement.group);
    if (elsewhere || failed == failures->end()) return peer;
    return failed->second.with_context("shard " + std::to_string(placement.group));
  }
};

}  // namespace jade
