#include "index/kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "index/half.h"

namespace jade {

TEST_CASE("Every level of kernels agrees with sums in double") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  // One more at the front, so that nothing is aligned.
  std::vector<float> a(4098), b(4098);
  for (float& value : a) value = normal(random);
  for (float& value : b) value = normal(random);
  std::vector<size_t> dimensions = {127, 129,  255,  257,  511,  513,
                                    784, 1000, 1023, 2049, 4095, 4096};
  for (size_t d = 0; d <= 100; ++d) dimensions.push_back(d);
  REQUIRE(kernels_at(SimdLevel::portable) != nullptr);
  for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
    const Kernels* tested = kernels_at(level);
    if (tested == nullptr) continue;
    CAPTURE(to_string(level));
    CHECK(tested->level == level);
    CHECK(kernels().level >= level);
    for (size_t d : dimensions) {
      CAPTURE(d);
      for (size_t shift : {size_t{0}, size_t{1}}) {
        const float* x = a.data() + shift;
        const float* y = b.data() + 1 - shift;
        double l2 = 0, product = 0, size = 0;
        for (size_t i = 0; i < d; ++i) {
          double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
          l2 += difference * difference;
          product += static_cast<double>(x[i]) * static_cast<double>(y[i]);
          size += std::fabs(static_cast<double>(x[i]) * static_cast<double>(y[i]));
        }
        CHECK(std::fabs(static_cast<double>(tested->l2_squared(x, y, d)) - l2) <= 1e-5 * l2);
        CHECK(std::fabs(static_cast<double>(tested->inner_product(x, y, d)) - product) <=
              1e-5 * size);
        CHECK(tested->l2_squared(x, x, d) == 0);
      }
    }
  }
}

TEST_CASE("Kernels read no more than the vectors") {
  // The address sanitizer sees a read past either.
  for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
    const Kernels* tested = kernels_at(level);
    for (size_t d = 1; tested != nullptr && d < 70; ++d) {
      std::vector<float> a(d, 1.0f), b(d, 3.0f);
      CHECK(tested->l2_squared(a.data(), b.data(), d) == 4 * static_cast<float>(d));
      CHECK(tested->inner_product(a.data(), b.data(), d) == 3 * static_cast<float>(d));
    }
  }
}

namespace {

// Odd ones from 1 to 4,096, and those on both sides of what is compared at once.
std::vector<size_t> some_dimensions() {
  std::vector<size_t> out = {127, 128, 129, 255, 256, 257, 784, 1000, 1023, 1025, 2049, 4095, 4096};
  for (size_t d = 0; d <= 100; ++d) out.push_back(d);
  return out;
}

// What sums in double give.
struct Sums {
  double l2 = 0, product = 0, size = 0;

  void add(double x, double y) {
    l2 += (x - y) * (x - y);
    product += x * y;
    size += std::fabs(x * y);
  }
  void check(float found_l2, float found_product) const {
    CHECK(std::fabs(static_cast<double>(found_l2) - l2) <= 1e-5 * l2);
    CHECK(std::fabs(static_cast<double>(found_product) - product) <= 1e-5 * size);
  }
};

}  // namespace

TEST_CASE("Sums of floats are the same, bit for bit, with AVX2 and with AVX-512") {
  const Kernels* narrow = kernels_at(SimdLevel::avx2);
  const Kernels* wide = kernels_at(SimdLevel::avx512);
  if (narrow == nullptr || wide == nullptr) return;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (size_t d : some_dimensions()) {
    CAPTURE(d);
    std::vector<float> a(d), b(d);
    std::vector<uint16_t> halves(d);
    std::vector<uint8_t> bytes(d);
    for (size_t i = 0; i < d; ++i) {
      a[i] = normal(random);
      b[i] = normal(random);
      halves[i] = float_to_half(b[i]);
      bytes[i] = static_cast<uint8_t>(random());
    }
    CHECK(narrow->l2_squared(a.data(), b.data(), d) == wide->l2_squared(a.data(), b.data(), d));
    CHECK(narrow->inner_product(a.data(), b.data(), d) ==
          wide->inner_product(a.data(), b.data(), d));
    CHECK(narrow->l2_squared_f16(a.data(), halves.data(), d) ==
          wide->l2_squared_f16(a.data(), halves.data(), d));
    CHECK(narrow->inner_product_f16(a.data(), halves.data(), d) ==
          wide->inner_product_f16(a.data(), halves.data(), d));
    CHECK(narrow->l2_squared_f32_u8(a.data(), bytes.data(), d) ==
          wide->l2_squared_f32_u8(a.data(), bytes.data(), d));
    CHECK(narrow->inner_product_f32_u8(a.data(), bytes.data(), d) ==
          wide->inner_product_f32_u8(a.data(), bytes.data(), d));
  }
}

TEST_CASE("Every level of kernels of float16 and uint8 agrees with sums in double") {
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
    const Kernels* tested = kernels_at(level);
    if (tested == nullptr) continue;
    CAPTURE(to_string(level));
    for (size_t d : some_dimensions()) {
      CAPTURE(d);
      // Of their own size, so that the address sanitizer sees a read past them.
      std::vector<float> a(d), wide(d);
      std::vector<uint16_t> halves(d);
      std::vector<uint8_t> bytes(d);
      Sums of_halves, of_bytes;
      for (size_t i = 0; i < d; ++i) {
        a[i] = normal(random);
        wide[i] = 100 * normal(random);
        // All sizes there are, subnormal ones too.
        halves[i] = float_to_half(std::ldexp(normal(random), static_cast<int>(random() % 32) - 26));
        bytes[i] = static_cast<uint8_t>(random() % 256);
        of_halves.add(static_cast<double>(a[i]), static_cast<double>(half_to_float(halves[i])));
        of_bytes.add(static_cast<double>(wide[i]), bytes[i]);
      }
      of_halves.check(tested->l2_squared_f16(a.data(), halves.data(), d),
                      tested->inner_product_f16(a.data(), halves.data(), d));
      of_bytes.check(tested->l2_squared_f32_u8(wide.data(), bytes.data(), d),
                     tested->inner_product_f32_u8(wide.data(), bytes.data(), d));
    }
  }
}

TEST_CASE("Every level of kernels has the same distances of uint8") {
  std::mt19937 random(7);
  auto dimensions = some_dimensions();
  dimensions.push_back(16384);
  for (size_t d : dimensions) {
    CAPTURE(d);
    // The largest there may be, and others.
    for (bool largest : {true, false}) {
      std::vector<uint8_t> a(d), b(d), zero(d);
      uint64_t l2 = 0, product = 0;
      for (size_t i = 0; i < d; ++i) {
        a[i] = static_cast<uint8_t>(largest ? 255 : random() % 256);
        b[i] = static_cast<uint8_t>(largest ? 255 : random() % 256);
        int apart = largest ? 255 : a[i] - b[i];
        l2 += static_cast<uint64_t>(apart * apart);
        product += uint64_t{a[i]} * b[i];
      }
      for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
        const Kernels* tested = kernels_at(level);
        if (tested == nullptr) continue;
        CAPTURE(to_string(level));
        const std::vector<uint8_t>& other = largest ? zero : b;
        CHECK(tested->l2_squared_u8(a.data(), other.data(), d) == l2);
        CHECK(tested->l2_squared_u8(other.data(), a.data(), d) == l2);
        CHECK(tested->inner_product_u8(a.data(), b.data(), d) == product);
      }
    }
  }
}

TEST_CASE("Every level of kernels has the same products of codes") {
  std::mt19937 random(2);
  constexpr uint32_t rows = 19;
  std::vector<size_t> dimensions = {127, 129, 255, 257, 511, 513, 784, 1023, 2049, 4095, 4096};
  for (size_t d = 1; d <= 66; ++d) dimensions.push_back(d);
  for (size_t d : dimensions) {
    CAPTURE(d);
    size_t width = (d + 63) / 64 * 64;
    // The largest values there may be, and others.
    bool largest = d % 2 == 1;
    std::vector<uint8_t> codes(rows * width);
    std::vector<int8_t> query(width);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(largest ? 127 : random() % 128);
    for (size_t j = 0; j < d; ++j) {
      query[j] = static_cast<int8_t>(largest ? -127 : static_cast<int>(random() % 255) - 127);
    }
    std::vector<uint32_t> wanted;
    for (uint32_t i = 0; i < 2 * rows; ++i) wanted.push_back(random() % rows);
    for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
      const Kernels* tested = kernels_at(level);
      if (tested == nullptr) continue;
      CAPTURE(to_string(level));
      for (size_t count : {0u, 1u, 2u, 3u, 4u, 5u, 31u, 2 * rows}) {
        std::vector<int32_t> out(2 * rows + 1, 7);
        tested->code_products(query.data(), codes.data(), width, wanted.data(), count, out.data());
        for (size_t i = 0; i < count; ++i) {
          int64_t sum = 0;
          for (size_t j = 0; j < d; ++j) sum += int64_t{query[j]} * codes[wanted[i] * width + j];
          REQUIRE(out[i] == sum);
        }
        REQUIRE(out[count] == 7);
      }
    }
  }
}

TEST_CASE("Every level of kernels has the same products of packed codes") {
  std::mt19937 random(3);
  constexpr uint32_t rows = 7;
  for (size_t d = 1; d <= 4096; d += d < 300 ? 1 : 97 + d % 2) {
    CAPTURE(d);
    size_t width = (d + 127) / 128 * 64;
    // The largest values there may be, and others.
    bool largest = d % 3 == 1;
    std::vector<uint8_t> codes(rows * width);
    std::vector<int8_t> query(2 * width);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(largest ? 255 : random() % 256);
    for (size_t j = 0; j < d; ++j) {
      query[j] = static_cast<int8_t>(largest ? -127 : static_cast<int>(random() % 255) - 127);
    }
    const uint32_t wanted[] = {0, 3, 6, 1, 2, 5, 5, 4, 0};
    for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
      const Kernels* tested = kernels_at(level);
      if (tested == nullptr) continue;
      CAPTURE(to_string(level));
      for (size_t count : {0u, 1u, 2u, 3u, 4u, 9u}) {
        std::vector<int32_t> out(10, 7);
        tested->packed_products(query.data(), codes.data(), width, wanted, count, out.data());
        for (size_t i = 0; i < count; ++i) {
          int64_t sum = 0;
          for (size_t j = 0; j < d; ++j) {
            uint8_t both = codes[wanted[i] * width + j % width];
            sum += int64_t{query[j]} * (j < width ? both & 15 : both >> 4);
          }
          REQUIRE(out[i] == sum);
        }
        REQUIRE(out[count] == 7);
      }
    }
  }
}

TEST_CASE("Every level of kernels inserts into ascending numbers as the standard library does") {
  std::mt19937_64 random(5);
  for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
    const Kernels* tested = kernels_at(level);
    if (tested == nullptr) continue;
    CAPTURE(to_string(level));
    for (size_t size : {0u, 1u, 7u, 8u, 9u, 31u, 47u, 48u, 49u, 64u, 97u, 500u}) {
      CAPTURE(size);
      for (int round = 0; round < 100; ++round) {
        // All of the range, so that signs would show, and with some that are equal.
        std::vector<uint64_t> sorted(size);
        for (uint64_t& number : sorted) number = (random() % 200) << 56 | 1;
        std::sort(sorted.begin(), sorted.end());
        uint64_t value = round % 3 == 0 && size > 0 ? sorted[random() % size]
                         : round % 3 == 1           ? (random() % 200) << 56
                         : round % 2 == 0           ? 0
                                                    : UINT64_MAX;
        std::vector<uint64_t> expected = sorted;
        auto at = std::lower_bound(expected.begin(), expected.end(), value);
        auto place = static_cast<size_t>(at - expected.begin());
        expected.insert(at, value);
        expected.push_back(7);
        sorted.push_back(0);
        sorted.push_back(7);
        REQUIRE(tested->insert_sorted(sorted.data(), size, value) == place);
        REQUIRE(sorted == expected);
      }
    }
  }
}

TEST_CASE("Every level of kernels counts the same bits") {
  std::mt19937_64 random(6);
  for (size_t count = 0; count < 70; ++count) {
    CAPTURE(count);
    std::vector<uint64_t> words(count);
    for (uint64_t& word : words) word = count % 3 == 0 ? UINT64_MAX : random() & random();
    size_t expected = 0;
    for (uint64_t word : words) {
      for (int i = 0; i < 64; ++i) expected += word >> i & 1;
    }
    for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
      const Kernels* tested = kernels_at(level);
      if (tested == nullptr) continue;
      CAPTURE(to_string(level));
      CHECK(tested->count_bits(words.data(), count) == expected);
    }
  }
}

TEST_CASE("Every level of kernels has the same products of bits") {
  std::mt19937 random(4);
  constexpr uint32_t rows = 7;
  for (size_t d = 1; d <= 4096; d += d < 300 ? 1 : 97 + d % 2) {
    CAPTURE(d);
    const size_t width = (d + 127) / 128 * 16, stride = width + 8 * (d % 5);
    std::vector<uint8_t> codes(rows * stride), planes(4 * width);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(d % 3 == 1 ? 255 : random() % 256);
    std::vector<int32_t> values(d);
    for (size_t j = 0; j < d; ++j) {
      values[j] = d % 3 == 1 ? -8 : static_cast<int32_t>(random() % 16) - 8;
      for (size_t p = 0; p < 4; ++p) {
        planes[j / 128 * 64 + 16 * p + j % 128 / 8] |=
            static_cast<uint8_t>((values[j] >> p & 1) << j % 8);
      }
    }
    const uint32_t wanted[] = {0, 3, 6, 1, 2, 5, 5, 4, 0};
    for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
      const Kernels* tested = kernels_at(level);
      if (tested == nullptr) continue;
      CAPTURE(to_string(level));
      for (size_t count : {0u, 1u, 2u, 3u, 4u, 9u}) {
        std::vector<int32_t> out(10, 7);
        tested->bit_products(planes.data(), codes.data(), stride, width, wanted, count, out.data());
        for (size_t i = 0; i < count; ++i) {
          int32_t sum = 0;
          for (size_t j = 0; j < d; ++j) {
            sum += (codes[wanted[i] * stride + j / 8] >> j % 8 & 1) * values[j];
          }
          REQUIRE(out[i] == sum);
        }
        REQUIRE(out[count] == 7);
      }
    }
  }
}

TEST_CASE("Every level of kernels has the same rows within a limit") {
  std::mt19937 random(8);
  // Small whole numbers throughout, so that nothing is rounded.
  auto numbers = [&](size_t n, uint32_t most) {
    std::vector<float> out(n);
    for (float& value : out) value = static_cast<float>(random() % (most + 1));
    return out;
  };
  for (size_t width : {1u, 2u, 15u, 16u, 48u, 255u, 256u, 257u, 300u, 1000u}) {
    CAPTURE(width);
    // The largest there may be, and others.
    const bool largest = width == 256 || width == 1000;
    std::vector<uint8_t> tables(32 * width), signs(64 * width);
    for (uint8_t& entry : tables) entry = static_cast<uint8_t>(largest ? 127 : random() % 128);
    for (uint8_t& byte : signs) byte = static_cast<uint8_t>(random() % 256);
    const auto constants = numbers(64, 1000), factors = numbers(64, 7);
    std::vector<float> values(64);
    for (size_t i = 0; i < 64; ++i) {
      int sum = 0;
      for (size_t j = 0; j < width; ++j) {
        const uint8_t byte = signs[64 * j + i];
        sum += tables[32 * j + byte % 16] + tables[32 * j + 16 + byte / 16];
      }
      values[i] = constants[i] + factors[i] * (2 * static_cast<float>(sum) - 100);
    }
    std::vector<float> limits = {-1e30f, 1e30f, values[5], std::nextafter(values[5], -1e30f)};
    for (SimdLevel level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512}) {
      const Kernels* tested = kernels_at(level);
      if (tested == nullptr) continue;
      CAPTURE(to_string(level));
      for (size_t count : {0u, 1u, 31u, 32u, 33u, 63u, 64u}) {
        for (float limit : limits) {
          uint64_t expected = 0;
          for (size_t i = 0; i < count; ++i) {
            expected |= uint64_t{values[i] <= limit ? 1u : 0u} << i;
          }
          CHECK(tested->rows_within(tables.data(), signs.data(), width, count, constants.data(),
                                    factors.data(), 2, -100, limit) == expected);
        }
      }
    }
  }
}

TEST_CASE("Every level of kernels has the same Walsh-Hadamard transform") {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (size_t n = 1; n <= 4096; n *= 2) {
    CAPTURE(n);
    // One more at the front, so that nothing is aligned.
    std::vector<float> values(n + 1);
    for (float& value : values) value = normal(random);
    std::vector<float> expected = values;
    kernels_at(SimdLevel::portable)->hadamard(expected.data() + 1, n);
    for (size_t row : {size_t{0}, n / 3, n - 1}) {
      double sum = 0;
      for (size_t j = 0; j < n; ++j) {
        sum += (std::popcount(row & j) % 2 == 0 ? 1.0 : -1.0) * static_cast<double>(values[j + 1]);
      }
      CHECK(static_cast<double>(expected[row + 1]) == doctest::Approx(sum).epsilon(1e-3));
    }
    for (SimdLevel level : {SimdLevel::avx2, SimdLevel::avx512}) {
      const Kernels* tested = kernels_at(level);
      if (tested == nullptr) continue;
      std::vector<float> found = values;
      tested->hadamard(found.data() + 1, n);
      CHECK(found == expected);
    }
  }
}

}  // namespace jade
