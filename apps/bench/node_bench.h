// A whole node, measured over HTTP and in process.
#pragma once

#include "apps/bench/measure.h"
#include "apps/bench/report.h"

namespace jade {

struct NodeBenchOptions {
  IndexOptions index;
  Datatype datatype = Datatype::float32;
  uint32_t clients = 1;    // searches are measured with one client and with so many
  MeasureOptions measure;  // its clients do not count
};

// In a temporary directory: ingest, indexing, memory, start-up and searches.
Status bench_node(const NodeBenchOptions& options, const Workload& workload, Report& report);

}  // namespace jade
