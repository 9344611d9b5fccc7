#include "index/vector_router.h"

#include <algorithm>
#include <random>

#include "index/ivf.h"
#include "index/top_k.h"

namespace jade {
namespace {

// Vectors that are far from each other, so that few centres do not share a cluster while
// another has none: Arthur and Vassilvitskii, "k-means++", 2007.
std::vector<float> spread_centres(const std::vector<float>& vectors, uint32_t dimension,
                                  uint32_t parts, uint64_t seed) {
  auto n = vectors.size() / dimension;
  std::mt19937_64 random(seed);
  std::vector<float> nearest(n, std::numeric_limits<float>::infinity());
  std::vector<float> out;
  size_t chosen = random() % n;
  for (;;) {
    const float* centre = vectors.data() + chosen * dimension;
    out.insert(out.end(), centre, centre + dimension);
    if (out.size() == size_t{parts} * dimension) return out;
    double sum = 0;
    for (size_t i = 0; i < n; ++i) {
      float d = distance(Metric::l2, vectors.data() + i * dimension, centre, dimension);
      nearest[i] = std::min(nearest[i], d);
      sum += nearest[i];
    }
    // The standard's distributions differ between libraries.
    double at = sum * static_cast<double>(random() >> 11) / static_cast<double>(1ull << 53);
    for (chosen = 0; chosen + 1 < n && at >= nearest[chosen]; ++chosen) at -= nearest[chosen];
  }
}

}  // namespace

VectorRouter::VectorRouter(Metric metric, uint32_t dimension, std::string_view centres)
    : metric_(metric),
      dimension_(dimension),
      parts_(static_cast<uint32_t>(centres.size() / sizeof(float) / dimension)),
      centres_(reinterpret_cast<const float*>(centres.data())) {
  JADE_ASSERT(parts_ > 0 && centres.size() == size_t{parts_} * dimension * sizeof(float));
  JADE_ASSERT(reinterpret_cast<uintptr_t>(centres.data()) % alignof(float) == 0);
}

std::vector<float> VectorRouter::prepared(const float* vector) const {
  std::vector<float> out(vector, vector + dimension_);
  if (metric_ == Metric::cosine) normalise(out.data(), dimension_);
  return out;
}

uint32_t VectorRouter::part_of(const float* vector) const {
  // By Euclidean distance whatever the metric, as k-means does.
  std::vector<float> own = prepared(vector);
  TopK<uint32_t> best(1);
  for (uint32_t part = 0; part < parts_; ++part) {
    best.push(distance(Metric::l2, own.data(), centre(part), dimension_), part);
  }
  return best.take_sorted().front().second;
}

std::vector<uint32_t> VectorRouter::parts_for(const float* query, uint32_t count) const {
  // Normalised vectors lie as their products do, but their means do not: Euclidean
  // under cosine. Under dot, a far part may hold the largest products.
  Metric by = metric_ == Metric::dot ? Metric::dot : Metric::l2;
  std::vector<float> own = prepared(query);
  TopK<uint32_t> best(std::min(count, parts_));
  for (uint32_t part = 0; part < parts_; ++part) {
    best.push(distance(by, own.data(), centre(part), dimension_), part);
  }
  std::vector<uint32_t> out;
  for (auto [d, part] : best.take_sorted()) out.push_back(part);
  return out;
}

std::optional<std::string> train_router(std::vector<float> vectors, uint32_t dimension,
                                        Metric metric, uint32_t parts, uint64_t seed,
                                        const std::atomic<bool>* cancel) {
  auto n = static_cast<uint32_t>(vectors.size() / dimension);
  JADE_ASSERT(n >= parts && parts > 0);
  if (metric == Metric::cosine) {
    for (uint32_t i = 0; i < n; ++i) normalise(vectors.data() + size_t{i} * dimension, dimension);
  }
  auto lists = build_lists(vectors.data(), n, dimension, parts, seed, nullptr, cancel,
                           spread_centres(vectors, dimension, parts, seed));
  if (!lists) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(lists->centres.data()),
                     lists->centres.size() * sizeof(float));
}

}  // namespace jade
