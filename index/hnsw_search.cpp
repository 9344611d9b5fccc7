#include "index/hnsw_search.h"

namespace jade {

WalkMemory& WalkMemory::of_this_thread() {
  thread_local WalkMemory memory;
  return memory;
}

void WalkMemory::reset(size_t n) {
  if (epochs_.size() < n) epochs_.resize(n, 0);
  if (++epoch_ == 0) {
    std::fill(epochs_.begin(), epochs_.end(), uint16_t{0});
    epoch_ = 1;
  }
}

Candidate descend(const HnswGraph& graph, const float* vectors, const Distance& distance,
                  const float* query) {
  const faiss::HNSW& hnsw = graph.hnsw;
  const size_t dimension = distance.dimension();
  auto entry = static_cast<uint32_t>(hnsw.entry_point);
  Candidate best(distance(query, vectors + entry * dimension), entry);
  for (int level = hnsw.max_level; level > 0; --level) {
    auto from = static_cast<size_t>(hnsw.cum_nneighbor_per_level[static_cast<size_t>(level)]);
    auto to = static_cast<size_t>(hnsw.cum_nneighbor_per_level[static_cast<size_t>(level) + 1]);
    for (bool moved = true; moved;) {
      moved = false;
      const int* links = hnsw.neighbors.data() + hnsw.offsets[best.row()];
      for (size_t i = from; i < to && links[i] >= 0; ++i) {
        prefetch_vector(vectors + static_cast<size_t>(links[i]) * dimension, distance.dimension());
      }
      for (size_t i = from; i < to && links[i] >= 0; ++i) {
        auto row = static_cast<uint32_t>(links[i]);
        Candidate next(distance(query, vectors + row * dimension), row);
        if (next < best) {
          best = next;
          moved = true;
        }
      }
    }
  }
  return best;
}

}  // namespace jade
