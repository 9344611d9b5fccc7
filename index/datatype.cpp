#include "index/datatype.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "index/half.h"

static_assert(std::endian::native == std::endian::little, "values are stored as in memory");

namespace jade {

std::string_view to_string(Datatype datatype) {
  switch (datatype) {
    case Datatype::float32: return "float32";
    case Datatype::float16: return "float16";
    case Datatype::uint8: return "uint8";
  }
  return "unknown";
}

Result<Datatype> parse_datatype(std::string_view name) {
  for (auto d : {Datatype::float32, Datatype::float16, Datatype::uint8}) {
    if (name == to_string(d)) return d;
  }
  return invalid_argument("datatype \"" + std::string(name) +
                          "\" is unknown; use \"float32\", \"float16\" or \"uint8\"");
}

const char* refusal(Datatype datatype, const float* values, size_t n, size_t& at) {
  for (at = 0; at < n; ++at) {
    const float value = values[at];
    if (!std::isfinite(value)) return "is not a finite number";
    if (datatype == Datatype::float16 && std::fabs(value) > half_max) {
      return "is not between -65504 and 65504, as datatype \"float16\" asks for";
    }
    if (datatype == Datatype::uint8 &&
        !(value >= 0 && value <= 255 && value == std::trunc(value))) {
      return "is not a whole number from 0 to 255, as datatype \"uint8\" asks for";
    }
  }
  return nullptr;
}

void store_values(Datatype datatype, const float* values, size_t n, char* out) {
  switch (datatype) {
    case Datatype::float32:
      if (n > 0) std::memcpy(out, values, n * sizeof(float));
      return;
    case Datatype::float16:
      for (size_t i = 0; i < n; ++i) {
        uint16_t half = float_to_half(values[i]);
        std::memcpy(out + 2 * i, &half, sizeof half);
      }
      return;
    case Datatype::uint8:
      for (size_t i = 0; i < n; ++i) out[i] = static_cast<char>(static_cast<uint8_t>(values[i]));
      return;
  }
}

void load_values(Datatype datatype, const char* stored, size_t n, float* out) {
  switch (datatype) {
    case Datatype::float32:
      if (n > 0) std::memcpy(out, stored, n * sizeof(float));
      return;
    case Datatype::float16:
      for (size_t i = 0; i < n; ++i) {
        uint16_t half;
        std::memcpy(&half, stored + 2 * i, sizeof half);
        out[i] = half_to_float(half);
      }
      return;
    case Datatype::uint8:
      for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(stored[i]);
      return;
  }
}

}  // namespace jade
