// How much of the exact answer the indexes find with the options that nobody sets.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "index/growing_segment.h"
#include "index/hnsw_search.h"
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

// How many of the exact answer a walk by float32 values finds.
int found_by_values(const SealedSegment& segment, const float* query, uint32_t ef,
                    const std::vector<Hit>& exact) {
  WalkMemory& memory = WalkMemory::of_this_thread();
  RowDistance distance(segment.format(), query);
  ExactRows rows(segment.row(0), segment.scales(), distance);
  Candidate start = descend(*segment.graph(), rows, 0, memory);
  auto all = [](uint32_t) { return true; };
  REQUIRE(walk(*segment.graph(), rows, 0, start, ef, SIZE_MAX, all, memory));
  int found = 0;
  for (Candidate candidate : memory.beam.sorted().first(exact.size())) {
    for (const Hit& hit : exact) found += hit.offset == candidate.row();
  }
  return found;
}

}  // namespace

TEST_CASE("recall@10 is 0.95 and more by default") {
  for (Metric metric : {Metric::cosine, Metric::l2, Metric::dot}) {
    CAPTURE(to_string(metric));
    Clustered data(4000, 32, metric);
    BuildOptions build;
    build.metric = metric;
    build.dimension = 32;
    for (Quantization quantization :
         {Quantization::sq8, Quantization::sq4, Quantization::rabitq, Quantization::none}) {
      CAPTURE(to_string(quantization));
      build.index.quantization = quantization;
      CHECK(recall_at_10(data, build) >= 0.95);
    }
    build.index.kind = IndexKind::ivf;
    CHECK(recall_at_10(data, build) >= 0.95);
  }
}

TEST_CASE("Rows of many small clusters are found, each by itself") {
  constexpr uint32_t clusters = 300, each = 20, dimension = 8;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  std::vector<std::vector<float>> vectors;
  for (uint32_t c = 0; c < clusters; ++c) {
    std::vector<float> centre(dimension), vector(dimension);
    for (float& value : centre) value = 10 * normal(random);
    for (uint32_t i = 0; i < each; ++i) {
      for (uint32_t j = 0; j < dimension; ++j) vector[j] = centre[j] + normal(random);
      vectors.push_back(vector);
      rows->append(c * each + i, VectorId(uint64_t{c * each + i}).key(), vector.data(), "");
    }
  }
  BuildOptions options;
  options.metric = Metric::l2;
  options.dimension = dimension;
  options.index.m = 4;  // so that a quarter of the rows are on several levels
  options.index.ef_construction = 40;
  auto built = build_segment({{rows, nullptr, rows->rows()}}, options);
  REQUIRE(built.ok());
  SegmentView view{*built, nullptr, rows->rows(), 0};
  int lost = 0;
  for (uint32_t row = 0; row < rows->rows(); ++row) {
    auto hits =
        search({&view, 1}, Metric::l2, dimension, vectors[row].data(), {.k = 1, .ef_search = 20});
    lost += hits.front().distance > 1e-3f ? 1 : 0;
  }
  CAPTURE(lost);
  CHECK(lost < 60);
}

TEST_CASE("Rows that only the last bits tell apart are told apart") {
  Clustered data(4000, 32, Metric::l2, 10000);
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = 32;
  for (Quantization quantization :
       {Quantization::sq8, Quantization::sq4, Quantization::rabitq, Quantization::none}) {
    CAPTURE(to_string(quantization));
    build.index.quantization = quantization;
    CHECK(recall_at_10(data, build) >= 0.95);
  }
}

TEST_CASE("Walking by codes finds what walking by values does") {
  for (auto [metric, quantization] : {std::pair(Metric::cosine, Quantization::sq8),
                                      {Metric::l2, Quantization::sq8},
                                      {Metric::dot, Quantization::sq8},
                                      {Metric::cosine, Quantization::sq4},
                                      {Metric::l2, Quantization::sq4},
                                      {Metric::dot, Quantization::sq4},
                                      {Metric::cosine, Quantization::rabitq},
                                      {Metric::l2, Quantization::rabitq},
                                      {Metric::dot, Quantization::rabitq},
                                      {Metric::cosine, Quantization::pq},
                                      {Metric::l2, Quantization::pq},
                                      {Metric::dot, Quantization::pq}}) {
    CAPTURE(to_string(metric));
    CAPTURE(to_string(quantization));
    Clustered data(6000, 48, metric);
    BuildOptions build;
    build.metric = metric;
    build.dimension = 48;
    build.index.quantization = quantization;
    auto built = build_segment({{data.rows, nullptr, data.rows->rows()}}, build);
    REQUIRE(built.ok());
    const SealedSegment& segment = **built;
    REQUIRE(segment.codes() != nullptr);
    SegmentView view{*built, nullptr, segment.rows(), 0};
    REQUIRE(segment.codes()->kind() == quantization);
    // Of one or two bits a dimension the walk is to look at more.
    bool bits = quantization == Quantization::rabitq || quantization == Quantization::pq;
    const uint32_t ef = bits ? 128 : 32;
    int by_codes = 0, by_values = 0;
    for (auto query : data.queries) {
      if (metric == Metric::cosine) normalise(query.data(), query.size());
      auto exact = search({&view, 1}, metric, 48, query.data(), {.exact = true});
      auto hits = search({&view, 1}, metric, 48, query.data(), {.ef_search = ef});
      for (const Hit& hit : exact) by_codes += std::count(hits.begin(), hits.end(), hit) > 0;
      by_values += found_by_values(segment, query.data(), ef, exact);
    }
    CHECK(by_values > 400);
    // Of 500. Products are less exact than distances: what a code is off counts in full.
    int fewer = quantization == Quantization::sq4 && metric == Metric::dot ? 15 : bits ? 15 : 2;
    CHECK(by_codes >= by_values - fewer);
  }
}

TEST_CASE("Queries far from all rows, and rows far from all others, are found") {
  for (auto [metric, quantization] : {std::pair(Metric::l2, Quantization::sq8),
                                      {Metric::dot, Quantization::sq8},
                                      {Metric::l2, Quantization::sq4},
                                      {Metric::dot, Quantization::sq4},
                                      {Metric::cosine, Quantization::rabitq},
                                      {Metric::l2, Quantization::rabitq},
                                      {Metric::dot, Quantization::rabitq},
                                      {Metric::l2, Quantization::pq},
                                      {Metric::dot, Quantization::pq}}) {
    CAPTURE(to_string(metric));
    CAPTURE(to_string(quantization));
    Clustered data(12000, 32, metric);
    std::vector<float> far(32);
    for (uint64_t i = 0; i < 3; ++i) {
      for (uint32_t j = 0; j < 32; ++j) {
        far[j] = static_cast<float>(j % 5) * 40 + static_cast<float>(i);
      }
      data.rows->append(20000 + i, VectorId(20000 + i).key(), far.data(), "");
    }
    BuildOptions build;
    build.metric = metric;
    build.dimension = 32;
    build.index.quantization = quantization;
    auto built = build_segment({{data.rows, nullptr, data.rows->rows()}}, build);
    REQUIRE(built.ok());
    REQUIRE((*built)->codes() != nullptr);
    SegmentView view{*built, nullptr, (*built)->rows(), 0};
    std::mt19937 random(4);
    std::normal_distribution<float> normal;
    int found = 0, by_values = 0;
    for (int i = 0; i < 40; ++i) {
      std::vector<float> query = far;
      for (float& value : query) value = 100 * normal(random);
      if (i < 10) query = far;
      auto hits = search({&view, 1}, metric, 32, query.data(), {});
      auto exact = search({&view, 1}, metric, 32, query.data(), {.exact = true});
      if (i < 10) REQUIRE(hits[0] == exact[0]);
      by_values += found_by_values(**built, query.data(), build.index.ef_search, exact);
      for (const Hit& hit : exact) found += std::count(hits.begin(), hits.end(), hit) > 0;
    }
    // Of 400. One bit a dimension of 32 is little, two are not much; and products are less
    // exact than distances.
    bool one = quantization == Quantization::rabitq, two = quantization == Quantization::pq;
    int fewer = one ? 60 : two ? 40 : metric == Metric::dot ? 30 : 20;
    CHECK(found >= by_values - fewer);
  }
}

TEST_CASE("Near-duplicates, too close for codes, are told apart") {
  auto rows = std::make_shared<GrowingSegment>(24, Metric::l2);
  std::mt19937 random(12);
  std::normal_distribution<float> normal;
  std::vector<float> centre(24), vector(24);
  std::vector<std::vector<float>> queries;
  for (uint64_t i = 0; i < 8000; ++i) {
    for (float& value : centre) value = i % 50 == 0 ? normal(random) : value;
    for (uint32_t j = 0; j < 24; ++j) vector[j] = centre[j] + 1e-4f * normal(random);
    rows->append(i, VectorId(i).key(), vector.data(), "");
    if (i % 200 == 7) queries.push_back(vector);
  }
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = 24;
  auto built = build_segment({{rows, nullptr, rows->rows()}}, build);
  REQUIRE(built.ok());
  SegmentView view{*built, nullptr, 8000, 0};
  int found = 0;
  for (const auto& query : queries) {
    auto hits = search({&view, 1}, Metric::l2, 24, query.data(), {});
    auto exact = search({&view, 1}, Metric::l2, 24, query.data(), {.exact = true});
    for (const Hit& hit : exact) found += std::count(hits.begin(), hits.end(), hit) > 0;
  }
  CHECK(found >= 380);  // of 400
}

TEST_CASE("Under dot rows of all lengths are found") {
  constexpr uint32_t n = 8000, dimension = 24;
  for (auto quantization : {Quantization::none, Quantization::sq8, Quantization::rabitq}) {
    for (float longest : {0.0f, 1e6f}) {
      CAPTURE(to_string(quantization));
      CAPTURE(longest);
      std::mt19937 random(31);
      std::normal_distribution<float> normal;
      // The first of them become a graph, the others are linked into it.
      std::vector<std::shared_ptr<GrowingSegment>> parts;
      for (uint32_t i = 0; i < n; ++i) {
        if (i == 0 || i == n * 2 / 3) {
          parts.push_back(std::make_shared<GrowingSegment>(dimension, Metric::dot));
        }
        std::vector<float> row(dimension);
        const float length = i == 7 && longest > 0 ? longest : std::exp(0.5f * normal(random));
        for (float& value : row) value = length * normal(random);
        parts.back()->append(i, VectorId(uint64_t{i}).key(), row.data(), "");
      }
      BuildOptions build;
      build.metric = Metric::dot;
      build.dimension = dimension;
      build.index.quantization = quantization;
      build.index.kind = IndexKind::hnsw;
      auto first = build_segment({{parts[0], nullptr, parts[0]->rows()}}, build);
      REQUIRE(first.ok());
      auto built = build_segment(
          {{*first, nullptr, (*first)->rows()}, {parts[1], nullptr, parts[1]->rows()}}, build);
      REQUIRE(built.ok());
      SegmentView view{*built, nullptr, (*built)->rows(), 0};
      int found = 0;
      for (int i = 0; i < 50; ++i) {
        std::vector<float> query(dimension);
        for (float& value : query) value = normal(random);
        auto hits = search({&view, 1}, Metric::dot, dimension, query.data(), {});
        auto exact = search({&view, 1}, Metric::dot, dimension, query.data(), {.exact = true});
        for (const Hit& hit : exact) found += std::count(hits.begin(), hits.end(), hit) > 0;
      }
      // Of 500; by distances alone about 130.
      CHECK(found >= 470);
    }
  }
}

}  // namespace jade
