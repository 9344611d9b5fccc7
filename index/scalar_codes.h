// Vectors as whole numbers of 7 bits: a quarter of the memory to go through, and
// sums that every processor gets alike. Graphs are built and walked by them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "index/euclidean_rows.h"
#include "index/large_array.h"
#include "index/segment.h"

namespace jade {

// What rows are compared with, in the units of the codes: their distances are about
// base + norm × |code|² + product × (code · values).
struct EncodedQuery {
  std::vector<int8_t> values;  // as long as a code
  float base = 0;
  float norm = 0;
  float product = 0;
  bool is_row = false;
  float added = 0;  // of a row, in the dimension that EuclideanRows adds
};

// Codes of n rows. All dimensions have one scale; where they begin differs.
// Immutable: any thread may read.
class ScalarCodes {
 public:
  // Null where the codes would be too coarse to tell neighbours apart. They follow
  // from the rows alone (and under dot from the kernels: index/kernels.h).
  static std::unique_ptr<const ScalarCodes> of(const EuclideanRows& rows, Metric metric);

  uint32_t rows() const { return static_cast<uint32_t>(norms_.size()); }
  size_t memory_bytes() const;

  // False where codes cannot express the query, as it is far from all rows.
  // `query`: as many floats as a row has, of length 1 under cosine. Distances are then
  // those of Distance, under cosine twice as large.
  bool encode(const float* query, EncodedQuery& out) const;
  // A row as a query. Distances are then Euclidean, squared, in units of the codes.
  void encode_row(uint32_t row, EncodedQuery& out) const;
  void distances(const EncodedQuery& query, const uint32_t* rows, size_t count, float* out) const;
  void prefetch(uint32_t row) const {
    const char* code = reinterpret_cast<const char*>(codes_.data() + row * width_);
    for (size_t at = 0; at < prefetch_bytes_; at += 64) __builtin_prefetch(code + at);
    __builtin_prefetch(norms_.data() + row);
  }

 private:
  ScalarCodes(uint32_t rows, uint32_t dimension, Metric metric);
  bool measure(const EuclideanRows& rows);
  // False where too many rows are too far outside of what was measured.
  bool encode_rows(const EuclideanRows& rows);

  decltype(Kernels::code_products) products_;
  Metric metric_;
  uint32_t dimension_;
  size_t width_;           // bytes of a code: dimension_, rounded up to whole cache lines
  size_t prefetch_bytes_;  // the processor finds the rest by itself
  float step_ = 0;
  float neighbour_ = 0;  // a small distance, squared, between neighbours
  std::vector<float> lowest_;
  std::vector<float> middle_value_;
  std::vector<uint8_t> middle_;  // code of the middle of what each dimension spans; width_
  LargeArray<uint8_t> codes_;    // rows × width_
  std::vector<int32_t> norms_;   // |code - middle|²
  // In the dimension that EuclideanRows adds, in steps; else empty. Not a code: it may
  // span far more than the others, and no query has it.
  std::vector<float> added_;
};

}  // namespace jade
