#include "actors/query.h"

#include <doctest/doctest.h>

#include "actors/errors.h"

namespace jade {
namespace {

struct Config : caf::actor_system_config {
  Config() { jade::add_message_types(*this); }
};

// The way to a cluster of which only node 3 answers searches, with its number as an id.
replica_actor::behavior_type slow_cluster(replica_actor::pointer self,
                                          std::shared_ptr<std::vector<uint64_t>> asked) {
  return {
      [](const ShardWrite&) -> caf::result<ShardWritten> { return to_error(unavailable("fake")); },
      [self, asked](const ShardSearch& search) -> caf::result<ShardHits> {
        asked->push_back(search.route.node);
        auto promise = self->make_response_promise<ShardHits>();
        if (search.route.node != 3) return promise;
        ShardHits hits;
        hits.queries.push_back({ShardHit{VectorId(search.route.node).key(), 0.5f, "", ""}});
        promise.deliver(std::move(hits));
        return promise;
      },
      [](const ShardGet&) -> caf::result<ShardVectors> { return to_error(unavailable("fake")); },
      [](const ShardList&) -> caf::result<ShardVectors> { return to_error(unavailable("fake")); },
      [](const ShardDeleteMatching&) -> caf::result<ShardWritten> {
        return to_error(unavailable("fake"));
      },
      [](const ShardDescribe&) -> caf::result<ShardInfo> { return to_error(unavailable("fake")); },
      [](const FetchState&) -> caf::result<StateChunk> { return to_error(unavailable("fake")); },
      [](const RaftWire&) {},
  };
}

RoutesChanged routes_to(const replica_actor& peer) {
  auto map = std::make_shared<ClusterMap>();
  DatabaseEntry entry;
  entry.spec.name = "a";
  entry.spec.dimension = 1;
  entry.spec.metric = Metric::l2;
  entry.shards.resize(1);
  entry.shards[0].group = 7;
  entry.shards[0].nodes = {2, 3};
  map->databases["a"] = entry;
  auto none = std::make_shared<std::map<uint64_t, shard_actor>>();
  return {1, peer, map, none, none, std::make_shared<std::map<uint64_t, Status>>()};
}

}  // namespace

TEST_CASE("a search that any replica may answer is asked of a second one when the first is slow") {
  Config config;
  caf::actor_system system(config);
  auto asked = std::make_shared<std::vector<uint64_t>>();
  auto peer = system.spawn(slow_cluster, asked);
  QueryOptions options;
  options.read_timeout = std::chrono::seconds(2);
  auto actor = system.spawn(query, options);
  caf::scoped_actor self(system);
  self->send(actor, routes_to(peer));
  SearchRequest search;
  search.database = "a";
  search.vector = {1};
  auto ask = [&](const SearchRequest& request) {
    Result<SearchReply> out = unavailable("");
    self->request(actor, caf::infinite, request)
        .receive([&](SearchReply& reply) { out = std::move(reply); },
                 [&](const caf::error& error) { out = to_status(error); });
    return out;
  };
  search.consistency = Consistency::eventual;
  auto found = ask(search);
  REQUIRE_MESSAGE(found.ok(), found.status().to_string());
  REQUIRE(found->results.size() == 1);
  CHECK(found->results[0].id == VectorId(uint64_t{3}));
  // Whoever has applied a write may answer who has its token.
  search.consistency = Consistency::session;
  search.token = "7:12";
  CHECK(ask(search).ok());
  // But only the leader who wants the latest: here it never answers.
  search.token = "";
  CHECK(ask(search).status().code() == Code::deadline_exceeded);
  CHECK(*asked == std::vector<uint64_t>{0, 3, 0, 3, 0});
}

}  // namespace jade
