// Runs blocking functions one after another: index builds, syncs of a shard's
// state. Spawned detached in production, as an ordinary actor in the simulator.
#pragma once

#include <deque>
#include <functional>
#include <utility>

#include "actors/messages.h"

namespace jade {

// `on_start` runs first on the worker's own thread (to lower its priority).
inline blocking_actor::behavior_type blocking_worker(blocking_actor::pointer,
                                                     std::function<void()> on_start) {
  auto started = std::make_shared<bool>(false);
  return {
      [started, on_start = std::move(on_start)](BlockingTask& task) {
        if (!std::exchange(*started, true) && on_start) on_start();
        return TaskDone{task.run()};
      },
  };
}

// The same for the simulator, in which work takes no time by itself: each takes as long as
// `takes_ms` says when it begins. All of it is done at the end of that.
using slow_blocking_actor = blocking_actor::extend<caf::reacts_to<Tick>>;

struct slow_worker_state {
  using Waiting = std::pair<BlockingTask, caf::typed_response_promise<TaskDone>>;
  std::deque<Waiting> waiting;  // the first has begun
  const char* name = "slow_worker";
};

inline slow_blocking_actor::behavior_type slow_blocking_worker(
    slow_blocking_actor::stateful_pointer<slow_worker_state> self,
    std::function<uint64_t()> takes_ms) {
  auto begin = [self, takes_ms = std::move(takes_ms)] {
    self->delayed_send(self, std::chrono::milliseconds(takes_ms()), Tick{});
  };
  return {
      [self, begin](BlockingTask& task) {
        auto promise = self->make_response_promise<TaskDone>();
        self->state.waiting.emplace_back(std::move(task), promise);
        if (self->state.waiting.size() == 1) begin();
        return promise;
      },
      [self, begin](const Tick&) {
        auto [task, promise] = std::move(self->state.waiting.front());
        self->state.waiting.pop_front();
        if (!self->state.waiting.empty()) begin();
        promise.deliver(TaskDone{task.run()});
      },
  };
}

}  // namespace jade
