// Rows that are searched together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "index/metric.h"

namespace jade {

// A row has a number (unique in its shard, in the order of writing), an id, a
// vector and metadata. Inside a segment it is known by its offset. Rows are never
// changed; which are dead is kept outside. Any thread may read rows below rows();
// pointers and views live as long as the segment.
class Segment {
 public:
  Segment(uint32_t dimension, Metric metric) : dimension_(dimension), metric_(metric) {}
  virtual ~Segment() = default;
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  uint32_t dimension() const { return dimension_; }
  Metric metric() const { return metric_; }

  virtual uint32_t rows() const = 0;
  virtual uint64_t row_number(uint32_t offset) const = 0;
  // The key form of the id.
  virtual std::string_view id_view(uint32_t offset) const = 0;
  std::string id_key(uint32_t offset) const { return std::string(id_view(offset)); }
  // dimension() floats, of length 1 under cosine.
  virtual const float* vector(uint32_t offset) const = 0;
  // Canonical JSON, or "".
  virtual std::string_view metadata(uint32_t offset) const = 0;
  virtual std::optional<uint32_t> find(uint64_t row_number) const = 0;
  // flat where there is no structure to search by.
  virtual IndexKind kind() const { return IndexKind::flat; }

 private:
  uint32_t dimension_;
  Metric metric_;
};

}  // namespace jade
