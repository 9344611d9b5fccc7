#include "index/kernels.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "index/half.h"
#include "storage/status.h"

#if defined(__x86_64__)
#include <immintrin.h>
// GCC 12 takes the undefined upper halves in its own intrinsics for a mistake of
// ours (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace jade {
namespace {

// Several sums at once let any compiler use what registers there are.
float value_of(float value) { return value; }
float value_of(uint8_t value) { return value; }
float value_of(uint16_t half) { return half_to_float(half); }

// Of float32 values and rows of any datatype.
template <class T>
float l2_portable(const float* a, const T* b, size_t d) {
  float sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    for (size_t j = 0; j < 8; ++j) {
      float difference = a[i + j] - value_of(b[i + j]);
      sums[j] += difference * difference;
    }
  }
  float sum = 0;
  for (; i < d; ++i) sum += (a[i] - value_of(b[i])) * (a[i] - value_of(b[i]));
  for (float s : sums) sum += s;
  return sum;
}

template <class T>
float ip_portable(const float* a, const T* b, size_t d) {
  float sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += a[i + j] * value_of(b[i + j]);
  }
  float sum = 0;
  for (; i < d; ++i) sum += a[i] * value_of(b[i]);
  for (float s : sums) sum += s;
  return sum;
}

uint32_t l2_u8_portable(const uint8_t* a, const uint8_t* b, size_t d) {
  uint32_t sum = 0;
  for (size_t i = 0; i < d; ++i) {
    int32_t difference = int32_t{a[i]} - b[i];
    sum += static_cast<uint32_t>(difference * difference);
  }
  return sum;
}

uint32_t ip_u8_portable(const uint8_t* a, const uint8_t* b, size_t d) {
  uint32_t sum = 0;
  for (size_t i = 0; i < d; ++i) sum += uint32_t{a[i]} * b[i];
  return sum;
}

void products_portable(const int8_t* query, const uint8_t* codes, size_t width,
                       const uint32_t* rows, size_t count, int32_t* out) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* code = codes + rows[i] * width;
    int32_t sum = 0;
    for (size_t j = 0; j < width; ++j) sum += query[j] * code[j];
    out[i] = sum;
  }
}

void packed_portable(const int8_t* query, const uint8_t* codes, size_t width, const uint32_t* rows,
                     size_t count, int32_t* out) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* code = codes + rows[i] * width;
    int32_t sum = 0;
    for (size_t j = 0; j < width; ++j) {
      sum += query[j] * (code[j] & 15) + query[width + j] * (code[j] >> 4);
    }
    out[i] = sum;
  }
}

// To be compiled for several instruction sets.
__attribute__((always_inline)) inline void bits_by_words(const uint8_t* values,
                                                         const uint8_t* codes, size_t stride,
                                                         size_t width, const uint32_t* rows,
                                                         size_t count, int32_t* out) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* code = codes + rows[i] * stride;
    int sums[4] = {};
    for (size_t at = 0; at < width; at += 16) {
      uint64_t bits[2], planes[8];
      std::memcpy(bits, code + at, sizeof bits);
      std::memcpy(planes, values + 4 * at, sizeof planes);
      for (size_t p = 0; p < 4; ++p) {
        sums[p] +=
            std::popcount(bits[0] & planes[2 * p]) + std::popcount(bits[1] & planes[2 * p + 1]);
      }
    }
    out[i] = sums[0] + 2 * sums[1] + 4 * sums[2] - 8 * sums[3];
  }
}

void bits_portable(const uint8_t* values, const uint8_t* codes, size_t stride, size_t width,
                   const uint32_t* rows, size_t count, int32_t* out) {
  bits_by_words(values, codes, stride, width, rows, count, out);
}

// The first `count` of 64 bits.
uint64_t first_bits(size_t count) { return count < 64 ? (uint64_t{1} << count) - 1 : ~uint64_t{0}; }

uint64_t within_portable(const uint8_t* tables, const uint8_t* signs, size_t width, size_t count,
                         const float* constants, const float* factors, float scale, float offset,
                         float limit) {
  uint64_t out = 0;
  for (size_t i = 0; i < count; ++i) {
    int32_t sum = 0;
    for (size_t j = 0; j < width; ++j) {
      const uint8_t byte = signs[64 * j + i];
      sum += tables[32 * j + (byte & 15)] + tables[32 * j + 16 + (byte >> 4)];
    }
    const float value = constants[i] + factors[i] * (scale * static_cast<float>(sum) + offset);
    out |= uint64_t{value <= limit ? 1u : 0u} << i;
  }
  return out;
}

// Where among the first `left` numbers from `at` on the first is that is not less than the
// value: `at` is moved until at most `enough` are left, one of which it is, or the one after
// them. Without branches, which could not be foreseen.
template <size_t enough>
inline size_t narrow(const uint64_t*& at, size_t left, uint64_t value) {
  while (left > enough) {
    size_t half = (left + 1) / 2;
    at += at[half - 1] < value ? half : 0;
    left -= half;
  }
  return left;
}

size_t insert_sorted_portable(uint64_t* sorted, size_t size, uint64_t value) {
  const uint64_t* at = sorted;
  narrow<0>(at, size, value);
  auto place = static_cast<size_t>(at - sorted);
  std::memmove(sorted + place + 1, sorted + place, (size - place) * sizeof *sorted);
  sorted[place] = value;
  return place;
}

using Sixteen = float __attribute__((vector_size(64)));
using Places = int32_t __attribute__((vector_size(64)));

// Sums and differences of values that are `half` apart, of 16 values.
template <int half>
__attribute__((always_inline)) inline void butterfly(Sixteen& values) {
  Places low{}, high{};
  Sixteen sign{};
  for (int i = 0; i < 16; ++i) {
    low[i] = i & ~half;
    high[i] = i | half;
    sign[i] = (i & half) != 0 ? -1.0f : 1.0f;
  }
  values = __builtin_shuffle(values, low) + sign * __builtin_shuffle(values, high);
}

// Sums and differences only, each of the same two numbers at every level.
__attribute__((always_inline)) inline void hadamard_by_halves(float* values, size_t n) {
  size_t half = 1;
  for (size_t i = 0; n >= 16 && i < n; i += 16) {
    Sixteen some;
    std::memcpy(&some, values + i, sizeof some);
    butterfly<1>(some);
    butterfly<2>(some);
    butterfly<4>(some);
    butterfly<8>(some);
    std::memcpy(values + i, &some, sizeof some);
    half = 16;
  }
  for (; half < n; half *= 2) {
    for (size_t i = 0; i < n; i += 2 * half) {
      if (half < 16) {
        for (size_t j = i; j < i + half; ++j) {
          float a = values[j], b = values[j + half];
          values[j] = a + b;
          values[j + half] = a - b;
        }
        continue;
      }
      for (size_t j = i; j < i + half; j += 16) {
        Sixteen a, b;
        std::memcpy(&a, values + j, sizeof a);
        std::memcpy(&b, values + j + half, sizeof b);
        Sixteen sum = a + b, difference = a - b;
        std::memcpy(values + j, &sum, sizeof sum);
        std::memcpy(values + j + half, &difference, sizeof difference);
      }
    }
  }
}

void hadamard_portable(float* values, size_t n) { hadamard_by_halves(values, n); }

size_t count_bits_portable(const uint64_t* words, size_t count) {
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) total += static_cast<size_t>(std::popcount(words[i]));
  return total;
}

constexpr Kernels portable{
    SimdLevel::portable,   l2_portable<float>,     ip_portable<float>,   l2_portable<uint16_t>,
    ip_portable<uint16_t>, l2_portable<uint8_t>,   ip_portable<uint8_t>, l2_u8_portable,
    ip_u8_portable,        products_portable,      packed_portable,      bits_portable,
    within_portable,       insert_sorted_portable, count_bits_portable,  hadamard_portable};

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) float horizontal_sum(__m256 v) {
  __m128 low = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  low = _mm_add_ps(low, _mm_movehl_ps(low, low));
  return _mm_cvtss_f32(_mm_add_ss(low, _mm_movehdup_ps(low)));
}

// Eight numbers of b as floats.
__attribute__((target("avx2"))) inline __m256 eight_floats(const float* b) {
  return _mm256_loadu_ps(b);
}
__attribute__((target("avx2,f16c"))) inline __m256 eight_floats(const uint16_t* b) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b)));
}
__attribute__((target("avx2,f16c"))) inline __m256 eight_floats(const uint8_t* b) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(b))));
}

// The last `count` < 16 numbers, with zeros behind them.
template <class T>
struct LastNumbers {
  LastNumbers(const float* a, const T* b, size_t count) {
    std::memcpy(of_a, a, count * sizeof(float));
    std::memcpy(of_b, b, count * sizeof(T));
  }
  float of_a[16] = {};
  T of_b[16] = {};
};

// The sums of l2_avx512() and ip_avx512() in halves, added up in the same order, so that both
// levels give the same.
struct Sums {
  __m256 sum0_low, sum0_high, sum1_low, sum1_high;
};
__attribute__((target("avx2,fma"))) inline float total_of(const Sums& sums) {
  return horizontal_sum(_mm256_add_ps(_mm256_add_ps(sums.sum0_low, sums.sum1_low),
                                      _mm256_add_ps(sums.sum0_high, sums.sum1_high)));
}

template <class T>
__attribute__((target("avx2,fma,f16c"), always_inline)) inline void add_squares(const float* a,
                                                                                const T* b,
                                                                                __m256& low,
                                                                                __m256& high) {
  const __m256 x = _mm256_sub_ps(_mm256_loadu_ps(a), eight_floats(b));
  const __m256 y = _mm256_sub_ps(_mm256_loadu_ps(a + 8), eight_floats(b + 8));
  low = _mm256_fmadd_ps(x, x, low);
  high = _mm256_fmadd_ps(y, y, high);
}
template <class T>
__attribute__((target("avx2,fma,f16c"), always_inline)) inline void add_products(const float* a,
                                                                                 const T* b,
                                                                                 __m256& low,
                                                                                 __m256& high) {
  low = _mm256_fmadd_ps(_mm256_loadu_ps(a), eight_floats(b), low);
  high = _mm256_fmadd_ps(_mm256_loadu_ps(a + 8), eight_floats(b + 8), high);
}

// `add`: add_squares or add_products.
template <auto add, class T>
__attribute__((target("avx2,fma,f16c"), always_inline)) inline float sum_avx2(const float* a,
                                                                              const T* b,
                                                                              size_t d) {
  const __m256 zero = _mm256_setzero_ps();
  Sums sums{zero, zero, zero, zero};
  size_t i = 0;
  for (; i + 32 <= d; i += 32) {
    add(a + i, b + i, sums.sum0_low, sums.sum0_high);
    add(a + i + 16, b + i + 16, sums.sum1_low, sums.sum1_high);
  }
  if (i + 16 <= d) {
    add(a + i, b + i, sums.sum0_low, sums.sum0_high);
    i += 16;
  }
  if (i < d) {
    const LastNumbers<T> last(a + i, b + i, d - i);
    add(last.of_a, last.of_b, sums.sum1_low, sums.sum1_high);
  }
  return total_of(sums);
}

template <class T>
__attribute__((target("avx2,fma,f16c"))) float l2_avx2(const float* a, const T* b, size_t d) {
  return sum_avx2<add_squares<T>>(a, b, d);
}

template <class T>
__attribute__((target("avx2,fma,f16c"))) float ip_avx2(const float* a, const T* b, size_t d) {
  return sum_avx2<add_products<T>>(a, b, d);
}

// Sixteen numbers of b as floats.
__attribute__((target("avx512f"))) inline __m512 sixteen_floats(const float* b) {
  return _mm512_loadu_ps(b);
}
__attribute__((target("avx512f"))) inline __m512 sixteen_floats(const uint16_t* b) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
}
__attribute__((target("avx512f"))) inline __m512 sixteen_floats(const uint8_t* b) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b))));
}
// The last `count` < 16 numbers.
template <class T>
__attribute__((target("avx512f"))) inline __m512 last_floats(const T* b, size_t count) {
  T padded[16] = {};
  std::memcpy(padded, b, count * sizeof(T));
  return sixteen_floats(padded);
}

__attribute__((target("avx512f"))) inline __m512 last_floats(const float* b, size_t count) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), b);
}

template <class T>
__attribute__((target("avx512f"))) float l2_avx512(const float* a, const T* b, size_t d) {
  __m512 sum0 = _mm512_setzero_ps(), sum1 = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + 32 <= d; i += 32) {
    __m512 x = _mm512_sub_ps(_mm512_loadu_ps(a + i), sixteen_floats(b + i));
    __m512 y = _mm512_sub_ps(_mm512_loadu_ps(a + i + 16), sixteen_floats(b + i + 16));
    sum0 = _mm512_fmadd_ps(x, x, sum0);
    sum1 = _mm512_fmadd_ps(y, y, sum1);
  }
  if (i + 16 <= d) {
    __m512 x = _mm512_sub_ps(_mm512_loadu_ps(a + i), sixteen_floats(b + i));
    sum0 = _mm512_fmadd_ps(x, x, sum0);
    i += 16;
  }
  if (i < d) {
    auto mask = static_cast<__mmask16>((1u << (d - i)) - 1);
    __m512 x = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, a + i), last_floats(b + i, d - i));
    sum1 = _mm512_fmadd_ps(x, x, sum1);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1));
}

template <class T>
__attribute__((target("avx512f"))) float ip_avx512(const float* a, const T* b, size_t d) {
  __m512 sum0 = _mm512_setzero_ps(), sum1 = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + 32 <= d; i += 32) {
    sum0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), sixteen_floats(b + i), sum0);
    sum1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), sixteen_floats(b + i + 16), sum1);
  }
  if (i + 16 <= d) {
    sum0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), sixteen_floats(b + i), sum0);
    i += 16;
  }
  if (i < d) {
    auto mask = static_cast<__mmask16>((1u << (d - i)) - 1);
    sum1 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), last_floats(b + i, d - i), sum1);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1));
}

__attribute__((target("avx2"))) inline uint32_t horizontal_sum(__m256i v) {
  __m128i low = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  low = _mm_add_epi32(low, _mm_shuffle_epi32(low, 0x4e));
  low = _mm_add_epi32(low, _mm_shuffle_epi32(low, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(low));
}

// Sixteen numbers as 16 bits each.
__attribute__((target("avx2"))) inline __m256i sixteen_words(const uint8_t* b) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b)));
}

__attribute__((target("avx2"))) uint32_t l2_u8_avx2(const uint8_t* a, const uint8_t* b, size_t d) {
  __m256i sum = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 16 <= d; i += 16) {
    __m256i x = _mm256_sub_epi16(sixteen_words(a + i), sixteen_words(b + i));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, x));
  }
  return horizontal_sum(sum) + l2_u8_portable(a + i, b + i, d - i);
}

__attribute__((target("avx2"))) uint32_t ip_u8_avx2(const uint8_t* a, const uint8_t* b, size_t d) {
  __m256i sum = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 16 <= d; i += 16) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(sixteen_words(a + i), sixteen_words(b + i)));
  }
  return horizontal_sum(sum) + ip_u8_portable(a + i, b + i, d - i);
}

// 64 numbers, those of the mask; 0 elsewhere.
__attribute__((target("avx512f,avx512bw"))) inline __m512i some_bytes(uint64_t mask,
                                                                      const uint8_t* from) {
  return _mm512_maskz_loadu_epi8(mask, from);
}
inline uint64_t mask_of(size_t left) {
  return left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) uint32_t l2_u8_vnni(const uint8_t* a,
                                                                           const uint8_t* b,
                                                                           size_t d) {
  const __m512i zero = _mm512_setzero_si512();
  __m512i sum0 = zero, sum1 = zero;
  for (size_t i = 0; i < d; i += 64) {
    uint64_t mask = mask_of(d - i);
    __m512i x = some_bytes(mask, a + i), y = some_bytes(mask, b + i);
    // One of the two is 0, the other the difference without its sign.
    __m512i apart = _mm512_or_si512(_mm512_subs_epu8(x, y), _mm512_subs_epu8(y, x));
    __m512i low = _mm512_unpacklo_epi8(apart, zero), high = _mm512_unpackhi_epi8(apart, zero);
    sum0 = _mm512_dpwssd_epi32(sum0, low, low);
    sum1 = _mm512_dpwssd_epi32(sum1, high, high);
  }
  return static_cast<uint32_t>(_mm512_reduce_add_epi32(_mm512_add_epi32(sum0, sum1)));
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) uint32_t ip_u8_vnni(const uint8_t* a,
                                                                           const uint8_t* b,
                                                                           size_t d) {
  const __m512i zero = _mm512_setzero_si512();
  __m512i sum0 = zero, sum1 = zero;
  for (size_t i = 0; i < d; i += 64) {
    uint64_t mask = mask_of(d - i);
    __m512i x = some_bytes(mask, a + i), y = some_bytes(mask, b + i);
    sum0 = _mm512_dpwssd_epi32(sum0, _mm512_unpacklo_epi8(x, zero), _mm512_unpacklo_epi8(y, zero));
    sum1 = _mm512_dpwssd_epi32(sum1, _mm512_unpackhi_epi8(x, zero), _mm512_unpackhi_epi8(y, zero));
  }
  return static_cast<uint32_t>(_mm512_reduce_add_epi32(_mm512_add_epi32(sum0, sum1)));
}

// The sums of four vectors.
__attribute__((target("avx2"))) inline __m128i four_sums(__m256i a, __m256i b, __m256i c,
                                                         __m256i d) {
  __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

__attribute__((target("avx2"))) inline __m256i add_products_avx2(__m256i sum, const uint8_t* code,
                                                                 __m256i query) {
  __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(code));
  // Two products, 2 × 127 × 127 at most, fit in 16 bits.
  __m256i pairs = _mm256_maddubs_epi16(values, query);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Four rows at a time share what is loaded of the query and the last sums.
__attribute__((target("avx2"))) void products_avx2(const int8_t* query, const uint8_t* codes,
                                                   size_t width, const uint32_t* rows, size_t count,
                                                   int32_t* out) {
  for (size_t i = 0; i < count; i += 4) {
    const uint8_t* code[4];
    for (size_t j = 0; j < 4; ++j) code[j] = codes + rows[i + j < count ? i + j : i] * width;
    __m256i sum[4] = {};
    for (size_t at = 0; at < width; at += 32) {
      __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + at));
      for (size_t j = 0; j < 4; ++j) sum[j] = add_products_avx2(sum[j], code[j] + at, q);
    }
    alignas(16) int32_t sums[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(sums), four_sums(sum[0], sum[1], sum[2], sum[3]));
    for (size_t j = 0; j < 4 && i + j < count; ++j) out[i + j] = sums[j];
  }
}

__attribute__((target("avx2"))) inline __m256i add_packed_avx2(__m256i sum, const uint8_t* code,
                                                               __m256i low, __m256i high) {
  __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(code));
  __m256i mask = _mm256_set1_epi8(15);
  // Four products, 4 × 15 × 127 at most, fit in 16 bits.
  __m256i pairs = _mm256_add_epi16(
      _mm256_maddubs_epi16(_mm256_and_si256(values, mask), low),
      _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(values, 4), mask), high));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

__attribute__((target("avx2"))) void packed_avx2(const int8_t* query, const uint8_t* codes,
                                                 size_t width, const uint32_t* rows, size_t count,
                                                 int32_t* out) {
  for (size_t i = 0; i < count; i += 4) {
    const uint8_t* code[4];
    for (size_t j = 0; j < 4; ++j) code[j] = codes + rows[i + j < count ? i + j : i] * width;
    __m256i sum[4] = {};
    for (size_t at = 0; at < width; at += 32) {
      __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + at));
      __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + width + at));
      for (size_t j = 0; j < 4; ++j) sum[j] = add_packed_avx2(sum[j], code[j] + at, low, high);
    }
    alignas(16) int32_t sums[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(sums), four_sums(sum[0], sum[1], sum[2], sum[3]));
    for (size_t j = 0; j < 4 && i + j < count; ++j) out[i + j] = sums[j];
  }
}

__attribute__((target("avx2,avx512f"))) inline __m256i halves_added(__m512i v) {
  return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}

__attribute__((target("avx2,avx512f,avx512vnni"))) void products_vnni(const int8_t* query,
                                                                      const uint8_t* codes,
                                                                      size_t width,
                                                                      const uint32_t* rows,
                                                                      size_t count, int32_t* out) {
  for (size_t i = 0; i < count; i += 4) {
    const uint8_t* code[4];
    for (size_t j = 0; j < 4; ++j) code[j] = codes + rows[i + j < count ? i + j : i] * width;
    __m512i sum[4] = {};
    for (size_t at = 0; at < width; at += 64) {
      __m512i q = _mm512_loadu_si512(query + at);
      for (size_t j = 0; j < 4; ++j) {
        sum[j] = _mm512_dpbusd_epi32(sum[j], _mm512_loadu_si512(code[j] + at), q);
      }
    }
    alignas(16) int32_t sums[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(sums),
                    four_sums(halves_added(sum[0]), halves_added(sum[1]), halves_added(sum[2]),
                              halves_added(sum[3])));
    for (size_t j = 0; j < 4 && i + j < count; ++j) out[i + j] = sums[j];
  }
}

__attribute__((target("avx2,avx512f,avx512vnni"))) void packed_vnni(const int8_t* query,
                                                                    const uint8_t* codes,
                                                                    size_t width,
                                                                    const uint32_t* rows,
                                                                    size_t count, int32_t* out) {
  const __m512i mask = _mm512_set1_epi32(0x0f0f0f0f);
  for (size_t i = 0; i < count; i += 4) {
    const uint8_t* code[4];
    for (size_t j = 0; j < 4; ++j) code[j] = codes + rows[i + j < count ? i + j : i] * width;
    __m512i sum[4] = {};
    for (size_t at = 0; at < width; at += 64) {
      __m512i low = _mm512_loadu_si512(query + at);
      __m512i high = _mm512_loadu_si512(query + width + at);
      for (size_t j = 0; j < 4; ++j) {
        __m512i values = _mm512_loadu_si512(code[j] + at);
        sum[j] = _mm512_dpbusd_epi32(sum[j], _mm512_and_si512(values, mask), low);
        sum[j] =
            _mm512_dpbusd_epi32(sum[j], _mm512_and_si512(_mm512_srli_epi32(values, 4), mask), high);
      }
    }
    alignas(16) int32_t sums[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(sums),
                    four_sums(halves_added(sum[0]), halves_added(sum[1]), halves_added(sum[2]),
                              halves_added(sum[3])));
    for (size_t j = 0; j < 4 && i + j < count; ++j) out[i + j] = sums[j];
  }
}

// What has AVX2 counts the bits of a word in one instruction.
__attribute__((target("avx2,popcnt"))) void bits_avx2(const uint8_t* values, const uint8_t* codes,
                                                      size_t stride, size_t width,
                                                      const uint32_t* rows, size_t count,
                                                      int32_t* out) {
  bits_by_words(values, codes, stride, width, rows, count, out);
}

// 128 bits of the code beside themselves four times, once for each bit of the values.
__attribute__((target("avx2,avx512f,avx512vpopcntdq"))) void bits_avx512(
    const uint8_t* values, const uint8_t* codes, size_t stride, size_t width, const uint32_t* rows,
    size_t count, int32_t* out) {
  const __m512i weights = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
  for (size_t i = 0; i < count; i += 4) {
    const uint8_t* code[4];
    for (size_t j = 0; j < 4; ++j) code[j] = codes + rows[i + j < count ? i + j : i] * stride;
    __m512i sum[4] = {};
    for (size_t at = 0; at < width; at += 16) {
      __m512i planes = _mm512_loadu_si512(values + 4 * at);
      for (size_t j = 0; j < 4; ++j) {
        __m512i bits =
            _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(code[j] + at)));
        sum[j] = _mm512_add_epi64(sum[j], _mm512_popcnt_epi64(_mm512_and_si512(bits, planes)));
      }
    }
    __m256i narrow[4];
    for (size_t j = 0; j < 4; ++j) {
      __m512i weighed = _mm512_sllv_epi64(sum[j], weights);
      weighed = _mm512_mask_sub_epi64(weighed, 0xc0, _mm512_setzero_si512(), weighed);
      narrow[j] = _mm512_cvtepi64_epi32(weighed);
    }
    alignas(16) int32_t sums[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(sums),
                    four_sums(narrow[0], narrow[1], narrow[2], narrow[3]));
    for (size_t j = 0; j < 4 && i + j < count; ++j) out[i + j] = sums[j];
  }
}

// So many sums of two numbers up to 127 fit into 16 bits.
constexpr size_t sums_at_once = 256;

// Of 32 rows, from the first byte of theirs in `signs` on.
__attribute__((target("avx2,fma"), no_sanitize("thread"))) uint64_t half_within_avx2(
    const uint8_t* tables, const uint8_t* signs, size_t width, const float* constants,
    const float* factors, __m256 scale, __m256 offset, __m256 limit) {
  const __m256i low = _mm256_set1_epi8(15);
  __m256 sums[4] = {};  // of 8 rows each
  for (size_t begin = 0; begin < width; begin += sums_at_once) {
    // Of all bytes as if they were numbers of 16 bits, and of the higher bytes.
    __m256i both = _mm256_setzero_si256(), odd = both;
    for (size_t j = begin; j < std::min(width, begin + sums_at_once); ++j) {
      const auto* table = reinterpret_cast<const __m128i*>(tables + 32 * j);
      __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(signs + 64 * j));
      __m256i first = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table)),
                                          _mm256_and_si256(bytes, low));
      __m256i second = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table + 1)),
                                           _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low));
      __m256i sum = _mm256_add_epi8(first, second);
      both = _mm256_add_epi16(both, sum);
      odd = _mm256_add_epi16(odd, _mm256_srli_epi16(sum, 8));
    }
    const __m256i even = _mm256_sub_epi16(both, _mm256_slli_epi16(odd, 8));
    const __m256i first = _mm256_unpacklo_epi16(even, odd);
    const __m256i second = _mm256_unpackhi_epi16(even, odd);
    const __m256i in_order[2] = {_mm256_permute2x128_si256(first, second, 0x20),
                                 _mm256_permute2x128_si256(first, second, 0x31)};
    for (size_t i = 0; i < 4; ++i) {
      __m128i eight = i % 2 == 0 ? _mm256_castsi256_si128(in_order[i / 2])
                                 : _mm256_extracti128_si256(in_order[i / 2], 1);
      sums[i] = _mm256_add_ps(sums[i], _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(eight)));
    }
  }
  uint64_t out = 0;
  for (size_t i = 0; i < 4; ++i) {
    __m256 value =
        _mm256_fmadd_ps(_mm256_loadu_ps(factors + 8 * i), _mm256_fmadd_ps(sums[i], scale, offset),
                        _mm256_loadu_ps(constants + 8 * i));
    const int within = _mm256_movemask_ps(_mm256_cmp_ps(value, limit, _CMP_LE_OQ));
    out |= static_cast<uint64_t>(within) << 8 * i;
  }
  return out;
}

__attribute__((target("avx2,fma"))) uint64_t within_avx2(const uint8_t* tables,
                                                         const uint8_t* signs, size_t width,
                                                         size_t count, const float* constants,
                                                         const float* factors, float scale,
                                                         float offset, float limit) {
  uint64_t out = 0;
  for (size_t i = 0; i < count; i += 32) {
    out |= half_within_avx2(tables, signs + i, width, constants + i, factors + i,
                            _mm256_set1_ps(scale), _mm256_set1_ps(offset), _mm256_set1_ps(limit))
           << i;
  }
  return out & first_bits(count);
}

__attribute__((target("avx512f,avx512bw"), no_sanitize("thread"))) uint64_t within_avx512(
    const uint8_t* tables, const uint8_t* signs, size_t width, size_t count, const float* constants,
    const float* factors, float scale, float offset, float limit) {
  const __m512i low = _mm512_set1_epi8(15);
  const __m512i first_places = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
  const __m512i second_places = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
  __m512 sums[4] = {};  // of 16 rows each
  for (size_t begin = 0; begin < width; begin += sums_at_once) {
    // As above.
    __m512i both = _mm512_setzero_si512(), odd = both;
    for (size_t j = begin; j < std::min(width, begin + sums_at_once); ++j) {
      const auto* table = reinterpret_cast<const __m128i*>(tables + 32 * j);
      __m512i bytes = _mm512_loadu_si512(signs + 64 * j);
      __m512i first = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table)),
                                          _mm512_and_si512(bytes, low));
      __m512i second = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table + 1)),
                                           _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low));
      __m512i sum = _mm512_add_epi8(first, second);
      both = _mm512_add_epi16(both, sum);
      odd = _mm512_add_epi16(odd, _mm512_srli_epi16(sum, 8));
    }
    const __m512i even = _mm512_sub_epi16(both, _mm512_slli_epi16(odd, 8));
    const __m512i first = _mm512_unpacklo_epi16(even, odd);
    const __m512i second = _mm512_unpackhi_epi16(even, odd);
    const __m512i in_order[2] = {_mm512_permutex2var_epi64(first, first_places, second),
                                 _mm512_permutex2var_epi64(first, second_places, second)};
    for (size_t i = 0; i < 4; ++i) {
      __m256i sixteen = i % 2 == 0 ? _mm512_castsi512_si256(in_order[i / 2])
                                   : _mm512_extracti64x4_epi64(in_order[i / 2], 1);
      sums[i] = _mm512_add_ps(sums[i], _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sixteen)));
    }
  }
  uint64_t out = 0;
  for (size_t i = 0; i < 4; ++i) {
    __m512 value =
        _mm512_fmadd_ps(_mm512_loadu_ps(factors + 16 * i),
                        _mm512_fmadd_ps(sums[i], _mm512_set1_ps(scale), _mm512_set1_ps(offset)),
                        _mm512_loadu_ps(constants + 16 * i));
    const auto within = _mm512_cmp_ps_mask(value, _mm512_set1_ps(limit), _CMP_LE_OQ);
    out |= static_cast<uint64_t>(within) << 16 * i;
  }
  return out & first_bits(count);
}

__attribute__((target("avx512f,popcnt"))) size_t insert_sorted_avx512(uint64_t* sorted, size_t size,
                                                                      uint64_t value) {
  const __m512i values = _mm512_set1_epi64(static_cast<long long>(value));
  const uint64_t* at = sorted;
  size_t left = narrow<48>(at, size, value);
  size_t less = 0;
  for (size_t i = 0; i < left; i += 8) {
    auto some = static_cast<__mmask8>(left - i < 8 ? (1u << (left - i)) - 1 : 0xff);
    __m512i numbers = _mm512_maskz_loadu_epi64(some, at + i);
    less += static_cast<size_t>(
        __builtin_popcount(_mm512_mask_cmplt_epu64_mask(some, numbers, values)));
  }
  size_t place = static_cast<size_t>(at - sorted) + less;
  // From the end, so that nothing is written over before it was read.
  size_t end = size;
  for (; end - place >= 8; end -= 8) {
    _mm512_storeu_si512(sorted + end - 7, _mm512_loadu_si512(sorted + end - 8));
  }
  auto rest = static_cast<__mmask8>((1u << (end - place)) - 1);
  __m512i numbers = _mm512_maskz_loadu_epi64(rest, sorted + place);
  _mm512_mask_storeu_epi64(sorted + place + 1, rest, numbers);
  sorted[place] = value;
  return place;
}

__attribute__((target("popcnt"))) size_t count_bits_popcnt(const uint64_t* words, size_t count) {
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) total += static_cast<size_t>(__builtin_popcountll(words[i]));
  return total;
}

__attribute__((target("avx2"))) void hadamard_avx2(float* values, size_t n) {
  hadamard_by_halves(values, n);
}

__attribute__((target("avx512f"))) void hadamard_avx512(float* values, size_t n) {
  hadamard_by_halves(values, n);
}

constexpr Kernels avx2{
    SimdLevel::avx2,   l2_avx2<float>,         ip_avx2<float>,    l2_avx2<uint16_t>,
    ip_avx2<uint16_t>, l2_avx2<uint8_t>,       ip_avx2<uint8_t>,  l2_u8_avx2,
    ip_u8_avx2,        products_avx2,          packed_avx2,       bits_avx2,
    within_avx2,       insert_sorted_portable, count_bits_popcnt, hadamard_avx2};

Kernels best_avx512() {
  Kernels out = avx2;
  out.level = SimdLevel::avx512;
  out.l2_squared = l2_avx512<float>;
  out.inner_product = ip_avx512<float>;
  out.l2_squared_f16 = l2_avx512<uint16_t>;
  out.inner_product_f16 = ip_avx512<uint16_t>;
  out.l2_squared_f32_u8 = l2_avx512<uint8_t>;
  out.inner_product_f32_u8 = ip_avx512<uint8_t>;
  out.insert_sorted = insert_sorted_avx512;
  out.hadamard = hadamard_avx512;
  if (__builtin_cpu_supports("avx512bw")) out.rows_within = within_avx512;
  if (__builtin_cpu_supports("avx512vnni")) {
    out.code_products = products_vnni;
    out.packed_products = packed_vnni;
    if (__builtin_cpu_supports("avx512bw")) {
      out.l2_squared_u8 = l2_u8_vnni;
      out.inner_product_u8 = ip_u8_vnni;
    }
  }
  if (__builtin_cpu_supports("avx512vpopcntdq")) out.bit_products = bits_avx512;
  return out;
}

#endif

}  // namespace

std::string_view to_string(SimdLevel level) {
  switch (level) {
    case SimdLevel::portable: return "portable";
    case SimdLevel::avx2: return "avx2";
    case SimdLevel::avx512: return "avx512";
  }
  return "unknown";
}

const Kernels* kernels_at(SimdLevel level) {
  switch (level) {
    case SimdLevel::portable: return &portable;
#if defined(__x86_64__)
    case SimdLevel::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                     __builtin_cpu_supports("f16c")
                 ? &avx2
                 : nullptr;
    case SimdLevel::avx512: {
      if (!__builtin_cpu_supports("avx512f")) return nullptr;
      static const Kernels avx512 = best_avx512();
      return &avx512;
    }
#else
    default: return nullptr;
#endif
  }
  return nullptr;
}

namespace {

const Kernels* best_kernels() {
  for (SimdLevel level : {SimdLevel::avx512, SimdLevel::avx2}) {
    if (const Kernels* found = kernels_at(level)) return found;
  }
  return kernels_at(SimdLevel::portable);
}

// Set once, but by tests.
std::atomic<const Kernels*>& kernels_in_use() {
  static std::atomic<const Kernels*> in_use{best_kernels()};
  return in_use;
}

}  // namespace

const Kernels& kernels() { return *kernels_in_use().load(std::memory_order_relaxed); }

OtherKernels::OtherKernels(SimdLevel level) : before_(&kernels()) {
  const Kernels* other = kernels_at(level);
  JADE_ASSERT(other != nullptr);
  kernels_in_use() = other;
}

OtherKernels::~OtherKernels() { kernels_in_use() = before_; }

}  // namespace jade
