// Trying again a little later, without holding anything up meanwhile.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

#include "actors/messages.h"

namespace jade {

// Not at once: whoever cannot answer now can hardly answer in the same moment.
constexpr auto retry_interval = std::chrono::milliseconds(50);

// For actors that take Later.
template <class Self>
void run_later(Self* self, caf::timespan delay, std::function<void()> run) {
  self->delayed_send(self, delay, Later{std::move(run)});
}

inline uint64_t to_ms(caf::timespan span) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(span).count());
}

// Whether to ask again is worth it: a shard has been split, or has others' records where the
// replica that was asked has met damage, and makes way for one of them.
inline bool may_pass(const Status& status, uint32_t replicas) {
  return status.code() == Code::moved || (status.code() == Code::corruption && replicas > 1);
}

// What to tell a client when there is no time to try again: that shards move is no
// concern of its own.
inline Status given_up(Status status) {
  if (status.code() == Code::moved) status.code_ = Code::unavailable;
  return status;
}

}  // namespace jade
