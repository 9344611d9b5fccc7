// How long a question may take: what its asker gave it, less what was used on the way.
//
// Nodes share no clock. So between them a Route carries the time that is left, and inside
// a node the moment by the node's own clock at which it is over. What the network takes
// is nobody's: an answer may come too late by as much.
#pragma once

#include <algorithm>
#include <string>

#include "actors/messages.h"

namespace jade {

// Whoever gets a question calls this first: one from another node has the time of this
// node from now on.
inline void take_up(Route& route, uint64_t now_ms) {
  if (route.deadline_ms == 0 && route.budget_ms != 0) route.deadline_ms = now_ms + route.budget_ms;
}

inline bool is_over(const Route& route, uint64_t now_ms) {
  return route.deadline_ms != 0 && now_ms >= route.deadline_ms;
}

// Before it leaves the node. With no time left it gets the least there is, as none would
// mean without bound.
inline void hand_on(Route& route, uint64_t now_ms) {
  if (route.deadline_ms == 0) return;
  uint64_t left = route.deadline_ms - std::min(route.deadline_ms, now_ms);
  route.budget_ms = static_cast<uint32_t>(std::clamp<uint64_t>(left, 1, UINT32_MAX));
}

inline caf::timespan time_left(uint64_t deadline_ms, uint64_t now_ms) {
  return std::chrono::milliseconds(deadline_ms - std::min(deadline_ms, now_ms));
}

// `where`: what it was waiting for when its time was over.
inline Status out_of_time(const std::string& where) {
  return Status(Code::deadline_exceeded, "the time of the request was over " + where);
}

}  // namespace jade
