#include "index/hnsw_builder.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "index/hnsw_search.h"
#include "index/random.h"

namespace jade {
namespace {

uint32_t random_levels(Random& random, const std::vector<double>& probabilities) {
  double left = random.unit();
  for (uint32_t i = 0; i < probabilities.size(); ++i) {
    if (left < probabilities[i]) return i + 1;
    left -= probabilities[i];
  }
  return static_cast<uint32_t>(probabilities.size());
}

// Rows compared with one of them, as walks do it (index/hnsw_search.h).
class ExactPoints {
 public:
  explicit ExactPoints(const EuclideanRows& rows) : rows_(rows) {}

  void set_query(uint32_t row) { query_ = row; }
  void prefetch(uint32_t row) const { rows_.prefetch(row); }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    for (size_t i = 0; i < count; ++i) out[i] = rows_.l2_squared(query_, rows[i]);
  }

 private:
  const EuclideanRows& rows_;
  uint32_t query_ = 0;
};

class CodedPoints {
 public:
  explicit CodedPoints(const ScalarCodes& codes) : codes_(codes) {}

  void set_query(uint32_t row) { codes_.encode_row(row, query_); }
  void prefetch(uint32_t row) const { codes_.prefetch(row); }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    codes_.distances(query_, rows, count, out);
  }

 private:
  const ScalarCodes& codes_;
  EncodedQuery query_;
};

template <class Points>
class Builder {
 public:
  Builder(HnswGraph& graph, Points points)
      : graph_(graph), from_row_(points), from_kept_(std::move(points)) {}

  void link(uint32_t row) {
    uint32_t top = graph_.levels(row) - 1;
    if (graph_.entry_point >= 0) {
      from_row_.set_query(row);
      Candidate start = descend(graph_, from_row_, static_cast<int32_t>(top), memory_);
      for (uint32_t level = std::min(top, static_cast<uint32_t>(graph_.level_max)) + 1;
           level-- > 0;) {
        walk(
            graph_, from_row_, level, start, graph_.ef_construction(), SIZE_MAX,
            [](uint32_t) { return true; }, memory_);
        // Anew: that in the beam is marked as walked on from.
        const Candidate& nearest = memory_.beam.sorted().front();
        start = Candidate(nearest.distance(), nearest.row());
        near_.assign(memory_.beam.sorted().begin(), memory_.beam.sorted().end());
        link_on(row, level);
      }
    }
    if (static_cast<int32_t>(top) > graph_.level_max) {
      graph_.level_max = static_cast<int32_t>(top);
      graph_.entry_point = static_cast<int32_t>(row);
    }
  }

 private:
  // To those of near_ that are worth it, and back.
  void link_on(uint32_t row, uint32_t level) {
    auto links = graph_.links(row, level);
    select(links.size());
    chosen_ = near_;
    for (size_t i = 0; i < chosen_.size(); ++i) links[i] = static_cast<int32_t>(chosen_[i].row());
    for (size_t i = 0; i < chosen_.size(); ++i) {
      if (i + 1 < chosen_.size()) {
        for (int32_t next : graph_.links(chosen_[i + 1].row(), level)) {
          if (next >= 0) from_kept_.prefetch(static_cast<uint32_t>(next));
        }
      }
      link_back(chosen_[i].row(), Candidate(chosen_[i].distance(), row), level);
    }
  }

  void link_back(uint32_t from, Candidate to, uint32_t level) {
    auto links = graph_.links(from, level);
    if (links.back() < 0) {
      *std::find_if(links.begin(), links.end(), [](int32_t link) { return link < 0; }) =
          static_cast<int32_t>(to.row());
      return;
    }
    others_.assign(links.begin(), links.end());
    distances_.resize(others_.size());
    from_kept_.set_query(from);
    from_kept_.distances(others_.data(), others_.size(), distances_.data());
    near_.assign(1, to);
    for (size_t i = 0; i < others_.size(); ++i) near_.emplace_back(distances_[i], others_[i]);
    std::sort(near_.begin(), near_.end());
    select(links.size());
    for (size_t i = 0; i < links.size(); ++i) {
      links[i] = i < near_.size() ? static_cast<int32_t>(near_[i].row()) : -1;
    }
  }

  // Keeps of near_, in order, up to `count` that are nearer to the row that they are
  // near to than to any kept before: the heuristic of the paper (algorithm 4). Each that
  // is kept is compared with all that are left at once.
  void select(size_t count) {
    if (near_.size() < count) return;
    size_t kept = 0;
    while (kept < near_.size()) {
      ++kept;
      if (kept == count) break;
      others_.clear();
      for (size_t i = kept; i < near_.size(); ++i) others_.push_back(near_[i].row());
      distances_.resize(others_.size());
      from_kept_.set_query(near_[kept - 1].row());
      from_kept_.distances(others_.data(), others_.size(), distances_.data());
      size_t left = kept;
      for (size_t i = kept; i < near_.size(); ++i) {
        Candidate candidate = near_[i];
        near_[left] = candidate;
        left += distances_[i - kept] < candidate.distance() ? 0 : 1;
      }
      near_.resize(left);
    }
    near_.resize(kept);
  }

  HnswGraph& graph_;
  Points from_row_, from_kept_;
  WalkMemory memory_;
  std::vector<Candidate> near_, chosen_;
  std::vector<uint32_t> others_;
  std::vector<float> distances_;
};

template <class Points>
bool link_all(HnswGraph& graph, const std::vector<uint32_t>& order, Points points,
              const std::atomic<bool>* cancel) {
  Builder<Points> builder(graph, std::move(points));
  for (size_t i = 0; i < order.size(); ++i) {
    if (i % 64 == 0 && cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
    builder.link(order[i]);
  }
  return true;
}

}  // namespace

bool add_rows(HnswGraph& graph, const EuclideanRows& rows, const ScalarCodes* codes, uint64_t seed,
              const std::atomic<bool>* cancel) {
  uint32_t old = graph.rows(), n = rows.rows();
  if (n <= old) return true;
  JADE_ASSERT(n <= static_cast<uint32_t>(INT32_MAX));
  Random random(seed ^ old);
  const auto probabilities = level_probabilities(graph.m());
  graph.reserve(n);
  for (uint32_t i = old; i < n; ++i) graph.add_row(random_levels(random, probabilities));

  // Highest levels first: later rows find the long links ready. Otherwise shuffled, as
  // rows often come in clusters.
  std::vector<uint32_t> order(n - old);
  std::iota(order.begin(), order.end(), old);
  for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return graph.levels(a) > graph.levels(b); });
  return codes != nullptr ? link_all(graph, order, CodedPoints(*codes), cancel)
                          : link_all(graph, order, ExactPoints(rows), cancel);
}

}  // namespace jade
