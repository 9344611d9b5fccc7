#include "apps/bench/filter_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "apps/bench/recall_bench.h"
#include "index/growing_segment.h"
#include "index/metadata_index.h"
#include "index/scoring.h"
#include "index/sealed_segment.h"
#include "index/segment_builder.h"
#include "index/shard_view.h"
#include "index/top_k.h"
#include "storage/vector_id.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

constexpr size_t places = 8;
constexpr double asked_recall = 0.95;  // of searches that ask for one

uint64_t mixed(uint64_t x) {  // the finaliser of splitmix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Of each row how many rows there are before it, in an order.
template <class Less>
std::vector<uint32_t> ranks(size_t rows, Less less) {
  std::vector<uint32_t> order(rows), out(rows);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), less);
  for (uint32_t i = 0; i < rows; ++i) out[order[i]] = i;
  return out;
}

enum class Where { anywhere, near, far };
constexpr Where wheres[] = {Where::anywhere, Where::near, Where::far};

const char* to_string(Where where) {
  switch (where) {
    case Where::anywhere: return "anywhere";
    case Where::near: return "near the query";
    case Where::far: return "far from the query";
  }
  return "";
}

// Made-up fields: of each, the rank of each row.
struct Fields {
  explicit Fields(const Workload& workload) {
    size_t n = workload.base.rows;
    names.push_back("anywhere");
    by_rank.push_back(ranks(n, [](uint32_t a, uint32_t b) {
      return std::pair(mixed(a + 1), a) < std::pair(mixed(b + 1), b);
    }));
    for (size_t p = 0; p < places; ++p) {
      place_rows.push_back(mixed(p + 77) % n);
      std::vector<float> away(n);
      for (size_t i = 0; i < n; ++i) {
        away[i] = distance(workload.metric, workload.base.row(place_rows[p]), workload.base.row(i),
                           workload.base.dimension);
      }
      names.push_back("from_" + std::to_string(p));
      by_rank.push_back(ranks(n, [&](uint32_t a, uint32_t b) {
        return std::pair(away[a], a) < std::pair(away[b], b);
      }));
    }
    for (size_t q = 0; q < workload.queries.rows; ++q) {
      std::vector<std::pair<float, size_t>> away;
      for (size_t p = 0; p < places; ++p) {
        away.emplace_back(distance(workload.metric, workload.queries.row(q),
                                   workload.base.row(place_rows[p]), workload.base.dimension),
                          p + 1);
      }
      auto [nearest, farthest] = std::minmax_element(away.begin(), away.end());
      near.push_back(nearest->second);
      far.push_back(farthest->second);
    }
  }

  std::string metadata(size_t row) const {
    std::string out;
    for (size_t f = 0; f < names.size(); ++f) {
      out += (f == 0 ? "{\"" : ",\"") + names[f] + "\":" + std::to_string(by_rank[f][row]);
    }
    return out + "}";
  }
  size_t of(Where where, size_t query) const {
    return where == Where::anywhere ? 0 : where == Where::near ? near[query] : far[query];
  }

  std::vector<std::string> names;
  std::vector<std::vector<uint32_t>> by_rank;
  std::vector<size_t> place_rows;
  std::vector<size_t> near, far;  // field by query
};

// Of the rows whose rank in a field is below `matching`.
float worst_of_nearest(const Workload& workload, const std::vector<uint32_t>& rank, size_t matching,
                       const float* query) {
  TopK<uint32_t> best(workload.k);
  for (uint32_t row = 0; row < rank.size(); ++row) {
    if (rank[row] >= matching) continue;
    best.push(distance(workload.metric, query, workload.base.row(row), workload.base.dimension),
              row);
  }
  return best.take_sorted().back().first;
}

}  // namespace

void bench_filters(const FilterBenchOptions& options, const Workload& workload, Report& report) {
  const Matrix& base = workload.base;
  const size_t queries = workload.queries.rows;
  Fields fields(workload);
  auto rows = std::make_shared<GrowingSegment>(base.dimension, workload.metric);
  uint64_t metadata_bytes = 0;
  for (size_t i = 0; i < base.rows; ++i) {
    std::string metadata = fields.metadata(i);
    metadata_bytes += metadata.size();
    rows->append(i + 1, VectorId(i).key(), base.row(i), metadata);
  }
  BuildOptions build;
  build.metric = workload.metric;
  build.dimension = base.dimension;
  build.index = options.index;
  build.seed = 1;
  auto sealed = build_segment({{rows, nullptr, rows->rows()}}, build);
  JADE_ASSERT(sealed.ok());
  rows.reset();
  auto begin = Clock::now();
  MetadataIndex again((*sealed)->columns().metadata);
  report.section("Metadata");
  report.fact("metadata index: build", microseconds_since(begin) / 1000, "ms");
  auto n = static_cast<double>(base.rows);
  report.fact("metadata index: memory", static_cast<double>(again.memory_bytes()) / n,
              "bytes a row");
  report.fact("metadata: text", static_cast<double>(metadata_bytes) / n, "bytes a row");

  SegmentView view{*sealed, nullptr, (*sealed)->rows(), 0};
  bench_min_recall(view, workload, report);
  report.section("Filters, our index on one thread");
  SearchOptions search_options;
  search_options.k = workload.k;
  search_options.ef_search = options.ef;
  auto search_one = [&](size_t query, const Filter* filter, SegmentExplanation* explain) {
    search_options.filter = filter;
    std::vector<SegmentExplanation> done;
    auto found = search_all({&view, 1}, workload.metric, base.dimension,
                            {workload.queries.row(query), base.dimension}, search_options,
                            explain != nullptr ? &done : nullptr);
    if (explain != nullptr) *explain = done.front();
    JADE_ASSERT(found.ok());
    return std::move(found->front());
  };
  auto latency_us = [&](auto search) {
    std::vector<double> taken;
    for (size_t q = 0; q < queries; ++q) {
      auto start = Clock::now();
      search(q);
      taken.push_back(microseconds_since(start));
    }
    return median(std::move(taken));
  };

  report.text(
      "what matches         share of rows        rows   recall  least   p50 us   times unfiltered  "
      "   recall of 0.95  plan");
  boost::json::array table;
  for (Where where : wheres) {
    for (double share : {0.9, 0.7, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001}) {
      auto matching = static_cast<size_t>(share * n);
      if (matching < workload.k) continue;
      std::vector<Filter> filters;
      for (const std::string& name : fields.names) {
        auto filter = parse_filter("{\"" + name + "\":{\"$lt\":" + std::to_string(matching) + "}}");
        JADE_ASSERT(filter.ok());
        filters.push_back(std::move(*filter));
      }
      double found = 0, found_asked = 0;
      size_t least = workload.k;
      std::vector<size_t> plans(static_cast<size_t>(SegmentPlan::probe) + 1);
      size_t fell_back = 0;
      for (size_t q = 0; q < queries; ++q) {
        size_t field = fields.of(where, q);
        const float* query = workload.queries.row(q);
        SegmentExplanation explain;
        auto hits = search_one(q, &filters[field], &explain);
        ++plans[static_cast<size_t>(explain.plan)];
        fell_back += explain.fell_back;
        least = std::min(least, hits.size());
        float worst = worst_of_nearest(workload, fields.by_rank[field], matching, query);
        auto right = [&](const Hit& hit) {
          float d = distance(workload.metric, query,
                             base.row((*sealed)->row_number(hit.offset) - 1), base.dimension);
          return d <= worst + 1e-5f * std::fabs(worst) ? 1 : 0;
        };
        for (const Hit& hit : hits) found += right(hit);
        search_options.min_recall = asked_recall;
        for (const Hit& hit : search_one(q, &filters[field], nullptr)) found_asked += right(hit);
        search_options.min_recall = 0;
      }
      double recall = found / static_cast<double>(queries * workload.k);
      double recall_asked = found_asked / static_cast<double>(queries * workload.k);
      std::vector<double> ratios, latencies;
      for (uint32_t round = 0; round < options.rounds; ++round) {
        double plain = latency_us([&](size_t q) { search_one(q, nullptr, nullptr); });
        double filtered =
            latency_us([&](size_t q) { search_one(q, &filters[fields.of(where, q)], nullptr); });
        latencies.push_back(filtered);
        ratios.push_back(filtered / plain);
      }
      auto usual =
          static_cast<SegmentPlan>(std::max_element(plans.begin(), plans.end()) - plans.begin());
      auto [low, high] = std::minmax_element(ratios.begin(), ratios.end());
      std::string plan(jade::to_string(usual));
      if (fell_back > 0) plan += ", fell back: " + std::to_string(fell_back);
      char line[200];
      std::snprintf(line, sizeof line,
                    "%-20s %11.1f %% %11zu   %.4f %6zu %8.0f   %4.2f (%.2f to %.2f)     %.4f  %s",
                    to_string(where), share * 100, matching, recall, least, median(latencies),
                    median(ratios), *low, *high, recall_asked, plan.c_str());
      report.text(line);
      table.push_back(
          {{"where", to_string(where)},
           {"share", share},
           {"recall", recall},
           {"recall_of_0.95", recall_asked},
           {"fewest_results", static_cast<int64_t>(least)},
           {"p50_us", median(latencies)},
           {"times_unfiltered", {{"median", median(ratios)}, {"min", *low}, {"max", *high}}},
           {"plan", jade::to_string(usual)},
           {"fell_back", fell_back}});
    }
  }
  report.note("filters", std::move(table));
}

}  // namespace jade
