// Replicas that take a copy of the shard from others, of whom some have nothing to give.
#include <doctest/doctest.h>

#include "actors/shard_replica.h"
#include "tests/sim/machines.h"

namespace jade::sim {
namespace {

// The node ends in the middle of a copy, and has nothing of its replica any more.
void end_in_copy(Machines& machines, size_t node) {
  SimNode& machine = *machines.nodes[node];
  const std::string dir = shard_directory(machine.config().data_dir, machines.shard(0).shard);
  machine.crash();
  SimDisk::Image image = machine.disk().image();
  std::erase_if(image.files, [&](const auto& file) { return file.first.starts_with(dir); });
  image.files[dir + "/REPLACING"] = "";
  machine.put_disk_back(image);
}

bool has_all(Machines& machines, uint64_t rows) {
  return machines.await<DatabaseInfo>(
      machines.front(), [](Api& api, auto done) { api.describe_database("d", done); },
      [&](const DatabaseInfo& info) { return info.vectors == rows; });
}

}  // namespace

TEST_CASE("replicas that take copies at the same time get them, whoever asks whom") {
  for (size_t one = 0; one < 5; ++one) {
    for (size_t other = one + 1; other < 5; ++other) {
      CAPTURE(one);
      CAPTURE(other);
      Machines machines(one, 5, {one, other});
      for (size_t i : machines.late) end_in_copy(machines, i);
      for (size_t i : machines.late) machines.start(i);
      for (size_t i : machines.late) machines.await_ready(i);
      CHECK(has_all(machines, Machines::rows));
    }
  }
}

// Two of five are lost. Of the three that are left, all of which it takes for a leader, one
// has nothing, the one that it asks first lacks the last write, and the last has all.
TEST_CASE("a replica that needs a copy asks another after one that cannot give it") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Machines machines(seed, 5, {});
    Nodes by_turn;
    for (uint64_t node : machines.shard(0).nodes) by_turn.push_back(node - 1);
    const size_t empty = by_turn[0], behind = by_turn[1], whole = by_turn[2];
    machines.late = {behind};
    std::erase(machines.others, behind);
    machines.cut_off(true);
    machines.others = {whole};
    UpsertRequest last;
    last.database = "d";
    last.dimension = 2;
    last.ids = {Machines::rows};
    const float values[2] = {1, 2};
    last.values.assign(reinterpret_cast<const char*>(values), sizeof values);
    REQUIRE(machines.await<UpsertReply>(
        whole, [&](Api& api, auto done) { api.upsert(last, done); },
        [](const UpsertReply&) { return true; }));
    REQUIRE(has_all(machines, Machines::rows + 1));
    machines.run_until([] { return false; }, 1000 * ms);
    end_in_copy(machines, empty);
    for (size_t lost : {by_turn[3], by_turn[4]}) machines.nodes[lost]->crash();
    machines.cut_off(false);
    machines.start(empty);
    machines.await_ready(empty);
    CHECK(has_all(machines, Machines::rows + 1));
  }
}

}  // namespace jade::sim
