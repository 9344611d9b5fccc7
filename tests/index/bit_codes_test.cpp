#include "index/bit_codes.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/index/coded_vectors.h"

namespace jade {
namespace {

using Vectors = CodedVectors<BitCodes>;

struct Errors {
  double bias = 0;       // of the estimates, in deviations of the true distances
  double deviation = 0;  // the same
  double beyond = 0;     // share of the estimates that are off by more than error() says
};

Errors errors_of(Vectors& vectors) {
  auto codes = vectors.codes();
  REQUIRE(codes);
  const uint32_t n = vectors.rows();
  CHECK(codes->rows() == n);
  CHECK(codes->kind() == Quantization::rabitq);
  std::vector<uint32_t> rows(n);
  for (uint32_t i = 0; i < n; ++i) rows[i] = i;
  std::vector<float> found(n);
  EncodedQuery query;
  const Metric metric = vectors.distance.metric();
  const float scale = metric == Metric::cosine ? 2 : 1;
  double off = 0, squares = 0, spread = 0, beyond = 0;
  size_t pairs = 0;
  for (uint32_t q = 0; q < n; q += n / 16) {
    // Not a row, but between two.
    std::vector<float> values(vectors.row(q), vectors.row(q) + vectors.distance.dimension());
    for (size_t j = 0; j < values.size(); ++j)
      values[j] = (values[j] + vectors.row(q / 2 + 1)[j]) / 2;
    if (metric == Metric::cosine) normalise(values.data(), values.size());
    REQUIRE(codes->encode(values.data(), query));
    codes->distances(query, rows.data(), n, found.data());
    double mean = 0;
    std::vector<double> exact(n);
    for (uint32_t i = 0; i < n; ++i) {
      exact[i] = static_cast<double>(scale * vectors.distance(values.data(), vectors.row(i)));
      mean += exact[i] / n;
    }
    for (uint32_t i = 0; i < n; ++i) {
      double error = static_cast<double>(found[i]) - exact[i];
      off += error;
      squares += error * error;
      spread += (exact[i] - mean) * (exact[i] - mean);
      beyond += error > static_cast<double>(codes->error(query, static_cast<float>(exact[i])));
      ++pairs;
    }
  }
  double width = std::sqrt(spread / static_cast<double>(pairs));
  return {off / static_cast<double>(pairs) / width,
          std::sqrt(squares / static_cast<double>(pairs)) / width,
          beyond / static_cast<double>(pairs)};
}

}  // namespace

TEST_CASE("Estimates by one bit a dimension are not biased, under each metric") {
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    for (uint32_t dimension : {24u, 65u, 128u, 257u, 768u, 1000u}) {
      CAPTURE(to_string(metric));
      CAPTURE(dimension);
      Vectors vectors(1600, dimension, metric);
      Errors errors = errors_of(vectors);
      CHECK(std::fabs(errors.bias) < 0.1);
      CHECK(errors.beyond < 0.02);
      // In this many dimensions all rows are about equally far, so that what tells them
      // apart falls as fast as the error does.
      CHECK(errors.deviation < 1.3);
      CHECK(errors.deviation > 0.1);
    }
  }
}

TEST_CASE("The error of an estimate falls as one over the root of the dimension") {
  // Rows that differ in few dimensions, so that only the number of bits changes.
  auto error = [](uint32_t dimension) {
    Vectors vectors(1600, dimension, Metric::l2);
    for (uint32_t i = 0; i < 1600; ++i) {
      for (uint32_t j = 16; j < dimension; ++j) vectors.row(i)[j] = static_cast<float>(j % 3);
    }
    return errors_of(vectors).deviation;
  };
  double few = error(128), more = error(512), most = error(2048);
  CHECK(few / more == doctest::Approx(2).epsilon(0.15));
  CHECK(more / most == doctest::Approx(2).epsilon(0.15));
}

TEST_CASE("What cannot be estimated is refused") {
  Vectors vectors(2000, 64, Metric::l2);
  auto codes = vectors.codes();
  REQUIRE(codes);
  EncodedQuery query;
  std::vector<float> far(vectors.row(0), vectors.row(1));
  // Far away the order can still be told.
  for (float value : {1.0f, 1000.0f, 1e6f}) {
    far[3] = value;
    CHECK(codes->encode(far.data(), query));
  }
  for (float value :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::max(), std::numeric_limits<float>::quiet_NaN()}) {
    far[3] = value;
    CHECK(!codes->encode(far.data(), query));
  }
  // All equal; only the last bits differ; clusters far from each other.
  Vectors other(2000, 64, Metric::l2);
  std::fill(other.values.begin(), other.values.end(), 3.0f);
  CHECK(!other.codes());
  std::fill(other.values.begin(), other.values.end(), std::numeric_limits<float>::denorm_min());
  other.row(3)[1] = 0;
  CHECK(!other.codes());
  other = Vectors(2000, 64, Metric::l2);
  for (uint32_t i = 0; i < 2000; ++i) other.row(i)[i % 64] += 3000;
  CHECK(!other.codes());
  EuclideanRows points(other.values.data(), 2000, other.distance);
  auto finer = RowCodes::of(Quantization::rabitq, points, Metric::l2);
  CHECK((finer == nullptr || finer->kind() != Quantization::rabitq));
  for (uint32_t i = 0; i < 2000; ++i) other.row(i)[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(!other.codes());
}

TEST_CASE("Rows that are no numbers are far from all") {
  Vectors vectors(20000, 32, Metric::l2);
  for (uint32_t i = 0; i < 20; ++i) vectors.row(i * 1000 + 1)[2] = 1e25f;
  auto codes = vectors.codes();
  if (!codes) return;
  EncodedQuery query;
  REQUIRE(codes->encode(vectors.row(0), query));
  for (uint32_t i = 0; i < 20; ++i) {
    const uint32_t rows[] = {0, i * 1000 + 1};
    float found[2];
    codes->distances(query, rows, 2, found);
    CHECK(std::isfinite(found[0]));
    CHECK(found[1] > found[0] + 100);
  }
}

TEST_CASE("With one bit a dimension and its links a row takes a tenth of its float32 values") {
  Vectors vectors(1000, 768, Metric::cosine);
  auto codes = vectors.codes();
  REQUIRE(codes);
  // 2 m links on level 0, few above.
  constexpr size_t links_bytes = 32 * sizeof(int32_t) * 11 / 10;
  CHECK(codes->memory_bytes() / 1000 + links_bytes < 768 * sizeof(float) / 10);
}

}  // namespace jade
