#include "index/growing_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

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
// One in so many rows of lists is looked at to find out how many match there.
constexpr uint32_t met_sample = 4;
// What a row of a list that is probed takes, and comparing a row by values, in nanoseconds, of
// so many bytes of values: measured with 512 and 3,136; only ratios count.
double probe_ns(size_t bytes) { return 3.5 + 0.005 * static_cast<double>(bytes); }
double compare_ns(size_t bytes) { return 8 + 0.05 * static_cast<double>(bytes); }

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

// The rows of a list that may be within a limit.
struct LikelyRows {
  const CodedVectors* list = nullptr;
  uint32_t size = 0;  // of all that were estimated
  uint32_t count = 0;
  uint32_t at[CodedVectors::most];
};

// One search in one growing segment.
class GrowingSearch : public SegmentQuery {
 public:
  GrowingSearch(const SegmentView& view, uint32_t position, const RowDistance& distance,
                const SearchOptions& options, double part, Nearest& nearest, const Matches* matches)
      : SegmentQuery(view, position, distance, options, part, nearest, matches),
        rows_(*view.segment, distance) {}

  void run() {
    if (begin()) counting_reads([&] { find(); });
  }

 private:
  void find();
  void probe_lists(const GrowingLists& lists, const CodedQuery& query, uint32_t count);
  // Rows in lists that a search compares without a filter, about.
  double listed_rows_wanted() const;
  // How many of the lists a search goes through; nothing where comparing what matches is cheaper.
  std::optional<uint32_t> lists_to_probe(uint32_t lists);
  // Collects the best of these lists by their codes: of those that may be by their estimates.
  // False where they are fewer than there may be to find.
  bool probe(std::span<const GrowingLists::NearList> lists, const CodedQuery& query, float error,
             WalkMemory& memory);
  void find_likely(const GrowingLists::NearList& near, const CodedQuery& query, float limit,
                   LikelyRows& out);
  // Returns the limit from then on.
  float collect_likely(const LikelyRows& likely, const CodedQuery& query, float error, float limit,
                       Beam& beam);
  void rescore(float error, std::span<const GrowingLists::NearList> lists,
               const WalkMemory& memory);
  Candidate compare(uint32_t row);
  void scan(uint32_t begin);

  // Whether a row is in lists and may be found, as far as is known without its metadata.
  bool may_match(uint32_t row) const {
    if (row >= listed_) return false;
    return matches_ != nullptr ? matches_->widest().test(row) : is_there(row);
  }
  double share() const {
    return std::max(0.5, static_cast<double>(done_.matching)) / view_.visible;
  }

  const GrowingRows rows_;
  uint32_t listed_ = 0;  // rows that are in lists
  // Of a sample of the rows in the lists that were probed: how many, and how many of them match.
  uint64_t looked_ = 0;
  uint64_t met_ = 0;
};

void GrowingSearch::find() {
  const auto* growing = dynamic_cast<const GrowingSegment*>(view_.segment.get());
  listed_ = growing != nullptr && !options_.exact ? std::min(growing->listed(), view_.visible) : 0;
  thread_local CodedQuery query;
  if (listed_ == 0 || !growing->lists()->encode(distance_.query(), query)) return scan(0);
  auto probed = lists_to_probe(growing->lists()->now()->lists());
  if (!probed) return scan(0);
  probe_lists(*growing->lists(), query, *probed);
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
    // What matches may be anywhere.
    if (matches_ == nullptr) return lists;
    // As many lists more as make up for what does not match in each.
    rows = std::min<double>(rows / std::pow(share(), 0.35), listed_);
    const size_t bytes = view_.segment->format().row_bytes();
    done_.walk_cost = rows * probe_ns(bytes) / compare_ns(bytes);
    if (done_.walk_cost > static_cast<double>(done_.matching)) return std::nullopt;
  }
  const double of_all = rows / listed_;
  return of_all > 0.5 ? lists : static_cast<uint32_t>(of_all * lists) + 1;
}

void GrowingSearch::probe_lists(const GrowingLists& lists, const CodedQuery& query,
                                uint32_t probed) {
  plan(SegmentPlan::probe);
  WalkMemory& memory = WalkMemory::of_this_thread();
  auto directory = lists.now();
  thread_local std::vector<GrowingLists::NearList> near;
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
  looked_ = met_ = 0;
  for (size_t i = 0; i <= lists.size(); ++i) {
    // While the codes of this one are on their way from memory, those of the last.
    LikelyRows& last = turns[(i + 1) % 2];
    if (i > 0) limit = collect_likely(last, query, error, limit, beam);
    if (i == lists.size()) break;
    if (i + lists_ahead < lists.size()) lists[i + lists_ahead].rows->prefetch();
    find_likely(lists[i], query, limit, turns[i % 2]);
    if (stopped_after(turns[i % 2].size)) return false;
  }
  // What is nearest is left out: what lies around it is in lists on all its sides.
  if (matches_ != nullptr &&
      static_cast<double>(met_) < matches_met_min * share() * static_cast<double>(looked_)) {
    return false;
  }
  return worst.has_value() || beam.sorted().size() >= std::min<uint64_t>(options_.k, wanted());
}

void GrowingSearch::find_likely(const GrowingLists::NearList& near, const CodedQuery& query,
                                float limit, LikelyRows& out) {
  const CodedVectors& list = *near.rows;
  out.list = &list;
  out.size = list.size();
  out.count = 0;
  done_.rows_visited += out.size;
  if (matches_ != nullptr) {
    for (uint32_t i = 0; i < out.size; i += met_sample) met_ += may_match(list.number(i)) ? 1 : 0;
    looked_ += (out.size + met_sample - 1) / met_sample;
  }
  uint64_t likely = list.likely(query, near.distance, out.size, limit + near.error);
  for (; likely != 0; likely &= likely - 1) {
    const auto at = static_cast<uint32_t>(std::countr_zero(likely));
    if (matches_ != nullptr && !may_match(list.number(at))) continue;
    out.at[out.count] = at;
    list.prefetch_code(out.at[out.count++]);
  }
  if (out.count > 0) list.prefetch_centre();
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
    if (!beam.wants(found) || !may_match(found.row()) || !check(found.row())) continue;
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
      if (!may_match(row) || std::binary_search(known.begin(), known.end(), row)) continue;
      ++done_.rescored;
      Candidate found = compare(row);
      if (nearest_.wants(found.distance()) && check(row)) push(found);
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
