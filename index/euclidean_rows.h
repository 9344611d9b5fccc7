// Rows as points whose Euclidean distance says how near they are.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "index/segment.h"

namespace jade {

// Links of a graph follow from distances between rows, and under dot the nearest to
// a row would be the longest rows there are: short ones would be out of reach. So
// each row gets one more dimension that makes all equally long; a query has 0 there
// (Bachrach et al., "Speeding up the Xbox recommender system using a Euclidean
// transformation for inner-product spaces", 2014). After that, as under cosine, all
// are compared by Euclidean distance.
class EuclideanRows {
 public:
  // `vectors`: n × distance.dimension(); they outlive this.
  EuclideanRows(const float* vectors, uint32_t n, const Distance& distance)
      : vectors_(vectors), n_(n), dimension_(distance.dimension()), l2_(Metric::l2, dimension_) {
    if (distance.metric() != Metric::dot) return;
    float longest = 0;
    for (uint32_t i = 0; i < n; ++i) {
      added_.push_back(-distance(row(i), row(i)));
      if (added_[i] < std::numeric_limits<float>::infinity()) {
        longest = std::max(longest, added_[i]);
      }
    }
    for (float& value : added_) value = std::sqrt(std::max(0.0f, longest - value));
  }

  uint32_t rows() const { return n_; }
  // Without the added one.
  uint32_t dimension() const { return dimension_; }
  bool has_added() const { return !added_.empty(); }
  const float* row(size_t i) const { return vectors_ + i * dimension_; }
  float added(size_t i) const { return added_[i]; }
  float l2_squared(size_t i, size_t j) const {
    float d = l2_(row(i), row(j));
    if (added_.empty()) return d;
    return d + (added_[i] - added_[j]) * (added_[i] - added_[j]);
  }

 private:
  const float* vectors_;
  uint32_t n_;
  uint32_t dimension_;
  Distance l2_;
  std::vector<float> added_;
};

}  // namespace jade
