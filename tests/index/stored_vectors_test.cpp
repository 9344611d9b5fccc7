#include "index/stored_vectors.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "index/calibration.h"
#include "index/filter.h"
#include "index/growing_segment.h"
#include "index/hnsw_graph.h"
#include "index/recall.h"
#include "index/segment_builder.h"
#include "index/segment_io.h"
#include "index/shard_view.h"
#include "index/worker_pool.h"
#include "storage/vector_id.h"
#include "tests/index/disk_vectors.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

using Rows = std::shared_ptr<GrowingSegment>;

Rows make_rows(uint32_t n, uint32_t dimension, Metric metric, uint64_t first = 0,
               Datatype datatype = Datatype::float32) {
  std::mt19937 random(static_cast<uint32_t>(first + n));
  std::normal_distribution<float> normal;
  auto rows = std::make_shared<GrowingSegment>(dimension, metric, datatype);
  std::vector<float> vector(dimension);
  for (uint32_t i = 0; i < n; ++i) {
    for (float& value : vector) {
      value = 1 + normal(random);
      if (datatype == Datatype::uint8)
        value = std::clamp(std::round(99 + 40 * value), 0.0f, 255.0f);
    }
    rows->append(first + i, VectorId(first + i).key(), vector.data(),
                 "{\"n\":" + std::to_string(i % 500) + "}");
  }
  return rows;
}

BuildOptions options_of(uint32_t dimension, Metric metric, Quantization quantization) {
  BuildOptions options;
  options.dimension = dimension;
  options.metric = metric;
  options.index.ef_construction = 60;
  options.index.quantization = quantization;
  options.seed = 7;
  return options;
}

SegmentView view_of(std::shared_ptr<const SealedSegment> segment) {
  uint32_t rows = segment->rows();
  return {std::move(segment), nullptr, rows, 0};
}

// Each way to search a segment.
std::vector<SearchOptions> ways(const std::vector<Filter>& filters) {
  std::vector<SearchOptions> out(6);
  out[1].k = 50;
  out[2].exact = true;
  for (size_t i = 0; i < filters.size(); ++i) out[3 + i].filter = &filters[i];
  return out;
}

std::vector<Filter> some_filters() {
  std::vector<Filter> out;
  for (const char* text : {R"({"n":7})", R"({"n":{"$lt":40}})", R"({"n":{"$lt":400}})"}) {
    out.push_back(*parse_filter(text));
  }
  return out;
}

void check_same_hits(const SegmentView& a, const SegmentView& b) {
  const uint32_t dimension = a.segment->dimension();
  auto filters = some_filters();
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (int q = 0; q < 12; ++q) {
    std::vector<float> query(dimension);
    for (float& value : query) value = 1 + normal(random);
    if (q == 11) std::fill(query.begin(), query.end(), 1e5f);
    for (const SearchOptions& way : ways(filters)) {
      auto x = search_all({&a, 1}, a.segment->metric(), dimension, query, way);
      auto y = search_all({&b, 1}, b.segment->metric(), dimension, query, way);
      REQUIRE(x.ok());
      REQUIRE_MESSAGE(y.ok(), y.status().to_string());
      if (way.filter == nullptr) CHECK(x->front().size() == way.k);
      REQUIRE(*x == *y);
    }
  }
}

Result<std::shared_ptr<const SealedSegment>> segment_of(const std::string& bytes,
                                                        const OpenVectors& open) {
  size_t at = 0;
  return deserialize(
      bytes.size(),
      [&](char* out, size_t n) -> Result<size_t> {
        n = std::min(n, bytes.size() - at);
        std::memcpy(out, bytes.data() + at, n);
        at += n;
        return n;
      },
      open);
}

const Quantization kinds[] = {Quantization::sq8, Quantization::sq4, Quantization::rabitq,
                              Quantization::pq};

}  // namespace

TEST_CASE("A segment with its vectors on disk finds what one with them in memory does") {
  WorkerPool pool(3);
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    for (Quantization quantization : kinds) {
      CAPTURE(to_string(metric));
      CAPTURE(to_string(quantization));
      auto options = options_of(40, metric, quantization);
      auto rows = make_rows(5000, 40, metric);
      auto disk = std::make_shared<Disk>();
      auto memory = built({whole(rows)}, options);
      auto stored = built({whole(rows)}, on_disk(options, disk));
      REQUIRE(stored->stored() != nullptr);
      CHECK(stored->codes()->kind() == quantization);
      CHECK(stored->memory_bytes() + 5000 * 40 * 4 == memory->memory_bytes());
      check_same_hits(view_of(memory), view_of(stored));

      // And so once more from its bytes, for which no vector is read.
      std::string bytes = bytes_of(*stored);
      CHECK(bytes.size() < bytes_of(*memory).size());
      // Nor does it depend on who shares in building it.
      options.workers = &pool;
      CHECK(bytes_of(*built({whole(rows)}, on_disk(options, std::make_shared<Disk>()))) == bytes);
      size_t reads = disk->reads;
      auto opened = segment_of(bytes, [&](size_t row_bytes, uint32_t n) {
        CHECK(row_bytes == 40 * sizeof(float));
        CHECK(n == 5000);
        return Result<std::shared_ptr<const StoredVectors>>(
            std::make_shared<DiskVectors>(disk, row_bytes));
      });
      REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
      CHECK(disk->reads == reads);
      CHECK((*opened)->options() == stored->options());
      CHECK(bytes_of(**opened) == bytes);
      check_same_hits(view_of(memory), view_of(*opened));
    }
  }
}

TEST_CASE("An explanation counts the vectors that are read from disk") {
  for (Quantization quantization : kinds) {
    CAPTURE(to_string(quantization));
    auto options = options_of(40, Metric::l2, quantization);
    auto disk = std::make_shared<Disk>();
    auto stored = built({whole(make_rows(5000, 40, Metric::l2))}, on_disk(options, disk));
    SegmentView views[] = {view_of(stored), view_of(stored)};
    auto filters = some_filters();
    std::vector<float> query(40);
    REQUIRE(stored->read_vector(17, query.data()).ok());
    for (const SearchOptions& way : ways(filters)) {
      std::vector<SegmentExplanation> said;
      const size_t before = disk->rows_read;
      REQUIRE(search_all(views, Metric::l2, 40, query, way, &said).ok());
      REQUIRE(said.size() == 2);
      CHECK(said[0].distances_by_values + said[1].distances_by_values == disk->rows_read - before);
      for (const SegmentExplanation& one : said) {
        // Far fewer than there are.
        CHECK(one.rescored <= std::max<uint64_t>(stored->codes()->rescored_min(way.k), 5000 / 4));
        CHECK(one.distances_by_values ==
              (one.distances_by_codes > 0 ? one.rescored : one.rows_visited));
      }
    }
  }
}

TEST_CASE("Segments with vectors on disk are merged as those with them in memory are") {
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    for (Quantization quantization : kinds) {
      CAPTURE(to_string(metric));
      CAPTURE(to_string(quantization));
      auto options = options_of(24, metric, quantization);
      auto disk = std::make_shared<Disk>(), merged_disk = std::make_shared<Disk>();
      auto first = make_rows(3000, 24, metric), second = make_rows(1200, 24, metric, 3000);
      auto memory = built({whole(first)}, options);
      auto stored = built({whole(first)}, on_disk(options, disk));
      // Few of the rows are dead: the graph is extended, and keeps them. Many: it is not.
      for (uint32_t every : {7u, 2u}) {
        auto dead = std::make_shared<Bitmap>(3000);
        for (uint32_t row = 0; row < 3000; row += every) dead->set(row);
        *merged_disk = Disk();
        auto in_memory = built({whole(memory, dead), whole(second)}, options);
        auto on = on_disk(options, merged_disk);
        auto merged = built({whole(stored, dead), whole(second)}, on);
        REQUIRE(merged->stored() != nullptr);
        REQUIRE(merged->rows() == in_memory->rows());
        CHECK((merged->rows() == 4200) == (every == 7));
        std::vector<float> values(24);
        for (uint32_t row = 0; row < merged->rows(); ++row) {
          auto same = in_memory->find(merged->row_number(row));
          REQUIRE(same.has_value());
          // Only rows that are all in memory are put near together.
          if (every == 7) REQUIRE(*same == row);
          REQUIRE(merged->read_vector(row, values.data()).ok());
          REQUIRE(std::memcmp(values.data(), in_memory->vector(*same), 24 * sizeof(float)) == 0);
        }
        if (every == 7) check_same_hits(view_of(in_memory), view_of(merged));
        // Back into memory, as where the option were another.
        auto back = built({whole(merged)}, options);
        REQUIRE(back->stored() == nullptr);
        check_same_hits(view_of(merged), view_of(back));
      }
    }
  }
}

TEST_CASE("What searches find is measured alike where vectors are on disk") {
  auto rows = make_rows(3000, 24, Metric::l2);
  for (Quantization quantization : kinds) {
    CAPTURE(to_string(quantization));
    auto options = options_of(24, Metric::l2, quantization);
    auto disk = std::make_shared<Disk>();
    auto in_memory = built({whole(rows)}, options);
    auto stored = built({whole(rows)}, on_disk(options, disk));
    REQUIRE(calibrate(view_of(in_memory), 10).ok());
    disk->reads = 0;
    REQUIRE(calibrate(view_of(stored), 10).ok());
    const size_t needed = disk->reads;
    REQUIRE(needed > 0);
    const auto& expected = in_memory->calibration()->curves.front().points;
    const auto& points = stored->calibration()->curves.front().points;
    CHECK(points.back().recall > 0.9);
    REQUIRE(points.size() == expected.size());
    for (size_t i = 0; i < points.size(); ++i) {
      CHECK(points[i].effort == expected[i].effort);
      CHECK(points[i].recall == expected[i].recall);
      // Where it ends in a scan, that goes by codes first where values would have to be read.
      const bool scanned = expected[i].cost == 2999;
      CHECK((scanned ? points[i].cost >= 2999 : points[i].cost == expected[i].cost));
    }
    // Nothing is kept of one that fails.
    disk = std::make_shared<Disk>();
    auto again = built({whole(rows)}, on_disk(options, disk));
    for (size_t fails : {size_t{0}, size_t{300}, needed / 2, needed - 1}) {
      disk->reads = 0;
      disk->fails_from = fails;
      CHECK(calibrate(view_of(again), 10).code() == Code::corruption);
      CHECK(again->calibration() == nullptr);
    }
  }
}

TEST_CASE("A vector that cannot be read is a failure, never a wrong answer") {
  auto options = options_of(32, Metric::l2, Quantization::rabitq);
  auto rows = make_rows(3000, 32, Metric::l2);
  auto disk = std::make_shared<Disk>();
  auto stored = built({whole(rows)}, on_disk(options, disk));
  auto view = view_of(stored);
  auto filters = some_filters();
  std::vector<float> query(32, 1.0f);
  for (const SearchOptions& way : ways(filters)) {
    disk->reads = 0;
    auto whole_answer = search_all({&view, 1}, Metric::l2, 32, query, way);
    REQUIRE(whole_answer.ok());
    const size_t needed = disk->reads;
    REQUIRE(needed > 0);
    for (size_t fails : {size_t{0}, needed / 2, needed - 1}) {
      disk->reads = 0;
      disk->fails_from = fails;
      auto found = search_all({&view, 1}, Metric::l2, 32, query, way);
      REQUIRE(!found.ok());
      CHECK(found.status().code() == Code::corruption);
      CHECK(stored->stored()->damaged());
    }
    disk->fails_from = SIZE_MAX;
  }
  disk->reads = 0;
  disk->fails_from = 5;
  SearchOptions few;
  CHECK(measure_recall({&view, 1}, Metric::l2, 32, 10, few).status().code() == Code::corruption);

  // Builds: of what cannot be read, on a disk that cannot be written or read again.
  auto other = std::make_shared<Disk>();
  disk->reads = 0;
  CHECK(build_segment({whole(stored)}, on_disk(options, other)).status().code() ==
        Code::corruption);
  disk->fails_from = SIZE_MAX;
  *other = Disk();
  other->full = true;
  CHECK(build_segment({whole(stored)}, on_disk(options, other)).status().code() == Code::disk_full);
  for (Quantization quantization : kinds) {
    *other = Disk();
    options.index.quantization = quantization;
    REQUIRE(build_segment({whole(rows)}, on_disk(options, other)).ok());
    const size_t needed = other->reads;
    for (size_t fails = 0; fails < needed; fails += 1 + needed / 20) {
      *other = Disk();
      other->fails_from = fails;
      auto failed = build_segment({whole(rows)}, on_disk(options, other));
      REQUIRE(!failed.ok());
      CHECK(failed.status().code() == Code::corruption);
    }
  }
}

TEST_CASE("Vectors stay in memory where there are few, or no codes tell them apart") {
  auto options = options_of(16, Metric::l2, Quantization::rabitq);
  auto disk = std::make_shared<Disk>();
  auto few = built({whole(make_rows(900, 16, Metric::l2))}, on_disk(options, disk));
  CHECK(few->stored() == nullptr);
  CHECK(disk->numbers.empty());
  CHECK(few->options().vectors == VectorPlace::disk);

  auto equal = std::make_shared<GrowingSegment>(16, Metric::l2);
  std::vector<float> value(16, 0.5f);
  for (uint64_t i = 0; i < 1500; ++i) equal->append(i, VectorId(i).key(), value.data(), "");
  for (Quantization quantization : kinds) {
    *disk = Disk();
    options.index.quantization = quantization;
    auto same = built({whole(equal)}, on_disk(options, disk));
    CHECK(same->stored() == nullptr);
    CHECK(same->codes() == nullptr);
    auto view = view_of(same);
    CHECK(search({&view, 1}, Metric::l2, 16, value.data(), {}).size() == 10);
    auto again = segment_of(bytes_of(*same), nullptr);
    REQUIRE(again.ok());
    CHECK((*again)->options() == same->options());
  }
}

TEST_CASE("Vectors of float16 and uint8 on disk give what they give in memory") {
  for (Datatype datatype : {Datatype::float16, Datatype::uint8}) {
    for (Metric metric : {Metric::cosine, Metric::l2, Metric::dot}) {
      for (Quantization quantization : kinds) {
        CAPTURE(to_string(datatype));
        CAPTURE(to_string(metric));
        CAPTURE(to_string(quantization));
        auto options = options_of(37, metric, quantization);
        options.datatype = datatype;
        // Codes of pq need more rows to be made of.
        const uint32_t n = quantization == Quantization::pq ? 5000 : 1200;
        auto rows = make_rows(n, 37, metric, 0, datatype);
        auto memory = built({whole(rows)}, options);
        auto disk = std::make_shared<Disk>();
        auto stored = built({whole(rows)}, on_disk(options, disk));
        REQUIRE(stored->stored() != nullptr);
        // What is on disk is what was given, at two bytes or one a dimension.
        REQUIRE(disk->values.size() == n * 37 * element_bytes(datatype));
        CHECK(stored->codes()->kind() == quantization);
        const auto first = static_cast<uint32_t>(stored->row_number(0));
        CHECK(std::memcmp(disk->values.data(), rows->row(first), rows->format().row_bytes()) == 0);
        CHECK(stored->memory_bytes() + disk->values.size() <= memory->memory_bytes());
        check_same_hits(view_of(memory), view_of(stored));
        auto opened = segment_of(bytes_of(*stored), [&](size_t row_bytes, uint32_t) {
          CHECK(row_bytes == rows->format().row_bytes());
          return Result<std::shared_ptr<const StoredVectors>>(
              std::make_shared<DiskVectors>(disk, row_bytes));
        });
        REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
        check_same_hits(view_of(memory), view_of(*opened));
        // And merged with others, to disk again.
        auto more = std::make_shared<Disk>();
        auto others = make_rows(700, 37, metric, n, datatype);
        auto merged = built({whole(stored), whole(others)}, on_disk(options, more));
        check_same_hits(view_of(built({whole(memory), whole(others)}, options)), view_of(merged));
      }
    }
  }
}

TEST_CASE("Stored codes and vectors of a wrong kind or size are refused") {
  auto options = options_of(20, Metric::cosine, Quantization::rabitq);
  auto disk = std::make_shared<Disk>();
  auto stored = built({whole(make_rows(1500, 20, Metric::cosine))}, on_disk(options, disk));
  std::string bytes = bytes_of(*stored);
  OpenVectors open = [&](size_t row_bytes, uint32_t) {
    return Result<std::shared_ptr<const StoredVectors>>(
        std::make_shared<DiskVectors>(disk, row_bytes));
  };
  REQUIRE(segment_of(bytes, open).ok());
  CHECK(!segment_of(bytes, nullptr).ok());
  OpenVectors missing = [](size_t, uint32_t) {
    return Result<std::shared_ptr<const StoredVectors>>(corruption("not there"));
  };
  CHECK(segment_of(bytes, missing).status().message() == "not there");
  // Each byte of what version 3 added, at its place, and what it must not be.
  for (auto [at, value] : {std::pair(96, 0),
                           {96, 2},
                           {97, 2},
                           {98, 0},
                           {98, 2},
                           {99, 0},
                           {99, 1},
                           {99, 2},
                           {99, 9},
                           {104, 1},
                           {111, 1}}) {
    CAPTURE(at);
    std::string other = bytes;
    REQUIRE(other[static_cast<size_t>(at)] != static_cast<char>(value));
    other[static_cast<size_t>(at)] = static_cast<char>(value);
    auto read = segment_of(other, open);
    REQUIRE(!read.ok());
    CHECK(read.status().code() == Code::corruption);
  }
}

TEST_CASE("With vectors on disk a row of 768 dimensions takes less than an eighth of its values") {
  auto options = options_of(768, Metric::cosine, Quantization::rabitq);
  auto disk = std::make_shared<Disk>();
  auto stored = built({whole(make_rows(1200, 768, Metric::cosine))}, on_disk(options, disk));
  REQUIRE(stored->stored() != nullptr);
  // The graph, ids and metadata with its index included.
  CHECK(stored->memory_bytes() / 1200 < 768 * sizeof(float) / 8);
}

}  // namespace jade
