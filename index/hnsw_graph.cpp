#include "index/hnsw_graph.h"

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <omp.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

namespace jade {
namespace {

// What FAISS asks for distances between rows by number.
class RowDistances final : public faiss::DistanceComputer {
 public:
  explicit RowDistances(const EuclideanRows& rows) : rows_(rows) {}

  void set_query(const float* row) override {
    query_ = static_cast<size_t>(row - rows_.row(0)) / rows_.dimension();
  }
  float operator()(idx_t i) override { return rows_.l2_squared(query_, static_cast<size_t>(i)); }
  float symmetric_dis(idx_t i, idx_t j) override {
    return rows_.l2_squared(static_cast<size_t>(i), static_cast<size_t>(j));
  }

 private:
  const EuclideanRows& rows_;
  size_t query_ = 0;
};

class CodeDistances final : public faiss::DistanceComputer {
 public:
  CodeDistances(const EuclideanRows& rows, const ScalarCodes& codes) : rows_(rows), codes_(codes) {}

  void set_query(const float* row) override {
    query_ = static_cast<uint32_t>((row - rows_.row(0)) / rows_.dimension());
    codes_.encode_row(query_, encoded_);
  }
  float operator()(idx_t i) override {
    float out;
    auto row = static_cast<uint32_t>(i);
    codes_.distances(encoded_, &row, 1, &out);
    return out;
  }
  float symmetric_dis(idx_t i, idx_t j) override {
    codes_.encode_row(static_cast<uint32_t>(i), other_);
    float out;
    auto row = static_cast<uint32_t>(j);
    codes_.distances(other_, &row, 1, &out);
    return out;
  }

 private:
  const EuclideanRows& rows_;
  const ScalarCodes& codes_;
  uint32_t query_ = 0;
  EncodedQuery encoded_, other_;
};

// One thread builds, but FAISS locks each row all the same.
struct Locks {
  explicit Locks(size_t n) : all(n) {
    for (omp_lock_t& lock : all) omp_init_lock(&lock);
  }
  ~Locks() {
    for (omp_lock_t& lock : all) omp_destroy_lock(&lock);
  }
  std::vector<omp_lock_t> all;
};

// SplitMix64: the same numbers with every compiler and library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // Below n; the bias is below 2^-32.
  uint64_t below(uint64_t n) { return (next() >> 32) * n >> 32; }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

int random_level(Random& random, const std::vector<double>& probabilities) {
  double left = random.unit();
  for (size_t level = 0; level < probabilities.size(); ++level) {
    if (left < probabilities[level]) return static_cast<int>(level);
    left -= probabilities[level];
  }
  return static_cast<int>(probabilities.size()) - 1;
}

}  // namespace

HnswGraph::HnswGraph(uint32_t m, uint32_t ef_construction) : hnsw(static_cast<int>(m)) {
  hnsw.efConstruction = static_cast<int>(ef_construction);
}

size_t HnswGraph::memory_bytes() const {
  return hnsw.neighbors.size() * sizeof(hnsw.neighbors[0]) +
         hnsw.levels.size() * (sizeof(hnsw.levels[0]) + sizeof(hnsw.offsets[0]));
}

bool add_rows(HnswGraph& graph, const EuclideanRows& rows, const ScalarCodes* codes, uint64_t seed,
              const std::atomic<bool>* cancel) {
  faiss::HNSW& hnsw = graph.hnsw;
  uint32_t n = rows.rows();
  uint32_t old = graph.rows();
  if (n <= old) return true;
  JADE_ASSERT(n <= static_cast<uint32_t>(INT32_MAX));
  omp_set_num_threads(1);  // of this thread
  Random random(seed ^ old);
  hnsw.levels.reserve(n);
  for (uint32_t i = old; i < n; ++i) {
    hnsw.levels.push_back(random_level(random, hnsw.assign_probas) + 1);
  }
  hnsw.prepare_level_tab(n - old, true);

  // Highest levels first, as FAISS does: later rows find the long links ready.
  // Otherwise shuffled, as rows often come in clusters.
  std::vector<uint32_t> order(n - old);
  std::iota(order.begin(), order.end(), old);
  for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return hnsw.levels[a] > hnsw.levels[b]; });

  Locks locks(n);
  faiss::VisitedTable visited(static_cast<int>(n));
  std::unique_ptr<faiss::DistanceComputer> distances;
  if (codes) {
    distances = std::make_unique<CodeDistances>(rows, *codes);
  } else {
    distances = std::make_unique<RowDistances>(rows);
  }
  for (size_t i = 0; i < order.size(); ++i) {
    if (i % 64 == 0 && cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
    uint32_t row = order[i];
    distances->set_query(rows.row(row));
    hnsw.add_with_locks(*distances, hnsw.levels[row] - 1, static_cast<int>(row), locks.all,
                        visited);
  }
  return true;
}

Status HnswGraph::check() const {
  auto bad = [](const char* what) { return corruption(std::string("a graph's ") + what); };
  size_t n = hnsw.levels.size();
  const auto& widths = hnsw.cum_nneighbor_per_level;
  if (n > INT32_MAX || hnsw.offsets.size() != n + 1 || hnsw.offsets[0] != 0 ||
      hnsw.offsets[n] != hnsw.neighbors.size()) {
    return bad("offsets do not cover its links");
  }
  for (size_t i = 0; i < n; ++i) {
    int level = hnsw.levels[i];
    if (level < 1 || static_cast<size_t>(level) >= widths.size() ||
        hnsw.offsets[i] > hnsw.offsets[i + 1] ||
        hnsw.offsets[i + 1] - hnsw.offsets[i] !=
            static_cast<size_t>(widths[static_cast<size_t>(level)])) {
      return bad("row has an impossible level");
    }
  }
  int highest = -1;
  for (int next : hnsw.neighbors) {
    if (next < -1) return bad("link leads nowhere");
    highest = std::max(highest, next);
  }
  if (highest >= static_cast<int64_t>(n)) return bad("link leads nowhere");
  // A link on a level that its target does not reach would lead to the links of
  // another row.
  for (size_t i = 0; i < n; ++i) {
    for (int level = 1; level < hnsw.levels[i]; ++level) {
      size_t begin = hnsw.offsets[i] + static_cast<size_t>(widths[static_cast<size_t>(level)]);
      size_t end = hnsw.offsets[i] + static_cast<size_t>(widths[static_cast<size_t>(level) + 1]);
      for (size_t at = begin; at < end && hnsw.neighbors[at] >= 0; ++at) {
        if (hnsw.levels[static_cast<size_t>(hnsw.neighbors[at])] <= level) {
          return bad("link leads to a row that is not on its level");
        }
      }
    }
  }
  if (n == 0) {
    return hnsw.entry_point == -1 ? Status() : bad("entry point is impossible");
  }
  if (hnsw.entry_point < 0 || static_cast<size_t>(hnsw.entry_point) >= n || hnsw.max_level < 0 ||
      hnsw.max_level >= hnsw.levels[static_cast<size_t>(hnsw.entry_point)]) {
    return bad("entry point is impossible");
  }
  return {};
}

}  // namespace jade
