#include "apps/bench/growth_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>

namespace jade {

Growth fit_growth(const std::vector<std::pair<double, double>>& rows_and_latency_us) {
  const auto n = static_cast<double>(rows_and_latency_us.size());
  double x_mean = 0, y_mean = 0;
  for (auto [rows, latency] : rows_and_latency_us) {
    x_mean += std::log2(rows) / n;
    y_mean += latency / n;
  }
  double xx = 0, xy = 0, yy = 0;
  for (auto [rows, latency] : rows_and_latency_us) {
    double x = std::log2(rows) - x_mean, y = latency - y_mean;
    xx += x * x;
    xy += x * y;
    yy += y * y;
  }
  Growth out;
  out.each_doubling = xy / xx;
  out.at_one = y_mean - out.each_doubling * x_mean;
  out.fit = yy > 0 ? xy * xy / (xx * yy) : 1;
  return out;
}

void bench_growth(const EngineKind& kind, const MeasureOptions& measuring, const Workload& workload,
                  Report& report) {
  report.section("Growth, our index on one thread");
  constexpr double recalls[] = {0.95, 0.99};
  const uint32_t usual = IndexOptions().ef_search;
  MeasureOptions options = measuring;
  if (std::find(options.ef.begin(), options.ef.end(), usual) == options.ef.end()) {
    options.ef.push_back(usual);
    std::sort(options.ef.begin(), options.ef.end());
  }
  // With the default beam, and at the recalls.
  const std::string titles[] = {"with ef " + std::to_string(usual), "at recall 0.95",
                                "at recall 0.99"};
  std::vector<std::pair<double, double>> points[std::size(titles)];
  report.text("us a search    rows   build s   " + titles[0] + "   " + titles[1] + "   " +
              titles[2]);
  boost::json::array table;
  for (int step = 4; step >= 0; --step) {
    const auto rows = static_cast<size_t>(
        std::lround(static_cast<double>(workload.base.rows) / std::pow(10.0, step / 2.0)));
    if (rows < workload.k) continue;
    Workload part;
    part.metric = workload.metric;
    part.k = workload.k;
    part.queries = workload.queries;
    part.base.rows = rows;
    part.base.dimension = workload.base.dimension;
    part.base.values.assign(workload.base.row(0), workload.base.row(rows));
    part.truth = brute_force(part.base, part.queries, part.metric, part.k);
    auto engine = make_jade_index(kind, std::make_shared<SharedGraph>());
    auto begin = std::chrono::steady_clock::now();
    engine->build(part.base, part.metric, IndexOptions());
    const double built =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    auto curve = measure(part, {contestant_of(*engine, part)}, options).front();
    double rates[std::size(titles)] = {};
    for (const Point& point : curve.points) {
      if (point.ef == usual) rates[0] = point.queries_per_second;
    }
    for (size_t i = 0; i < std::size(recalls); ++i) {
      rates[i + 1] = rate_at_recall(curve.points, recalls[i]);
    }
    std::string line;
    char text[32];
    std::snprintf(text, sizeof text, "%19zu  %8.1f", rows, built);
    line += text;
    boost::json::object facts{{"rows", rows}, {"build_s", built}};
    for (size_t i = 0; i < std::size(titles); ++i) {
      // Where all of the beams find more than that, none says how long it would take.
      if (rates[i] > 0) points[i].emplace_back(rows, 1e6 / rates[i]);
      std::snprintf(text, sizeof text, rates[i] > 0 ? "   %14.1f" : "                -",
                    rates[i] > 0 ? 1e6 / rates[i] : 0.0);
      line += text;
      if (rates[i] > 0) facts["us " + titles[i]] = 1e6 / rates[i];
    }
    report.text(line);
    table.push_back(std::move(facts));
  }
  report.note("growth", std::move(table));
  for (size_t i = 0; i < std::size(titles); ++i) {
    if (points[i].size() < 3) {
      report.text(titles[i] + ": not between the measured --ef");
      continue;
    }
    Growth growth = fit_growth(points[i]);
    report.fact(titles[i] + ": each tenfold adds", growth.each_doubling * std::log2(10.0), "us");
    report.fact(titles[i] + ": variance that log(rows) explains", growth.fit, "");
  }
}

}  // namespace jade
