#include "index/rotation.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

namespace jade {
namespace {

double product(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace

TEST_CASE("A rotation keeps lengths and products, and spreads a single value over all") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (size_t n : {2u, 6u, 16u, 64u, 128u, 384u, 640u, 768u, 896u, 1536u, 4096u, 16384u}) {
    CAPTURE(n);
    Rotation rotation(n);
    std::vector<float> a(n), b(n);
    for (float& value : a) value = normal(random);
    for (float& value : b) value = normal(random);
    double length = product(a, a), both = product(a, b);
    rotation.apply(a.data());
    rotation.apply(b.data());
    CHECK(std::fabs(product(a, a) - length) < 1e-4 * length);
    CHECK(std::fabs(product(a, b) - both) < 1e-4 * length);
    if (n < 64) continue;
    // As of a random direction: no value much larger than the others, as many of each sign.
    for (size_t at : {size_t{0}, n / 3, n - 1}) {
      std::vector<float> unit(n);
      unit[at] = 1;
      rotation.apply(unit.data());
      double largest = 0, positive = 0;
      for (float value : unit) {
        largest = std::max(largest, std::fabs(static_cast<double>(value)));
        positive += value > 0 ? 1 : 0;
      }
      CHECK(largest * std::sqrt(static_cast<double>(n)) < 6);
      CHECK(std::fabs(positive / static_cast<double>(n) - 0.5) < 0.25);
    }
  }
}

TEST_CASE("Rotations of the same size are the same") {
  std::vector<float> a(384, 1.0f), b = a;
  Rotation(384).apply(a.data());
  Rotation(384).apply(b.data());
  CHECK(a == b);
  // What replicas compute must not change from one version to the next.
  CHECK(a[0] == doctest::Approx(0.128662f).epsilon(1e-4));
  CHECK(a[383] == doctest::Approx(-0.041016f).epsilon(1e-3));
}

}  // namespace jade
