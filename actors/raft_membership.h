// How a Raft group gets from the members it has to those it should have: one safe
// step after another, decided anew each time by whoever leads.
//
// New members first learn; they vote when they have caught up. Old ones go when all
// new ones vote, and never so that those who remain and can be heard are no majority.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "actors/raft_core.h"

namespace jade {

struct MemberTarget {
  bool voter = true;
  std::string address;
};

struct MembershipStep {
  enum class Kind {
    none,      // the members are as they should be
    wait,      // for somebody to catch up, or to be heard of
    change,    // to `next`
    hand_over  // to `to`, as the leader itself is to go
  };
  Kind kind = Kind::none;
  RaftConfiguration next;
  uint64_t to = 0;
};

// By node. `heard_since_ms`: members that were heard of since then count as alive, if
// it was this leader that they answered.
MembershipStep next_step(const RaftCore& core, uint64_t self,
                         const std::map<uint64_t, MemberTarget>& target, uint64_t heard_since_ms);

// Whether a member has all but the latest entries.
bool is_near(const RaftCore& core, uint64_t member);

}  // namespace jade
