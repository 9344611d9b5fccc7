#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "index/growing_segment.h"
#include "index/hnsw_graph.h"
#include "index/segment_builder.h"
#include "index/segment_io.h"
#include "index/shard_view.h"
#include "storage/crc32c.h"
#include "storage/vector_id.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

using Rows = std::shared_ptr<GrowingSegment>;

// Rows `first`, first + step, ... around a few centres.
Rows make_rows(uint32_t n, uint32_t dimension, Metric metric, uint64_t first = 0, uint64_t step = 1,
               bool text_ids = false) {
  std::mt19937 random(static_cast<uint32_t>(first * 7919 + n));
  std::normal_distribution<float> normal;
  std::vector<float> centres(size_t{20} * dimension);
  std::mt19937 fixed(5);
  for (float& value : centres) value = 3 * normal(fixed);
  auto rows = std::make_shared<GrowingSegment>(dimension, metric);
  std::vector<float> vector(dimension);
  for (uint32_t i = 0; i < n; ++i) {
    const float* centre = centres.data() + (random() % 20) * dimension;
    for (uint32_t j = 0; j < dimension; ++j) vector[j] = centre[j] + normal(random);
    uint64_t number = first + i * step;
    VectorId id = text_ids ? VectorId("row-" + std::to_string(number)) : VectorId(number);
    std::string metadata = i % 3 == 0 ? "" : "{\"n\":" + std::to_string(number % 10) + "}";
    rows->append(number, id.key(), vector.data(), metadata);
  }
  return rows;
}

BuildOptions small_options(uint32_t dimension, Metric metric, IndexKind kind = IndexKind::hnsw) {
  BuildOptions options;
  options.dimension = dimension;
  options.metric = metric;
  options.index.kind = kind;
  options.index.m = 8;
  options.index.ef_construction = 40;
  options.seed = 42;
  return options;
}

Result<std::shared_ptr<const SealedSegment>> segment_of(const std::string& bytes,
                                                        uint64_t size_claimed) {
  size_t at = 0;
  return deserialize(size_claimed, [&](char* out, size_t n) -> Result<size_t> {
    n = std::min(n, bytes.size() - at);
    std::memcpy(out, bytes.data() + at, n);
    at += n;
    return n;
  });
}

void check_same_row(const Segment& a, uint32_t i, const Segment& b, uint32_t j) {
  REQUIRE(a.row_number(i) == b.row_number(j));
  REQUIRE(a.id_key(i) == b.id_key(j));
  REQUIRE(a.metadata(i) == b.metadata(j));
  REQUIRE(std::memcmp(a.vector(i), b.vector(j), a.dimension() * sizeof(float)) == 0);
}

}  // namespace

TEST_CASE("A bitmap says what was newly set") {
  Bitmap bitmap(130);
  CHECK(bitmap.set(0));
  CHECK(bitmap.set(129));
  CHECK(!bitmap.set(129));
  CHECK(bitmap.test(129));
  CHECK(!bitmap.test(128));
  CHECK(bitmap.count() == 2);
  Bitmap copy = bitmap;
  copy.set(1);
  CHECK(bitmap.count() == 2);
  CHECK(Bitmap(0).count() == 0);
}

TEST_CASE("A growing segment keeps what it was given, at every block size") {
  for (uint32_t dimension : {1u, 3u, 5000u}) {
    GrowingSegment rows(dimension, Metric::l2);
    uint32_t n = dimension == 5000 ? 400 : 9000;
    std::vector<float> vector(dimension);
    std::vector<const float*> places;
    for (uint32_t i = 0; i < n; ++i) {
      vector[0] = static_cast<float>(i);
      vector[dimension - 1] = static_cast<float>(i);
      rows.append(10 + 3 * uint64_t{i}, VectorId(std::string(i % 50 + 1, 'x')).key(), vector.data(),
                  std::string(i % 7, '#'));
      places.push_back(rows.vector(i));
    }
    REQUIRE(rows.rows() == n);
    for (uint32_t i = 0; i < n; ++i) {
      REQUIRE(rows.row_number(i) == 10 + 3 * uint64_t{i});
      REQUIRE(rows.id_view(i).size() == i % 50 + 2);
      REQUIRE(rows.metadata(i) == std::string(i % 7, '#'));
      REQUIRE(rows.vector(i) == places[i]);  // did not move
      REQUIRE(rows.vector(i)[0] == static_cast<float>(i));
      REQUIRE(rows.vector(i)[dimension - 1] == static_cast<float>(i));
      REQUIRE(rows.find(10 + 3 * uint64_t{i}) == i);
    }
    CHECK(!rows.find(0));
    CHECK(!rows.find(11));
    CHECK(!rows.find(10 + 3 * uint64_t{n}));
  }
}

TEST_CASE("Rows are read while others are appended") {
  GrowingSegment rows(4, Metric::l2);
  constexpr uint32_t n = 20000;
  std::atomic<bool> wrong = false;
  std::thread reader([&] {
    for (uint32_t seen = 0; seen < n;) {
      uint32_t now = rows.rows();
      for (; seen < now; ++seen) {
        if (rows.vector(seen)[3] != static_cast<float>(seen) || rows.row_number(seen) != seen ||
            rows.metadata(seen) != std::to_string(seen)) {
          wrong = true;
        }
      }
    }
  });
  for (uint32_t i = 0; i < n; ++i) {
    float vector[4] = {0, 0, 0, static_cast<float>(i)};
    rows.append(i, VectorId(uint64_t{i}).key(), vector, std::to_string(i));
  }
  reader.join();
  CHECK(!wrong);
}

TEST_CASE("Vectors are of length 1 under cosine") {
  auto rows = make_rows(10, 7, Metric::cosine);
  for (uint32_t i = 0; i < 10; ++i) {
    float sum = 0;
    for (int j = 0; j < 7; ++j) sum += rows->vector(i)[j] * rows->vector(i)[j];
    CHECK(sum == doctest::Approx(1));
  }
}

TEST_CASE("A sealed segment holds the live, visible rows of its inputs") {
  auto a = make_rows(1500, 8, Metric::l2, 0);
  auto b = make_rows(700, 8, Metric::l2, 5000, 2, true);
  auto dead = std::make_shared<Bitmap>(a->rows());
  for (uint32_t i = 0; i < a->rows(); i += 4) dead->set(i);
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf, IndexKind::flat}) {
    auto built =
        build_segment({whole(a, dead), {b, nullptr, 600}}, small_options(8, Metric::l2, kind));
    REQUIRE(built.ok());
    const SealedSegment& sealed = **built;
    CHECK(sealed.kind() == kind);
    REQUIRE(sealed.rows() == 1125 + 600);
    for (uint32_t i = 0; i < a->rows(); ++i) {
      auto at = sealed.find(a->row_number(i));
      REQUIRE(at.has_value() == !dead->test(i));
      if (at) check_same_row(*a, i, sealed, *at);
    }
    for (uint32_t i = 0; i < b->rows(); ++i) {
      auto at = sealed.find(b->row_number(i));
      REQUIRE(at.has_value() == (i < 600));
      if (at) check_same_row(*b, i, sealed, *at);
    }
    CHECK(!sealed.find(1'000'000));
    CHECK(sealed.memory_bytes() >= sealed.rows() * 8 * sizeof(float));
  }
}

TEST_CASE("Few rows have no structure, and no rows are a segment too") {
  auto rows = make_rows(999, 4, Metric::dot);
  auto built = build_segment({whole(rows)}, small_options(4, Metric::dot));
  REQUIRE(built.ok());
  CHECK((*built)->kind() == IndexKind::flat);
  CHECK((*built)->rows() == 999);
  auto none = build_segment({}, small_options(4, Metric::dot));
  REQUIRE(none.ok());
  CHECK((*none)->rows() == 0);
  CHECK(!(*none)->find(0));
  std::string bytes = bytes_of(**none);
  REQUIRE(segment_of(bytes, bytes.size()).ok());
}

TEST_CASE("A build is given up when it is told to") {
  auto rows = make_rows(3000, 8, Metric::l2);
  std::atomic<bool> cancel = true;
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf, IndexKind::flat}) {
    BuildOptions options = small_options(8, Metric::l2, kind);
    options.cancel = &cancel;
    auto built = build_segment({whole(rows)}, options);
    REQUIRE(!built.ok());
    CHECK(built.status() == Status(Code::unavailable, "cancelled"));
  }
  auto other = build_segment({whole(rows)}, small_options(9, Metric::l2));
  CHECK(other.status().code() == Code::invalid_argument);
}

TEST_CASE("A merge begins with a copy of the largest graph") {
  auto a = make_rows(2000, 8, Metric::cosine, 10000);
  auto b = make_rows(500, 8, Metric::cosine, 0, 2);
  BuildOptions options = small_options(8, Metric::cosine);
  auto first = build_segment({whole(a)}, options);
  REQUIRE(first.ok());
  auto dead = std::make_shared<Bitmap>(2000);
  for (uint32_t i = 0; i < 300; ++i) dead->set(i);

  auto merged = build_segment({whole(b), whole(*first, dead)}, options);
  REQUIRE(merged.ok());
  const SealedSegment& out = **merged;
  REQUIRE(out.rows() == 2500);  // the dead ones stay
  CHECK(out.graph()->check().ok());
  for (uint32_t i = 0; i < 2000; ++i) {
    check_same_row(**first, i, out, i);
    REQUIRE(out.graph()->levels(i) == (*first)->graph()->levels(i));
    REQUIRE(out.find((*first)->row_number(i)) == i);
  }
  for (uint32_t i = 0; i < 500; ++i) {
    auto place = out.find(b->row_number(i));
    REQUIRE(place.has_value());
    REQUIRE(*place >= 2000);
    check_same_row(*b, i, out, *place);
  }
  CHECK(!out.find(1));

  // Not with other options, nor where much is dead, nor to get rid of the dead.
  BuildOptions wider = options;
  wider.index.m = 9;
  CHECK((*build_segment({whole(b), whole(*first, dead)}, wider))->rows() == 2200);
  CHECK((*build_segment({whole(*first, dead)}, options))->rows() == 1700);
  for (uint32_t i = 0; i < 400; ++i) dead->set(i);
  CHECK((*build_segment({whole(b), whole(*first, dead)}, options))->rows() == 2100);
}

TEST_CASE("Equal inputs and seeds give equal bytes, and bytes give the segment back") {
  int cases = 0;
  for (Metric metric : {Metric::cosine, Metric::l2, Metric::dot}) {
    for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf, IndexKind::flat}) {
      auto a = make_rows(1500, 12, metric, 5000);
      auto b = make_rows(300, 12, metric, 0, 1, true);
      BuildOptions options = small_options(12, metric, kind);
      options.index.quantization = static_cast<Quantization>(++cases % 3);
      auto base = build_segment({whole(a)}, options);
      REQUIRE(base.ok());
      auto once = build_segment({whole(*base), whole(b)}, options);
      auto again = build_segment({whole(*base), whole(b)}, options);
      REQUIRE(once.ok());
      std::string bytes = bytes_of(**once);
      CHECK(bytes == bytes_of(**again));

      auto back = segment_of(bytes, bytes.size());
      REQUIRE(back.ok());
      CHECK((*back)->kind() == kind);
      CHECK((*back)->metric() == metric);
      CHECK((*back)->options() == (*once)->options());
      IndexOptions given = (*back)->options();
      if (kind == IndexKind::ivf) given.nprobe = options.index.nprobe;  // as it was measured
      CHECK(given == options.index);
      REQUIRE((*back)->rows() == 1800);
      for (uint32_t i = 0; i < 1800; ++i) {
        check_same_row(**once, i, **back, i);
        REQUIRE((*back)->find((*once)->row_number(i)) == i);
      }
      CHECK(bytes_of(**back) == bytes);
      SegmentView before{*once, nullptr, 1800, 0}, after{*back, nullptr, 1800, 0};
      CHECK(search({&before, 1}, metric, 12, b->vector(7), {}) ==
            search({&after, 1}, metric, 12, b->vector(7), {}));

      if (kind == IndexKind::hnsw) {
        options.seed = 43;
        CHECK(bytes_of(**build_segment({whole(a)}, options)) != bytes_of(**base));
      }
    }
  }
}

TEST_CASE("Segments of version 3 are float32") {
  BuildOptions build = small_options(4, Metric::l2);
  auto built = build_segment({whole(make_rows(1100, 4, Metric::l2))}, build);
  REQUIRE(built.ok());
  std::string bytes = bytes_of(**built);
  auto read = [&](char version, char datatype) {
    bytes[8] = version;
    bytes[100] = datatype;
    uint32_t crc = crc32c(std::string_view(bytes).substr(0, bytes.size() - 4));
    std::memcpy(bytes.data() + bytes.size() - 4, &crc, 4);
    return segment_of(bytes, bytes.size());
  };
  REQUIRE(read(3, 0).ok());
  CHECK((*read(3, 0))->format() == (*built)->format());
  CHECK(bytes_of(**read(3, 0)) == bytes_of(**built));
  CHECK(!read(3, 1).ok());
  CHECK(read(4, 0).ok());
  CHECK(!read(4, 1).ok());
  CHECK(!read(4, 3).ok());
  CHECK(!read(5, 0).ok());
}

TEST_CASE("Segments of version 1, which had no quantization, are read as sq8; of 2 as they are") {
  BuildOptions build = small_options(4, Metric::l2);
  auto built = build_segment({whole(make_rows(1100, 4, Metric::l2))}, build);
  REQUIRE(built.ok());
  std::string bytes = bytes_of(**built);
  bytes.erase(96, 16);  // what version 3 added
  auto read = [&](uint32_t version, uint8_t quantization) {
    std::memcpy(bytes.data() + 8, &version, sizeof version);
    bytes[23] = static_cast<char>(quantization);
    uint32_t crc = crc32c(std::string_view(bytes).substr(0, bytes.size() - 4));
    std::memcpy(bytes.data() + bytes.size() - 4, &crc, 4);
    return segment_of(bytes, bytes.size());
  };
  REQUIRE(read(1, 0).ok());
  CHECK((*read(1, 0))->options() == build.index);
  CHECK((*read(1, 0))->codes()->kind() == Quantization::sq8);
  REQUIRE(read(2, 1).ok());
  CHECK((*read(2, 1))->options().quantization == Quantization::sq4);
  REQUIRE(read(2, 2).ok());
  CHECK((*read(2, 2))->codes() == nullptr);
  CHECK(!read(1, 1).ok());
  CHECK(!read(2, 3).ok());
  CHECK(!read(0, 0).ok());
  CHECK(!read(3, 0).ok());
}

// The checksum refuses nearly all damage; `repaired` makes it fit, so that the
// checks behind it are met as well.
void check_damaged(std::string bytes, bool repaired) {
  if (repaired) {
    uint32_t crc = crc32c(std::string_view(bytes).substr(0, bytes.size() - 4));
    std::memcpy(bytes.data() + bytes.size() - 4, &crc, 4);
  }
  auto segment = segment_of(bytes, bytes.size());
  if (!segment.ok()) {
    CHECK(segment.status().code() == Code::corruption);
    return;
  }
  std::vector<float> query((*segment)->dimension(), 0.5f);
  SegmentView view{*segment, nullptr, (*segment)->rows(), 0};
  SearchOptions options;
  size_t expected = std::min<size_t>(10, view.visible);
  CHECK(search({&view, 1}, (*segment)->metric(), (*segment)->dimension(), query.data(), options)
            .size() == expected);
  (void)(*segment)->find(17);
}

TEST_CASE("Damaged bytes are refused, or searched without harm") {
  auto rows = make_rows(1100, 4, Metric::l2, 0, 1, true);
  std::mt19937 random(9);
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf, IndexKind::flat}) {
    BuildOptions build = small_options(4, Metric::l2, kind);
    build.index.m = 4;
    auto built = build_segment({whole(rows)}, build);
    REQUIRE(built.ok());
    const std::string bytes = bytes_of(**built);
    for (int i = 0; i < 400; ++i) {
      std::string flipped = bytes;
      // Half of them in the header.
      size_t at = random() % (i % 2 == 0 ? 104 : bytes.size());
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << random() % 8));
      if (at < bytes.size() - 4) {
        CHECK(!segment_of(flipped, flipped.size()).ok());
      }
      check_damaged(flipped, true);

      std::string noise = bytes;
      at = random() % (bytes.size() - 8);
      for (size_t j = 0; j < 8; ++j) noise[at + j] = static_cast<char>(random());
      check_damaged(noise, true);

      size_t kept = random() % bytes.size();
      CHECK(!segment_of(bytes.substr(0, kept), kept).ok());
      CHECK(!segment_of(bytes.substr(0, kept), bytes.size()).ok());
    }
    CHECK(!segment_of(bytes + "x", bytes.size() + 1).ok());
    CHECK(!segment_of(bytes, UINT64_MAX).ok());
    CHECK(!segment_of(std::string(bytes.size(), '\xff'), bytes.size()).ok());
  }
}

TEST_CASE("A failure of the sink or the source is handed on") {
  auto rows = make_rows(50, 4, Metric::l2);
  auto built = build_segment({whole(rows)}, small_options(4, Metric::l2));
  REQUIRE(built.ok());
  Status full(Code::disk_full, "full");
  CHECK(serialize(**built, [&](std::string_view) { return full; }) == full);
  Status broken(Code::io_error, "broken");
  auto read = deserialize(1000, [&](char*, size_t) -> Result<size_t> { return broken; });
  CHECK(read.status() == broken);
}

}  // namespace jade
