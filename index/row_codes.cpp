#include "index/row_codes.h"

#include <algorithm>
#include <limits>

#include "index/bit_codes.h"
#include "index/packed_codes.h"
#include "index/scalar_codes.h"

namespace jade {
namespace {

constexpr uint32_t sample_rows = 4000;
constexpr uint32_t probes = 64;

}  // namespace

std::unique_ptr<const RowCodes> RowCodes::of(Quantization wanted, const EuclideanRows& rows,
                                             Metric metric) {
  if (wanted == Quantization::none) return nullptr;
  if (wanted == Quantization::rabitq) {
    if (auto codes = BitCodes::of(rows, metric)) return codes;
  }
  if (wanted == Quantization::sq4 || wanted == Quantization::rabitq) {
    if (auto codes = PackedCodes::of(rows, metric)) return codes;
  }
  return ScalarCodes::of(rows, metric);
}

float RowCodes::neighbour_distance(const EuclideanRows& rows) {
  uint32_t looked = std::min(rows.rows(), sample_rows);
  uint32_t probed = std::min(probes, looked);
  auto sample = [&](uint32_t i) { return size_t{i} * rows.rows() / looked; };
  std::vector<float> nearest;
  for (uint32_t i = 0; i < probed; ++i) {
    size_t probe = sample(static_cast<uint32_t>(uint64_t{i} * looked / probed));
    float least = std::numeric_limits<float>::infinity();
    for (uint32_t j = 0; j < looked; ++j) {
      float d = rows.l2_squared(probe, sample(j));
      if (d > 0) least = std::min(least, d);
    }
    nearest.push_back(least);
  }
  auto tenth = nearest.begin() + static_cast<std::ptrdiff_t>(nearest.size() / 10);
  std::nth_element(nearest.begin(), tenth, nearest.end());
  return *tenth;
}

void RowCodes::set_layout(const void* codes, size_t width, const void* norms) {
  first_code_ = static_cast<const char*>(codes);
  first_norm_ = static_cast<const char*>(norms);
  width_ = width;
  prefetch_bytes_ = std::min<size_t>(width, 512);
}

}  // namespace jade
