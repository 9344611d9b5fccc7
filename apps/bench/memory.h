// What this process takes of the machine's memory.
#pragma once

#include <cstddef>
#include <optional>

namespace jade {

// Bytes that are resident once the allocator has given back what it does not need.
size_t resident_bytes();

// The most that was resident since it was made, of one at a time.
class PeakMemory {
 public:
  // Has the kernel count anew.
  PeakMemory();
  // Bytes beyond what was resident at the beginning. Nothing where the kernel does not count.
  std::optional<size_t> bytes() const;

 private:
  bool counts_ = false;
  size_t before_ = 0;
};

}  // namespace jade
