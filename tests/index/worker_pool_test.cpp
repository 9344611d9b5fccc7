#include "index/worker_pool.h"

#include <doctest/doctest.h>

#include <atomic>
#include <latch>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace jade {

TEST_CASE("Ranges make up all items, each once, whoever does them") {
  for (uint32_t threads : {1u, 2u, 7u}) {
    WorkerPool pool(threads);
    CHECK(pool.count() == threads);
    for (size_t n : {0u, 1u, 2u, 63u, 64u, 65u, 1000u}) {
      for (size_t step : {1u, 3u, 64u, 5000u}) {
        CAPTURE(threads);
        CAPTURE(n);
        CAPTURE(step);
        // Not atomic: what was done is visible when run() returns.
        std::vector<int> done(n);
        std::atomic<bool> right = true;
        pool.run(n, step, [&](uint32_t worker, size_t begin, size_t end) {
          if (worker >= threads || begin % step != 0 || end != std::min(n, begin + step)) {
            right = false;
          }
          for (size_t i = begin; i < end; ++i) ++done[i];
        });
        CHECK(right);
        CHECK(done == std::vector<int>(n, 1));
      }
    }
  }
  std::vector<std::pair<size_t, size_t>> alone;
  run_ranges(nullptr, 5, 2, [&](uint32_t worker, size_t begin, size_t end) {
    CHECK(worker == 0);
    alone.emplace_back(begin, end);
  });
  CHECK(alone == std::vector<std::pair<size_t, size_t>>{{0, 2}, {2, 4}, {4, 5}});
}

TEST_CASE("All threads work at once, the caller as worker 0, and none has another's number") {
  constexpr uint32_t threads = 5;
  std::atomic<uint32_t> started = 0;
  WorkerPool pool(threads, [&] { ++started; });
  // None goes on before all have come.
  std::latch all(threads);
  std::vector<std::thread::id> of(threads);
  pool.run(threads, 1, [&](uint32_t worker, size_t, size_t) {
    of[worker] = std::this_thread::get_id();
    all.arrive_and_wait();
  });
  CHECK(std::set<std::thread::id>(of.begin(), of.end()).size() == threads);
  CHECK(of[0] == std::this_thread::get_id());
  CHECK(started == threads - 1);
}

TEST_CASE("Several callers share the threads, and no more than those work") {
  constexpr uint32_t threads = 3, callers = 3;
  WorkerPool pool(threads);
  std::atomic<int> working = 0, most = 0;
  std::vector<std::vector<int>> done(callers, std::vector<int>(500));
  {
    std::vector<std::jthread> all;
    for (uint32_t c = 0; c < callers; ++c) {
      all.emplace_back([&, c] {
        for (int round = 0; round < 20; ++round) {
          pool.run(500, 1, [&](uint32_t, size_t i, size_t) {
            int now = ++working;
            for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
            }
            ++done[c][i];
            --working;
          });
        }
      });
    }
  }
  for (uint32_t c = 0; c < callers; ++c) CHECK(done[c] == std::vector<int>(500, 20));
  // Callers are always let; helpers come where fewer than `threads` work.
  CHECK(most <= static_cast<int>(callers + threads - 1));
}

TEST_CASE("What work throws reaches the caller, when nobody works any more") {
  WorkerPool pool(3);
  for (size_t bad : {0u, 50u, 99u}) {
    std::atomic<int> working = 0;
    auto fails = [&](uint32_t, size_t i, size_t) {
      ++working;
      bool now = i == bad;
      --working;
      if (now) throw std::runtime_error("bad");
    };
    CHECK_THROWS_AS(pool.run(100, 1, fails), std::runtime_error);
    CHECK(working == 0);
  }
  // And the pool is as before.
  std::atomic<int> done = 0;
  pool.run(100, 1, [&](uint32_t, size_t, size_t) { ++done; });
  CHECK(done == 100);
}

}  // namespace jade
