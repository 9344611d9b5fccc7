#include "apps/bench/make_data.h"

#include <cmath>
#include <fstream>
#include <random>
#include <vector>

#include "index/metric.h"

namespace jade {

Status make_data(const MakeOptions& options) {
  size_t intrinsic = options.intrinsic;
  uint32_t dimension = options.dimension;
  if (intrinsic < 1 || intrinsic > dimension || dimension > dimension_max) {
    return invalid_argument("--intrinsic must be 1 to --dimension, which must be at most " +
                            std::to_string(dimension_max));
  }
  std::mt19937_64 random(options.seed);
  std::normal_distribution<float> normal;
  std::vector<float> map(intrinsic * dimension), centres(256 * intrinsic), point(intrinsic);
  for (float& value : map) value = normal(random) / std::sqrt(static_cast<float>(intrinsic));
  for (float& value : centres) value = 2 * normal(random);
  std::ofstream out(options.out, std::ios::binary);
  auto put = [&](const void* data, size_t size) {
    out.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  };
  auto rows = static_cast<uint32_t>(options.rows);
  put(&rows, 4);
  put(&dimension, 4);
  std::vector<float> row(dimension);
  for (size_t i = 0; i < options.skip + options.rows; ++i) {
    size_t centre = random() % 256;
    for (size_t j = 0; j < intrinsic; ++j)
      point[j] = centres[centre * intrinsic + j] + normal(random);
    for (uint32_t d = 0; d < dimension; ++d) {
      float value = 0.05f * normal(random);
      for (size_t j = 0; j < intrinsic; ++j) value += map[j * dimension + d] * point[j];
      row[d] = value;
    }
    if (i >= options.skip) put(row.data(), row.size() * 4);
  }
  out.close();
  if (out) return {};
  return Status(Code::io_error, options.out + " cannot be written");
}

}  // namespace jade
