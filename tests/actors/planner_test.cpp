#include "actors/planner.h"

#include <doctest/doctest.h>

#include <random>

#include "actors/catalog.h"

namespace jade {
namespace {

ClusterMap cluster_of(uint64_t nodes) {
  ClusterMap map;
  for (uint64_t id = 1; id <= nodes; ++id) {
    map.nodes[id].id = id;
    map.nodes[id].name = "n" + std::to_string(id);
  }
  return map;
}

NodeHealth all_alive(const ClusterMap& map) {
  NodeHealth health;
  for (const auto& [id, node] : map.nodes) health.alive.insert(id);
  return health;
}

DatabaseSpec spec_of(const std::string& name, uint32_t shards, uint32_t replicas) {
  DatabaseSpec spec;
  spec.name = name;
  spec.dimension = 8;
  spec.shards = shards;
  spec.replicas = replicas;
  return spec;
}

void add_database(ClusterMap& map, const DatabaseSpec& spec) {
  auto placed = place(spec, map, all_alive(map));
  REQUIRE(placed.ok());
  uint64_t group = 100 * (map.databases.size() + 1);
  for (ShardPlacement& shard : *placed) {
    shard.group = group++;
    shard.founded = true;
  }
  map.databases[spec.name] = {spec, *placed};
}

ShardPlacement& shard_of(ClusterMap& map, uint64_t group) {
  for (auto& [name, entry] : map.databases) {
    for (ShardPlacement& shard : entry.shards) {
      if (shard.group == group) return shard;
    }
  }
  FAIL("there is no such shard");
  std::abort();
}

void settle(ShardPlacement& shard) {
  shard.nodes = target_of(shard);
  shard.joining.clear();
  shard.leaving.clear();
}

// What a cluster does with plans: each is taken, and its move comes to an end.
int carry_out(ClusterMap& map, const NodeHealth& health) {
  for (int moves = 0; moves < 1000; ++moves) {
    auto next = plan_move(map, health);
    if (!next) return moves;
    ShardPlacement& shard = shard_of(map, next->group);
    REQUIRE(next->version == shard.version);
    shard = *next;
    settle(shard);
    CHECK(std::set<uint64_t>(shard.nodes.begin(), shard.nodes.end()).size() == shard.nodes.size());
  }
  FAIL("plans without end");
  return -1;
}

std::map<uint64_t, int> replicas_by_node(const ClusterMap& map) {
  std::map<uint64_t, int> out;
  for (const auto& [id, node] : map.nodes) out[id] = 0;
  for (const auto& [name, entry] : map.databases) {
    for (const ShardPlacement& shard : entry.shards) {
      for (uint64_t node : shard.nodes) ++out[node];
    }
  }
  return out;
}

}  // namespace

TEST_CASE("replicas go to different nodes, and replicas and leaders are spread") {
  ClusterMap map = cluster_of(5);
  std::map<uint64_t, int> leaders;
  for (int i = 0; i < 4; ++i) add_database(map, spec_of("db" + std::to_string(i), 5, 3));
  for (const auto& [name, entry] : map.databases) {
    for (const ShardPlacement& shard : entry.shards) {
      CHECK(std::set<uint64_t>(shard.nodes.begin(), shard.nodes.end()).size() == 3);
      ++leaders[shard.nodes.front()];
    }
  }
  for (const auto& [node, replicas] : replicas_by_node(map)) {
    CHECK(replicas == 12);
    CHECK(leaders[node] == 4);
  }
  auto refused = place(spec_of("wide", 1, 6), map, all_alive(map));
  CHECK(refused.status().code() == Code::failed_precondition);
  CHECK(refused.status().message() == "replicas is 6, but the cluster has 5 nodes to put them on");
  // Nodes that are away come last, nodes that are drained or no workers never.
  NodeHealth health;
  health.alive = {3, 4};
  auto placed = place(spec_of("small", 1, 2), map, health);
  REQUIRE(placed.ok());
  CHECK(std::set<uint64_t>(placed->front().nodes.begin(), placed->front().nodes.end()) ==
        std::set<uint64_t>{3, 4});
  map.nodes[3].draining = true;
  map.nodes[4].roles = static_cast<uint8_t>(NodeRole::master);
  placed = place(spec_of("small", 1, 3), map, health);
  REQUIRE(placed.ok());
  CHECK(std::set<uint64_t>(placed->front().nodes.begin(), placed->front().nodes.end()) ==
        std::set<uint64_t>{1, 2, 5});
}

TEST_CASE("a balanced cluster is left alone") {
  ClusterMap map = cluster_of(4);
  for (int i = 0; i < 3; ++i) add_database(map, spec_of("db" + std::to_string(i), 4, 3));
  CHECK(carry_out(map, all_alive(map)) == 0);
}

TEST_CASE("a drained node is emptied, for the others to hold its replicas") {
  ClusterMap map = cluster_of(4);
  add_database(map, spec_of("a", 4, 3));
  map.nodes[2].draining = true;
  auto first = plan_move(map, all_alive(map));
  REQUIRE(first);
  CHECK(first->leaving == std::vector<uint64_t>{2});
  CHECK(first->joining.size() == 1);
  CHECK(static_cast<MoveReason>(first->reason) == MoveReason::drain);
  // While it moves, it is left alone, and nothing else moves to the same node.
  shard_of(map, first->group) = *first;
  auto second = plan_move(map, all_alive(map));
  if (second) CHECK(second->joining != first->joining);
  settle(shard_of(map, first->group));
  carry_out(map, all_alive(map));
  CHECK(replicas_by_node(map) == std::map<uint64_t, int>{{1, 4}, {2, 0}, {3, 4}, {4, 4}});
}

TEST_CASE("the replicas of a lost node are replaced where there is room") {
  ClusterMap map = cluster_of(4);
  add_database(map, spec_of("a", 4, 3));
  NodeHealth health = all_alive(map);
  health.alive.erase(1);
  CHECK(!plan_move(map, health));  // away, but not for long
  health.lost.insert(1);
  auto move = plan_move(map, health);
  REQUIRE(move);
  CHECK(static_cast<MoveReason>(move->reason) == MoveReason::replace);
  carry_out(map, health);
  CHECK(replicas_by_node(map)[1] == 0);
  // With three left there is nowhere to go.
  health.alive.erase(2);
  health.lost.insert(2);
  CHECK(!plan_move(map, health));
}

TEST_CASE("a replica is not replaced where those that are left are no majority") {
  ClusterMap map = cluster_of(4);
  add_database(map, spec_of("a", 1, 2));
  ShardPlacement& shard = map.databases["a"].shards.front();
  NodeHealth health = all_alive(map);
  const uint64_t lost = shard.nodes.back();
  health.alive.erase(lost);
  health.lost.insert(lost);
  CHECK(!plan_move(map, health));
  // With the third they are one.
  for (uint64_t node = 1; shard.nodes.size() < 3; ++node) {
    if (std::count(shard.nodes.begin(), shard.nodes.end(), node) == 0) shard.nodes.push_back(node);
  }
  map.databases["a"].spec.replicas = 3;
  auto move = plan_move(map, health);
  REQUIRE(move);
  CHECK(static_cast<MoveReason>(move->reason) == MoveReason::replace);
}

TEST_CASE("a move to a node that is lost is turned to another") {
  ClusterMap map = cluster_of(5);
  add_database(map, spec_of("a", 1, 3));
  uint64_t gone = map.databases["a"].shards[0].nodes[0];
  map.nodes[gone].draining = true;
  NodeHealth health = all_alive(map);
  auto first = plan_move(map, health);
  REQUIRE(first);
  map.databases["a"].shards[0] = *first;
  uint64_t to = first->joining.front();
  health.alive.erase(to);
  CHECK(!plan_move(map, health));
  health.lost.insert(to);
  auto second = plan_move(map, health);
  REQUIRE(second);
  CHECK(second->joining.size() == 1);
  CHECK(second->joining.front() != to);
  CHECK(std::set<uint64_t>(second->leaving.begin(), second->leaving.end()) ==
        std::set<uint64_t>{gone, to});
  CHECK(second->nodes.size() == 5);
}

TEST_CASE("a move that cannot end is taken back where no other node is left") {
  ClusterMap map = cluster_of(3);
  add_database(map, spec_of("a", 2, 3));
  map.nodes[4] = {4, "n4", "", "", false, 0};
  ShardPlacement& shard = map.databases["a"].shards[0];
  shard.nodes = {4, 2, 3, 1};
  shard.joining = {4};
  shard.leaving = {1};
  NodeHealth health;
  health.alive = {1, 2, 3};
  health.lost = {4};
  auto move = plan_move(map, health);
  REQUIRE(move);
  CHECK(target_of(*move) == std::vector<uint64_t>{1, 2, 3});
  // It may never have had its replica.
  CHECK(move->joining == std::vector<uint64_t>{1});
  CHECK(move->leaving == std::vector<uint64_t>{4});
}

TEST_CASE("a move that cannot end is taken back by nodes that are drained, if no other is left") {
  ClusterMap map = cluster_of(4);
  add_database(map, spec_of("a", 1, 3));
  map.nodes[5] = {5, "n5", "", "", false, 0};
  map.nodes[3].draining = map.nodes[5].draining = true;
  ShardPlacement& shard = map.databases["a"].shards[0];
  // 5 was to get one before it was drained, and waits for it.
  shard.nodes = {1, 4, 2, 3, 5};
  shard.joining = {2};
  shard.leaving = {3, 5};
  NodeHealth health;
  health.alive = {1, 3, 4, 5};
  health.lost = {2};
  auto move = plan_move(map, health);
  REQUIRE(move);
  CHECK(target_of(*move) == std::vector<uint64_t>{1, 4, 3});
  CHECK(move->joining == std::vector<uint64_t>{3});
  CHECK(move->leaving == std::vector<uint64_t>{2, 5});
  // It ends, and 3 keeps its replica until there is a node for it.
  shard = *move;
  CHECK(!plan_move(map, health));
  settle(shard);
  CHECK(!plan_move(map, health));
  map.nodes[6] = {6, "n6", "", "", false, 0};
  health.alive.insert(6);
  auto next = plan_move(map, health);
  REQUIRE(next);
  CHECK(target_of(*next) == std::vector<uint64_t>{1, 4, 6});
}

TEST_CASE("a shard gets the replicas that its database asks for, more or fewer") {
  ClusterMap map = cluster_of(4);
  add_database(map, spec_of("a", 2, 1));
  map.databases["a"].spec.replicas = 3;
  carry_out(map, all_alive(map));
  for (const ShardPlacement& shard : map.databases["a"].shards) CHECK(shard.nodes.size() == 3);
  map.databases["a"].spec.replicas = 2;
  map.nodes[4].draining = true;
  carry_out(map, all_alive(map));
  for (const ShardPlacement& shard : map.databases["a"].shards) CHECK(shard.nodes.size() == 2);
  CHECK(replicas_by_node(map)[4] == 0);
}

TEST_CASE("a node that joins gets its share, of replicas and of leaders") {
  ClusterMap map = cluster_of(3);
  add_database(map, spec_of("a", 8, 3));
  map.nodes[4] = {4, "n4", "", "", false, 0};
  NodeHealth health = all_alive(map);
  auto first = plan_move(map, health);
  REQUIRE(first);
  CHECK(static_cast<MoveReason>(first->reason) == MoveReason::balance);
  CHECK(first->joining == std::vector<uint64_t>{4});
  // One at a time.
  shard_of(map, first->group) = *first;
  CHECK(!plan_move(map, health));
  settle(shard_of(map, first->group));
  carry_out(map, health);
  std::map<uint64_t, int> leaders;
  for (const ShardPlacement& shard : map.databases["a"].shards) ++leaders[shard.nodes.front()];
  for (const auto& [node, replicas] : replicas_by_node(map)) {
    CHECK(replicas == 6);
    CHECK(leaders[node] >= 1);
    CHECK(leaders[node] <= 3);
  }
}

TEST_CASE("a shard that has had no leader yet is not moved") {
  ClusterMap map = cluster_of(4);
  add_database(map, spec_of("a", 1, 3));
  ShardPlacement& shard = map.databases["a"].shards[0];
  map.nodes[shard.nodes[0]].draining = true;
  shard.founded = false;
  CHECK(!plan_move(map, all_alive(map)));
  shard.founded = true;
  CHECK(plan_move(map, all_alive(map)));
}

TEST_CASE("plans always come to an end where nothing bad is left that could be mended") {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    ClusterMap map = cluster_of(3 + random() % 5);
    for (int i = 0; i < 3; ++i) {
      uint32_t replicas = 1 + static_cast<uint32_t>(random() % 3);
      add_database(map, spec_of("d" + std::to_string(i), 1 + random() % 6, replicas));
    }
    NodeHealth health = all_alive(map);
    uint64_t joined = map.nodes.size() + 1;
    if (random() % 2 == 0) {
      map.nodes[joined] = {joined, "late", "", "", false, 0};
      health.alive.insert(joined);
    }
    uint64_t bad = 1 + random() % map.nodes.size();
    if (random() % 2 == 0) map.nodes[bad].draining = true;
    if (random() % 2 == 0) {
      health.alive.erase(bad);
      health.lost.insert(bad);
    }
    for (auto& [name, entry] : map.databases) {
      if (random() % 3 == 0) entry.spec.replicas = 1 + static_cast<uint32_t>(random() % 3);
    }
    std::set<uint64_t> hopeless;  // shards of which no majority is left
    for (const auto& [name, entry] : map.databases) {
      for (const ShardPlacement& shard : entry.shards) {
        const bool loses = health.lost.count(bad) > 0 &&
                           std::count(shard.nodes.begin(), shard.nodes.end(), bad) > 0;
        if (loses && shard.nodes.size() < 3) hopeless.insert(shard.group);
      }
    }
    carry_out(map, health);
    size_t good = map.nodes.size() - (map.nodes[bad].draining || health.lost.count(bad) > 0);
    for (const auto& [name, entry] : map.databases) {
      if (entry.spec.replicas > good) continue;
      for (const ShardPlacement& shard : entry.shards) {
        if (hopeless.count(shard.group) > 0) continue;
        CHECK(shard.nodes.size() == entry.spec.replicas);
        if (good < map.nodes.size()) {
          CHECK(std::find(shard.nodes.begin(), shard.nodes.end(), bad) == shard.nodes.end());
        }
      }
    }
  }
}

TEST_CASE("who votes on the catalog") {
  ClusterMap map = cluster_of(3);
  NodeHealth health = all_alive(map);
  using Nodes = std::set<uint64_t>;
  CHECK(plan_voters(map, health, {1}, {1, 2, 3}) == Nodes{1, 2, 3});
  CHECK(plan_voters(map, health, {1}, {1, 2}) == Nodes{1, 2});
  // A lost voter stays while nobody can take its place.
  health.lost = {3};
  CHECK(plan_voters(map, health, {1, 2, 3}, {1, 2}) == Nodes{1, 2, 3});
  map = cluster_of(4);
  CHECK(plan_voters(map, health, {1, 2, 3}, {1, 2, 4}) == Nodes{1, 2, 4});
  // Whoever votes goes on voting.
  CHECK(plan_voters(map, NodeHealth(), {2, 3, 4}, {1, 2, 3, 4}) == Nodes{2, 3, 4});
  map.nodes[2].draining = true;
  CHECK(plan_voters(map, NodeHealth(), {2, 3, 4}, {1, 2, 3, 4}) == Nodes{1, 3, 4});
  map.nodes[1].roles = static_cast<uint8_t>(NodeRole::worker);
  // Nothing is known to be alive, so the drained one does not count.
  CHECK(plan_voters(map, NodeHealth(), {2, 3, 4}, {1, 2, 3, 4}) == Nodes{3});
  CHECK(plan_voters(cluster_of(9), NodeHealth(), {1, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8}).size() == 5);
}

TEST_CASE("drained nodes vote on the catalog where fewer than three others are") {
  ClusterMap map = cluster_of(3);
  NodeHealth health = all_alive(map);
  using Nodes = std::set<uint64_t>;
  map.nodes[2].draining = true;
  CHECK(plan_voters(map, health, {1, 2, 3}, {1, 2, 3}) == Nodes{1, 2, 3});
  map.nodes[3].draining = true;
  CHECK(plan_voters(map, health, {1, 2, 3}, {1, 2, 3}) == Nodes{1, 2, 3});
  // By an earlier version they had lost their votes.
  CHECK(plan_voters(map, health, {1}, {1, 2, 3}) == Nodes{1, 2, 3});
  CHECK(plan_voters(map, health, {1, 2, 3}, {1, 2, 3}, {3}) == Nodes{1});
  // Switched off without having been removed; not yet lost.
  health.alive = {1, 3};
  CHECK(plan_voters(map, health, {1, 2, 3}, {1, 3}) == Nodes{1});
  health.alive = {1};
  CHECK(plan_voters(map, health, {1, 2, 3}, {1}) == Nodes{1});

  // Another takes the place of one as soon as it has caught up.
  map = cluster_of(4);
  map.nodes[1].draining = map.nodes[3].draining = true;
  health = all_alive(map);
  CHECK(plan_voters(map, health, {1, 2, 3}, {1, 2, 3}) == Nodes{1, 2, 3});
  CHECK(plan_voters(map, health, {1, 2, 3}, {1, 2, 3, 4}) == Nodes{1, 2, 4});
  // No more than three, whoever is drained; the one that votes already rather than another.
  map = cluster_of(7);
  for (uint64_t node : {1, 2, 3, 4, 5}) map.nodes[node].draining = true;
  health = all_alive(map);
  CHECK(plan_voters(map, health, {3, 5, 6, 7}, {1, 2, 3, 4, 5, 6, 7}) == Nodes{3, 6, 7});
  // A drained node that is there rather than another that is lost.
  health.lost = {6};
  CHECK(plan_voters(map, health, {3, 5, 6}, {1, 2, 3, 4, 5, 7}) == Nodes{3, 5, 7});
  map.nodes[5].draining = false;
  CHECK(plan_voters(map, health, {3, 5, 6}, {1, 2, 3, 4, 5, 7}) == Nodes{3, 5, 7});
  // Nor is a vote given to one that is lost.
  map = cluster_of(4);
  map.nodes[4].draining = true;
  health = all_alive(map);
  health.lost = {3};
  CHECK(plan_voters(map, health, {1, 2}, {1, 2, 3, 4}) == Nodes{1, 2, 4});
}

}  // namespace jade
