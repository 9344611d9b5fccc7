#include "index/stopper.h"

#include <doctest/doctest.h>

#include <random>

#include "index/growing_segment.h"
#include "index/recall.h"
#include "index/segment_builder.h"
#include "index/shard_view.h"
#include "storage/vector_id.h"

namespace jade {
namespace {

constexpr uint32_t dimension = 8, n = 20000;

// Rows without any order; "any" is uniform in 0 to 999.
std::shared_ptr<GrowingSegment> some_rows() {
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  float vector[dimension];
  for (uint32_t i = 0; i < n; ++i) {
    for (float& value : vector) value = normal(random);
    rows->append(i, VectorId(uint64_t{i}).key(), vector,
                 "{\"any\":" + std::to_string(random() % 1000) + "}");
  }
  return rows;
}

SegmentView indexed(const std::shared_ptr<GrowingSegment>& rows, IndexKind kind) {
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = dimension;
  build.index.kind = kind;
  build.index.m = 16;
  build.index.ef_construction = 40;
  auto built = build_segment({{rows, nullptr, n}}, build);
  REQUIRE(built.ok());
  return {*built, nullptr, n, 0};
}

Filter filter_of(const char* text) {
  auto filter = parse_filter(text);
  REQUIRE(filter.ok());
  return std::move(*filter);
}

}  // namespace

TEST_CASE("who works asks once in an interval, and is stopped for good") {
  int asked = 0;
  bool expired = false;
  Stopper stop([&] {
    ++asked;
    return expired;
  });
  CHECK(!stop.after(Stopper::interval - 1));
  CHECK(asked == 0);
  CHECK(!stop.after(1));
  CHECK(asked == 1);
  CHECK(!stop.after(1));
  CHECK(asked == 1);
  CHECK(!stop.check());
  CHECK(asked == 2);
  CHECK(!stop.after(Stopper::interval - 1));
  expired = true;
  CHECK(!stop.stopped());
  CHECK(stop.after(1));
  expired = false;
  CHECK(stop.stopped());
  CHECK(stop.check());
  CHECK(stop.after(1));
  CHECK(asked == 3);
}

TEST_CASE("every way to search ends soon after it is told to stop") {
  auto rows = some_rows();
  SegmentView growing{rows, nullptr, n, 0};
  SegmentView graph = indexed(rows, IndexKind::hnsw);
  SegmentView lists = indexed(rows, IndexKind::ivf);
  Filter half = filter_of(R"({"any":{"$lt":500}})");
  Filter many = filter_of(R"({"any":{"$lt":640}})");
  Filter most = filter_of(R"({"any":{"$lt":900}})");
  struct Case {
    SegmentView view;
    SearchOptions options;
    SegmentPlan plan;
  };
  using enum SegmentPlan;
  for (Case c : std::initializer_list<Case>{
           {growing, {}, scan},
           {graph, {.exact = true}, scan},
           {graph, {.filter = &half, .exact = true}, matching_rows},
           {graph, {.ef_search = 750}, walk},
           {graph, {.ef_search = 210, .filter = &most}, walk},
           {graph, {.k = 50, .ef_search = 50, .filter = &many}, walk_matching},
           {lists, {.nprobe = 250}, probe}}) {
    CAPTURE(to_string(c.plan));
    constexpr size_t queries = 8;
    const float query[queries * dimension] = {};
    uint64_t asked = 0, stop_at = UINT64_MAX;
    auto run = [&](bool stoppable, bool* stopped) {
      Stopper stop([&] { return ++asked >= stop_at; });
      if (stoppable) c.options.stop = &stop;
      std::vector<SegmentExplanation> explain;
      auto found = search_all({&c.view, 1}, Metric::l2, dimension, query, c.options, &explain);
      if (stopped != nullptr) *stopped = stop.stopped();
      c.options.stop = nullptr;
      REQUIRE(found.ok());
      return std::pair(*found, explain);
    };
    auto [whole, explain] = run(false, nullptr);
    REQUIRE(explain.size() == queries);
    CHECK(to_string(explain[0].plan) == to_string(c.plan));
    // Of most rows in lists no distance is computed.
    const uint64_t looked = std::max(explain[0].distances(), explain[0].rows_visited);
    CHECK(queries * looked > 2 * Stopper::interval);
    bool stopped = true;
    CHECK(run(true, &stopped).first == whole);
    CHECK(!stopped);
    CHECK(asked >= queries * looked / Stopper::interval - 1);
    // A filter is asked about before it is looked up.
    stop_at = c.options.filter != nullptr ? 2 : 1;
    asked = 0;
    auto [part, cut] = run(true, &stopped);
    CHECK(stopped);
    CHECK(part.size() == queries);  // an answer for each, although no use
    REQUIRE(!cut.empty());
    // Scans by values go on together.
    const bool together = c.options.exact;
    if (together) {
      CHECK(cut.size() == queries);
    } else {
      CHECK(cut.size() < queries);
    }
    uint64_t distances = 0;
    for (const SegmentExplanation& done : cut) distances += done.distances();
    CHECK(distances < 2 * Stopper::interval);
    // In the middle of a walk or scan that is longer than that.
    if (!together && explain[0].distances() > 2 * Stopper::interval) CHECK(cut.size() == 1);
    CHECK(!cut.back().fell_back);
  }
}

TEST_CASE("a walk among few matches does not end in a scan once it is told to stop") {
  auto rows = some_rows();
  SegmentView graph = indexed(rows, IndexKind::hnsw);
  const float query[dimension] = {};
  Filter many = filter_of(R"({"any":{"$lt":640}})");
  Filter most = filter_of(R"({"any":{"$lt":990}})");
  int asked = 0;
  Stopper stop([&] { return ++asked == 2; });
  SearchOptions options{.k = 3000, .filter = &most, .stop = &stop};
  std::vector<SegmentExplanation> explain;
  REQUIRE(search_all({&graph, 1}, Metric::l2, dimension, query, options, &explain).ok());
  CHECK(stop.stopped());
  REQUIRE(explain.size() == 1);
  CHECK(!explain[0].fell_back);
  CHECK(explain[0].distances() <= 2 * Stopper::interval);
}

TEST_CASE("a measurement of recall and a search for what matches end likewise") {
  auto rows = some_rows();
  std::vector<SegmentView> views = {indexed(rows, IndexKind::hnsw), {rows, nullptr, n, 0}};
  int asked = 0;
  Stopper stop([&] { return ++asked == 20; });
  SearchOptions options{.stop = &stop};
  auto count = measure_recall(views, Metric::l2, dimension, 1000, options);
  CHECK(stop.stopped());
  REQUIRE(count.ok());
  CHECK(count->sampled < 20);
  Filter half = filter_of(R"({"any":{"$lt":500}})");
  size_t all = matching_rows(views, half).size();
  for (int stop_at : {1, 2, 4, 6}) {
    CAPTURE(stop_at);
    asked = 0;
    Stopper match([&] { return ++asked == stop_at; });
    CHECK(matching_rows(views, half, &match).size() < all);
    CHECK(match.stopped());
    CHECK(asked == stop_at);
  }
  Stopper never([] { return false; });
  CHECK(matching_rows(views, half, &never).size() == all);
}

}  // namespace jade
