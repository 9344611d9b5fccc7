#include "index/vector_router.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace jade {
namespace {

// Rows around `parts` far corners, in turn.
std::vector<float> corners(uint32_t rows, uint32_t dimension, uint32_t parts) {
  std::mt19937 random(7);
  std::normal_distribution<float> noise(0, 0.05f);
  std::vector<float> out;
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t i = 0; i < dimension; ++i) {
      out.push_back(noise(random) + (i == row % parts ? 1.0f : 0.0f));
    }
  }
  return out;
}

double distance_to(const std::string& centres, uint32_t part, const float* vector, uint32_t d) {
  const auto* centre = reinterpret_cast<const float*>(centres.data()) + size_t{part} * d;
  double sum = 0;
  for (uint32_t i = 0; i < d; ++i) sum += (centre[i] - vector[i]) * (centre[i] - vector[i]);
  return sum;
}

}  // namespace

TEST_CASE("vectors that are near to each other are in one part, the same for the same seed") {
  constexpr uint32_t dimension = 11, parts = 5;
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    CAPTURE(to_string(metric));
    std::vector<float> rows = corners(500, dimension, parts);
    auto centres = train_router(rows, dimension, metric, parts, 3);
    REQUIRE(centres);
    CHECK(*centres == *train_router(rows, dimension, metric, parts, 3));
    VectorRouter router(metric, dimension, *centres);
    REQUIRE(router.parts() == parts);
    std::vector<uint32_t> part_of_corner;
    for (uint32_t row = 0; row < 500; ++row) {
      uint32_t part = router.part_of(rows.data() + row * dimension);
      if (row < parts) part_of_corner.push_back(part);
      CHECK(part == part_of_corner[row % parts]);
    }
    std::sort(part_of_corner.begin(), part_of_corner.end());
    CHECK(std::unique(part_of_corner.begin(), part_of_corner.end()) == part_of_corner.end());
  }
}

TEST_CASE("the nearest centre tells the part, and parts are asked by their distance") {
  constexpr uint32_t dimension = 6, parts = 9;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> rows(400 * dimension);
  for (float& value : rows) value = normal(random);
  auto centres = train_router(rows, dimension, Metric::l2, parts, 1);
  REQUIRE(centres);
  VectorRouter router(Metric::l2, dimension, *centres);
  for (uint32_t row = 0; row < 400; ++row) {
    const float* vector = rows.data() + row * dimension;
    auto order = router.parts_for(vector, parts);
    REQUIRE(order.size() == parts);
    CHECK(order.front() == router.part_of(vector));
    for (uint32_t i = 1; i < parts; ++i) {
      CHECK(distance_to(*centres, order[i - 1], vector, dimension) <=
            distance_to(*centres, order[i], vector, dimension) + 1e-4);
    }
    auto few = router.parts_for(vector, 3);
    CHECK(few == std::vector<uint32_t>(order.begin(), order.begin() + 3));
    CHECK(router.parts_for(vector, 100).size() == parts);
  }
}

TEST_CASE("under cosine the length of a vector does not matter; equal rows do no harm") {
  std::vector<float> rows = corners(200, 4, 2);
  auto centres = train_router(rows, 4, Metric::cosine, 2, 1);
  REQUIRE(centres);
  VectorRouter router(Metric::cosine, 4, *centres);
  std::vector<float> vector(rows.begin(), rows.begin() + 4);
  uint32_t part = router.part_of(vector.data());
  for (float& value : vector) value *= 1000;
  CHECK(router.part_of(vector.data()) == part);
  CHECK(router.parts_for(vector.data(), 1).front() == part);

  std::vector<float> equal(100 * 4, 0.5f);
  auto same = train_router(equal, 4, Metric::l2, 3, 1);
  REQUIRE(same);
  CHECK(VectorRouter(Metric::l2, 4, *same).part_of(equal.data()) < 3);
  std::atomic<bool> cancel = true;
  CHECK_FALSE(train_router(equal, 4, Metric::l2, 3, 1, &cancel));
}

}  // namespace jade
