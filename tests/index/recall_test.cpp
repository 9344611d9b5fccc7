// How much of the exact answer the indexes find with the options that nobody sets.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "index/growing_segment.h"
#include "index/segment_builder.h"
#include "index/shard_view.h"
#include "storage/vector_id.h"

namespace jade {
namespace {

// Clusters of different widths, rows in the order of their clusters.
struct Clustered {
  // `tight`: how many times smaller the clusters are than their distances.
  Clustered(uint32_t n, uint32_t dimension, Metric metric, float tight = 1)
      : rows(std::make_shared<GrowingSegment>(dimension, metric)) {
    std::mt19937 random(17);
    std::normal_distribution<float> normal;
    constexpr uint32_t clusters = 60;
    std::vector<float> centre(dimension), vector(dimension);
    for (uint32_t i = 0; i < n + queries_wanted; ++i) {
      bool query = i >= n;
      if (i % (n / clusters) == 0) {
        for (float& value : centre) value = 2 * normal(random);
      }
      float width = (0.3f + 0.02f * static_cast<float>(i % clusters)) / tight;
      for (uint32_t j = 0; j < dimension; ++j) vector[j] = centre[j] + width * normal(random);
      if (query) {
        // Near a row, but not one.
        const float* near = rows->vector(static_cast<uint32_t>(random() % n));
        for (uint32_t j = 0; j < dimension; ++j)
          vector[j] = near[j] + 0.1f / tight * normal(random);
        queries.push_back(vector);
      } else {
        rows->append(i, VectorId(uint64_t{i}).key(), vector.data(), "");
      }
    }
  }

  static constexpr uint32_t queries_wanted = 50;
  std::shared_ptr<GrowingSegment> rows;
  std::vector<std::vector<float>> queries;
};

double recall_at_10(const Clustered& data, const BuildOptions& build) {
  auto built = build_segment({{data.rows, nullptr, data.rows->rows()}}, build);
  REQUIRE(built.ok());
  SegmentView view{*built, nullptr, (*built)->rows(), 0};
  double found = 0;
  for (const auto& query : data.queries) {
    auto hits = search({&view, 1}, build.metric, build.dimension, query.data(), {});
    auto exact = search({&view, 1}, build.metric, build.dimension, query.data(), {.exact = true});
    REQUIRE(hits.size() == 10);
    for (const Hit& hit : exact) found += std::count(hits.begin(), hits.end(), hit) > 0;
  }
  return found / 10 / static_cast<double>(data.queries.size());
}

}  // namespace

TEST_CASE("recall@10 is 0.95 and more by default") {
  for (Metric metric : {Metric::cosine, Metric::l2, Metric::dot}) {
    CAPTURE(to_string(metric));
    Clustered data(4000, 32, metric);
    BuildOptions build;
    build.metric = metric;
    build.dimension = 32;
    CHECK(recall_at_10(data, build) >= 0.95);
    build.index.kind = IndexKind::ivf;
    CHECK(recall_at_10(data, build) >= 0.95);
  }
}

TEST_CASE("Rows that only the last bits tell apart are told apart") {
  Clustered data(4000, 32, Metric::l2, 10000);
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = 32;
  CHECK(recall_at_10(data, build) >= 0.95);
}

}  // namespace jade
