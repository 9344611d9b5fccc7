// Vectors as whole numbers of 7 bits: a quarter of the memory to go through, and
// sums that every processor gets alike. Graphs are built and walked by them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "index/kernels.h"
#include "index/large_array.h"
#include "index/row_codes.h"

namespace jade {

// All dimensions have one scale; where they begin differs. So rows can also be compared
// with each other, as to build a graph.
class ScalarCodes final : public RowCodes {
 public:
  // Null where the codes would be too coarse to tell neighbours apart.
  static std::unique_ptr<const ScalarCodes> of(const EuclideanRows& rows, Metric metric,
                                               Workers* workers = nullptr);

  Quantization kind() const override { return Quantization::sq8; }
  uint32_t rows() const override { return static_cast<uint32_t>(norms_.size()); }
  uint32_t dimension() const { return dimension_; }
  size_t memory_bytes() const override;
  // On the data sets of docs/performance.md no more than 2 k are needed. But under dot fewer are,
  // by error().
  size_t rescored_min(size_t k) const override { return 2 * k + 10; }
  // `query`: of encode().
  float error(const EncodedQuery& query, float distance) const override;
  bool encode(const float* query, EncodedQuery& out) const override;
  // The code of a row, with what it is filled up with.
  std::span<const uint8_t> code(uint32_t row) const {
    return {codes_.data() + row * width_, width_};
  }
  // Under dot: EuclideanRows::added() of a row, in units of the codes.
  float added(uint32_t row) const { return added_[row]; }
  // A row as a query. Distances are then Euclidean, squared, in units of the codes; under dot,
  // with out.by_product, those of product_added().
  void encode_row(uint32_t row, EncodedQuery& out) const;
  void distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                 float* out) const override;

 private:
  friend class RowCodes;
  ScalarCodes(uint32_t rows, uint32_t dimension, Metric metric);
  std::vector<std::span<char>> parts() override;
  bool measure(const EuclideanRows& rows);
  // False where too many rows are too far outside of what was measured.
  bool encode_rows(const EuclideanRows& rows, Workers* workers);

  decltype(Kernels::code_products) products_;
  Metric metric_;
  uint32_t dimension_;
  size_t width_;  // bytes of a code: dimension_, rounded up to whole cache lines
  float step_ = 0;
  float neighbour_ = 0;  // a small distance, squared, between neighbours
  std::vector<float> lowest_;
  std::vector<float> middle_value_;
  std::vector<uint8_t> middle_;  // code of the middle of what each dimension spans; width_
  LargeArray<uint8_t> codes_;    // rows × width_
  std::vector<int32_t> norms_;   // |code - middle|²
  // EuclideanRows::added(), in steps; else empty. Not a code: it may span far more than the
  // others, and no query has it.
  std::vector<float> added_;
};

}  // namespace jade
