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
// For measure_nprobe(): a little more than is promised, as a sample may be off by 0.01.
constexpr double wanted_recall = 0.96;
constexpr uint32_t measured_k = 10;
constexpr uint32_t sampled_rows_max = 200;
// So many at once, with which a row is compared while it is at hand.
constexpr size_t shared_queries = 8;

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
    group();
  }
  void reset() override {
    centres_.clear();
    ntotal = 0;
    group();
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
  // Of many centres one that is nearest but for few: only those of the nearest groups are compared.
  std::pair<float, idx_t> nearest(const float* x) const {
    using Near = std::pair<float, const std::vector<idx_t>*>;
    thread_local std::vector<Near> near;
    near.clear();
    for (const Group& group : groups_) {
      near.emplace_back(groups_.size() == 1 ? 0 : distance_(x, group.centre.data()),
                        &group.members);
    }
    // In the order of the groups where they are equally near.
    std::stable_sort(near.begin(), near.end(),
                     [](const Near& a, const Near& b) { return a.first < b.first; });
    std::pair<float, idx_t> best(std::numeric_limits<float>::infinity(), 0);
    size_t compared = 0;
    for (const auto& [of_group, members] : near) {
      if (compared * compared_share >= static_cast<size_t>(ntotal)) break;
      compared += members->size();
      for (idx_t i : *members) {
        float distance = distance_(x, at(i));
        if (distance < best.first || (distance == best.first && i < best.second)) {
          best = {distance, i};
        }
      }
    }
    return best;
  }

 private:
  // So many at once are worth another thread.
  static constexpr size_t shared_rows = 64;
  // From so many centres on they are in groups, of which those are looked into that have
  // together one centre in so many of all.
  static constexpr idx_t grouped_min = 256;
  static constexpr size_t compared_share = 6;
  static constexpr int group_rounds = 3;

  struct Group {
    std::vector<float> centre;
    std::vector<idx_t> members;
  };

  const float* at(idx_t i) const { return centres_.data() + i * d; }

  // By k-means of the centres.
  void group() {
    groups_.assign(1, Group());
    if (ntotal < grouped_min) {
      for (idx_t i = 0; i < ntotal; ++i) groups_[0].members.push_back(i);
      return;
    }
    const auto count = static_cast<size_t>(std::sqrt(static_cast<double>(ntotal)));
    groups_.resize(count);
    for (size_t g = 0; g < count; ++g) {
      const float* first = at(static_cast<idx_t>(g) * ntotal / static_cast<idx_t>(count));
      groups_[g].centre.assign(first, first + d);
    }
    for (int round = 0; round < group_rounds; ++round) {
      if (round > 0) set_means();
      for (Group& group : groups_) group.members.clear();
      for (idx_t i = 0; i < ntotal; ++i) {
        Group* nearest = nullptr;
        float least = std::numeric_limits<float>::infinity();
        for (Group& group : groups_) {
          const float distance = distance_(at(i), group.centre.data());
          if (nearest != nullptr && !(distance < least)) continue;
          least = distance;
          nearest = &group;
        }
        nearest->members.push_back(i);
      }
    }
  }
  void set_means() {
    for (Group& group : groups_) {
      if (group.members.empty()) continue;
      std::fill(group.centre.begin(), group.centre.end(), 0.0f);
      for (idx_t i : group.members) {
        for (int j = 0; j < d; ++j) group.centre[static_cast<size_t>(j)] += at(i)[j];
      }
      for (float& value : group.centre) value /= static_cast<float>(group.members.size());
    }
  }

  Workers* workers_;
  Distance distance_;
  std::vector<float> centres_;
  std::vector<Group> groups_;
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

std::optional<uint32_t> measure_nprobe(const InvertedLists& lists, const float* vectors, uint32_t n,
                                       uint32_t dimension, Metric metric, Workers* workers,
                                       const std::atomic<bool>* cancel) {
  const uint32_t sampled = std::min(n, sampled_rows_max);
  std::vector<uint32_t> list_of(n);
  for (uint32_t list = 0; list < lists.lists(); ++list) {
    for (uint32_t i = lists.starts[list]; i < lists.starts[list + 1]; ++i) {
      list_of[lists.rows[i]] = list;
    }
  }
  // Of each of the sample, how many lists are visited until each of its neighbours is found.
  std::vector<std::vector<uint32_t>> visited(sampled);
  const Distance distance(metric, dimension);
  run_ranges(workers, sampled, shared_queries, [&](uint32_t, size_t begin, size_t end) {
    // Evenly spaced, so that the same rows give the same sample.
    auto row_of = [&](size_t q) { return static_cast<uint32_t>(uint64_t{q} * n / sampled); };
    auto vector_of = [&](uint32_t row) { return vectors + size_t{row} * dimension; };
    std::vector<TopK<uint32_t>> nearest(end - begin, TopK<uint32_t>(measured_k));
    for (uint32_t row = 0; row < n; ++row) {
      if (row % 1024 == 0 && is_cancelled(cancel)) return;
      for (size_t q = begin; q < end; ++q) {
        if (row == row_of(q)) continue;
        nearest[q - begin].push(distance(vector_of(row_of(q)), vector_of(row)), row);
      }
    }
    std::vector<uint32_t> place(lists.lists());
    for (size_t q = begin; q < end; ++q) {
      auto order = nearest_lists(lists, metric, dimension, vector_of(row_of(q)), lists.lists());
      for (uint32_t i = 0; i < order.size(); ++i) place[order[i]] = i;
      for (auto [d, row] : nearest[q - begin].take_sorted()) {
        visited[q].push_back(place[list_of[row]] + 1);
      }
    }
  });
  if (is_cancelled(cancel)) return std::nullopt;
  std::vector<uint32_t> all;
  for (const auto& of_one : visited) all.insert(all.end(), of_one.begin(), of_one.end());
  if (all.empty()) return default_nprobe(lists.lists());
  std::sort(all.begin(), all.end());
  const double wanted = std::ceil(wanted_recall * static_cast<double>(all.size()));
  return std::max(all[static_cast<size_t>(wanted) - 1], default_nprobe(lists.lists()));
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
