// Whose Raft messages count: actors/peer.h and docs/decisions/0025-lives.md.
#include "actors/peer.h"

#include <doctest/doctest.h>

#include <caf/scheduler/test_coordinator.hpp>

#include "actors/blocking_worker.h"
#include "actors/catalog.h"
#include "actors/errors.h"
#include "actors/inflow.h"
#include "tests/actors/scripted_peer.h"
#include "tests/storage/raw_store.h"

namespace jade {
namespace {

struct VirtualConfig : test::ScriptedConfig {
  VirtualConfig() : ScriptedConfig(false) { set("scheduler.policy", caf::atom("testing")); }
};

// The peer actor of node 1 among others that do as a test says.
struct Peers {
  VirtualConfig config;
  caf::actor_system system{config};
  caf::scheduler::test_coordinator& scheduler =
      dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());
  std::unique_ptr<leveldb::Env> env = memory_env();
  std::shared_ptr<NodeContext> context = std::make_shared<NodeContext>();
  peer_actor peer;
  std::vector<caf::actor> actors;

  std::vector<std::string> said;       // at level error
  std::vector<std::string> delivered;  // to the replica of group 7
  std::vector<Life> checked;           // of node 2
  bool remembers_all = true;           // does node 2
  std::vector<RaftWire> sent;          // to node 2
  std::vector<LivesRecord> changes;    // that the master was asked for
  Status change_outcome;
  std::vector<Status> refusals;
  std::vector<std::string> out_of_touch;     // as the node was told
  size_t asked = 0;                          // how its shards are, was node 2
  Result<NodeReport> report = NodeReport{};  // what it says
  bool silent = false;                       // or nothing
  std::vector<caf::typed_response_promise<NodeReport>> unanswered;
  caf::actor remote, replica, master, supervisor;

  Peers() {
    auto log = LogStore::open(env.get(), "/log");
    REQUIRE(log.ok());
    context->log = *log;
    context->config.node_id = 1;
    context->config.name = "a";
    context->seams.log = [this](LogLevel level, std::string_view, std::string_view message) {
      if (level == LogLevel::error) said.emplace_back(message);
    };
    context->membership =
        std::make_shared<Membership>("c", [](const std::string&) { return Status(); });
    context->syncer = system.spawn(blocking_worker, nullptr);
    actors.push_back(caf::actor_cast<caf::actor>(context->syncer));
    remote = scripted([this](caf::event_based_actor* self) -> caf::behavior {
      return {[this](const CheckLife& check) {
                CHECK(check.node == 2);
                checked.push_back(check.known);
                return LifeChecked{life_of_remote, remembers_all};
              },
              [this](const RaftWire& wire) { sent.push_back(wire); },
              [](const Hello&) {
                return HelloReply{"c", 2};
              },
              [this, self](const AskNode& ask) -> caf::result<NodeReport> {
                CHECK(ask.cluster_id == "c");
                CHECK(ask.node == 1);
                ++asked;
                if (!silent && report.ok()) return *report;
                if (!silent) return to_error(report.status());
                return unanswered.emplace_back(self->make_response_promise<NodeReport>());
              }};
    });
    replica = scripted([this](caf::event_based_actor*) -> caf::behavior {
      return {[this](const RaftWire& wire) { delivered.push_back(wire.bytes); }};
    });
    master = scripted([this](caf::event_based_actor*) -> caf::behavior {
      return {[this](const ChangeCatalog& change) -> caf::result<CatalogApplied> {
                auto command = decode_catalog_command(change.command);
                REQUIRE(command.ok());
                changes.push_back(std::get<LivesRecord>(*command));
                if (!change_outcome.ok()) return to_error(change_outcome);
                return CatalogApplied{9};
              },
              [](const RaftWire&) {}, [](const JoinCluster&) { return JoinedCluster{}; }};
    });
    supervisor = scripted([this](caf::event_based_actor*) -> caf::behavior {
      return {[this](const NodeRefused& refused) { refusals.push_back(refused.why); },
              [this](const OutOfTouch& message) { out_of_touch.push_back(message.why); }};
    });
  }
  ~Peers() {
    for (const caf::actor& actor : actors) caf::anon_send_exit(actor, caf::exit_reason::kill);
    actors.clear();
    unanswered.clear();
    remote = replica = master = supervisor = nullptr;
    peer = nullptr;
    run();
    context->syncer = nullptr;
  }

  uint64_t life_of_remote = 0;

  template <class Behavior>
  caf::actor scripted(Behavior behavior) {
    actors.push_back(
        system.spawn([behavior](caf::event_based_actor* self) { return behavior(self); }));
    return actors.back();
  }
  void run() { scheduler.run(); }
  void advance(uint64_t ms) {
    for (; ms > 0; ms -= 100) {
      scheduler.advance_time(std::chrono::milliseconds(100));
      run();
    }
  }

  // Starts the peer of a node that has had these lives.
  void start(std::vector<Life> lives) {
    for (const Life& life : lives) {
      REQUIRE(context->log->begin_life(life.id).ok());
      if (life.version != 0) REQUIRE(context->log->record_life(life).ok());
    }
    context->lives = std::move(lives);
    peer = system.spawn(jade::peer, NodeContextPtr(context));
    actors.push_back(caf::actor_cast<caf::actor>(peer));
    caf::anon_send(
        peer,
        Wired{{},
              caf::actor_cast<master_actor>(caf::actor_cast<caf::strong_actor_ptr>(master)),
              caf::actor_cast<node_actor>(caf::actor_cast<caf::strong_actor_ptr>(supervisor))});
    run();
  }

  // The catalog has these lives of nodes 1 and 2, or has removed some.
  void learn(Life first, Life second, std::set<uint64_t> removed = {}) {
    auto map = std::make_shared<ClusterMap>();
    map->removed = std::move(removed);
    map->nodes[1] = {1, "a", "", "", false, 0, first};
    map->nodes[2] = {2, "b", "", "", false, 0, second};
    auto shards = std::make_shared<std::map<uint64_t, shard_actor>>();
    (*shards)[7] = caf::actor_cast<shard_actor>(caf::actor_cast<caf::strong_actor_ptr>(replica));
    caf::anon_send(
        peer, RoutesChanged{1, caf::actor_cast<replica_actor>(peer), publish(*map), shards, shards,
                            std::make_shared<std::map<uint64_t, Status>>()});
    run();
  }

  // In a life that the catalog has recorded, as it has one of node 2.
  void start_known() {
    start({{100, 4}});
    learn({100, 4}, {12, 6});
  }

  // Node 2 says something in group 7. The life is told as its peer would.
  void hear(const std::string& bytes, uint64_t life) {
    life_of_remote = life;
    caf::send_as(remote, peer, RaftWire{7, 2, bytes, life});
    run();
  }
  template <class Reply, class Request>
  Reply ask(const Request& request) {
    Reply out;
    bool answered = false;
    system.spawn([&, request](caf::event_based_actor* asker) {
      asker->request(peer, caf::infinite, request).then([&](const Reply& reply) {
        out = reply;
        answered = true;
      });
    });
    run();
    REQUIRE(answered);
    return out;
  }
};

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("Raft messages of a life count when it is the recorded one, or remembers that") {
  Peers p;
  p.start({{100, 4}});
  p.learn({100, 4}, {11, 5});
  p.hear("recorded", 11);
  CHECK(p.checked.empty());
  CHECK(p.delivered == Texts{"recorded"});
  // Another start: asked once.
  p.hear("unknown", 12);
  CHECK(p.checked == std::vector<Life>{{11, 5}});
  p.hear("proven", 12);
  p.hear("still", 12);
  CHECK(p.checked.size() == 1);
  CHECK(p.delivered == Texts{"recorded", "unknown", "proven", "still"});
  // Recorded in its turn.
  p.learn({100, 4}, {12, 6});
  p.hear("recorded again", 12);
  CHECK(p.checked.size() == 1);
  CHECK(p.delivered.back() == "recorded again");
  CHECK(p.said.empty());
}

TEST_CASE("Raft messages of a node with an older disk are dropped, which is said once") {
  Peers p;
  p.start_known();
  p.hear("recorded", 12);
  p.remembers_all = false;
  for (int i = 0; i < 30; ++i) {
    p.hear("old", 13);
    p.advance(100);
  }
  CHECK(p.delivered == Texts{"recorded"});
  CHECK(p.said == Texts{outlived("b").message()});
  // Not with every message.
  CHECK(p.checked.size() >= 2);
  CHECK(p.checked.size() <= 4);
  auto states = p.ask<PeerStates>(DescribePeers{});
  CHECK(states.problems == std::map<uint64_t, std::string>{{2, outlived("b").message()}});
  // The right disk is back.
  p.remembers_all = true;
  p.advance(1000);
  p.hear("asked", 14);
  p.hear("back", 14);
  CHECK(p.delivered == Texts{"recorded", "asked", "back"});
  CHECK(p.ask<PeerStates>(DescribePeers{}).problems.empty());
}

TEST_CASE("what a node's own log had counts before the catalog has come so far") {
  Peers p;
  p.context->known_lives[2] = {14, 9};
  p.start_known();
  p.remembers_all = false;
  p.hear("old", 12);
  CHECK(p.delivered.empty());
  CHECK(p.checked == std::vector<Life>{{14, 9}});
  // Both are to be remembered.
  p.remembers_all = true;
  p.hear("first", 15);
  p.hear("second", 15);
  CHECK(p.checked == std::vector<Life>{{14, 9}, {12, 6}, {14, 9}});
  CHECK(p.delivered == Texts{"first", "second"});
}

TEST_CASE("a node says which life it has, and which it remembers") {
  Peers p;
  p.start({{20, 3}, {21, 0}});
  p.learn({20, 3}, {12, 6});
  p.hear("hello", 12);
  caf::anon_send(p.peer, SendRaft{2, {7, 1, "vote"}});
  p.run();
  REQUIRE(p.sent.size() == 1);
  CHECK(p.sent[0].life == 21);
  for (const Life& known : {Life{20, 3}, Life{21, 8}, Life{99, 2}, Life{}}) {
    auto answer = p.ask<LifeChecked>(CheckLife{1, known});
    CHECK(answer.life == 21);
    CHECK(answer.remembered);
  }
  CHECK(!p.ask<LifeChecked>(CheckLife{2, {20, 3}}).remembered);  // another node is meant
  CHECK(p.refusals.empty());
}

TEST_CASE("a node that is asked for a life which it does not remember takes no part any more") {
  Peers p;
  p.start({{20, 3}, {21, 0}});
  p.learn({20, 3}, {12, 6});
  p.hear("hello", 12);
  CHECK(!p.ask<LifeChecked>(CheckLife{1, {99, 4}}).remembered);
  std::string why = outlived("a").message();
  CHECK(p.said == Texts{why});
  REQUIRE(p.refusals.size() == 1);
  CHECK(p.refusals[0].message() == why);
  p.delivered.clear();
  p.sent.clear();
  p.hear("append", 12);
  caf::anon_send(p.peer, SendRaft{2, {7, 1, "vote"}});
  p.run();
  CHECK(p.delivered.empty());
  CHECK(p.sent.empty());
  // It stays so, whatever it is asked, and tells those who have not asked yet.
  CHECK(!p.ask<LifeChecked>(CheckLife{1, {20, 3}}).remembered);
  size_t changes = p.changes.size();
  p.advance(2500);
  CHECK(p.changes.size() == changes);
  REQUIRE(!p.sent.empty());
  CHECK(p.sent[0].group == 0);
  CHECK(p.sent[0].life == 21);
  CHECK(p.said.size() == 1);
  CHECK(p.refusals.size() == 1);
}

TEST_CASE("nodes ask each other how their shards are, and since when one is silent") {
  Peers p;
  p.start_known();
  p.report = NodeReport{{{7, "disk_full: no space"}}};
  p.hear("hello", 12);
  p.advance(3000);
  CHECK(p.asked >= 3);
  CHECK(p.asked <= 4);
  auto states = p.ask<PeerStates>(DescribePeers{});
  CHECK(states.shards[2] == std::map<uint64_t, std::string>{{7, "disk_full: no space"}});
  CHECK(states.silent_ms.at(2) <= 1000);
  // It is paused, its connection stays.
  p.silent = true;
  p.advance(10'000);
  states = p.ask<PeerStates>(DescribePeers{});
  CHECK(states.connected == std::vector<uint64_t>{2});
  CHECK(states.silent_ms.at(2) >= 9'000);
  // Mended, and back.
  p.silent = false;
  p.report = NodeReport{};
  p.advance(5000);
  states = p.ask<PeerStates>(DescribePeers{});
  CHECK(states.silent_ms.at(2) <= 1000);
  CHECK(states.shards.empty());
  CHECK(p.refusals.empty());
}

TEST_CASE("a node that was removed is told so by whoever it asks, and takes no part any more") {
  Peers p;
  p.start_known();
  p.hear("hello", 12);
  p.report = not_found("this node was removed from cluster c");
  p.advance(1500);
  std::string why = removed_from("c", "a", "").message();
  CHECK(p.said == Texts{why});
  REQUIRE(p.refusals.size() == 1);
  CHECK(p.refusals[0].message() == why);
  p.delivered.clear();
  p.sent.clear();
  p.hear("append", 12);
  caf::anon_send(p.peer, SendRaft{2, {7, 1, "vote"}});
  size_t asked = p.asked;
  p.advance(5000);
  CHECK(p.delivered.empty());
  CHECK(p.sent.empty());
  CHECK(p.asked == asked);
  CHECK(p.refusals.size() == 1);
}

TEST_CASE("a node that hears of its own removal by the catalog needs nobody to tell it") {
  Peers p;
  p.start_known();
  CHECK(p.refusals.empty());
  p.learn({100, 4}, {12, 6}, {1});
  CHECK(p.said == Texts{removed_from("c", "a", "").message()});
  CHECK(p.refusals.size() == 1);
}

TEST_CASE("only a node that is known to have been removed is told so") {
  Peers p;
  p.start({{100, 4}});
  auto answer = [&](const std::string& cluster_id, uint64_t node) {
    Status status;
    auto failed = [&](const caf::error& error) { status = to_status(error); };
    p.system.spawn([&](caf::event_based_actor* asker) {
      asker->request(p.peer, caf::infinite, AskNode{cluster_id, node, "b:1"})
          .then([](const NodeReport&) {}, failed);
      asker->request(p.peer, caf::infinite, Hello{cluster_id, node})
          .then([](const HelloReply&) {},
                [&](const caf::error& error) {
                  if (to_status(error).code() == Code::failed_precondition) return;
                  CHECK(to_status(error) == status);
                });
    });
    p.run();
    return status;
  };
  // Without a map, or by one that lacks them, nobody has been removed.
  CHECK(answer("c", 5).ok());
  p.learn({100, 4}, {12, 6});
  CHECK(answer("c", 5).ok());
  p.learn({100, 4}, {12, 6}, {5});
  CHECK(answer("c", 5) == not_found("this node was removed from cluster c"));
  CHECK(answer("c", 2).ok());
  CHECK(answer("c", 6).ok());      // is on its way in
  CHECK(answer("", 5).ok());       // of no cluster
  CHECK(answer("other", 5).ok());  // of another, with its own numbers
}

TEST_CASE("each start is recorded in the catalog, and then noted on disk") {
  Peers p;
  p.start({{20, 3}, {21, 0}});
  p.learn({20, 3}, {12, 6});
  p.advance(100);
  REQUIRE(p.changes.size() == 1);
  CHECK(p.changes[0].node == 1);
  CHECK(p.changes[0].lives == std::vector<Life>{{20, 3}, {21, 0}});
  p.learn({21, 8}, {12, 6});
  p.advance(5000);
  CHECK(p.changes.size() == 1);
  CHECK(*p.context->log->lives() == std::vector<Life>{{20, 3}, {21, 8}});
  CHECK(p.refusals.empty());
  // Somebody else goes on with a copy of the directory.
  p.learn({99, 11}, {12, 6});
  p.advance(100);
  CHECK(p.changes.size() == 1);
  REQUIRE(p.refusals.size() == 1);
  CHECK(p.refusals[0].message() == outlived("a").message());
}

TEST_CASE("a life that has lasted is followed by another") {
  Peers p;
  p.context->config.renew_life_ms = 3000;
  p.start({{20, 3}});
  p.learn({20, 3}, {12, 6});
  p.advance(2900);
  CHECK(p.changes.empty());
  p.advance(400);
  REQUIRE(p.changes.size() == 1);
  std::vector<Life> lives = p.changes[0].lives;
  REQUIRE(lives.size() == 2);
  CHECK(lives[0] == Life{20, 3});
  CHECK(lives[1].version == 0);
  CHECK(*p.context->log->lives() == lives);
  p.learn({lives[1].id, 9}, {12, 6});
  p.advance(2000);
  lives[1].version = 9;
  CHECK(*p.context->log->lives() == lives);
  CHECK(p.ask<LifeChecked>(CheckLife{1, {20, 3}}).life == lives[1].id);
  p.advance(4000);
  CHECK(p.changes.back().lives.size() == 3);
  CHECK(p.refusals.empty());
}

TEST_CASE("a start that the catalog refuses ends its part, one that nobody takes is told again") {
  Peers p;
  p.change_outcome = unavailable("no leader");
  p.start({{20, 3}, {21, 0}});
  p.learn({20, 3}, {12, 6});
  p.advance(5000);
  CHECK(p.changes.size() == 3);
  CHECK(p.refusals.empty());
  p.change_outcome = outlived("a");
  p.advance(2000);
  CHECK(p.changes.size() == 4);
  REQUIRE(p.refusals.size() == 1);
  CHECK(p.refusals[0] == outlived("a"));
}

TEST_CASE("a question goes on from who has no replica yet to the next, until one has it") {
  Peers p;
  auto map = std::make_shared<ClusterMap>();
  DatabaseEntry& entry = map->databases["a"];
  entry.shards.resize(1);
  ShardPlacement& placement = entry.shards[0];
  placement.group = 7;
  placement.nodes = {3, 1, 5, 2, 4};
  auto peer_of = [&](uint64_t node) {
    peer_state state;
    auto context = std::make_shared<NodeContext>();
    context->config.node_id = node;
    state.context = context;
    state.map = publish(*map);
    for (uint64_t other = 1; other <= 6; ++other) {
      if (other == node) continue;
      state.links[other].remote =
          caf::actor_cast<peer_actor>(caf::actor_cast<caf::strong_actor_ptr>(p.remote));
    }
    return state;
  };
  // By a bit for each node, all sets of those that have none.
  for (uint32_t without = 0; without < 31; ++without) {
    auto has = [&](uint64_t node) { return node != 6 && (without >> (node - 1) & 1) == 0; };
    for (uint64_t asker = 1; asker <= 6; ++asker) {
      CAPTURE(without);
      CAPTURE(asker);
      uint64_t at = asker;
      for (size_t i = 0; i < 5 && !has(at); ++i) at = peer_of(at).reachable(7, 0);
      CHECK(has(at));
    }
  }
  auto turns = [&](const peer_state& state) {
    std::vector<uint64_t> out;
    for (size_t turn = 0; turn < 4; ++turn) out.push_back(state.reachable(7, turn));
    return out;
  };
  using Nodes = std::vector<uint64_t>;
  CHECK(turns(peer_of(5)) == Nodes{2, 4, 3, 1});
  CHECK(turns(peer_of(6)) == Nodes{3, 1, 5, 2});
  // A new one has nothing yet; one that cannot be reached, or must not take part, is left out.
  placement.joining = {2};
  peer_state state = peer_of(5);
  CHECK(turns(state) == Nodes{4, 3, 1, 4});
  state.links[4].remote = nullptr;
  state.links[3].problem = "an older copy of its disk";
  CHECK(turns(state) == Nodes{1, 1, 1, 1});
  state.links[1].remote = nullptr;  // then whoever there is
  CHECK(turns(state) == Nodes{2, 2, 2, 2});
  state.links.clear();
  CHECK(turns(state) == Nodes{0, 0, 0, 0});
  CHECK(peer_of(5).reachable(8, 0) == 0);
}

TEST_CASE("a node is called by its name where that is known") {
  peer_state state;
  CHECK(state.title(7) == "node 7");
  auto map = std::make_shared<ClusterMap>();
  map->nodes[7].name = "east-1";
  state.map = publish(*map);
  CHECK(state.title(7) == "node \"east-1\"");
  CHECK(state.title(8) == "node 8");
}

TEST_CASE("questions by one connection count until they were dealt with, and more are refused") {
  std::vector<Status> answers;  // also those at the end of the actors
  std::vector<ShardSearch> searches;
  std::vector<RaftWire> wires;
  Peers p;
  std::vector<caf::typed_response_promise<ShardWritten>> writes;
  p.replica = p.scripted([&](caf::event_based_actor* self) -> caf::behavior {
    return {[&, self](ShardSearch& search) {
              searches.push_back(std::move(search));
              return self->make_response_promise<ShardHits>();  // later
            },
            [&, self](const ShardWrite&) {
              writes.push_back(self->make_response_promise<ShardWritten>());
              return writes.back();
            },
            [&](bool) { writes[0].deliver(ShardWritten{}); },
            [&](RaftWire& wire) { wires.push_back(std::move(wire)); }};
  });
  p.start({{1, 1}});
  p.learn({1, 1}, {2, 2});
  auto inflow = std::make_shared<Inflow>([] {});
  // As it comes by the connection.
  auto arrive = [&](auto message, size_t bytes) {
    p.actors.push_back(p.system.spawn([&, message, bytes](caf::event_based_actor* self) {
      caf::message_id id = self->new_request_id(caf::message_priority::normal);
      self->add_multiplexed_response_handler(
          id.response_id(),
          caf::behavior{[&](const ShardWritten&) { answers.emplace_back(); },
                        [&](const caf::error& error) { answers.push_back(to_status(error)); }});
      auto element = caf::make_mailbox_element(caf::actor_cast<caf::strong_actor_ptr>(self), id, {},
                                               caf::make_message(message));
      caf::actor_cast<caf::strong_actor_ptr>(p.peer)->enqueue(
          with_receipt(std::move(element), std::make_shared<Receipt>(inflow, bytes)),
          self->context());
      return caf::behavior{[](int) {}};
    }));
    p.run();
  };
  const size_t half = Inflow::taken_bytes_max / 2 - Inflow::message_bytes;
  ShardSearch search;
  search.route.group = 7;
  ShardWrite write;
  write.route.group = 7;

  arrive(search, half);
  REQUIRE(searches.size() == 1);
  CHECK(inflow->waiting_bytes() == 0);
  CHECK(inflow->taken_bytes() == Inflow::taken_bytes_max / 2);
  arrive(write, half);
  REQUIRE(writes.size() == 1);
  CHECK(inflow->taken_bytes() == Inflow::taken_bytes_max);
  arrive(write, 1);
  CHECK(writes.size() == 1);
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].code() == Code::resource_exhausted);
  // What is done makes place: a write with its answer, a search with its question.
  caf::anon_send(p.replica, true);
  p.run();
  REQUIRE(answers.size() == 2);
  CHECK(answers[1].ok());
  CHECK(inflow->taken_bytes() == Inflow::taken_bytes_max / 2);
  searches.clear();
  CHECK(inflow->taken_bytes() == 0);
  // Nobody can be asked: it is held, and counts.
  write.route.group = 8;
  arrive(write, half);
  CHECK(inflow->taken_bytes() == Inflow::taken_bytes_max / 2);
  p.advance(10'000);
  CHECK(inflow->taken_bytes() == 0);
  // What Raft says is taken by nobody, and waits until the shard has come to it.
  arrive(RaftWire{7, 2, "a", 2}, half);
  REQUIRE(wires.size() == 1);
  CHECK(inflow->taken_bytes() == 0);
  CHECK(inflow->waiting_bytes() == Inflow::taken_bytes_max / 2);
  wires.clear();
  CHECK(inflow->waiting_bytes() == 0);
  writes.clear();
}

}  // namespace jade
