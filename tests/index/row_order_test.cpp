#include "index/row_order.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "index/random.h"
#include "index/worker_pool.h"

using namespace jade;

namespace {

struct Points {
  uint32_t dimension;
  std::vector<float> values;

  uint32_t rows() const { return static_cast<uint32_t>(values.size() / dimension); }
  std::vector<uint32_t> order(Workers* workers = nullptr) const {
    return nearness_order(rows(), dimension, 7, workers, nullptr, [this](uint32_t row, float* out) {
      std::copy_n(values.data() + size_t{row} * dimension, dimension, out);
    });
  }
};

Points random_points(uint32_t rows, uint32_t dimension) {
  Random random(rows + dimension);
  Points out{dimension, std::vector<float>(size_t{rows} * dimension)};
  for (float& value : out.values) value = static_cast<float>(random.unit() - 0.5);
  return out;
}

bool is_permutation_of_rows(std::vector<uint32_t> order, uint32_t rows) {
  std::sort(order.begin(), order.end());
  for (uint32_t i = 0; i < order.size(); ++i) {
    if (order[i] != i) return false;
  }
  return order.size() == rows;
}

}  // namespace

TEST_CASE("every row has a place, the same however many threads look for it") {
  WorkerPool workers(3);
  for (uint32_t dimension : {1, 3, 16, 17, 128}) {
    for (uint32_t rows : {0, 1, 24, 25, 1000, 5000}) {
      CAPTURE(dimension);
      CAPTURE(rows);
      Points points = random_points(rows, dimension);
      auto order = points.order();
      CHECK(is_permutation_of_rows(order, rows));
      CHECK(order == points.order(&workers));
    }
  }
}

// So that replicas on processors of several kinds have the same graphs.
TEST_CASE("the order is the same on every processor") {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (uint32_t dimension : {16, 100, 128}) {
    for (uint32_t row : random_points(5000, dimension).order())
      hash = (hash ^ row) * 1099511628211u;
  }
  CHECK(hash == 1601300078175489965u);
}

TEST_CASE("rows near each other are in places near each other") {
  constexpr uint32_t clusters = 50, rows = 10'000, dimension = 48;
  Points points = random_points(rows, dimension);
  Points centres = random_points(clusters, dimension);
  // Row i is in cluster i % clusters.
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t j = 0; j < dimension; ++j) {
      float& value = points.values[row * dimension + j];
      value = 0.2f * value + centres.values[row % clusters * dimension + j];
    }
  }
  auto order = points.order();
  size_t same = 0;
  for (size_t i = 1; i < order.size(); ++i) {
    same += order[i] % clusters == order[i - 1] % clusters;
  }
  CHECK(static_cast<double>(same) / rows > 0.9);  // by chance: 0.02
}

TEST_CASE("rows that are equal, tiny or too large to compute with are put in some order") {
  constexpr uint32_t rows = 3000, dimension = 20;
  const float largest = std::numeric_limits<float>::max();
  for (float value : {0.0f, 1.0f, std::numeric_limits<float>::denorm_min(), largest}) {
    CAPTURE(value);
    Points points{dimension, std::vector<float>(rows * dimension, value)};
    CHECK(is_permutation_of_rows(points.order(), rows));
    for (size_t i = 0; i < points.values.size(); i += 3) points.values[i] *= -1;
    CHECK(is_permutation_of_rows(points.order(), rows));
  }
}

TEST_CASE("an order that nobody wants any more ends") {
  const std::atomic<bool> cancel = true;
  auto order = nearness_order(5000, 4, 1, nullptr, &cancel, [](uint32_t row, float* out) {
    std::fill_n(out, 4, static_cast<float>(row));
  });
  CHECK(is_permutation_of_rows(order, 5000));
}
