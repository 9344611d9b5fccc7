// Rows that are searched together.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "index/metric.h"
#include "index/row_format.h"
#include "index/scoring.h"
#include "index/selection.h"

namespace jade {

class Filter;

// The distance of index/scoring.h with everything looked up once. What is no
// number, as after an overflow, counts as infinitely far.
class Distance {
 public:
  Distance(Metric metric, uint32_t dimension)
      : kernel_(metric == Metric::l2 ? kernels().l2_squared : kernels().inner_product),
        base_(metric == Metric::cosine ? 1.0f : 0.0f),
        sign_(metric == Metric::l2 ? 1.0f : -1.0f),
        metric_(metric),
        dimension_(dimension) {}

  Metric metric() const { return metric_; }
  uint32_t dimension() const { return dimension_; }
  float operator()(const float* a, const float* b) const {
    float d = base_ + sign_ * kernel_(a, b, dimension_);
    return d == d ? d : std::numeric_limits<float>::infinity();
  }

 private:
  float (*kernel_)(const float*, const float*, size_t);
  float base_;
  float sign_;
  Metric metric_;
  uint32_t dimension_;
};

// A row has a number (unique in its shard, in the order of writing), an id, a
// vector and metadata. Inside a segment it is known by its offset. Rows are never
// changed; which are dead is kept outside. Any thread may read rows below rows();
// pointers and views live as long as the segment.
class Segment {
 public:
  Segment(uint32_t dimension, Metric metric, Datatype datatype)
      : format_(metric, dimension, datatype) {}
  virtual ~Segment() = default;
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  const RowFormat& format() const { return format_; }
  uint32_t dimension() const { return format_.dimension(); }
  Metric metric() const { return format_.metric(); }

  virtual uint32_t rows() const = 0;
  virtual uint64_t row_number(uint32_t offset) const = 0;
  // The key form of the id.
  virtual std::string_view id_view(uint32_t offset) const = 0;
  std::string id_key(uint32_t offset) const { return std::string(id_view(offset)); }
  // The vector as format() says, and its scale. It must be in memory.
  virtual const char* row(uint32_t offset) const = 0;
  virtual float scale(uint32_t offset) const = 0;
  // The vector into `out`, of format().row_bytes(), wherever it is.
  virtual Status read_row(uint32_t offset, char* out) const {
    std::memcpy(out, row(offset), format_.row_bytes());
    return {};
  }
  // As dimension() floats, of length 1 under cosine, wherever it is.
  Status read_vector(uint32_t offset, float* out) const;
  // The same of float32 in memory.
  const float* vector(uint32_t offset) const {
    JADE_ASSERT(format_.datatype() == Datatype::float32);
    return reinterpret_cast<const float*>(row(offset));
  }
  // Canonical JSON, or "".
  virtual std::string_view metadata(uint32_t offset) const = 0;
  virtual std::optional<uint32_t> find(uint64_t row_number) const = 0;
  // Which rows match, as an index of their metadata has it; nothing where there is none. What
  // rows are beyond its size nobody knows.
  virtual std::optional<Selection> select(const Filter&) const { return std::nullopt; }
  // flat where there is no structure to search by.
  virtual IndexKind kind() const { return IndexKind::flat; }

 private:
  RowFormat format_;
};

}  // namespace jade
