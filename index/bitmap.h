// A fixed-size set of row offsets.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace jade {

class Bitmap {
 public:
  explicit Bitmap(size_t size) : words_((size + 63) / 64), size_(size) {}

  bool test(size_t i) const { return (words_[i / 64] >> (i % 64) & 1) != 0; }
  // Returns whether it was not set before.
  bool set(size_t i) {
    uint64_t bit = uint64_t{1} << (i % 64);
    bool fresh = (words_[i / 64] & bit) == 0;
    words_[i / 64] |= bit;
    return fresh;
  }
  size_t size() const { return size_; }
  size_t count() const {
    size_t total = 0;
    for (uint64_t word : words_) total += static_cast<size_t>(std::popcount(word));
    return total;
  }

 private:
  std::vector<uint64_t> words_;
  size_t size_;
};

}  // namespace jade
