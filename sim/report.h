// What came of a run of the simulator.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "sim/options.h"

namespace jade::sim {

struct SimulationReport {
  uint64_t seed = 0;
  std::string failure;  // empty: all checks held
  uint64_t trace_hash = 0;
  uint64_t simulated_ns = 0;
  uint64_t steps = 0;
  uint64_t writes_acknowledged = 0;
  uint64_t writes_failed = 0;
  uint64_t writes_again = 0;     // sent once more, with no answer to the first
  uint64_t missing_updated = 0;  // ids of updates that did not exist
  uint64_t passing_writes = 0;   // acknowledged, to databases that come and go
  uint64_t reads_checked = 0;
  uint64_t searches_checked = 0;
  uint64_t lacking_searched = 0;   // of those: by a vector that some records lack
  uint64_t eventual_searched = 0;  // of those: at any replica, whatever it has applied
  uint64_t lacking_shards = 0;     // of those: that were answered without all shards, as they may
  uint64_t checkpoints = 0;
  uint64_t routed = 0;               // of those: by then a router was in force
  std::map<Fault, uint64_t> faults;  // that happened
  uint64_t bytes_sent = 0;           // between nodes
};

}  // namespace jade::sim
