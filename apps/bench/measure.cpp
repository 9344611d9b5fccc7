#include "apps/bench/measure.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

#include "index/scoring.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double mean_recall(const Workload& workload, const Contestant& contestant, uint32_t ef) {
  Searcher search = contestant.connect();
  double sum = 0;
  for (size_t i = 0; i < workload.queries.rows; ++i) sum += recall(workload, i, search(i, ef));
  return sum / static_cast<double>(workload.queries.rows);
}

// The rate of one contestant in one round; adds the latencies.
double measure_once(const Workload& workload, const Contestant& contestant, uint32_t ef,
                    const MeasureOptions& options, std::vector<double>& latencies_us) {
  size_t queries = workload.queries.rows;
  const size_t least = std::max(queries, options.searches_min) * options.clients;
  std::vector<std::vector<double>> taken(options.clients);
  std::vector<std::thread> threads;
  std::atomic<size_t> next{0};
  std::atomic<uint32_t> ready{0};
  std::atomic<bool> go{false};
  Clock::time_point begin;
  for (uint32_t c = 0; c < options.clients; ++c) {
    threads.emplace_back([&, c] {
      Searcher search = contestant.connect();
      // What a thread or connection sets up at its first searches is not measured.
      for (size_t i = 0; i < options.warm_up; ++i) search(i % queries, ef);
      ready.fetch_add(1);
      while (!go.load()) std::this_thread::yield();
      for (auto now = Clock::now();;) {
        size_t i = next.fetch_add(1);
        if (i >= least && now - begin >= std::chrono::duration<double>(options.seconds_min)) break;
        search(i % queries, ef);
        auto then = std::exchange(now, Clock::now());
        taken[c].push_back(std::chrono::duration<double, std::micro>(now - then).count());
      }
    });
  }
  while (ready.load() < options.clients) std::this_thread::yield();
  begin = Clock::now();
  go.store(true);
  for (std::thread& thread : threads) thread.join();
  const double seconds = seconds_since(begin);
  size_t searches = 0;
  for (const auto& part : taken) {
    searches += part.size();
    latencies_us.insert(latencies_us.end(), part.begin(), part.end());
  }
  return static_cast<double>(searches) / seconds;
}

// The points as one round saw them.
std::vector<Point> points_of_round(const Curve& curve, size_t round) {
  std::vector<Point> points = curve.points;
  for (Point& point : points) point.queries_per_second = point.rates.at(round);
  return points;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Spread spread(const std::vector<double>& values) {
  auto [min, max] = std::minmax_element(values.begin(), values.end());
  return {median(values), *min, *max};
}

double percentile(const std::vector<double>& sorted, uint32_t percent) {
  if (sorted.empty()) return 0;
  size_t rank = (sorted.size() * percent + 99) / 100;
  return sorted[std::max<size_t>(rank, 1) - 1];
}

double recall(const Workload& workload, size_t query, std::vector<int64_t> found) {
  const int32_t* truth = workload.truth.row(query);
  const float* q = workload.queries.row(query);
  auto distance_to = [&](int64_t row) {
    return distance(workload.metric, q, workload.base.row(static_cast<size_t>(row)),
                    workload.base.dimension);
  };
  float worst = distance_to(truth[workload.k - 1]);
  // A row counts once, however often it is named.
  found.resize(std::min<size_t>(found.size(), workload.k));
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  size_t good = 0;
  for (int64_t row : found) {
    bool valid = row >= 0 && static_cast<size_t>(row) < workload.base.rows;
    if (valid && distance_to(row) <= worst + 1e-5f * std::fabs(worst)) ++good;
  }
  return static_cast<double>(good) / workload.k;
}

std::vector<Curve> measure(const Workload& workload, const std::vector<Contestant>& contestants,
                           const MeasureOptions& options) {
  size_t widths = options.ef.size();
  std::vector<Curve> curves(contestants.size());
  std::vector<std::vector<double>> latencies_us(contestants.size() * widths);
  for (size_t c = 0; c < contestants.size(); ++c) {
    curves[c].name = contestants[c].name;
    for (uint32_t ef : options.ef) {
      Point& point = curves[c].points.emplace_back();
      point.ef = ef;
      point.recall = mean_recall(workload, contestants[c], ef);
    }
  }
  for (uint32_t round = 0; round < options.rounds; ++round) {
    for (size_t w = 0; w < widths; ++w) {
      for (size_t c = 0; c < contestants.size(); ++c) {
        curves[c].points[w].rates.push_back(measure_once(workload, contestants[c], options.ef[w],
                                                         options, latencies_us[c * widths + w]));
      }
    }
  }
  for (size_t c = 0; c < contestants.size(); ++c) {
    for (size_t w = 0; w < widths; ++w) {
      std::vector<double>& sorted = latencies_us[c * widths + w];
      std::sort(sorted.begin(), sorted.end());
      Point& point = curves[c].points[w];
      point.queries_per_second = median(point.rates);
      point.p50_us = percentile(sorted, 50);
      point.p95_us = percentile(sorted, 95);
      point.p99_us = percentile(sorted, 99);
    }
  }
  return curves;
}

Spread rate_ratio(const Point& ours, const Point& theirs) {
  std::vector<double> ratios;
  for (size_t round = 0; round < ours.rates.size(); ++round) {
    ratios.push_back(ours.rates[round] / theirs.rates.at(round));
  }
  return spread(ratios);
}

std::optional<Spread> rate_ratio_at_recall(const Curve& ours, const Curve& theirs, double wanted) {
  if (ours.points.empty()) return std::nullopt;
  std::vector<double> ratios;
  for (size_t round = 0; round < ours.points.front().rates.size(); ++round) {
    double a = rate_at_recall(points_of_round(ours, round), wanted);
    double b = rate_at_recall(points_of_round(theirs, round), wanted);
    if (a <= 0 || b <= 0) return std::nullopt;
    ratios.push_back(a / b);
  }
  return spread(ratios);
}

double rate_at_recall(const std::vector<Point>& points, double wanted) {
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].recall < wanted) continue;
    // Above it from the start: what a narrower beam would give is not known.
    if (i == 0 && points[i].recall > wanted + 0.005) return 0;
    if (i == 0) return points[i].queries_per_second;
    const Point& low = points[i - 1];
    const Point& high = points[i];
    double share = (wanted - low.recall) / std::max(1e-9, high.recall - low.recall);
    return std::exp(std::log(low.queries_per_second) * (1 - share) +
                    std::log(high.queries_per_second) * share);
  }
  return 0;
}

}  // namespace jade
