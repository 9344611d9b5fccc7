#include "actors/cluster_view.h"

#include <doctest/doctest.h>

namespace jade {
namespace {

// Nodes 1 to n, of which node 1 is asked, and one database with one shard, 7.
struct Cluster {
  ClusterMap map;
  PeerStates peers;
  ShardInfo shard;
  ShardPlacement placement;
  DatabaseSpec spec;
  uint64_t master = 1;

  explicit Cluster(uint64_t nodes) {
    for (uint64_t id = 1; id <= nodes; ++id) {
      map.nodes[id] = {id, "n" + std::to_string(id), "", "", false, 0, {}};
      if (id == 1) continue;
      peers.connected.push_back(id);
      peers.silent_ms[id] = 300;
    }
    spec.name = "d";
    placement.group = shard.shard = 7;
    placement.founded = true;
  }

  void place(std::vector<uint64_t> nodes, uint64_t leader) {
    placement.nodes = shard.nodes = std::move(nodes);
    shard.leader = leader;
  }
  void move(std::vector<uint64_t> joining, std::vector<uint64_t> leaving) {
    placement.joining = std::move(joining);
    placement.leaving = std::move(leaving);
    placement.reason = static_cast<uint8_t>(MoveReason::drain);
  }
  void silence(uint64_t node, uint64_t ms) { peers.silent_ms[node] = ms; }

  ClusterInfo view() {
    map.databases["d"] = {spec, {placement}};
    ClusterInfo info;
    info.master = master;
    for (const auto& [id, node] : map.nodes) info.nodes.push_back(describe_node(map, node));
    DatabaseInfo database;
    database.spec = spec;
    database.placement = {shard};
    info.databases = {database};
    describe_cluster(map, 1, peers, info);
    return info;
  }
  // What the only task waits for.
  std::string waits() {
    auto info = view();
    REQUIRE(info.tasks.size() == 1);
    return info.tasks[0].waiting_for;
  }
};

}  // namespace

TEST_CASE("a node is alive when it is connected and has been heard of lately") {
  Cluster c(4);
  c.place({1}, 1);
  c.silence(2, 60'000);        // its connection stays
  c.peers.connected = {2, 4};  // 3 has lost its own
  c.peers.silent_ms.erase(4);  // and of 4 nothing has come yet
  auto nodes = c.view().nodes;
  CHECK(nodes[0].alive);
  CHECK(!nodes[0].silent_ms);
  CHECK(!nodes[1].alive);
  CHECK(nodes[1].silent_ms == 60'000);
  CHECK(!nodes[2].alive);
  CHECK(nodes[2].silent_ms == 300);
  CHECK(!nodes[3].alive);
  CHECK(!nodes[3].silent_ms);
  c.peers.problems[2] = "too old";
  c.silence(2, 100);
  nodes = c.view().nodes;
  CHECK(!nodes[1].alive);
  CHECK(nodes[1].problem == "too old");
}

TEST_CASE("replicas that do not serve are shown at their shard, those of other shards not") {
  Cluster c(3);
  c.place({1, 2}, 2);
  c.peers.shards[1] = {{7, "disk_full: no space"}, {8, "corruption: bad"}};
  c.peers.shards[3] = {{7, "is no replica any more"}};
  c.shard.problems = {{2, "has answered"}};  // node 2 does not say so any more
  auto shard = c.view().databases[0].placement[0];
  CHECK(shard.problems == std::vector<ReplicaProblem>{{1, "disk_full: no space"}});
}

TEST_CASE("a move that goes on waits for nothing") {
  Cluster c(3);
  c.place({1, 2, 3}, 1);
  c.move({3}, {2});
  c.shard.replicas = {{1, true, 9, -1}, {2, true, 9, -1}, {3, false, 0, 0.5}};
  CHECK(c.waits() == "");
  CHECK(c.view().tasks[0].state == "copying");
  c.shard.replicas[2] = {3, true, 9, -1};
  CHECK(c.waits() == "");
  CHECK(c.view().tasks[0].state == "removing");
}

TEST_CASE("a move says what it waits for") {
  Cluster c(3);
  c.place({1, 2, 3}, 1);
  c.move({3}, {2});
  SUBCASE("the node that is to get the replica") {
    c.silence(3, 12'300);
    CHECK(c.waits() == "n3, which has not been heard of for 12 s");
    c.peers.silent_ms.erase(3);
    CHECK(c.waits() == "n3, which has not been heard of");
    c.silence(3, 100);
    c.peers.problems[3] = "its disk is old";
    CHECK(c.waits() == "n3, which must not take part: its disk is old");
  }
  SUBCASE("its replica") {
    c.peers.shards[3] = {{7, "disk_full: no space"}};
    CHECK(c.waits() == "n3, whose replica does not serve: disk_full: no space");
  }
  SUBCASE("the leader to begin") {
    CHECK(c.waits() == "the shard's leader n1 to take in n3");
    c.shard.replicas = {{3, false, 0, -1}};
    CHECK(c.waits() == "n3 to begin its replica");
  }
  SUBCASE("a leader") {
    c.shard.leader = 0;
    CHECK(c.waits() == "a leader of the shard, which is being elected");
    c.silence(2, 9000);
    c.peers.shards[1] = {{7, "io_error: gone"}};
    CHECK(c.waits() ==
          "a leader of the shard: n2, which has not been heard of for 9 s; n1: io_error: gone");
    c.shard.leader = 2;
    CHECK(c.waits() == "the shard's leader n2, which has not been heard of for 9 s");
    c.shard.unknown = "cannot be reached";
    CHECK(c.waits().find("a leader of the shard: n2") == 0);
  }
  SUBCASE("those who are left, and the leader that is to go") {
    c.place({1, 2, 3}, 2);
    c.shard.replicas = {{3, true, 9, -1}};
    CHECK(c.waits() == "n2 to hand over its lead");
    c.silence(3, 8000);
    CHECK(c.waits() ==
          "n3, which has not been heard of for 8 s; without n2 there might be no majority");
  }
}

TEST_CASE("a split waits for a leader only") {
  Cluster c(2);
  c.place({1, 2}, 1);
  c.placement.child = 8;
  CHECK(c.waits() == "");
  c.shard.leader = 0;
  CHECK(c.waits() == "a leader of the shard, which is being elected");
}

TEST_CASE("a node that should be empty says why it is not") {
  Cluster c(3);
  c.place({1, 2}, 1);
  auto of = [&](uint64_t node) { return c.view().nodes[node - 1].waiting_for; };
  CHECK(of(2) == "");
  c.map.nodes[2].draining = true;
  CHECK(of(2) == "the master to plan its moves");
  c.map.nodes[3].roles = static_cast<uint8_t>(NodeRole::gateway);
  std::string no_place =
      "another worker that is alive, not drained and has no replica of shard 7 of \"d\"";
  CHECK(of(2) == no_place);
  c.map.nodes[3].roles = 0;
  c.placement.child = 8;
  CHECK(of(2) == "the end of the split of shard 7 of \"d\"");
  c.placement.child = 0;
  c.silence(3, 9000);
  CHECK(of(2) == no_place);
  CHECK(of(3) == "");  // holds nothing
  c.silence(3, 0);
  c.master = 0;
  CHECK(of(2) == "a master, which plans moves");
  c.master = 1;
  c.place({1, 2, 3}, 1);
  c.move({3}, {2});
  CHECK(of(2) == "");  // the task says it
  c.move({}, {});
  c.map.nodes[2].draining = false;
  c.place({1, 2}, 1);
  c.silence(2, 9000);
  CHECK(of(2) == "n2 to come back, or to be silent for long enough");
}

}  // namespace jade
