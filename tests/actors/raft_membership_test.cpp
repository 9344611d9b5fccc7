#include "actors/raft_membership.h"

#include <doctest/doctest.h>

#include <optional>
#include <utility>
#include <vector>

namespace jade {
namespace {

// Node 1, which leads alone, and node 2, which has just become its learner, and whose disk saves
// entries when it is told to.
struct Pair {
  Pair() {
    RaftConfiguration founder;
    founder.set(1, true);
    LogStore::Loaded loaded;
    loaded.state = {1, 0};
    loaded.entries = {{1, static_cast<uint8_t>(RaftEntryType::change), founder.encode()}};
    leader.emplace(start(1, loaded));
    learner.emplace(start(2, {}));
    run();
    REQUIRE(leader->leads());
    founder.set(2, false);
    REQUIRE(leader->change(founder, now_ms).ok());
    for (int i = 0; i < 20; ++i) run();
  }

  RaftCore start(uint64_t node, LogStore::Loaded loaded) const {
    RaftCore::Options options;
    options.node = node;
    auto core = RaftCore::start(options, std::move(loaded), 0, now_ms);
    REQUIRE(core.ok());
    return std::move(*core);
  }

  // A tenth of a second in which all messages arrive.
  void run() {
    now_ms += 100;
    for (auto* core : {&*leader, &*learner}) core->tick(now_ms);
    for (bool more = true; more;) {
      more = false;
      for (auto* core : {&*leader, &*learner}) {
        RaftEffects effects = core->take();
        if (effects.save) {
          const bool holds = core == &*learner && (!held.empty() || !effects.save->entries.empty());
          (holds ? held : saves).emplace_back(core, effects.save->number);
        }
        more = more || effects.save || !effects.messages.empty();
        auto* other = core == &*leader ? &*learner : &*leader;
        for (const RaftMessage& message : effects.messages) other->step(message, now_ms);
      }
      for (auto [core, number] : std::exchange(saves, {})) core->saved(number, now_ms);
    }
    leader->applied(leader->apply_limit());
  }
  void save() {
    for (auto [core, number] : std::exchange(held, {})) core->saved(number, now_ms);
    for (int i = 0; i < 3; ++i) run();
  }
  MembershipStep step() const {
    return next_step(*leader, 1, {{1, {true, ""}}, {2, {true, ""}}}, now_ms - 1000);
  }

  uint64_t now_ms = 1'000'000;
  std::optional<RaftCore> leader, learner;
  std::vector<std::pair<RaftCore*, uint64_t>> saves, held;
};

}  // namespace

TEST_CASE("a member votes once it has a log: one that has none would vote for nobody") {
  Pair pair;
  REQUIRE(pair.leader->configuration().find(2) != nullptr);
  REQUIRE_FALSE(pair.leader->progress().at(2).probing);  // it answers, and agrees so far
  CHECK_FALSE(is_near(*pair.leader, 2));
  CHECK(pair.step().kind == MembershipStep::Kind::wait);
  for (int i = 0; i < 3; ++i) pair.save();
  CHECK(pair.learner->last_index() == pair.leader->last_index());
  CHECK(is_near(*pair.leader, 2));
  const MembershipStep step = pair.step();
  CHECK(step.kind == MembershipStep::Kind::change);
  CHECK(step.next.is_voter(2));
}

}  // namespace jade
