// What a cluster costs: nodes in processes of their own, on this machine.
#pragma once

#include "apps/bench/measure.h"
#include "apps/bench/report.h"

namespace jade {

struct ClusterBenchOptions {
  IndexOptions index;
  Datatype datatype = Datatype::float32;
  std::vector<uint32_t> clients = {1, 8, 32};  // searches are measured with so many at once
  MeasureOptions measure;                      // its clients and beam widths do not count
};

// Three nodes, which run this program, and one that is alone: the rate of imports into three
// replicas against that into one, and of searches through a node that does not have the shard
// against those through the one that has. Call it from the main thread.
Status bench_cluster(const ClusterBenchOptions& options, const Workload& workload, Report& report);

}  // namespace jade
