#include "index/scalar_codes.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

namespace jade {
namespace {

constexpr int most = 127;
// Looked at for the scale.
constexpr uint32_t sample_rows = 4000;
// How far above the error of rounding the distance of neighbours must be.
constexpr float margin = 8;
// A query's largest value may, squared, be so many times the mean of the squares: more,
// and under dot rounding the query would lose more than rounding the rows.
constexpr float peak_max = 32;
// How many times its standard deviation a distance by codes is off at most, but for few.
constexpr float deviations = 3;
constexpr float infinity = std::numeric_limits<float>::infinity();

// The least of some values, ascending.
template <size_t count>
struct Extremes {
  std::array<float, count> least;

  Extremes() { least.fill(infinity); }
  void add(float value) {
    if (!(value < least.back())) return;
    size_t at = least.size() - 1;
    for (; at > 0 && value < least[at - 1]; --at) least[at] = least[at - 1];
    least[at] = value;
  }
};

}  // namespace

ScalarCodes::ScalarCodes(uint32_t rows, uint32_t dimension, Metric metric)
    : products_(kernels().code_products),
      metric_(metric),
      dimension_(dimension),
      width_((size_t{dimension} + 63) / 64 * 64),
      lowest_(dimension),
      middle_value_(dimension),
      middle_(width_),
      codes_(rows * width_),
      norms_(rows),
      added_(metric == Metric::dot ? rows : 0) {
  set_layout(codes_.data(), width_, norms_.data());
}

std::unique_ptr<const ScalarCodes> ScalarCodes::of(const EuclideanRows& rows, Metric metric,
                                                   Workers* workers) {
  if (rows.rows() == 0) return nullptr;
  std::unique_ptr<ScalarCodes> codes(new ScalarCodes(rows.rows(), rows.dimension(), metric));
  if (!codes->measure(rows) || !codes->encode_rows(rows, workers)) return nullptr;
  return codes;
}

bool ScalarCodes::measure(const EuclideanRows& rows) {
  uint32_t looked = std::min(rows.rows(), sample_rows);
  std::vector<Extremes<sample_rows / stray_share + 1>> low(dimension_), high(dimension_);
  for (uint32_t i = 0; i < looked; ++i) {
    const float* row = rows.row(size_t{i} * rows.rows() / looked);
    for (uint32_t j = 0; j < dimension_; ++j) {
      low[j].add(row[j]);
      high[j].add(-row[j]);
    }
  }
  neighbour_ = neighbour_distance(rows);
  // Without strays, if need be: which of them are in the sample is chance.
  for (uint32_t cut : {0u, looked / stray_share}) {
    for (uint32_t j = 0; j < dimension_; ++j) lowest_[j] = low[j].least[cut];
    float range = 0;
    for (uint32_t j = 0; j < dimension_; ++j) {
      range = std::max(range, -high[j].least[cut] - lowest_[j]);
    }
    step_ = range / most;
    if (!(step_ > 0) || !(1 / step_ < infinity)) continue;
    // Each of two rows is off by step²/12 a dimension, in the mean of the squares.
    float error = step_ * step_ / 6 * static_cast<float>(dimension_);
    if (!(neighbour_ > margin * error)) continue;
    for (uint32_t j = 0; j < dimension_; ++j) {
      middle_[j] = static_cast<uint8_t>((-high[j].least[cut] - lowest_[j]) / step_ / 2);
      middle_value_[j] = lowest_[j] + step_ * middle_[j];
    }
    return true;
  }
  return false;
}

bool ScalarCodes::encode_rows(const EuclideanRows& rows, Workers* workers) {
  float scale = 1 / step_;
  auto code_of = [&](float value, uint32_t j) {
    float scaled = (value - lowest_[j]) * scale + 0.5f;
    return static_cast<uint8_t>(std::min(float{most}, std::max(0.0f, scaled)));
  };
  JADE_ASSERT(rows.has_added() == !added_.empty());
  std::atomic<uint64_t> strays = 0;
  std::memset(codes_.data(), 0, codes_.size());
  rows.for_each_row(workers, [&](uint32_t, size_t i, const float* row) {
    uint8_t* code = codes_.data() + i * width_;
    int32_t norm = 0;
    float lost = 0;
    for (uint32_t j = 0; j < dimension_; ++j) {
      code[j] = code_of(row[j], j);
      int32_t value = code[j] - middle_[j];
      norm += value * value;
      float off = row[j] - lowest_[j] - step_ * code[j];
      lost += off * off;
    }
    if (rows.has_added()) added_[i] = rows.added(i) * scale;
    norms_[i] = norm;
    if (!(lost < neighbour_)) ++strays;
  });
  return strays <= strays_max(rows.rows(), metric_);
}

std::vector<std::span<char>> ScalarCodes::parts() {
  return {bytes_of(&step_, 1),
          bytes_of(&neighbour_, 1),
          bytes_of(lowest_.data(), lowest_.size()),
          bytes_of(middle_value_.data(), middle_value_.size()),
          bytes_of(middle_.data(), middle_.size()),
          bytes_of(codes_.data(), codes_.size()),
          bytes_of(norms_.data(), norms_.size()),
          bytes_of(added_.data(), added_.size())};
}

size_t ScalarCodes::memory_bytes() const {
  return codes_.size() + norms_.size() * sizeof(norms_[0]) + added_.size() * sizeof(float);
}

bool ScalarCodes::encode(const float* query, EncodedQuery& out) const {
  // Under dot the middle would only add the same to all.
  const bool centred = metric_ != Metric::dot;
  thread_local std::vector<float> values;
  values.assign(query, query + dimension_);
  float largest = 0, squares = 0, at_zero = 0;
  for (uint32_t j = 0; j < dimension_; ++j) {
    if (centred) {
      values[j] -= middle_value_[j];
    } else {
      at_zero += values[j] * lowest_[j];
    }
    squares += values[j] * values[j];
    largest = std::max(largest, std::fabs(values[j]));
  }
  if (!(squares < infinity)) return false;
  if (centred ? largest > step_ * most
              : largest * largest * static_cast<float>(dimension_) > peak_max * squares) {
    return false;
  }
  float query_step = largest > 0 ? largest / most : 1;
  float scale = 1 / query_step;
  if (!(scale < infinity)) return false;
  // Of values so small that the unit of their products has few digits, or none.
  if (query_step * step_ < std::numeric_limits<float>::min()) return false;
  out.values.assign(width_, 0);
  int32_t at_middle = 0;
  float lost = 0;  // y · (y - what it is rounded to)
  for (uint32_t j = 0; j < dimension_; ++j) {
    float scaled = values[j] * scale;
    auto value = static_cast<int32_t>(scaled + (scaled < 0 ? -0.5f : 0.5f));
    out.values[j] = static_cast<int8_t>(value);
    at_middle += value * middle_[j];
    lost += values[j] * (values[j] - query_step * static_cast<float>(value));
  }
  // With y the query and s the row, both from the middle: |y - s|² = |y|² + |s|² - 2 y · s. What
  // rounding takes from y · s is, where s is near y, about what it takes from y · y.
  float factor = query_step * step_;
  out.base = centred ? squares - 2 * lost + 2 * factor * static_cast<float>(at_middle) : -at_zero;
  out.norm = centred ? step_ * step_ : 0;
  out.product = centred ? -2 * factor : -factor;
  out.is_row = false;
  return true;
}

float ScalarCodes::error(const EncodedQuery& query, float distance) const {
  if (metric_ == Metric::dot) return infinity;
  // With y the query, s the row and e what rounding adds to either, |y - s - e|² is off by
  // |e|² - 2 e · (y - s). Each dimension of e is anywhere within a step.
  float query_step = query.product / (-2 * step_);
  float squares = (step_ * step_ + query_step * query_step) / 12;
  return squares * static_cast<float>(dimension_) +
         deviations * 2 * std::sqrt(squares) * std::sqrt(std::max(0.0f, distance));
}

void ScalarCodes::encode_row(uint32_t row, EncodedQuery& out) const {
  out.values.resize(width_);
  // Bytes might be any of the others, for all that the compiler knows.
  const uint8_t* const __restrict code = codes_.data() + row * width_;
  const uint8_t* const __restrict middle = middle_.data();
  int8_t* const __restrict values = out.values.data();
  for (size_t j = 0, width = width_; j < width; ++j) {
    values[j] = static_cast<int8_t>(code[j] - middle[j]);
  }
  const uint32_t first = 0;
  int32_t at_middle;
  products_(out.values.data(), middle_.data(), width_, &first, 1, &at_middle);
  out.base = static_cast<float>(norms_[row] + 2 * at_middle);
  out.norm = 1;
  out.product = -2;
  out.is_row = true;
  out.added = added_.empty() ? 0 : added_[row];
}

void ScalarCodes::distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                            float* out) const {
  constexpr size_t batch = 64;
  int32_t products[batch];
  for (size_t done = 0; done < count; done += batch) {
    size_t n = std::min(batch, count - done);
    products_(query.values.data(), codes_.data(), width_, rows + done, n, products);
    for (size_t i = 0; i < n; ++i) {
      uint32_t row = rows[done + i];
      out[done + i] = query.base + query.norm * static_cast<float>(norms_[row]) +
                      query.product * static_cast<float>(products[i]);
    }
    for (size_t i = 0; i < n && query.is_row && !added_.empty(); ++i) {
      const float added = added_[rows[done + i]];
      out[done + i] += query.by_product ? product_added(query.added, added)
                                        : l2_squared_added(query.added, added);
    }
  }
}

}  // namespace jade
