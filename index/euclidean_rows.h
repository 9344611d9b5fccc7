// Rows as points whose Euclidean distance says how near they are.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "index/segment.h"
#include "index/stored_vectors.h"
#include "index/workers.h"

namespace jade {

// Of two rows that have these numbers for EuclideanRows::added(), what the added dimension
// gives to their squared distance.
inline float l2_squared_added(float a, float b) {
  const float difference = std::max(a, 0.0f) - std::max(b, 0.0f);
  return difference * difference;
}

// As that, but together with their squared distance without it the sum says how large their
// product is: less is more. (With s what all are made as long as, squared: 2 s - 2 a·b.)
inline float product_added(float a, float b) { return a * std::fabs(a) + b * std::fabs(b); }

// Links of a graph follow from distances between rows, and under dot the nearest to
// a row would be the longest rows there are: short ones would be out of reach. So
// each row gets one more dimension that makes all equally long; a query has 0 there
// (Bachrach et al., "Speeding up the Xbox recommender system using a Euclidean
// transformation for inner-product spaces", 2014). After that, as under cosine, all
// are compared by Euclidean distance. Rows so long that others would differ by rounding
// only are left longer.
class EuclideanRows {
 public:
  // `vectors`: n × distance.dimension(); they outlive this.
  EuclideanRows(const float* vectors, uint32_t n, const Distance& distance);
  // `rows`: n × format.row_bytes(); they outlive this. One thread, unless they are float32 or
  // each has memory of its own for them.
  EuclideanRows(const char* rows, uint32_t n, const RowFormat& format);
  // Of rows that are not in memory: one thread, best in their order. `row_numbers`: of all;
  // both outlive this. Where one cannot be read, status() says so, and rows are then zero.
  EuclideanRows(const StoredVectors& stored, const uint64_t* row_numbers, const RowFormat& format);

  uint32_t rows() const { return n_; }
  // Without the added one.
  uint32_t dimension() const { return dimension_; }
  bool has_added() const { return !added_.empty(); }
  // Whether, under dot, it makes a difference that rows are not all equally long.
  bool lengths_differ() const { return lengths_differ_; }
  const Status& status() const { return status_; }
  // Where they are not float32 in memory only until the next call.
  const float* row(size_t i) const {
    return vectors_ != nullptr ? vectors_ + i * dimension_ : loaded_row(static_cast<uint32_t>(i));
  }
  // Of rows in memory, from any thread, each with a `memory` of its own: what is returned
  // may be there, until the next call with it.
  const float* row(size_t i, std::vector<float>& memory) const {
    return vectors_ != nullptr ? vectors_ + i * dimension_ : row_at_hand(i, memory);
  }
  // Calls each(worker, i, values), in no order, for all rows, whether they are in memory or
  // have to be read; the values only until it returns.
  template <class Each>
  void for_each_row(Workers* workers, const Each& each) const {
    for (uint32_t begin = 0, end = 0; begin < n_; begin = end) {
      end = begin + fetch(begin);
      run_ranges(workers, end - begin, shared_rows, [&](uint32_t worker, size_t from, size_t to) {
        std::vector<float> memory;
        for (size_t i = begin + from; i < begin + to; ++i) each(worker, i, row(i, memory));
      });
    }
  }
  void prefetch(size_t i) const {
    if (stored_ == nullptr) prefetch_row(rows_ + i * format_.row_bytes(), format_.row_bytes());
  }
  // The square root of what row i, squared, is shorter than all are made; where it is longer,
  // minus that of how much. Then it has 0 there.
  float added(size_t i) const { return added_[i]; }
  float l2_squared(size_t i, size_t j) const {
    return vectors_ != nullptr ? l2_squared(row(i), i, row(j), j)
                               : l2_squared(kept_row(i), i, row(j), j);
  }
  // Of rows i and j, whose values are a and b.
  float l2_squared(const float* a, size_t i, const float* b, size_t j) const {
    float d = l2_(a, b);
    return added_.empty() ? d : d + l2_squared_added(added_[i], added_[j]);
  }

 private:
  // So many at once are worth another thread.
  static constexpr size_t shared_rows = 256;

  void add_dimension();
  // Reads some from this one on, where they are stored; how many are at hand, 1 and more.
  uint32_t fetch(uint32_t i) const;
  // Rows as floats, where they are something else: until the next call of the same.
  const float* loaded_row(uint32_t i) const;
  const float* kept_row(size_t i) const;
  // In memory, or among those that were read last.
  const float* row_at_hand(size_t i, std::vector<float>& memory) const;
  const char* stored_row(uint32_t i) const;

  RowFormat format_;
  const float* vectors_ = nullptr;  // rows that are float32 in memory
  const char* rows_ = nullptr;      // in memory
  const StoredVectors* stored_ = nullptr;
  const uint64_t* row_numbers_ = nullptr;
  uint32_t n_;
  uint32_t dimension_;
  Distance l2_;
  std::vector<float> added_;
  bool lengths_differ_ = false;
  // Of stored rows, those from window_begin_ on that were read last.
  mutable std::vector<char> window_;
  mutable uint32_t window_begin_ = 0;
  mutable uint32_t window_rows_ = 0;
  mutable std::vector<float> loaded_, kept_;
  mutable size_t kept_place_ = SIZE_MAX;
  mutable Status status_;
};

}  // namespace jade
