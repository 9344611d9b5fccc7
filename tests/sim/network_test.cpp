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

TEST_CASE("what is sent over a slow link arrives later, until it is as fast as the others again") {
  auto time_of_answer = [](uint64_t slower_by_ns, bool both) {
    Conversation talk;
    REQUIRE(talk.asked.connected);
    talk.network.slow_down(talk.client, talk.server, slower_by_ns);
    if (both) talk.network.slow_down(talk.server, talk.client, slower_by_ns);
    caf::anon_send(talk.asking, uint64_t{1});
    const uint64_t begun_ns = talk.now_ns;
    while (talk.asked.answers.empty() && talk.now_ns < begun_ns + 900 * millisecond) {
      talk.run_until(talk.now_ns + millisecond);
    }
    REQUIRE(talk.asked.answers.size() == 1);
    return talk.now_ns - begun_ns;
  };
  CHECK(time_of_answer(0, true) < 20 * millisecond);
  const uint64_t one_way = time_of_answer(50 * millisecond, false);
  CHECK(one_way >= 50 * millisecond);
  CHECK(time_of_answer(50 * millisecond, true) >= one_way + 50 * millisecond);
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

// As CAF does with one of two connections between the same nodes.
TEST_CASE("where one end lets go of a connection, the other sees it closed") {
  for (bool at_client : {false, true}) {
    CAPTURE(at_client);
    Conversation talk;
    REQUIRE(talk.asked.connected);
    auto [server_end, client_end] = talk.network.ends(talk.link);
    auto attached = [](SimSystem& system, caf::io::connection_handle end) {
      auto scribe = system.multiplexer().impl_ptr(end);
      return scribe && !scribe->detached();
    };
    REQUIRE(attached(talk.server, server_end));
    REQUIRE(attached(talk.client, client_end));
    SimSystem& leaving = at_client ? talk.client : talk.server;
    auto scribe = leaving.multiplexer().impl_ptr(at_client ? client_end : server_end);
    scribe->detach(&leaving.multiplexer(), false);
    talk.run_until(talk.now_ns + 10 * millisecond);
    CHECK_FALSE(attached(talk.server, server_end));
    CHECK_FALSE(attached(talk.client, client_end));
  }
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
