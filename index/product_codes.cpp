#include "index/product_codes.h"

#include <faiss/Index.h>
#include <faiss/impl/ProductQuantizer.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace jade {
namespace {

constexpr size_t part_dimensions = 4;
constexpr size_t part_centres = 256;
constexpr int iterations = 8;
constexpr int seed = 1234;
// Trained with, at most: 32 for each centre, and no more than so many bytes; but 4 for each.
constexpr uint32_t sample_rows = 32 * part_centres;
constexpr uint32_t sample_rows_min = 4 * part_centres;
constexpr size_t sample_bytes = size_t{32} << 20;
constexpr float infinity = std::numeric_limits<float>::infinity();

// The squared distances of four values to the centres of a part.
void centre_distances(const float* values, const float* centres, float* out) {
  std::fill(out, out + part_centres, 0.0f);
  for (size_t j = 0; j < part_dimensions; ++j) {
    const float* at = centres + j * part_centres;
    for (size_t c = 0; c < part_centres; ++c) {
      float difference = values[j] - at[c];
      out[c] += difference * difference;
    }
  }
}

std::pair<float, size_t> nearest_centre(const float* values, const float* centres) {
  float distances[part_centres];
  centre_distances(values, centres, distances);
  // The least of 16 at a time, which compilers have instructions for; then where it is.
  constexpr size_t lanes = 16;
  float least[lanes];
  std::copy_n(distances, lanes, least);
  for (size_t c = lanes; c < part_centres; c += lanes) {
    for (size_t j = 0; j < lanes; ++j) {
      least[j] = distances[c + j] < least[j] ? distances[c + j] : least[j];
    }
  }
  float best = *std::min_element(least, least + lanes);
  size_t at = 0;
  while (at + 1 < part_centres && distances[at] != best) ++at;
  return {distances[at], at};
}

// What k-means asks for the nearest centre, in plain code: the same on every processor,
// which BLAS is not.
class PlainCentres final : public faiss::Index {
 public:
  explicit PlainCentres(Workers* workers)
      : faiss::Index(part_dimensions, faiss::METRIC_L2),
        workers_(workers),
        centres_(part_dimensions * part_centres) {}

  void add(idx_t n, const float* x) override {
    for (idx_t i = 0; i < n; ++i, ++ntotal) {
      for (size_t j = 0; j < part_dimensions; ++j) {
        centres_[j * part_centres + static_cast<size_t>(ntotal)] =
            x[static_cast<size_t>(i) * part_dimensions + j];
      }
    }
  }
  void reset() override { ntotal = 0; }
  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters*) const override {
    JADE_ASSERT(k == 1 && ntotal == static_cast<idx_t>(part_centres));
    run_ranges(
        workers_, static_cast<size_t>(n), shared_values, [&](uint32_t, size_t begin, size_t end) {
          for (size_t i = begin; i < end; ++i) {
            auto [distance, centre] = nearest_centre(x + i * part_dimensions, centres_.data());
            distances[i] = distance;
            labels[i] = static_cast<idx_t>(centre);
          }
        });
  }

 private:
  // So many at once are worth another thread.
  static constexpr size_t shared_values = 512;

  Workers* workers_;
  std::vector<float> centres_;
};

}  // namespace

ProductCodes::ProductCodes(uint32_t rows, uint32_t dimension, Metric metric)
    : metric_(metric),
      dimension_(dimension),
      parts_((size_t{dimension} + part_dimensions - 1) / part_dimensions),
      width_((parts_ + 31) / 32 * 32),
      centres_(parts_ * part_dimensions * part_centres),
      codes_(rows * width_),
      lost_(rows) {
  set_layout(codes_.data(), width_, lost_.data());
}

std::unique_ptr<const ProductCodes> ProductCodes::of(const EuclideanRows& rows, Metric metric,
                                                     Workers* workers) {
  if (rows.rows() < rows_min) return nullptr;
  std::unique_ptr<ProductCodes> codes(new ProductCodes(rows.rows(), rows.dimension(), metric));
  if (!codes->train(rows, workers) || !codes->encode_rows(rows, workers)) return nullptr;
  return codes;
}

bool ProductCodes::train(const EuclideanRows& rows, Workers* workers) {
  const size_t padded = parts_ * part_dimensions;
  auto fits = static_cast<uint32_t>(sample_bytes / (padded * sizeof(float)));
  uint32_t looked = std::min({rows.rows(), sample_rows, std::max(sample_rows_min, fits)});
  std::vector<float> sample(looked * padded);
  for (uint32_t i = 0; i < looked; ++i) {
    const float* row = rows.row(size_t{i} * rows.rows() / looked);
    for (uint32_t j = 0; j < dimension_; ++j) {
      if (!(std::fabs(row[j]) < infinity)) return false;
      sample[i * padded + j] = row[j];
    }
  }
  omp_set_num_threads(1);  // of this thread
  faiss::ProductQuantizer quantizer(padded, parts_, 8);
  PlainCentres centres(workers);
  quantizer.assign_index = &centres;
  quantizer.cp.niter = iterations;
  quantizer.cp.seed = seed;
  quantizer.cp.min_points_per_centroid = 1;  // only a warning
  quantizer.cp.max_points_per_centroid = static_cast<int>(sample_rows / part_centres);
  quantizer.train(looked, sample.data());
  for (size_t part = 0; part < parts_; ++part) {
    for (size_t c = 0; c < part_centres; ++c) {
      const float* centre = quantizer.get_centroids(part, c);
      for (size_t j = 0; j < part_dimensions; ++j) {
        centres_[(part * part_dimensions + j) * part_centres + c] = centre[j];
      }
    }
  }
  return true;
}

bool ProductCodes::encode_rows(const EuclideanRows& rows, Workers* workers) {
  std::vector<std::vector<float>> memory(count_of(workers));
  std::memset(codes_.data(), 0, codes_.size());
  rows.for_each_row(workers, [&](uint32_t worker, size_t i, const float* row) {
    std::vector<float>& padded = memory[worker];
    padded.resize(parts_ * part_dimensions);
    std::copy_n(row, dimension_, padded.begin());
    uint8_t* code = codes_.data() + i * width_;
    float lost = 0;
    for (size_t part = 0; part < parts_; ++part) {
      auto [distance, centre] =
          nearest_centre(padded.data() + part * part_dimensions, centres_of(part));
      code[part] = static_cast<uint8_t>(centre);
      lost += distance;
    }
    // What is no number is far away.
    lost_[i] = lost < infinity ? lost : std::numeric_limits<float>::max();
  });
  // In their order, as a sum depends on it.
  double sum = 0;
  for (float lost : lost_) sum += static_cast<double>(lost);
  // What a row is off points anywhere: of the squared distance of neighbours, d², it takes
  // or gives 2 d √(lost / dimension).
  double neighbour = static_cast<double>(neighbour_distance(rows));
  double error = 4 * sum / rows.rows() / dimension_;
  return neighbour < static_cast<double>(infinity) && error < neighbour;
}

std::vector<std::span<char>> ProductCodes::parts() {
  return {bytes_of(centres_.data(), centres_.size()), bytes_of(codes_.data(), codes_.size()),
          bytes_of(lost_.data(), lost_.size())};
}

size_t ProductCodes::memory_bytes() const {
  return codes_.size() + (lost_.size() + centres_.size()) * sizeof(float);
}

bool ProductCodes::encode(const float* query, EncodedQuery& out) const {
  float squares = 0;
  for (uint32_t j = 0; j < dimension_; ++j) squares += query[j] * query[j];
  if (!(squares < infinity)) return false;
  out.table.resize(parts_ * part_centres);
  for (size_t part = 0; part < parts_; ++part) {
    float values[part_dimensions] = {};
    size_t first = part * part_dimensions;
    std::copy_n(query + first, std::min(part_dimensions, dimension_ - first), values);
    float* table = out.table.data() + part * part_centres;
    if (metric_ != Metric::dot) {
      centre_distances(values, centres_of(part), table);
      continue;
    }
    std::fill(table, table + part_centres, 0.0f);
    for (size_t j = 0; j < part_dimensions; ++j) {
      const float* at = centres_of(part) + j * part_centres;
      for (size_t c = 0; c < part_centres; ++c) table[c] -= values[j] * at[c];
    }
  }
  out.base = 0;
  out.norm = metric_ == Metric::dot ? 0 : 1;
  out.is_row = false;
  return true;
}

void ProductCodes::distances(const EncodedQuery& query, const uint32_t* rows, size_t count,
                             float* out) const {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* code = codes_.data() + size_t{rows[i]} * width_;
    const float* table = query.table.data();
    // Several sums at once, always the same: additions are waited for.
    float sums[4] = {};
    size_t part = 0;
    for (; part + 4 <= parts_; part += 4, table += 4 * part_centres) {
      for (size_t j = 0; j < 4; ++j) sums[j] += table[j * part_centres + code[part + j]];
    }
    for (; part < parts_; ++part, table += part_centres) sums[0] += table[code[part]];
    out[i] = sums[0] + sums[1] + sums[2] + sums[3] + query.norm * lost_[rows[i]];
  }
}

}  // namespace jade
