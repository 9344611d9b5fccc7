// A fixed-size set of row offsets.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/kernels.h"

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
  size_t count() const { return kernels().count_bits(words_.data(), words_.size()); }
  bool none() const {
    return std::all_of(words_.begin(), words_.end(), [](uint64_t word) { return word == 0; });
  }
  size_t memory_bytes() const { return words_.size() * sizeof(uint64_t); }

  // With what is in another, which may be of another size.
  void add(const Bitmap& other) {
    for (size_t i = 0; i < common(other); ++i) words_[i] |= other.words_[i];
    trim();
  }
  // With what is in another, moved up by `from`; what is moved beyond the end is left out.
  void add_at(size_t from, const Bitmap& other) {
    const size_t shift = from % 64;
    for (size_t i = 0, at = from / 64; i < other.words_.size() && at < words_.size(); ++i, ++at) {
      words_[at] |= other.words_[i] << shift;
      if (shift != 0 && at + 1 < words_.size()) words_[at + 1] |= other.words_[i] >> (64 - shift);
    }
    trim();
  }
  // With all from `begin` on and below `end`.
  void add_range(size_t begin, size_t end) {
    for (size_t i = begin; i < end;) {
      const size_t next = std::min(end, (i / 64 + 1) * 64);
      const uint64_t upper = ~uint64_t{0} << (i % 64);
      words_[i / 64] |= next % 64 == 0 ? upper : upper & ~(~uint64_t{0} << (next % 64));
      i = next;
    }
  }
  // With what is in `other`, but not in `without`; all are of one size.
  void add_difference(const Bitmap& other, const Bitmap& without) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i] & ~without.words_[i];
  }
  // Whether one is in both.
  bool intersects(const Bitmap& other) const {
    uint64_t both = 0;
    for (size_t i = 0; i < common(other); ++i) both |= words_[i] & other.words_[i];
    return both != 0;
  }
  void remove(const Bitmap& other) {
    for (size_t i = 0; i < common(other); ++i) words_[i] &= ~other.words_[i];
  }
  void keep(const Bitmap& other) {
    for (size_t i = 0; i < common(other); ++i) words_[i] &= other.words_[i];
    for (size_t i = common(other); i < words_.size(); ++i) words_[i] = 0;
  }
  void invert() {
    for (uint64_t& word : words_) word = ~word;
    trim();
  }
  // Keeps only what is below `end`.
  void keep_below(size_t end) {
    if (end >= size_) return;
    std::fill(words_.begin() + static_cast<std::ptrdiff_t>((end + 63) / 64), words_.end(), 0);
    if (end % 64 != 0) words_[end / 64] &= ~uint64_t{0} >> (64 - end % 64);
  }

  // The first that is set at or after `from`; size() if there is none.
  size_t next(size_t from) const {
    if (from >= size_) return size_;
    uint64_t word = words_[from / 64] & ~uint64_t{0} << (from % 64);
    for (size_t i = from / 64;; word = words_[i]) {
      if (word != 0) return i * 64 + static_cast<size_t>(std::countr_zero(word));
      if (++i == words_.size()) return size_;
    }
  }
  // In ascending order from `from` on, while visit(i) is true.
  template <class Visit>
  void visit_while(size_t from, Visit visit) const {
    for (size_t i = from / 64; i < words_.size(); ++i) {
      uint64_t word = words_[i];
      if (i == from / 64) word &= ~uint64_t{0} << (from % 64);
      for (; word != 0; word &= word - 1) {
        if (!visit(i * 64 + static_cast<size_t>(std::countr_zero(word)))) return;
      }
    }
  }
  template <class Visit>
  void visit(Visit visit) const {
    visit_while(0, [&](size_t i) {
      visit(i);
      return true;
    });
  }

 private:
  size_t common(const Bitmap& other) const { return std::min(words_.size(), other.words_.size()); }
  // Bits beyond the size are never set.
  void trim() {
    if (size_ % 64 != 0) words_.back() &= ~uint64_t{0} >> (64 - size_ % 64);
  }

  std::vector<uint64_t> words_;
  size_t size_;
};

}  // namespace jade
