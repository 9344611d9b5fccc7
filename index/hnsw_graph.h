// A graph for approximate search: Malkov and Yashunin, "Efficient and robust
// approximate nearest neighbor search using Hierarchical Navigable Small World
// graphs", 2018. FAISS builds it, over our distances; index/hnsw_search.h walks it.
#pragma once

#include <faiss/impl/HNSW.h>

#include <atomic>
#include <span>

#include "index/euclidean_rows.h"
#include "index/scalar_codes.h"

namespace jade {

// Rows 0 .. rows()-1 and their links. Copyable; changed by add_rows alone.
struct HnswGraph {
  // m and ef_construction of IndexOptions.
  HnswGraph(uint32_t m, uint32_t ef_construction);

  uint32_t rows() const { return static_cast<uint32_t>(hnsw.levels.size()); }
  size_t memory_bytes() const;
  // corruption unless no walk can leave the arrays: for graphs read from disk.
  Status check() const;
  // Of a row on a level that it is on; the first that is negative ends them.
  std::span<const int> links(uint32_t row, int level) const {
    const int* all = hnsw.neighbors.data() + hnsw.offsets[row];
    const auto& widths = hnsw.cum_nneighbor_per_level;
    auto at = static_cast<size_t>(level);
    return {all + widths[at], all + widths[at + 1]};
  }
  void prefetch_links(uint32_t row) const {
    const int* at = hnsw.neighbors.data() + hnsw.offsets[row];
    __builtin_prefetch(at);
    __builtin_prefetch(at + 16);
  }

  faiss::HNSW hnsw;
};

// Links rows graph.rows() .. rows.rows()-1 in, in the calling thread, comparing them by
// `codes` where there are any. Equal graphs, rows and seeds give equal graphs; without
// codes, where the kernels are the same. False when `cancel` became true: the graph is
// unusable then.
bool add_rows(HnswGraph& graph, const EuclideanRows& rows, const ScalarCodes* codes, uint64_t seed,
              const std::atomic<bool>* cancel);

}  // namespace jade
