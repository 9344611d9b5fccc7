#include "index/scalar_codes.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "index/hnsw_search.h"

namespace jade {
namespace {

struct Vectors {
  Vectors(uint32_t rows, uint32_t dimension, Metric metric, float offset = 0)
      : distance(metric, dimension), values(size_t{rows} * dimension) {
    std::mt19937 random(rows + dimension);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = (offset + normal(random)) * static_cast<float>(1 + i % dimension % 3);
    }
    for (uint32_t i = 0; metric == Metric::cosine && i < rows; ++i) normalise(row(i), dimension);
  }
  float* row(uint32_t i) { return values.data() + size_t{i} * distance.dimension(); }
  uint32_t rows() const { return static_cast<uint32_t>(values.size() / distance.dimension()); }
  std::unique_ptr<const ScalarCodes> codes() const {
    return ScalarCodes::of({values.data(), rows(), distance}, distance.metric());
  }

  Distance distance;
  std::vector<float> values;
};

}  // namespace

TEST_CASE("Distances by codes are nearly those by values, under each metric") {
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    for (uint32_t dimension : {24u, 64u, 100u, 257u}) {
      CAPTURE(to_string(metric));
      CAPTURE(dimension);
      Vectors vectors(1200, dimension, metric, 5);
      auto codes = vectors.codes();
      REQUIRE(codes);
      CHECK(codes->rows() == 1200);
      CHECK(codes->memory_bytes() >= 1200 * dimension);
      EuclideanRows points(vectors.values.data(), 1200, vectors.distance);
      std::vector<uint32_t> rows(1200);
      for (uint32_t i = 0; i < 1200; ++i) rows[i] = i;
      std::vector<float> found(1200);
      EncodedQuery query;
      for (uint32_t q = 0; q < 1200; q += 100) {
        // What is off, beside how far distances are apart.
        auto error = [&](auto exact, float scale) {
          double off = 0, mean = 0, spread = 0, bias = 0;
          for (uint32_t i = 0; i < 1200; ++i) {
            bias += (static_cast<double>(found[i]) * scale - exact(i)) / 1200;
            mean += static_cast<double>(exact(i)) / 1200;
          }
          for (uint32_t i = 0; i < 1200; ++i) {
            off += std::pow(static_cast<double>(found[i]) * scale - exact(i) - bias, 2);
            spread += std::pow(exact(i) - mean, 2);
          }
          return std::pair(std::sqrt(off / spread), std::fabs(bias) / std::sqrt(spread / 1200));
        };
        REQUIRE(codes->encode(vectors.row(q), query));
        codes->distances(query, rows.data(), 1200, found.data());
        auto [off, bias] = error(
            [&](uint32_t i) { return double{vectors.distance(vectors.row(q), vectors.row(i))}; },
            metric == Metric::cosine ? 0.5f : 1.0f);
        CHECK(off < 0.06);
        CHECK(bias < 0.1);

        codes->encode_row(q, query);
        codes->distances(query, rows.data(), 1200, found.data());
        CHECK(found[q] == 0);
        // The unit follows from any pair.
        double unit = 0;
        for (uint32_t i = 0; i < 1200; ++i) unit += double{points.l2_squared(q, i)};
        double sum = 0;
        for (float d : found) sum += double{d};
        std::tie(off, bias) = error([&](uint32_t i) { return double{points.l2_squared(q, i)}; },
                                    static_cast<float>(unit / sum));
        CHECK(off < 0.06);
      }
    }
  }
}

TEST_CASE("Few distances by codes are off by more than codes say, and that is little") {
  for (Metric metric : {Metric::l2, Metric::cosine}) {
    for (auto [dimension, apart] : {std::pair(24u, 0.0f),
                                    {65u, 0.0f},
                                    {128u, 0.0f},
                                    {257u, 0.0f},
                                    // In clusters far from each other, and so from the middle.
                                    {24u, 20.0f},
                                    {128u, 60.0f}}) {
      CAPTURE(to_string(metric));
      CAPTURE(dimension);
      CAPTURE(apart);
      if (apart > 0 && metric == Metric::cosine) continue;
      constexpr uint32_t n = 1200;
      Vectors vectors(n, dimension, metric, 5);
      for (uint32_t i = 0; i < n; ++i) vectors.row(i)[i % 8] += apart;
      auto codes = vectors.codes();
      REQUIRE(codes);
      const float scale = metric == Metric::cosine ? 2 : 1;
      std::vector<uint32_t> rows(n);
      for (uint32_t i = 0; i < n; ++i) rows[i] = i;
      std::vector<float> found(n);
      EncodedQuery query;
      size_t pairs = 0, beyond = 0, far_beyond = 0;
      for (uint32_t q = 0; q < n; q += 20) {
        // Not a row, but between two of a cluster.
        std::vector<float> values(vectors.row(q), vectors.row(q) + dimension);
        for (size_t j = 0; j < dimension; ++j)
          values[j] = (values[j] + vectors.row(q / 16 * 8 + q % 8)[j]) / 2;
        if (metric == Metric::cosine) normalise(values.data(), dimension);
        REQUIRE(codes->encode(values.data(), query));
        codes->distances(query, rows.data(), n, found.data());
        for (uint32_t i = 0; i < n; ++i) {
          if (apart > 0 && i % 8 != q % 8) continue;
          float exact = scale * vectors.distance(values.data(), vectors.row(i));
          float error = codes->error(query, exact);
          ++pairs;
          beyond += found[i] > exact + error ? 1 : 0;
          far_beyond += found[i] > exact + error / 4 ? 1 : 0;
        }
      }
      CHECK(beyond * 200 < pairs);
      CHECK(far_beyond * 50 > pairs);
    }
  }
  // Unknown under dot.
  Vectors dot(2000, 64, Metric::dot);
  auto codes = dot.codes();
  REQUIRE(codes);
  EncodedQuery query;
  REQUIRE(codes->encode(dot.row(0), query));
  CHECK(codes->error(query, 1) == std::numeric_limits<float>::infinity());
}

TEST_CASE("What codes cannot express is refused") {
  Vectors vectors(2000, 16, Metric::l2);
  auto codes = vectors.codes();
  REQUIRE(codes);
  EncodedQuery query;
  std::vector<float> far(vectors.row(0), vectors.row(1));
  CHECK(codes->encode(far.data(), query));
  far[3] = 1000;
  CHECK(!codes->encode(far.data(), query));
  far[3] = std::numeric_limits<float>::infinity();
  CHECK(!codes->encode(far.data(), query));
  far[3] = std::numeric_limits<float>::quiet_NaN();
  CHECK(!codes->encode(far.data(), query));

  // All equal; some far away, few of which may be; only the last bits differ.
  Vectors other(2000, 16, Metric::l2);
  std::fill(other.values.begin(), other.values.end(), 3.0f);
  CHECK(!other.codes());
  other = Vectors(2000, 16, Metric::l2);
  for (uint32_t i = 0; i < 100; ++i) other.row(i * 20)[2] = 1e6f;
  CHECK(!other.codes());
  other = Vectors(20000, 16, Metric::l2);
  other.row(1)[2] = 1e6f;
  CHECK(other.codes());
  // Wherever the few are: these are looked at for the scale.
  other.row(0)[2] = other.row(5)[3] = other.row(10)[2] = -1e6f;
  CHECK(other.codes());
  for (uint32_t i = 0; i < 100; ++i) other.row(i * 200 + 1)[2] = 1e6f;
  CHECK(!other.codes());
  other.row(7)[2] = std::numeric_limits<float>::quiet_NaN();
  CHECK(!other.codes());

  // Under dot the scale of the query is its own, but not a few of its values.
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

TEST_CASE("Codes that cannot tell the rows of a group apart are refused, wherever the rows lie") {
  // Groups of ten that differ by less than codes do, among 40,000 rows, of which a tenth is
  // looked at.
  constexpr uint32_t groups = 4000, each = 10, dimension = 16;
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  for (bool together : {true, false}) {
    CAPTURE(together);
    Vectors vectors(groups * each, dimension, Metric::l2);
    Vectors centres(groups, dimension, Metric::l2);
    for (uint32_t i = 0; i < vectors.rows(); ++i) {
      const float* centre = centres.row(together ? i / each : i % groups);
      for (uint32_t j = 0; j < dimension; ++j) {
        vectors.row(i)[j] = centre[j] + 0.001f * normal(random);
      }
    }
    CHECK(!vectors.codes());
  }
}

TEST_CASE("Under dot few rows may be much longer than the others") {
  for (auto [strays, accepted] : {std::pair(3u, true), {15u, false}}) {
    CAPTURE(strays);
    for (Metric metric : {Metric::dot, Metric::l2}) {
      Vectors vectors(20000, 64, metric);
      for (uint32_t i = 0; i < strays; ++i) {
        for (uint32_t j = 0; j < 64; ++j) vectors.row(i * 1000 + 1)[j] *= 100;
      }
      CHECK((vectors.codes() != nullptr) == (accepted || metric == Metric::l2));
    }
  }
}

TEST_CASE("A beam is what sorting would give") {
  std::mt19937 random(3);
  for (size_t width : {1u, 2u, 3u, 7u, 64u, 500u}) {
    Beam beam;
    beam.reset(width);
    std::vector<Candidate> all;
    std::vector<uint32_t> taken;
    for (uint32_t row = 0; row < 1000; ++row) {
      Candidate candidate(static_cast<float>(random() % 50) - 25, row);
      CHECK(candidate.row() == row);
      all.push_back(candidate);
      std::sort(all.begin(), all.end());
      bool wanted = all.size() <= width || candidate < all[width];
      all.resize(std::min(all.size(), width));
      REQUIRE(beam.wants(candidate) == wanted);
      if (wanted) beam.insert(candidate);
      REQUIRE(beam.sorted().size() == all.size());
      for (size_t i = 0; i < all.size(); ++i) {
        REQUIRE(beam.sorted()[i].row() == all[i].row());
        REQUIRE(beam.sorted()[i].distance() == all[i].distance());
      }
      if (row % 3 != 0) continue;
      // The nearest that was not taken.
      auto untaken = std::find_if(all.begin(), all.end(), [&](Candidate c) {
        return std::find(taken.begin(), taken.end(), c.row()) == taken.end();
      });
      REQUIRE((beam.next() != nullptr) == (untaken != all.end()));
      if (untaken == all.end()) continue;
      REQUIRE(beam.next()->row() == untaken->row());
      taken.push_back(untaken->row());
      beam.take_next();
    }
  }
}

}  // namespace jade
