#include "sim/simulation.h"

#include <doctest/doctest.h>

#include "sim/run.h"

namespace jade::sim {
namespace {

SimulationOptions of_seed(uint64_t seed) {
  SimulationOptions options;
  options.seed = seed;
  return options;
}

SimulationReport run(uint64_t seed) {
  SimulationOptions options = of_seed(seed);
  options.simulated_ms = 5000;
  return simulate(options);
}

// Of a run that finds nothing wrong.
SimulationReport passing(const SimulationOptions& options) {
  SimulationReport report = simulate(options);
  REQUIRE_MESSAGE(report.failure.empty(), report.failure);
  return report;
}

}  // namespace

TEST_CASE("seeds pass, each differs from the others, and a seed is one run") {
  SimulationReport first = run(1);
  for (uint64_t seed : {1, 2, 3}) {
    CAPTURE(seed);
    SimulationReport report = seed == 1 ? first : run(seed);
    REQUIRE_MESSAGE(report.failure.empty(), report.failure);
    CHECK(report.seed == seed);
    CHECK(report.simulated_ns >= 4'000'000'000);
    CHECK(report.writes_acknowledged > 0);
    CHECK(report.reads_checked > 0);
    CHECK(report.searches_checked > 0);
    CHECK(report.checkpoints > 0);
    CHECK(!report.faults.empty());
    if (seed != 1) CHECK(report.trace_hash != first.trace_hash);
  }
  SimulationReport again = run(1);
  CHECK(again.failure.empty());
  CHECK(again.trace_hash == first.trace_hash);
  CHECK(again.steps == first.steps);
}

TEST_CASE("the end of the log is that of the whole, whether anybody listens or not") {
  SimulationOptions options = of_seed(6);
  options.nodes = 3;
  options.simulated_ms = 3000;
  options.fault_interval_ms = 300;
  std::vector<std::string> all;
  const uint64_t trace = simulate(options).trace_hash;
  options.log = [&all](const std::string& line) { all.push_back(line); };
  CHECK(simulate(options).trace_hash == trace);
  REQUIRE(all.size() > 7);
  CHECK(last_lines(options, 7) == std::vector<std::string>(all.end() - 7, all.end()));
  CHECK(last_lines(options, 100'000) == all);
}

TEST_CASE("a log ends with the failure") {
  std::vector<std::string> all;
  SimulationOptions options;
  options.log = [&all](const std::string& line) { all.push_back(line); };
  Run run(options);
  run.say(0, "starts");
  run.fail("this");
  run.say(0, "crashes");
  run.fail("that");
  REQUIRE(all.size() == 2);
  CHECK(all[1] == "failed at 1000 ms, step 0: this");
}

TEST_CASE("without faults nothing fails") {
  SimulationOptions options;
  options.seed = 4;
  options.simulated_ms = 2000;
  options.fault_interval_ms = 0;
  SimulationReport report = passing(options);
  CHECK(report.writes_failed == 0);
  CHECK(report.writes_acknowledged > 0);
  // Checkpoints restart the node to compare what it holds; nothing else strikes.
  CHECK(report.faults.count(Fault::disk_full) + report.faults.count(Fault::read_corruption) == 0);
}

TEST_CASE("clusters pass, and a seed is one run of them, too") {
  std::map<Fault, uint64_t> faults;
  uint64_t first_trace = 0;
  size_t copies = 0;
  uint64_t lacking_searched = 0, eventual_searched = 0, lacking_shards = 0;
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = seed % 4 == 0 ? 5 : 3;
    if (seed > 1) options.retained_bytes = 0;  // whoever lags must be copied
    options.simulated_ms = 10'000;
    options.fault_interval_ms = 900;  // so that all kinds come
    options.operator_interval_ms = seed % 4 == 0 ? 400 : 2000;
    options.log = [&copies](const std::string& line) {
      copies += line.find("is a copy of its leader's") != std::string::npos;
    };
    SimulationReport report = passing(options);
    CHECK(report.writes_acknowledged > 0);
    CHECK(report.checkpoints > 0);
    CHECK(report.bytes_sent > 100'000);
    lacking_searched += report.lacking_searched;
    eventual_searched += report.eventual_searched;
    lacking_shards += report.lacking_shards;
    for (const auto& [fault, times] : report.faults) faults[fault] += times;
    if (seed == 1) first_trace = report.trace_hash;
  }
  for (Fault fault : {Fault::crash, Fault::power_loss, Fault::disk_full, Fault::read_corruption,
                      Fault::partition, Fault::disconnect, Fault::pause}) {
    CAPTURE(std::string(name_of(fault)));
    CHECK(faults[fault] > 0);
  }
  CHECK(lacking_searched > 0);
  CHECK(eventual_searched > 50);
  CHECK(lacking_shards > 0);
  CHECK(copies > 0);  // replicas whose log could not be continued
  SimulationOptions again;
  again.seed = 1;
  again.nodes = 3;
  again.simulated_ms = 10'000;
  again.fault_interval_ms = 900;
  again.operator_interval_ms = 2000;
  CHECK(simulate(again).trace_hash == first_trace);
}

TEST_CASE("nodes come and go under load") {
  std::map<Fault, uint64_t> faults;
  uint64_t writes = 0;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = 4;
    options.spares = 2;
    options.simulated_ms = 20'000;
    options.operator_interval_ms = 300;
    options.faults = {Fault::join, Fault::drain, Fault::remove, Fault::replicas};
    SimulationReport report = passing(options);
    writes += report.writes_acknowledged;
    for (const auto& [fault, times] : report.faults) faults[fault] += times;
  }
  // In one seed of thirty a checkpoint that waits for moves takes most of the time.
  CHECK(writes > 500);
  for (Fault fault : {Fault::join, Fault::drain, Fault::remove, Fault::replicas}) {
    CAPTURE(std::string(name_of(fault)));
    CHECK(faults[fault] > 0);
  }
}

TEST_CASE("shards are split under load, and no write fails by that") {
  uint64_t splits = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = seed % 2 == 0 ? 3 : 2;
    options.spares = 0;
    options.simulated_ms = 15'000;
    options.operator_interval_ms = 300;
    options.faults = {Fault::split};
    SimulationReport report = passing(options);
    CHECK(report.writes_acknowledged > 100);
    CHECK(report.writes_failed == 0);
    splits += report.faults[Fault::split];
  }
  CHECK(splits > 20);
}

TEST_CASE("shards are split on machines that crash") {
  uint64_t splits = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = 3;
    options.spares = 0;
    options.simulated_ms = 15'000;
    options.operator_interval_ms = 500;
    options.fault_interval_ms = 700;
    options.faults = {Fault::split, Fault::crash, Fault::power_loss, Fault::partition};
    SimulationReport report = passing(options);
    splits += report.faults[Fault::split];
  }
  // About three a seed; in one seed of twenty, none.
  CHECK(splits > 5);
}

TEST_CASE("with sharding by vector, vectors move between shards, also on machines that crash") {
  uint64_t routed = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = 3;
    options.spares = 0;
    options.shards = 3;
    options.by_vector = true;
    options.simulated_ms = 10'000;
    options.fault_interval_ms = 1000;
    options.faults = {Fault::crash, Fault::power_loss, Fault::partition, Fault::disconnect};
    if (seed % 3 == 0) options.faults.clear();
    SimulationReport report = passing(options);
    if (options.faults.empty()) CHECK(report.writes_failed == 0);
    routed += report.routed;
  }
  // Else nothing would have moved but what was written anew.
  CHECK(routed > 3);
}

TEST_CASE("nodes that lose their disks are replaced") {
  uint64_t lost = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = 3;
    options.simulated_ms = 15'000;
    options.operator_interval_ms = 300;
    options.faults = {Fault::lost_disk, Fault::join, Fault::drift};
    SimulationReport report = passing(options);
    lost += report.faults[Fault::lost_disk];
  }
  CHECK(lost > 0);
}

TEST_CASE("of five replicas two are lost at the same moment") {
  uint64_t lost = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = 7;
    options.replicas = 5;
    options.simulated_ms = 15'000;
    options.operator_interval_ms = 300;
    options.faults = {Fault::lost_disk, Fault::join, Fault::drop};
    SimulationReport report = passing(options);
    lost += report.faults[Fault::lost_disk];
  }
  CHECK(lost > 3);
}

TEST_CASE("nodes with an older copy of their disk are refused, and replaced") {
  uint64_t old = 0;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = 3;
    options.simulated_ms = 20'000;
    options.fault_interval_ms = 1000;
    options.operator_interval_ms = 300;
    options.faults = {Fault::old_disk, Fault::crash, Fault::power_loss, Fault::drift};
    SimulationReport report = passing(options);
    old += report.faults[Fault::old_disk];
  }
  CHECK(old > 0);
}

// And send again what has no answer.
TEST_CASE("leaders come and go, while clients of every node go on to ask it") {
  std::map<Fault, uint64_t> faults;
  uint64_t again = 0;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = 3;
    options.spares = 0;
    options.clients = 6;
    options.watchers = 2;
    options.patience_ms = 500;
    options.ids_per_client = 20;
    options.by_vector = seed % 5 == 0;
    options.simulated_ms = 30'000;
    options.fault_interval_ms = 600;
    options.faults = {Fault::crash_at_sync, Fault::election,   Fault::crash,
                      Fault::partition,     Fault::disconnect, Fault::drift};
    SimulationReport report = passing(options);
    CHECK(report.writes_acknowledged > 0);
    again += report.writes_again;
    for (const auto& [fault, times] : report.faults) faults[fault] += times;
  }
  CHECK(again > 100);
  for (Fault fault : {Fault::crash_at_sync, Fault::election, Fault::partition}) {
    CAPTURE(std::string(name_of(fault)));
    CHECK(faults[fault] > 0);
  }
}

TEST_CASE("replicas come and go on machines that die in the middle of it") {
  std::map<Fault, uint64_t> faults;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = 4;
    options.simulated_ms = 15'000;
    options.fault_interval_ms = 1000;
    options.operator_interval_ms = 400;
    options.faults = {Fault::crash_at_sync, Fault::election, Fault::power_loss,
                      Fault::partition,     Fault::replicas, Fault::drain};
    SimulationReport report = passing(options);
    for (const auto& [fault, times] : report.faults) faults[fault] += times;
  }
  for (Fault fault : {Fault::crash_at_sync, Fault::replicas, Fault::drain}) {
    CAPTURE(std::string(name_of(fault)));
    CHECK(faults[fault] > 0);
  }
}

// Also that nothing is left of them on any disk, and that what was still on its way to their logs
// makes no other shard fail.
TEST_CASE("databases come and go on machines that crash") {
  uint64_t dropped = 0, writes = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    SimulationOptions options = of_seed(seed);
    options.nodes = seed % 4 == 0 ? 1 : 3;
    options.simulated_ms = 20'000;
    options.faults = {Fault::drop, Fault::crash, Fault::power_loss, Fault::partition};
    if (seed % 2 == 1) options.faults = {Fault::drop};
    SimulationReport report = passing(options);
    dropped += report.faults[Fault::drop];
    writes += report.passing_writes;
  }
  CHECK(dropped > 100);
  CHECK(writes > 500);
}

TEST_CASE("a cluster without faults fails nothing") {
  SimulationOptions options;
  options.seed = 5;
  options.nodes = 3;
  options.simulated_ms = 5000;
  options.fault_interval_ms = 0;
  options.operator_interval_ms = 0;
  SimulationReport report = passing(options);
  CHECK(report.writes_acknowledged > 0);
  CHECK(report.writes_failed == 0);
  CHECK(report.lacking_shards == 0);
  for (const auto& [fault, times] : report.faults) {
    if (fault == Fault::drop) continue;  // clients do that
    // Checkpoints restart a node to compare what it holds.
    CHECK((fault == Fault::crash || fault == Fault::power_loss));
    CHECK(times <= report.checkpoints);
  }
}

}  // namespace jade::sim
