// The best k of many candidates.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "index/scoring.h"

namespace jade {

// Keeps the k smallest (distance, key) pairs; of equal distances the smaller key.
template <class Key>
class TopK {
 public:
  using Entry = std::pair<float, Key>;

  explicit TopK(size_t k) : k_(k) { heap_.reserve(std::min<size_t>(k, 1024)); }

  bool full() const { return heap_.size() >= k_; }
  size_t size() const { return heap_.size(); }
  // What a candidate must beat.
  float worst() const {
    return full() && k_ > 0 ? heap_.front().first : std::numeric_limits<float>::infinity();
  }

  void push(float distance, const Key& key) {
    if (!full()) {
      heap_.emplace_back(distance, key);
      std::push_heap(heap_.begin(), heap_.end());
    } else if (k_ > 0 && Entry(distance, key) < heap_.front()) {
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.back() = {distance, key};
      std::push_heap(heap_.begin(), heap_.end());
    }
  }

  // Best first. The collector is empty afterwards.
  std::vector<Entry> take_sorted() {
    std::sort_heap(heap_.begin(), heap_.end());
    return std::exchange(heap_, {});
  }

 private:
  size_t k_;
  std::vector<Entry> heap_;  // the worst on top
};

}  // namespace jade
