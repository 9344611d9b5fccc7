// A graph for approximate search: Malkov and Yashunin, "Efficient and robust
// approximate nearest neighbor search using Hierarchical Navigable Small World
// graphs", 2018. FAISS builds it, over our distances; index/hnsw_search.h walks it.
#pragma once

#include <faiss/impl/HNSW.h>

#include <atomic>

#include "index/segment.h"

namespace jade {

// Rows 0 .. rows()-1 and their links. Copyable; changed by add_rows alone.
struct HnswGraph {
  // m and ef_construction of IndexOptions.
  HnswGraph(uint32_t m, uint32_t ef_construction);

  uint32_t rows() const { return static_cast<uint32_t>(hnsw.levels.size()); }
  size_t memory_bytes() const;
  // corruption unless no walk can leave the arrays: for graphs read from disk.
  Status check() const;

  faiss::HNSW hnsw;
};

// Links rows graph.rows() .. n-1 of `vectors` (n × distance.dimension()) in, in the
// calling thread. Equal graphs, rows and seeds give equal graphs where the kernels
// are the same. False when `cancel` became true: the graph is unusable then.
bool add_rows(HnswGraph& graph, const float* vectors, uint32_t n, const Distance& distance,
              uint64_t seed, const std::atomic<bool>* cancel);

}  // namespace jade
