#include "index/row_codes.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "index/bit_codes.h"
#include "index/packed_codes.h"
#include "index/product_codes.h"
#include "index/random.h"
#include "index/scalar_codes.h"

namespace jade {
namespace {

constexpr uint32_t sample_rows = 4000;
constexpr uint32_t probes = 256;

// At most `count` of n rows, ascending. At random, not at equal steps: rows in places near each
// other are near each other (index/row_order.h), and of those that are nearest none would be
// taken together. By Knuth's algorithm S.
std::vector<uint32_t> random_rows(uint32_t n, uint32_t count) {
  Random random(n);
  std::vector<uint32_t> out;
  uint32_t wanted = std::min(n, count);
  for (uint32_t row = 0; wanted > 0; ++row) {
    if (random.below(n - row) >= wanted) continue;
    out.push_back(row);
    --wanted;
  }
  return out;
}

}  // namespace

std::unique_ptr<const RowCodes> RowCodes::of(Quantization wanted, const EuclideanRows& rows,
                                             Metric metric, Workers* workers) {
  if (wanted == Quantization::none) return nullptr;
  if (wanted == Quantization::rabitq) {
    if (auto codes = BitCodes::of(rows, metric, workers)) return codes;
  }
  if (wanted == Quantization::pq) {
    if (auto codes = ProductCodes::of(rows, metric, workers)) return codes;
  }
  if (wanted != Quantization::sq8) {
    if (auto codes = PackedCodes::of(rows, metric, workers)) return codes;
  }
  return ScalarCodes::of(rows, metric, workers);
}

std::unique_ptr<RowCodes> RowCodes::make(Quantization kind, uint32_t rows, uint32_t dimension,
                                         Metric metric) {
  switch (kind) {
    case Quantization::sq8:
      return std::unique_ptr<RowCodes>(new ScalarCodes(rows, dimension, metric));
    case Quantization::sq4:
      return std::unique_ptr<RowCodes>(new PackedCodes(rows, dimension, metric));
    case Quantization::rabitq:
      return std::unique_ptr<RowCodes>(new BitCodes(rows, dimension, metric));
    case Quantization::pq:
      return std::unique_ptr<RowCodes>(new ProductCodes(rows, dimension, metric));
    case Quantization::none: break;
  }
  return nullptr;
}

Status RowCodes::save(const std::function<Status(std::string_view)>& sink) const {
  // Only read.
  for (std::span<char> part : const_cast<RowCodes*>(this)->parts()) {
    JADE_RETURN_IF_ERROR(sink({part.data(), part.size()}));
  }
  return {};
}

uint64_t RowCodes::saved_bytes(Quantization kind, uint32_t rows, uint32_t dimension,
                               Metric metric) {
  if (kind == Quantization::none) return 0;
  auto bytes = [&](uint32_t n) {
    uint64_t sum = 0;
    for (std::span<char> part : make(kind, n, dimension, metric)->parts()) sum += part.size();
    return sum;
  };
  uint64_t shared = bytes(0);
  return shared + (bytes(1) - shared) * rows;
}

Result<std::unique_ptr<const RowCodes>> RowCodes::load(
    Quantization kind, uint32_t rows, uint32_t dimension, Metric metric,
    const std::function<Status(char*, size_t)>& source) {
  auto codes = make(kind, rows, dimension, metric);
  JADE_ASSERT(codes != nullptr);
  for (std::span<char> part : codes->parts()) {
    JADE_RETURN_IF_ERROR(source(part.data(), part.size()));
  }
  return std::unique_ptr<const RowCodes>(std::move(codes));
}

float RowCodes::neighbour_distance(const EuclideanRows& rows) {
  const std::vector<uint32_t> sample = random_rows(rows.rows(), sample_rows);
  const auto looked = static_cast<uint32_t>(sample.size());
  uint32_t probed = std::min(probes, looked);
  auto probe = [&](uint32_t i) { return sample[uint64_t{i} * looked / probed]; };
  // Rows may have to be read: the probes are kept, and the others met once.
  std::vector<float> values;
  for (uint32_t i = 0; i < probed; ++i) {
    const float* row = rows.row(probe(i));
    values.insert(values.end(), row, row + rows.dimension());
  }
  std::vector<float> nearest(probed, std::numeric_limits<float>::infinity());
  for (uint32_t j = 0; j < looked; ++j) {
    const float* row = rows.row(sample[j]);
    for (uint32_t i = 0; i < probed; ++i) {
      float d =
          rows.l2_squared(values.data() + size_t{i} * rows.dimension(), probe(i), row, sample[j]);
      if (d > 0) nearest[i] = std::min(nearest[i], d);
    }
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
