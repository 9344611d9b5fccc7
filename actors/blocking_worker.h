// Runs blocking functions one after another: index builds, syncs of a shard's
// state. Spawned detached in production, as an ordinary actor in the simulator.
#pragma once

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

}  // namespace jade
