#include "apps/bench/scan_bench.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "index/growing_segment.h"
#include "index/kernels.h"
#include "index/sealed_segment.h"
#include "index/segment_builder.h"
#include "index/shard_view.h"
#include "storage/vector_id.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t batch = 32;
// Of each measurement.
constexpr double seconds_min = 0.3;

// Reads from one end to the other; what it returns depends on all. To be compiled for
// several instruction sets.
__attribute__((always_inline)) inline uint64_t read_words(const char* data, size_t bytes) {
  using Words = uint64_t __attribute__((vector_size(64)));
  Words sums[4] = {};
  for (size_t at = 0; at + sizeof sums <= bytes; at += sizeof sums) {
    for (size_t i = 0; i < 4; ++i) {
      Words words;
      std::memcpy(&words, data + at + i * sizeof words, sizeof words);
      sums[i] += words;
    }
  }
  Words all = sums[0] + sums[1] + sums[2] + sums[3];
  uint64_t sum = 0;
  for (size_t i = 0; i < 8; ++i) sum += all[i];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) uint64_t read_avx512(const char* data, size_t bytes) {
  return read_words(data, bytes);
}
__attribute__((target("avx2"))) uint64_t read_avx2(const char* data, size_t bytes) {
  return read_words(data, bytes);
}
#endif

uint64_t read_through(const char* data, size_t bytes) {
#if defined(__x86_64__)
  if (kernels().level == SimdLevel::avx512) return read_avx512(data, bytes);
  if (kernels().level == SimdLevel::avx2) return read_avx2(data, bytes);
#endif
  return read_words(data, bytes);
}

// GB/s of `work`, which goes through `bytes` each time.
template <class Work>
double gigabytes_per_second(size_t bytes, Work work) {
  size_t times = 0;
  auto begin = Clock::now();
  double seconds = 0;
  do {
    work(times++);
    seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  } while (seconds < seconds_min);
  return static_cast<double>(times) * static_cast<double>(bytes) / seconds / 1e9;
}

Spread ratios(const std::vector<double>& rates, const std::vector<double>& to) {
  std::vector<double> out;
  for (size_t i = 0; i < rates.size(); ++i) out.push_back(rates[i] / to[i]);
  return spread(out);
}

}  // namespace

void bench_scans(const ScanBenchOptions& options, const Workload& workload, Report& report) {
  const Matrix& base = workload.base;
  report.section("Exact scans of " + std::string(to_string(options.datatype)) +
                 " vectors, on one thread");
  std::shared_ptr<const SealedSegment> segment;
  {
    auto rows = std::make_shared<GrowingSegment>(base.dimension, workload.metric, options.datatype);
    for (size_t i = 0; i < base.rows; ++i) {
      rows->append(i + 1, VectorId(uint64_t{i}).key(), base.row(i), "");
    }
    BuildOptions build;
    build.metric = workload.metric;
    build.dimension = base.dimension;
    build.datatype = options.datatype;
    build.index.kind = IndexKind::flat;
    auto built = build_segment({{rows, nullptr, rows->rows()}}, build);
    JADE_ASSERT(built.ok());
    segment = *built;
  }
  SegmentView view{segment, nullptr, segment->rows(), 0};
  SearchOptions search;
  search.k = workload.k;
  // As many queries as a batch has, the same ones again where there are fewer.
  std::vector<float> queries;
  for (size_t i = 0; i < batch; ++i) {
    const float* query = workload.queries.row(i % workload.queries.rows);
    queries.insert(queries.end(), query, query + base.dimension);
  }
  auto run = [&](size_t first, size_t count) {
    std::span<const float> asked(queries.data() + first * base.dimension, count * base.dimension);
    JADE_ASSERT(search_all({&view, 1}, workload.metric, base.dimension, asked, search).ok());
  };
  const size_t bytes = base.rows * segment->format().row_bytes();
  std::vector<double> streams, alone, together;
  uint64_t read = 0;
  for (uint32_t round = 0; round < options.rounds; ++round) {
    streams.push_back(gigabytes_per_second(bytes, [&](size_t) {
      const char* data = segment->row(0);
      // Or the compiler would take one reading for all.
      asm volatile("" : "+r"(data) : : "memory");
      read += read_through(data, bytes);
    }));
    alone.push_back(gigabytes_per_second(bytes, [&](size_t i) { run(i % batch, 1); }));
    together.push_back(gigabytes_per_second(batch * bytes, [&](size_t) { run(0, batch); }));
  }
  asm volatile("" : : "r"(read));
  report.fact("memory read from one end to the other", median(streams), "GB/s");
  report.fact("vectors compared, one query at a time", median(alone), "GB/s");
  report.fact("vectors compared, " + std::to_string(batch) + " queries at once", median(together),
              "GB/s");
  report.ratio("one query at a time / memory", ratios(alone, streams), "times");
  report.ratio(std::to_string(batch) + " queries at once / memory", ratios(together, streams),
               "times");
}

}  // namespace jade
