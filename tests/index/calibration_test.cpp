#include "index/calibration.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>

#include "index/growing_segment.h"
#include "index/sealed_segment.h"
#include "index/segment_builder.h"
#include "storage/vector_id.h"

namespace jade {
namespace {

constexpr uint32_t dimension = 24;

// Vectors around many places, so that their neighbours take some finding.
class Data {
 public:
  Data(uint32_t rows, Metric metric, uint32_t seed) : metric_(metric), random_(seed) {
    centres_.resize(size_t{60} * dimension);
    for (float& value : centres_) value = 2 * normal_(random_);
    rows_ = std::make_shared<GrowingSegment>(dimension, metric);
    for (uint32_t i = 0; i < rows; ++i) {
      auto row = vector();
      std::string metadata =
          "{\"any\":" + std::to_string(random_() % 1000) + ",\"x\":" + std::to_string(row[0]) + "}";
      rows_->append(i, VectorId(uint64_t{i}).key(), row.data(), metadata);
    }
  }
  std::vector<float> vector() {
    std::vector<float> out(dimension);
    const float* centre = centres_.data() + random_() % 60 * dimension;
    for (uint32_t i = 0; i < dimension; ++i) out[i] = centre[i] + normal_(random_);
    return out;
  }
  SegmentView build(IndexKind kind, uint32_t m = 8) {
    BuildOptions options;
    options.dimension = dimension;
    options.metric = metric_;
    options.index.kind = kind;
    options.index.m = m;
    options.index.ef_construction = 40;
    auto built = build_segment({{rows_, nullptr, rows_->rows()}}, options);
    REQUIRE(built.ok());
    return {*built, nullptr, rows_->rows(), 0};
  }

 private:
  Metric metric_;
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
  std::vector<float> centres_;
  std::shared_ptr<GrowingSegment> rows_;
};

const SealedSegment& sealed(const SegmentView& view) {
  return dynamic_cast<const SealedSegment&>(*view.segment);
}

double recall_of(const SegmentView& view, const std::vector<float>& queries,
                 const SearchOptions& options) {
  SearchOptions exact = options;
  exact.exact = true;
  auto metric = view.segment->metric();
  auto expected = *search_all({&view, 1}, metric, dimension, queries, exact);
  auto found = *search_all({&view, 1}, metric, dimension, queries, options);
  double hits = 0, all = 0;
  for (size_t q = 0; q < expected.size(); ++q) {
    all += static_cast<double>(expected[q].size());
    for (const Hit& hit : found[q]) hits += hit.distance <= expected[q].back().distance;
  }
  return hits / all;
}

}  // namespace

TEST_CASE("A search that asks for a recall has it, with no more effort than that takes") {
  for (Metric metric : {Metric::l2, Metric::cosine}) {
    Data data(12000, metric, 3);
    std::vector<float> queries;
    for (int i = 0; i < 300; ++i) {
      auto vector = data.vector();
      queries.insert(queries.end(), vector.begin(), vector.end());
    }
    for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf}) {
      SegmentView view = data.build(kind);
      for (uint32_t k : {1u, 10u, 100u}) {
        CHECK(wants_calibration(view, k));
        REQUIRE(calibrate(view, k).ok());
        CHECK(!wants_calibration(view, k));
        uint64_t before = 0;
        for (double least : {0.5, 0.8, 0.9, 0.95, 0.99}) {
          CAPTURE(to_string(metric));
          CAPTURE(to_string(kind));
          CAPTURE(k);
          CAPTURE(least);
          SearchOptions options{.k = k, .min_recall = least};
          CHECK(recall_of(view, queries, options) >= least);
          std::vector<SegmentExplanation> done;
          REQUIRE(search_all({&view, 1}, metric, dimension, queries, options, &done).ok());
          CHECK(done.front().min_recall == least);
          CHECK(done.front().calibrated);
          if (done.front().ef + done.front().nprobe > 0) {
            CHECK(done.front().measured_recall >= least);
          }
          // More is not cheaper.
          uint64_t distances = 0;
          for (const auto& one : done) distances += one.distances();
          CHECK(distances + distances / 10 >= before);
          before = distances;
        }
      }
    }
  }
}

TEST_CASE("A calibration is kept, grows, and ends with its rows") {
  Data data(6000, Metric::l2, 5);
  SegmentView view = data.build(IndexKind::hnsw);
  auto explained = [&](const SearchOptions& options) {
    std::vector<SegmentExplanation> done;
    REQUIRE(search_all({&view, 1}, Metric::l2, dimension, data.vector(), options, &done).ok());
    return done.front();
  };
  // Before it is there, a search makes much effort, and says so.
  SegmentExplanation uncalibrated = explained({.k = 10, .min_recall = 0.9});
  CHECK(!uncalibrated.calibrated);
  CHECK(uncalibrated.measured_recall < 0);
  CHECK(uncalibrated.ef_search == uncalibrated_factor * sealed(view).options().ef_search);
  // One that is stopped, whenever that is, leaves nothing.
  uint64_t questions = 0;
  Stopper counts([&] { return ++questions == UINT64_MAX; });
  SegmentView other = data.build(IndexKind::hnsw);
  REQUIRE(calibrate(other, 10, &counts).ok());
  REQUIRE(sealed(other).calibration() != nullptr);
  REQUIRE(questions > 100);
  for (uint64_t last : {uint64_t{1}, uint64_t{2}, uint64_t{50}, questions / 2, questions}) {
    uint64_t asked = 0;
    Stopper stop([&] { return ++asked >= last; });
    CHECK(calibrate(view, 10, &stop).ok());
    CHECK(stop.stopped());
    CHECK(sealed(view).calibration() == nullptr);
  }

  REQUIRE(calibrate(view, 10).ok());
  auto first = sealed(view).calibration();
  REQUIRE(first);
  REQUIRE(first->curves.size() == 1);
  CHECK(explained({.k = 10, .min_recall = 0.9}).calibrated);
  CHECK(explained({.k = 7, .min_recall = 0.9}).calibrated);
  CHECK(!explained({.k = 11, .min_recall = 0.9}).calibrated);
  CHECK(explained({.k = 10, .min_recall = 0.9}).ef_search <
        uncalibrated_factor * sealed(view).options().ef_search);
  // The same again, as it follows from the segment.
  SegmentView twin = data.build(IndexKind::hnsw);
  REQUIRE(calibrate(twin, 10).ok());
  REQUIRE(sealed(twin).calibration()->curves.front().points.size() ==
          first->curves.front().points.size());
  for (size_t i = 0; i < first->curves.front().points.size(); ++i) {
    CHECK(sealed(twin).calibration()->curves.front().points[i].recall ==
          first->curves.front().points[i].recall);
  }
  // Recall grows with the effort, but for chance.
  const auto& points = first->curves.front().points;
  REQUIRE(points.size() > 2);
  CHECK(points.front().recall < points.back().recall);
  CHECK(first->recall_at(points.back().effort + 1, 10) == points.back().recall);

  REQUIRE(calibrate(view, 100).ok());
  CHECK(sealed(view).calibration()->curves.size() == 2);
  auto dead = std::make_shared<Bitmap>(view.visible);
  for (uint32_t i = 0; i < view.visible; i += 11) dead->set(i);
  view.dead = dead;
  view.dead_count = dead->count();
  CHECK(!wants_calibration(view, 10));
  dead = std::make_shared<Bitmap>(*dead);
  for (uint32_t i = 0; i < view.visible; i += 2) dead->set(i);
  view.dead = dead;
  view.dead_count = dead->count();
  CHECK(wants_calibration(view, 10));
  REQUIRE(calibrate(view, 10).ok());
  CHECK(!wants_calibration(view, 10));
  CHECK(sealed(view).calibration()->curves.size() == 1);
}

TEST_CASE("Where no effort suffices, and with filters, a recall is had as well") {
  // A graph with few links, of rows that have no structure.
  Data data(5000, Metric::l2, 7);
  SegmentView view = data.build(IndexKind::hnsw, 4);
  auto poor = std::make_shared<Calibration>();
  poor->curves.push_back({10, {{16, 0.4, 0.38, 100}, {4096, 0.7, 0.68, 4000}}});
  sealed(view).set_calibration(poor);
  std::vector<float> queries;
  for (int i = 0; i < 200; ++i) {
    auto vector = data.vector();
    queries.insert(queries.end(), vector.begin(), vector.end());
  }
  CHECK(recall_of(view, queries, {.k = 10, .min_recall = 0.9}) == 1);
  std::vector<SegmentExplanation> done;
  SearchOptions asked{.k = 10, .min_recall = 0.9};
  REQUIRE(search_all({&view, 1}, Metric::l2, dimension, queries, asked, &done).ok());
  CHECK(done.front().plan == SegmentPlan::scan);
  CHECK(done.front().calibrated);
  CHECK(done.front().distances_by_values == 5000);

  Data more(20000, Metric::l2, 9);
  view = more.build(IndexKind::hnsw);
  REQUIRE(calibrate(view, 10).ok());
  queries.clear();
  for (int i = 0; i < 200; ++i) {
    auto vector = more.vector();
    queries.insert(queries.end(), vector.begin(), vector.end());
  }
  // What matches is anywhere, or on one side of where the queries are.
  for (const char* text :
       {R"({"any":{"$lt":20}})", R"({"any":{"$lt":300}})", R"({"any":{"$lt":500}})",
        R"({"any":{"$lt":800}})", R"({"any":{"$lt":950}})", R"({"x":{"$gt":0}})",
        R"({"x":{"$gt":1.5}})", R"({"x":{"$lt":-1}})", R"({"x":{"$lt":2.5}})"}) {
    CAPTURE(text);
    auto filter = parse_filter(text);
    REQUIRE(filter.ok());
    for (double least : {0.8, 0.9, 0.95, 0.99}) {
      CAPTURE(least);
      CHECK(recall_of(view, queries, {.k = 10, .min_recall = least, .filter = &*filter}) >= least);
    }
  }
}

TEST_CASE("Segments without an index, and without rows, need no calibration") {
  Data data(0, Metric::l2, 1);
  GrowingSegment growing(dimension, Metric::l2);
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  std::vector<float> vector(dimension, 1);
  rows->append(1, VectorId(uint64_t{1}).key(), vector.data(), "");
  SegmentView view{rows, nullptr, 1, 0};
  CHECK(!wants_calibration(view, 10));
  REQUIRE(calibrate(view, 10).ok());
  auto found =
      search({&view, 1}, Metric::l2, dimension, vector.data(), {.k = 3, .min_recall = 0.9});
  CHECK(found.size() == 1);
}

}  // namespace jade
