#include "index/hnsw_search.h"

namespace jade {

WalkMemory& WalkMemory::of_this_thread() {
  thread_local WalkMemory memory;
  return memory;
}

void WalkMemory::reset(size_t n) {
  if (epochs_.size() < n) epochs_.resize(n, 0);
  if (++epoch_ == 0) {
    std::fill(epochs_.begin(), epochs_.end(), uint16_t{0});
    epoch_ = 1;
  }
}

}  // namespace jade
