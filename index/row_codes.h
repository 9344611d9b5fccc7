// Rows made smaller, for graphs to be walked by. Distances by codes are near the true
// ones; the best that a walk finds are then compared by their values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "index/euclidean_rows.h"
#include "index/metric.h"

namespace jade {

// What rows are compared with, as a kind of codes sees it: the distance of a row is about
// base + norm × |code|² + product × (code · values).
struct EncodedQuery {
  std::vector<int8_t> values;
  float base = 0;
  float norm = 0;
  float product = 0;
  int32_t sum = 0;           // of `values`, where a kind asks for it
  std::vector<float> table;  // of pq: distances to its centres
  bool is_row = false;
  float added = 0;          // EuclideanRows::added() of a row
  bool by_product = false;  // of a row: how others are compared with it
};

// Codes of n rows. Immutable: any thread may read.
class RowCodes {
 public:
  // Of the kind that is wanted, or of the next finer one where that is too coarse to tell
  // neighbours apart; null where all are, and for Quantization::none. They follow from
  // the rows alone (and under dot from the kernels: index/kernels.h), not from how many
  // `workers` (null: none) share in making them.
  static std::unique_ptr<const RowCodes> of(Quantization wanted, const EuclideanRows& rows,
                                            Metric metric, Workers* workers = nullptr);
  // As bytes that load() takes: piece after piece.
  Status save(const std::function<Status(std::string_view)>& sink) const;
  // How many they are; 0 for Quantization::none, which has none.
  static uint64_t saved_bytes(Quantization kind, uint32_t rows, uint32_t dimension, Metric metric);
  // `source` fills as many bytes as it is asked for. Whatever they are, all that the codes
  // can be asked for is safe.
  static Result<std::unique_ptr<const RowCodes>> load(
      Quantization kind, uint32_t rows, uint32_t dimension, Metric metric,
      const std::function<Status(char*, size_t)>& source);
  virtual ~RowCodes() = default;
  RowCodes(const RowCodes&) = delete;
  RowCodes& operator=(const RowCodes&) = delete;

  virtual Quantization kind() const = 0;
  virtual uint32_t rows() const = 0;
  virtual size_t memory_bytes() const = 0;
  // Of one row, as they lie in memory.
  size_t code_bytes() const { return width_; }
  // Of how many rows that are best by their codes the true distances are to be computed, to
  // find the best k, where nothing is known of how far their codes are off: at least, as that is
  // how it is found out.
  virtual size_t rescored_min(size_t k) const = 0;
  // By how much what distances() gives for a row at this true distance (both as there) is
  // hardly ever more. Infinity where that is not known.
  virtual float error(const EncodedQuery&, float) const {
    return std::numeric_limits<float>::infinity();
  }

  // False where codes cannot express the query, as it is far from all rows.
  // `query`: as many floats as a row has, of length 1 under cosine. Distances are then
  // those of Distance, under cosine twice as large.
  virtual bool encode(const float* query, EncodedQuery& out) const = 0;
  virtual void distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                         float* out) const = 0;
  void prefetch(uint32_t row) const {
    const char* code = first_code_ + row * width_;
    for (size_t at = 0; at < prefetch_bytes_; at += 64) __builtin_prefetch(code + at);
    if (first_norm_ != nullptr) __builtin_prefetch(first_norm_ + row * sizeof(float));
  }

 protected:
  RowCodes() = default;
  // What is saved, in this order, of a size that follows from kind, rows, dimension and
  // metric.
  virtual std::vector<std::span<char>> parts() = 0;
  template <class T>
  static std::span<char> bytes_of(T* values, size_t count) {
    return {reinterpret_cast<char*>(values), count * sizeof(T)};
  }
  static std::unique_ptr<RowCodes> make(Quantization kind, uint32_t rows, uint32_t dimension,
                                        Metric metric);
  // A small distance, squared, between neighbours among a sample of the rows; infinity
  // where no two of them differ.
  static float neighbour_distance(const EuclideanRows& rows);
  // How many of n rows may be strays: farther from their codes than neighbours are from each
  // other. Under dot the longest rows are, which are the best of all: no more than any search
  // compares by values.
  static uint64_t strays_max(uint32_t n, Metric metric) {
    return metric == Metric::dot ? std::min<uint32_t>(10, n / stray_share) : n / stray_share;
  }
  static constexpr uint32_t stray_share = 1000;
  // Where what `distances` reads lies: codes of `width` bytes, whole halves of cache lines,
  // and one number of four bytes of each row; null: it is with the code.
  void set_layout(const void* codes, size_t width, const void* norms);

 private:
  const char* first_code_ = nullptr;
  const char* first_norm_ = nullptr;
  size_t width_ = 0;
  size_t prefetch_bytes_ = 0;  // the processor finds the rest by itself
};

}  // namespace jade
