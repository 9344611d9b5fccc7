// Links rows into a graph.
#pragma once

#include <atomic>

#include "index/euclidean_rows.h"
#include "index/hnsw_graph.h"
#include "index/scalar_codes.h"

namespace jade {

// Links rows graph.rows() .. rows.rows()-1 in, in the calling thread, comparing them by
// `codes` where there are any. Equal graphs, rows and seeds give equal graphs; without
// codes, where the kernels are the same. False when `cancel` (may be null) became true:
// the graph is unusable then.
bool add_rows(HnswGraph& graph, const EuclideanRows& rows, const ScalarCodes* codes, uint64_t seed,
              const std::atomic<bool>* cancel);

}  // namespace jade
