#include "apps/bench/workload.h"

#include <algorithm>

#include "index/scoring.h"
#include "index/top_k.h"

namespace jade {

Result<Workload> load_workload(const WorkloadOptions& options) {
  Workload out;
  auto metric = parse_metric(options.metric);
  if (!metric.ok()) return metric.status();
  out.metric = *metric;
  out.k = options.k;
  auto base = load_matrix(options.base, options.rows);
  if (!base.ok()) return base.status();
  auto queries = load_matrix(options.queries, options.queries_max);
  if (!queries.ok()) return queries.status();
  if (base->dimension != queries->dimension) {
    return invalid_argument("the base has dimension " + std::to_string(base->dimension) +
                            ", the queries " + std::to_string(queries->dimension));
  }
  if (base->rows < options.k) return invalid_argument("the base has fewer than k rows");
  if (queries->rows == 0) return invalid_argument("there are no queries");
  out.base = std::move(*base);
  out.queries = std::move(*queries);
  if (out.metric == Metric::cosine) {
    for (Matrix* matrix : {&out.base, &out.queries}) {
      for (size_t i = 0; i < matrix->rows; ++i) {
        normalise(matrix->values.data() + i * matrix->dimension, matrix->dimension);
      }
    }
  }
  if (options.computes_truth()) {
    out.truth = brute_force(out.base, out.queries, out.metric, options.k);
    return out;
  }
  auto truth = load_neighbours(options.truth);
  if (!truth.ok()) return truth.status();
  if (truth->rows < out.queries.rows || truth->columns < options.k) {
    return invalid_argument(
        "--truth has fewer rows than there are queries, or fewer than k columns");
  }
  for (int32_t id : truth->ids) {
    if (id < 0 || static_cast<size_t>(id) >= out.base.rows) {
      return invalid_argument("--truth names row " + std::to_string(id) + ", which the base lacks");
    }
  }
  out.truth = std::move(*truth);
  return out;
}

Neighbours brute_force(const Matrix& base, const Matrix& queries, Metric metric, uint32_t k) {
  Neighbours out;
  out.rows = queries.rows;
  out.columns = k;
  // Some rows with all queries while they are in the cache.
  constexpr size_t block = 32;
  std::vector<TopK<int32_t>> best(queries.rows, TopK<int32_t>(k));
  for (size_t begin = 0; begin < base.rows; begin += block) {
    const size_t end = std::min(base.rows, begin + block);
    for (size_t q = 0; q < queries.rows; ++q) {
      for (size_t i = begin; i < end; ++i) {
        best[q].push(distance(metric, queries.row(q), base.row(i), base.dimension),
                     static_cast<int32_t>(i));
      }
    }
  }
  for (auto& of_query : best) {
    for (auto [d, row] : of_query.take_sorted()) out.ids.push_back(row);
  }
  return out;
}

}  // namespace jade
