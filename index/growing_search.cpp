#include "index/growing_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "index/calibration.h"
#include "index/growing_segment.h"

namespace jade {
namespace {

// Of rows without a graph so many times √rows are compared, by their codes, for one in the
// beam of a graph: that finds as much (`jade bench`, SIFT, 131,072 rows).
constexpr double listed_rows_per_result = 0.35;
// Of so many that are best by their codes, at most, the distances are computed.
constexpr size_t listed_rescored(size_t k) { return 4 * k + 32; }
// Lists that are on their way from memory while one is compared.
constexpr size_t lists_ahead = 2;

}  // namespace

// The rows of a list that may be within a limit.
struct GrowingSearch::LikelyRows {
  const CodedVectors* list = nullptr;
  uint32_t size = 0;  // of all that were estimated
  uint32_t count = 0;
  uint32_t at[CodedVectors::most];
};

void GrowingSearch::run() {
  if (!begin(view_.live(), options_.filter == nullptr)) return;
  const auto* growing = dynamic_cast<const GrowingSegment*>(view_.segment.get());
  listed_ = growing != nullptr && !options_.exact ? std::min(growing->listed(), view_.visible) : 0;
  thread_local CodedQuery query;
  if (listed_ == 0 || !growing->lists()->encode(distance_.query(), query)) return scan(0);
  probe_lists(*growing->lists(), query);
  if (!stopped()) scan(listed_);
}

void GrowingSearch::probe_lists(const GrowingLists& lists, const CodedQuery& query) {
  plan(SegmentPlan::probe);
  WalkMemory& memory = WalkMemory::of_this_thread();
  auto directory = lists.now();
  thread_local std::vector<GrowingLists::NearList> near;
  uint32_t probed = lists_to_probe(directory->lists());
  const float error = lists.error(query);
  {
    Stage stage(options_, done_.walk_ns);
    directory->nearest(query, probed, near);
    if (!probe(near, query, error, memory) && probed < directory->lists() && !stopped()) {
      done_.fell_back = true;
      probed = directory->lists();
      directory->nearest(query, probed, near);
      probe(near, query, error, memory);
    }
  }
  done_.nprobe = probed;
  if (!stopped()) rescore(error, near, memory);
}

uint32_t GrowingSearch::lists_to_probe(uint32_t lists) {
  done_.min_recall = options_.min_recall;
  // What matches a filter may be anywhere.
  if (options_.filter != nullptr) return lists;
  double ef = options_.ef_search > 0 ? options_.ef_search : IndexOptions().ef_search;
  ef *= options_.min_recall > 0 ? uncalibrated_factor : effort_share();
  double rows = std::max<double>(ef, options_.k) * std::sqrt(listed_);
  double share = listed_rows_per_result * rows / listed_;
  return share > 0.5 ? lists : static_cast<uint32_t>(share * lists) + 1;
}

bool GrowingSearch::probe(std::span<const GrowingLists::NearList> lists, const CodedQuery& query,
                          float error, WalkMemory& memory) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const float scale = distance_.format().metric() == Metric::cosine ? 2 : 1;  // by codes
  Beam& beam = memory.beam;
  beam.reset(listed_rescored(options_.k));
  // Beyond it, by codes, none can be among the best k: two distances may be off.
  auto worst = nearest_.worst();
  float limit = worst ? scale * *worst + error : infinity;
  LikelyRows turns[2];
  for (size_t i = 0; i <= lists.size(); ++i) {
    // While the codes of this one are on their way from memory, those of the last.
    LikelyRows& last = turns[(i + 1) % 2];
    if (i > 0) limit = collect_likely(last, query, error, limit, beam);
    if (i == lists.size()) break;
    if (i + lists_ahead < lists.size()) lists[i + lists_ahead].rows->prefetch();
    find_likely(lists[i], query, limit, turns[i % 2]);
    if (stopped_after(turns[i % 2].size)) return false;
  }
  return worst.has_value() || beam.sorted().size() >= std::min<uint64_t>(options_.k, wanted());
}

void GrowingSearch::find_likely(const GrowingLists::NearList& near, const CodedQuery& query,
                                float limit, LikelyRows& out) {
  const CodedVectors& list = *near.rows;
  out.list = &list;
  out.size = list.size();
  out.count = 0;
  uint64_t likely = list.likely(query, near.distance, out.size, limit + near.error);
  for (; likely != 0; likely &= likely - 1) {
    out.at[out.count] = static_cast<uint32_t>(std::countr_zero(likely));
    list.prefetch_code(out.at[out.count++]);
  }
  if (out.count > 0) list.prefetch_centre();
  done_.rows_visited += out.size;
}

float GrowingSearch::collect_likely(const LikelyRows& likely, const CodedQuery& query, float error,
                                    float limit, Beam& beam) {
  if (likely.count == 0) return limit;
  float distances[CodedVectors::most];
  const float of_centre = likely.list->distance(query);
  likely.list->distances(query, of_centre, likely.at, likely.count, distances);
  done_.distances_by_codes += likely.count;
  for (uint32_t j = 0; j < likely.count; ++j) {
    if (distances[j] > limit) continue;
    Candidate found(distances[j], likely.list->number(likely.at[j]));
    if (!beam.wants(found) || found.row() >= listed_ || !is_there(found.row())) continue;
    if (!matches(found.row())) continue;
    beam.insert(found);
    auto best = beam.sorted();
    if (best.size() < options_.k) continue;
    limit = std::min(limit, best[options_.k - 1].distance() + 2 * error);
    if (beam.full()) limit = std::min(limit, best.back().distance());
  }
  return limit;
}

void GrowingSearch::rescore(float error, std::span<const GrowingLists::NearList> lists,
                            const WalkMemory& memory) {
  Stage stage(options_, done_.rescore_ns);
  auto candidates = memory.beam.sorted();
  const float scale = distance_.format().metric() == Metric::cosine ? 2 : 1;  // by codes
  const size_t ahead = rows_at_once;
  for (size_t i = 0; i < candidates.size() + ahead; ++i) {
    if (i < candidates.size()) {
      prefetch_row(view_.segment->row(candidates[i].row()), view_.segment->format().row_bytes());
    }
    if (i < ahead) continue;
    auto worst = nearest_.worst();
    if (worst && candidates[i - ahead].distance() > scale * *worst + error) return;
    ++done_.rescored;
    push(compare(candidates[i - ahead].row()));
  }
  if (!memory.beam.full()) return;
  // Codes cannot tell which are best: by values, those of the lists that are not known.
  std::vector<uint32_t> known;
  for (Candidate candidate : candidates) known.push_back(candidate.row());
  std::sort(known.begin(), known.end());
  for (const auto& near : lists) {
    const uint32_t size = near.rows->size();
    for (uint32_t i = 0; i < size; ++i) {
      const uint32_t row = near.rows->number(i);
      if (row >= listed_ || !is_there(row)) continue;
      if (std::binary_search(known.begin(), known.end(), row)) continue;
      ++done_.rescored;
      Candidate found = compare(row);
      if (nearest_.wants(found.distance()) && matches(row)) push(found);
    }
    if (stopped_after(size)) return;
  }
}

Candidate GrowingSearch::compare(uint32_t row) {
  ++done_.distances_by_values;
  return Candidate(distance_(view_.segment->row(row), view_.segment->scale(row)), row);
}

// From `begin` on: the distance first, as metadata costs more.
void GrowingSearch::scan(uint32_t begin) {
  if (begin == view_.visible) return;
  plan(SegmentPlan::scan);
  Stage stage(options_, done_.scan_ns);
  for (uint32_t row = begin; row < view_.visible; ++row) {
    if (row % rows_at_once == 0 && stopped_after(rows_at_once)) return;
    if (!is_there(row)) continue;
    ++done_.rows_visited;
    Candidate found = compare(row);
    if (nearest_.wants(found.distance()) && matches(row)) push(found);
  }
}

bool GrowingSearch::matches(uint32_t row) {
  if (options_.filter == nullptr) return true;
  ++done_.metadata_read;
  return options_.filter->matches(view_.segment->metadata(row));
}

}  // namespace jade
