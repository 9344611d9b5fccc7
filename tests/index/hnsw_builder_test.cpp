// Graphs that several threads build.
#include "index/hnsw_builder.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "index/calibration.h"
#include "index/growing_segment.h"
#include "index/kernels.h"
#include "index/product_codes.h"
#include "index/segment_builder.h"
#include "index/segment_io.h"
#include "index/shard_view.h"
#include "index/worker_pool.h"
#include "storage/vector_id.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

using Rows = std::shared_ptr<GrowingSegment>;

// Around `clusters` centres, one cluster after another.
Rows clustered(uint32_t n, uint32_t dimension, Metric metric, uint32_t clusters,
               Datatype datatype = Datatype::float32, float width = 1) {
  std::mt19937 random(n + clusters);
  std::normal_distribution<float> normal;
  auto rows = std::make_shared<GrowingSegment>(dimension, metric, datatype);
  std::vector<float> centre(dimension), vector(dimension);
  for (uint32_t i = 0; i < n; ++i) {
    if (i % std::max(1u, n / clusters) == 0) {
      for (float& value : centre) value = 3 * normal(random);
    }
    for (uint32_t j = 0; j < dimension; ++j) {
      vector[j] = centre[j] + width * normal(random);
      if (datatype == Datatype::uint8) {
        vector[j] = std::clamp(std::round(100 + 10 * vector[j]), 0.0f, 255.0f);
      }
    }
    rows->append(i + 1, VectorId(uint64_t{i}).key(), vector.data(), "");
  }
  return rows;
}

BuildOptions options_for(const Rows& rows, Workers* workers = nullptr) {
  BuildOptions options;
  options.metric = rows->metric();
  options.dimension = rows->dimension();
  options.datatype = rows->format().datatype();
  options.index.kind = IndexKind::hnsw;
  options.index.m = 8;
  options.index.ef_construction = 60;
  options.seed = 3;
  options.workers = workers;
  return options;
}

// The share of the ten nearest of every `step`th row, itself among them, that is found.
double recall(const SealedSegment& segment, uint32_t step, uint32_t ef) {
  auto shared = std::shared_ptr<const Segment>(&segment, [](const Segment*) {});
  SegmentView view{shared, nullptr, segment.rows(), 0};
  double found = 0;
  uint32_t wanted = 0;
  for (uint32_t row = 0; row < segment.rows(); row += step) {
    std::vector<float> query(segment.dimension());
    REQUIRE(segment.read_vector(row, query.data()).ok());
    auto near =
        search({&view, 1}, segment.metric(), segment.dimension(), query.data(), {.ef_search = ef});
    auto exact =
        search({&view, 1}, segment.metric(), segment.dimension(), query.data(), {.exact = true});
    for (const Hit& hit : near) found += hit.distance <= exact.back().distance ? 1 : 0;
    wanted += static_cast<uint32_t>(exact.size());
  }
  return found / wanted;
}

// One of `kinds` unit vectors for each row, in an order by chance.
Rows unit_vectors(uint32_t n, uint32_t kinds, Metric metric, uint32_t seed) {
  std::mt19937 random(seed);
  auto rows = std::make_shared<GrowingSegment>(kinds, metric);
  for (uint32_t i = 0; i < n; ++i) {
    std::vector<float> vector(kinds);
    vector[random() % kinds] = 1;
    rows->append(seed * 1'000'000 + i + 1, VectorId(uint64_t{i}).key(), vector.data(), "");
  }
  return rows;
}

}  // namespace

TEST_CASE("Of rows that are equal many are found, and those that are not among them") {
  WorkerPool pool(2);
  constexpr uint32_t kinds = 64;
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    CAPTURE(to_string(metric));
    auto rows = unit_vectors(12000, kinds, metric, 1);
    BuildOptions options = options_for(rows, &pool);
    auto segment = built({whole(rows)}, options);
    // How many kinds are found, and how many of each.
    auto check = [&](const SealedSegment& searched, const Filter* filter, size_t least) {
      auto shared = std::shared_ptr<const Segment>(&searched, [](const Segment*) {});
      SegmentView view{shared, nullptr, searched.rows(), 0};
      size_t found = 0;
      for (uint32_t kind = 0; kind < kinds; ++kind) {
        std::vector<float> query(kinds);
        query[kind] = 1;
        auto hits = search({&view, 1}, metric, kinds, query.data(),
                           {.k = 100, .ef_search = 128, .filter = filter});
        auto exact = search({&view, 1}, metric, kinds, query.data(),
                            {.k = 100, .filter = filter, .exact = true});
        REQUIRE(hits.size() == exact.size());
        bool all = true;
        for (size_t i = 0; i < hits.size(); ++i) all &= hits[i].distance <= exact[i].distance;
        found += all ? 1 : 0;
      }
      CHECK(found >= least);
    };
    check(*segment, nullptr, kinds);
    // A merge goes on with the graph that there is.
    auto more = unit_vectors(2000, kinds, metric, 2);
    auto merged = built({whole(segment), whole(more)}, options);
    CHECK(merged->rows() == 14000);
    check(*merged, nullptr, kinds);
  }
}

// Of each kind, no more rows than it needs, as these are many builds.
struct BuildCase {
  Metric metric;
  Datatype datatype;
  Quantization quantization;
  IndexKind kind;
  float width;  // tiny: rows that codes cannot tell apart are linked by their values
};
const BuildCase build_cases[] = {
    {Metric::l2, Datatype::float32, Quantization::sq8, IndexKind::hnsw, 1},
    {Metric::cosine, Datatype::float32, Quantization::sq4, IndexKind::hnsw, 1},
    {Metric::dot, Datatype::float16, Quantization::rabitq, IndexKind::hnsw, 1},
    {Metric::l2, Datatype::uint8, Quantization::none, IndexKind::hnsw, 1},
    {Metric::l2, Datatype::float32, Quantization::pq, IndexKind::hnsw, 1},
    {Metric::l2, Datatype::float16, Quantization::sq8, IndexKind::hnsw, 1e-2f},
    {Metric::dot, Datatype::float32, Quantization::sq8, IndexKind::hnsw, 1e-4f},
    {Metric::l2, Datatype::float32, Quantization::sq8, IndexKind::ivf, 1},
    {Metric::l2, Datatype::uint8, Quantization::sq8, IndexKind::ivf, 1}};

// Of a segment of so many rows, and of what it becomes with 400 more.
struct BuiltBytes {
  std::string alone, merged;
};
BuiltBytes built_bytes(const BuildCase& one, Workers* workers) {
  const uint32_t n = one.quantization == Quantization::pq ? ProductCodes::rows_min : 2500;
  auto rows = clustered(n, 24, one.metric, 40, one.datatype, one.width);
  auto more = clustered(400, 24, one.metric, 3, one.datatype, one.width);
  BuildOptions options = options_for(rows, workers);
  options.index.quantization = one.quantization;
  options.index.kind = one.kind;
  auto alone = built({whole(rows)}, options);
  // A merge goes on with the graph that there is.
  return {bytes_of(*alone), bytes_of(*built({whole(alone), whole(more)}, options))};
}

TEST_CASE("However many threads build a segment, it is the same byte for byte") {
  WorkerPool two(2), seven(7);
  for (const BuildCase& one : build_cases) {
    CAPTURE(to_string(one.metric));
    CAPTURE(to_string(one.datatype));
    CAPTURE(to_string(one.quantization));
    CAPTURE(to_string(one.kind));
    const BuiltBytes expected = built_bytes(one, nullptr);
    for (WorkerPool* pool : {&two, &seven}) {
      CAPTURE(pool->count());
      const BuiltBytes bytes = built_bytes(one, pool);
      CHECK((bytes.alone == expected.alone));
      CHECK((bytes.merged == expected.merged));
    }
  }
}

TEST_CASE("Whatever kernels a processor has, segments are the same byte for byte") {
  for (const BuildCase& one : build_cases) {
    CAPTURE(to_string(one.metric));
    CAPTURE(to_string(one.datatype));
    CAPTURE(to_string(one.quantization));
    CAPTURE(to_string(one.kind));
    CAPTURE(one.width);
    const BuiltBytes expected = built_bytes(one, nullptr);
    for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
      // Values are compared by sums that only processors with AVX2 agree in.
      const bool by_values = one.width < 1e-3f;
      if (kernels_at(level) == nullptr || (by_values && level == SimdLevel::portable)) continue;
      CAPTURE(to_string(level));
      OtherKernels other(level);
      const BuiltBytes bytes = built_bytes(one, nullptr);
      CHECK((bytes.alone == expected.alone));
      CHECK((bytes.merged == expected.merged));
    }
  }
}

TEST_CASE("Links lead to rows of their level, none twice and none to itself") {
  WorkerPool pool(3);
  auto rows = clustered(5000, 16, Metric::l2, 50);
  auto segment = built({whole(rows)}, options_for(rows, &pool));
  const HnswGraph& graph = *segment->graph();
  CHECK(graph.check().ok());
  std::vector<bool> reached(graph.rows());
  for (uint32_t row = 0; row < graph.rows(); ++row) {
    for (uint32_t level = 0; level < graph.levels(row); ++level) {
      std::set<int32_t> seen;
      bool ended = false;
      for (int32_t link : graph.links(row, level)) {
        // The first that is negative ends them.
        REQUIRE((link < 0 || !ended));
        ended = link < 0;
        if (ended) continue;
        REQUIRE(link != static_cast<int32_t>(row));
        REQUIRE(seen.insert(link).second);
        if (level == 0) reached[static_cast<uint32_t>(link)] = true;
      }
    }
  }
  // Of those that no link leads to, there are hardly any.
  CHECK(std::count(reached.begin(), reached.end(), false) < 5);
}

TEST_CASE("Rows that come cluster by cluster, or are equal, are found") {
  WorkerPool pool(2);
  // So that a batch has many of one cluster, and clusters begin with a batch.
  for (auto [clusters, least] : {std::pair(3u, 0.985), {40u, 0.998}, {1000u, 0.998}}) {
    CAPTURE(clusters);
    auto rows = clustered(12000, 16, Metric::l2, clusters, Datatype::float32, 0.3f);
    auto segment = built({whole(rows)}, options_for(rows, &pool));
    CHECK(recall(*segment, 60, 64) >= least);
  }

  // Every row 8 times, one after another.
  auto once = clustered(1500, 16, Metric::l2, 20);
  auto rows = std::make_shared<GrowingSegment>(16, Metric::l2);
  for (uint32_t i = 0; i < 12000; ++i) {
    rows->append(i + 1, VectorId(uint64_t{i}).key(), once->vector(i / 8), "");
  }
  auto segment = built({whole(rows)}, options_for(rows, &pool));
  CHECK(recall(*segment, 60, 64) >= 0.98);

  std::vector<float> same(16, 2.5f);
  auto equal = std::make_shared<GrowingSegment>(16, Metric::l2);
  for (uint32_t i = 0; i < 10000; ++i) {
    equal->append(i + 1, VectorId(uint64_t{i}).key(), same.data(), "");
  }
  segment = built({whole(equal)}, options_for(equal, &pool));
  CHECK(recall(*segment, 500, 64) == 1);
}

TEST_CASE("A build that several share is given up when it is told to") {
  auto rows = clustered(20000, 32, Metric::l2, 20);
  std::atomic<bool> cancel = false;
  // Wishes for the end after so many ranges; nobody is asked for anything after that.
  class Counting final : public Workers {
   public:
    Counting(Workers& real, std::atomic<bool>& cancel, int last)
        : real_(real), cancel_(cancel), left_(last) {}
    uint32_t count() const override { return real_.count(); }
    void run(size_t n, size_t step, const Work& work) override {
      if (cancel_) ++begun_after;
      real_.run(n, step, [&](uint32_t worker, size_t begin, size_t end) {
        if (--left_ == 0) cancel_ = true;
        work(worker, begin, end);
      });
    }
    int begun_after = 0;

   private:
    Workers& real_;
    std::atomic<bool>& cancel_;
    std::atomic<int> left_;
  };
  WorkerPool pool(3);
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf}) {
    CAPTURE(to_string(kind));
    cancel = false;
    Counting counting(pool, cancel, 200);
    BuildOptions options = options_for(rows, &counting);
    options.index.kind = kind;
    options.cancel = &cancel;
    auto built = build_segment({whole(rows)}, options);
    REQUIRE(!built.ok());
    CHECK(built.status() == Status(Code::unavailable, "cancelled"));
    CHECK(counting.begun_after <= 1);
  }
}

TEST_CASE("What a calibration finds does not depend on how many share it") {
  WorkerPool pool(4);
  auto rows = clustered(6000, 16, Metric::l2, 30);
  for (IndexKind kind : {IndexKind::hnsw, IndexKind::ivf}) {
    BuildOptions options = options_for(rows);
    options.index.kind = kind;
    auto alone = built({whole(rows)}, options), shared = built({whole(rows)}, options);
    REQUIRE(calibrate({alone, nullptr, alone->rows(), 0}, 10).ok());
    SegmentView view{shared, nullptr, shared->rows(), 0};
    // Stopped at any question, it leaves nothing.
    for (uint64_t last : {1u, 3u, 40u, 200u}) {
      uint64_t asked = 0;
      Stopper stop([&] { return ++asked >= last; });
      CHECK(calibrate(view, 10, &stop, &pool).ok());
      CHECK((stop.stopped() == (shared->calibration() == nullptr)));
      if (!stop.stopped()) break;
    }
    Stopper never([] { return false; });
    REQUIRE(calibrate(view, 10, &never, &pool).ok());
    const auto& expected = alone->calibration()->curves.front().points;
    const auto& points = shared->calibration()->curves.front().points;
    REQUIRE(points.size() == expected.size());
    for (size_t i = 0; i < points.size(); ++i) {
      CHECK(points[i].effort == expected[i].effort);
      CHECK(points[i].recall == expected[i].recall);
      CHECK(points[i].least == expected[i].least);
      CHECK(points[i].cost == expected[i].cost);
    }
  }
}

}  // namespace jade
