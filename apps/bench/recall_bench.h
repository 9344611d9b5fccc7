// Searches that ask for a recall instead of a beam width.
#pragma once

#include "apps/bench/report.h"
#include "apps/bench/workload.h"
#include "index/shard_view.h"

namespace jade {

// Calibrates the segment, in the calling thread, and says how long that took; then for some
// least recalls what the queries' recall is, by comparing with an exact search, and the
// effort and the time it took. `view`: of a segment with an index of workload.base.
void bench_min_recall(const SegmentView& view, const Workload& workload, Report& report);

}  // namespace jade
