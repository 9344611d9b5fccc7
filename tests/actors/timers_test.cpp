#include "actors/timers.h"

#include <doctest/doctest.h>

#include <vector>

using namespace jade;

TEST_CASE("what is due runs once, in the order of time, and not what was taken back") {
  Timers timers;
  std::vector<int> ran;
  auto note = [&](int which) { return [&ran, which] { ran.push_back(which); }; };
  timers.add(20, note(3));
  timers.add(10, note(1));
  timers.add(20, note(4));
  Timers::Key taken_back = timers.add(15, note(2));
  timers.cancel(taken_back);
  timers.run_due(9);
  CHECK(ran.empty());
  timers.run_due(10);
  CHECK(ran == std::vector<int>{1});
  timers.run_due(25);
  CHECK(ran == std::vector<int>{1, 3, 4});
  timers.run_due(1000);
  CHECK(ran.size() == 3);
  timers.cancel(taken_back);
}

TEST_CASE("what runs may add and take back") {
  Timers timers;
  std::vector<int> ran;
  Timers::Key other = timers.add(2, [&] { ran.push_back(2); });
  timers.add(1, [&] {
    ran.push_back(1);
    timers.cancel(other);
    timers.add(2, [&] { ran.push_back(3); });
    timers.add(4, [&] { ran.push_back(4); });
  });
  timers.run_due(3);
  CHECK(ran == std::vector<int>{1, 3});
  timers.run_due(4);
  CHECK(ran == std::vector<int>{1, 3, 4});
}
