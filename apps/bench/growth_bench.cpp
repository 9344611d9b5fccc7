#include "apps/bench/growth_bench.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

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
  std::vector<std::pair<double, double>> points[std::size(recalls)];
  report.text("      rows   build s   us at recall 0.95   at 0.99");
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
    Contestant contestant{engine->name(), [&] {
                            return Searcher([&](size_t query, uint32_t ef) {
                              std::vector<int64_t> found;
                              engine->set_ef(std::max(ef, part.k));
                              engine->search(part.queries.row(query), part.k, found);
                              return found;
                            });
                          }};
    auto curve = measure(part, {contestant}, measuring).front();
    double latency[std::size(recalls)] = {};
    for (size_t i = 0; i < std::size(recalls); ++i) {
      double rate = rate_at_recall(curve.points, recalls[i]);
      if (rate <= 0) continue;
      latency[i] = 1e6 / rate;
      points[i].emplace_back(rows, latency[i]);
    }
    char line[96];
    std::snprintf(line, sizeof line, "%10zu  %8.1f   %17.1f   %7.1f", rows, built, latency[0],
                  latency[1]);
    report.text(line);
    table.push_back({{"rows", rows},
                     {"build_s", built},
                     {"us_at_0.95", latency[0]},
                     {"us_at_0.99", latency[1]}});
  }
  report.note("growth", std::move(table));
  for (size_t i = 0; i < std::size(recalls); ++i) {
    char recall[32];
    std::snprintf(recall, sizeof recall, "at recall %.2f", recalls[i]);
    if (points[i].size() < 3) {
      report.text(std::string(recall) + ": not between the measured --ef");
      continue;
    }
    Growth growth = fit_growth(points[i]);
    report.fact(std::string(recall) + ": each tenfold adds", growth.each_doubling * std::log2(10.0),
                "us");
    report.fact(std::string(recall) + ": variance that log(rows) explains", growth.fit, "");
  }
}

}  // namespace jade
