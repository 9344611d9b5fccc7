// The index of metadata of rows that still come.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "index/segment.h"

namespace jade {

// Indexes of rows that follow one another (index/metadata_index.h), in parts: each has the next
// rows, and takes the parts before it once there are `parts_max` of its size, so that a row is
// indexed a few times and a filter asks few parts (Bentley and Saxe, "Decomposable searching
// problems", 1980). One thread extends it; any number may ask.
//
// Memory: that of the indexes, and the metadata once more.
class GrowingMetadata {
 public:
  static constexpr uint32_t parts_max = 16;

  // Of rows of `segment`, which outlives this. `step`: so many rows are worth a part; not 0.
  GrowingMetadata(const Segment& segment, uint32_t step);
  ~GrowingMetadata();

  bool wants_extending(uint32_t rows) const { return rows >= indexed() + step_; }
  // Until fewer than a step of `rows`, which can be read, are left.
  void extend(uint32_t rows);
  // How many rows, the first ones, are in it.
  uint32_t indexed() const { return indexed_.load(std::memory_order_acquire); }
  // Of all rows that there are. Those that are in no part are undecided.
  Selection select(const Filter& filter) const;
  size_t parts() const { return now()->size(); }

 private:
  struct Part;
  using Parts = std::vector<std::shared_ptr<const Part>>;

  std::shared_ptr<const Parts> now() const;
  // How often `parts_max` of the least size go into so many rows, as a power.
  uint32_t level(uint32_t rows) const;

  const Segment& segment_;
  const uint32_t step_;
  std::atomic<uint32_t> indexed_{0};
  mutable std::mutex mutex_;  // of the pointer; its thread alone writes it
  std::shared_ptr<const Parts> parts_;
};

}  // namespace jade
