#include "index/growing_metadata.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "index/growing_segment.h"
#include "index/matches.h"
#include "index/shard_view.h"
#include "storage/vector_id.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

constexpr uint32_t dimension = 8;

Filter filter_of(const std::string& json) {
  auto filter = parse_filter(json);
  REQUIRE(filter.ok());
  return *filter;
}

// Metadata that depends on the row only; a few rows have none, and few a value that no index has.
std::string metadata_of(uint32_t row) {
  if (row % 97 == 5) return "";
  const std::string text = row % 31 == 7 ? std::string(300, 'x') : "t" + std::to_string(row % 10);
  return "{\"n\":" + std::to_string(row) + ",\"t\":\"" + text + "\"}";
}

// Rows around a few centres, in a growing segment with lists.
class Rows {
 public:
  explicit Rows(uint32_t listed_rows_min = GrowingSegment::default_listed_rows_min,
                uint32_t listed_from = 0)
      : segment_(std::make_shared<GrowingSegment>(dimension, Metric::l2, Datatype::float32,
                                                  listed_from, listed_rows_min)) {}

  void add(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t row = segment_->rows();
      const auto values = point();
      segment_->append(row + 1, VectorId(uint64_t{row}).key(), values.data(), metadata_of(row));
    }
  }
  // As a search with a filter and the thread that extends segments after it.
  void extend() {
    segment_->select(filter_of("{}"));
    segment_->extend(nullptr);
  }
  std::vector<float> point() {
    std::vector<float> out(dimension);
    const auto centre = static_cast<float>(random_() % 16);
    for (float& value : out) value = centre + normal_(random_);
    return out;
  }
  GrowingSegment& segment() const { return *segment_; }
  SegmentView view() const { return view_of(segment_, dead); }
  std::vector<Hit> find(const std::vector<float>& query, const SearchOptions& options,
                        SegmentExplanation* explained = nullptr) const {
    return hits_of(view(), query, options, explained);
  }

  std::shared_ptr<Bitmap> dead;

 private:
  std::shared_ptr<GrowingSegment> segment_;
  std::mt19937 random_{3};
  std::normal_distribution<float> normal_;
};

const std::string filters[] = {
    "{}",
    R"({"n":{"$gte":100,"$lt":300}})",
    R"({"t":"t3"})",
    R"({"t":{"$in":["t1","t2"]},"n":{"$gt":50}})",
    R"({"$not":{"t":"t4"}})",
    R"({"n":{"$exists":false}})",
    R"({"t":{"$gt":"w"}})",  // strings that are not in the index
    R"({"$or":[{"n":7},{"n":{"$gte":900}}]})",
};

TEST_CASE("The index of rows that come selects those that match, and is unsure of few others") {
  for (uint32_t step : {1u, 3u, 64u, 100u}) {
    CAPTURE(step);
    Rows rows;
    GrowingMetadata index(rows.segment(), step);
    std::mt19937 random(step);
    while (rows.segment().rows() < 1100) {
      rows.add(1 + static_cast<uint32_t>(random() % (random() % 4 == 0 ? 300 : 9)));
      const uint32_t count = rows.segment().rows();
      if (index.wants_extending(count)) index.extend(count);
      REQUIRE(index.indexed() <= count);
      REQUIRE(count - index.indexed() < step);
      for (const std::string& text : filters) {
        const Filter filter = filter_of(text);
        const Selection found = index.select(filter);
        REQUIRE(found.sure.size() == count);
        for (uint32_t row = 0; row < count; ++row) {
          const bool matches = filter.matches(rows.segment().metadata(row));
          if (found.sure.test(row)) REQUIRE(matches);
          if (matches) REQUIRE(found.widest().test(row));
          const bool undecided = found.widest().test(row) && !found.sure.test(row);
          if (undecided && row < index.indexed()) REQUIRE(row % 31 == 7);
        }
      }
    }
  }
}

TEST_CASE("Parts stay few, and rows are indexed a few times") {
  Rows rows;
  GrowingMetadata index(rows.segment(), 2);
  size_t most = 0;
  for (uint32_t i = 0; i < 5000; ++i) {
    rows.add(1);
    index.extend(rows.segment().rows());
    most = std::max(most, index.parts());
  }
  // Of 2, 32, 512 rows and more.
  CHECK(most <= 4 * (GrowingMetadata::parts_max - 1));
  CHECK(most >= GrowingMetadata::parts_max);
  // What has come since is one part, whatever it takes.
  GrowingMetadata late(rows.segment(), 2);
  late.extend(10);
  late.extend(4000);
  CHECK(late.parts() == 1);
  late.extend(4003);
  CHECK(late.parts() == 2);
  CHECK(late.indexed() == 4002);
}

TEST_CASE("Without a filter nothing is indexed; after the first one, what has come and comes") {
  Rows rows;
  rows.add(2048);
  rows.segment().extend(nullptr);
  const Filter filter = filter_of(R"({"n":{"$lt":300}})");
  CHECK(!rows.segment().wants_extending());
  CHECK(!rows.segment().select(filter));
  CHECK(rows.segment().wants_extending());
  rows.segment().extend(nullptr);
  CHECK(!rows.segment().wants_extending());
  const auto found = rows.segment().select(filter);
  REQUIRE(found);
  CHECK(!found->maybe);
  CHECK(found->sure.count() == 296);  // four have no metadata
  rows.add(255);
  CHECK(!rows.segment().wants_extending());
  rows.add(256);
  CHECK(rows.segment().wants_extending());
}

TEST_CASE("Searches with a filter find among rows that come what a scan finds") {
  Rows rows;
  rows.add(20'000);
  rows.extend();
  rows.add(300);  // neither in lists nor in the index
  SUBCASE("") {}
  SUBCASE("also where a third is dead") {
    rows.dead = std::make_shared<Bitmap>(rows.segment().rows());
    for (uint32_t row = 0; row < 20'000; row += 3) rows.dead->set(row);
  }
  struct Case {
    std::string filter;
    SegmentPlan plan;
  };
  for (const auto& [text, planned] :
       {Case{R"({"t":{"$ne":"t3"}})", SegmentPlan::probe},
        Case{R"({"t":{"$in":["t0","t1","t2","t4","t5"]}})", SegmentPlan::probe},
        Case{R"({"n":{"$gte":5000,"$lt":5200}})", SegmentPlan::matching_rows},
        Case{R"({"n":{"$in":[3,4,20100,20101]}})", SegmentPlan::matching_rows},
        Case{R"({"n":-1})", SegmentPlan::matching_rows}}) {
    CAPTURE(text);
    const Filter filter = filter_of(text);
    SearchOptions options;
    options.filter = &filter;
    options.ef_search = 64;
    size_t found = 0, wanted = 0;
    for (int i = 0; i < 30; ++i) {
      const auto query = rows.point();
      SearchOptions exact = options;
      exact.exact = true;
      SegmentExplanation explained;
      const auto truth = rows.find(query, exact);
      const auto hits = rows.find(query, options, &explained);
      CHECK(explained.plan == planned);
      CHECK(explained.metadata_read < 2000);
      REQUIRE(hits.size() == truth.size());
      std::set<uint32_t> offsets;
      for (const Hit& hit : hits) {
        offsets.insert(hit.offset);
        REQUIRE(filter.matches(rows.segment().metadata(hit.offset)));
        REQUIRE(!rows.view().is_dead(hit.offset));
      }
      for (const Hit& hit : truth) found += offsets.count(hit.offset);
      wanted += truth.size();
      if (planned == SegmentPlan::matching_rows) REQUIRE(hits == truth);
      if (planned == SegmentPlan::probe) CHECK(explained.rows_visited < 12'000);
    }
    if (wanted > 0) CHECK(static_cast<double>(found) / static_cast<double>(wanted) > 0.97);
  }
}

TEST_CASE("What matches only far from the query is found among rows that come") {
  // One cluster for each of two values, far from each other.
  auto segment = std::make_shared<GrowingSegment>(dimension, Metric::l2, Datatype::float32, 0);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  auto near = [&](float centre) {
    std::vector<float> out(dimension);
    for (float& value : out) value = centre + normal(random);
    return out;
  };
  for (uint32_t row = 0; row < 20'000; ++row) {
    const bool far = row % 2 == 0;
    const std::string metadata = far ? R"({"far":true})" : R"({"far":false})";
    segment->append(row + 1, VectorId(uint64_t{row}).key(), near(far ? 30.0f : 0.0f).data(),
                    metadata);
  }
  const Filter filter = filter_of(R"({"far":true})");
  segment->select(filter);
  segment->extend(nullptr);
  SegmentView view;
  view.segment = segment;
  view.visible = segment->rows();
  std::vector<SegmentView> views{view};
  SearchOptions options, exact;
  options.filter = exact.filter = &filter;
  exact.exact = true;
  size_t found = 0;
  for (int i = 0; i < 20; ++i) {
    const auto query = near(0.0f);
    const auto truth = search(views, Metric::l2, dimension, query.data(), exact);
    const auto hits = search(views, Metric::l2, dimension, query.data(), options);
    REQUIRE(hits.size() == 10);
    for (const Hit& hit : truth) {
      found += std::count_if(hits.begin(), hits.end(),
                             [&](const Hit& other) { return other.offset == hit.offset; });
    }
  }
  CHECK(found >= 195);
}

TEST_CASE("Rows to delete by a filter are those that match, indexed or not") {
  Rows rows(64, GrowingSegment::never_listed);
  rows.add(3000);
  rows.extend();
  CHECK(rows.segment().listed() == 0);
  rows.add(20);
  rows.dead = std::make_shared<Bitmap>(rows.segment().rows());
  for (uint32_t row = 0; row < 3000; row += 7) rows.dead->set(row);
  std::vector<SegmentView> views{rows.view()};
  views.front().visible = 3015;
  for (const std::string& text : filters) {
    CAPTURE(text);
    const Filter filter = filter_of(text);
    std::vector<std::pair<uint32_t, uint32_t>> expected;
    for (uint32_t row = 0; row < 3015; ++row) {
      if (!rows.dead->test(row) && filter.matches(rows.segment().metadata(row))) {
        expected.emplace_back(0, row);
      }
    }
    CHECK(matching_rows(views, filter) == expected);
  }
}

TEST_CASE("Filters are answered while rows come and are indexed") {
  Rows rows(16);
  rows.add(600);
  const Filter filter = filter_of(R"({"t":"t3"})");
  rows.segment().select(filter);
  std::atomic<bool> ended{false};
  std::thread extender([&] {
    while (!ended) rows.segment().extend(&ended);
  });
  std::thread writer([&] {
    rows.add(6000);
    ended = true;
  });
  size_t wrong = 0, searches = 0;
  do {
    std::vector<SegmentView> views{rows.view()};
    size_t expected = 0;
    for (uint32_t row = 0; row < views.front().visible; ++row) {
      expected += filter.matches(rows.segment().metadata(row)) ? 1 : 0;
    }
    wrong += matching_rows(views, filter).size() == expected ? 0 : 1;
    ++searches;
  } while (!ended || searches < 20);
  writer.join();
  extender.join();
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace jade
