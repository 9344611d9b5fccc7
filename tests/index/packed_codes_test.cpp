#include "index/packed_codes.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/index/coded_vectors.h"

namespace jade {
namespace {

using Vectors = CodedVectors<PackedCodes>;

}  // namespace

TEST_CASE("Distances by packed codes are nearly those by values, under each metric") {
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    for (uint32_t dimension : {24u, 64u, 127u, 129u, 257u, 768u}) {
      CAPTURE(to_string(metric));
      CAPTURE(dimension);
      Vectors vectors(1200, dimension, metric);
      auto codes = vectors.codes();
      REQUIRE(codes);
      CHECK(codes->rows() == 1200);
      std::vector<uint32_t> rows(1200);
      for (uint32_t i = 0; i < 1200; ++i) rows[i] = i;
      std::vector<float> found(1200);
      EncodedQuery query;
      for (uint32_t q = 0; q < 1200; q += 150) {
        REQUIRE(codes->encode(vectors.row(q), query));
        codes->distances(query, rows.data(), 1200, found.data());
        // What is off, beside how far distances are apart.
        double scale = metric == Metric::cosine ? 0.5 : 1;
        double off = 0, mean = 0, spread = 0, bias = 0;
        auto exact = [&](uint32_t i) {
          return static_cast<double>(vectors.distance(vectors.row(q), vectors.row(i)));
        };
        for (uint32_t i = 0; i < 1200; ++i) {
          bias += (static_cast<double>(found[i]) * scale - exact(i)) / 1200;
          mean += exact(i) / 1200;
        }
        for (uint32_t i = 0; i < 1200; ++i) {
          off += std::pow(static_cast<double>(found[i]) * scale - exact(i) - bias, 2);
          spread += std::pow(exact(i) - mean, 2);
        }
        CHECK(std::sqrt(off / spread) < 0.2);
        CHECK(std::fabs(bias) / std::sqrt(spread / 1200) < 0.3);
      }
    }
  }
}

TEST_CASE("Rows far from their packed codes are not met as if they were near") {
  for (Metric metric : {Metric::l2, Metric::dot}) {
    CAPTURE(to_string(metric));
    Vectors vectors(20000, 16, metric);
    // As many as may be, most of them at the largest code of one dimension.
    const float values[] = {40, 1000, 1e6f, 1e25f};
    for (uint32_t i = 0; i < 20; ++i) vectors.row(i * 1000 + 1)[2] = values[i % 4];
    auto codes = vectors.codes();
    if (metric == Metric::l2) REQUIRE(codes);
    if (!codes) continue;
    EncodedQuery query;
    REQUIRE(codes->encode(vectors.row(0), query));
    for (uint32_t i = 0; i < 20; ++i) {
      const uint32_t rows[] = {0, i * 1000 + 1};
      float found[2];
      codes->distances(query, rows, 2, found);
      CHECK(std::isfinite(found[0]));
      CHECK(std::isfinite(found[1]));
      if (metric == Metric::l2) CHECK(found[1] > found[0] + 100);
    }
  }
}

TEST_CASE("One row far from all others does not make their packed codes coarser") {
  for (float far : {1e3f, 1e6f, -1e9f, 1e15f}) {
    CAPTURE(far);
    Vectors vectors(5000, 24, Metric::l2);
    vectors.row(40)[2] = far;  // one of those that ranges are measured by
    auto codes = vectors.codes();
    REQUIRE(codes);
    std::vector<uint32_t> rows;
    for (uint32_t i = 0; i < 5000; i += 7) rows.push_back(i);
    std::vector<float> found(rows.size());
    EncodedQuery query;
    REQUIRE(codes->encode(vectors.row(1), query));
    codes->distances(query, rows.data(), rows.size(), found.data());
    double off = 0, all = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] == 40) continue;
      const auto exact =
          static_cast<double>(vectors.distance(vectors.row(1), vectors.row(rows[i])));
      off += std::fabs(static_cast<double>(found[i]) - exact);
      all += exact;
    }
    CHECK(off / all < 0.1);
  }
}

TEST_CASE("What packed codes cannot express is refused") {
  Vectors vectors(2000, 16, Metric::l2);
  auto codes = vectors.codes();
  REQUIRE(codes);
  EncodedQuery query;
  std::vector<float> far(vectors.row(0), vectors.row(1));
  CHECK(codes->encode(far.data(), query));
  for (float value :
       {1000.0f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::max(), std::numeric_limits<float>::quiet_NaN()}) {
    far[3] = value;
    CHECK(!codes->encode(far.data(), query));
  }

  // All equal; only the last bits differ; some far away, few of which may be.
  Vectors other(2000, 16, Metric::l2);
  std::fill(other.values.begin(), other.values.end(), 3.0f);
  CHECK(!other.codes());
  std::fill(other.values.begin(), other.values.end(), std::numeric_limits<float>::denorm_min());
  other.row(3)[1] = 0;
  CHECK(!other.codes());
  other = Vectors(20000, 16, Metric::l2);
  other.row(1)[2] = 1e6f;
  CHECK(other.codes());
  for (uint32_t i = 0; i < 100; ++i) other.row(i * 200 + 1)[2] = 1e6f;
  CHECK(!other.codes());
  other = Vectors(2000, 16, Metric::l2);
  for (uint32_t i = 0; i < 2000; ++i) other.row(i)[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(!other.codes());
  // Dimensions in which all are equal do not count.
  other = Vectors(2000, 16, Metric::l2);
  for (uint32_t i = 0; i < 2000; ++i) other.row(i)[7] = 5;
  REQUIRE(other.codes());
  CHECK(other.codes()->encode(other.row(9), query));

  // Under dot the scale of the query is its own, but not one of its values alone.
  Vectors dot(2000, 64, Metric::dot);
  codes = dot.codes();
  REQUIRE(codes);
  std::vector<float> long_one(dot.row(0), dot.row(1));
  for (float& value : long_one) value *= 1000;
  CHECK(codes->encode(long_one.data(), query));
  std::fill(long_one.begin(), long_one.end(), 0.0f);
  CHECK(codes->encode(long_one.data(), query));
  long_one[5] = 1;
  CHECK(!codes->encode(long_one.data(), query));
}

TEST_CASE("Where one kind of codes is too coarse, the next finer one is taken") {
  // Differences of a 300th of the range in each dimension.
  Vectors vectors(2000, 64, Metric::l2);
  for (uint32_t i = 0; i < 2000; ++i) {
    for (uint32_t j = 0; j < 64; ++j) {
      float centre = (i / 500 >> j % 2 & 1) != 0 ? 1.0f : -1.0f;
      vectors.row(i)[j] = centre + 0.02f * (vectors.row(i)[j] / static_cast<float>(1 + j % 5) - 2);
    }
  }
  EuclideanRows points(vectors.values.data(), 2000, vectors.distance);
  CHECK(!vectors.codes());
  auto codes = RowCodes::of(Quantization::sq4, points, Metric::l2);
  REQUIRE(codes);
  CHECK(codes->kind() == Quantization::sq8);
  CHECK(RowCodes::of(Quantization::none, points, Metric::l2) == nullptr);
  Vectors spread(2000, 64, Metric::l2);
  EuclideanRows apart(spread.values.data(), 2000, spread.distance);
  CHECK(RowCodes::of(Quantization::sq4, apart, Metric::l2)->kind() == Quantization::sq4);
  CHECK(RowCodes::of(Quantization::sq8, apart, Metric::l2)->kind() == Quantization::sq8);
}

TEST_CASE("With packed codes a row takes less than a third of its float32 values") {
  Vectors vectors(1000, 768, Metric::cosine);
  auto codes = vectors.codes();
  REQUIRE(codes);
  // 2 m links on level 0, few above.
  constexpr size_t links_bytes = 32 * sizeof(int32_t) * 11 / 10;
  CHECK(codes->memory_bytes() / 1000 + links_bytes < 768 * sizeof(float) / 3);
}

}  // namespace jade
