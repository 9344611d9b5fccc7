// Numbers of 16 bits: IEEE 754 binary16, one sign, five exponent and ten fraction bits.
#pragma once

#include <bit>
#include <cstdint>

namespace jade {

inline constexpr float half_max = 65504;

// Exact.
inline float half_to_float(uint16_t half) {
  // The exponent of a float is biased by 112 more. Subnormal numbers come out right too.
  uint32_t bits = std::bit_cast<uint32_t>(std::bit_cast<float>((half & 0x7fffu) << 13) * 0x1p112f);
  if ((half & 0x7c00u) == 0x7c00u) bits |= 0x7f800000u;  // infinite, or no number
  return std::bit_cast<float>(bits | (half & 0x8000u) << 16);
}

// The nearest, of two that are equally near the even one; infinite from 65,520 on.
inline uint16_t float_to_half(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits >= 0x47800000u) {
    return static_cast<uint16_t>(sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u));
  }
  if (bits < 0x38800000u) {
    // Below 2^-14 halves are 2^-24 apart, as floats are from 0.5 on: the sum rounds.
    uint32_t sum = std::bit_cast<uint32_t>(std::bit_cast<float>(bits) + 0.5f);
    return static_cast<uint16_t>(sign | (sum - 0x3f000000u));
  }
  bits += 0xfffu + (bits >> 13 & 1u);
  return static_cast<uint16_t>(sign | (bits - 0x38000000u) >> 13);
}

}  // namespace jade
