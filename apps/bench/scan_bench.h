// Exact scans, measured beside what the memory of the machine can deliver.
#pragma once

#include "apps/bench/report.h"
#include "apps/bench/workload.h"

namespace jade {

struct ScanBenchOptions {
  uint32_t rounds = 3;
  Datatype datatype = Datatype::float32;
};

// On one thread: GB/s at which memory as large as the base is read from one end to the
// other, and GB/s of vectors that searches of a `flat` segment compare, one query at a time
// and several at once. Rates in turn, as ratios to the first.
void bench_scans(const ScanBenchOptions& options, const Workload& workload, Report& report);

}  // namespace jade
