// How searches slow down as rows become more.
#pragma once

#include "apps/bench/engine.h"
#include "apps/bench/report.h"
#include "apps/bench/workload.h"

namespace jade {

struct Growth {
  // latency_us is about at_one + each_doubling × log2(rows).
  double at_one = 0, each_doubling = 0;
  // The share of the variance that this explains, 0 to 1.
  double fit = 0;
};
// By least squares. Two points or more, of different numbers of rows.
Growth fit_growth(const std::vector<std::pair<double, double>>& rows_and_latency_us);

// Our index alone, on one thread, of the first hundredth of the base, and of more of it in
// steps of √10: the latency of searches with the default beam, and at recalls of 0.95 and 0.99
// between the beam widths of `measuring`, and how it grows.
void bench_growth(const EngineKind& kind, const MeasureOptions& measuring, const Workload& workload,
                  Report& report);

}  // namespace jade
