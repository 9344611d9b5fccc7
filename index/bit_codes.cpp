#include "index/bit_codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace jade {
namespace {

// Looked at for the middle.
constexpr uint32_t sample_rows = 4000;
// Of the values of a query, up to this.
constexpr int query_most = 7;
// The squared distance of two points near each other, of which one is r from the middle, is
// estimated with this × r × distance / √dimensions of error, as standard deviation. The
// paper's theorem 3.2 has |row| × |query| for the product; but of a row at a known distance
// only the part across the query is uncertain, and that is at most the distance.
constexpr float deviation = 1.5f;
// Up to how much of the distance of neighbours, squared, the error of an estimate may be.
constexpr double error_max = 1;
// How many times its standard deviation an estimate is off at most, but for few.
constexpr float deviations = 2.5f;
constexpr float infinity = std::numeric_limits<float>::infinity();

}  // namespace

BitCodes::BitCodes(uint32_t rows, uint32_t dimension, Metric metric)
    : products_(kernels().bit_products),
      metric_(metric),
      rows_(rows),
      dimension_(dimension),
      rotated_((size_t{dimension} + 127) / 128 * 128),
      stride_((sizeof(Head) + rotated_ / 8 + 31) / 32 * 32),
      rotation_(rotated_),
      middle_(dimension),
      codes_(rows * stride_) {
  set_layout(codes_.data(), stride_, nullptr);
}

std::unique_ptr<const BitCodes> BitCodes::of(const EuclideanRows& rows, Metric metric,
                                             Workers* workers) {
  if (rows.rows() == 0) return nullptr;
  std::unique_ptr<BitCodes> codes(new BitCodes(rows.rows(), rows.dimension(), metric));
  if (!codes->measure(rows) || !codes->encode_rows(rows, workers)) return nullptr;
  return codes;
}

bool BitCodes::measure(const EuclideanRows& rows) {
  uint32_t looked = std::min(rows_, sample_rows);
  auto sample = [&](uint32_t i) { return rows.row(size_t{i} * rows_ / looked); };
  std::vector<double> sums(dimension_);
  double squares = 0;
  for (uint32_t i = 0; i < looked; ++i) {
    const float* row = sample(i);
    for (uint32_t j = 0; j < dimension_; ++j) {
      sums[j] += static_cast<double>(row[j]);
      squares += static_cast<double>(row[j]) * static_cast<double>(row[j]);
    }
  }
  for (uint32_t j = 0; j < dimension_; ++j) {
    middle_[j] = static_cast<float>(sums[j] / looked);
    squares -= sums[j] * sums[j] / looked;
  }
  double radius_squared = squares / looked;
  double neighbour = static_cast<double>(neighbour_distance(rows));
  double error =
      double{deviation} * std::sqrt(radius_squared * neighbour / static_cast<double>(rotated_));
  return neighbour < static_cast<double>(infinity) && error < error_max * neighbour;
}

void BitCodes::rotate(const float* values, const float* from, float* out) const {
  for (uint32_t j = 0; j < dimension_; ++j) out[j] = values[j] - (from != nullptr ? from[j] : 0);
  std::fill(out + dimension_, out + rotated_, 0.0f);
  rotation_.apply(out);
}

bool BitCodes::encode_rows(const EuclideanRows& rows, Workers* workers) {
  std::vector<std::vector<float>> memory(count_of(workers));
  std::memset(codes_.data(), 0, codes_.size());
  rows.for_each_row(workers, [&](uint32_t worker, size_t i, const float* row) {
    uint8_t* code = codes_.data() + i * stride_;
    std::vector<float>& rotated = memory[worker];
    rotated.resize(rotated_);
    rotate(row, middle_.data(), rotated.data());
    float norm = 0, sum = 0;
    for (size_t j = 0; j < rotated_; ++j) {
      norm += rotated[j] * rotated[j];
      sum += std::fabs(rotated[j]);
      if (rotated[j] >= 0) code[sizeof(Head) + j / 8] |= static_cast<uint8_t>(1u << j % 8);
    }
    // What is no number is far away; not infinitely, as under dot this counts 0 times.
    bool finite = norm < infinity;
    Head head{finite ? norm : std::numeric_limits<float>::max(),
              finite && sum > 0 ? norm / sum : 0};
    std::memcpy(code, &head, sizeof head);
  });
  return true;
}

std::vector<std::span<char>> BitCodes::parts() {
  return {bytes_of(middle_.data(), middle_.size()), bytes_of(codes_.data(), codes_.size())};
}

size_t BitCodes::memory_bytes() const { return codes_.size() + middle_.size() * sizeof(float); }

bool BitCodes::encode(const float* query, EncodedQuery& out) const {
  // Under dot the middle only adds the same to all.
  const bool centred = metric_ != Metric::dot;
  thread_local std::vector<float> rotated;
  rotated.resize(rotated_);
  rotate(query, centred ? middle_.data() : nullptr, rotated.data());
  float largest = 0, squares = 0, at_middle = 0;
  for (size_t j = 0; j < rotated_; ++j) {
    squares += rotated[j] * rotated[j];
    largest = std::max(largest, std::fabs(rotated[j]));
  }
  for (uint32_t j = 0; j < dimension_; ++j) at_middle += query[j] * middle_[j];
  if (!(squares < infinity) || !(std::fabs(at_middle) < infinity)) return false;
  float step = largest > 0 ? largest / query_most : 1;
  float scale = 1 / step;
  if (!(scale < infinity)) return false;
  out.values.assign(rotated_ / 2, 0);
  int32_t sum = 0;
  for (size_t j = 0; j < rotated_; ++j) {
    float scaled = rotated[j] * scale;
    auto value = static_cast<int32_t>(scaled + (scaled < 0 ? -0.5f : 0.5f));
    sum += value;
    // As Kernels::bit_products wants them.
    int8_t* planes = out.values.data() + j / 128 * 64 + j % 128 / 8;
    for (size_t p = 0; p < 4; ++p) {
      planes[16 * p] = static_cast<int8_t>(planes[16 * p] | (value >> p & 1) << j % 8);
    }
  }
  out.sum = sum;
  // With y the query and s the row, both from the middle: |y - s|² = |y|² + |s|² - 2 y · s.
  out.base = centred ? squares : -at_middle;
  out.norm = centred ? 1 : 0;
  out.product = centred ? -2 * step : -step;
  out.is_row = false;
  return true;
}

float BitCodes::error(const EncodedQuery& query, float distance) const {
  if (metric_ == Metric::dot) return infinity;
  // Two roots, as a product of squares would leave the range of float32.
  return deviations * deviation * std::sqrt(query.base / static_cast<float>(rotated_)) *
         std::sqrt(std::max(0.0f, distance));
}

void BitCodes::distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                         float* out) const {
  constexpr size_t batch = 64;
  int32_t products[batch];
  const auto* values = reinterpret_cast<const uint8_t*>(query.values.data());
  for (size_t done = 0; done < count; done += batch) {
    size_t n = std::min(batch, count - done);
    products_(values, codes_.data() + sizeof(Head), stride_, rotated_ / 8, rows + done, n,
              products);
    for (size_t i = 0; i < n; ++i) {
      Head head;
      std::memcpy(&head, codes_.data() + rows[done + i] * stride_, sizeof head);
      // Of the signs 1 and -1 where the bits are 1 and 0.
      auto product = static_cast<float>(2 * products[i] - query.sum);
      out[done + i] = query.base + query.norm * head.norm + query.product * head.factor * product;
    }
  }
}

}  // namespace jade
