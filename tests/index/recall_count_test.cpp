#include "index/recall.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "index/calibration.h"
#include "index/growing_segment.h"
#include "index/segment_builder.h"
#include "storage/vector_id.h"

namespace jade {
namespace {

constexpr uint32_t dimension = 12;

std::shared_ptr<GrowingSegment> rows_of(uint32_t n, uint64_t first) {
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  std::mt19937 random(static_cast<uint32_t>(first));
  std::normal_distribution<float> normal;
  std::vector<float> vector(dimension);
  for (uint32_t i = 0; i < n; ++i) {
    for (float& value : vector) value = normal(random);
    rows->append(first + i, VectorId(first + i).key(), vector.data(), "");
  }
  return rows;
}

std::vector<SegmentView> indexed_and_growing(uint32_t n) {
  auto rows = rows_of(n, 1);
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = dimension;
  build.index.m = 4;
  build.index.ef_construction = 10;
  auto built = build_segment({{rows, nullptr, n}}, build);
  REQUIRE(built.ok());
  auto growing = rows_of(300, 100'000);
  return {{*built, nullptr, n, 0}, {growing, nullptr, growing->rows(), 0}};
}

}  // namespace

TEST_CASE("recall is what counting by hand gives, and grows with the beam") {
  auto views = indexed_and_growing(2000);
  // Some are dead: they are neither asked about nor found.
  auto dead = std::make_shared<Bitmap>(2000);
  for (uint32_t i = 0; i < 2000; i += 3) dead->set(i);
  views[0].dead = dead;
  views[0].dead_count = 667;
  SearchOptions options;
  options.k = 10;
  double last = 0;
  for (uint32_t ef : {11, 200}) {
    options.ef_search = ef;
    RecallCount all = *measure_recall(views, Metric::l2, dimension, 1u << 30, options);
    CHECK(all.sampled == live_rows(views));
    CHECK(all.expected == all.sampled * 10);
    uint64_t found = 0;
    for (uint32_t s = 0; s < views.size(); ++s) {
      for (uint32_t row = 0; row < views[s].visible; ++row) {
        if (views[s].is_dead(row)) continue;
        const float* query = views[s].segment->vector(row);
        std::vector<std::pair<float, Hit>> near;
        Distance distance(Metric::l2, dimension);
        for (uint32_t t = 0; t < views.size(); ++t) {
          for (uint32_t other = 0; other < views[t].visible; ++other) {
            if (views[t].is_dead(other) || (t == s && other == row)) continue;
            float d = distance(query, views[t].segment->vector(other));
            near.push_back({d, {d, t, other}});
          }
        }
        std::nth_element(near.begin(), near.begin() + 9, near.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
        SearchOptions walk = options;
        walk.left_out = {s, row};
        auto hits = search(views, Metric::l2, dimension, query, walk);
        for (const Hit& hit : hits) CHECK((hit.segment != s || hit.offset != row));
        for (size_t i = 0; i < 10; ++i) {
          found += std::any_of(hits.begin(), hits.end(), [&](const Hit& hit) {
            return hit.segment == near[i].second.segment && hit.offset == near[i].second.offset;
          });
        }
      }
    }
    double recall = static_cast<double>(all.found) / static_cast<double>(all.expected);
    CHECK(recall > last);
    CHECK(found == all.found);
    last = recall;
  }
}

TEST_CASE("recall is that of searches for k, by what was measured for k, and says where none was") {
  auto views = indexed_and_growing(3000);
  SearchOptions options;
  options.k = 10;
  CHECK_FALSE(measure_recall(views, Metric::l2, dimension, 50, options)->uncalibrated);
  options.min_recall = 0.95;
  CHECK(measure_recall(views, Metric::l2, dimension, 50, options)->uncalibrated);
  REQUIRE(calibrate(views[0], 10).ok());
  RecallCount count = *measure_recall(views, Metric::l2, dimension, 50, options);
  CHECK_FALSE(count.uncalibrated);
  CHECK(count.expected == 500);
  CHECK(count.found >= 465);
  options.k = 11;
  CHECK(measure_recall(views, Metric::l2, dimension, 50, options)->uncalibrated);
}

TEST_CASE("samples are spread, and as many as asked for") {
  auto views = indexed_and_growing(2000);
  SearchOptions options;
  options.k = 5;
  for (uint32_t sample : {1u, 7u, 100u, 2299u}) {
    RecallCount count = *measure_recall(views, Metric::l2, dimension, sample, options);
    CHECK(count.sampled == sample);
    CHECK(count.expected == uint64_t{sample} * 5);
    CHECK(count.found <= count.expected);
  }
  CHECK(measure_recall({}, Metric::l2, dimension, 10, options)->sampled == 0);
}

TEST_CASE("equal rows are as good as each other, and a lone row has no neighbours") {
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  std::vector<float> same(dimension, 1.0f);
  rows->append(1, VectorId(uint64_t{1}).key(), same.data(), "");
  SegmentView view{rows, nullptr, 1, 0};
  SearchOptions options;
  RecallCount lone = *measure_recall({&view, 1}, Metric::l2, dimension, 10, options);
  CHECK(lone.sampled == 1);
  CHECK(lone.expected == 0);
  for (uint64_t i = 2; i <= 50; ++i) rows->append(i, VectorId(i).key(), same.data(), "");
  view.visible = 50;
  RecallCount equal = *measure_recall({&view, 1}, Metric::l2, dimension, 10, options);
  CHECK(equal.expected == 100);
  CHECK(equal.found == 100);
}

}  // namespace jade
