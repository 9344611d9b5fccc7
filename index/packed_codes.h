// Vectors as whole numbers of 4 bits, two dimensions a byte. Queries keep 8 bits.
#pragma once

#include <vector>

#include "index/kernels.h"
#include "index/large_array.h"
#include "index/row_codes.h"

namespace jade {

// Each dimension has a range of its own: that within which a sample of the rows loses
// least, what lies outside being moved to its ends. The distance to a row, squared, is
// estimated as that to its code and that from there to the row: the two are about at right
// angles. So a row that is far from its code is not met as if it were near.
class PackedCodes final : public RowCodes {
 public:
  // Null where the codes would be too coarse to tell neighbours apart.
  static std::unique_ptr<const PackedCodes> of(const EuclideanRows& rows, Metric metric,
                                               Workers* workers = nullptr);

  Quantization kind() const override { return Quantization::sq4; }
  uint32_t rows() const override { return static_cast<uint32_t>(norms_.size()); }
  size_t memory_bytes() const override;
  size_t rescored_min(size_t k) const override { return 3 * k + 20; }
  bool encode(const float* query, EncodedQuery& out) const override;
  void distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                 float* out) const override;

 private:
  friend class RowCodes;
  // Of one dimension; values are lowest + step × code.
  struct Range {
    float lowest = 0;
    float step = 0;   // 0: all are equal
    float scale = 0;  // 1 / step, or 0
  };

  PackedCodes(uint32_t rows, uint32_t dimension, Metric metric);
  std::vector<std::span<char>> parts() override;
  bool measure(const EuclideanRows& rows);
  // False where too many rows are too far from their codes.
  bool encode_rows(const EuclideanRows& rows, Workers* workers);

  decltype(Kernels::packed_products) products_;
  Metric metric_;
  uint32_t dimension_;
  size_t width_;         // bytes of a code: half of dimension_, rounded up to whole cache lines
  float neighbour_ = 0;  // a small distance, squared, between neighbours
  std::vector<Range> ranges_;
  // Byte i of a code: dimension i in the low bits, i + width_ in the high ones.
  LargeArray<uint8_t> codes_;
  // |decoded row - middle|² + |row - decoded row|², where the middle is that of the ranges.
  LargeArray<float> norms_;
};

}  // namespace jade
