#include "index/growing_lists.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <numeric>
#include <span>

#include "index/ivf.h"
#include "index/kernels.h"

namespace jade {
namespace {

constexpr int query_most = 127;
// Four of them are no more than an entry of a table may be.
constexpr int table_most = 31;
// How many times its standard deviation a distance by codes is off at most, but for few.
constexpr float deviations = 3;
// The same of estimates, which cost no more than a distance by codes where they are too low.
constexpr float estimate_deviations = 2.5f;
// An estimate of q · r is off by this × |q| × |r|² / Σ |r|, as standard deviation, where Σ |r| is
// 0.8 × |r| × √dimensions, as of random signs: theorem 3.2 of the paper of BitCodes.
constexpr float estimate_deviation = 0.6f;
// Rounds of 2-means.
constexpr int rounds = 4;
// The smaller half of a split has at least this share, so that a few that are far from all
// others do not cause a split each time one more comes.
constexpr size_t smaller_share = 8;
// A row is compared with the lists of the nearest blocks that have so many together, ...
constexpr uint32_t lists_met = 128;
// ... and a query with so many times those that it is to find.
constexpr uint32_t lists_met_factor = 8;
constexpr uint32_t lists_met_min = 1024;
// From the distances of so many lists at least it is told which are near enough.
constexpr size_t looked_at_min = 512;
constexpr auto consecutive = [] {
  std::array<uint32_t, CodedVectors::most> numbers{};
  for (uint32_t i = 0; i < CodedVectors::most; ++i) numbers[i] = i;
  return numbers;
}();
constexpr float infinity = std::numeric_limits<float>::infinity();
// Vectors whose squared length is less have no sums, differences or products below that are
// no number.
constexpr float square_max = 1e36f;

// The nearest whole number. `value`: at least -zero. Without a branch, which could not be
// foreseen.
int rounded(float value, int zero) {
  return static_cast<int>(value + static_cast<float>(zero) + 0.5f) - zero;
}

// `n`: a multiple of 8, which are compared at once.
float largest_of(const float* values, size_t n) {
  float largest[8] = {};
  for (size_t j = 0; j < n; j += 8) {
    for (size_t i = 0; i < 8; ++i) {
      const float value = std::fabs(values[j + i]);
      largest[i] = value > largest[i] ? value : largest[i];
    }
  }
  return *std::max_element(largest, largest + 8);
}

float square_of(const float* values, size_t n) {
  return kernels().inner_product(values, values, n);
}

// Of out.values. False where it cannot be expressed.
bool encode_values(CodedQuery& out) {
  const size_t n = out.values.size();
  float largest = largest_of(out.values.data(), n);
  float squares = square_of(out.values.data(), n);
  float step = largest > 0 ? largest / query_most : 1;
  float scale = 1 / step;
  if (!(squares < square_max) || !(scale < infinity)) return false;
  out.code.values.resize(n);
  int32_t sum = 0;
  for (size_t j = 0; j < n; ++j) {
    const int value = rounded(out.values[j] * scale, query_most);
    out.code.values[j] = static_cast<int8_t>(value);
    sum += value;
  }
  out.code.sum = sum;
  out.code.product = out.euclidean ? -2 * step : -step;
  return true;
}

// The same for signs, which cannot fail then. A sign that is the value's own counts twice the
// value, and the other one nothing.
void encode_tables(CodedQuery& out) {
  const size_t n = out.values.size();
  const float largest = largest_of(out.values.data(), n);
  out.step = largest > 0 ? 2 * largest / table_most : 1;
  const float scale = 2 / out.step;
  out.tables.resize(4 * n);
  int32_t sum = 0;
  for (size_t j = 0; j < n; j += 4) {
    uint8_t* table = out.tables.data() + 4 * j;
    table[0] = 0;
    for (size_t i = 0; i < 4; ++i) {
      const float value = out.values[j + i];
      const int twice = rounded(std::fabs(value) * scale, 0);
      sum += twice;
      const auto set = static_cast<uint8_t>(value >= 0 ? twice : 0);
      const auto unset = static_cast<uint8_t>(twice - set);
      const size_t half = size_t{1} << i;
      for (size_t bits = 0; bits < half; ++bits) {
        table[half + bits] = static_cast<uint8_t>(table[bits] + set);
        table[bits] = static_cast<uint8_t>(table[bits] + unset);
      }
    }
  }
  out.half = out.step * static_cast<float>(sum) / 2;
  out.length = std::sqrt(square_of(out.values.data(), n));
}

// Which of equal steps from the least to the greatest a distance is in: to sort by without
// comparing.
class Steps {
 public:
  static constexpr size_t most = 512;
  static constexpr size_t lanes = 16;

  // `distances`: a multiple of `lanes`, which are compared at once, and not none.
  explicit Steps(std::span<const float> distances) {
    std::array<float, lanes> least, greatest;
    std::copy_n(distances.begin(), lanes, least.begin());
    greatest = least;
    for (size_t i = lanes; i < distances.size(); i += lanes) {
      for (size_t j = 0; j < lanes; ++j) {
        const float distance = distances[i + j];
        least[j] = distance < least[j] ? distance : least[j];
        greatest[j] = distance > greatest[j] ? distance : greatest[j];
      }
    }
    const float first = *std::min_element(least.begin(), least.end());
    const float last = *std::max_element(greatest.begin(), greatest.end());
    const float scale = (most - 1) / (last - first);
    if (!(scale < infinity)) return;  // all in one
    least_ = first;
    scale_ = scale;
  }
  size_t of(float distance) const { return static_cast<size_t>((distance - least_) * scale_); }
  // of(distance) < end, without a whole number.
  bool before(size_t end, float distance) const {
    return (distance - least_) * scale_ < static_cast<float>(end);
  }

 private:
  float least_ = 0;
  float scale_ = 0;
};

// n vectors of d floats in two parts, and the centres of both.
struct Halves {
  std::vector<char> second;    // which of them are in the second
  std::vector<float> centres;  // 2 × d
  const float* centre(size_t half) const { return centres.data() + half * centres.size() / 2; }
};

// False where one of them is empty; then nothing is set.
bool set_centres(const std::vector<const float*>& vectors, size_t d, Halves& halves) {
  std::vector<float> sums(2 * d);
  size_t counts[2] = {};
  for (size_t i = 0; i < vectors.size(); ++i) {
    const size_t half = halves.second[i] != 0 ? 1 : 0;
    ++counts[half];
    for (size_t j = 0; j < d; ++j) sums[half * d + j] += vectors[i][j];
  }
  if (counts[0] == 0 || counts[1] == 0) return false;
  for (size_t j = 0; j < 2 * d; ++j) {
    halves.centres[j] = sums[j] / static_cast<float>(counts[j / d]);
  }
  return true;
}

// Those beyond the middle of all, seen from one centre to the other, are the second half.
void divide_evenly(const std::vector<const float*>& vectors, size_t d, Halves& halves) {
  std::vector<float> axis(d), along;
  for (size_t j = 0; j < d; ++j) axis[j] = halves.centres[d + j] - halves.centres[j];
  for (const float* vector : vectors) {
    along.push_back(kernels().inner_product(vector, axis.data(), d));
  }
  std::vector<size_t> order(vectors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return along[a] < along[b]; });
  for (size_t i = 0; i < order.size(); ++i) {
    halves.second[order[i]] = i >= order.size() / 2 ? 1 : 0;
  }
}

Halves two_means(const std::vector<const float*>& vectors, size_t d) {
  auto l2 = kernels().l2_squared;
  auto farthest = [&](const float* from) {
    return *std::max_element(vectors.begin(), vectors.end(), [&](const float* a, const float* b) {
      return l2(a, from, d) < l2(b, from, d);
    });
  };
  Halves halves{std::vector<char>(vectors.size()), std::vector<float>(2 * d)};
  const float* first = farthest(vectors.front());
  const float* other = farthest(first);
  std::copy(first, first + d, halves.centres.begin());
  std::copy(other, other + d, halves.centres.begin() + static_cast<std::ptrdiff_t>(d));
  size_t count = 0;
  for (int round = 0; round < rounds; ++round) {
    count = 0;
    for (size_t i = 0; i < vectors.size(); ++i) {
      bool second = l2(vectors[i], halves.centre(1), d) < l2(vectors[i], halves.centre(0), d);
      halves.second[i] = second ? 1 : 0;
      count += second ? 1 : 0;
    }
    if (!set_centres(vectors, d, halves)) break;
  }
  if (std::min(count, vectors.size() - count) * smaller_share < vectors.size()) {
    divide_evenly(vectors, d, halves);
    set_centres(vectors, d, halves);
  }
  return halves;
}

// By how much distances by codes are off, as standard deviation, where 1 of a code and the
// length of what is coded have these squares.
float deviation_of(const CodedQuery& query, double squared_step, double squared_length) {
  // Rounding changes each dimension by a twelfth of a squared step, in the mean.
  const double length = static_cast<double>(query.length);
  const double squares = (query.euclidean ? 4 : 1) * length * length;
  const auto step = static_cast<double>(query.code.product);
  return static_cast<float>(
      std::sqrt((squares * squared_step + step * step * squared_length) / 12));
}

// Of a number that one thread writes.
template <class T>
void add_to(std::atomic<T>& sum, T value) {
  sum.store(sum.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

}  // namespace

CodedVectors::CodedVectors(size_t dimension, int bits)
    : dimension_(dimension),
      bits_(bits),
      width_(code_bytes(dimension, bits)),
      sign_width_(sign_bytes(dimension, bits)) {}

std::shared_ptr<CodedVectors> CodedVectors::make(size_t dimension, int bits, const float* centre) {
  constexpr std::align_val_t line{64};
  const size_t signs = most * sign_bytes(dimension, bits);
  const size_t more = signs + dimension * sizeof(float) + most * code_bytes(dimension, bits);
  void* memory = ::operator new(sizeof(CodedVectors) + more, line);
  std::shared_ptr<CodedVectors> out(new (memory) CodedVectors(dimension, bits),
                                    [](CodedVectors* ended) {
                                      ended->~CodedVectors();
                                      ::operator delete(ended, line);
                                    });
  std::memset(out->signs(), 0, signs);  // all are read, whatever their number
  if (centre != nullptr) {
    std::copy(centre, centre + dimension, out->own_centre());
  } else {
    std::fill(out->own_centre(), out->own_centre() + dimension, 0.0f);
  }
  return out;
}

std::shared_ptr<CodedVectors> CodedVectors::copy() const {
  auto out = make(dimension_, bits_, centre());
  for (uint32_t i = 0; i < size(); ++i) out->add(number(i), *this, i);
  return out;
}

std::pair<float, float> CodedVectors::set(uint32_t at, const float* values) {
  thread_local std::vector<float> from_centre;
  from_centre.resize(dimension_);
  for (size_t j = 0; j < dimension_; ++j) from_centre[j] = values[j] - centre()[j];
  uint8_t* bytes = code(at);
  const int zero = 1 << (bits_ - 1);
  const auto largest_code = static_cast<float>(zero - 1);
  float largest = largest_of(from_centre.data(), dimension_);
  // Of values too small for their inverse to be a number nothing is left.
  float scale = largest > 0 ? largest_code / largest : 0;
  if (!(scale < infinity)) scale = 0;
  auto coded = [&](size_t j) {
    return static_cast<uint8_t>(rounded(from_centre[j] * scale, zero) + zero);
  };
  for (size_t j = 0; j < width_; ++j) bytes[j] = coded(j);
  // Two of 4 bits in a byte.
  for (size_t j = width_; j < dimension_; ++j) {
    bytes[j - width_] = static_cast<uint8_t>(bytes[j - width_] | coded(j) << 4);
  }
  const float squares = square_of(from_centre.data(), dimension_);
  const float step = largest / largest_code;
  const float product = kernels().inner_product(from_centre.data(), centre(), dimension_);
  scales_[at] = {step, squares + 2 * product};
  if (sign_width_ > 0) set_signs(at, from_centre.data(), squares);
  return {squares, step * step};
}

// `squares`: of from_centre.
void CodedVectors::set_signs(uint32_t at, const float* from_centre, float squares) {
  thread_local std::vector<float> ones;
  ones.resize(dimension_);
  for (size_t j = 0; j < dimension_; ++j) ones[j] = std::copysign(1.0f, from_centre[j]);
  for (size_t j = 0; j < dimension_; j += 8) {
    unsigned bits = 0;
    for (size_t i = 0; i < 8; ++i) bits |= (std::signbit(ones[j + i]) ? 0u : 1u) << i;
    signs()[j / 8 * most + at] = static_cast<uint8_t>(bits);
  }
  auto product = kernels().inner_product;
  const float sum = product(ones.data(), from_centre, dimension_);
  const float factor = sum > 0 ? squares / sum : 0;
  factors_[at] = factor;
  // Of y - c, which is shorter than y where c is near, and so the estimate off by less.
  estimate_constants_[at] = squares + 2 * factor * product(ones.data(), centre(), dimension_);
}

std::pair<float, float> CodedVectors::add(uint32_t number, const float* values) {
  const uint32_t size = size_.load(std::memory_order_relaxed);
  auto out = set(size, values);
  numbers_[size] = number;
  size_.store(size + 1, std::memory_order_release);
  return out;
}

void CodedVectors::add(uint32_t number, const CodedVectors& from, uint32_t at) {
  const uint32_t size = size_.load(std::memory_order_relaxed);
  std::memcpy(code(size), from.code(at), width_);
  scales_[size] = from.scales_[at];
  numbers_[size] = number;
  size_.store(size + 1, std::memory_order_release);
}

float CodedVectors::distance(const CodedQuery& query) const {
  const float* values = query.values.data();
  return query.base + (query.euclidean ? kernels().l2_squared(values, centre(), dimension_)
                                       : -kernels().inner_product(values, centre(), dimension_));
}

uint64_t CodedVectors::likely(const CodedQuery& query, float of_centre, uint32_t count,
                              float limit) const {
  static constexpr std::array<float, most> none{};
  // What is estimated is the product with y - c, or y.
  const float twice = query.euclidean ? 2 : 1;
  const float squared_length =
      query.euclidean ? std::max(of_centre, 0.0f) : query.length * query.length;
  const float squared_rounding = query.step * query.step * static_cast<float>(dimension_) / 48;
  const float deviation =
      std::sqrt(estimate_deviation * estimate_deviation * squared_length + squared_rounding);
  return kernels().rows_within(query.tables.data(), signs(), sign_width_, count,
                               query.euclidean ? estimate_constants_.data() : none.data(),
                               factors_.data(), -twice * query.step,
                               twice * (query.half - estimate_deviations * deviation),
                               limit - of_centre);
}

void CodedVectors::distances(const CodedQuery& query, float of_centre, const uint32_t* at,
                             uint32_t count, float* out) const {
  const auto products_of = bits_ == 4 ? kernels().packed_products : kernels().code_products;
  const float constant = query.euclidean ? 1 : 0;
  const int zero = 1 << (bits_ - 1);
  int32_t products[most];
  products_of(query.code.values.data(), code(0), width_, at, count, products);
  for (uint32_t i = 0; i < count; ++i) {
    auto product = static_cast<float>(products[i] - zero * query.code.sum);
    const Scale& scale = scales_[at[i]];
    out[i] = of_centre + constant * scale.constant + query.code.product * scale.step * product;
  }
}

void CodedVectors::distances(const CodedQuery& query, uint32_t count, float* out) const {
  distances(query, distance(query), consecutive.data(), count, out);
}

float CodedVectors::deviation(const CodedQuery& query, uint32_t at) const {
  const auto step = static_cast<double>(scales_[at].step);
  // The constant of a centre at 0 is the squared length.
  return deviation_of(query, step * step, static_cast<double>(scales_[at].constant));
}

void CodedVectors::prefetch_bytes(const void* begin, size_t count) {
  // The processor finds the rest by itself.
  const size_t some = std::min<size_t>(count, 512);
  for (size_t at = 0; at < some; at += 64) {
    __builtin_prefetch(static_cast<const char*>(begin) + at);
  }
}

void CodedVectors::prefetch() const {
  constexpr size_t begin = offsetof(CodedVectors, dimension_) / 64 * 64;
  constexpr size_t bytes = sizeof(CodedVectors) - begin + 1024;
  for (size_t at = begin; at < begin + bytes; at += 64) {
    __builtin_prefetch(reinterpret_cast<const char*>(this) + at, 0, 2);
  }
}

std::vector<uint32_t> GrowingLists::Directory::nearest_blocks(const CodedQuery& query,
                                                              uint32_t lists) const {
  std::vector<float> distances(blocks_.size() + CodedVectors::most);
  for (size_t i = 0; i < centres_.size(); ++i) {
    centres_[i]->distances(query, centres_[i]->size(), distances.data() + i * CodedVectors::most);
  }
  std::vector<uint32_t> out(blocks_.size());
  std::iota(out.begin(), out.end(), 0u);
  const size_t count = uint64_t{lists} * blocks_.size() / lists_ + 1;
  if (count >= out.size()) return out;
  std::nth_element(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count), out.end(),
                   [&](uint32_t a, uint32_t b) { return distances[a] < distances[b]; });
  out.resize(count);
  return out;
}

GrowingLists::Directory::Place GrowingLists::Directory::nearest_list(
    const CodedQuery& query) const {
  float distances[CodedVectors::most];
  float least = infinity;
  Place nearest{0, 0};
  for (uint32_t block : nearest_blocks(query, lists_met)) {
    const auto lists = static_cast<uint32_t>(blocks_[block]->lists.size());
    blocks_[block]->centres->distances(query, lists, distances);
    for (uint32_t i = 0; i < lists; ++i) {
      if (!(distances[i] < least)) continue;
      least = distances[i];
      nearest = {block, i};
    }
  }
  return nearest;
}

void GrowingLists::Directory::nearest(const CodedQuery& query, uint32_t count,
                                      std::vector<NearList>& out) const {
  thread_local std::vector<float> distances;
  thread_local std::vector<Place> places;
  const auto near = nearest_blocks(query, std::max(lists_met_min, count * lists_met_factor));
  size_t met = 0;
  distances.resize(near.size() * CodedVectors::most);
  for (uint32_t at : near) {
    const Block& block = *blocks_[at];
    const auto size = static_cast<uint32_t>(block.lists.size());
    block.centres->distances(query, size, distances.data() + met);
    met += size;
  }
  const size_t padded = (met + Steps::lanes - 1) / Steps::lanes * Steps::lanes;
  std::fill(distances.begin() + met, distances.begin() + padded, distances[0]);
  const Steps steps({distances.data(), padded});

  // In how many steps there are `count`, told from some of them.
  const size_t stride = std::max<size_t>(1, met / looked_at_min);
  std::array<uint32_t, Steps::most> next{};
  const float* of_some = distances.data();
  size_t skip = 0;  // lists before the next that is looked at
  for (uint32_t at : near) {
    const Block& block = *blocks_[at];
    const size_t size = block.lists.size();
    for (; skip < size; skip += stride) {
      if ((block.repeats >> skip & 1) == 0) ++next[steps.of(of_some[skip])];
    }
    skip -= size;
    of_some += size;
  }
  size_t end = 0;
  for (size_t kept = 0; end < next.size() && kept < count; ++end) kept += next[end] * stride;

  places.resize(met);
  size_t kept = 0;
  const float* of_block = distances.data();
  for (uint32_t at : near) {
    const auto size = static_cast<uint32_t>(blocks_[at]->lists.size());
    for (uint32_t i = 0; i < size; ++i) {
      // About one of ten: a branch could not be foreseen.
      places[kept] = {at, i};
      distances[kept] = of_block[i];
      kept += steps.before(end, of_block[i]) ? 1 : 0;
    }
    of_block += size;
  }
  // Where those of a step begin, from how many there are in it.
  std::fill_n(next.begin(), end, 0u);
  for (size_t i = 0; i < kept; ++i) ++next[steps.of(distances[i])];
  uint32_t before = 0;
  for (size_t i = 0; i < end; ++i) before += std::exchange(next[i], before);
  out.resize(kept);
  for (size_t i = 0; i < kept; ++i) {
    const Block& block = *blocks_[places[i].block];
    out[next[steps.of(distances[i])]++] = {
        distances[i], deviations * block.centres->deviation(query, places[i].list),
        block.lists[places[i].list].get()};
  }
}

void GrowingLists::Directory::set_block(uint32_t at, std::shared_ptr<const Block> block) {
  const uint32_t place = at / CodedVectors::most;
  auto centres = place < centres_.size() ? centres_[place]->copy()
                                         : CodedVectors::make(block->centre.size(), 7, nullptr);
  if (at == blocks_.size()) {
    centres->add(at, block->centre.data());
    blocks_.emplace_back();
  } else {
    centres->set(at % CodedVectors::most, block->centre.data());
  }
  centres_.resize(std::max<size_t>(centres_.size(), place + 1));
  centres_[place] = std::move(centres);
  blocks_[at] = std::move(block);
}

void GrowingLists::Directory::replace(Place at, List first, List second) {
  if (blocks_[at.block]->lists.size() == CodedVectors::most) {
    const CodedVectors* replaced = &rows(at);
    divide(at.block);
    // It is in one of the two by now.
    for (uint32_t block : {at.block, static_cast<uint32_t>(blocks_.size() - 1)}) {
      const auto& lists = blocks_[block]->lists;
      for (uint32_t i = 0; i < lists.size(); ++i) {
        if (lists[i].get() == replaced) at = {block, i};
      }
    }
  }
  auto changed = std::make_shared<Block>(*blocks_[at.block]);
  changed->centres = changed->centres->copy();
  // Halves of equal rows have one centre.
  const auto same_centre = [dimension = changed->centre.size()](const List& a, const List& b) {
    return std::equal(a->centre(), a->centre() + dimension, b->centre());
  };
  const uint64_t bit = uint64_t{1} << at.list;
  if (!same_centre(changed->lists[at.list], first)) changed->repeats &= ~bit;
  if (same_centre(first, second)) changed->repeats |= uint64_t{1} << changed->lists.size();
  changed->centres->set(at.list, first->centre());
  changed->centres->add(0, second->centre());
  changed->lists[at.list] = std::move(first);
  changed->lists.push_back(std::move(second));
  blocks_[at.block] = std::move(changed);
  ++lists_;
}

uint32_t GrowingLists::Directory::nearest_block(const CodedQuery& query) const {
  float distances[CodedVectors::most];
  float least = infinity;
  uint32_t nearest = 0;
  for (const auto& centres : centres_) {
    const uint32_t count = centres->size();
    centres->distances(query, count, distances);
    for (uint32_t i = 0; i < count; ++i) {
      if (!(distances[i] < least)) continue;
      least = distances[i];
      nearest = centres->number(i);
    }
  }
  return nearest;
}

void GrowingLists::Directory::insert(List list, const CodedQuery& centre, bool repeats) {
  const size_t dimension = centre.values.size();
  if (blocks_.empty()) {
    auto block = std::make_shared<Block>();
    block->centre = centre.values;
    block->centres = CodedVectors::make(dimension, 7, nullptr);
    set_block(0, std::move(block));
  }
  uint32_t at = nearest_block(centre);
  for (; blocks_[at]->lists.size() == CodedVectors::most; at = nearest_block(centre)) divide(at);
  auto changed = std::make_shared<Block>(*blocks_[at]);
  changed->centres = changed->centres->copy();
  changed->centres->add(0, list->centre());
  if (repeats) changed->repeats |= uint64_t{1} << changed->lists.size();
  changed->lists.push_back(std::move(list));
  blocks_[at] = std::move(changed);
  ++lists_;
}

size_t GrowingLists::Directory::memory_bytes() const {
  size_t bytes = 0;
  for (const auto& block : blocks_) {
    bytes += sizeof(Block) + block->centre.capacity() * sizeof(float) +
             block->centres->memory_bytes() + block->lists.capacity() * sizeof(List);
    for (const List& list : block->lists) bytes += list->memory_bytes();
  }
  for (const auto& centres : centres_) bytes += centres->memory_bytes();
  return bytes;
}

void GrowingLists::Directory::divide(uint32_t at) {
  const auto full = blocks_[at];
  std::vector<const float*> centres;
  for (const List& list : full->lists) centres.push_back(list->centre());
  const size_t dimension = full->centre.size();
  const Halves halves = two_means(centres, dimension);
  std::shared_ptr<Block> parts[2];
  for (size_t i : {0, 1}) {
    const float* centre = halves.centre(i);
    parts[i] = std::make_shared<Block>();
    parts[i]->centre.assign(centre, centre + dimension);
    parts[i]->centres = CodedVectors::make(dimension, 7, nullptr);
  }
  for (size_t i = 0; i < full->lists.size(); ++i) {
    Block& part = *parts[halves.second[i] != 0 ? 1 : 0];
    part.centres->add(0, *full->centres, static_cast<uint32_t>(i));
    part.repeats |= (full->repeats >> i & 1) << part.lists.size();
    part.lists.push_back(full->lists[i]);
  }
  set_block(at, std::move(parts[0]));
  set_block(static_cast<uint32_t>(blocks_.size()), std::move(parts[1]));
}

GrowingLists::GrowingLists(const Segment& segment)
    : segment_(segment),
      dimension_(segment.dimension()),
      rotation_((size_t{dimension_} + 127) / 128 * 128),
      rotated_((size_t{dimension_} + 127) / 128 * 128),
      middle_(dimension_),
      directory_(std::make_shared<Directory>()) {
  query_.values.resize(rotated_);
}

std::shared_ptr<const GrowingLists::Directory> GrowingLists::now() const {
  std::lock_guard lock(mutex_);
  return directory_;
}

void GrowingLists::publish(std::shared_ptr<const Directory> directory) {
  std::lock_guard lock(mutex_);
  directory_ = std::move(directory);
}

void GrowingLists::load(uint32_t row, float* out) const {
  segment_.format().to_floats(segment_.row(row), out);
  load(out, out);
}

void GrowingLists::load(const float* values, float* out) const {
  if (values != out) std::copy(values, values + dimension_, out);
  for (uint32_t j = 0; j < dimension_; ++j) out[j] -= middle_[j];
  std::fill(out + dimension_, out + rotated_, 0.0f);
  rotation_.apply(out);
}

void GrowingLists::find_middle(uint32_t rows) {
  std::vector<double> sums(dimension_);
  std::vector<float> values(dimension_);
  for (uint32_t row = 0; row < rows; ++row) {
    segment_.format().to_floats(segment_.row(row), values.data());
    for (uint32_t j = 0; j < dimension_; ++j) sums[j] += static_cast<double>(values[j]);
  }
  for (uint32_t j = 0; j < dimension_; ++j) middle_[j] = static_cast<float>(sums[j] / rows);
}

bool GrowingLists::encode(const float* query, CodedQuery& out) const {
  out.euclidean = segment_.metric() != Metric::dot;
  // Under dot the middle adds the same to all.
  out.base = out.euclidean ? 0 : -kernels().inner_product(query, middle_.data(), dimension_);
  out.values.assign(rotated_, 0);
  for (uint32_t j = 0; j < dimension_; ++j) {
    out.values[j] = query[j] - (out.euclidean ? middle_[j] : 0);
  }
  rotation_.apply(out.values.data());
  if (!(std::fabs(out.base) < square_max) || !encode_values(out)) return false;
  encode_tables(out);
  return true;
}

float GrowingLists::error(const CodedQuery& query) const {
  const double rows = std::max(1u, rows_.load(std::memory_order_relaxed));
  const double spread = spread_.load(std::memory_order_relaxed) / rows;
  const double squared_step = squared_steps_.load(std::memory_order_relaxed) / rows;
  return deviations * deviation_of(query, squared_step, spread);
}

std::unique_ptr<const GrowingLists> GrowingLists::of(const Segment& segment,
                                                     const InvertedLists& lists) {
  auto out = std::make_unique<GrowingLists>(segment);
  if (segment.rows() == 0 || !out->add_lists(lists)) return nullptr;
  return out;
}

bool GrowingLists::add_lists(const InvertedLists& lists) {
  find_middle(segment_.rows());
  auto directory = std::make_shared<Directory>();
  std::vector<float> centre(rotated_);
  for (uint32_t list = 0; list < lists.lists(); ++list) {
    load(lists.centres.data() + size_t{list} * dimension_, centre.data());
    const uint32_t begin = lists.starts[list], end = lists.starts[list + 1];
    for (uint32_t at = begin; at < end;) {
      auto part = CodedVectors::make(rotated_, 4, centre.data());
      const bool repeats = at > begin;
      for (; at < end && part->size() < CodedVectors::most; ++at) {
        load(lists.rows[at], query_.values.data());
        if (!encode_added()) return false;
        note(part->add(lists.rows[at], query_.values.data()));
      }
      std::copy(centre.begin(), centre.end(), query_.values.begin());
      if (!encode_added()) return false;
      directory->insert(std::move(part), query_, repeats);
    }
  }
  publish(std::move(directory));
  return tells_apart();
}

bool GrowingLists::add(uint32_t begin, uint32_t end) {
  if (begin == 0) find_middle(end);
  for (uint32_t row = begin; row < end && usable_; ++row) usable_ = add_row(row);
  usable_ = usable_ && tells_apart();
  return usable_;
}

bool GrowingLists::encode_added() {
  largest_ = std::max(largest_, largest_of(query_.values.data(), rotated_));
  return encode_values(query_);
}

// Of what is added, for error().
void GrowingLists::note(std::pair<float, float> added) {
  add_to(spread_, static_cast<double>(added.first));
  add_to(squared_steps_, static_cast<double>(added.second));
  add_to(rows_, 1u);
}

bool GrowingLists::add_row(uint32_t row) {
  const float* values = query_.values.data();
  load(row, query_.values.data());
  if (!encode_added()) return false;
  if (directory_->lists() == 0) {
    auto first = std::make_shared<Directory>();
    first->insert(CodedVectors::make(rotated_, 4, values), query_, false);
    publish(std::move(first));
  }
  // The nearest may be another one once a list has been split, and full as well.
  auto at = directory_->nearest_list(query_);
  for (; directory_->rows(at).size() == CodedVectors::most; at = directory_->nearest_list(query_)) {
    split(at);
  }
  note(directory_->rows(at).add(row, values));
  return true;
}

void GrowingLists::split(Directory::Place at) {
  const CodedVectors& full = directory_->rows(at);
  const uint32_t count = full.size();
  std::vector<float> values(count * rotated_);
  std::vector<const float*> vectors;
  for (uint32_t i = 0; i < count; ++i) {
    load(full.number(i), values.data() + i * rotated_);
    vectors.push_back(values.data() + i * rotated_);
  }
  Halves halves = two_means(vectors, rotated_);
  // Exactly, as means are off by their rounding: it is told by that that lists repeat one another.
  if (std::all_of(vectors.begin(), vectors.end(), [&](const float* row) {
        return std::equal(row, row + rotated_, vectors.front());
      })) {
    std::copy_n(vectors.front(), rotated_, halves.centres.begin());
    std::copy_n(vectors.front(), rotated_,
                halves.centres.begin() + static_cast<std::ptrdiff_t>(rotated_));
  }
  Directory::List parts[2];
  for (size_t i : {0, 1}) parts[i] = CodedVectors::make(rotated_, 4, halves.centre(i));
  for (uint32_t i = 0; i < count; ++i) {
    note(parts[halves.second[i] != 0 ? 1 : 0]->add(full.number(i), vectors[i]));
  }
  auto next = std::make_shared<Directory>(*directory_);
  next->replace(at, std::move(parts[0]), std::move(parts[1]));
  publish(std::move(next));
}

}  // namespace jade
