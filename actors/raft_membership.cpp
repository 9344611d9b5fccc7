#include "actors/raft_membership.h"

#include <algorithm>

namespace jade {
namespace {

// Under load some entries are always on their way.
constexpr uint64_t near_entries = 256;

class Stepper {
 public:
  Stepper(const RaftCore& core, uint64_t self, const std::map<uint64_t, MemberTarget>& target,
          uint64_t heard_since_ms)
      : core_(core), self_(self), target_(target), heard_since_ms_(heard_since_ms) {}

  MembershipStep next() const {
    const RaftConfiguration& now = core_.configuration();
    RaftConfiguration next = now;
    for (const auto& [node, wanted] : target_) {
      const RaftMember* member = now.find(node);
      if (member != nullptr && member->address == wanted.address) continue;
      next.set(node, member != nullptr && member->voter, wanted.address);
      return {MembershipStep::Kind::change, next, 0};
    }
    bool waiting = false;
    for (const auto& [node, wanted] : target_) {
      if (!wanted.voter || now.is_voter(node)) continue;
      if (!alive(node) || !is_near(core_, node)) {
        waiting = true;
        continue;
      }
      next.set(node, true, wanted.address);
      return {MembershipStep::Kind::change, next, 0};
    }
    if (waiting) return {MembershipStep::Kind::wait, {}, 0};
    return take_away();
  }

 private:
  bool alive(uint64_t node) const {
    if (node == self_) return true;
    auto found = core_.progress().find(node);
    // A new leader supposes that it has just heard of everybody, and probes.
    return found != core_.progress().end() && !found->second.probing &&
           found->second.heard_ms >= heard_since_ms_;
  }

  // Those that can be heard and have the log could decide alone. One that is far behind
  // may need a copy of the state first, and decides nothing until it has it.
  bool lives(const RaftConfiguration& configuration) const {
    size_t voters = 0, ready = 0;
    for (const RaftMember& member : configuration.members) {
      if (!member.voter) continue;
      ++voters;
      ready += member.node == self_ || (alive(member.node) && is_near(core_, member.node));
    }
    return ready > voters / 2;
  }

  MembershipStep take_away() const {
    const RaftConfiguration& now = core_.configuration();
    bool waiting = false, self_goes = false;
    // First those who cannot be heard: they are of no use to anybody.
    std::vector<RaftMember> members = now.members;
    std::stable_partition(members.begin(), members.end(),
                          [this](const RaftMember& member) { return !alive(member.node); });
    for (const RaftMember& member : members) {
      auto wanted = target_.find(member.node);
      bool stays = wanted != target_.end() && (wanted->second.voter || !member.voter);
      if (stays) continue;
      if (member.node == self_) {
        self_goes = true;
        continue;
      }
      RaftConfiguration next = now;
      if (wanted == target_.end()) {
        next.remove(member.node);
      } else {
        next.set(member.node, false, wanted->second.address);
      }
      if (lives(next)) return {MembershipStep::Kind::change, next, 0};
      waiting = true;
    }
    if (waiting) return {MembershipStep::Kind::wait, {}, 0};
    if (!self_goes) return {};
    for (const auto& [node, wanted] : target_) {
      if (wanted.voter && node != self_ && alive(node) && is_near(core_, node)) {
        return {MembershipStep::Kind::hand_over, {}, node};
      }
    }
    return {MembershipStep::Kind::wait, {}, 0};
  }

  const RaftCore& core_;
  uint64_t self_;
  const std::map<uint64_t, MemberTarget>& target_;
  uint64_t heard_since_ms_;
};

}  // namespace

bool is_near(const RaftCore& core, uint64_t member) {
  auto found = core.progress().find(member);
  // Without a log it votes for nobody, so that a leader that needs its vote could not be elected.
  return found != core.progress().end() && !found->second.probing && found->second.match > 0 &&
         found->second.match + near_entries >= core.last_index() &&
         found->second.match + 1 >= core.first_index();
}

MembershipStep next_step(const RaftCore& core, uint64_t self,
                         const std::map<uint64_t, MemberTarget>& target, uint64_t heard_since_ms) {
  return Stepper(core, self, target, heard_since_ms).next();
}

}  // namespace jade
