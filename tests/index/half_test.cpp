#include "index/half.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

namespace jade {

TEST_CASE("All half floats become the number they are") {
  CHECK(half_to_float(0x3c00) == 1);
  CHECK(half_to_float(0xc000) == -2);
  CHECK(half_to_float(0x7bff) == 65504);
  CHECK(half_to_float(0x0001) == std::ldexp(1.0f, -24));
  CHECK(half_to_float(0x0400) == std::ldexp(1.0f, -14));
  CHECK(half_to_float(0x3555) == doctest::Approx(0.333251953125));
  CHECK(half_to_float(0x7c00) == std::numeric_limits<float>::infinity());
  CHECK(half_to_float(0xfc00) == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(half_to_float(0x7e00)));
  CHECK(std::signbit(half_to_float(0x8000)));
  for (uint32_t half = 0; half < 0x7c00; ++half) {
    auto bits = static_cast<uint16_t>(half);
    int exponent = static_cast<int>(half >> 10);
    float mantissa = static_cast<float>(half & 0x3ff) / 1024.0f;
    float expected =
        exponent == 0 ? std::ldexp(mantissa, -14) : std::ldexp(1 + mantissa, exponent - 15);
    REQUIRE(half_to_float(bits) == expected);
    REQUIRE(half_to_float(static_cast<uint16_t>(bits | 0x8000)) == -expected);
  }
}

TEST_CASE("Floats become the nearest half, of two the even one") {
  for (uint32_t half = 0; half < 0x7c00; ++half) {
    auto bits = static_cast<uint16_t>(half);
    float value = half_to_float(bits);
    REQUIRE(float_to_half(value) == bits);
    REQUIRE(float_to_half(-value) == (bits | 0x8000));
    if (half == 0x7bff) continue;
    float next = half_to_float(static_cast<uint16_t>(half + 1));
    float middle = value + (next - value) / 2;
    REQUIRE(float_to_half(middle) == (half % 2 == 0 ? half : half + 1));
    REQUIRE(float_to_half(std::nextafter(middle, value)) == half);
    REQUIRE(float_to_half(std::nextafter(middle, next)) == half + 1);
  }
  constexpr float infinity = std::numeric_limits<float>::infinity();
  CHECK(float_to_half(half_max) == 0x7bff);
  CHECK(float_to_half(std::nextafter(65520.0f, 0.0f)) == 0x7bff);
  CHECK(float_to_half(65520.0f) == 0x7c00);
  CHECK(float_to_half(-infinity) == 0xfc00);
  CHECK(float_to_half(1e30f) == 0x7c00);
  CHECK(float_to_half(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(std::isnan(half_to_float(float_to_half(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace jade
