// Searches with filters, measured beside those without.
#pragma once

#include "apps/bench/report.h"
#include "apps/bench/workload.h"

namespace jade {

struct FilterBenchOptions {
  IndexOptions index;
  uint32_t ef = 0;  // of all searches; 0: as the index was built
  uint32_t rounds = 3;
};

// On one thread, our index alone, with made-up metadata: one field whose values have
// nothing to do with the vectors, and one for each of some places, by how far a row is
// from there. Of filters that match 50 % to 0.1 % of the rows: recall against comparing
// with every row that matches, and how many times as long as without a filter a search
// takes, where what matches is anywhere, near the query, and far from it.
void bench_filters(const FilterBenchOptions& options, const Workload& workload, Report& report);

}  // namespace jade
