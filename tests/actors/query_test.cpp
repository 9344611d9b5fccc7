#include "actors/query.h"

#include <doctest/doctest.h>

#include "tests/actors/scripted_peer.h"

namespace jade {

TEST_CASE("a search that any replica may answer is asked of a second one when the first is slow") {
  test::ScriptedConfig config;
  caf::actor_system system(config);
  auto asked = std::make_shared<std::vector<uint64_t>>();
  // Only node 3 answers, with its number as an id.
  test::PeerScript script;
  script.search = [asked](const ShardSearch& search) -> std::optional<Result<ShardHits>> {
    asked->push_back(search.route.node);
    if (search.route.node != 3) return std::nullopt;
    ShardHits hits;
    hits.queries.push_back({ShardHit{VectorId(search.route.node).key(), 0.5f, "", ""}});
    return hits;
  };
  auto peer = system.spawn(test::scripted_peer, script);
  QueryOptions options;
  options.read_timeout = std::chrono::seconds(2);
  auto actor = system.spawn(query, options);
  caf::scoped_actor self(system);
  self->send(actor, test::routes_to(peer, 7, 1, {2, 3}));
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
