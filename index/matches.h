// The rows of a segment that a search with a filter may find.
#pragma once

#include <cstddef>
#include <cstdint>

#include "index/filter.h"
#include "index/selection.h"
#include "index/shard_view.h"

namespace jade {

// Those that live, are visible and match. Rows that the index of metadata leaves undecided are
// read when they are asked for, and counted by a sample where they are many. For one thread.
class Matches {
 public:
  // `rows`: what the segment selects. The others outlive this.
  Matches(const SegmentView& view, Selection rows, const Filter& filter);

  // How many; an estimate unless exact(), and then not 0.
  uint64_t count() const { return exact() || count_ > 0 ? count_ : 1; }
  bool exact() const { return !rows_.maybe; }
  // Rows that are undecided.
  uint64_t undecided() const { return undecided_; }
  const Bitmap& widest() const { return rows_.widest(); }
  bool test(size_t row) const {
    return rows_.sure.test(row) || (rows_.maybe && rows_.maybe->test(row) && read(row));
  }
  // Of a row in widest().
  bool check(size_t row) const { return exact() || rows_.sure.test(row) || read(row); }
  // Rows whose metadata was read.
  uint64_t metadata_read() const { return read_; }

 private:
  bool read(size_t row) const {
    ++read_;
    return filter_.matches(segment_.metadata(static_cast<uint32_t>(row)));
  }

  const Segment& segment_;
  const Filter& filter_;
  Selection rows_;
  uint64_t count_ = 0;
  uint64_t undecided_ = 0;
  mutable uint64_t read_ = 0;
};

}  // namespace jade
