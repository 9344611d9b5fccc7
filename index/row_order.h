// Where rows of a segment lie.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "index/workers.h"

namespace jade {

// The numbers below `rows` in an order in which rows that are near each other mostly are in
// places near each other: all are halved along the direction in which they differ most, and so
// are the halves (McNames, "A fast nearest-neighbor algorithm based on a principal axis search
// tree", 2001). A walk from neighbour to neighbour then needs fewer pages and lines of memory.
//
// `read(row, out)` gives the `dimension` values of a row, from any thread. Equal rows and seeds
// give equal orders where kernels are the same, however many `workers` (null: the calling
// thread alone) there are. Takes 76 bytes a row for the time of it. Once `cancel` (may be null)
// is true it ends soon, with any order.
std::vector<uint32_t> nearness_order(uint32_t rows, uint32_t dimension, uint64_t seed,
                                     Workers* workers, const std::atomic<bool>* cancel,
                                     const std::function<void(uint32_t row, float* out)>& read);

}  // namespace jade
