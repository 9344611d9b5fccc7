// Search over the segments of a shard as they were at one moment.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "index/bitmap.h"
#include "index/explanation.h"
#include "index/filter.h"
#include "index/segment.h"
#include "index/stopper.h"

namespace jade {

struct SegmentView {
  std::shared_ptr<const Segment> segment;
  std::shared_ptr<const Bitmap> dead;  // null: none; rows beyond its size live
  uint32_t visible = 0;                // rows below it take part
  uint64_t dead_count = 0;             // of the rows below `visible`
  uint64_t id = 0;                     // in its shard, for explanations

  bool is_dead(uint32_t row) const { return dead && row < dead->size() && dead->test(row); }
  uint64_t live() const { return visible > dead_count ? visible - dead_count : 0; }
};

struct SearchOptions {
  uint32_t k = 10;
  uint32_t ef_search = 0;  // 0: as the segment was built
  uint32_t nprobe = 0;     // 0: as the segment was built
  // Not 0: instead of both, as much effort as finds this share of what an exact search
  // does, by its calibration (index/calibration.h). Filtered 4 times as much, and maybe a scan.
  double min_recall = 0;
  const Filter* filter = nullptr;  // null: every row matches
  std::optional<float> distance_max = std::nullopt;
  bool exact = false;  // compare with every row
  // As if this row, by the position of its segment in the views and its offset there, were not
  // there, not even to be walked through: for measuring searches by rows that are. Only without
  // a filter.
  std::optional<std::pair<uint32_t, uint32_t>> left_out = std::nullopt;
  // Null: it runs to its end. Where it says stop, the search ends early and what it
  // returns is no answer.
  Stopper* stop = nullptr;
  // Nanoseconds since any moment, for the times of an explanation; null: it has none.
  const std::function<uint64_t()>* clock_ns = nullptr;
};

struct Hit {
  float distance = 0;    // shown_distance(): index/scoring.h
  uint32_t segment = 0;  // position in the views
  uint32_t offset = 0;   // in the segment

  friend bool operator==(const Hit&, const Hit&) = default;
};

// The nearest live rows that match, best first, of equal distances by id key. As
// many as there are, up to k, before distance_max drops those farther away: where
// an index finds too few, the segment is scanned.
//
// `query`: `dimension` floats, normalised here under cosine. The segments must be
// of that dimension and metric, and of one datatype. Any thread; memory for the walk is kept by
// thread.
//
// The vectors must be in memory: then nothing fails.
std::vector<Hit> search(std::span<const SegmentView> views, Metric metric, uint32_t dimension,
                        const float* query, const SearchOptions& options);

// The same for several queries, one after another in `queries`; what the filter selects
// is found out once. `explain`: where not null, gets for each query, one after another,
// what was done in each segment. Fails where vectors have to be read and cannot be.
Result<std::vector<std::vector<Hit>>> search_all(
    std::span<const SegmentView> views, Metric metric, uint32_t dimension,
    std::span<const float> queries, const SearchOptions& options,
    std::vector<SegmentExplanation>* explain = nullptr);

// (position in the views, offset) of every live row that matches, in that order. `stop`
// as in SearchOptions.
std::vector<std::pair<uint32_t, uint32_t>> matching_rows(std::span<const SegmentView> views,
                                                         const Filter& filter,
                                                         Stopper* stop = nullptr);

uint64_t live_rows(std::span<const SegmentView> views);

}  // namespace jade
