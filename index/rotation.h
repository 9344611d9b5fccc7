// A random rotation that is cheap to apply.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/kernels.h"

namespace jade {

// Four rounds of random signs and a fast Walsh-Hadamard transform, for which it takes the
// time of n log n: Ailon and Chazelle, "The fast Johnson-Lindenstrauss transform", 2009.
// Where n is no power of two a transform covers the first or the last values only, and
// each is followed by sums and differences of the two halves (Kac's walk). Follows from n
// alone, and gives the same on every processor without fused sums in plain code. Any
// thread.
class Rotation {
 public:
  // `n`: even.
  explicit Rotation(size_t n);

  // In place; keeps lengths and products but for rounding.
  void apply(float* values) const;

 private:
  static constexpr size_t rounds = 4;

  decltype(Kernels::hadamard) hadamard_;
  size_t n_;
  size_t part_;               // the largest power of two up to n
  float scale_;               // of a transform: 1 / √part_
  std::vector<float> signs_;  // rounds × n, each 1 or -1
};

}  // namespace jade
