#include "index/intrinsic_dimension.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "index/hnsw_search.h"

namespace jade {
namespace {

// Of fewer rows a sample tells little, and walks among them are short anyhow.
constexpr uint32_t rows_min = 1000;
// The error of what comes out is then about 3 % on the data sets of docs/performance.md.
constexpr uint32_t sampled = 128;
// Beams are mostly as wide as what lies between these neighbours.
constexpr size_t near = 10, far = 128;

}  // namespace

float intrinsic_dimension(const HnswGraph& graph, const ScalarCodes& codes, Workers* workers) {
  const uint32_t rows = graph.rows();
  if (rows < rows_min) return 0;
  // Evenly spaced. Those above the lowest level lead walks from afar, which no query does.
  std::vector<uint32_t> sample;
  for (uint32_t i = 0; i < sampled; ++i) {
    auto row = static_cast<uint32_t>(uint64_t{i} * rows / sampled);
    while (row + 1 < rows && graph.levels(row) > 1) ++row;
    sample.push_back(row);
  }
  std::vector<double> growth(sample.size(), -1);  // log of far to near distance; -1: not known
  run_ranges(workers, sample.size(), 1, [&](uint32_t, size_t i, size_t) {
    const uint32_t row = sample[i];
    WalkMemory& memory = WalkMemory::of_this_thread();
    codes.encode_row(row, memory.query);
    CodedRows coded(codes, memory.query);
    Candidate start = descend(graph, coded, 0, memory);
    walk(
        graph, coded, 0, start, far, SIZE_MAX, [row](uint32_t other) { return other != row; },
        memory);
    auto found = memory.beam.sorted();
    if (found.size() < far) return;
    float near_distance = found[near - 1].distance(), far_distance = found[far - 1].distance();
    // Rounding to codes adds a sixth of a step, squared, in each dimension.
    if (near_distance <= static_cast<float>(codes.dimension())) return;
    growth[i] =
        std::log(static_cast<double>(far_distance) / static_cast<double>(near_distance)) / 2;
  });
  double sum = 0;
  uint32_t known = 0;
  for (double one : growth) {
    if (one < 0) continue;
    sum += one;
    ++known;
  }
  if (known < sampled / 2) return 0;
  double mean = std::max(sum / known, 1e-4);
  double m = std::log(static_cast<double>(far) / near) / mean;
  return static_cast<float>(std::round(std::clamp(m, 1.0, intrinsic_dimension_max) * 16) / 16);
}

}  // namespace jade
