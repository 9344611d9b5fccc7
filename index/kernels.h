// Distances between vectors of float32, float16 and uint8, and between codes, by the widest
// instructions that the processor has, chosen when the program starts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace jade {

enum class SimdLevel : uint8_t { portable, avx2, avx512 };
std::string_view to_string(SimdLevel level);

// Sums of floats are the same at the levels avx2 and avx512, bit for bit, and may differ in the
// last bits from those of portable, which rounds each product. `d` floats each; no alignment
// needed.
struct Kernels {
  SimdLevel level;
  float (*l2_squared)(const float* a, const float* b, size_t d);
  float (*inner_product)(const float* a, const float* b, size_t d);
  // The same where b is binary16 (index/half.h), or whole numbers from 0 to 255; of equal
  // values as above, but for the order of additions.
  float (*l2_squared_f16)(const float* a, const uint16_t* b, size_t d);
  float (*inner_product_f16)(const float* a, const uint16_t* b, size_t d);
  float (*l2_squared_f32_u8)(const float* a, const uint8_t* b, size_t d);
  float (*inner_product_f32_u8)(const float* a, const uint8_t* b, size_t d);
  // Exact, and so the same at every level; `d` up to 16,384.
  uint32_t (*l2_squared_u8)(const uint8_t* a, const uint8_t* b, size_t d);
  uint32_t (*inner_product_u8)(const uint8_t* a, const uint8_t* b, size_t d);
  // out[i] = Σ query[j] × codes[rows[i] × width + j], exact, and so the same at every
  // level. Codes are 0 to 127, the query's values -127 to 127; `width` is a multiple
  // of 64, up to 65,536.
  void (*code_products)(const int8_t* query, const uint8_t* codes, size_t width,
                        const uint32_t* rows, size_t count, int32_t* out);
  // out[i] = Σ query[j] × low bits + query[width + j] × high bits of byte j of the code,
  // exact as well. Codes are at codes + rows[i] × width, two numbers of 4 bits a byte.
  void (*packed_products)(const int8_t* query, const uint8_t* codes, size_t width,
                          const uint32_t* rows, size_t count, int32_t* out);
  // out[i] = Σ of the values whose bits are set in the code at codes + rows[i] × stride,
  // exact. `width` bytes a code, a multiple of 16, up to 65,536. Values are -8 to 7, as
  // their four bits: of each 128 values, 16 bytes with their lowest bits, 16 with the
  // next, 16 with the next and 16 with those that count -8.
  void (*bit_products)(const uint8_t* values, const uint8_t* codes, size_t stride, size_t width,
                       const uint32_t* rows, size_t count, int32_t* out);
  // Bit i is set, i < count, where constants[i] + factors[i] × (scale × sum + offset) <= limit, the
  // sum being that of tables[32 j + low 4 bits] and tables[32 j + 16 + high 4 bits] of the bytes
  // signs[64 j + i], j < width: estimates of up to 64 vectors by table look-ups within registers,
  // after André et al., "Cache locality is not enough: high-performance nearest neighbor search
  // with product quantization fast scan", VLDB 2015. Tables hold 0 to 127; `width` up to 65,536.
  // 64 of each are readable, whatever `count`: another thread may write those from `count` on.
  uint64_t (*rows_within)(const uint8_t* tables, const uint8_t* signs, size_t width, size_t count,
                          const float* constants, const float* factors, float scale, float offset,
                          float limit);
  // Puts `value` into `size` ascending numbers, before those that are equal, and returns where.
  // There is room for one more.
  size_t (*insert_sorted)(uint64_t* sorted, size_t size, uint64_t value);
  // How many bits of `count` words are set.
  size_t (*count_bits)(const uint64_t* words, size_t count);
  // Fast Walsh-Hadamard transform in place, not scaled: the same at every level. `n`: a
  // power of two.
  void (*hadamard)(float* values, size_t n);
};

// The best of this processor.
const Kernels& kernels();
// Those of `level`; null where the processor lacks it.
const Kernels* kernels_at(SimdLevel level);

// While it lives, whatever is made uses the kernels of this level, which the processor has: for
// tests of what is to be the same at every level.
class OtherKernels {
 public:
  explicit OtherKernels(SimdLevel level);
  ~OtherKernels();
  OtherKernels(const OtherKernels&) = delete;
  OtherKernels& operator=(const OtherKernels&) = delete;

 private:
  const Kernels* before_;
};

}  // namespace jade
