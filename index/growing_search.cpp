#include "index/growing_search.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "index/calibration.h"
#include "index/growing_segment.h"
#include "index/list_search.h"

namespace jade {
namespace {

// Of rows without a graph so many times √rows are compared, by their codes, for one in the
// beam of a graph: that finds as much (`jade bench`, SIFT, 131,072 rows).
constexpr double listed_rows_per_result = 0.35;

// Rows of a segment that nobody moves, by their values.
class GrowingRows {
 public:
  GrowingRows(const Segment& segment, const RowDistance& distance)
      : segment_(segment), distance_(distance), row_bytes_(segment.format().row_bytes()) {}

  void prefetch(uint32_t row) const {
    // Of rows that follow one another the processor fetches the next by itself, and better.
    if (row != hinted_ + 1) prefetch_row(segment_.row(row), row_bytes_);
    hinted_ = row;
  }
  void distances(const uint32_t* rows, size_t count, float* out) const {
    for (size_t i = 0; i < count; ++i) {
      out[i] = distance_(segment_.row(rows[i]), segment_.scale(rows[i]));
    }
  }

 private:
  const Segment& segment_;
  const RowDistance& distance_;
  const size_t row_bytes_;
  mutable uint32_t hinted_ = UINT32_MAX - 1;
};

// One search in one growing segment.
class GrowingSearch : public ListSearch {
 public:
  GrowingSearch(const SegmentView& view, uint32_t position, const RowDistance& distance,
                const SearchOptions& options, double part, Nearest& nearest, const Matches* matches)
      : ListSearch(view, position, distance, options, part, nearest, matches),
        rows_(*view.segment, distance) {}

  void run() {
    if (begin()) counting_reads([&] { find(); });
  }

 private:
  void find();
  // Rows in lists that a search compares without a filter, about.
  double listed_rows_wanted() const;
  // How many of the lists a search goes through; nothing where comparing what matches is cheaper.
  std::optional<uint32_t> lists_to_probe(uint32_t lists);
  void scan(uint32_t begin);

  const GrowingRows rows_;
};

void GrowingSearch::find() {
  const auto* growing = dynamic_cast<const GrowingSegment*>(view_.segment.get());
  listed_ = growing != nullptr && !options_.exact ? std::min(growing->listed(), view_.visible) : 0;
  thread_local CodedQuery query;
  if (listed_ == 0 || !growing->lists()->encode(distance_.query(), query)) return scan(0);
  auto probed = lists_to_probe(growing->lists()->now()->lists());
  if (!probed) return scan(0);
  search_lists(*growing->lists(), query, *probed, true);
  if (!stopped()) scan(listed_);
}

double GrowingSearch::listed_rows_wanted() const {
  double ef = options_.ef_search > 0 ? options_.ef_search : IndexOptions().ef_search;
  ef *= options_.min_recall > 0 ? uncalibrated_factor : effort_share();
  return listed_rows_per_result * std::max<double>(ef, options_.k) * std::sqrt(listed_);
}

std::optional<uint32_t> GrowingSearch::lists_to_probe(uint32_t lists) {
  done_.min_recall = options_.min_recall;
  double rows = listed_rows_wanted();
  if (options_.filter != nullptr) {
    // What matches may be anywhere, and few of the nearest.
    if (matches_ == nullptr || matches_->undecided() > listed_ / 8) return lists;
    // As many lists more as make up for what does not match in each.
    rows = std::min<double>(rows / std::pow(share(), 0.35), listed_);
    done_.walk_cost = rows * probed_row_cost();
    if (done_.walk_cost > static_cast<double>(done_.matching)) return std::nullopt;
  }
  const double of_all = rows / listed_;
  return of_all > 0.5 ? lists : static_cast<uint32_t>(of_all * lists) + 1;
}

// From `begin` on: the distance first, as metadata costs more.
void GrowingSearch::scan(uint32_t begin) {
  if (begin == view_.visible) return;
  plan(matches_ != nullptr ? SegmentPlan::matching_rows : SegmentPlan::scan);
  Stage stage(options_, done_.scan_ns);
  compare_candidates(rows_, begin, done_.distances_by_values, [&](Candidate found) {
    if (nearest_.wants(found.distance()) && check(found.row())) push(found);
  });
}

}  // namespace

Status search_growing(const SegmentView& view, uint32_t position, double part,
                      const SearchOptions& options, std::span<QuerySearch> queries,
                      const Matches* matches, std::vector<SegmentExplanation>* explain) {
  for (QuerySearch& query : queries) {
    GrowingSearch search(view, position, query.distance, options, part, query.nearest, matches);
    search.run();
    if (explain != nullptr) explain->push_back(search.done());
    if (options.stop != nullptr && options.stop->stopped()) break;
  }
  return {};
}

}  // namespace jade
