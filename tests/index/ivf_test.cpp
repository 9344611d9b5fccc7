#include "index/ivf.h"

#include <doctest/doctest.h>

#include <random>

#include "index/growing_segment.h"
#include "index/sealed_segment.h"
#include "index/worker_pool.h"
#include "storage/vector_id.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

// Rows that lie anywhere, which lists help with the least.
class Anywhere {
 public:
  explicit Anywhere(uint32_t dimension) : values_(dimension) {}

  const float* draw() {
    for (float& value : values_) value = normal_(random_);
    return values_.data();
  }

 private:
  std::mt19937 random_{5};
  std::normal_distribution<float> normal_;
  std::vector<float> values_;
};

// Of so many of them.
std::shared_ptr<const SealedSegment> lists_of(Anywhere& rows, uint32_t n, uint32_t dimension,
                                              Metric metric) {
  auto growing = std::make_shared<GrowingSegment>(dimension, metric);
  for (uint32_t row = 0; row < n; ++row) {
    growing->append(row, VectorId(uint64_t{row}).key(), rows.draw(), "");
  }
  BuildOptions build;
  build.metric = metric;
  build.dimension = dimension;
  build.index.kind = IndexKind::ivf;
  return built({whole(growing)}, build);
}

// By so many more rows as queries.
double recall(const std::shared_ptr<const SealedSegment>& segment, Anywhere& rows, uint32_t k,
              size_t queries) {
  const SegmentView view = view_of(segment, nullptr);
  auto hits = [&](const float* query, bool exact) {
    return search({&view, 1}, segment->metric(), segment->dimension(), query,
                  {.k = k, .exact = exact});
  };
  size_t found = 0;
  for (size_t q = 0; q < queries; ++q) {
    const float* query = rows.draw();
    const auto near = hits(query, false), best = hits(query, true);
    REQUIRE(near.size() == k);
    for (const Hit& hit : near) found += hit.distance <= best.back().distance;
  }
  return static_cast<double>(found) / static_cast<double>(k * queries);
}

}  // namespace

TEST_CASE(
    "Lists are probed until about 0.95 of the nearest are found, whatever the rows are like") {
  for (uint32_t dimension : {4u, 40u}) {
    for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
      CAPTURE(dimension);
      CAPTURE(to_string(metric));
      Anywhere rows(dimension);
      auto segment = lists_of(rows, 8000, dimension, metric);
      CHECK(recall(segment, rows, 10, 200) >= 0.93);
      // Where they help, they are not all probed.
      if (dimension == 4 && metric != Metric::dot) {
        CHECK(segment->options().nprobe < segment->lists()->lists() / 8);
      }
    }
  }
}

TEST_CASE("The more rows are wanted, the more lists are probed") {
  Anywhere rows(24);
  auto segment = lists_of(rows, 8000, 24, Metric::l2);
  for (uint32_t k : {10u, 100u, 300u}) {
    CAPTURE(k);
    CHECK(recall(segment, rows, k, 50) >= 0.93);
  }
}

TEST_CASE("How many lists are probed does not depend on how many threads measure it") {
  constexpr uint32_t n = 3000, dimension = 12;
  Anywhere rows(dimension);
  std::vector<float> vectors;
  for (uint32_t row = 0; row < n; ++row) {
    const float* values = rows.draw();
    vectors.insert(vectors.end(), values, values + dimension);
  }
  auto lists = build_lists(vectors.data(), n, dimension, 0, 1, nullptr, nullptr);
  REQUIRE(lists);
  auto measured = [&](Workers* workers, const std::atomic<bool>* cancel = nullptr) {
    return measure_nprobe(*lists, vectors.data(), n, dimension, Metric::l2, workers, cancel);
  };
  WorkerPool pool(3);
  CHECK(measured(&pool) == measured(nullptr));
  CHECK(*measured(nullptr) > 1);
  std::atomic<bool> cancel = true;
  CHECK_FALSE(measured(nullptr, &cancel));
  auto one = build_lists(vectors.data(), 1, dimension, 0, 1, nullptr, nullptr);
  CHECK(*measure_nprobe(*one, vectors.data(), 1, dimension, Metric::l2, nullptr, nullptr) == 1);
}

}  // namespace jade
