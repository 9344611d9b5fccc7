// Who votes on the catalog while nodes are drained and removed:
// docs/decisions/0035-drained-nodes-vote.md.
#include <doctest/doctest.h>

#include <set>

#include "tests/sim/machines.h"

namespace jade::sim {
namespace {

// Three machines, of which the first is to stay. The others are drained, and hold nothing.
struct Drained : Machines {
  explicit Drained(uint64_t seed) : Machines(seed, 3, {}) {
    REQUIRE(ask<DatabaseInfo>(0, [](Api& api, auto done) {
      api.alter_database({"d", 1, std::nullopt}, done);
    }));
    for (size_t node : {1, 2}) change(0, node, NodeChange::drain);
    CHECK(await<ClusterInfo>(
        0, [](Api& api, auto done) { api.cluster(done); },
        [](const ClusterInfo& info) {
          return info.tasks.empty() && info.nodes[1].state == "drained" &&
                 info.nodes[2].state == "drained";
        }));
  }

  void change(size_t through, size_t node, NodeChange to) {
    const ChangeNodeRequest request{nodes[node]->config().name, to};
    REQUIRE(await<NodeInfo>(
        through, [&](Api& api, auto done) { api.change_node(request, done); },
        [](const NodeInfo&) { return true; }));
  }
  // Only who can change the catalog does.
  bool changes_catalog(size_t through, const std::string& database) {
    DatabaseSpec spec;
    spec.name = database;
    spec.dimension = 2;
    return ask<DatabaseInfo>(through, [&](Api& api, auto done) { api.create_database(spec, done); })
        .has_value();
  }
  bool await_voters(size_t through, const std::set<uint64_t>& wanted) {
    return await<ClusterInfo>(
        through, [](Api& api, auto done) { api.cluster(done); },
        [&](const ClusterInfo& info) {
          std::set<uint64_t> voters;
          for (const NodeInfo& node : info.nodes) {
            if (node.votes) voters.insert(node.id);
          }
          return voters == wanted;
        });
  }
};

}  // namespace

TEST_CASE("the catalog outlives the loss of the only node that is not drained") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Drained machines(seed);
    CHECK(machines.await_voters(0, {1, 2, 3}));
    machines.nodes[0]->crash();
    // Another leads within seconds.
    machines.change(1, 2, NodeChange::activate);
    CHECK(machines.changes_catalog(2, "e"));
  }
}

TEST_CASE("drained nodes that are switched off one after the other vote no more") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Drained machines(seed);
    machines.nodes[1]->crash();
    CHECK(machines.await_voters(0, {1}));
    machines.nodes[2]->crash();
    CHECK(machines.changes_catalog(0, "e"));
  }
}

TEST_CASE("what is removed can be switched off as soon as that is answered") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Drained machines(seed);
    for (size_t node : {1, 2}) {
      machines.change(0, node, NodeChange::remove);
      machines.nodes[node]->crash();
    }
    CHECK(machines.changes_catalog(0, "e"));
    CHECK(machines.await_voters(0, {1}));
  }
}

TEST_CASE("so can two that are removed at the same time, each as soon as that is answered") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Drained machines(seed);
    std::vector<std::pair<size_t, Status>> answers;
    for (size_t node : {1, 2}) {
      machines.nodes[0]->api().change_node(
          {machines.nodes[node]->config().name, NodeChange::remove},
          [&, node](const Result<NodeInfo>& done) { answers.emplace_back(node, done.status()); });
    }
    for (size_t gone = 0; gone < 2; ++gone) {
      REQUIRE(machines.run_until([&] { return answers.size() > gone; }));
      const auto& [node, status] = answers[gone];
      REQUIRE_MESSAGE(status.ok(), status.to_string());
      machines.nodes[node]->crash();
    }
    CHECK(machines.changes_catalog(0, "e"));
    CHECK(machines.await_voters(0, {1}));
  }
}

}  // namespace jade::sim
