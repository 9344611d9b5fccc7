#include "sim/network.h"

#include <doctest/doctest.h>

#include "actors/errors.h"
#include "actors/messages.h"

namespace jade::sim {
namespace {

constexpr uint64_t millisecond = 1'000'000;

// Two systems and the network between them, driven until nothing is left to do
// before `until_ns`.
struct TwoNodes {
  uint64_t now_ns = 0;
  SimSystem server{0};
  SimSystem client{0};
  SimNetwork network{42, {2 * millisecond, 2 * millisecond}};
  SimNetwork::Link link = prepare();

  SimNetwork::Link prepare() {
    network.listen(server, 4242);
    return network.connect(server, client, "server", 4242);
  }

  bool step() {
    for (SimSystem* system : {&server, &client}) {
      if (system->runnable() > 0) {
        system->run(0);
        return true;
      }
      if (system->run_broker()) return true;
    }
    return network.deliver(now_ns);
  }

  void run_until(uint64_t until_ns) {
    for (;;) {
      while (step()) {
      }
      uint64_t next = until_ns;
      for (auto due :
           {server.next_timeout_ns(), client.next_timeout_ns(), network.next_arrival_ns(now_ns)}) {
        if (due) next = std::min(next, std::max(*due, now_ns));
      }
      bool last = next >= until_ns;
      now_ns = next;
      server.advance_to(now_ns);
      client.advance_to(now_ns);
      if (last && !step()) return;
    }
  }
};

// Answers any describe with 7 vectors.
using describer = caf::typed_actor<caf::replies_to<ShardDescribe>::with<ShardInfo>>;

describer::behavior_type describe() {
  return {[](const ShardDescribe& request) {
    ShardInfo info;
    info.shard = request.route.group;
    info.vectors = 7;
    info.segments.push_back({3, "indexed", IndexKind::hnsw, 7, 0});
    return info;
  }};
}

struct Asked {
  bool connected = false;
  bool lost = false;  // the connection, as a monitor sees it
  std::vector<ShardInfo> answers;
  std::vector<Status> failures;
  uint64_t answered_ns = 0;
  caf::actor remote;
};

// Connects, then asks whenever it gets a number, giving up after a second.
caf::behavior asker(caf::event_based_actor* self, TwoNodes* nodes, Asked* asked) {
  self->set_down_handler([=](const caf::down_msg&) { asked->lost = true; });
  self->request(self->home_system().middleman().actor_handle(), caf::infinite,
                caf::connect_atom::value, std::string("server"), uint16_t{4242})
      .then([=](const caf::node_id&, caf::strong_actor_ptr& remote, const std::set<std::string>&) {
        asked->connected = true;
        asked->remote = caf::actor_cast<caf::actor>(remote);
        self->monitor(asked->remote);
      });
  return {[=](uint64_t group) {
    self->request(caf::actor_cast<describer>(asked->remote), std::chrono::seconds(1),
                  ShardDescribe{{group}})
        .then(
            [=](const ShardInfo& info) {
              asked->answers.push_back(info);
              asked->answered_ns = nodes->now_ns;
            },
            [=](const caf::error& error) { asked->failures.push_back(to_status(error)); });
  }};
}

struct Conversation : TwoNodes {
  Asked asked;
  describer served = server.system().spawn(describe);
  caf::actor asking;

  Conversation() {
    server.publish(served, 4242);
    asking = client.system().spawn(asker, this, &asked);
    run_until(100 * millisecond);
  }
  ~Conversation() {
    caf::anon_send_exit(served, caf::exit_reason::kill);
    caf::anon_send_exit(asking, caf::exit_reason::kill);
    asked.remote = nullptr;
    served = nullptr;
    asking = nullptr;
    run_until(now_ns + 100 * millisecond);
  }
};

}  // namespace

TEST_CASE("a typed request crosses the simulated network and takes its latency") {
  Conversation talk;
  REQUIRE(talk.asked.connected);
  uint64_t asked_ns = talk.now_ns;
  caf::anon_send(talk.asking, uint64_t{9});
  talk.run_until(asked_ns + 100 * millisecond);
  REQUIRE(talk.asked.answers.size() == 1);
  CHECK(talk.asked.answers[0].shard == 9);
  CHECK(talk.asked.answers[0].vectors == 7);
  REQUIRE(talk.asked.answers[0].segments.size() == 1);
  CHECK(talk.asked.answers[0].segments[0].state == "indexed");
  // There and back.
  CHECK(talk.asked.answered_ns - asked_ns == 4 * millisecond);
  CHECK(talk.network.bytes_delivered() > 0);
}

TEST_CASE("a partition delays the answer; it arrives after healing") {
  Conversation talk;
  REQUIRE(talk.asked.connected);
  talk.network.block(talk.link, true);
  caf::anon_send(talk.asking, uint64_t{1});
  talk.run_until(talk.now_ns + 500 * millisecond);
  CHECK(talk.asked.answers.empty());
  talk.network.block(talk.link, false);
  talk.run_until(talk.now_ns + 100 * millisecond);
  CHECK(talk.asked.answers.size() == 1);
  CHECK(talk.asked.failures.empty());
}

TEST_CASE("a request into a partition fails at its deadline of virtual time") {
  Conversation talk;
  talk.network.block(talk.link, true);
  caf::anon_send(talk.asking, uint64_t{1});
  talk.run_until(talk.now_ns + 2000 * millisecond);
  REQUIRE(talk.asked.failures.size() == 1);
  CHECK(talk.asked.failures[0].code() == Code::deadline_exceeded);
}

TEST_CASE("a disconnect is seen by monitors at once and by requests at their deadline") {
  Conversation talk;
  REQUIRE(talk.asked.connected);
  caf::anon_send(talk.asking, uint64_t{1});
  talk.client.run(0);
  talk.network.disconnect(talk.link);
  talk.run_until(talk.now_ns + 10 * millisecond);
  CHECK(talk.asked.lost);
  // CAF bounces nothing that was sent to a lost peer: only deadlines end it.
  CHECK(talk.asked.failures.empty());
  talk.run_until(talk.now_ns + 2000 * millisecond);
  CHECK(talk.asked.answers.empty());
  REQUIRE(talk.asked.failures.size() == 1);
  CHECK(talk.asked.failures[0].code() == Code::deadline_exceeded);
}

// Dials the server that is prepared and counts how it ends.
caf::behavior dialler(caf::event_based_actor* self, int* failed) {
  self->request(self->home_system().middleman().actor_handle(), caf::infinite,
                caf::connect_atom::value, std::string("server"), uint16_t{4242})
      .then([](const caf::node_id&, caf::strong_actor_ptr&, const std::set<std::string>&) {},
            [failed](const caf::error&) { ++*failed; });
  return {[](uint64_t) {}};
}

// CAF keeps what it was dialled and lets go of what it dialled itself: both ends of both
// connections are to see that, so that a later dial finds a way.
TEST_CASE("two that dialled each other at once can talk when one of them dials again") {
  TwoNodes nodes;
  Asked first, again;
  auto served = nodes.server.system().spawn(describe);
  auto also_served = nodes.client.system().spawn(describe);
  nodes.server.publish(served, 4242);
  nodes.network.listen(nodes.client, 4243);
  nodes.client.publish(also_served, 4243);
  nodes.network.connect(nodes.client, nodes.server, "client", 4243);
  auto asking = nodes.client.system().spawn(asker, &nodes, &first);
  nodes.server.system().spawn([](caf::event_based_actor* self) {
    self->request(self->home_system().middleman().actor_handle(), caf::infinite,
                  caf::connect_atom::value, std::string("client"), uint16_t{4243})
        .then([](const caf::node_id&, caf::strong_actor_ptr&, const std::set<std::string>&) {},
              [](const caf::error&) {});
  });
  nodes.run_until(500 * millisecond);
  nodes.network.connect(nodes.server, nodes.client, "server", 4242);
  auto asking_again = nodes.client.system().spawn(asker, &nodes, &again);
  nodes.run_until(1000 * millisecond);
  REQUIRE(again.connected);
  caf::anon_send(asking_again, uint64_t{1});
  nodes.run_until(3000 * millisecond);
  CHECK(again.answers.size() == 1);
  CHECK(again.failures.empty());
  for (const caf::actor& actor : {asking, asking_again}) {
    caf::anon_send_exit(actor, caf::exit_reason::kill);
  }
  caf::anon_send_exit(served, caf::exit_reason::kill);
  caf::anon_send_exit(also_served, caf::exit_reason::kill);
  first.remote = again.remote = nullptr;
  asking = asking_again = nullptr;
  served = also_served = nullptr;
  nodes.run_until(nodes.now_ns + 100 * millisecond);
}

TEST_CASE("who dials a server that ended, before or after dialling, is told so") {
  int failed = 0;
  TwoNodes nodes;
  auto dial = [&] { nodes.client.system().spawn(dialler, &failed); };

  SUBCASE("before the client dialled") {
    nodes.network.drop(nodes.server);
    dial();
    nodes.run_until(100 * millisecond);
  }
  SUBCASE("when it dialled and does not listen yet") {
    dial();
    while (nodes.client.multiplexer().has_pending_scribe("server", 4242)) {
      REQUIRE((nodes.client.runnable() > 0 || nodes.client.run_broker()));
      if (nodes.client.runnable() > 0) nodes.client.run(0);
    }
    nodes.network.drop(nodes.server);
    nodes.run_until(100 * millisecond);
  }
  CHECK(failed == 1);
}

}  // namespace jade::sim
