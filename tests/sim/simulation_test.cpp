#include "sim/simulation.h"

#include <doctest/doctest.h>

namespace jade::sim {
namespace {

SimulationReport run(uint64_t seed) {
  SimulationOptions options;
  options.seed = seed;
  options.simulated_ms = 5000;
  return simulate(options);
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
    CHECK(report.crashes + report.power_losses + report.full_disks + report.corrupt_periods > 0);
    if (seed != 1) CHECK(report.trace_hash != first.trace_hash);
  }
  SimulationReport again = run(1);
  CHECK(again.failure.empty());
  CHECK(again.trace_hash == first.trace_hash);
  CHECK(again.steps == first.steps);
}

TEST_CASE("without faults nothing fails") {
  SimulationOptions options;
  options.seed = 4;
  options.simulated_ms = 2000;
  options.fault_interval_ms = 0;
  SimulationReport report = simulate(options);
  REQUIRE_MESSAGE(report.failure.empty(), report.failure);
  CHECK(report.writes_failed == 0);
  CHECK(report.writes_acknowledged > 0);
  // Checkpoints restart the node to compare what it holds; nothing else strikes.
  CHECK(report.full_disks + report.corrupt_periods == 0);
}

}  // namespace jade::sim
