// How much of what an exact search finds the searches of a shard find, by its own rows.
#pragma once

#include <span>

#include "index/shard_view.h"

namespace jade {

struct RecallCount {
  uint64_t sampled = 0;   // rows that were searched for
  uint64_t expected = 0;  // neighbours that they have, up to k each
  uint64_t found = 0;     // of those
  // Some searches went by a least recall, in a segment of which it was not measured what that
  // takes (index/calibration.h).
  bool uncalibrated = false;
};

// Up to `count` live rows as (view, offset), evenly spaced, in order.
std::vector<std::pair<uint32_t, uint32_t>> sample_rows(std::span<const SegmentView> views,
                                                       uint32_t count);

// Searches for the neighbours of up to `sample` live rows, evenly spaced over the views so
// that the same view gives the same sample, with `options` and exactly, as if each were not
// there: so does a search by a vector that is not stored. A row that is as near as the k-th
// counts as found in its place. Takes as
// long as `sample` exact scans, in the calling thread; `options.stop` can end it early. Fails
// where search_all() does.
Result<RecallCount> measure_recall(std::span<const SegmentView> views, Metric metric,
                                   uint32_t dimension, uint32_t sample,
                                   const SearchOptions& options);

}  // namespace jade
