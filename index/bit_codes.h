// Vectors as one bit a dimension, after a random rotation.
#pragma once

#include <vector>

#include "index/kernels.h"
#include "index/large_array.h"
#include "index/rotation.h"
#include "index/row_codes.h"

namespace jade {

// RaBitQ: Gao and Long, "RaBitQ: Quantizing high-dimensional vectors with a theoretical
// error bound for approximate nearest neighbor search", SIGMOD 2024. Of a row, from the
// middle of all and rotated, the signs are kept, its length, and how far the row is from
// what the signs say. With both, products with a query are estimated without bias, and the
// error falls as 1 / √dimension. Queries are rotated as well and keep 4 bits a dimension.
class BitCodes final : public RowCodes {
 public:
  // Null where the estimates would be too coarse to tell neighbours apart.
  static std::unique_ptr<const BitCodes> of(const EuclideanRows& rows, Metric metric,
                                            Workers* workers = nullptr);

  Quantization kind() const override { return Quantization::rabitq; }
  uint32_t rows() const override { return rows_; }
  size_t memory_bytes() const override;
  // But under dot fewer are, by error().
  size_t rescored_min(size_t k) const override { return 24 * k + 100; }
  float error(const EncodedQuery& query, float distance) const override;
  bool encode(const float* query, EncodedQuery& out) const override;
  void distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                 float* out) const override;

 private:
  // What precedes the bits of a row.
  struct Head {
    float norm;    // |row - middle|²
    float factor;  // norm / Σ |value| of the rotated row: of its signs, to estimate products
  };

  friend class RowCodes;
  BitCodes(uint32_t rows, uint32_t dimension, Metric metric);
  std::vector<std::span<char>> parts() override;
  bool measure(const EuclideanRows& rows);
  bool encode_rows(const EuclideanRows& rows, Workers* workers);
  // `from`: taken off, or null. `out`: rotated_ floats.
  void rotate(const float* values, const float* from, float* out) const;

  decltype(Kernels::bit_products) products_;
  Metric metric_;
  uint32_t rows_;
  uint32_t dimension_;
  size_t rotated_;  // dimensions after the rotation: rounded up to whole 128
  size_t stride_;   // bytes from row to row: head and bits, rounded up to half cache lines
  Rotation rotation_;
  std::vector<float> middle_;
  LargeArray<uint8_t> codes_;  // rows × stride
};

}  // namespace jade
