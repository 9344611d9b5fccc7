#include "actors/deadline.h"

#include <doctest/doctest.h>

#include <caf/scheduler/test_coordinator.hpp>

#include "actors/peer.h"
#include "actors/query.h"
#include "actors/random.h"
#include "actors/searcher.h"
#include "tests/actors/scripted_peer.h"

namespace jade {
namespace {

struct VirtualConfig : test::ScriptedConfig {
  VirtualConfig() : ScriptedConfig(false) { set("scheduler.policy", caf::atom("testing")); }
};

// Actors whose clock goes only as a test says.
struct VirtualSystem {
  VirtualConfig config;
  caf::actor_system system{config};
  caf::scheduler::test_coordinator& scheduler =
      dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());
  caf::scoped_actor self{system};
  std::vector<caf::actor> actors;

  // The scheduler ends when nothing is left to do, and some actors wake themselves.
  ~VirtualSystem() {
    for (const caf::actor& actor : actors) {
      caf::anon_send_exit(actor, caf::exit_reason::kill);
    }
    actors.clear();
    run();
  }
  template <class... Arguments>
  auto spawn(Arguments&&... arguments) {
    auto actor = system.spawn(std::forward<Arguments>(arguments)...);
    actors.push_back(caf::actor_cast<caf::actor>(actor));
    return actor;
  }
  uint64_t now() { return now_ms(self); }
  void run() { scheduler.run(); }
  void advance(uint64_t ms) {
    scheduler.advance_time(std::chrono::milliseconds(ms));
    scheduler.run();
  }
  // Asks; the answer is there once the actors have run.
  template <class Reply, class Handle, class Request>
  std::shared_ptr<std::optional<Result<Reply>>> ask(const Handle& handle, Request request) {
    auto answer = std::make_shared<std::optional<Result<Reply>>>();
    system.spawn([=](caf::event_based_actor* asker) {
      asker->request(handle, caf::infinite, request)
          .then([answer](Reply& reply) { *answer = std::move(reply); },
                [answer](const caf::error& error) { *answer = to_status(error); });
    });
    run();
    return answer;
  }
};

template <class T>
T through_the_network(caf::actor_system& system, T& message) {
  std::vector<char> bytes;
  caf::binary_serializer sink(system, bytes);
  REQUIRE(!sink(message));
  caf::binary_deserializer source(system, bytes);
  T out;
  REQUIRE(!source(out));
  return out;
}

NodeContextPtr context_of(uint64_t node) {
  auto context = std::make_shared<NodeContext>();
  context->config.node_id = node;
  context->seams.log = [](LogLevel, std::string_view, std::string_view) {};
  context->membership =
      std::make_shared<Membership>("", [](const std::string&) { return Status(); });
  return context;
}

// The peer actor of node 1, to which `remote` is that of node 2.
peer_actor linked_peer(VirtualSystem& v, const replica_actor& remote) {
  auto out = v.spawn(peer, context_of(1));
  caf::send_as(remote, out, RaftWire{99, 2, ""});
  v.run();
  return out;
}

ShardSearch question_to(uint64_t node, uint64_t deadline_ms) {
  ShardSearch search;
  search.route.group = 7;
  search.route.node = node;
  search.route.deadline_ms = deadline_ms;
  return search;
}

}  // namespace

TEST_CASE("what is left of the time crosses nodes that share no clock, and shrinks on the way") {
  VirtualSystem v;
  ShardSearch search;
  CHECK(!is_over(search.route, UINT64_MAX));  // without bound
  search.route.deadline_ms = 5000;
  CHECK(!is_over(search.route, 4999));
  CHECK(is_over(search.route, 5000));
  hand_on(search.route, 4200);
  auto arrived = through_the_network(v.system, search);
  CHECK(arrived.route.budget_ms == 800);
  CHECK(arrived.route.deadline_ms == 0);
  // By the clock of the next node, where 300 ms go by, and taken up only once.
  take_up(arrived.route, 1'000'000);
  take_up(arrived.route, 1'000'300);
  CHECK(!is_over(arrived.route, 1'000'799));
  CHECK(is_over(arrived.route, 1'000'800));
  hand_on(arrived.route, 1'000'300);
  auto further = through_the_network(v.system, arrived);
  take_up(further.route, 77);
  CHECK(further.route.deadline_ms == 77 + 500);
  // Where it is over there is nothing that would mean without bound.
  hand_on(further.route, 1000);
  CHECK(further.route.budget_ms == 1);
  // The master's questions have none.
  ChangeCatalog change;
  change.route.budget_ms = 5;
  CHECK(through_the_network(v.system, change).route.budget_ms == 0);
  CHECK(time_left(100, 40) == std::chrono::milliseconds(60));
  CHECK(time_left(100, 140) == std::chrono::milliseconds(0));
}

TEST_CASE("a node hands on what is left, and asks nobody once it is over") {
  VirtualSystem v;
  auto budgets = std::make_shared<std::vector<uint32_t>>();
  test::PeerScript script;
  script.search = [budgets](const ShardSearch& search) -> std::optional<Result<ShardHits>> {
    budgets->push_back(search.route.budget_ms);
    if (search.k == 1) return std::nullopt;
    return ShardHits{};
  };
  auto remote = v.spawn(test::scripted_peer, script);
  auto peer = linked_peer(v, remote);
  uint64_t deadline = v.now() + 1000;
  auto first = v.ask<ShardHits>(peer, question_to(2, deadline));
  REQUIRE(*first);
  CHECK((*first)->ok());
  v.advance(300);
  CHECK((*v.ask<ShardHits>(peer, question_to(2, deadline)))->ok());
  CHECK((*v.ask<ShardHits>(peer, question_to(2, 0)))->ok());
  v.advance(700);
  auto late = v.ask<ShardHits>(peer, question_to(2, deadline));
  REQUIRE(*late);
  CHECK((*late)->status().code() == Code::deadline_exceeded);
  CHECK((*late)->status().message() == "the time of the request was over on the way to shard 7");
  CHECK(*budgets == std::vector<uint32_t>{1000, 700, 0});
  // One that never answers is waited for no longer than that.
  ShardSearch search = question_to(2, v.now() + 50);
  search.k = 1;
  auto silent = v.ask<ShardHits>(peer, search);
  v.advance(49);
  CHECK(!*silent);
  v.advance(51);  // it looks every so often
  REQUIRE(*silent);
  CHECK((*silent)->status().message() ==
        "the time of the request was over before node 2 had answered");
}

TEST_CASE("a question that was answered leaves no timer behind") {
  VirtualSystem v;
  test::PeerScript script;
  script.search = [](const ShardSearch&) { return Result<ShardHits>(ShardHits{}); };
  auto peer = linked_peer(v, v.spawn(test::scripted_peer, script));
  auto timers = [&] { return v.scheduler.clock().schedule().size(); };
  size_t before = timers();
  for (int i = 0; i < 100; ++i) {
    auto answer = v.ask<ShardHits>(peer, question_to(2, v.now() + 30'000));
    REQUIRE(*answer);
    CHECK((*answer)->ok());
  }
  CHECK(timers() == before);
}

TEST_CASE("what waits for a shard that nobody can reach says so when its time is over") {
  VirtualSystem v;
  auto peer = v.spawn(jade::peer, context_of(1));
  auto waiting = v.ask<ShardHits>(peer, question_to(0, v.now() + 250));
  v.advance(100);
  CHECK(!*waiting);
  v.advance(100);
  REQUIRE(*waiting);
  CHECK((*waiting)->status().code() == Code::deadline_exceeded);
  CHECK((*waiting)->status().message() ==
        "the time of the request was over while shard 7 cannot be reached from here");
}

TEST_CASE("a searcher does not begin what nobody waits for any more") {
  VirtualSystem v;
  v.advance(1000);
  std::vector<searcher_actor> others;
  SUBCASE("alone") {}
  SUBCASE("that hands on what is long") { others.push_back(v.spawn(jade::long_searcher)); }
  auto searcher = v.spawn(jade::searcher, others);
  SearchTask search;
  search.search.route.deadline_ms = v.now();
  auto refused = v.ask<ShardHits>(searcher, search);
  REQUIRE(*refused);
  CHECK((*refused)->status().code() == Code::deadline_exceeded);
  RecallTask recall;
  recall.recall.route.deadline_ms = v.now();
  CHECK((*v.ask<ShardRecallCount>(searcher, recall))->status().code() == Code::deadline_exceeded);
  MatchTask match;
  match.deadline_ms = v.now();
  CHECK((*v.ask<MatchedRows>(searcher, match))->status().code() == Code::deadline_exceeded);
}

TEST_CASE("a search has the time that it asks for") {
  VirtualSystem v;
  auto deadlines = std::make_shared<std::vector<uint64_t>>();
  test::PeerScript script;
  script.search = [deadlines](const ShardSearch& search) -> std::optional<Result<ShardHits>> {
    deadlines->push_back(search.route.deadline_ms);
    return std::nullopt;
  };
  auto peer = v.spawn(test::scripted_peer, script);
  auto query = v.spawn(jade::query, QueryOptions{});
  caf::anon_send(query, test::routes_to(peer, 7, 1, {2, 3}));
  SearchRequest search;
  search.database = "a";
  search.vector = {1};
  search.timeout_ms = 200;
  auto answer = v.ask<SearchReply>(query, search);
  CHECK(*deadlines == std::vector<uint64_t>{v.now() + 200});
  v.advance(199);
  CHECK(!*answer);
  v.advance(1);
  REQUIRE(*answer);
  CHECK((*answer)->status().code() == Code::deadline_exceeded);
  CHECK((*answer)->status().message().find("shard 7 of database \"a\"") != std::string::npos);
  // A batch has one for all.
  SearchBatchRequest batch{"a", {search}, 300};
  auto wrong = v.ask<SearchBatchReply>(query, batch);
  REQUIRE(*wrong);
  CHECK((*wrong)->status().message() ==
        "searches[0].timeout_ms is given; a batch has one for all its searches");
  batch.searches[0].timeout_ms.reset();
  auto all = v.ask<SearchBatchReply>(query, batch);
  CHECK(deadlines->back() == v.now() + 300);
  v.advance(300);
  REQUIRE(*all);
  CHECK((*all)->status().code() == Code::deadline_exceeded);
  for (uint32_t timeout_ms : {0u, Limits::timeout_ms_max + 1}) {
    search.timeout_ms = timeout_ms;
    auto refused = v.ask<SearchReply>(query, search);
    REQUIRE(*refused);
    CHECK((*refused)->status().message() ==
          "timeout_ms is " + std::to_string(timeout_ms) + "; it must be 1 to 30000");
  }
  CHECK(deadlines->size() == 2);
}

}  // namespace jade
