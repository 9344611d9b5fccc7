// Rows that are equal, as graphs cannot tell them apart: every copy of a row is nearer to it
// than all others are, and has all its links.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "index/workers.h"

namespace jade {

// Of rows that are equal to earlier ones: what they are equal to, and themselves.
struct RowCopies {
  uint32_t first = 0;            // the earliest of them
  std::vector<uint32_t> copies;  // the others, ascending; at least one
};

// All such of the numbers below `rows`, by `first`. `bytes(row, memory)`: what is equal for those
// that are, perhaps in `memory`; from any thread, each with a memory of its own. Nothing if
// `cancel` (may be null) became true.
std::vector<RowCopies> find_copies(
    uint32_t rows, Workers* workers, const std::atomic<bool>* cancel,
    const std::function<std::string_view(uint32_t row, std::string& memory)>& bytes);

}  // namespace jade
