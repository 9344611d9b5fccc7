#include "apps/bench/measure.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "index/top_k.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(share * static_cast<double>(sorted.size())))];
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double recall(const Workload& workload, size_t query, const std::vector<int64_t>& found) {
  const int32_t* truth = workload.truth.row(query);
  const float* q = workload.queries.row(query);
  auto distance_to = [&](int64_t row) {
    return distance(workload.metric, q, workload.base.row(static_cast<size_t>(row)),
                    workload.base.dimension);
  };
  float worst = distance_to(truth[workload.k - 1]);
  size_t good = 0;
  for (size_t i = 0; i < std::min<size_t>(found.size(), workload.k); ++i) {
    bool valid = found[i] >= 0 && static_cast<size_t>(found[i]) < workload.base.rows;
    if (valid && distance_to(found[i]) <= worst + 1e-5f * std::fabs(worst)) ++good;
  }
  return static_cast<double>(good) / workload.k;
}

Point measure(const Workload& workload, const Connect& connect, uint32_t ef, uint32_t clients,
              uint32_t repetitions) {
  Point point;
  point.ef = ef;
  size_t n = workload.queries.rows;
  {
    Searcher search = connect();
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += recall(workload, i, search(i, ef));
    point.recall = sum / static_cast<double>(n);
  }
  std::vector<double> rates, latencies;
  for (uint32_t round = 0; round < repetitions; ++round) {
    std::vector<std::vector<double>> taken(clients);
    std::vector<std::thread> threads;
    std::atomic<size_t> next{0};
    std::atomic<uint32_t> ready{0};
    std::atomic<bool> go{false};
    // Enough searches that starting threads does not count.
    size_t total = std::max<size_t>(n, 2000) * clients;
    for (uint32_t c = 0; c < clients; ++c) {
      threads.emplace_back([&, c] {
        Searcher search = connect();
        ready.fetch_add(1);
        while (!go.load()) std::this_thread::yield();
        for (size_t i = next.fetch_add(1); i < total; i = next.fetch_add(1)) {
          auto begin = Clock::now();
          search(i % n, ef);
          taken[c].push_back(seconds_since(begin) * 1e6);
        }
      });
    }
    while (ready.load() < clients) std::this_thread::yield();
    auto begin = Clock::now();
    go.store(true);
    for (std::thread& thread : threads) thread.join();
    rates.push_back(static_cast<double>(total) / seconds_since(begin));
    for (const auto& part : taken) latencies.insert(latencies.end(), part.begin(), part.end());
  }
  std::sort(latencies.begin(), latencies.end());
  point.queries_per_second = median(rates);
  point.p50_us = percentile(latencies, 0.50);
  point.p95_us = percentile(latencies, 0.95);
  point.p99_us = percentile(latencies, 0.99);
  return point;
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

Neighbours brute_force(const Matrix& base, const Matrix& queries, Metric metric, uint32_t k) {
  Neighbours out;
  out.rows = queries.rows;
  out.columns = k;
  for (size_t q = 0; q < queries.rows; ++q) {
    TopK<int32_t> best(k);
    for (size_t i = 0; i < base.rows; ++i) {
      best.push(distance(metric, queries.row(q), base.row(i), base.dimension),
                static_cast<int32_t>(i));
    }
    for (auto [d, row] : best.take_sorted()) out.ids.push_back(row);
  }
  return out;
}

}  // namespace jade
