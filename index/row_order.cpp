#include "index/row_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "index/cancel.h"
#include "index/random.h"

namespace jade {
namespace {

// Rows are compared by so many coordinates, in the directions in which a sample of them differs
// most. On SIFT as many of a row's neighbours then are in the same page as with all 128.
constexpr uint32_t coordinates = 16;
constexpr uint32_t sampled_rows = 512;
constexpr int rounds = 8;
// The same for the one direction along which some rows are halved.
constexpr uint32_t halving_sampled_rows = 256;
constexpr int halving_rounds = 2;
// Fewer share a page or two, in whatever order.
constexpr uint32_t together = 24;
constexpr size_t shared_rows = 1024;

// In the same order of additions on every processor, unlike that of index/kernels.h: replicas on
// machines of several kinds shall build the same graph.
double inner_product(const float* a, const float* b, size_t n) {
  constexpr size_t lanes = 16;
  float sums[lanes] = {};
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (size_t j = 0; j < lanes; ++j) sums[j] += a[i + j] * b[i + j];
  }
  for (size_t j = 0; i + j < n; ++j) sums[j] += a[i + j] * b[i + j];
  for (size_t half = lanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

float finite(double value) {
  const auto number = static_cast<float>(value);
  return std::isfinite(number) ? number : 0;
}

// To length 1; all 0 where it has none.
void normalise(float* values, size_t n) {
  const double length = std::sqrt(inner_product(values, values, n));
  const double factor = length > 0 && std::isfinite(length) ? 1 / length : 0;
  for (size_t i = 0; i < n; ++i) values[i] = finite(values[i] * factor);
}

// Some rows of a matrix, from their mean.
class Sample {
 public:
  explicit Sample(size_t width) : width_(width), mean_(width) {}

  float* add() {
    values_.resize(values_.size() + width_);
    return values_.data() + values_.size() - width_;
  }
  void centre() {
    const size_t n = values_.size() / width_;
    std::vector<double> sums(width_);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < width_; ++j) sums[j] += values_[i * width_ + j];
    }
    for (size_t j = 0; j < width_; ++j) mean_[j] = finite(sums[j] / static_cast<double>(n));
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < width_; ++j) values_[i * width_ + j] -= mean_[j];
    }
  }
  // A direction turned towards those in which the sample differs more.
  void turn(float* direction) const {
    std::vector<float> turned(width_);
    for (size_t i = 0; i < values_.size(); i += width_) {
      const float share = finite(inner_product(values_.data() + i, direction, width_));
      for (size_t j = 0; j < width_; ++j) turned[j] += share * values_[i + j];
    }
    normalise(turned.data(), width_);
    std::copy(turned.begin(), turned.end(), direction);
  }

 private:
  size_t width_;
  std::vector<float> values_;
  std::vector<float> mean_;
};

void random_direction(Random& random, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(random.unit() - 0.5);
  normalise(out, n);
}

// `count` directions, at right angles to each other, in which the sample differs most, or about
// those: orthogonal iteration.
std::vector<float> principal_directions(const Sample& sample, size_t count, size_t width,
                                        Random& random) {
  std::vector<float> out(count * width);
  for (size_t i = 0; i < count; ++i) random_direction(random, out.data() + i * width, width);
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < count; ++i) {
      float* direction = out.data() + i * width;
      sample.turn(direction);
      for (size_t before = 0; before < i; ++before) {
        const float* other = out.data() + before * width;
        const float share = finite(inner_product(direction, other, width));
        for (size_t j = 0; j < width; ++j) direction[j] -= share * other[j];
      }
      normalise(direction, width);
    }
  }
  return out;
}

// Halves rows, known by few coordinates, again and again.
class Halver {
 public:
  Halver(std::vector<float> points, size_t width, uint64_t seed)
      : points_(std::move(points)),
        width_(width),
        seed_(seed),
        order_(points_.size() / width),
        keys_(order_.size()) {
    std::iota(order_.begin(), order_.end(), 0u);
  }

  std::vector<uint32_t> run(Workers* workers, const std::atomic<bool>* cancel) && {
    std::vector<Range> ranges = {{0, static_cast<uint32_t>(order_.size())}};
    while (!ranges.empty() && !is_cancelled(cancel)) {
      run_ranges(workers, ranges.size(), 1, [&](uint32_t, size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) halve(ranges[i]);
      });
      std::vector<Range> halves;
      for (auto [begin, end] : ranges) {
        const uint32_t middle = begin + (end - begin) / 2;
        for (Range half : {Range(begin, middle), Range(middle, end)}) {
          if (half.second - half.first > together) halves.push_back(half);
        }
      }
      ranges = std::move(halves);
    }
    return std::move(order_);
  }

 private:
  using Range = std::pair<uint32_t, uint32_t>;

  void halve(Range range) {
    const auto [begin, end] = range;
    const uint64_t n = end - begin, sampled = std::min<uint64_t>(n, halving_sampled_rows);
    Sample sample(width_);
    for (uint64_t i = 0; i < sampled; ++i) {
      const float* point = points_.data() + order_[begin + i * n / sampled] * width_;
      std::copy(point, point + width_, sample.add());
    }
    sample.centre();
    Random random(seed_ ^ (uint64_t{begin} << 32 | end));
    std::vector<float> direction(width_);
    random_direction(random, direction.data(), width_);
    for (int i = 0; i < halving_rounds; ++i) sample.turn(direction.data());

    for (uint32_t i = begin; i < end; ++i) {
      const float* point = points_.data() + size_t{order_[i]} * width_;
      keys_[i] = {finite(inner_product(point, direction.data(), width_)), order_[i]};
    }
    std::nth_element(keys_.begin() + begin, keys_.begin() + begin + (end - begin) / 2,
                     keys_.begin() + end);
    for (uint32_t i = begin; i < end; ++i) order_[i] = keys_[i].second;
  }

  const std::vector<float> points_;
  const size_t width_;
  const uint64_t seed_;
  std::vector<uint32_t> order_;
  std::vector<std::pair<float, uint32_t>> keys_;
};

}  // namespace

std::vector<uint32_t> nearness_order(uint32_t rows, uint32_t dimension, uint64_t seed,
                                     Workers* workers, const std::atomic<bool>* cancel,
                                     const std::function<void(uint32_t row, float* out)>& read) {
  const size_t width = std::min(coordinates, dimension);
  const uint64_t sampled = std::min(rows, sampled_rows);
  Sample sample(dimension);
  for (uint64_t i = 0; i < sampled; ++i) {
    read(static_cast<uint32_t>(i * rows / sampled), sample.add());
  }
  sample.centre();
  Random random(seed);
  const std::vector<float> directions = principal_directions(sample, width, dimension, random);

  std::vector<float> points(rows * width);
  run_ranges(workers, rows, shared_rows, [&](uint32_t, size_t begin, size_t end) {
    if (is_cancelled(cancel)) return;
    std::vector<float> values(dimension);
    for (size_t i = begin; i < end; ++i) {
      read(static_cast<uint32_t>(i), values.data());
      for (size_t j = 0; j < width; ++j) {
        const float* direction = directions.data() + j * dimension;
        points[i * width + j] = finite(inner_product(values.data(), direction, dimension));
      }
    }
  });
  return Halver(std::move(points), width, seed).run(workers, cancel);
}

}  // namespace jade
