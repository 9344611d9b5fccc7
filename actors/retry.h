// Trying again a little later, without holding anything up meanwhile.
#pragma once

#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "actors/messages.h"

namespace jade {

// Not at once: whoever cannot answer now can hardly answer in the same moment.
constexpr auto retry_interval = std::chrono::milliseconds(50);

// What an actor that takes Ticks is to try at the next one.
class Retries {
 public:
  template <class Self>
  void add(Self* self, std::function<void()> attempt) {
    if (attempts_.empty()) self->delayed_send(self, retry_interval, Tick{});
    attempts_.push_back(std::move(attempt));
  }
  void run() {
    for (auto& attempt : std::exchange(attempts_, {})) attempt();
  }

 private:
  std::vector<std::function<void()>> attempts_;
};

inline uint64_t to_ms(caf::timespan span) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(span).count());
}

}  // namespace jade
