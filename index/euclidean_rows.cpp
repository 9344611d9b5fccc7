#include "index/euclidean_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace jade {
namespace {

// Of stored rows, read at once where they are wanted one after another.
constexpr size_t window_bytes = 1u << 20;

}  // namespace

EuclideanRows::EuclideanRows(const float* vectors, uint32_t n, const Distance& distance)
    : vectors_(vectors), n_(n), dimension_(distance.dimension()), l2_(Metric::l2, dimension_) {
  add_dimension(distance);
}

EuclideanRows::EuclideanRows(const StoredVectors& stored, const uint64_t* row_numbers,
                             const Distance& distance)
    : stored_(&stored),
      row_numbers_(row_numbers),
      n_(stored.rows()),
      dimension_(distance.dimension()),
      l2_(Metric::l2, dimension_) {
  add_dimension(distance);
}

void EuclideanRows::add_dimension(const Distance& distance) {
  if (distance.metric() != Metric::dot) return;
  float longest = 0;
  for (uint32_t i = 0; i < n_; ++i) {
    const float* values = row(i);
    added_.push_back(-distance(values, values));
    if (added_[i] < std::numeric_limits<float>::infinity()) {
      longest = std::max(longest, added_[i]);
    }
  }
  for (float& value : added_) value = std::sqrt(std::max(0.0f, longest - value));
}

const float* EuclideanRows::stored_row(uint32_t i) const {
  if (i >= window_begin_ && i - window_begin_ < window_rows_) {
    return window_.data() + size_t{i - window_begin_} * dimension_;
  }
  // The next row is read with those after it, any other alone.
  bool next = i == 0 || i == window_begin_ + window_rows_;
  auto most =
      static_cast<uint32_t>(std::max<size_t>(1, window_bytes / (dimension_ * sizeof(float))));
  uint32_t count = next ? std::min(most, n_ - i) : 1;
  window_.resize(size_t{count} * dimension_);
  Status read = status_.ok() ? stored_->read(i, count, row_numbers_ + i, window_.data()) : status_;
  if (!read.ok()) {
    status_ = read;
    std::fill(window_.begin(), window_.end(), 0.0f);
  }
  window_begin_ = i;
  window_rows_ = count;
  return window_.data();
}

}  // namespace jade
