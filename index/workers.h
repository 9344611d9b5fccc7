// Threads that share the work of one that has much to do.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace jade {

// Whoever has work calls run() from a thread of its own, which takes part. Any threads, also
// several at once, but not from within what run() calls. What comes out must not depend on
// which worker did what: replicas have different numbers of them.
class Workers {
 public:
  // For the items `begin` up to `end`; `worker` is below count(), 0 in the thread of the caller,
  // and no other call that runs at the same time has it: so each may have memory of its own.
  using Work = std::function<void(uint32_t worker, size_t begin, size_t end)>;

  virtual ~Workers() = default;
  // How many threads may take part, that of the caller included: 1 and more.
  virtual uint32_t count() const = 0;
  // Calls `work` for ranges of `step` items (1 and more; the last may be shorter) that make up
  // 0 .. n-1, in no order, and returns when all have been done. What it did is then visible to
  // the caller. What a call throws is thrown here, after those that run have ended; of the
  // others some are then left out.
  virtual void run(size_t n, size_t step, const Work& work) = 0;
};

// The same where there may be no workers (null): range after range in the calling thread, as
// worker 0.
inline void run_ranges(Workers* workers, size_t n, size_t step, const Workers::Work& work) {
  if (workers != nullptr) return workers->run(n, step, work);
  for (size_t begin = 0; begin < n; begin += step) work(0, begin, std::min(n, begin + step));
}

inline uint32_t count_of(const Workers* workers) {
  return workers != nullptr ? workers->count() : 1;
}

}  // namespace jade
