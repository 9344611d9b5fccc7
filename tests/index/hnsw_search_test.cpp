#include "index/hnsw_search.h"

#include <doctest/doctest.h>

#include "index/growing_segment.h"
#include "index/random.h"
#include "index/shard_view.h"
#include "storage/vector_id.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

constexpr uint32_t rows_count = 20'000, dimension = 8;

std::shared_ptr<const SealedSegment> graph_of_random_rows() {
  Random random(11);
  auto growing = std::make_shared<GrowingSegment>(dimension, Metric::l2, Datatype::float32,
                                                  GrowingSegment::never_listed);
  std::vector<float> row(dimension);
  for (uint64_t i = 0; i < rows_count; ++i) {
    for (float& value : row) value = static_cast<float>(random.unit());
    growing->append(i + 1, VectorId(i).key(), row.data(), "");
  }
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = dimension;
  build.seed = 1;
  return built({whole(growing)}, build);
}

}  // namespace

TEST_CASE("a walk that remembers only the latest rows collects what one that knows all does") {
  auto segment = graph_of_random_rows();
  const HnswGraph& graph = *segment->graph();
  Random random(12);
  WalkMemory all, latest;
  size_t again = 0;
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    std::vector<float> query(dimension);
    for (float& value : query) value = static_cast<float>(random.unit());
    RowDistance distance(segment->format(), query.data());
    ExactRows rows(segment->row(0), segment->scales(), distance);
    const Candidate start = descend(graph, rows, 0, all);
    const auto width = 1 + random.below(32);
    auto any = [](uint32_t) { return true; };
    REQUIRE(walk(graph, rows, 0, start, width, SIZE_MAX, any, all));
    REQUIRE(walk(graph, rows, 0, start, width, SIZE_MAX, EveryRow(), latest));
    const auto expected = all.beam.sorted(), found = latest.beam.sorted();
    CHECK(std::equal(expected.begin(), expected.end(), found.begin(), found.end()));
    REQUIRE(latest.visited() >= all.visited());
    again += latest.visited() - all.visited();
  }
  // Else nothing was shown.
  CHECK(again > 1000);
}

TEST_CASE("a row that is left out is not found, however short the walk") {
  uint64_t walks = 0;
  Random random(13);
  auto growing = std::make_shared<GrowingSegment>(3, Metric::l2, Datatype::float32,
                                                  GrowingSegment::never_listed);
  std::vector<std::vector<float>> rows;
  for (uint64_t i = 0; i < 4000; ++i) {
    std::vector<float>& row = rows.emplace_back();
    for (int j = 0; j < 3; ++j) row.push_back(static_cast<float>(random.unit()));
    growing->append(i + 1, VectorId(i).key(), rows.back().data(), "");
  }
  BuildOptions build;
  build.metric = Metric::l2;
  build.dimension = 3;
  build.seed = 1;
  build.index.m = 4;
  auto segment = built({whole(growing)}, build);
  SegmentView view{segment, nullptr, segment->rows(), 0};
  for (uint32_t row = 0; row < segment->rows(); ++row) {
    const uint32_t number = static_cast<uint32_t>(segment->row_number(row)) - 1;
    SearchOptions options{.k = 10, .ef_search = 1};
    options.left_out = {0, row};
    std::vector<SegmentExplanation> explained;
    auto found = search_all({&view, 1}, Metric::l2, 3, rows[number], options, &explained);
    REQUIRE(found.ok());
    walks += explained.front().plan == SegmentPlan::walk && !explained.front().fell_back ? 1 : 0;
    for (const Hit& hit : found->front()) CHECK(hit.offset != row);
  }
  CHECK(walks > 3000);
}

TEST_CASE("a walk remembers all rows where the graph is small or its beam wide") {
  WalkMemory memory;
  CHECK(memory.reset_recent(1'000'000, 128));
  CHECK(memory.visited() == 0);
  CHECK(memory.visit_recent(7));
  CHECK_FALSE(memory.visit_recent(7));
  CHECK(memory.visited() == 1);
  CHECK_FALSE(memory.reset_recent(1000, 10));
  CHECK_FALSE(memory.reset_recent(100'000, 1000));
}

TEST_CASE("a beam takes what it has only once, taken or not") {
  Beam beam;
  beam.reset(3);
  for (uint32_t row : {3u, 1u, 2u}) beam.insert(Candidate(1, row));
  beam.take_next();  // row 1
  for (uint32_t row : {1u, 2u, 3u}) {
    CAPTURE(row);
    REQUIRE(beam.wants(Candidate(1, row)) == (row < 3));
    if (row < 3) beam.insert(Candidate(1, row));
    std::vector<uint32_t> held;
    for (Candidate candidate : beam.sorted()) held.push_back(candidate.row());
    CHECK(held == std::vector<uint32_t>{1, 2, 3});
    CHECK(beam.next()->row() == 2);
  }
}

}  // namespace jade
