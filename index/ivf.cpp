#include "index/ivf.h"

#include <faiss/Clustering.h>
#include <faiss/Index.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "index/cancel.h"
#include "index/top_k.h"

namespace jade {
namespace {

constexpr int iterations = 8;
constexpr int points_per_centre_max = 48;

// What k-means asks for the nearest centre. Not FAISS's own: that goes through
// BLAS, whose threads and roundings are not ours to choose.
class NearestCentre final : public faiss::Index {
 public:
  NearestCentre(uint32_t dimension, Workers* workers)
      : faiss::Index(static_cast<idx_t>(dimension), faiss::METRIC_L2),
        workers_(workers),
        distance_(Metric::l2, dimension) {}

  void add(idx_t n, const float* x) override {
    centres_.insert(centres_.end(), x, x + n * d);
    ntotal += n;
  }
  void reset() override {
    centres_.clear();
    ntotal = 0;
  }
  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters*) const override {
    JADE_ASSERT(k == 1);
    run_ranges(workers_, static_cast<size_t>(n), shared_rows,
               [&](uint32_t, size_t begin, size_t end) {
                 for (size_t i = begin; i < end; ++i) {
                   std::tie(distances[i], labels[i]) = nearest(x + i * static_cast<size_t>(d));
                 }
               });
  }
  std::pair<float, idx_t> nearest(const float* x) const {
    std::pair<float, idx_t> best(std::numeric_limits<float>::infinity(), 0);
    for (idx_t i = 0; i < ntotal; ++i) {
      float distance = distance_(x, centres_.data() + i * d);
      if (distance < best.first) best = {distance, i};
    }
    return best;
  }

 private:
  // So many at once are worth another thread.
  static constexpr size_t shared_rows = 64;

  Workers* workers_;
  Distance distance_;
  std::vector<float> centres_;
};

}  // namespace

uint32_t default_nlist(uint32_t n) {
  auto lists = static_cast<uint32_t>(4 * std::sqrt(static_cast<double>(n)));
  return std::clamp<uint32_t>(std::min(lists, n / 16), 1, 65536);
}

uint32_t default_nprobe(uint32_t nlist) { return std::max(1u, nlist / 16); }

std::optional<InvertedLists> build_lists(const float* vectors, uint32_t n, uint32_t dimension,
                                         uint32_t nlist, uint64_t seed, Workers* workers,
                                         const std::atomic<bool>* cancel,
                                         std::vector<float> first_centres) {
  nlist = std::clamp(nlist == 0 ? default_nlist(n) : nlist, 1u, std::max(n, 1u));
  InvertedLists out;
  out.starts.assign(size_t{nlist} + 1, 0);
  if (n == 0) {
    out.centres.assign(size_t{nlist} * dimension, 0);
    return out;
  }
  omp_set_num_threads(1);  // of this thread
  faiss::ClusteringParameters parameters;
  parameters.niter = 1;
  parameters.seed = static_cast<int>(seed % 0x7fffffff);
  parameters.min_points_per_centroid = 1;
  parameters.max_points_per_centroid = points_per_centre_max;
  faiss::Clustering clustering(static_cast<int>(dimension), static_cast<int>(nlist), parameters);
  clustering.centroids = std::move(first_centres);
  NearestCentre centres(dimension, workers);
  // One at a time, each from the centres of the one before: so it can be left.
  for (int i = 0; i < iterations; ++i) {
    if (is_cancelled(cancel)) return std::nullopt;
    centres.reset();
    clustering.train(n, vectors, centres);
  }
  centres.reset();
  centres.add(nlist, clustering.centroids.data());
  out.centres = std::move(clustering.centroids);

  std::vector<uint32_t> list_of(n);
  run_ranges(workers, n, 64, [&](uint32_t, size_t begin, size_t end) {
    for (size_t i = begin; i < end && !is_cancelled(cancel); ++i) {
      list_of[i] = static_cast<uint32_t>(centres.nearest(vectors + i * dimension).second);
    }
  });
  if (is_cancelled(cancel)) return std::nullopt;
  for (uint32_t list : list_of) ++out.starts[list + 1];
  for (uint32_t list = 0; list < nlist; ++list) out.starts[list + 1] += out.starts[list];
  out.rows.resize(n);
  std::vector<uint32_t> next(out.starts.begin(), out.starts.end() - 1);
  for (uint32_t i = 0; i < n; ++i) out.rows[next[list_of[i]]++] = i;
  return out;
}

Status InvertedLists::check(uint32_t n, uint32_t dimension) const {
  bool fits = !starts.empty() && centres.size() == size_t{lists()} * dimension &&
              rows.size() == n && starts.front() == 0 && starts.back() == n &&
              std::is_sorted(starts.begin(), starts.end());
  // Each row once: else a search would return it twice.
  std::vector<bool> seen(n);
  for (size_t i = 0; fits && i < rows.size(); ++i) {
    fits = rows[i] < n && !seen[rows[i]];
    if (fits) seen[rows[i]] = true;
  }
  return fits ? Status() : corruption("inverted lists do not fit their segment");
}

std::vector<uint32_t> nearest_lists(const InvertedLists& lists, Metric metric, uint32_t dimension,
                                    const float* query, uint32_t nprobe) {
  // Normalised vectors lie as their products do, but their means do not: Euclidean
  // under cosine. Under dot, a far list may hold the largest products.
  Distance distance(metric == Metric::dot ? Metric::dot : Metric::l2, dimension);
  TopK<uint32_t> best(std::min(nprobe, lists.lists()));
  for (uint32_t list = 0; list < lists.lists(); ++list) {
    best.push(distance(query, lists.centres.data() + size_t{list} * dimension), list);
  }
  std::vector<uint32_t> out;
  for (auto [d, list] : best.take_sorted()) out.push_back(list);
  return out;
}

}  // namespace jade
