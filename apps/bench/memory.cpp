#include "apps/bench/memory.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace jade {

size_t resident_bytes() {
  malloc_trim(0);  // what is free is no use of memory
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

PeakMemory::PeakMemory() {
  before_ = resident_bytes();
  // Sets VmHWM back (proc(5), since Linux 4.0).
  std::ofstream reset("/proc/self/clear_refs");
  reset << "5" << std::flush;
  counts_ = static_cast<bool>(reset);
}

std::optional<size_t> PeakMemory::bytes() const {
  if (!counts_) return std::nullopt;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("VmHWM:")) continue;
    const size_t peak = std::stoull(line.substr(6)) << 10;  // "VmHWM:   123 kB"
    return peak - std::min(peak, before_);
  }
  return std::nullopt;
}

}  // namespace jade
