#include "actors/shard_front.h"

#include <doctest/doctest.h>

#include "actors/shard_replica.h"

using namespace jade;

namespace {

constexpr uint64_t now = 5000;

ShardSearch search_of(uint64_t group) {
  ShardSearch search;
  search.route.group = group;
  search.k = 7;
  return search;
}

ShardFront::State state_of(uint64_t applied_index, uint64_t leads_until_ms) {
  auto view =
      std::make_shared<ShardSnapshot>(RecordFormat(RowFormat(Metric::l2, 4, Datatype::float32)));
  view->applied_index = applied_index;
  ShardFront::State state;
  state.view = view;
  state.leads_until_ms = leads_until_ms;
  return state;
}

}  // namespace

TEST_CASE("a search goes past the actor of a shard only where that would answer it so") {
  ShardFronts fronts;
  auto front = fronts.add(3);
  auto admitted = [&](ShardSearch search) { return fronts.admit(search, now).has_value(); };
  CHECK(!admitted(search_of(3)));  // nothing is published
  front->publish(state_of(40, now + 1));
  CHECK(admitted(search_of(3)));
  CHECK(!admitted(search_of(4)));

  SUBCASE("what was asked comes with the state") {
    ShardSearch search = search_of(3);
    auto task = fronts.admit(search, now);
    REQUIRE(task);
    CHECK(task->view->applied_index == 40);
    CHECK(task->search.k == 7);
  }
  SUBCASE("one that is refused is left as it was") {
    front->withdraw();
    ShardSearch search = search_of(3);
    search.filter = "{}";
    CHECK(!fronts.admit(search, now));
    CHECK(search.filter == "{}");
  }
  SUBCASE("session and strong while nobody else can lead, eventual always") {
    front->publish(state_of(40, now));
    ShardSearch search = search_of(3);
    CHECK(!admitted(search));
    search.consistency = Consistency::strong;
    CHECK(!admitted(search));
    search.consistency = Consistency::eventual;
    CHECK(admitted(search));
  }
  SUBCASE("with a token once its write is there, whoever leads") {
    front->publish(state_of(40, 0));
    ShardSearch search = search_of(3);
    search.applied_min = 40;
    CHECK(admitted(search));
    search.applied_min = 41;
    CHECK(!admitted(search));
    // A token is of sessions: strong is more.
    search.applied_min = 1;
    search.consistency = Consistency::strong;
    CHECK(!admitted(search));
  }
  SUBCASE("not by who knows of another split") {
    ShardSearch search = search_of(3);
    search.last_child = 9;
    CHECK(!admitted(search));
    auto state = state_of(40, now + 1);
    state.last_child = 9;
    front->publish(state);
    CHECK(admitted(search));
    CHECK(!admitted(search_of(3)));
  }
  SUBCASE("nor by a router that is not followed any more, or not yet") {
    auto state = state_of(40, now + 1);
    state.router_announced = 6;
    state.router_done = 5;
    front->publish(state);
    ShardSearch search = search_of(3);
    CHECK(admitted(search));  // not routed by vector
    search.router = 5;
    CHECK(!admitted(search));
    search.router = 6;
    CHECK(!admitted(search));
    state.router_done = 6;
    front->publish(state);
    CHECK(admitted(search));
  }
  SUBCASE("not with a least recall, for which the actor has segments measured") {
    ShardSearch search = search_of(3);
    search.min_recall = 0.9;
    CHECK(!admitted(search));
    search.exact = true;
    CHECK(admitted(search));
  }
  SUBCASE("not when its time is over") {
    ShardSearch search = search_of(3);
    search.route.deadline_ms = now;
    CHECK(!admitted(search));
    // Of another node: from now on.
    search.route.deadline_ms = 0;
    search.route.budget_ms = 10;
    auto task = fronts.admit(search, now);
    REQUIRE(task);
    CHECK(task->search.route.deadline_ms == now + 10);
  }
  SUBCASE("nor once the shard is gone") {
    auto other = fronts.add(3);  // its next actor has begun already
    other->publish(state_of(50, now + 1));
    fronts.remove(3, front);
    CHECK(admitted(search_of(3)));
    fronts.remove(3, other);
    CHECK(!admitted(search_of(3)));
  }
}

TEST_CASE("a state is wanted for a while after somebody asked") {
  ShardFronts fronts;
  auto front = fronts.add(3);
  CHECK(!front->wanted(now));
  ShardSearch search = search_of(3);
  CHECK(!fronts.admit(search, now));
  CHECK(front->wanted(now));
  CHECK(front->wanted(now + 5000));
  CHECK(!front->wanted(now + 60'000));
}
