// What is stored and searched for in a benchmark, and what must be found.
#pragma once

#include <cstdint>
#include <string>

#include "apps/data/vector_reader.h"
#include "index/metric.h"

namespace jade {

struct Workload {
  Matrix base;
  Matrix queries;
  Neighbours truth;
  Metric metric = Metric::l2;
  uint32_t k = 10;
};

struct WorkloadOptions {
  std::string base, queries, truth;  // files
  std::string metric = "l2";
  size_t rows = SIZE_MAX;  // only the first
  size_t queries_max = 1000;
  uint32_t k = 10;

  bool computes_truth() const { return truth.empty() || rows < SIZE_MAX; }
};

// Under cosine base and queries are normalised. Fails where the files do not fit
// together, saying how.
Result<Workload> load_workload(const WorkloadOptions& options);

// Exact neighbours by comparing every pair.
Neighbours brute_force(const Matrix& base, const Matrix& queries, Metric metric, uint32_t k);

}  // namespace jade
