// Measuring searches: recall, rate and latency, at several beam widths.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/bench/engine.h"

namespace jade {

struct Workload {
  Matrix base;
  Matrix queries;
  Neighbours truth;
  Metric metric = Metric::l2;
  uint32_t k = 10;
};

// The share of the true k nearest that was found. Equal distances may be swapped.
double recall(const Workload& workload, size_t query, const std::vector<int64_t>& found);

struct Point {
  uint32_t ef = 0;
  double recall = 0;
  double queries_per_second = 0;
  double p50_us = 0, p95_us = 0, p99_us = 0;
};

// Searches by query number and beam width, from `clients` threads at once, each
// with the searcher that `connect` makes for it.
using Searcher = std::function<std::vector<int64_t>(size_t query, uint32_t ef)>;
using Connect = std::function<Searcher()>;

// All queries once for recall, then `repetitions` times for the rate (the median)
// and the latencies (of all).
Point measure(const Workload& workload, const Connect& connect, uint32_t ef, uint32_t clients,
              uint32_t repetitions);

// The rate at a recall, between measured points; 0 where they lie all on one side.
double rate_at_recall(const std::vector<Point>& points, double wanted);

// Exact neighbours by comparing every pair.
Neighbours brute_force(const Matrix& base, const Matrix& queries, Metric metric, uint32_t k);

double median(std::vector<double> values);

}  // namespace jade
