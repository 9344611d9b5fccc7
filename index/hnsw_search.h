// The walk over a graph (index/hnsw_graph.h) to the neighbours of a query.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "index/hnsw_graph.h"

namespace jade {

// A distance and a row as one number that orders by distance, then row.
class Candidate {
 public:
  Candidate() = default;
  Candidate(float distance, uint32_t row) : bits_(uint64_t{ordered(distance)} << 32 | row) {}

  float distance() const {
    auto high = static_cast<uint32_t>(bits_ >> 32);
    return std::bit_cast<float>(high >> 31 != 0 ? high ^ 0x80000000u : ~high);
  }
  uint32_t row() const { return static_cast<uint32_t>(bits_); }
  friend auto operator<=>(const Candidate&, const Candidate&) = default;

 private:
  // Floats order as integers do but for the sign.
  static uint32_t ordered(float value) {
    auto bits = std::bit_cast<uint32_t>(value + 0.0f);  // one zero only
    return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  }
  uint64_t bits_ = 0;
};

// Memory that the searches of one thread use again and again.
class WalkMemory {
 public:
  static WalkMemory& of_this_thread();

  // Forgets all; rows below n may be visited then.
  void reset(size_t n);
  // True at the first visit.
  bool visit(uint32_t row) { return std::exchange(epochs_[row], epoch_) != epoch_; }

  std::vector<Candidate> frontier;  // a heap, the nearest on top
  std::vector<Candidate> results;   // a heap, the farthest on top
  std::vector<uint32_t> fresh;

 private:
  std::vector<uint16_t> epochs_;
  uint16_t epoch_ = 0;
};

// The nearest row above level 0, where the walk begins. The graph is not empty.
Candidate descend(const HnswGraph& graph, const float* vectors, const Distance& distance,
                  const float* query);

// Walks from the entry to the query and collects up to `beam` rows for which
// accept(row), called once for a row, is true; others are walked through. Ends when
// no nearer rows are in sight. False when more than `visits_max` rows were compared
// before that: what is in memory.results, unordered, may then be far from best.
template <class Accept>
bool walk(const HnswGraph& graph, const float* vectors, const Distance& distance,
          const float* query, size_t beam, size_t visits_max, Accept accept, WalkMemory& memory);

// Implementation.

inline void prefetch_vector(const float* vector, uint32_t dimension) {
  // The first lines; the processor goes on by itself.
  const char* bytes = reinterpret_cast<const char*>(vector);
  size_t size = std::min<size_t>(dimension * sizeof(float), 512);
  for (size_t at = 0; at < size; at += 64) __builtin_prefetch(bytes + at);
}

template <class Accept>
bool walk(const HnswGraph& graph, const float* vectors, const Distance& distance,
          const float* query, size_t beam, size_t visits_max, Accept accept, WalkMemory& memory) {
  const faiss::HNSW& hnsw = graph.hnsw;
  auto& frontier = memory.frontier;
  auto& results = memory.results;
  auto& fresh = memory.fresh;
  frontier.clear();
  results.clear();
  memory.reset(graph.rows());
  if (graph.rows() == 0) return true;
  const size_t width = static_cast<size_t>(hnsw.cum_nneighbor_per_level[1]);
  const size_t dimension = distance.dimension();
  const int* links = hnsw.neighbors.data();

  auto reach = [&](Candidate candidate) {
    bool full = results.size() >= beam;
    if (full && !(candidate < results.front())) return;
    frontier.push_back(candidate);
    std::push_heap(frontier.begin(), frontier.end(), std::greater<>());
    if (!accept(candidate.row())) return;
    if (full) {
      std::pop_heap(results.begin(), results.end());
      results.back() = candidate;
    } else {
      results.push_back(candidate);
    }
    std::push_heap(results.begin(), results.end());
  };

  Candidate start = descend(graph, vectors, distance, query);
  memory.visit(start.row());
  reach(start);
  size_t visits = 1;
  while (!frontier.empty()) {
    Candidate nearest = frontier.front();
    if (results.size() >= beam && results.front() < nearest) break;
    if (visits > visits_max) return false;
    std::pop_heap(frontier.begin(), frontier.end(), std::greater<>());
    frontier.pop_back();
    // The row that is likely next.
    if (!frontier.empty()) __builtin_prefetch(links + hnsw.offsets[frontier.front().row()]);
    const int* at = links + hnsw.offsets[nearest.row()];
    fresh.clear();
    for (const int* end = at + width; at != end && *at >= 0; ++at) {
      auto row = static_cast<uint32_t>(*at);
      if (!memory.visit(row)) continue;
      prefetch_vector(vectors + row * dimension, distance.dimension());
      fresh.push_back(row);
    }
    visits += fresh.size();
    for (uint32_t row : fresh) {
      reach(Candidate(distance(query, vectors + row * dimension), row));
    }
  }
  return true;
}

}  // namespace jade
