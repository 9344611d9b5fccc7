// How much of what an exact search finds the searches of one segment find, by how much
// effort they make: so that a search can ask for a recall instead of a beam width.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "index/shard_view.h"
#include "index/workers.h"

namespace jade {

class SealedSegment;  // index/sealed_segment.h

// Of one segment, as of one moment. Immutable: any thread may read. The effort is ef_search
// of a graph, nprobe of inverted lists.
struct Calibration {
  struct Point {
    uint32_t effort = 0;
    double recall = 0;  // share of the neighbours that were found, mean over the sample
    double least = 0;   // that less what the mean of such a sample may be off by
    double cost = 0;    // distances computed, mean; little effort that ends in a scan has much
  };
  // Points by effort, up to where nearly all was found.
  struct Curve {
    uint32_t k = 0;
    std::vector<Point> points;
  };

  uint64_t dead_count = 0;  // rows of the segment that were dead
  std::vector<Curve> curves;

  // The one for the least k that is no less than this one; null: none.
  const Curve* find(uint32_t k) const;
  // The cheapest that suffices, so that `least` is no less than `min_recall`. Null where
  // none does or nothing is known for this k.
  const Point* suffices(double min_recall, uint32_t k) const;
  // What was measured at this effort, or the next smaller one; nothing: it was not.
  std::optional<double> recall_at(uint32_t effort, uint32_t k) const;
};

// The effort of searches where neither they nor their database say one.
uint32_t usual_effort(const SealedSegment& segment);

// What a search with a least recall does in a segment that is not calibrated: so many times
// the effort that its database asks for.
inline constexpr uint32_t uncalibrated_factor = 4;

// Recall@10 of a search by these defaults, as it was measured; nothing where it was not.
std::optional<double> measured_recall(const SealedSegment& segment, const IndexOptions& defaults);

// Whether it has an index, and no calibration for `k`, or one from before many of its rows
// died.
bool wants_calibration(const SegmentView& view, uint32_t k);

// Measures the segment, for `k` and a little beyond, and keeps what it finds there, besides
// what is known for others. Searches are for the neighbours of some rows, as if each were not
// there: in a graph it would lead to them. What is found follows from the segment and which
// rows are dead, and holds for queries that lie as the rows do. Takes long, in the calling
// thread, which alone asks `stop`, and those of `workers` (null: none), on which what is found
// does not depend. Keeps nothing where `stop` says so before it ends, or where vectors have to
// be read and cannot be, which is the failure that it returns. Any thread, but no two for one
// segment at once.
Status calibrate(const SegmentView& view, uint32_t k, Stopper* stop = nullptr,
                 Workers* workers = nullptr);

}  // namespace jade
