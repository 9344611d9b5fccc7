// Giving up work that takes long.
#pragma once

#include <atomic>

namespace jade {

// Whether whoever wanted the work has set `cancel`, which may be null: nobody can. Any thread.
inline bool is_cancelled(const std::atomic<bool>* cancel) {
  return cancel != nullptr && cancel->load(std::memory_order_relaxed);
}

}  // namespace jade
