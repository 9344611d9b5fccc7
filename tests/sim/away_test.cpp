// What others are kept from by a node that is away.
#include <doctest/doctest.h>

#include "tests/sim/machines.h"

namespace jade::sim {
namespace {

// The only machine without a replica.
size_t outsider_of(Machines& machines) {
  const auto holders = machines.shard(0).nodes;
  for (size_t i = 0; i < machines.nodes.size(); ++i) {
    if (std::count(holders.begin(), holders.end(), i + 1) == 0) return i;
  }
  FAIL("there is none");
  return 0;
}

// Another database, of dimension 2.
DatabaseInfo create(Machines& machines, const std::string& name, uint32_t shards,
                    uint32_t replicas) {
  DatabaseSpec spec;
  spec.name = name;
  spec.dimension = 2;
  spec.shards = shards;
  spec.replicas = replicas;
  DatabaseInfo out;
  REQUIRE(machines.await<DatabaseInfo>(
      machines.front(), [&](Api& api, auto done) { api.create_database(spec, done); },
      [&](const DatabaseInfo& info) {
        out = info;
        return true;
      }));
  return out;
}

// Of questions that nobody answers, after how long another replica is asked.
constexpr uint64_t silence_ns_max = 4'000 * ms;

}  // namespace

// It is connected still, and takes what it is sent.
TEST_CASE("a node without a replica reaches a shard whichever of its replicas is silent") {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    for (size_t which = 0; which < 3; ++which) {
      CAPTURE(seed);
      CAPTURE(which);
      Machines machines(seed, 4, {}, 3);
      const size_t outsider = outsider_of(machines);
      const ShardInfo shard = machines.shard(0);
      const size_t silent = shard.nodes[which] - 1;
      machines.late = {silent};
      std::erase(machines.others, silent);
      machines.cut_off(true);
      // Where it led, another is elected first.
      const uint64_t began_ns = machines.now_ns;
      bool written = machines.write(outsider, Machines::rows, 1);
      CHECK(written);
      CHECK(machines.now_ns - began_ns < silence_ns_max);
      // From then on it is known.
      const uint64_t then_ns = machines.now_ns;
      for (uint64_t i = 1; i <= 5; ++i) CHECK(machines.write(outsider, Machines::rows + i, 1));
      CHECK(machines.ask<StoredVector>(outsider, [](Api& api, auto done) {
        api.get({"d", VectorId(Machines::rows)}, done);
      }));
      CHECK(machines.now_ns - then_ns < 1'000 * ms);
    }
  }
}

// One of two replicas is lost, so that the third, which is wanted then, gets nothing.
TEST_CASE("what any replica may answer is not asked of one that has nothing yet") {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    for (size_t which = 0; which < 2; ++which) {
      CAPTURE(seed);
      CAPTURE(which);
      Machines machines(seed, 3, {}, 2);
      const size_t outsider = outsider_of(machines);
      const size_t lost = machines.shard(0).nodes[which] - 1;
      machines.run_until([] { return false; }, 1000 * ms);
      machines.nodes[lost]->crash();
      machines.others = {outsider};
      AlterDatabaseRequest change;
      change.name = "d";
      change.replicas = 3;
      REQUIRE(machines.await<DatabaseInfo>(
          outsider, [&](Api& api, auto done) { api.alter_database(change, done); },
          [](const DatabaseInfo& info) { return info.spec.replicas == 3; }));
      REQUIRE(machines.await<DatabaseInfo>(
          outsider, [](Api& api, auto done) { api.describe_database("d", done); },
          [&](const DatabaseInfo& info) {
            const auto& nodes = info.placement.front().nodes;
            return std::count(nodes.begin(), nodes.end(), outsider + 1) == 1;
          }));
      machines.run_until([] { return false; }, 3000 * ms);
      SearchRequest request;
      request.database = "d";
      request.vector = {1, 1};
      request.k = Machines::rows;
      request.exact = true;
      request.consistency = Consistency::eventual;
      const uint64_t began_ns = machines.now_ns;
      for (int i = 0; i < 5; ++i) {
        auto found = machines.answer_of<SearchReply>(
            outsider, [&](Api& api, auto done) { api.search(request, done); });
        REQUIRE_MESSAGE(found.ok(), found.status().to_string());
        CHECK(found->results.size() == Machines::rows);
        CHECK(machines.ask<StoredVector>(outsider, [](Api& api, auto done) {
          api.get({"d", VectorId(1), {}, Consistency::eventual}, done);
        }));
      }
      CHECK(machines.now_ns - began_ns < 1000 * ms);
    }
  }
}

TEST_CASE("a read that is under way when its node falls silent is answered by another") {
  for (size_t which = 0; which < 3; ++which) {
    CAPTURE(which);
    Machines machines(which, 4, {}, 3);
    const size_t outsider = outsider_of(machines);
    const size_t silent = machines.shard(0).nodes[which] - 1;
    machines.late = {silent};
    std::erase(machines.others, silent);
    machines.cut_off(true);
    const uint64_t began_ns = machines.now_ns;
    CHECK(machines.ask<StoredVector>(outsider, [](Api& api, auto done) {
      api.get({"d", VectorId(uint64_t{0})}, done);
    }));
    CHECK(machines.now_ns - began_ns < silence_ns_max);
  }
}

TEST_CASE(
    "a node that was away when a database was made becomes ready, also where nothing is in it") {
  for (size_t away = 0; away < 3; ++away) {
    CAPTURE(away);
    Machines machines(away, 3, {away});
    machines.nodes[away]->crash();
    create(machines, "empty", 2, 3);
    machines.start(away);
    machines.await_ready(away);
    // And is of use.
    const size_t lost = machines.others.back();
    machines.nodes[lost]->crash();
    CHECK(machines.await<DatabaseInfo>(
        machines.front(), [](Api& api, auto done) { api.describe_database("empty", done); },
        [&](const DatabaseInfo& info) {
          auto is_led = [&](const ShardInfo& shard) {
            return shard.leader != 0 && shard.leader != lost + 1;
          };
          return std::all_of(info.placement.begin(), info.placement.end(), is_led);
        }));
  }
}

// Away for so short that nobody has missed it, itself included.
TEST_CASE("what was created, and dropped, while a node was away is known to it at once") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    for (size_t away = 0; away < 3; ++away) {
      CAPTURE(seed);
      CAPTURE(away);
      Machines machines(seed, 3, {away});
      machines.run_until([] { return false; }, 2000 * ms);
      auto come_back = [&] {
        machines.paused.clear();
        machines.nodes[away]->system().advance_to(machines.now_ns);
      };
      machines.paused = {away};
      // Where it was the master, another is elected first.
      create(machines, "new", 1, 2);
      come_back();
      auto described = machines.answer_of<DatabaseInfo>(
          away, [](Api& api, auto done) { api.describe_database("new", done); });
      CHECK_MESSAGE(described.ok(), described.status().to_string());
      machines.paused = {away};
      REQUIRE(machines.await<DatabaseInfo>(
          machines.front(), [](Api& api, auto done) { api.drop_database("new", done); },
          [](const DatabaseInfo&) { return true; }));
      create(machines, "newer", 1, 2);
      come_back();
      const UpsertRequest row = Machines::rows_of("newer", 1, 1);
      auto written = machines.answer_of<UpsertReply>(
          away, [&](Api& api, auto done) { api.upsert(row, done); });
      CHECK_MESSAGE(written.ok(), written.status().to_string());
      auto dropped = machines.answer_of<DatabaseInfo>(
          away, [](Api& api, auto done) { api.describe_database("new", done); });
      CHECK(dropped.status().code() == Code::not_found);
    }
  }
}

TEST_CASE("of a database that it does not know a node without a master says that it may exist") {
  Machines machines(1, 3, {0});
  machines.cut_off(true);
  auto described = [&] {
    return machines
        .answer_of<DatabaseInfo>(0,
                                 [](Api& api, auto done) { api.describe_database("other", done); })
        .status();
  };
  for (int i = 0; i < 5; ++i) {
    // After its lease, where it was the master.
    machines.run_until([] { return false; }, 1000 * ms);
    const Status status = described();
    CHECK(status.code() == Code::unavailable);
    CHECK(status.message().find("\"other\", but its catalog may be old: ") != std::string::npos);
  }
  machines.cut_off(false);
  machines.run_until([] { return false; }, 5000 * ms);
  CHECK(described().code() == Code::not_found);
}

// So that its name is taken when the master is asked, and free when the log comes to it.
TEST_CASE(
    "a database that is created while one of its name is being dropped has a place, or is not") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Machines machines(seed, 3, {});
    std::optional<Status> dropped, created;
    DatabaseSpec spec;
    spec.name = "d";
    spec.dimension = 2;
    auto& api = machines.nodes[machines.front()]->api();
    // It is described first, which takes a while.
    api.drop_database("d", [&](const Result<DatabaseInfo>& info) { dropped = info.status(); });
    std::function<void()> create_again = [&] {
      api.create_database(spec, [&](const Result<DatabaseInfo>& info) {
        created = info.status();
        if (!dropped) create_again();
      });
    };
    create_again();
    REQUIRE(machines.run_until([&] { return dropped && created; }));
    CHECK(dropped->ok());
    machines.run_until([] { return false; }, 1000 * ms);
    create(machines, "other", 1, 3);
    CHECK(created->code() != Code::already_exists);
  }
}

// Or a load balancer would have nobody left.
TEST_CASE("nodes that are ready stay so while they open the shards of a new database") {
  Machines machines(1, 3, {});
  DatabaseSpec spec;
  spec.name = "new";
  spec.dimension = 2;
  spec.shards = 8;
  spec.replicas = 3;
  bool created = false;
  machines.nodes[0]->api().create_database(spec, [&](const Result<DatabaseInfo>& info) {
    created = true;
    CHECK(info.ok());
  });
  for (int i = 0; i < 1000 && !created; ++i) {
    for (size_t node = 0; node < 3; ++node) {
      auto ready =
          machines.answer_of<std::string>(node, [](Api& api, auto done) { api.ready(done); });
      CHECK_MESSAGE(ready.ok(), ready.status().to_string());
    }
    machines.run_until([] { return false; }, ms);
  }
  CHECK(created);
}

// A new master knows nothing yet of who has died with the old one.
TEST_CASE("a database is placed on nodes that answer, also just after others have died") {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    Machines machines(seed, 5, {}, 3);
    uint64_t master = 0;
    REQUIRE(machines.await<ClusterInfo>(
        machines.front(), [](Api& api, auto done) { api.cluster(done); },
        [&](const ClusterInfo& info) { return (master = info.master) != 0; }));
    const Nodes dead{master - 1, master % 5};
    for (size_t node : dead) {
      machines.nodes[node]->crash();
      std::erase(machines.others, node);
    }
    const DatabaseInfo made = create(machines, "new", 2, 3);
    REQUIRE(made.placement.size() == 2);
    for (const ShardInfo& shard : made.placement) {
      REQUIRE(shard.nodes.size() == 3);
      for (uint64_t node : shard.nodes) {
        CHECK(std::count(dead.begin(), dead.end(), node - 1) == 0);
      }
    }
  }
}

TEST_CASE("a node that was paused does not deny what was made meanwhile") {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    const size_t away = seed % 3;
    Machines machines(seed, 3, {away});
    machines.paused = {away};
    create(machines, "new", 1, 1);
    machines.run_until([] { return false; }, 4'000 * ms);
    machines.paused.clear();
    machines.nodes[away]->system().advance_to(machines.now_ns);
    // Asked before anything else comes to it.
    auto found = machines.answer_of<DatabaseInfo>(
        away, [](Api& api, auto done) { api.describe_database("new", done); });
    const Code code = found.status().code();
    CHECK_MESSAGE((code == Code::ok || code == Code::unavailable), found.status().to_string());
    CHECK(machines.await<DatabaseInfo>(
        away, [](Api& api, auto done) { api.describe_database("new", done); },
        [](const DatabaseInfo&) { return true; }));
    // And what does not exist is known not to, soon.
    machines.run_until([] { return false; }, 1'000 * ms);
    auto none = machines.answer_of<DatabaseInfo>(
        away, [](Api& api, auto done) { api.describe_database("none", done); });
    CHECK_MESSAGE(none.status().code() == Code::not_found, none.status().to_string());
  }
}

}  // namespace jade::sim
