// Vectors as one byte for every four dimensions.
#pragma once

#include <vector>

#include "index/large_array.h"
#include "index/row_codes.h"

namespace jade {

// Product quantisation: Jégou, Douze and Schmid, "Product quantization for nearest neighbor
// search", 2011. Four dimensions at a time are replaced by the nearest of 256 centres, which
// FAISS's k-means finds in a sample of the rows, in plain code and from a fixed seed. A
// query gets a table of its distances to all centres; that to a row is a sum of entries, and
// of what the row is off its centres.
class ProductCodes final : public RowCodes {
 public:
  // Fewer are not enough to train with, and hardly pay for the centres.
  static constexpr uint32_t rows_min = 5000;

  // Null where there are fewer rows, or the codes would be too coarse to tell neighbours
  // apart.
  static std::unique_ptr<const ProductCodes> of(const EuclideanRows& rows, Metric metric,
                                                Workers* workers = nullptr);

  Quantization kind() const override { return Quantization::pq; }
  uint32_t rows() const override { return static_cast<uint32_t>(lost_.size()); }
  size_t memory_bytes() const override;
  size_t rescored_min(size_t k) const override { return 6 * k + 40; }
  bool encode(const float* query, EncodedQuery& out) const override;
  void distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                 float* out) const override;

 private:
  friend class RowCodes;
  ProductCodes(uint32_t rows, uint32_t dimension, Metric metric);
  std::vector<std::span<char>> parts() override;
  bool train(const EuclideanRows& rows, Workers* workers);
  // False where too many rows are too far from their centres.
  bool encode_rows(const EuclideanRows& rows, Workers* workers);
  // The centres of four dimensions: the first of their dimensions, 256 values, then the next.
  const float* centres_of(size_t part) const { return centres_.data() + part * 1024; }

  Metric metric_;
  uint32_t dimension_;
  size_t parts_;  // fours of dimensions; the last may be padded with zeros
  size_t width_;  // bytes of a code: parts_, rounded up to half cache lines
  std::vector<float> centres_;
  LargeArray<uint8_t> codes_;  // rows × width_
  LargeArray<float> lost_;     // |row - its centres|²
};

}  // namespace jade
