// What becomes of a split when machines come and go in the middle of it.
#include <doctest/doctest.h>

#include "tests/sim/machines.h"

namespace jade::sim {

// A majority has what a split makes once it is over. Of that one may be lost, as the others have
// all rows, and those who came too late for the split have votes.
TEST_CASE("nodes that come back during a split are of use when another is lost after it") {
  for (const Nodes& late : {Nodes{1}, Nodes{1, 2}}) {
    for (uint64_t after_ms = 700; after_ms <= 2000; after_ms += 20) {
      CAPTURE(late.size());
      CAPTURE(after_ms);
      Machines machines(after_ms, 2 * late.size() + 1, late);
      for (size_t i : late) machines.nodes[i]->crash();
      machines.split();
      machines.run_until([] { return false; }, after_ms * ms);
      for (size_t i : late) machines.start(i);
      machines.await_split();
      machines.lose_last();
      for (size_t i : late) machines.await_ready(i);
    }
  }
}

// Whoever of them is asked for a copy by another has nothing yet either, and asks the next.
TEST_CASE("nodes that have missed a split are of use when another is lost after it") {
  std::vector<Nodes> choices = {{0}, {1}, {2}};
  for (size_t one = 0; one < 5; ++one) {
    for (size_t other = one + 1; other < 5; ++other) choices.push_back({one, other});
  }
  for (const Nodes& late : choices) {
    CAPTURE(late.front());
    CAPTURE(late.back());
    Machines machines(late.front(), 2 * late.size() + 1, late);
    machines.cut_off(true);
    machines.split();
    machines.await_split();
    machines.cut_off(false);
    machines.lose_last();
    for (size_t i : late) machines.await_ready(i);
  }
}

TEST_CASE("a split goes on after all machines have been off in the middle of it") {
  for (uint64_t after_ms = 0; after_ms <= 500; after_ms += 25) {
    CAPTURE(after_ms);
    Machines machines(after_ms, 3, {});
    machines.split();
    machines.run_until([] { return false; }, after_ms * ms);
    for (auto& node : machines.nodes) node->crash();
    for (size_t i = 0; i < 3; ++i) machines.start(i);
    for (size_t i = 0; i < 3; ++i) machines.await_ready(i);
    machines.await_split();
    machines.lose_last();
  }
}

}  // namespace jade::sim
