// The way to a cluster that answers as a test says.
#pragma once

#include <functional>

#include "actors/errors.h"
#include "actors/messages.h"
#include "actors/scheduler.h"

namespace jade::test {

struct ScriptedConfig : caf::actor_system_config {
  // `real`: with threads, as in a node; else the scheduler is the test's.
  explicit ScriptedConfig(bool real = true) {
    jade::add_message_types(*this);
    if (real) use_node_scheduler(*this);
  }
};

// Nothing: never answered.
struct PeerScript {
  std::function<std::optional<Result<ShardWritten>>(const ShardWrite&)> write;
  std::function<std::optional<Result<ShardHits>>(const ShardSearch&)> search;
  std::function<std::optional<Result<ShardWritten>>(const ShardDeleteMatching&)> delete_matching =
      [](const ShardDeleteMatching&) { return internal_error("the test has no answer to this"); };
  std::function<std::optional<Result<ShardVectors>>(const ShardGet&)> get = [](const ShardGet&) {
    return internal_error("the test has no answer to this");
  };
  std::function<std::optional<Result<ShardVectors>>(const ShardList&)> list = [](const ShardList&) {
    return internal_error("the test has no answer to this");
  };
};

template <class Reply, class Request>
caf::result<Reply> follow(replica_actor::pointer self,
                          const std::function<std::optional<Result<Reply>>(const Request&)>& script,
                          const Request& request) {
  auto promise = self->make_response_promise<Reply>();
  if (auto answer = script(request)) {
    answer->ok() ? promise.deliver(**answer) : promise.deliver(to_error(answer->status()));
  }
  return promise;
}

inline replica_actor::behavior_type scripted_peer(replica_actor::pointer self, PeerScript script) {
  auto unasked = [] { return to_error(internal_error("the test has no answer to this")); };
  return {
      [=](const ShardWrite& m) { return follow(self, script.write, m); },
      [=](const ShardSearch& m) { return follow(self, script.search, m); },
      [=](const ShardGet& m) { return follow(self, script.get, m); },
      [=](const ShardList& m) { return follow(self, script.list, m); },
      [=](const ShardRecall&) -> caf::result<ShardRecallCount> { return unasked(); },
      [=](const ShardSample&) -> caf::result<ShardVectors> { return unasked(); },
      [=](const ShardDeleteMatching& m) { return follow(self, script.delete_matching, m); },
      [=](const ShardDescribe&) -> caf::result<ShardInfo> { return unasked(); },
      [=](const FetchState&) -> caf::result<StateChunk> { return unasked(); },
      [](const RaftWire&) {},
  };
}

// Node 1 of a cluster in which database "a" has one shard, elsewhere.
inline RoutesChanged routes_to(const replica_actor& peer, uint64_t group, uint32_t dimension,
                               std::vector<uint64_t> nodes) {
  auto map = std::make_shared<ClusterMap>();
  DatabaseEntry entry;
  entry.spec.name = "a";
  entry.spec.dimension = dimension;
  entry.spec.metric = Metric::l2;
  entry.shards.resize(1);
  entry.shards[0].group = group;
  entry.shards[0].nodes = std::move(nodes);
  map->databases["a"] = entry;
  auto none = std::make_shared<std::map<uint64_t, shard_actor>>();
  return {1, peer, publish(*map), none, none, std::make_shared<std::map<uint64_t, Status>>()};
}

}  // namespace jade::test
