// A run of the simulator: one node or a cluster, several clients, a random workload
// and random faults, all from one seed, with checks all along and at the end.
//
// The nodes are the production ones. What is simulated is under them: the
// scheduler's order, the clock, the disk, the network. The seed decides which runnable actor goes
// next, what the clients ask, when a fault strikes and what it does; the same seed gives the same
// run, byte for byte, as trace_hash shows.
#pragma once

#include <string>
#include <vector>

#include "sim/options.h"
#include "sim/report.h"

namespace jade::sim {

SimulationReport simulate(const SimulationOptions& options);

// Runs it again, and returns the last so many lines of its log: up to the failure, if there is one.
std::vector<std::string> last_lines(SimulationOptions options, size_t lines);

}  // namespace jade::sim
