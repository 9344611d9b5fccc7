#include "index/shard_view.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "index/calibration.h"
#include "index/growing_segment.h"
#include "index/hnsw_matching.h"
#include "index/scoring.h"
#include "index/sealed_segment.h"
#include "index/segment_builder.h"
#include "storage/vector_id.h"

namespace jade {
namespace {

// Writes and deletes, with segments sealed and merged as a shard does it, and the
// same rows in a map, searched by looking at each.
class Model {
 public:
  Model(uint32_t dimension, Metric metric, IndexKind kind, uint32_t seed = 1)
      : dimension_(dimension), random_(seed) {
    options_.dimension = dimension;
    options_.metric = metric;
    options_.index.kind = kind;
    options_.index.m = 8;
    options_.index.ef_construction = 60;
    std::normal_distribution<float> normal;
    centres_.resize(size_t{15} * dimension);
    for (float& value : centres_) value = 2 * normal(random_);
    grow();
  }

  std::vector<float> random_vector() {
    std::normal_distribution<float> normal;
    std::vector<float> out(dimension_);
    const float* centre = centres_.data() + random_() % 15 * dimension_;
    for (uint32_t i = 0; i < dimension_; ++i) out[i] = centre[i] + normal(random_);
    return out;
  }

  void upsert(uint64_t id, const std::vector<float>& vector) {
    erase(id);
    uint64_t row = next_row_++;
    // Of 1,000 rows, about n have a bucket below n.
    std::string metadata = "{\"bucket\":" + std::to_string(random_() % 1000) + "}";
    growing_->append(row, VectorId(id).key(), vector.data(), metadata);
    rows_[id] = row;
  }
  void erase(uint64_t id) {
    auto found = rows_.find(id);
    if (found == rows_.end()) return;
    for (Part& part : parts_) {
      if (auto at = part.segment->find(found->second)) part.kill(*at);
    }
    rows_.erase(found);
  }
  void seal() {
    merge(parts_.size() - 1, parts_.size());
    grow();
  }
  // Parts [begin, end) become one.
  void merge(size_t begin, size_t end) {
    std::vector<BuildInput> inputs;
    for (size_t i = begin; i < end; ++i) {
      inputs.push_back({parts_[i].segment, parts_[i].dead, parts_[i].segment->rows()});
    }
    auto built = build_segment(inputs, options_);
    REQUIRE(built.ok());
    Part merged{*built, nullptr, 0};
    for (size_t i = begin; i < end; ++i) {
      for (uint32_t row = 0; parts_[i].dead && row < parts_[i].segment->rows(); ++row) {
        if (!parts_[i].dead->test(row)) continue;
        if (auto at = (*built)->find(parts_[i].segment->row_number(row))) merged.kill(*at);
      }
    }
    auto first = parts_.begin() + static_cast<std::ptrdiff_t>(begin);
    *first = std::move(merged);
    parts_.erase(first + 1, parts_.begin() + static_cast<std::ptrdiff_t>(end));
  }

  std::vector<SegmentView> views() const {
    std::vector<SegmentView> out;
    for (const Part& part : parts_) {
      out.push_back({part.segment, part.dead, part.segment->rows(), part.dead_count});
    }
    return out;
  }
  std::vector<Hit> search(const std::vector<float>& query, const SearchOptions& options) const {
    return jade::search(views(), options_.metric, dimension_, query.data(), options);
  }

  // What a search has to find.
  std::vector<Hit> expected(std::vector<float> query, const SearchOptions& options) const {
    if (options_.metric == Metric::cosine) normalise(query.data(), dimension_);
    std::vector<std::tuple<float, std::string, Hit>> all;
    for (uint32_t i = 0; i < parts_.size(); ++i) {
      const Segment& segment = *parts_[i].segment;
      for (uint32_t row = 0; row < segment.rows(); ++row) {
        auto id = VectorId::from_key(segment.id_key(row));
        auto live = rows_.find(id->integer());
        if (live == rows_.end() || live->second != segment.row_number(row)) continue;
        if (options.filter && !options.filter->matches(segment.metadata(row))) continue;
        float d = shown_distance(options_.metric, distance(options_.metric, query.data(),
                                                           segment.vector(row), dimension_));
        all.emplace_back(d, segment.id_key(row), Hit{d, i, row});
      }
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return std::tie(std::get<0>(a), std::get<1>(a)) < std::tie(std::get<0>(b), std::get<1>(b));
    });
    std::vector<Hit> out;
    for (const auto& [d, id, hit] : all) {
      if (out.size() == options.k) break;
      if (!options.distance_max || d <= *options.distance_max) out.push_back(hit);
    }
    return out;
  }
  size_t live() const { return rows_.size(); }
  size_t parts() const { return parts_.size(); }
  std::vector<uint64_t> ids() const {
    std::vector<uint64_t> out;
    for (auto [id, row] : rows_) out.push_back(id);
    return out;
  }
  uint32_t random() { return random_(); }
  IndexKind kind(size_t part) const { return parts_[part].segment->kind(); }

 private:
  struct Part {
    std::shared_ptr<const Segment> segment;
    std::shared_ptr<Bitmap> dead;
    uint64_t dead_count = 0;

    void kill(uint32_t row) {
      auto longer = std::make_shared<Bitmap>(segment->rows());
      for (uint32_t i = 0; dead && i < dead->size(); ++i) {
        if (dead->test(i)) longer->set(i);
      }
      if (!dead || dead->size() < segment->rows()) dead = longer;
      if (dead->set(row)) ++dead_count;
    }
  };

  void grow() {
    growing_ = std::make_shared<GrowingSegment>(dimension_, options_.metric);
    parts_.push_back({growing_, nullptr, 0});
  }

  uint32_t dimension_;
  BuildOptions options_;
  std::mt19937 random_;
  std::vector<float> centres_;
  std::vector<Part> parts_;
  std::shared_ptr<GrowingSegment> growing_;
  std::map<uint64_t, uint64_t> rows_;  // id → row number
  uint64_t next_row_ = 0;
};

double share_found(const std::vector<Hit>& found, const std::vector<Hit>& expected) {
  if (expected.empty()) return 1;
  size_t hits = 0;
  for (const Hit& hit : expected) hits += std::count(found.begin(), found.end(), hit) > 0;
  return static_cast<double>(hits) / static_cast<double>(expected.size());
}

Filter filter_of(const std::string& json) {
  auto filter = parse_filter(json);
  REQUIRE(filter.ok());
  return *filter;
}

// Matches so many rows of 1,000.
Filter per_thousand(int rows) {
  return filter_of("{\"bucket\":{\"$lt\":" + std::to_string(rows) + "}}");
}

// A shard with a large segment, a smaller one and rows that grow, some dead.
void fill(Model& model, uint32_t n) {
  for (uint64_t id = 0; id < n; ++id) {
    model.upsert(id, model.random_vector());
    if (id == n * 6 / 10 || id == n * 8 / 10) model.seal();
    if (id % 5 == 4) model.erase(id - model.random() % 100);
  }
}

}  // namespace

TEST_CASE("Every search finds as many rows as there are, and nearly the best") {
  for (Metric metric : {Metric::cosine, Metric::l2, Metric::dot}) {
    for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf, IndexKind::flat}) {
      CAPTURE(to_string(metric));
      CAPTURE(to_string(kind));
      Model model(12, metric, kind);
      fill(model, 6000);
      REQUIRE(model.parts() == 3);
      REQUIRE(model.kind(0) == kind);
      CHECK(live_rows(model.views()) == model.live());
      for (int rows : {1000, 500, 100, 10, 1, 0}) {
        CAPTURE(rows);
        Filter filter = per_thousand(rows);
        CHECK(matching_rows(model.views(), filter).size() ==
              model.expected(model.random_vector(), {.k = 10000, .filter = &filter}).size());
        for (uint32_t k : {1u, 10u, 300u}) {
          CAPTURE(k);
          double found = 0;
          for (int i = 0; i < 8; ++i) {
            SearchOptions options{.k = k, .filter = rows == 1000 ? nullptr : &filter};
            auto query = model.random_vector();
            auto expected = model.expected(query, options);
            auto hits = model.search(query, options);
            REQUIRE(hits.size() == expected.size());
            CHECK(std::is_sorted(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) {
              return a.distance < b.distance;
            }));
            found += share_found(hits, expected) / 8;
            options.exact = true;
            REQUIRE(model.search(query, options) == expected);
          }
          CHECK(found >= (kind == IndexKind::flat ? 1.0 : 0.95));
        }
      }
    }
  }
}

TEST_CASE("Merges keep what was written and lose what was deleted") {
  Model model(8, Metric::l2, IndexKind::hnsw, 3);
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 700; ++i) {
      model.upsert(model.random() % 3000, model.random_vector());
      if (i % 4 == 0) model.erase(model.random() % 3000);
    }
    model.seal();
    if (round % 2 == 1) model.merge(0, model.parts() - 1);
    CHECK(live_rows(model.views()) == model.live());
    double found = 0;
    for (int i = 0; i < 10; ++i) {
      auto query = model.random_vector();
      auto expected = model.expected(query, {});
      REQUIRE(model.search(query, {}).size() == expected.size());
      found += share_found(model.search(query, {}), expected) / 10;
      REQUIRE(model.search(query, {.exact = true}) == expected);
    }
    CHECK(found >= 0.95);
  }
}

TEST_CASE("Where nearly all is dead, the rest is found") {
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf}) {
    Model model(8, Metric::cosine, kind, 4);
    for (uint64_t id = 0; id < 3000; ++id) model.upsert(id, model.random_vector());
    model.seal();
    for (uint64_t id = 0; id < 3000; ++id) {
      if (id % 500 != 3) model.erase(id);
    }
    REQUIRE(model.live() == 6);
    auto query = model.random_vector();
    CHECK(model.search(query, {.k = 4}) == model.expected(query, {.k = 4}));
    CHECK(model.search(query, {.k = 10}) == model.expected(query, {.k = 10}));
    for (uint64_t id : model.ids()) model.erase(id);
    CHECK(model.search(query, {}).empty());
  }
}

TEST_CASE("A filter that matches only far from the query finds its rows") {
  // 4,000 rows near 0 and 400 far away that match.
  auto rows = std::make_shared<GrowingSegment>(6, Metric::l2);
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (uint32_t i = 0; i < 4400; ++i) {
    bool far = i % 11 == 10;
    float vector[6];
    for (float& value : vector) value = normal(random) + (far ? 100.0f : 0.0f);
    rows->append(i, VectorId(uint64_t{i}).key(), vector, far ? R"({"far":true})" : "");
  }
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf}) {
    BuildOptions build;
    build.metric = Metric::l2;
    build.dimension = 6;
    build.index.kind = kind;
    auto built = build_segment({{rows, nullptr, rows->rows()}}, build);
    REQUIRE(built.ok());
    SegmentView view{*built, nullptr, 4400, 0};
    Filter filter = filter_of(R"({"far":true})");
    SearchOptions options{.k = 20, .filter = &filter};
    const float query[6] = {};
    auto hits = search({&view, 1}, Metric::l2, 6, query, options);
    options.exact = true;
    auto expected = search({&view, 1}, Metric::l2, 6, query, options);
    REQUIRE(hits.size() == 20);
    CHECK(share_found(hits, expected) >= 0.9);
  }
}

TEST_CASE("Under dot what matches is found though the longest rows do not") {
  constexpr uint32_t n = 20000, dimension = 48, queries = 30;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  auto draw = [&] {
    std::vector<float> out(dimension);
    const float length = std::exp(0.5f * normal(random));
    for (float& value : out) value = length * normal(random);
    return out;
  };
  std::vector<std::vector<float>> vectors;
  for (uint32_t row = 0; row < n; ++row) vectors.push_back(draw());
  auto square = [&](uint32_t row) {
    return std::inner_product(vectors[row].begin(), vectors[row].end(), vectors[row].begin(), 0.0f);
  };
  std::vector<uint32_t> order(n), rank(n);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return square(a) < square(b); });
  for (uint32_t i = 0; i < n; ++i) rank[order[i]] = i;
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::dot);
  for (uint32_t row = 0; row < n; ++row) {
    rows->append(row + 1, VectorId(uint64_t{row}).key(), vectors[row].data(),
                 "{\"r\":" + std::to_string(rank[row]) + "}");
  }
  BuildOptions build;
  build.metric = Metric::dot;
  build.dimension = dimension;
  build.index.kind = IndexKind::hnsw;
  auto built = build_segment({{rows, nullptr, n}}, build);
  REQUIRE(built.ok());
  SegmentView view{*built, nullptr, n, 0};
  // What is measured of all rows says nothing of those that match.
  REQUIRE(calibrate(view, 10).ok());
  for (uint32_t percent : {99u, 90u, 70u, 50u}) {
    const Filter filter = filter_of("{\"r\":{\"$lt\":" + std::to_string(n / 100 * percent) + "}}");
    for (float min_recall : {0.0f, 0.8f, 0.95f}) {
      CAPTURE(percent);
      CAPTURE(min_recall);
      double found = 0;
      for (uint32_t q = 0; q < queries; ++q) {
        const auto query = draw();
        SearchOptions options{.k = 10, .min_recall = min_recall, .filter = &filter};
        auto hits = search({&view, 1}, Metric::dot, dimension, query.data(), options);
        options.exact = true;
        auto expected = search({&view, 1}, Metric::dot, dimension, query.data(), options);
        REQUIRE(hits.size() == 10);
        found += share_found(hits, expected) / queries;
      }
      CHECK(found >= 0.95);
    }
  }
}

TEST_CASE("What matches all around the query, and no nearer, is found") {
  constexpr uint32_t n = 20000, dimension = 24;
  constexpr size_t queries = 20;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> vectors(n * dimension);
  for (float& value : vectors) value = normal(random);
  // Of each query, the rank of each row by distance from it.
  std::vector<std::vector<uint32_t>> ranks(queries, std::vector<uint32_t>(n));
  for (size_t q = 0; q < queries; ++q) {
    std::vector<std::pair<float, uint32_t>> order;
    for (uint32_t row = 0; row < n; ++row) {
      float distance = 0;
      for (uint32_t i = 0; i < dimension; ++i) {
        const float off = vectors[row * dimension + i] - vectors[q * dimension + i];
        distance += off * off;
      }
      order.emplace_back(distance, row);
    }
    std::sort(order.begin(), order.end());
    for (uint32_t rank = 0; rank < n; ++rank) ranks[q][order[rank].second] = rank;
  }
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  for (uint32_t row = 0; row < n; ++row) {
    std::string metadata = "{";
    for (size_t q = 0; q < queries; ++q) {
      metadata +=
          (q == 0 ? "\"r" : ",\"r") + std::to_string(q) + "\":" + std::to_string(ranks[q][row]);
    }
    rows->append(row + 1, VectorId(uint64_t{row}).key(), vectors.data() + row * dimension,
                 metadata + "}");
  }
  BuildOptions options;
  options.metric = Metric::l2;
  options.dimension = dimension;
  struct Case {
    IndexKind kind;
    Quantization quantization;
    SegmentPlan plan;
  };
  for (const Case& one : {Case{IndexKind::hnsw, Quantization::sq8, SegmentPlan::walk_matching},
                          Case{IndexKind::hnsw, Quantization::none, SegmentPlan::walk_matching},
                          Case{IndexKind::ivf, Quantization::none, SegmentPlan::probe}}) {
    CAPTURE(to_string(one.kind));
    CAPTURE(to_string(one.quantization));
    options.index.kind = one.kind;
    options.index.quantization = one.quantization;
    auto segment = build_segment({{rows, nullptr, n}}, options);
    REQUIRE(segment.ok());
    SegmentView view{*segment, nullptr, n, 0};
    for (uint32_t share : {90, 70, 50}) {
      CAPTURE(share);
      double found = 0;
      for (size_t q = 0; q < queries; ++q) {
        auto filter = parse_filter("{\"r" + std::to_string(q) +
                                   "\":{\"$gte\":" + std::to_string(n - n / 100 * share) + "}}");
        REQUIRE(filter.ok());
        std::vector<float> query(vectors.begin() + q * dimension,
                                 vectors.begin() + (q + 1) * dimension);
        std::vector<SegmentExplanation> explained;
        auto hits =
            search_all({&view, 1}, Metric::l2, dimension, query,
                       {.k = 10, .ef_search = 16, .nprobe = 8, .filter = &*filter}, &explained);
        REQUIRE(hits.ok());
        REQUIRE((*hits)[0].size() == 10);
        for (const Hit& hit : (*hits)[0]) {
          found +=
              ranks[q][(*segment)->row_number(hit.offset) - 1] < n - n / 100 * share + 10 ? 1 : 0;
        }
        CHECK(explained[0].plan == one.plan);
      }
      CHECK(found / (10 * queries) >= 0.9);  // 0.04 to 0.09 by the walk alone
    }
  }
}

TEST_CASE("Each plan finds what it should, and says what it did") {
  // Rows around 20 places; "near" is the distance from the first one.
  constexpr uint32_t n = 30000, dimension = 8;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  std::vector<float> centres(20 * dimension), vector(dimension);
  for (float& value : centres) value = 2 * normal(random);
  for (uint32_t i = 0; i < n; ++i) {
    float from_first = 0;
    for (uint32_t j = 0; j < dimension; ++j) {
      vector[j] = centres[i % 20 * dimension + j] + normal(random);
      from_first += (vector[j] - centres[j]) * (vector[j] - centres[j]);
    }
    std::string metadata = "{\"any\":" + std::to_string(random() % 1000) +
                           ",\"away\":" + std::to_string(std::sqrt(from_first)) + ",\"list\":[" +
                           std::to_string(i % 10) + "]}";
    rows->append(i, VectorId(uint64_t{i}).key(), vector.data(), metadata);
  }
  auto dead = std::make_shared<Bitmap>(n);
  for (uint32_t i = 0; i < n; i += 50) dead->set(i);
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf}) {
    BuildOptions build;
    build.metric = Metric::l2;
    build.dimension = dimension;
    build.index.kind = kind;
    build.index.ef_construction = 80;
    auto built = build_segment({{rows, nullptr, n}}, build);
    REQUIRE(built.ok());
    SegmentView view{*built, dead, n, dead->count()};
    std::vector<float> queries;
    for (uint32_t q = 0; q < 30; ++q) {
      for (uint32_t j = 0; j < dimension; ++j) {
        queries.push_back(centres[q % 20 * dimension + j] + normal(random));
      }
    }
    struct Case {
      std::string filter;
      SegmentPlan graph, lists;
      bool exact;
    };
    using enum SegmentPlan;
    const Case cases[] = {
        {"", walk, probe, true},
        {R"({"any":{"$lt":900}})", walk, probe, true},
        {R"({"any":{"$lt":500}})", walk, probe, true},
        {R"({"away":{"$gt":5}})", walk_matching, probe, true},
        {R"({"any":{"$lt":20}})", matching_rows, matching_rows, true},
        {R"({"any":7777})", none, none, true},
        {R"({"list":[3]})", matching_rows, matching_rows, false},
        {R"({"list":{"$ne":[3]}})", walk, probe, false},
    };
    for (const Case& c : cases) {
      CAPTURE(c.filter);
      std::optional<Filter> filter;
      if (!c.filter.empty()) filter = filter_of(c.filter);
      SearchOptions options{.ef_search = 64, .filter = filter ? &*filter : nullptr};
      std::vector<SegmentExplanation> explain;
      auto found = *search_all({&view, 1}, Metric::l2, dimension, queries, options, &explain);
      options.exact = true;
      auto expected = *search_all({&view, 1}, Metric::l2, dimension, queries, options);
      options.exact = false;
      REQUIRE(found.size() == 30);
      REQUIRE(explain.size() == 30);
      double share = 0;
      for (size_t q = 0; q < found.size(); ++q) {
        REQUIRE(found[q].size() == expected[q].size());
        share += share_found(found[q], expected[q]) / 30;
        REQUIRE(found[q] ==
                search({&view, 1}, Metric::l2, dimension, &queries[q * dimension], options));
      }
      CHECK(share >= 0.95);
      uint64_t matching = view.live();
      if (filter) matching = jade::matching_rows({&view, 1}, *filter).size();
      const SegmentExplanation& said = explain.front();
      CHECK(said.kind == kind);
      CHECK(said.rows == n);
      CHECK(to_string(said.plan) == to_string(kind == IndexKind::hnsw ? c.graph : c.lists));
      CHECK(said.matching_exact == c.exact);
      if (c.exact) {
        CHECK(said.matching == matching);
      } else {
        CHECK(said.matching > matching / 2);
        CHECK(said.matching < 2 * matching);
      }
      CHECK((said.metadata_read > 0) == !c.exact);
      CHECK((said.distances() > 0) == (matching > 0));
      CHECK((said.ef > 0) == (said.plan == walk || said.plan == walk_matching));
      CHECK((said.nprobe > 0) == (said.plan == probe));
      CHECK(!said.raised);
    }
    std::vector<SegmentExplanation> explain;
    REQUIRE(search_all({&view, 1}, Metric::l2, dimension, {queries.data(), dimension},
                       {.k = 100, .ef_search = 10, .nprobe = 1}, &explain)
                .ok());
    CHECK(explain.front().raised == (kind == IndexKind::hnsw));
  }
}

namespace {

// Rows of a segment by their codes, that note which were compared.
class NotedRows {
 public:
  NotedRows(const RowCodes& codes, const EncodedQuery& query) : rows_(codes, query) {}
  void prefetch(uint32_t) const {}
  float error(float distance) const { return rows_.error(distance); }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    rows_.distances(rows, count, out);
    compared.insert(compared.end(), rows, rows + count);
  }
  mutable std::vector<uint32_t> compared;

 private:
  CodedRows rows_;
};

}  // namespace

TEST_CASE("What a row has decides whether those that match are scanned or walked") {
  constexpr uint32_t n = 3000;
  struct Case {
    uint32_t dimension;
    Quantization quantization;
    SegmentPlan plan;
  };
  using enum SegmentPlan;
  // A row of 16 bytes, of a thousand, of four thousand; and few bytes for many values.
  for (const Case& c :
       {Case{16, Quantization::sq8, matching_rows}, Case{1024, Quantization::sq8, walk},
        Case{1024, Quantization::none, walk}, Case{1024, Quantization::rabitq, matching_rows}}) {
    CAPTURE(c.dimension);
    CAPTURE(to_string(c.quantization));
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    auto rows = std::make_shared<GrowingSegment>(c.dimension, Metric::l2);
    // In a plane of eight dimensions, as codes of all kinds can tell such rows apart.
    constexpr uint32_t latent = 8;
    std::vector<float> plane(latent * c.dimension), vector(c.dimension);
    for (float& value : plane) value = normal(random);
    for (uint32_t i = 0; i < n; ++i) {
      std::fill(vector.begin(), vector.end(), 0.0f);
      for (uint32_t l = 0; l < latent; ++l) {
        const float at = normal(random);
        for (uint32_t j = 0; j < c.dimension; ++j) vector[j] += at * plane[l * c.dimension + j];
      }
      rows->append(i, VectorId(uint64_t{i}).key(), vector.data(),
                   "{\"even\":" + std::to_string(i % 2) + "}");
    }
    BuildOptions build;
    build.metric = Metric::l2;
    build.dimension = c.dimension;
    build.index.ef_construction = 40;
    build.index.quantization = c.quantization;
    auto built = build_segment({{rows, nullptr, n}}, build);
    REQUIRE(built.ok());
    const RowCodes* codes = (*built)->codes();
    REQUIRE((codes != nullptr ? codes->kind() : Quantization::none) == c.quantization);
    SegmentView view{*built, nullptr, n};
    Filter filter = filter_of(R"({"even":0})");
    std::vector<SegmentExplanation> said;
    auto found = search_all({&view, 1}, Metric::l2, c.dimension, vector,
                            {.k = 5, .ef_search = 40, .filter = &filter}, &said);
    REQUIRE(found.ok());
    CHECK(found->front().size() == 5);
    CHECK(to_string(said.front().plan) == to_string(c.plan));
    CHECK((said.front().walk_cost > n / 2) == (c.plan == matching_rows));
  }
}

TEST_CASE("A walk that meets nothing that matches ends before a scan of what does would") {
  // A tenth is far away from the query, and from all others.
  constexpr uint32_t n = 3000, dimension = 8;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  std::vector<float> vector(dimension);
  for (uint32_t i = 0; i < n; ++i) {
    for (float& value : vector) value = normal(random) + (i % 10 == 0 ? 50.0f : 0.0f);
    rows->append(i, VectorId(uint64_t{i}).key(), vector.data(),
                 "{\"far\":" + std::to_string(i % 10 == 0 ? 1 : 0) + "}");
  }
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = dimension;
  build.index.m = 8;
  build.index.ef_construction = 60;
  auto built = build_segment({{rows, nullptr, n}}, build);
  REQUIRE(built.ok());
  SegmentView view{*built, nullptr, n};
  Filter filter = filter_of(R"({"far":1})");
  std::vector<float> query(dimension);
  SearchOptions options{.k = 1, .ef_search = 1, .filter = &filter};
  std::vector<SegmentExplanation> said;
  auto found = search_all({&view, 1}, Metric::l2, dimension, query, options, &said);
  REQUIRE(found.ok());
  options.exact = true;
  CHECK(found->front() == search({&view, 1}, Metric::l2, dimension, query.data(), options));
  CHECK(said.front().plan == SegmentPlan::walk);
  CHECK(said.front().fell_back);
  const uint64_t matching = n / 10;
  CHECK(said.front().matching == matching);
  // So many by the walk, the neighbours of one row more, and the scan.
  CHECK(said.front().rows_visited <= 2 * matching + 2 * build.index.m);
}

TEST_CASE("An explanation counts what was done") {
  constexpr uint32_t n = 20000, dimension = 8;
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  auto rows = std::make_shared<GrowingSegment>(dimension, Metric::l2);
  std::vector<float> vector(dimension), query(dimension);
  for (uint32_t i = 0; i < n; ++i) {
    for (float& value : vector) value = normal(random);
    std::string metadata = "{\"a\":" + std::to_string(random() % 1000) + ",\"list\":[[" +
                           std::to_string(i % 2) + "]]}";
    rows->append(i, VectorId(uint64_t{i}).key(), vector.data(), metadata);
  }
  for (float& value : query) value = normal(random);
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = dimension;
  build.index.ef_construction = 60;
  auto built = build_segment({{rows, nullptr, n}}, build);
  REQUIRE(built.ok());
  const SealedSegment& sealed = **built;
  REQUIRE(sealed.codes() != nullptr);
  auto dead = std::make_shared<Bitmap>(n);
  for (uint32_t i = 0; i < n; i += 7) dead->set(i);
  SegmentView view{*built, dead, n, dead->count(), 17};
  uint64_t calls = 0;
  std::function<uint64_t()> clock = [&calls] { return ++calls * 100; };
  auto explained = [&](const SegmentView& of, SearchOptions options) {
    std::vector<SegmentExplanation> out;
    options.clock_ns = &clock;
    REQUIRE(search_all({&of, 1}, Metric::l2, dimension, query, options, &out).ok());
    REQUIRE(out.size() == 1);
    return out.front();
  };
  auto live_matching = [&](const Filter& filter) {
    return [&](uint32_t row) { return !dead->test(row) && filter.matches(sealed.metadata(row)); };
  };
  auto count = [](auto&& holds) {
    uint64_t total = 0;
    for (uint32_t row = 0; row < n; ++row) total += holds(row) ? 1 : 0;
    return total;
  };
  const uint64_t live = n - dead->count();

  SUBCASE("scans") {
    SegmentExplanation all = explained({rows, dead, n, dead->count()}, {.k = 5});
    CHECK(all.plan == SegmentPlan::scan);
    CHECK(all.segment == 0);
    CHECK(all.live == live);
    CHECK(all.rows_visited == live);
    CHECK(all.distances_by_values == live);
    CHECK(all.distances_by_codes == 0);
    CHECK(all.scan_ns == 100);
    CHECK(all.filter_ns == 0);

    Filter filter = filter_of(R"({"a":{"$lt":20}})");
    uint64_t matching = count(live_matching(filter));
    SegmentExplanation few = explained(view, {.k = 5, .filter = &filter});
    CHECK(few.plan == SegmentPlan::matching_rows);
    CHECK(few.segment == 17);
    CHECK(few.matching == matching);
    CHECK(few.rows_visited == matching);
    // Values of 8 dimensions are compared as fast as codes.
    CHECK(few.distances_by_codes == 0);
    CHECK(few.rescored == 0);
    CHECK(few.distances_by_values == matching);
    CHECK(few.metadata_read == 0);
    CHECK(few.walk_cost > static_cast<double>(matching));
    CHECK(few.filter_ns == 100);
    CHECK(few.scan_ns == 100);
    CHECK(few.rescore_ns == 0);
    CHECK(few.walk_ns == 0);

    SegmentExplanation exact = explained(view, {.k = 5, .filter = &filter, .exact = true});
    CHECK(exact.distances_by_values == matching);
    CHECK(exact.distances_by_codes == 0);
    CHECK(exact.rescored == 0);

    // No index decides this: each row is read once, by the sample or by the scan.
    Filter undecided = filter_of(R"({"list":[1]})");
    SegmentExplanation read = explained(view, {.k = n, .filter = &undecided, .exact = true});
    CHECK(read.rows_visited == live);
    CHECK(read.metadata_read == live + 256);
  }
  SUBCASE("walks") {
    WalkMemory memory;
    REQUIRE(sealed.codes()->encode(query.data(), memory.query));
    NotedRows noted(*sealed.codes(), memory.query);
    SegmentExplanation said = explained(view, {.k = 10, .ef_search = 4});
    CHECK(said.plan == SegmentPlan::walk);
    CHECK(said.ef_search == 4);
    CHECK(said.ef == 15);
    CHECK(said.raised);
    Candidate start = descend(*sealed.graph(), noted, 0, memory);
    auto lives = [&](uint32_t row) { return !dead->test(row); };
    NearOptions near;
    near.k = 10;
    near.width = sealed.codes()->rescored_min(10);
    near.near = said.ef;
    near.beam = 2 * said.ef;
    near.dimensions = sealed.columns().intrinsic_dimension;
    NearMatches bound(noted, lives, near, memory.found);
    walk(*sealed.graph(), noted, 0, start, near.beam, n, EveryRow(), memory, nullptr, bound);
    CHECK(!bound.few(memory.beam));
    CHECK(said.distances_by_codes == noted.compared.size());
    CHECK(said.rescored >= 10);
    CHECK(said.rescored <= memory.found.sorted().size());
    CHECK(said.distances_by_values == said.rescored);
    CHECK(said.walk_ns == 100);
    CHECK(said.rescore_ns == 100);
    // After the descent, but for where it ended.
    noted.compared.clear();
    descend(*sealed.graph(), noted, 0, memory);
    CHECK(said.rows_visited == said.distances_by_codes - noted.compared.size() + 1);
  }
  SUBCASE("walks from match to match") {
    Filter filter = filter_of(R"({"a":{"$lt":600}})");
    auto matches = live_matching(filter);
    // Among the few rows near the query that such a beam holds there are too few that match.
    SegmentExplanation said = explained(view, {.k = 10, .ef_search = 12, .filter = &filter});
    REQUIRE(said.plan == SegmentPlan::walk_matching);
    CHECK(said.matching == count(matches));
    WalkMemory memory;
    REQUIRE(sealed.codes()->encode(query.data(), memory.query));
    NotedRows noted(*sealed.codes(), memory.query);
    Candidate start = descend(*sealed.graph(), noted, 0, memory);
    const size_t descended = noted.compared.size();
    std::vector<uint32_t> seeds;
    for (uint32_t i = 0; i < 16; ++i) {
      uint32_t row = i * n / 16;
      while (!matches(row)) ++row;
      seeds.push_back(row);
    }
    std::set<uint32_t> looked_at;
    const double farther =
        std::pow(said.ef / 10.0, 1 / double{sealed.columns().intrinsic_dimension});
    const Horizon horizon(noted, 10, static_cast<float>(farther * farther));
    walk_matching(
        *sealed.graph(), noted, start, seeds, static_cast<double>(said.matching) / n, said.ef,
        said.matching,
        [&](uint32_t row) {
          looked_at.insert(row);
          return matches(row);
        },
        memory, nullptr, horizon);
    CHECK(said.distances_by_codes == noted.compared.size());
    CHECK(said.rows_visited >= noted.compared.size() - descended);
    CHECK(said.rows_visited <= looked_at.size() + seeds.size());
    CHECK(said.rows_visited == memory.visited());
  }
  SUBCASE("several queries share what a filter costs") {
    Filter filter = filter_of(R"({"list":[1]})");
    std::vector<float> queries(query);
    queries.insert(queries.end(), query.begin(), query.end());
    std::vector<SegmentExplanation> out;
    SearchOptions options{.k = 3, .filter = &filter, .clock_ns = &clock};
    REQUIRE(search_all({&view, 1}, Metric::l2, dimension, queries, options, &out).ok());
    REQUIRE(out.size() == 2);
    CHECK(out[0].filter_ns == 100);
    CHECK(out[1].filter_ns == 0);
    CHECK(out[0].metadata_read == out[1].metadata_read + 256);
    options.clock_ns = nullptr;
    REQUIRE(search_all({&view, 1}, Metric::l2, dimension, queries, options, &out).ok());
    CHECK(out[2].filter_ns + out[2].walk_ns + out[2].scan_ns + out[2].rescore_ns == 0);
    CHECK(out[2].distances_by_codes == out[0].distances_by_codes);
  }
}

TEST_CASE("Several exact searches at once find and do what each does alone") {
  constexpr uint32_t n = 3000, dimension = 24, queries = 7;
  std::mt19937 random(12);
  std::normal_distribution<float> normal;
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    for (Datatype datatype : {Datatype::float32, Datatype::float16, Datatype::uint8}) {
      CAPTURE(to_string(metric));
      CAPTURE(to_string(datatype));
      auto values = [&](size_t count) {
        std::vector<float> out(count);
        for (float& value : out) {
          value = datatype == Datatype::uint8 ? static_cast<float>(random() % 256) : normal(random);
        }
        return out;
      };
      std::vector<SegmentView> views;
      for (IndexKind kind : {IndexKind::flat, IndexKind::hnsw, IndexKind::flat}) {
        auto rows = std::make_shared<GrowingSegment>(dimension, metric, datatype);
        for (uint32_t i = 0; i < n; ++i) {
          // Some of each are equal, in the same segment and in another.
          rows->append(
              views.size() * n + i, VectorId(uint64_t{views.size() * n + i}).key(),
              i % 100 == 0 ? std::vector<float>(dimension, 1.0f).data() : values(dimension).data(),
              "{\"any\":" + std::to_string(random() % 100) + "}");
        }
        BuildOptions build;
        build.metric = metric;
        build.dimension = dimension;
        build.datatype = datatype;
        build.index.kind = kind;
        build.index.ef_construction = 40;
        auto built = build_segment({{rows, nullptr, n}}, build);
        REQUIRE(built.ok());
        auto dead = std::make_shared<Bitmap>(n);
        for (uint32_t i = 0; i < n; i += 3) dead->set(i);
        views.push_back({*built, dead, n, dead->count(), views.size()});
      }
      views.push_back(
          {std::make_shared<GrowingSegment>(dimension, metric, datatype), nullptr, 0, 0});
      auto asked = values(queries * dimension);
      std::fill_n(asked.begin(), dimension, 1.0f);
      Filter filter = filter_of(R"({"any":{"$lt":30}})");
      for (const Filter* matching : {static_cast<const Filter*>(nullptr), &std::as_const(filter)}) {
        for (bool exact : {false, true}) {
          SearchOptions options{.k = 50, .filter = matching, .exact = exact};
          std::vector<SegmentExplanation> together;
          auto found = *search_all(views, metric, dimension, asked, options, &together);
          REQUIRE(found.size() == queries);
          REQUIRE(together.size() == queries * views.size());
          for (size_t q = 0; q < queries; ++q) {
            CAPTURE(q);
            std::vector<SegmentExplanation> alone;
            std::span one(asked.data() + q * dimension, dimension);
            auto expected = *search_all(views, metric, dimension, one, options, &alone);
            REQUIRE(found[q] == expected.front());
            for (size_t i = 0; i < views.size(); ++i) {
              const SegmentExplanation& a = together[q * views.size() + i];
              CHECK(a.segment == alone[i].segment);
              CHECK(to_string(a.plan) == to_string(alone[i].plan));
              CHECK(a.rows_visited == alone[i].rows_visited);
              CHECK(a.distances_by_values == alone[i].distances_by_values);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("Equal vectors come in the order of their ids") {
  for (auto [kind, quantization] : {std::pair(IndexKind::hnsw, Quantization::sq8),
                                    {IndexKind::hnsw, Quantization::sq4},
                                    {IndexKind::hnsw, Quantization::none},
                                    {IndexKind::ivf, Quantization::sq8},
                                    {IndexKind::flat, Quantization::sq8}}) {
    auto rows = std::make_shared<GrowingSegment>(4, Metric::l2);
    const float vector[4] = {1, 2, 3, 4};
    for (uint64_t i = 0; i < 10000; ++i) {
      rows->append(i, VectorId(10000 - i).key(), vector, "");
    }
    BuildOptions build;
    build.metric = Metric::l2;
    build.dimension = 4;
    build.index.kind = kind;
    build.index.quantization = quantization;
    build.index.ef_construction = 16;
    auto built = build_segment({{rows, nullptr, rows->rows()}}, build);
    REQUIRE(built.ok());
    SegmentView view{*built, nullptr, 10000, 0};
    for (uint32_t k : {1u, 10u, 1000u, 20000u}) {
      auto hits = search({&view, 1}, Metric::l2, 4, vector, {.k = k});
      REQUIRE(hits.size() == std::min(k, 10000u));
      for (size_t i = 1; i < hits.size(); ++i) {
        REQUIRE((*built)->id_view(hits[i - 1].offset) < (*built)->id_view(hits[i].offset));
      }
    }
    auto exact = search({&view, 1}, Metric::l2, 4, vector, {.k = 3, .exact = true});
    REQUIRE(exact.size() == 3);
    CHECK((*built)->id_key(exact[0].offset) == VectorId(uint64_t{1}).key());
  }
}

TEST_CASE("Equal scores come in the order of ids, in one segment as in several, also the last") {
  // Squared distances that differ by their last bits, the greater of lesser ids.
  constexpr uint32_t n = 400;
  auto value = [](uint32_t row) { return 0.03f * std::sqrt(static_cast<float>(row)); };
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::flat, IndexKind::ivf}) {
    auto first = std::make_shared<GrowingSegment>(2, Metric::l2);
    auto second = std::make_shared<GrowingSegment>(2, Metric::l2);
    for (uint32_t row = 0; row < n; ++row) {
      const float vector[2] = {100, value(row)};
      (row % 2 == 0 ? first : second)->append(row, VectorId(uint64_t{n - row}).key(), vector, "");
    }
    BuildOptions build;
    build.metric = Metric::l2;
    build.dimension = 2;
    build.index.kind = kind;
    auto built = build_segment({{first, nullptr, first->rows()}}, build);
    REQUIRE(built.ok());
    std::vector<SegmentView> views = {{*built, nullptr, n / 2, 0}, {second, nullptr, n / 2, 0}};
    const float query[2] = {0, 0};
    size_t ties = 0;
    for (uint32_t k = 1; k <= n; ++k) {
      auto hits = search(views, Metric::l2, 2, query, {.k = k, .exact = true});
      REQUIRE(hits.size() == k);
      // All rows, as they are to come.
      std::vector<std::pair<float, uint64_t>> all;
      for (uint32_t row = 0; row < n; ++row) {
        const float vector[2] = {100, value(row)};
        all.emplace_back(score_from_distance(Metric::l2, distance(Metric::l2, query, vector, 2)),
                         n - row);
      }
      std::sort(all.begin(), all.end());
      for (uint32_t i = 0; i < k; ++i) {
        const Segment& segment = *views[hits[i].segment].segment;
        REQUIRE(score_from_distance(Metric::l2, hits[i].distance) == all[i].first);
        REQUIRE(segment.id_key(hits[i].offset) == VectorId(all[i].second).key());
      }
      ties += k < n && all[k - 1].first == all[k].first;
    }
    CHECK(ties > 10);
  }
}

TEST_CASE("Edges: no segments, no rows, no k, dimension 1, a threshold") {
  const float zero[1] = {0};
  CHECK(search({}, Metric::l2, 1, zero, {}).empty());
  CHECK(live_rows({}) == 0);

  auto rows = std::make_shared<GrowingSegment>(1, Metric::l2);
  SegmentView empty{rows, nullptr, 0, 0};
  CHECK(search({&empty, 1}, Metric::l2, 1, zero, {}).empty());
  for (uint64_t i = 0; i < 3000; ++i) {
    auto value = static_cast<float>(i);
    rows->append(i, VectorId(i).key(), &value, "");
  }
  CHECK(search({&empty, 1}, Metric::l2, 1, zero, {}).empty());  // not yet visible
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = 1;
  auto built = build_segment({{rows, nullptr, rows->rows()}}, build);
  REQUIRE(built.ok());
  for (const std::shared_ptr<const Segment>& segment :
       {std::shared_ptr<const Segment>(rows), std::shared_ptr<const Segment>(*built)}) {
    SegmentView view{segment, nullptr, 3000, 0};
    CHECK(search({&view, 1}, Metric::l2, 1, zero, {.k = 0}).empty());
    auto hits = search({&view, 1}, Metric::l2, 1, zero, {.k = 5});
    REQUIRE(hits.size() == 5);
    for (uint64_t i = 0; i < 5; ++i) {
      CHECK(segment->row_number(hits[i].offset) == i);
      CHECK(hits[i].distance == static_cast<float>(i * i));
    }
    CHECK(search({&view, 1}, Metric::l2, 1, zero, {.k = 10, .distance_max = 16.0f}).size() == 5);
    CHECK(search({&view, 1}, Metric::l2, 1, zero, {.k = 10, .distance_max = -1.0f}).empty());
    CHECK(search({&view, 1}, Metric::l2, 1, zero, {.k = 5000}).size() == 3000);
  }
}

TEST_CASE("Vectors at the edges of what floats are do no harm") {
  // Tiny values whose squares are no floats any more, huge ones whose squares are none yet,
  // one value in all rows, and rows that differ in a single dimension.
  struct Case {
    std::string name;
    std::function<float(uint32_t row, uint32_t i)> value;
  };
  std::mt19937 random(12);
  std::normal_distribution<float> normal;
  const Case cases[] = {
      {"denormal", [&](uint32_t, uint32_t) { return 1e-41f * normal(random); }},
      {"tiny", [&](uint32_t, uint32_t) { return 1e-22f * normal(random); }},
      {"huge", [&](uint32_t, uint32_t) { return 1e18f * normal(random); }},
      {"mixed",
       [&](uint32_t row, uint32_t) {
         return (row % 3 == 0 ? 1e-30f : row % 3 == 1 ? 1e15f : 1.0f) * normal(random);
       }},
      {"constant", [](uint32_t, uint32_t) { return -3.5f; }},
      {"one dimension",
       [](uint32_t row, uint32_t i) { return i == 2 ? static_cast<float>(row % 100) : 1.0f; }},
  };
  constexpr uint32_t n = 3000, dimension = 6;
  Filter filter = filter_of(R"({"a":{"$gt":10}})");
  for (const Case& c : cases) {
    for (Metric metric : {Metric::l2, Metric::dot, Metric::cosine}) {
      auto rows = std::make_shared<GrowingSegment>(dimension, metric);
      std::vector<float> vector(dimension), query(dimension);
      for (uint32_t row = 0; row <= n; ++row) {
        std::vector<float>& into = row == n ? query : vector;
        for (uint32_t i = 0; i < dimension; ++i) into[i] = c.value(row, i);
        // Of other types in some rows, where it does not match.
        std::string metadata = "{\"a\":" +
                               std::string(row % 4 == 0   ? "\"50\""
                                           : row % 4 == 1 ? "[5,\"x\",60]"
                                                          : std::to_string(row % 20)) +
                               "}";
        if (row < n) {
          rows->append(row, VectorId(uint64_t{row}).key(), vector.data(), metadata);
        }
      }
      for (auto [kind, quantization] : {std::pair(IndexKind::hnsw, Quantization::sq8),
                                        {IndexKind::hnsw, Quantization::sq4},
                                        {IndexKind::hnsw, Quantization::none},
                                        {IndexKind::ivf, Quantization::sq8}}) {
        BuildOptions build;
        build.metric = metric;
        build.dimension = dimension;
        build.index.kind = kind;
        build.index.quantization = quantization;
        build.index.ef_construction = 40;
        auto built = build_segment({{rows, nullptr, n}}, build);
        REQUIRE(built.ok());
        CAPTURE(c.name);
        CAPTURE(to_string(metric));
        CAPTURE(to_string(kind));
        CAPTURE(to_string(quantization));
        SegmentView view{*built, nullptr, n, 0};
        for (uint32_t k : {1u, 10u, 5000u}) {
          for (const Filter* one : {static_cast<const Filter*>(nullptr), &std::as_const(filter)}) {
            SearchOptions options{.k = k, .filter = one};
            auto found = search({&view, 1}, metric, dimension, query.data(), options);
            options.exact = true;
            auto expected = search({&view, 1}, metric, dimension, query.data(), options);
            REQUIRE(found.size() == expected.size());
            // As near as the last of them is as good: many are equally near.
            size_t near = 0;
            for (const Hit& hit : found) near += hit.distance <= expected.back().distance;
            CHECK(static_cast<double>(near) >= 0.7 * static_cast<double>(found.size()));
            for (size_t i = 0; i < found.size(); ++i) {
              CHECK(!std::isnan(found[i].distance));
              if (i > 0) CHECK(found[i - 1].distance <= found[i].distance);
            }
          }
        }
        SearchOptions all{.k = n + 1, .filter = &filter};
        uint64_t matching = matching_rows({&view, 1}, filter).size();
        CHECK(matching > n / 4);
        CHECK(search({&view, 1}, metric, dimension, query.data(), all).size() == matching);
      }
    }
  }
}

TEST_CASE("k results come back whenever k rows match, after any number of deletes") {
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf}) {
    Model model(8, Metric::l2, kind, 14);
    for (uint64_t id = 0; id < 6000; ++id) model.upsert(id, model.random_vector());
    model.seal();
    std::vector<Filter> filters;
    for (int share : {1, 10, 100, 500, 950}) filters.push_back(per_thousand(share));
    std::vector<uint64_t> ids = model.ids();
    // Until two are left, each time some nine of ten.
    for (size_t left = ids.size(); left > 2;) {
      size_t keep = std::max<size_t>(2, left / 9);
      for (size_t i = keep; i < left; ++i) model.erase(ids[i]);
      left = keep;
      CAPTURE(left);
      REQUIRE(model.live() == left);
      for (uint32_t k : {1u, 10u, 100u, 10000u}) {
        auto query = model.random_vector();
        CHECK(model.search(query, {.k = k}).size() == std::min<size_t>(k, left));
        for (const Filter& filter : filters) {
          for (double min_recall : {0.0, 0.9}) {
            SearchOptions options{.k = k, .min_recall = min_recall, .filter = &filter};
            auto expected = model.expected(query, options);
            REQUIRE(model.search(query, options).size() == expected.size());
          }
        }
      }
    }
  }
}

TEST_CASE("The same search finds the same") {
  Model model(16, Metric::cosine, IndexKind::hnsw, 6);
  fill(model, 4000);
  Filter filter = per_thousand(200);
  for (int i = 0; i < 20; ++i) {
    auto query = model.random_vector();
    CHECK(model.search(query, {}) == model.search(query, {}));
    SearchOptions filtered{.filter = &filter};
    CHECK(model.search(query, filtered) == model.search(query, filtered));
  }
}

}  // namespace jade
