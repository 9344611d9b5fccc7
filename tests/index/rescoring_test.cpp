// Rows that their codes hide are found: by wider beams, by scans, and where a recall is asked for.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "index/growing_segment.h"
#include "index/shard_view.h"
#include "storage/vector_id.h"
#include "tests/index/disk_vectors.h"
#include "tests/index/segments.h"

namespace jade {
namespace {

using Random = std::mt19937;

// Vectors whose neighbours are told badly by small codes.
struct Hard {
  const char* name;
  Metric metric;
  Quantization quantization;
  uint32_t dimension;
  void (*fill)(std::vector<float>& vector, Random& random);
};

void normal(std::vector<float>& vector, Random& random) {
  std::normal_distribution<float> numbers;
  for (float& value : vector) value = numbers(random);
}
template <int power>
void scaled(std::vector<float>& vector, Random& random) {
  normal(vector, random);
  for (float& value : vector) value *= static_cast<float>(std::pow(10.0, power));
}
// What tells their products apart is one dimension, which codes keep as badly as others.
void shifted_sphere(std::vector<float>& vector, Random& random) {
  normal(vector, random);
  normalise(vector.data(), vector.size());
  vector[0] += 3;
}
void shifted_sphere_anyway(std::vector<float>& vector, Random& random) {
  normal(vector, random);
  normalise(vector.data(), vector.size());
  for (float& value : vector) value += 1;
}
// Neighbours are nearer than what codes are off.
void narrow_clusters(std::vector<float>& vector, Random& random) {
  Random centre(random() % 5);
  normal(vector, centre);
  std::normal_distribution<float> numbers(0, 1e-4f);
  for (float& value : vector) value += numbers(random);
}

const Hard all_hard[] = {
    {"sphere, 12", Metric::dot, Quantization::pq, 12, shifted_sphere},
    {"sphere, 32", Metric::dot, Quantization::rabitq, 32, shifted_sphere_anyway},
    {"tiny, 16", Metric::l2, Quantization::rabitq, 16, scaled<-15>},
    {"clusters, 16", Metric::cosine, Quantization::pq, 16, narrow_clusters},
    {"normal, 64", Metric::l2, Quantization::pq, 64, normal},
    {"normal, 48", Metric::cosine, Quantization::rabitq, 48, normal},
};
constexpr uint32_t rows = 8000;
constexpr uint32_t queries = 50;

class Data {
 public:
  explicit Data(const Hard& hard)
      : hard_(hard), rows_(std::make_shared<GrowingSegment>(hard.dimension, hard.metric)) {
    Random random(5);
    std::vector<float> vector(hard.dimension);
    for (uint32_t i = 0; i < rows; ++i) {
      hard.fill(vector, random);
      rows_->append(i, VectorId(uint64_t{i}).key(), vector.data(),
                    "{\"m\":" + std::to_string(random() % 1000) + "}");
    }
    for (uint32_t i = 0; i < queries; ++i) {
      hard.fill(vector, random);
      queries_.insert(queries_.end(), vector.begin(), vector.end());
    }
  }
  SegmentView build(std::shared_ptr<Disk> disk = nullptr) const {
    BuildOptions options;
    options.dimension = hard_.dimension;
    options.metric = hard_.metric;
    options.index.quantization = hard_.quantization;
    auto segment = built({whole(rows_)}, disk ? on_disk(options, disk) : options);
    REQUIRE(segment->codes());
    REQUIRE(segment->codes()->kind() == hard_.quantization);
    return {segment, nullptr, rows, 0};
  }
  // `explained`: of each query.
  double recall(const SegmentView& view, SearchOptions options,
                std::vector<SegmentExplanation>* explained = nullptr) const {
    auto found =
        search_all({&view, 1}, hard_.metric, hard_.dimension, queries_, options, explained);
    options.exact = true;
    auto exact = search_all({&view, 1}, hard_.metric, hard_.dimension, queries_, options);
    REQUIRE(found.ok());
    REQUIRE(exact.ok());
    double hits = 0, all = 0;
    for (size_t q = 0; q < exact->size(); ++q) {
      const auto& best = (*exact)[q];
      all += static_cast<double>(best.size());
      for (const Hit& hit : (*found)[q]) hits += hit.distance <= best.back().distance ? 1 : 0;
    }
    return hits / all;
  }

 private:
  const Hard& hard_;
  std::shared_ptr<GrowingSegment> rows_;
  std::vector<float> queries_;
};

}  // namespace

TEST_CASE("However coarse codes are, a wider beam finds more, and in the end all") {
  for (const Hard& hard : all_hard) {
    CAPTURE(hard.name);
    Data data(hard);
    SegmentView view = data.build();
    double before = 0;
    for (uint32_t ef : {16u, 64u, 256u}) {
      double recall = data.recall(view, {.ef_search = ef});
      CHECK(recall > before - 0.005);
      before = recall;
    }
    CHECK(data.recall(view, {.ef_search = 1000}) >= 0.99);
    CHECK(data.recall(view, {.ef_search = 10000}) >= 0.999);
    CHECK(data.recall(view, {.k = 1, .ef_search = 2000}) >= 0.99);
    CHECK(data.recall(view, {.k = 100, .ef_search = 2000}) >= 0.99);
  }
}

TEST_CASE("How many rows a walk compares by values grows with its beam") {
  // Here the error of codes is many times what tells neighbours apart.
  const Hard& hard = all_hard[0];
  Data data(hard);
  SegmentView view = data.build();
  // Nearly each is a walk, as the rows are few.
  for (uint32_t ef : {64u, 128u, 200u}) {
    std::vector<SegmentExplanation> explained;
    data.recall(view, {.ef_search = ef}, &explained);
    for (const SegmentExplanation& one : explained) {
      CHECK(one.plan == SegmentPlan::walk);
      CHECK(one.rescored > ef / 2);
      CHECK(one.rescored <= ef);
    }
  }
}

TEST_CASE("A scan of what matches, or of all, by codes finds what an exact one does") {
  for (const Hard& hard : all_hard) {
    CAPTURE(hard.name);
    Data data(hard);
    auto disk = std::make_shared<Disk>();
    for (const SegmentView& view : {data.build(), data.build(disk)}) {
      for (uint32_t below : {30u, 100u, 200u}) {
        CAPTURE(below);
        Filter filter = *parse_filter("{\"m\":{\"$lt\":" + std::to_string(below) + "}}");
        std::vector<SegmentExplanation> explained;
        CHECK(data.recall(view, {.filter = &filter}, &explained) >= 0.995);
        for (const auto& one : explained) {
          CHECK(one.plan == SegmentPlan::matching_rows);
          CHECK(one.distances_by_codes + one.distances_by_values >= one.matching);
          if (one.distances_by_codes > 0) CHECK(one.distances_by_values == one.rescored);
        }
        CHECK(data.recall(view, {.k = 100, .filter = &filter}) >= 0.995);
      }
      std::vector<SegmentExplanation> explained;
      CHECK(data.recall(view, {.ef_search = 10000}, &explained) >= 0.995);
      for (const auto& one : explained) CHECK(one.plan == SegmentPlan::scan);
    }
  }
}

TEST_CASE("Where codes tell rows apart, a scan by them reads few vectors") {
  for (Quantization quantization :
       {Quantization::sq8, Quantization::sq4, Quantization::pq, Quantization::rabitq}) {
    CAPTURE(to_string(quantization));
    const Hard easy{"normal, 16", Metric::l2, quantization, 16, normal};
    Data data(easy);
    SegmentView view = data.build(std::make_shared<Disk>());
    std::vector<SegmentExplanation> explained;
    CHECK(data.recall(view, {.ef_search = 10000}, &explained) >= 0.995);
    uint64_t read = 0;
    for (const auto& one : explained) read += one.distances_by_values;
    CHECK(read / queries < rows / 20);
  }
}

TEST_CASE("A least recall is kept before it is measured what that takes") {
  for (const Hard& hard : all_hard) {
    CAPTURE(hard.name);
    Data data(hard);
    Filter half = *parse_filter(R"({"m":{"$lt":500}})");
    auto disk = std::make_shared<Disk>();
    for (const SegmentView& view : {data.build(), data.build(disk)}) {
      for (double least : {0.8, 0.95, 0.99}) {
        CAPTURE(least);
        CHECK(data.recall(view, {.min_recall = least}) >= least);
        CHECK(data.recall(view, {.k = 50, .min_recall = least}) >= least);
        CHECK(data.recall(view, {.min_recall = least, .filter = &half}) >= least);
      }
    }
  }
}

TEST_CASE("What is found does not depend on how large the numbers are") {
  for (Metric metric : {Metric::l2, Metric::dot}) {
    for (Quantization quantization :
         {Quantization::sq8, Quantization::sq4, Quantization::pq, Quantization::rabitq}) {
      CAPTURE(to_string(metric));
      CAPTURE(to_string(quantization));
      const Hard as_is{"normal", metric, quantization, 24, normal};
      const Hard tiny{"tiny", metric, quantization, 24, scaled<-15>};
      const Hard huge{"huge", metric, quantization, 24, scaled<15>};
      Data data(as_is), smaller(tiny), larger(huge);
      auto view = data.build(), of_smaller = smaller.build(), of_larger = larger.build();
      for (uint32_t ef : {128u, 400u}) {
        CAPTURE(ef);
        double recall = data.recall(view, {.ef_search = ef});
        CHECK(smaller.recall(of_smaller, {.ef_search = ef}) > recall - 0.03);
        CHECK(larger.recall(of_larger, {.ef_search = ef}) > recall - 0.03);
      }
      for (double least : {0.9, 0.99}) {
        if (metric == Metric::dot) break;  // of such lengths a graph finds few
        CHECK(smaller.recall(of_smaller, {.min_recall = least}) >= least);
        CHECK(larger.recall(of_larger, {.min_recall = least}) >= least);
      }
    }
  }
}

}  // namespace jade
