#include "apps/bench/measure.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <mutex>
#include <numeric>
#include <set>

namespace jade {
namespace {

// Rows 0, 1, 2, ... on a line, the last of them twice; queries at 0 and 10.
Workload line(uint32_t k = 3) {
  Workload out;
  out.k = k;
  out.base.dimension = out.queries.dimension = 1;
  for (float at : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9}) out.base.values.push_back(at);
  out.base.rows = out.base.values.size();
  out.queries.values = {0, 10};
  out.queries.rows = 2;
  out.truth = brute_force(out.base, out.queries, out.metric, k);
  return out;
}

Point point(double recall, double rate) {
  Point out;
  out.recall = recall;
  out.queries_per_second = rate;
  return out;
}

// One point a recall, with the rates of two rounds.
Curve curve(const std::vector<std::pair<double, std::vector<double>>>& points) {
  Curve out;
  for (const auto& [recall, rates] : points) {
    out.points.push_back(point(recall, median(rates)));
    out.points.back().rates = rates;
  }
  return out;
}

}  // namespace

TEST_CASE("medians and percentiles of few and many values") {
  CHECK(median({}) == 0);
  CHECK(median({7}) == 7);
  CHECK(median({9, 1, 5}) == 5);
  CHECK(median({4, 1, 2, 9}) == 3);

  CHECK(percentile({}, 50) == 0);
  for (uint32_t percent : {0, 1, 50, 99, 100}) CHECK(percentile({7}, percent) == 7);
  std::vector<double> hundred(100);
  std::iota(hundred.begin(), hundred.end(), 1);
  for (uint32_t percent = 1; percent <= 100; ++percent) {
    CHECK(percentile(hundred, percent) == percent);
  }
  CHECK(percentile({1, 2}, 50) == 1);
  CHECK(percentile({1, 2}, 51) == 2);
  CHECK(percentile({1, 2, 3}, 95) == 3);
}

TEST_CASE("exact neighbours are the nearest by each metric, best first") {
  Workload w = line();
  CHECK(w.truth.rows == 2);
  CHECK(w.truth.columns == 3);
  CHECK(std::vector<int32_t>(w.truth.row(0), w.truth.row(1)) == std::vector<int32_t>{0, 1, 2});
  CHECK(std::set<int32_t>(w.truth.row(1), w.truth.row(2)) == std::set<int32_t>{8, 9, 10});
  CHECK(w.truth.row(1)[2] == 8);
  Neighbours dot = brute_force(w.base, w.queries, Metric::dot, 1);
  CHECK(w.base.row(static_cast<size_t>(dot.row(1)[0]))[0] == 9);
}

TEST_CASE("recall is the share of the true neighbours, each counted once") {
  Workload w = line();
  const double third = 1.0 / 3;
  CHECK(recall(w, 0, {0, 1, 2}) == 1);
  CHECK(recall(w, 0, {2, 0, 1}) == 1);
  CHECK(recall(w, 0, {0, 7, 2}) == doctest::Approx(2 * third));
  CHECK(recall(w, 0, {0}) == doctest::Approx(third));
  CHECK(recall(w, 0, {}) == 0);
  CHECK(recall(w, 0, {7, 8, 9}) == 0);
  CHECK(recall(w, 0, {0, 0, 0}) == doctest::Approx(third));
  // Beyond the k-th nothing counts.
  CHECK(recall(w, 0, {7, 8, 9, 0, 1, 2}) == 0);
  // What is no row of the base.
  CHECK(recall(w, 0, {-1, 11, 0}) == doctest::Approx(third));
  // Of two rows as far away either is right.
  Workload one = line(1);
  CHECK(recall(one, 1, {9}) == 1);
  CHECK(recall(one, 1, {10}) == 1);
  CHECK(recall(one, 1, {8}) == 0);
}

TEST_CASE("recall allows for the rounding of inner products too") {
  Workload w = line(2);
  w.metric = Metric::dot;
  w.base.values = {-5, -3, 2, 4};
  w.base.rows = 4;
  w.queries.values = {1, -1};
  w.truth = brute_force(w.base, w.queries, w.metric, 2);
  CHECK(recall(w, 0, {3, 2}) == 1);
  CHECK(recall(w, 0, {3, 1}) == 0.5);
  CHECK(recall(w, 1, {0, 1}) == 1);
  CHECK(recall(w, 1, {2, 3}) == 0);
}

TEST_CASE("the rate at a recall lies between the points around it") {
  std::vector<Point> points = {point(0.8, 1000), point(0.9, 100), point(1.0, 10)};
  CHECK(rate_at_recall(points, 0.9) == doctest::Approx(100));
  CHECK(rate_at_recall(points, 1.0) == doctest::Approx(10));
  // Evenly on a logarithmic scale.
  CHECK(rate_at_recall(points, 0.85) == doctest::Approx(std::sqrt(1000.0 * 100)));
  CHECK(rate_at_recall(points, 0.95) == doctest::Approx(std::sqrt(100.0 * 10)));
  double last = 1001;
  for (double wanted = 0.8; wanted <= 1.0; wanted += 0.01) {
    double rate = rate_at_recall(points, wanted);
    CHECK(rate < last);
    last = rate;
  }
  // Two widths that find the same.
  CHECK(rate_at_recall({point(0.9, 50), point(0.9, 40), point(0.95, 30)}, 0.9) ==
        doctest::Approx(50));
  CHECK(rate_at_recall({point(0.8, 50), point(0.9, 40), point(0.9, 30)}, 0.95) == 0);
}

TEST_CASE("the rate at a recall that was not reached, or passed from the start, is not known") {
  std::vector<Point> points = {point(0.8, 1000), point(0.9, 100)};
  CHECK(rate_at_recall(points, 0.91) == 0);
  CHECK(rate_at_recall(points, 0.7) == 0);
  // Near enough.
  CHECK(rate_at_recall(points, 0.796) == 1000);
  CHECK(rate_at_recall({}, 0.9) == 0);
}

TEST_CASE("rates are compared round by round") {
  // Both were slow in the second round: the ratio is the same.
  Spread same = rate_ratio(curve({{1, {300, 30}}}).points[0], curve({{1, {100, 10}}}).points[0]);
  CHECK(same.median == doctest::Approx(3));
  CHECK(same.min == doctest::Approx(3));
  CHECK(same.max == doctest::Approx(3));
  Spread spread =
      rate_ratio(curve({{1, {50, 20, 40}}}).points[0], curve({{1, {10, 10, 10}}}).points[0]);
  CHECK(spread.median == doctest::Approx(4));
  CHECK(spread.min == doctest::Approx(2));
  CHECK(spread.max == doctest::Approx(5));

  Curve ours = curve({{0.8, {1000, 100}}, {1.0, {10, 1}}});
  Curve theirs = curve({{0.9, {50, 10}}, {1.0, {10, 1}}});
  auto at = rate_ratio_at_recall(ours, theirs, 0.9);
  REQUIRE(at);
  CHECK(at->min == doctest::Approx(1));
  CHECK(at->max == doctest::Approx(2));
  CHECK(at->median == doctest::Approx(1.5));
  CHECK(!rate_ratio_at_recall(ours, theirs, 0.85));
  CHECK(!rate_ratio_at_recall(theirs, ours, 0.85));
  CHECK(!rate_ratio_at_recall(Curve{}, Curve{}, 0.9));
}

TEST_CASE("contestants take turns at each width in each round") {
  Workload w = line();
  std::vector<std::string> searched;
  auto contestant = [&](const std::string& name, bool finds) {
    return Contestant{name, [&searched, &w, name, finds] {
                        return Searcher([&searched, &w, name, finds](size_t query, uint32_t ef) {
                          if (query == 0) searched.push_back(name + std::to_string(ef));
                          const int32_t* truth = w.truth.row(query);
                          if (!finds || ef < 20) return std::vector<int64_t>{truth[0]};
                          return std::vector<int64_t>(truth, truth + w.k);
                        });
                      }};
  };
  MeasureOptions options;
  options.ef = {10, 20};
  options.rounds = 2;
  options.searches_min = 1;  // then all queries once
  options.seconds_min = 0;
  options.warm_up = 0;
  auto curves = measure(w, {contestant("a", true), contestant("b", false)}, options);
  // For recall first, then the rounds.
  CHECK(searched == std::vector<std::string>{"a10", "a20", "b10", "b20",  //
                                             "a10", "b10", "a20", "b20",  //
                                             "a10", "b10", "a20", "b20"});
  REQUIRE(curves.size() == 2);
  CHECK(curves[0].name == "a");
  CHECK(curves[1].name == "b");
  for (const Curve& measured : curves) {
    REQUIRE(measured.points.size() == 2);
    for (size_t i = 0; i < 2; ++i) {
      const Point& p = measured.points[i];
      CHECK(p.ef == options.ef[i]);
      bool all = measured.name == "a" && p.ef == 20;
      CHECK(p.recall == doctest::Approx(all ? 1 : 1.0 / 3));
      REQUIRE(p.rates.size() == 2);
      CHECK(p.rates[0] > 0);
      CHECK(p.rates[1] > 0);
      CHECK(p.queries_per_second == median(p.rates));
      CHECK(p.p50_us <= p.p95_us);
      CHECK(p.p95_us <= p.p99_us);
    }
  }
}

TEST_CASE("each client has a searcher of its own, and all share the searches") {
  Workload w = line();
  std::atomic<uint32_t> connected{0}, searches{0};
  std::mutex mutex;
  std::vector<uint32_t> of_query(w.queries.rows);
  Contestant contestant{"a", [&] {
                          ++connected;
                          return Searcher([&](size_t query, uint32_t) {
                            ++searches;
                            std::lock_guard lock(mutex);
                            ++of_query[query];
                            return std::vector<int64_t>{};
                          });
                        }};
  MeasureOptions options;
  options.ef = {10};
  options.clients = 3;
  options.rounds = 2;
  options.searches_min = 5;
  options.seconds_min = 0;
  options.warm_up = 1;
  auto curves = measure(w, {contestant}, options);
  // One for recall, then all of each round, and of each client one before.
  CHECK(connected == 1 + 3 * 2);
  CHECK(searches == 2 + (5 + 1) * 3 * 2);
  CHECK(of_query == std::vector<uint32_t>{1 + (8 + 3) * 2, 1 + 7 * 2});
  CHECK(curves[0].points[0].recall == 0);
}

TEST_CASE("all go on searching until time enough has gone by") {
  Workload w = line();
  std::atomic<uint32_t> searches{0};
  MeasureOptions options;
  options.ef = {10};
  options.clients = 2;
  options.rounds = 1;
  options.searches_min = 1;
  options.seconds_min = 0.02;
  options.warm_up = 0;
  auto curves = measure(w,
                        {{"a",
                          [&] {
                            return Searcher([&](size_t, uint32_t) {
                              ++searches;
                              return std::vector<int64_t>{};
                            });
                          }}},
                        options);
  REQUIRE(curves[0].points[0].rates.size() == 1);
  // Those for recall came before.
  auto counted = static_cast<double>(searches - w.queries.rows);
  CHECK(counted / curves[0].points[0].rates[0] >= 0.02);
}

}  // namespace jade
