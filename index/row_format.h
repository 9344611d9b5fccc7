// How the rows of a segment are kept, and a query compared with them.
#pragma once

#include <limits>
#include <vector>

#include "index/datatype.h"
#include "index/kernels.h"
#include "index/metric.h"

namespace jade {

// Rows of float32 are of length 1 under cosine. Others are as they were given, as that
// could not be stored, and each is compared with a factor of its own, its scale.
class RowFormat {
 public:
  RowFormat(Metric metric, uint32_t dimension, Datatype datatype)
      : metric_(metric), dimension_(dimension), datatype_(datatype) {}

  Metric metric() const { return metric_; }
  uint32_t dimension() const { return dimension_; }
  Datatype datatype() const { return datatype_; }
  size_t row_bytes() const { return dimension_ * element_bytes(datatype_); }
  // Whether rows have a scale other than 1.
  bool scaled() const { return metric_ == Metric::cosine && datatype_ != Datatype::float32; }
  // One by its length where scaled(); the same whatever the kernels. `row`: row_bytes().
  float scale(const char* row) const;
  // As what graphs, codes and lists are made of: dimension() floats, of length 1 under cosine.
  void to_floats(const char* row, float* out) const;

  friend bool operator==(const RowFormat&, const RowFormat&) = default;

 private:
  Metric metric_;
  uint32_t dimension_;
  Datatype datatype_;
};

// The distance (index/scoring.h) of one query to rows of one format, with everything looked
// up once. What is no number, as after an overflow, counts as infinitely far. Any thread.
class RowDistance {
 public:
  // `query`: dimension() floats, of length 1 under cosine; outlives this.
  RowDistance(const RowFormat& format, const float* query);

  const RowFormat& format() const { return format_; }
  const float* query() const { return query_; }
  // `row`: row_bytes(), aligned as its elements are. `scale`: of the row.
  float operator()(const char* row, float scale) const {
    float d = base_ + sign_ * (scale * compare(row));
    return d == d ? d : std::numeric_limits<float>::infinity();
  }

 private:
  // Whole numbers with whole numbers where the query has no others: exact, and faster.
  enum class Way : uint8_t { float32, float16, uint8, whole };

  float compare(const char* row) const {
    const size_t d = format_.dimension();
    switch (way_) {
      case Way::float32: return float32_(query_, reinterpret_cast<const float*>(row), d);
      case Way::float16: return float16_(query_, reinterpret_cast<const uint16_t*>(row), d);
      case Way::uint8: return uint8_(query_, reinterpret_cast<const uint8_t*>(row), d);
      case Way::whole: break;
    }
    return static_cast<float>(whole_(bytes_.data(), reinterpret_cast<const uint8_t*>(row), d));
  }

  RowFormat format_;
  const float* query_;
  float base_;
  float sign_;
  Way way_ = Way::float32;
  float (*float32_)(const float*, const float*, size_t);
  float (*float16_)(const float*, const uint16_t*, size_t);
  float (*uint8_)(const float*, const uint8_t*, size_t);
  uint32_t (*whole_)(const uint8_t*, const uint8_t*, size_t);
  std::vector<uint8_t> bytes_;  // the query, where it is whole
};

// That it is to be read soon.
inline void prefetch_row(const char* row, size_t bytes) {
  // The first lines; the processor goes on by itself.
  size_t size = bytes < 512 ? bytes : 512;
  for (size_t at = 0; at < size; at += 64) __builtin_prefetch(row + at);
}

}  // namespace jade
