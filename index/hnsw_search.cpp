#include "index/hnsw_search.h"

namespace jade {

WalkMemory& WalkMemory::of_this_thread() {
  thread_local WalkMemory memory;
  return memory;
}

void WalkMemory::reset(size_t n) {
  recent_visits_ = 0;
  if (epochs_.size() < n) epochs_.resize(n, 0);
  if (++epoch_ == 0) {
    std::fill(epochs_.begin(), epochs_.end(), uint16_t{0});
    epoch_ = 1;
  }
}

bool WalkMemory::reset_recent(size_t n, size_t width) {
  // A walk comes to about ten rows for each that its beam holds; with three places for each
  // of them, one in twenty is said to be new again.
  const size_t places = std::bit_ceil(std::max<size_t>(32 * width, 1024));
  if (places * sizeof recent_[0] > n * sizeof epochs_[0] / 8) return false;
  recent_.assign(places, UINT32_MAX);
  recent_shift_ = 32 - static_cast<uint32_t>(std::countr_zero(places));
  recent_visits_ = 0;
  return true;
}

}  // namespace jade
