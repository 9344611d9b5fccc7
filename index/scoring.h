// Scores, as callers see them, and distances, as the engine compares them.
//
// A distance is smaller when better: l2: squared Euclidean; dot: the negative
// product; cosine: 1 - the product of normalised vectors.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

#include "index/kernels.h"
#include "index/metric.h"

namespace jade {

inline float distance(Metric metric, const float* a, const float* b, size_t d) {
  switch (metric) {
    case Metric::l2: return kernels().l2_squared(a, b, d);
    case Metric::dot: return -kernels().inner_product(a, b, d);
    case Metric::cosine: return 1 - kernels().inner_product(a, b, d);
  }
  return 0;
}

inline float score_from_distance(Metric metric, float distance) {
  switch (metric) {
    case Metric::l2: return std::sqrt(distance > 0 ? distance : 0.0f);
    case Metric::dot: return 0 - distance;  // which is no -0
    case Metric::cosine: return 1 - distance;
  }
  return 0;
}

// The largest distance that has at least this score. A negative Euclidean
// distance is met by nothing.
inline float distance_from_score(Metric metric, float score) {
  switch (metric) {
    case Metric::l2: {
      if (score < 0) return -1;
      // score × score may lie a step or two beside it.
      constexpr float infinity = std::numeric_limits<float>::infinity();
      float d = score * score;
      while (std::sqrt(d) > score) d = std::nextafter(d, 0.0f);
      while (d < infinity && std::sqrt(std::nextafter(d, infinity)) <= score) {
        d = std::nextafter(d, infinity);
      }
      return d;
    }
    case Metric::dot: return -score;
    case Metric::cosine: {
      // Near 1 distances are further apart than scores near 0.
      float d = 1 - score;
      while (1 - d < score) d = std::nextafter(d, -1.0f);
      return d;
    }
  }
  return 0;
}

// Of the distances that show the same score one stands for all, so that they are equal.
inline float shown_distance(Metric metric, float distance) {
  if (metric != Metric::l2) return distance;
  const float score = score_from_distance(metric, distance);
  return score * score;
}

// To length 1; summed in double, so that it does not depend on the kernels.
inline void normalise(float* values, size_t d) {
  double sum = 0;
  for (size_t i = 0; i < d; ++i) sum += static_cast<double>(values[i]) * values[i];
  if (sum <= 0) return;
  double scale = 1 / std::sqrt(sum);
  for (size_t i = 0; i < d; ++i) values[i] = static_cast<float>(values[i] * scale);
}

}  // namespace jade
