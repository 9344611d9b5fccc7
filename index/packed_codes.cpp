#include "index/packed_codes.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

namespace jade {
namespace {

constexpr int most = 15;
// Queries are rounded to whole numbers up to this.
constexpr int query_most = 127;
// Looked at for the ranges.
constexpr uint32_t sample_rows = 1000;
// Shares of the sample that the ends of a range may cut off.
constexpr double cut_shares[] = {0, 0.001, 0.003, 0.006, 0.012, 0.025, 0.05};
// How far above the errors of two rows the distance of neighbours must be.
constexpr float margin = 2;
// A row is a stray where its code is farther off, squared, than so many times the distance
// of neighbours.
constexpr float stray = 4;
// How much of a query's squared distance from the middle may lie outside of the ranges.
constexpr float outside_max = 0.25f;
// Under dot, of how many dimensions a query must be made at least: of fewer, too many rows
// have the same product.
constexpr float dimensions_min = 2;
constexpr float infinity = std::numeric_limits<float>::infinity();

uint8_t code_of(float value, float lowest, float scale) {
  float scaled = (value - lowest) * scale + 0.5f;
  // In this order, what is no number becomes 0.
  return static_cast<uint8_t>(std::min(float{most}, std::max(0.0f, scaled)));
}

// The squares of what the values lose, each `most_lost` at most: one far from all others is
// better left out of the range than all others in one step of it.
double loss(const std::vector<float>& values, float low, float high, double most_lost) {
  float step = (high - low) / most, scale = step > 0 ? 1 / step : 0;
  if (!(scale < infinity)) return std::numeric_limits<double>::infinity();
  double sum = 0;
  for (float value : values) {
    // In double: floats would round what is lost in a wide range to nothing.
    const double off = double{value} - double{low} - double{step} * code_of(value, low, scale);
    sum += std::min(off * off, most_lost);
  }
  return sum;
}

}  // namespace

PackedCodes::PackedCodes(uint32_t rows, uint32_t dimension, Metric metric)
    : products_(kernels().packed_products),
      metric_(metric),
      dimension_(dimension),
      width_((size_t{dimension} + 127) / 128 * 64),
      ranges_(dimension),
      codes_(rows * width_),
      norms_(rows) {
  set_layout(codes_.data(), width_, norms_.data());
}

std::unique_ptr<const PackedCodes> PackedCodes::of(const EuclideanRows& rows, Metric metric,
                                                   Workers* workers) {
  if (rows.rows() == 0) return nullptr;
  std::unique_ptr<PackedCodes> codes(new PackedCodes(rows.rows(), rows.dimension(), metric));
  if (!codes->measure(rows) || !codes->encode_rows(rows, workers)) return nullptr;
  return codes;
}

bool PackedCodes::measure(const EuclideanRows& rows) {
  uint32_t looked = std::min(rows.rows(), sample_rows);
  std::vector<float> values(looked), sample;
  for (uint32_t i = 0; i < looked; ++i) {
    const float* row = rows.row(size_t{i} * rows.rows() / looked);
    sample.insert(sample.end(), row, row + dimension_);
  }
  double lost = 0, largest_norm = 0;
  for (uint32_t j = 0; j < dimension_; ++j) {
    for (uint32_t i = 0; i < looked; ++i) {
      values[i] = sample[size_t{i} * dimension_ + j];
      if (!(std::fabs(values[i]) < infinity)) return false;
    }
    std::sort(values.begin(), values.end());
    float low = values.front(), high = values.back();
    const double width =
        static_cast<double>(values[looked - 1 - looked / 20]) - values[looked / 20];
    const double most_lost = width > 0 ? width * width : std::numeric_limits<double>::infinity();
    double least = std::numeric_limits<double>::infinity();
    for (double below : cut_shares) {
      for (double above : cut_shares) {
        float from = values[static_cast<size_t>(below * looked)];
        float to = values[looked - 1 - static_cast<size_t>(above * looked)];
        if (!(from <= to)) continue;
        double l = loss(values, from, to, most_lost);
        if (l >= least) continue;
        least = l;
        low = from;
        high = to;
      }
    }
    Range& range = ranges_[j];
    range.lowest = low;
    range.step = (high - low) / most;
    range.scale = range.step > 0 ? 1 / range.step : 0;
    if (!(range.step < infinity) || !(range.scale < infinity)) return false;
    lost += least / looked;
    const double half = 0.5 * most * static_cast<double>(range.step);
    largest_norm += half * half;
  }
  neighbour_ = neighbour_distance(rows);
  // Of two rows; and what their norms round off.
  const double error = 2 * (lost + std::numeric_limits<float>::epsilon() * largest_norm);
  return neighbour_ < infinity && error * double{margin} < double{neighbour_};
}

bool PackedCodes::encode_rows(const EuclideanRows& rows, Workers* workers) {
  std::atomic<uint64_t> strays = 0;
  std::memset(codes_.data(), 0, codes_.size());
  rows.for_each_row(workers, [&](uint32_t, size_t i, const float* row) {
    uint8_t* code = codes_.data() + i * width_;
    float norm = 0, lost = 0;
    for (uint32_t j = 0; j < dimension_; ++j) {
      const Range& range = ranges_[j];
      uint8_t value = code_of(row[j], range.lowest, range.scale);
      code[j % width_] |= static_cast<uint8_t>(j < width_ ? value : value << 4);
      float from_middle = range.step * (static_cast<float>(value) - 0.5f * most);
      norm += from_middle * from_middle;
      float off = row[j] - range.lowest - range.step * static_cast<float>(value);
      lost += off * off;
    }
    float whole = norm + lost;
    // What is no number is far away; not infinitely, as under dot this counts 0 times.
    norms_[i] = whole < infinity ? whole : std::numeric_limits<float>::max();
    if (!(lost < stray * neighbour_)) ++strays;
  });
  return strays <= strays_max(rows.rows(), metric_);
}

std::vector<std::span<char>> PackedCodes::parts() {
  return {bytes_of(&neighbour_, 1), bytes_of(ranges_.data(), ranges_.size()),
          bytes_of(codes_.data(), codes_.size()), bytes_of(norms_.data(), norms_.size())};
}

size_t PackedCodes::memory_bytes() const {
  return codes_.size() + norms_.size() * sizeof(float) + ranges_.size() * sizeof(Range);
}

bool PackedCodes::encode(const float* query, EncodedQuery& out) const {
  // Under dot the middle would only add the same to all.
  const bool centred = metric_ != Metric::dot;
  thread_local std::vector<float> weights;
  weights.resize(dimension_);
  float largest = 0, squares = 0, outside = 0, at_middle = 0;
  float weight_squares = 0, weight_fourths = 0;
  for (uint32_t j = 0; j < dimension_; ++j) {
    const Range& range = ranges_[j];
    float half = 0.5f * most * range.step, middle = range.lowest + half;
    float value = centred ? query[j] - middle : query[j];
    at_middle += query[j] * middle;
    squares += value * value;
    float over = std::max(0.0f, std::fabs(value) - half);
    outside += over * over;
    float weight = value * range.step;
    weights[j] = weight;
    largest = std::max(largest, std::fabs(weight));
  }
  // Beside the largest, so that no power leaves the range of float32.
  for (uint32_t j = 0; !centred && largest > 0 && j < dimension_; ++j) {
    const float square = weights[j] / largest * (weights[j] / largest);
    weight_squares += square;
    weight_fourths += square * square;
  }
  if (!(squares < infinity) || !(std::fabs(at_middle) < infinity)) return false;
  if (centred ? outside > outside_max * squares
              : weight_squares * weight_squares < dimensions_min * weight_fourths) {
    return false;
  }
  float step = largest > 0 ? largest / query_most : 1;
  float scale = 1 / step;
  if (!(scale < infinity)) return false;
  out.values.assign(2 * width_, 0);
  int32_t sum = 0;
  for (uint32_t j = 0; j < dimension_; ++j) {
    float scaled = weights[j] * scale;
    auto value = static_cast<int32_t>(scaled + (scaled < 0 ? -0.5f : 0.5f));
    out.values[j] = static_cast<int8_t>(value);
    sum += value;
  }
  // With y the query and s the row, both from the middle: |y - s|² = |y|² + |s|² - 2 y · s.
  float middle_product = step * 0.5f * most * static_cast<float>(sum);
  out.base = centred ? squares + 2 * middle_product : middle_product - at_middle;
  out.norm = centred ? 1 : 0;
  out.product = centred ? -2 * step : -step;
  out.is_row = false;
  return true;
}

void PackedCodes::distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                            float* out) const {
  constexpr size_t batch = 64;
  int32_t products[batch];
  for (size_t done = 0; done < count; done += batch) {
    size_t n = std::min(batch, count - done);
    products_(query.values.data(), codes_.data(), width_, rows + done, n, products);
    for (size_t i = 0; i < n; ++i) {
      out[done + i] = query.base + query.norm * norms_[rows[done + i]] +
                      query.product * static_cast<float>(products[i]);
    }
  }
}

}  // namespace jade
