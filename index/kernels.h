// Distances between float32 vectors, by the widest instructions that the
// processor has, chosen when the program starts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace jade {

enum class SimdLevel : uint8_t { portable, avx2, avx512 };
std::string_view to_string(SimdLevel level);

// The results of two levels may differ in the last bits: the order of additions
// differs. `d` floats each; no alignment needed.
struct Kernels {
  SimdLevel level;
  float (*l2_squared)(const float* a, const float* b, size_t d);
  float (*inner_product)(const float* a, const float* b, size_t d);
};

// The best of this processor.
const Kernels& kernels();
// Those of `level`; null where the processor lacks it.
const Kernels* kernels_at(SimdLevel level);

}  // namespace jade
