#include "index/row_format.h"

#include <cmath>
#include <cstring>

#include "index/half.h"
#include "index/scoring.h"

namespace jade {
namespace {

template <class T>
double squared_length(const char* row, size_t d, float (*value_of)(T)) {
  double sum = 0;
  for (size_t i = 0; i < d; ++i) {
    T stored;
    std::memcpy(&stored, row + i * sizeof(T), sizeof stored);
    auto value = static_cast<double>(value_of(stored));
    sum += value * value;
  }
  return sum;
}

}  // namespace

float RowFormat::scale(const char* row) const {
  if (!scaled()) return 1;
  double sum = datatype_ == Datatype::float16
                   ? squared_length<uint16_t>(row, dimension_, half_to_float)
                   : squared_length<uint8_t>(
                         row, dimension_, [](uint8_t value) { return static_cast<float>(value); });
  return sum > 0 ? static_cast<float>(1 / std::sqrt(sum)) : 0;
}

void RowFormat::to_floats(const char* row, float* out) const {
  load_values(datatype_, row, dimension_, out);
  if (scaled()) normalise(out, dimension_);
}

RowDistance::RowDistance(const RowFormat& format, const float* query)
    : format_(format),
      query_(query),
      base_(format.metric() == Metric::cosine ? 1.0f : 0.0f),
      sign_(format.metric() == Metric::l2 ? 1.0f : -1.0f) {
  const Kernels& best = kernels();
  const bool l2 = format.metric() == Metric::l2;
  float32_ = l2 ? best.l2_squared : best.inner_product;
  float16_ = l2 ? best.l2_squared_f16 : best.inner_product_f16;
  uint8_ = l2 ? best.l2_squared_f32_u8 : best.inner_product_f32_u8;
  whole_ = l2 ? best.l2_squared_u8 : best.inner_product_u8;
  if (format.datatype() == Datatype::float16) way_ = Way::float16;
  if (format.datatype() != Datatype::uint8) return;
  way_ = Way::uint8;
  size_t at = 0;
  if (format.scaled() || refusal(Datatype::uint8, query, format.dimension(), at) != nullptr) return;
  way_ = Way::whole;
  bytes_.resize(format.dimension());
  store_values(Datatype::uint8, query, bytes_.size(), reinterpret_cast<char*>(bytes_.data()));
}

}  // namespace jade
