#include "index/product_codes.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tests/index/coded_vectors.h"

namespace jade {
namespace {

using Vectors = CodedVectors<ProductCodes>;

std::string bytes_of(const RowCodes& codes) {
  std::string out;
  REQUIRE(codes
              .save([&](std::string_view part) {
                out += part;
                return Status();
              })
              .ok());
  return out;
}

}  // namespace

TEST_CASE("Distances by product codes are near those by values, under each metric") {
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    for (uint32_t dimension : {24u, 65u, 130u, 259u}) {
      CAPTURE(to_string(metric));
      CAPTURE(dimension);
      constexpr uint32_t n = ProductCodes::rows_min;
      Vectors vectors(n, dimension, metric);
      auto codes = vectors.codes();
      REQUIRE(codes);
      CHECK(codes->rows() == n);
      CHECK(codes->kind() == Quantization::pq);
      std::vector<uint32_t> rows(n);
      for (uint32_t i = 0; i < n; ++i) rows[i] = i;
      std::vector<float> found(n);
      EncodedQuery query;
      for (uint32_t q = 0; q < n; q += n / 8) {
        // Not a row, but between two.
        std::vector<float> values(vectors.row(q), vectors.row(q) + dimension);
        for (size_t j = 0; j < dimension; ++j) {
          values[j] = (values[j] + vectors.row(q / 2 + 1)[j]) / 2;
        }
        if (metric == Metric::cosine) normalise(values.data(), dimension);
        REQUIRE(codes->encode(values.data(), query));
        codes->distances(query, rows.data(), n, found.data());
        // What is off, beside how far distances are apart.
        double scale = metric == Metric::cosine ? 0.5 : 1;
        double off = 0, mean = 0, spread = 0, bias = 0;
        auto exact = [&](uint32_t i) {
          return static_cast<double>(vectors.distance(values.data(), vectors.row(i)));
        };
        for (uint32_t i = 0; i < n; ++i) {
          bias += (static_cast<double>(found[i]) * scale - exact(i)) / n;
          mean += exact(i) / n;
        }
        for (uint32_t i = 0; i < n; ++i) {
          off += std::pow(static_cast<double>(found[i]) * scale - exact(i) - bias, 2);
          spread += std::pow(exact(i) - mean, 2);
        }
        CHECK(std::sqrt(off / spread) < 0.6);
        CHECK(std::fabs(bias) / std::sqrt(spread / n) < 0.3);
      }
    }
  }
}

TEST_CASE("Training gives the same again, and what was saved is loaded") {
  Vectors vectors(6000, 30, Metric::l2);
  auto codes = vectors.codes(), again = vectors.codes();
  REQUIRE(codes);
  std::string bytes = bytes_of(*codes);
  CHECK((bytes == bytes_of(*again)));
  CHECK(bytes.size() == RowCodes::saved_bytes(Quantization::pq, 6000, 30, Metric::l2));
  size_t at = 0;
  auto loaded = RowCodes::load(Quantization::pq, 6000, 30, Metric::l2, [&](char* out, size_t n) {
    std::memcpy(out, bytes.data() + at, n);
    at += n;
    return Status();
  });
  REQUIRE(loaded.ok());
  CHECK(at == bytes.size());
  CHECK((*loaded)->memory_bytes() == codes->memory_bytes());
  const uint32_t rows[] = {0, 17, 5999};
  float a[3], b[3];
  EncodedQuery query;
  REQUIRE(codes->encode(vectors.row(3), query));
  codes->distances(query, rows, 3, a);
  REQUIRE((*loaded)->encode(vectors.row(3), query));
  (*loaded)->distances(query, rows, 3, b);
  for (int i = 0; i < 3; ++i) CHECK(a[i] == b[i]);
}

TEST_CASE("With too few rows, or what cannot be told apart, the next finer codes are taken") {
  auto kind = [](Vectors& vectors) {
    EuclideanRows points(vectors.values.data(), vectors.rows(), vectors.distance);
    auto codes = RowCodes::of(Quantization::pq, points, vectors.distance.metric());
    return codes ? codes->kind() : Quantization::none;
  };
  Vectors few(ProductCodes::rows_min - 1, 32, Metric::l2),
      enough(ProductCodes::rows_min, 32, Metric::l2);
  CHECK(kind(few) == Quantization::sq4);
  CHECK(kind(enough) == Quantization::pq);
  Vectors other(6000, 16, Metric::l2);
  std::fill(other.values.begin(), other.values.end(), 3.0f);
  CHECK(!other.codes());
  CHECK(kind(other) == Quantization::none);
  other = Vectors(6000, 16, Metric::l2);
  // Near-duplicates.
  for (uint32_t i = 0; i < 6000; ++i) {
    for (uint32_t j = 0; j < 16; ++j) {
      other.row(i)[j] = other.row(i / 10 * 10)[j] + 1e-4f * static_cast<float>((i * 7 + j) % 10);
    }
  }
  CHECK(!other.codes());
  other = Vectors(6000, 16, Metric::l2);
  for (uint32_t i = 0; i < 6000; ++i) other.row(i)[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(!other.codes());

  auto codes = enough.codes();
  EncodedQuery query;
  std::vector<float> far(enough.row(0), enough.row(1));
  far[3] = 1e6f;
  CHECK(codes->encode(far.data(), query));
  for (float value : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::max(),
                      std::numeric_limits<float>::quiet_NaN()}) {
    far[3] = value;
    CHECK(!codes->encode(far.data(), query));
  }
}

}  // namespace jade
