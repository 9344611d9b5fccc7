// Measuring searches: recall, rate and latency, at several beam widths.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/bench/workload.h"

namespace jade {

double median(std::vector<double> values);
// The smallest value that so many percent are at most.
double percentile(const std::vector<double>& sorted, uint32_t percent);

// The share of the true k nearest that was found. Equal distances may be swapped.
double recall(const Workload& workload, size_t query, std::vector<int64_t> found);

// At one beam width.
struct Point {
  uint32_t ef = 0;
  double recall = 0;
  std::vector<double> rates;      // queries/s of each round
  double queries_per_second = 0;  // their median
  double p50_us = 0, p95_us = 0, p99_us = 0;
};
struct Curve {
  std::string name;
  std::vector<Point> points;
};

// Searches by query number and beam width, from several threads at once, each with
// the searcher that `connect` makes for it.
using Searcher = std::function<std::vector<int64_t>(size_t query, uint32_t ef)>;
struct Contestant {
  std::string name;
  std::function<Searcher()> connect;
};

struct MeasureOptions {
  std::vector<uint32_t> ef;
  uint32_t clients = 1;
  uint32_t rounds = 3;
  // At each width in each round, by each client: enough that neither starting threads nor a
  // short disturbance counts. Never less than all queries.
  size_t searches_min = 2000;
  double seconds_min = 0.3;
  size_t warm_up = 100;  // searches of each client before them, not counted
};

// All queries once for recall; then, in each round, all contestants in turn at each
// width, so that a slow moment hits all alike.
std::vector<Curve> measure(const Workload& workload, const std::vector<Contestant>& contestants,
                           const MeasureOptions& options);

struct Spread {
  double median = 0, min = 0, max = 0;
};
// Of one value and more.
Spread spread(const std::vector<double>& values);
// How many times as fast `ours` is, round by round.
Spread rate_ratio(const Point& ours, const Point& theirs);
// The same at one recall, between measured points; nothing where those of either
// lie all on one side of it.
std::optional<Spread> rate_ratio_at_recall(const Curve& ours, const Curve& theirs, double wanted);
// The rate at a recall; 0 where the points, of ascending beam width, lie all on one
// side of it.
double rate_at_recall(const std::vector<Point>& points, double wanted);

}  // namespace jade
