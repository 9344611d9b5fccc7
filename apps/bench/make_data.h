// Made-up vectors whose searches are as hard as those of real ones.
#pragma once

#include <cstdint>
#include <string>

#include "storage/status.h"

namespace jade {

struct MakeOptions {
  size_t rows = 100000, intrinsic = 16;
  uint32_t dimension = 128;
  uint64_t seed = 1;
  size_t skip = 0;  // leaves out the first rows: for queries that are not in the base
  std::string out;  // an .fbin file
};

// Gaussian points in `intrinsic` dimensions around centres, turned into `dimension`
// ones by a random linear map, with a little noise everywhere.
Status make_data(const MakeOptions& options);

}  // namespace jade
