#include "index/rotation.h"

#include <bit>
#include <cmath>

#include "index/random.h"
#include "storage/status.h"

namespace jade {

Rotation::Rotation(size_t n)
    : hadamard_(kernels().hadamard), n_(n), part_(std::bit_floor(n)), signs_(rounds * n) {
  JADE_ASSERT(n > 0 && n % 2 == 0);
  Random random(n);
  for (float& sign : signs_) sign = random.below(2) == 0 ? 1.0f : -1.0f;
  scale_ = static_cast<float>(1 / std::sqrt(static_cast<double>(part_)));
}

void Rotation::apply(float* values) const {
  constexpr float half_root = 0.70710678f;
  const size_t half = n_ / 2;
  for (size_t round = 0; round < rounds; ++round) {
    const float* signs = signs_.data() + round * n_;
    for (size_t i = 0; i < n_; ++i) values[i] *= signs[i];
    float* part = round % 2 == 0 ? values : values + (n_ - part_);
    hadamard_(part, part_);
    for (size_t i = 0; i < part_; ++i) part[i] *= scale_;
    if (part_ == n_) continue;
    for (size_t i = 0; i < half; ++i) {
      float a = values[i], b = values[half + i];
      values[i] = (a + b) * half_root;
      values[half + i] = (a - b) * half_root;
    }
  }
}

}  // namespace jade
