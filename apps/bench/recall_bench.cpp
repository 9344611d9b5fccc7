#include "apps/bench/recall_bench.h"

#include <chrono>
#include <cstdio>

#include "index/calibration.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

}  // namespace

void bench_min_recall(const SegmentView& view, const Workload& workload, Report& report) {
  report.section("Searches by a least recall, our index on one thread");
  auto start = Clock::now();
  Status calibrated = calibrate(view, workload.k);
  JADE_ASSERT(calibrated.ok());
  report.fact("calibration", milliseconds_since(start), "ms");
  SearchOptions options;
  options.k = workload.k;
  auto search_one = [&](size_t query, std::vector<SegmentExplanation>* done) {
    auto found = search_all({&view, 1}, workload.metric, workload.base.dimension,
                            {workload.queries.row(query), workload.base.dimension}, options, done);
    JADE_ASSERT(found.ok());
    return std::move(found->front());
  };
  const size_t queries = workload.queries.rows;
  std::vector<float> farthest;
  options.exact = true;
  for (size_t q = 0; q < queries; ++q) farthest.push_back(search_one(q, nullptr).back().distance);
  options.exact = false;

  report.text("min_recall   measured   recall of queries   ef or nprobe   mean us");
  boost::json::array table;
  for (double least : {0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999}) {
    options.min_recall = least;
    std::vector<SegmentExplanation> done;
    size_t found = 0;
    for (size_t q = 0; q < queries; ++q) {
      for (const Hit& hit : search_one(q, &done)) found += hit.distance <= farthest[q] ? 1 : 0;
    }
    start = Clock::now();
    for (size_t q = 0; q < queries; ++q) search_one(q, nullptr);
    double mean_us = 1000 * milliseconds_since(start) / static_cast<double>(queries);
    const SegmentExplanation& said = done.front();
    double recall = static_cast<double>(found) / static_cast<double>(queries * workload.k);
    char line[120];
    std::snprintf(line, sizeof line, "%10.3f %10.4f %19.4f %14u %9.0f", least, said.measured_recall,
                  recall, said.ef + said.nprobe, mean_us);
    report.text(line);
    table.push_back({{"min_recall", least},
                     {"measured", said.measured_recall},
                     {"recall", recall},
                     {"effort", said.ef + said.nprobe},
                     {"mean_us", mean_us}});
  }
  report.note("min_recall", std::move(table));
}

}  // namespace jade
