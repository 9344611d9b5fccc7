#include "index/scoring.h"

#include <doctest/doctest.h>

#include <random>

#include "index/top_k.h"

namespace jade {

TEST_CASE("A row whose score is the threshold meets it") {
  std::mt19937 random(2);
  for (Metric metric : {Metric::cosine, Metric::l2, Metric::dot}) {
    CAPTURE(to_string(metric));
    int dropped = 0;
    for (int i = 0; i < 10000; ++i) {
      float d =
          std::uniform_real_distribution<float>(metric == Metric::l2 ? 0.0f : -1.0f, 1)(random);
      if (metric == Metric::cosine) d = 1 - d;
      if (d > distance_from_score(metric, score_from_distance(metric, d))) ++dropped;
    }
    CHECK(dropped == 0);
  }
}

TEST_CASE("Of distances that show one score one stands for all, which shows it") {
  std::mt19937 random(3);
  int same = 0;
  for (Metric metric : {Metric::cosine, Metric::l2, Metric::dot}) {
    for (int i = 0; i < 100000; ++i) {
      float d = std::ldexp(std::uniform_real_distribution<float>(1, 2)(random),
                           static_cast<int>(random() % 200) - 100);
      float next = std::nextafter(d, std::numeric_limits<float>::infinity());
      if (metric == Metric::cosine) {
        // As they are computed.
        float product = std::uniform_real_distribution<float>(-1, 1)(random);
        d = 1 - product;
        next = 1 - std::nextafter(product, -2.0f);
        if (next == d) continue;
      }
      float score = score_from_distance(metric, d);
      float shown = shown_distance(metric, d);
      REQUIRE(score_from_distance(metric, shown) == score);
      REQUIRE(shown_distance(metric, shown) == shown);
      bool equal = score_from_distance(metric, next) == score;
      same += equal;
      REQUIRE((shown_distance(metric, next) == shown) == equal);
      if (!equal) REQUIRE(shown_distance(metric, next) > shown);
      // What meets a score as a threshold.
      REQUIRE(shown <= distance_from_score(metric, score));
    }
  }
  CHECK(same > 20000);
}

TEST_CASE("A threshold lets nothing through that shows less") {
  for (float score : {1e-9f, 1e-8f, 3e-8f, 0.1f, -1e-9f, 0.99999994f}) {
    CAPTURE(score);
    const float most = distance_from_score(Metric::cosine, score);
    CHECK(score_from_distance(Metric::cosine, most) >= score);
    CHECK(most == doctest::Approx(1 - score));
  }
  CHECK(!std::signbit(score_from_distance(Metric::dot, 0.0f)));
}

TEST_CASE("Scores are what callers expect") {
  const float a[2] = {3, 4}, b[2] = {0, 0};
  CHECK(score_from_distance(Metric::l2, distance(Metric::l2, a, b, 2)) == 5);
  CHECK(score_from_distance(Metric::dot, distance(Metric::dot, a, a, 2)) == 25);
  float unit[2] = {3, 4};
  normalise(unit, 2);
  CHECK(score_from_distance(Metric::cosine, distance(Metric::cosine, unit, unit, 2)) ==
        doctest::Approx(1));
  float zero[2] = {0, 0};
  normalise(zero, 2);
  CHECK(zero[0] == 0);
  float huge[2] = {3e38f, 3e38f};
  normalise(huge, 2);
  CHECK(huge[0] == doctest::Approx(std::sqrt(0.5)));
  float tiny[2] = {1e-44f, 0};
  normalise(tiny, 2);
  CHECK(tiny[0] == doctest::Approx(1));
}

TEST_CASE("The best k are those that sorting finds, of equal ones the smaller keys") {
  std::mt19937 random(3);
  for (size_t k : {0u, 1u, 7u, 100u, 2000u}) {
    TopK<uint32_t> best(k);
    std::vector<std::pair<float, uint32_t>> all;
    for (uint32_t key : {5u, 3u, 9u}) all.emplace_back(0.5f, key);
    for (uint32_t i = 0; i < 1000; ++i) {
      all.emplace_back(static_cast<float>(random() % 50), i + 10);
    }
    for (auto [d, key] : all) best.push(d, key);
    std::sort(all.begin(), all.end());
    if (all.size() > k) all.resize(k);
    CHECK(best.take_sorted() == all);
    CHECK(best.size() == 0);
  }
}

}  // namespace jade
