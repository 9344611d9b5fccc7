// As what the values of vectors are stored.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jade {

// float16: IEEE 754 binary16, finite. uint8: whole numbers from 0 to 255. All
// little-endian. The numbers are those on disk and between nodes.
enum class Datatype : uint8_t { float32 = 0, float16 = 1, uint8 = 2 };
inline constexpr auto datatype_max = Datatype::uint8;

constexpr size_t element_bytes(Datatype datatype) {
  return datatype == Datatype::float32 ? 4 : datatype == Datatype::float16 ? 2 : 1;
}

}  // namespace jade
