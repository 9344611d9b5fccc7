#include "index/growing_lists.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "index/growing_segment.h"
#include "index/row_format.h"
#include "index/scoring.h"
#include "index/shard_view.h"
#include "storage/vector_id.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

// Rows in a growing segment with lists, and searches of them.
class Rows {
 public:
  Rows(Metric metric, uint32_t dimension, Datatype datatype = Datatype::float32)
      : segment(std::make_shared<GrowingSegment>(dimension, metric, datatype, 0)) {}

  void add(const std::vector<float>& values, const std::string& metadata = "") {
    const uint32_t row = segment->rows();
    segment->append(row + 1, VectorId(uint64_t{row}).key(), values.data(), metadata);
    if (extends && segment->rows() % 700 == 0) segment->extend(nullptr);
  }
  SegmentView view() const { return view_of(segment, dead); }
  std::vector<Hit> find(const std::vector<float>& query, const SearchOptions& options,
                        SegmentExplanation* explained = nullptr) const {
    return hits_of(view(), query, options, explained);
  }

  std::shared_ptr<GrowingSegment> segment;
  std::shared_ptr<Bitmap> dead;
  bool extends = true;
};

// In clusters of very different widths, so that no one scale suits all.
class Points {
 public:
  explicit Points(uint32_t dimension, uint32_t seed = 1) : dimension_(dimension), random_(seed) {
    centres_.resize(size_t{clusters} * dimension);
    for (float& value : centres_) value = 4 * normal_(random_);
  }
  std::vector<float> next() {
    const uint32_t cluster = static_cast<uint32_t>(random_() % clusters);
    const float width = cluster % 3 == 0 ? 0.05f : 1;
    std::vector<float> out(dimension_);
    for (uint32_t j = 0; j < dimension_; ++j) {
      out[j] = centres_[size_t{cluster} * dimension_ + j] + width * normal_(random_);
    }
    return out;
  }
  uint32_t number() { return static_cast<uint32_t>(random_()); }

 private:
  static constexpr uint32_t clusters = 12;
  uint32_t dimension_;
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
  std::vector<float> centres_;
};

// Share of what an exact search finds.
double recall(const Rows& rows, Points& points, SearchOptions options) {
  constexpr size_t queries = 50;
  size_t found = 0, wanted = 0;
  for (size_t i = 0; i < queries; ++i) {
    auto query = points.next();
    options.exact = true;
    auto truth = rows.find(query, options);
    options.exact = false;
    std::set<uint32_t> offsets;
    for (const Hit& hit : rows.find(query, options)) offsets.insert(hit.offset);
    wanted += truth.size();
    for (const Hit& hit : truth) found += offsets.count(hit.offset);
  }
  return static_cast<double>(found) / static_cast<double>(wanted);
}

TEST_CASE("Lists that grow find what a scan does, with a fraction of the rows compared") {
  struct Case {
    Metric metric;
    uint32_t dimension;
    Datatype datatype;
  };
  for (auto [metric, dimension, datatype] :
       {Case{Metric::l2, 37, Datatype::float32}, Case{Metric::cosine, 64, Datatype::float32},
        Case{Metric::dot, 130, Datatype::float32}, Case{Metric::cosine, 48, Datatype::float16}}) {
    CAPTURE(dimension);
    Points points(dimension);
    Rows rows(metric, dimension, datatype);
    for (uint32_t n : {800u, 12'000u}) {
      while (rows.segment->rows() < n) rows.add(points.next());
      REQUIRE(rows.segment->listed() >= n / 700 * 700);
      SearchOptions options;
      options.ef_search = 64;
      CHECK(recall(rows, points, options) > 0.97);
    }
    SearchOptions options;
    options.ef_search = 64;
    SegmentExplanation explained;
    rows.find(points.next(), options, &explained);
    CHECK(explained.plan == SegmentPlan::probe);
    CHECK(explained.nprobe < rows.segment->lists()->now()->lists() / 2);
    CHECK(explained.distances_by_codes < 12'000 / 2);
    // Under dot the rows of a narrow cluster are too much alike for codes.
    if (metric != Metric::dot) CHECK(explained.distances_by_values < 200);
    // More lists, more is found.
    options.ef_search = 1000;
    CHECK(recall(rows, points, options) > 0.995);
  }
}

TEST_CASE("Many rows that are equal do not keep a search from what is near them") {
  for (Metric metric : {Metric::l2, Metric::dot}) {
    CAPTURE(to_string(metric));
    constexpr uint32_t dimension = 16;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    auto around = [&](const std::vector<float>& middle, float width) {
      std::vector<float> out(middle);
      for (float& value : out) value += width * normal(random);
      return out;
    };
    const std::vector<float> zero(dimension), equal = around(zero, 1);
    Rows rows(metric, dimension);
    for (uint32_t i = 0; i < 30'000; ++i) rows.add(i % 5 < 2 ? equal : around(zero, 1));
    SearchOptions options;
    size_t found = 0, wanted = 0;
    for (int i = 0; i < 50; ++i) {
      // In the direction of those, so that their centre is one of the first.
      auto query = around(zero, 1);
      while (std::inner_product(query.begin(), query.end(), equal.begin(), 0.0f) < 4) {
        query = around(zero, 1);
      }
      options.exact = true;
      const auto truth = rows.find(query, options);
      options.exact = false;
      // Of equal rows any will do.
      for (const Hit& hit : rows.find(query, options)) {
        found += hit.distance <= truth.back().distance ? 1 : 0;
      }
      wanted += truth.size();
    }
    CHECK(static_cast<double>(found) > 0.95 * static_cast<double>(wanted));
  }
}

TEST_CASE("Signs and codes of centres leave out what is far, and hardly anything that is near") {
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    CAPTURE(to_string(metric));
    constexpr uint32_t dimension = 150, count = 6000, wanted = 60;
    Points points(dimension);
    Rows rows(metric, dimension);
    while (rows.segment->rows() < count) rows.add(points.next());
    rows.segment->extend(nullptr);
    const GrowingLists& lists = *rows.segment->lists();
    auto directory = lists.now();
    size_t missed = 0, left_out = 0, centres = 0, off = 0, unordered = 0;
    constexpr size_t queries = 20;
    for (size_t i = 0; i < queries; ++i) {
      auto values = points.next();
      const RowFormat format(metric, dimension, Datatype::float32);
      if (metric == Metric::cosine) normalise(values.data(), dimension);
      CodedQuery query;
      REQUIRE(lists.encode(values.data(), query));
      // By definition: of all rows, as codes have them.
      const RowDistance distance(format, values.data());
      std::vector<float> truth(count);
      for (uint32_t row = 0; row < count; ++row) {
        truth[row] = (metric == Metric::cosine ? 2 : 1) *
                     distance(rows.segment->row(row), rows.segment->scale(row));
      }
      auto sorted = truth;
      std::sort(sorted.begin(), sorted.end());
      const float limit = sorted[wanted - 1];
      std::vector<GrowingLists::NearList> near;
      directory->nearest(query, directory->lists(), near);
      REQUIRE(near.size() == directory->lists());
      for (size_t at = 0; at < near.size(); ++at) {
        const CodedVectors& list = *near[at].rows;
        const float exact = list.distance(query);
        off += std::fabs(near[at].distance - exact) > near[at].error ? 1 : 0;
        // Lists of the same step, a 512th of all there is, are in no order.
        const float step = (near.back().distance - near.front().distance) / 500;
        if (at > 0) unordered += near[at].distance < near[at - 1].distance - step ? 1 : 0;
        ++centres;
        const uint64_t likely = list.likely(query, exact, list.size(), limit);
        for (uint32_t j = 0; j < list.size(); ++j) {
          if ((likely >> j & 1) != 0) continue;
          ++left_out;
          missed += truth[list.number(j)] <= limit ? 1 : 0;
        }
        if (list.size() < CodedVectors::most) CHECK((likely >> list.size()) == 0);
      }
      std::vector<GrowingLists::NearList> some;
      directory->nearest(query, 5, some);
      CHECK(some.size() >= 5);
      CHECK(some.size() < near.size());
      for (size_t at = 0; at < some.size(); ++at) CHECK(some[at].rows == near[at].rows);
    }
    CHECK(missed <= queries * wanted / 50);
    CHECK(left_out > queries * count * 3 / 4);
    CHECK(off <= centres / 50);
    CHECK(unordered == 0);
  }
}

TEST_CASE("Each row is in one list, whatever has been split") {
  Points points(16);
  Rows rows(Metric::l2, 16);
  for (uint32_t i = 0; i < 5000; ++i) rows.add(points.next());
  // Far from all, and from each other.
  for (uint32_t i = 0; i < 300; ++i) {
    auto far = points.next();
    far[i % 16] += 1000.0f * static_cast<float>(i + 1);
    rows.add(far);
  }
  CodedQuery query;
  REQUIRE(rows.segment->lists()->encode(points.next().data(), query));
  rows.segment->extend(nullptr);
  auto directory = rows.segment->lists()->now();
  std::vector<GrowingLists::NearList> near;
  directory->nearest(query, directory->lists(), near);
  CHECK(near.size() == directory->lists());
  // Outliers have not made a list each of them.
  CHECK(directory->lists() < 5300 / 8);
  std::vector<int> times(rows.segment->listed());
  REQUIRE(times.size() >= 4900);
  for (const auto& list : near) {
    for (uint32_t i = 0; i < list.rows->size(); ++i) ++times[list.rows->number(i)];
  }
  CHECK(std::count(times.begin(), times.end(), 1) == static_cast<int64_t>(times.size()));
}

TEST_CASE("k rows are found whenever as many live and match") {
  Points points(24);
  Rows rows(Metric::l2, 24);
  const uint32_t n = 6000;
  for (uint32_t i = 0; i < n; ++i) {
    rows.add(points.next(), "{\"bucket\":" + std::to_string(i % 1000) + "}");
  }
  SearchOptions options;
  options.ef_search = 1;
  SUBCASE("that are few of many, as the others are dead") {
    rows.dead = std::make_shared<Bitmap>(n);
    for (uint32_t i = 0; i < n; ++i) {
      if (i % 500 != 7) rows.dead->set(i);
    }
    auto found = rows.find(points.next(), options);
    CHECK(found.size() == 10);
    for (const Hit& hit : found) CHECK(hit.offset % 500 == 7);
  }
  SUBCASE("that a filter leaves") {
    auto filter = parse_filter("{\"bucket\":{\"$lt\":3}}");
    REQUIRE(filter.ok());
    options.filter = &*filter;
    auto query = points.next();
    auto found = rows.find(query, options);
    options.exact = true;
    CHECK(found == rows.find(query, options));
    CHECK(found.size() == 10);
  }
  SUBCASE("as many as are visible") {
    SegmentView view = rows.view();
    view.visible = 5;
    std::vector<SegmentView> views{view};
    CHECK(search(views, Metric::l2, 24, points.next().data(), options).size() == 5);
  }
}

TEST_CASE("Lists begin with as many rows as the owner of the segment says") {
  auto listed_after = [](uint32_t rows, uint32_t listed_from, uint32_t listed_rows_min) {
    GrowingSegment segment(2, Metric::l2, Datatype::float32, listed_from, listed_rows_min);
    for (uint32_t row = 0; row < rows; ++row) {
      const float values[] = {static_cast<float>(row), 1};
      segment.append(row + 1, VectorId(uint64_t{row}).key(), values, "");
      segment.extend(nullptr);
    }
    return segment.listed();
  };
  CHECK(listed_after(7, 0, 8) == 0);
  CHECK(listed_after(8, 0, 8) == 8);
  CHECK(listed_after(11, 0, 8) == 8);  // three are not worth it
  CHECK(listed_after(12, 0, 8) == 12);
  CHECK(listed_after(12, 100, 8) == 0);
  CHECK(listed_after(3, 0, 1) == 3);
  CHECK(listed_after(511, 0, GrowingSegment::default_listed_rows_min) == 0);
}

TEST_CASE("Codes that cannot tell rows apart, or not express them, hide none") {
  SearchOptions options;
  SUBCASE("10,000 equal ones, and one beside them") {
    Rows rows(Metric::l2, 20);
    std::vector<float> same(20, 3.5f);
    for (uint32_t i = 0; i < 10'000; ++i) rows.add(same);
    auto other = same;
    other[3] += 1e-4f;
    rows.add(other);
    auto found = rows.find(other, options);
    REQUIRE(found.size() == 10);
    CHECK(found.front().offset == 10'000);
    CHECK(found.front().distance == 0);
  }
  SUBCASE("close to each other, far from the middle") {
    Points points(20);
    Rows rows(Metric::l2, 20);
    for (uint32_t i = 0; i < 2000; ++i) rows.add(points.next());
    std::vector<float> base(20, 500.0f);
    std::vector<std::vector<float>> cloud;
    for (uint32_t i = 0; i < 3000; ++i) {
      cloud.push_back(base);
      for (float& value : cloud.back()) value += static_cast<float>(points.number() % 1000) / 1000;
      rows.add(cloud.back());
    }
    size_t first = 0;
    for (size_t i = 0; i < 100; ++i) {
      auto found = rows.find(cloud[i * 30], options);
      first += found.front().offset == 2000 + i * 30 ? 1 : 0;
    }
    CHECK(first == 100);
  }
  SUBCASE("of which one overflows") {
    Points points(20);
    Rows rows(Metric::l2, 20);
    for (uint32_t i = 0; i < 1000; ++i) rows.add(points.next());
    CHECK(rows.segment->listed() > 0);
    rows.add(std::vector<float>(20, std::numeric_limits<float>::max()));
    for (uint32_t i = 0; i < 1000; ++i) rows.add(points.next());
    CHECK(rows.segment->listed() == 0);
    CHECK(!rows.segment->wants_lists());
    SegmentExplanation explained;
    CHECK(rows.find(points.next(), options, &explained).size() == 10);
    CHECK(explained.plan == SegmentPlan::scan);
  }
  SUBCASE("so far apart that differences of distances would be no number") {
    Points points(20);
    Rows rows(Metric::l2, 20);
    for (uint32_t i = 0; i < 3000; ++i) {
      auto far = points.next();
      for (float& value : far) value *= 7e17f;
      rows.add(far);
    }
    SegmentExplanation explained;
    auto query = points.next();
    for (float& value : query) value *= 7e17f;
    auto found = rows.find(query, options, &explained);
    CHECK(found.size() == 10);
    options.exact = true;
    CHECK(found == rows.find(query, options));
  }
  SUBCASE("denormal ones") {
    Rows rows(Metric::l2, 4);
    const float least = std::numeric_limits<float>::denorm_min();
    for (uint32_t i = 0; i < 1000; ++i) {
      rows.add({least * static_cast<float>(i), least, -least, 0.0f});
    }
    CHECK(rows.find({0, 0, 0, 0}, options).size() == 10);
  }
}

TEST_CASE("Searches go on while rows come") {
  Points points(16);
  Rows rows(Metric::l2, 16);
  std::vector<std::vector<float>> values;
  for (uint32_t i = 0; i < 8000; ++i) values.push_back(points.next());
  for (uint32_t i = 0; i < 600; ++i) rows.add(values[i]);
  rows.extends = false;
  std::atomic<bool> ended{false};
  std::atomic<uint32_t> extended{0};  // how often
  std::thread lister([&] {
    for (; !ended; ++extended) rows.segment->extend(&ended);
  });
  std::thread writer([&] {
    for (size_t i = 600; i < values.size(); ++i) {
      rows.add(values[i]);
      // Both go on at once, however late the other thread begins.
      while (i == 4000 && extended == 0) std::this_thread::yield();
    }
    ended = true;
  });
  size_t searches = 0, missing = 0;
  SearchOptions options;
  do {
    // The last row that was there before the search began is found by itself.
    SegmentView view = rows.view();
    std::vector<SegmentView> views{view};
    auto found = search(views, Metric::l2, 16, values[view.visible - 1].data(), options);
    bool there = std::any_of(found.begin(), found.end(),
                             [&](const Hit& hit) { return hit.offset == view.visible - 1; });
    bool hidden = std::all_of(found.begin(), found.end(),
                              [&](const Hit& hit) { return hit.offset < view.visible; });
    missing += there && hidden ? 0 : 1;
    ++searches;
  } while (!ended || searches < 100);
  writer.join();
  lister.join();
  CHECK(rows.segment->listed() > 0);
  CHECK(missing == 0);
}

}  // namespace
}  // namespace jade
