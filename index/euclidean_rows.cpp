#include "index/euclidean_rows.h"

#include <algorithm>
#include <cmath>

namespace jade {
namespace {

// Of stored rows, read at once where they are wanted one after another.
constexpr size_t window_bytes = 1u << 20;
// Squares of lengths above this would be infinite in sums.
constexpr float square_max = 1e38f;
// The shortest and the longest row, squared, are as good as equal from this share on.
constexpr float equal_squares = 0.999f;
// All are made as long as the longest, but at most so many times as long as half of them,
// squared: more, and floats would not hold by how much those differ.
constexpr float square_share = 1e4f;

}  // namespace

EuclideanRows::EuclideanRows(const float* vectors, uint32_t n, const Distance& distance)
    : EuclideanRows(reinterpret_cast<const char*>(vectors), n,
                    RowFormat(distance.metric(), distance.dimension(), Datatype::float32)) {}

EuclideanRows::EuclideanRows(const char* rows, uint32_t n, const RowFormat& format)
    : format_(format),
      rows_(rows),
      n_(n),
      dimension_(format.dimension()),
      l2_(Metric::l2, dimension_) {
  if (format.datatype() == Datatype::float32) vectors_ = reinterpret_cast<const float*>(rows);
  add_dimension();
}

EuclideanRows::EuclideanRows(const StoredVectors& stored, const uint64_t* row_numbers,
                             const RowFormat& format)
    : format_(format),
      stored_(&stored),
      row_numbers_(row_numbers),
      n_(stored.rows()),
      dimension_(format.dimension()),
      l2_(Metric::l2, dimension_) {
  add_dimension();
}

void EuclideanRows::add_dimension() {
  if (format_.metric() != Metric::dot || n_ == 0) return;
  Distance distance(Metric::dot, dimension_);
  added_.reserve(n_);
  for (uint32_t i = 0; i < n_; ++i) {
    const float* values = row(i);
    added_.push_back(std::min(-distance(values, values), square_max));
  }
  const auto [shortest, longest] = std::minmax_element(added_.begin(), added_.end());
  lengths_differ_ = *shortest < equal_squares * *longest;
  float square = *longest;
  std::vector<float> squares = added_;
  auto middle = squares.begin() + n_ / 2;
  std::nth_element(squares.begin(), middle, squares.end());
  // Where most are zero, there is nothing to tell apart.
  if (*middle > 0) square = std::min(square, square_share * *middle);
  for (float& value : added_) {
    const float shorter = square - value;
    value = std::copysign(std::sqrt(std::fabs(shorter)), shorter);
  }
}

const float* EuclideanRows::loaded_row(uint32_t i) const {
  const char* stored = stored_ != nullptr ? stored_row(i) : rows_ + i * format_.row_bytes();
  if (format_.datatype() == Datatype::float32) return reinterpret_cast<const float*>(stored);
  loaded_.resize(dimension_);
  format_.to_floats(stored, loaded_.data());
  return loaded_.data();
}

const float* EuclideanRows::kept_row(size_t i) const {
  if (kept_place_ != i) {
    const float* values = row(i);
    kept_.assign(values, values + dimension_);
    kept_place_ = i;
  }
  return kept_.data();
}

const float* EuclideanRows::row_at_hand(size_t i, std::vector<float>& memory) const {
  const char* bytes = rows_ + i * format_.row_bytes();
  if (stored_ != nullptr) {
    JADE_ASSERT(i >= window_begin_ && i - window_begin_ < window_rows_);
    bytes = window_.data() + (i - window_begin_) * format_.row_bytes();
  }
  if (format_.datatype() == Datatype::float32) return reinterpret_cast<const float*>(bytes);
  memory.resize(dimension_);
  format_.to_floats(bytes, memory.data());
  return memory.data();
}

uint32_t EuclideanRows::fetch(uint32_t i) const {
  if (stored_ == nullptr) return n_ - i;
  stored_row(i);
  return window_begin_ + window_rows_ - i;
}

const char* EuclideanRows::stored_row(uint32_t i) const {
  const size_t row_bytes = format_.row_bytes();
  if (i >= window_begin_ && i - window_begin_ < window_rows_) {
    return window_.data() + (i - window_begin_) * row_bytes;
  }
  // The next row is read with those after it, any other alone.
  bool next = i == 0 || i == window_begin_ + window_rows_;
  auto most = static_cast<uint32_t>(std::max<size_t>(1, window_bytes / row_bytes));
  uint32_t count = next ? std::min(most, n_ - i) : 1;
  window_.resize(count * row_bytes);
  Status read = status_.ok() ? stored_->read(i, count, row_numbers_ + i, window_.data()) : status_;
  if (!read.ok()) {
    status_ = read;
    std::fill(window_.begin(), window_.end(), 0);
  }
  window_begin_ = i;
  window_rows_ = count;
  return window_.data();
}

}  // namespace jade
