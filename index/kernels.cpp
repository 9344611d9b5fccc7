#include "index/kernels.h"

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
float l2_portable(const float* a, const float* b, size_t d) {
  float sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    for (size_t j = 0; j < 8; ++j) {
      float difference = a[i + j] - b[i + j];
      sums[j] += difference * difference;
    }
  }
  float sum = 0;
  for (; i < d; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  for (float s : sums) sum += s;
  return sum;
}

float ip_portable(const float* a, const float* b, size_t d) {
  float sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += a[i + j] * b[i + j];
  }
  float sum = 0;
  for (; i < d; ++i) sum += a[i] * b[i];
  for (float s : sums) sum += s;
  return sum;
}

constexpr Kernels portable{SimdLevel::portable, l2_portable, ip_portable};

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) float horizontal_sum(__m256 v) {
  __m128 low = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  low = _mm_add_ps(low, _mm_movehl_ps(low, low));
  return _mm_cvtss_f32(_mm_add_ss(low, _mm_movehdup_ps(low)));
}

__attribute__((target("avx2,fma"))) float l2_avx2(const float* a, const float* b, size_t d) {
  __m256 sum0 = _mm256_setzero_ps(), sum1 = _mm256_setzero_ps();
  size_t i = 0;
  for (; i + 16 <= d; i += 16) {
    __m256 x = _mm256_sub_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
    __m256 y = _mm256_sub_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8));
    sum0 = _mm256_fmadd_ps(x, x, sum0);
    sum1 = _mm256_fmadd_ps(y, y, sum1);
  }
  float sum = horizontal_sum(_mm256_add_ps(sum0, sum1));
  for (; i < d; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

__attribute__((target("avx2,fma"))) float ip_avx2(const float* a, const float* b, size_t d) {
  __m256 sum0 = _mm256_setzero_ps(), sum1 = _mm256_setzero_ps();
  size_t i = 0;
  for (; i + 16 <= d; i += 16) {
    sum0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), sum0);
    sum1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), sum1);
  }
  float sum = horizontal_sum(_mm256_add_ps(sum0, sum1));
  for (; i < d; ++i) sum += a[i] * b[i];
  return sum;
}

__attribute__((target("avx512f"))) float l2_avx512(const float* a, const float* b, size_t d) {
  __m512 sum0 = _mm512_setzero_ps(), sum1 = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + 32 <= d; i += 32) {
    __m512 x = _mm512_sub_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
    __m512 y = _mm512_sub_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16));
    sum0 = _mm512_fmadd_ps(x, x, sum0);
    sum1 = _mm512_fmadd_ps(y, y, sum1);
  }
  for (; i < d; i += 16) {
    __mmask16 mask = d - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (d - i)) - 1);
    __m512 x =
        _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i));
    sum0 = _mm512_fmadd_ps(x, x, sum0);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1));
}

__attribute__((target("avx512f"))) float ip_avx512(const float* a, const float* b, size_t d) {
  __m512 sum0 = _mm512_setzero_ps(), sum1 = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + 32 <= d; i += 32) {
    sum0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), sum0);
    sum1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), sum1);
  }
  for (; i < d; i += 16) {
    __mmask16 mask = d - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (d - i)) - 1);
    sum0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i),
                           sum0);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1));
}

constexpr Kernels avx2{SimdLevel::avx2, l2_avx2, ip_avx2};
constexpr Kernels avx512{SimdLevel::avx512, l2_avx512, ip_avx512};

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
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2 : nullptr;
    case SimdLevel::avx512: return __builtin_cpu_supports("avx512f") ? &avx512 : nullptr;
#else
    default: return nullptr;
#endif
  }
  return nullptr;
}

const Kernels& kernels() {
  static const Kernels* const best = [] {
    for (SimdLevel level : {SimdLevel::avx512, SimdLevel::avx2}) {
      if (const Kernels* found = kernels_at(level)) return found;
    }
    return kernels_at(SimdLevel::portable);
  }();
  return *best;
}

}  // namespace jade
