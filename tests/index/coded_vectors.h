// Vectors for tests of codes: dimensions of different widths, each with an offset.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "index/scoring.h"
#include "index/segment.h"

namespace jade {

template <class Codes>
struct CodedVectors {
  CodedVectors(uint32_t rows, uint32_t dimension, Metric metric)
      : distance(metric, dimension), values(size_t{rows} * dimension) {
    std::mt19937 random(rows + dimension);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = (2 + normal(random)) * static_cast<float>(1 + i % dimension % 5);
    }
    for (uint32_t i = 0; metric == Metric::cosine && i < rows; ++i) normalise(row(i), dimension);
  }
  float* row(uint32_t i) { return values.data() + size_t{i} * distance.dimension(); }
  uint32_t rows() const { return static_cast<uint32_t>(values.size() / distance.dimension()); }
  std::unique_ptr<const Codes> codes() const {
    return Codes::of({values.data(), rows(), distance}, distance.metric());
  }

  Distance distance;
  std::vector<float> values;
};

}  // namespace jade
