// How far walks go.
#include <doctest/doctest.h>

#include <algorithm>

#include <memory>
#include <random>
#include <vector>

#include "index/growing_segment.h"
#include "index/hnsw_search.h"
#include "index/intrinsic_dimension.h"
#include "index/shard_view.h"
#include "index/worker_pool.h"
#include "storage/vector_id.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

constexpr uint32_t dimension = 24;
using Vectors = std::vector<std::vector<float>>;

// Vectors that fill the first `filled` dimensions of a cube evenly.
Vectors cube(uint32_t n, uint32_t filled, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Vectors out(n, std::vector<float>(dimension));
  for (auto& vector : out) {
    for (uint32_t j = 0; j < filled; ++j) vector[j] = uniform(random);
  }
  return out;
}

// Clusters of different widths: near rows are many in some places and few in others.
Vectors uneven(uint32_t n, uint32_t seed) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  Vectors centres(40, std::vector<float>(dimension));
  for (auto& centre : centres) {
    for (float& value : centre) value = normal(random);
  }
  random.seed(seed);
  Vectors out(n, std::vector<float>(dimension));
  for (auto& vector : out) {
    uint32_t cluster = random() % centres.size();
    float width = cluster % 4 == 0 ? 1.0f : 0.4f;
    for (uint32_t j = 0; j < dimension; ++j) {
      vector[j] = centres[cluster][j] + width * normal(random);
    }
  }
  return out;
}

BuildOptions options_for(Metric metric, Workers* workers = nullptr) {
  BuildOptions options;
  options.metric = metric;
  options.dimension = dimension;
  options.index.kind = IndexKind::hnsw;
  options.index.m = 8;
  options.index.ef_construction = 80;
  options.workers = workers;
  return options;
}

std::shared_ptr<const SealedSegment> sealed(const Vectors& vectors, const BuildOptions& options) {
  auto rows = std::make_shared<GrowingSegment>(dimension, options.metric);
  for (const auto& vector : vectors) {
    uint64_t number = rows->rows();
    rows->append(number + 1, VectorId(number).key(), vector.data(), "");
  }
  return built({whole(rows)}, options);
}

SegmentView view_of(std::shared_ptr<const SealedSegment> segment) {
  uint32_t rows = segment->rows();
  return {std::move(segment), nullptr, rows, 0};
}

struct Outcome {
  double recall = 0;
  double compared = 0;  // rows a query, on the lowest level
};

Outcome outcome(const std::vector<SegmentView>& views, const Vectors& queries,
                const SearchOptions& options) {
  Outcome out;
  const Metric metric = views.front().segment->metric();
  for (const auto& query : queries) {
    SearchOptions exact = options;
    exact.exact = true;
    auto nearest = search(views, metric, dimension, query.data(), exact);
    std::vector<SegmentExplanation> explain;
    auto found = search_all(views, metric, dimension, query, options, &explain);
    REQUIRE(found.ok());
    REQUIRE(found->front().size() == nearest.size());
    for (const Hit& hit : found->front()) {
      out.recall += hit.distance <= nearest.back().distance ? 1 : 0;
    }
    for (const SegmentExplanation& of : explain) {
      CHECK_FALSE(of.fell_back);
      out.compared += static_cast<double>(of.rows_visited);
    }
  }
  out.recall /= static_cast<double>(queries.size() * options.k);
  out.compared /= static_cast<double>(queries.size());
  return out;
}

// The same without a horizon.
Outcome unbounded(const SealedSegment& segment, const Vectors& queries, size_t k, size_t ef) {
  Outcome out;
  WalkMemory memory;
  SegmentView view{std::shared_ptr<const Segment>(&segment, [](const Segment*) {}), nullptr,
                   segment.rows(), 0};
  SearchOptions exact{.k = static_cast<uint32_t>(k), .exact = true};
  for (const auto& query : queries) {
    auto nearest = search({&view, 1}, segment.metric(), dimension, query.data(), exact);
    REQUIRE(segment.codes()->encode(query.data(), memory.query));
    CodedRows rows(*segment.codes(), memory.query);
    Candidate start = descend(*segment.graph(), rows, 0, memory);
    REQUIRE(walk(
        *segment.graph(), rows, 0, start, ef, SIZE_MAX, [](uint32_t) { return true; }, memory));
    out.compared += static_cast<double>(memory.visited());
    for (const Hit& hit : nearest) {
      auto found = memory.beam.sorted();
      out.recall += std::any_of(found.begin(), found.end(),
                                [&](Candidate one) { return one.row() == hit.offset; })
                        ? 1
                        : 0;
    }
  }
  out.recall /= static_cast<double>(queries.size() * k);
  out.compared /= static_cast<double>(queries.size());
  return out;
}

}  // namespace

TEST_CASE("The intrinsic dimension is about that which rows fill") {
  for (Metric metric : {Metric::l2, Metric::cosine}) {
    CAPTURE(to_string(metric));
    // Of directions there is one dimension less.
    float filled = metric == Metric::cosine ? 5 : 6;
    float m = sealed(cube(8000, 6, 1), options_for(metric))->columns().intrinsic_dimension;
    CHECK(m > 0.75f * filled);
    CHECK(m < 1.25f * filled);
    // Near corners of a cube of many dimensions, where all is, there is less room.
    float many = sealed(cube(8000, 14, 1), options_for(metric))->columns().intrinsic_dimension;
    CHECK(many > 8);
    CHECK(many < 15);
  }
}

TEST_CASE("The intrinsic dimension is unknown where neighbours tell nothing") {
  CHECK(sealed(cube(900, 4, 1), options_for(Metric::l2))->columns().intrinsic_dimension == 0);
  Vectors equal(3000, std::vector<float>(dimension, 0.5f));
  CHECK(sealed(equal, options_for(Metric::l2))->columns().intrinsic_dimension == 0);
  // Each row is there twenty times.
  Vectors repeated;
  for (const auto& vector : cube(200, 8, 1)) repeated.insert(repeated.end(), 20, vector);
  CHECK(sealed(repeated, options_for(Metric::l2))->columns().intrinsic_dimension == 0);
  // Its walks go by another order than that of distances.
  CHECK(sealed(cube(3000, 8, 1), options_for(Metric::dot))->columns().intrinsic_dimension == 0);
}

TEST_CASE("The intrinsic dimension is the same by any number of threads, and kept") {
  Vectors vectors = cube(4000, 6, 3);
  auto alone = sealed(vectors, options_for(Metric::l2));
  WorkerPool pool(3);
  auto together = sealed(vectors, options_for(Metric::l2, &pool));
  CHECK(alone->columns().intrinsic_dimension > 0);
  CHECK(together->columns().intrinsic_dimension == alone->columns().intrinsic_dimension);
  std::string bytes = bytes_of(*alone);
  size_t at = 0;
  auto read = deserialize(bytes.size(), [&](char* out, size_t n) -> Result<size_t> {
    n = bytes.copy(out, n, at);
    at += n;
    return n;
  });
  REQUIRE(read.ok());
  CHECK((*read)->columns().intrinsic_dimension == alone->columns().intrinsic_dimension);
}

TEST_CASE("With a horizon fewer rows are compared for the same recall") {
  auto segment = sealed(uneven(20000, 1), options_for(Metric::l2));
  REQUIRE(segment->columns().intrinsic_dimension > 0);
  Vectors queries = uneven(200, 2);
  for (uint32_t ef : {24, 48, 96}) {
    CAPTURE(ef);
    Outcome bounded = outcome({view_of(segment)}, queries, {.k = 10, .ef_search = ef});
    Outcome plain = unbounded(*segment, queries, 10, ef);
    CHECK(bounded.recall >= plain.recall);
    CHECK(bounded.compared < 1.6 * plain.compared);
    // As much as that finds, with a beam of its own.
    size_t wider = ef;
    while (wider < 1000 && unbounded(*segment, queries, 10, wider).recall < bounded.recall) {
      wider += 8;
    }
    CHECK(bounded.compared < unbounded(*segment, queries, 10, wider).compared);
  }
}

TEST_CASE("Several segments find what one would, each with less effort") {
  constexpr uint32_t n = 24000;
  const Vectors vectors = uneven(n, 1), queries = uneven(100, 2);
  const BuildOptions options = options_for(Metric::l2);
  auto parts = [&](std::initializer_list<uint32_t> sizes) {
    std::vector<SegmentView> views;
    auto at = vectors.begin();
    for (uint32_t size : sizes) {
      views.push_back(view_of(sealed({at, at + size}, options)));
      at += size;
    }
    return views;
  };
  const auto one = parts({n});
  for (const auto& several : {parts({4000, 4000, 4000, 4000, 4000, 4000}), parts({21000, 3000})}) {
    for (uint32_t ef : {48, 96, 192}) {
      CAPTURE(ef);
      const SearchOptions search{.k = 10, .ef_search = ef};
      Outcome together = outcome(several, queries, search);
      CHECK(together.recall >= outcome(one, queries, search).recall - 0.005);
      double apart = 0;
      for (const SegmentView& view : several) apart += outcome({view}, queries, search).compared;
      CHECK(together.compared < 0.95 * apart);
    }
  }
}

TEST_CASE("Walks among rows of which many have died go as far") {
  auto segment = sealed(uneven(20000, 1), options_for(Metric::l2));
  auto dead = std::make_shared<Bitmap>(20000);
  for (uint32_t row = 0; row < 20000; ++row) {
    if (row % 3 != 0) dead->set(row);
  }
  SegmentView view{segment, dead, 20000, dead->count()};
  CHECK(outcome({view}, uneven(100, 2), {.k = 10, .ef_search = 64}).recall > 0.98);
}

TEST_CASE("Rows as near as the error of codes are found among others") {
  // Each query has 25 rows at about a step of the codes.
  Vectors vectors = uneven(20000, 1), queries = uneven(20, 2);
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-0.04f, 0.04f);
  for (const auto& query : queries) {
    for (int i = 0; i < 25; ++i) {
      vectors.push_back(query);
      for (float& value : vectors.back()) value += uniform(random);
    }
  }
  auto segment = sealed(vectors, options_for(Metric::l2));
  REQUIRE(segment->columns().intrinsic_dimension > 0);
  CHECK(outcome({view_of(segment)}, queries, {.k = 10, .ef_search = 16}).recall > 0.98);
}

}  // namespace jade
