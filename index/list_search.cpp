#include "index/list_search.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

namespace jade {
namespace {

// Of so many that are best by their codes, at most, the distances are computed.
constexpr size_t listed_rescored(size_t k) { return 4 * k + 32; }
// Lists that are on their way from memory while one is compared.
constexpr size_t lists_ahead = 2;
// One in so many rows of lists is looked at to find out how many match there.
constexpr uint32_t met_sample = 4;
// The share that the lists nearest to a query have of what matches in as many lists elsewhere,
// below which what is nearest is taken to be left out.
constexpr double matches_met_min = 0.75;

}  // namespace

// The rows of a list that may be within a limit.
struct ListSearch::LikelyRows {
  const CodedVectors* list = nullptr;
  uint32_t size = 0;  // of all that were estimated
  uint32_t count = 0;
  uint32_t at[CodedVectors::most];
};

double ListSearch::probed_row_cost() const {
  const auto bytes = static_cast<double>(view_.segment->format().row_bytes());
  return (3.5 + 0.005 * bytes) / (8 + 0.05 * bytes);
}

bool ListSearch::search_lists(const GrowingLists& lists, const CodedQuery& query, uint32_t count,
                              bool widens) {
  plan(SegmentPlan::probe);
  WalkMemory& memory = WalkMemory::of_this_thread();
  const auto directory = lists.now();
  thread_local std::vector<GrowingLists::NearList> near;
  const float error = lists.error(query);
  done_.nprobe = count;
  {
    Stage stage(options_, done_.walk_ns);
    directory->nearest(query, count, near);
    if (!probe(near, query, error, memory)) {
      if (!widens) return false;
      if (count < directory->lists() && !stopped()) {
        done_.fell_back = true;
        done_.nprobe = directory->lists();
        directory->nearest(query, done_.nprobe, near);
        probe(near, query, error, memory);
      }
    }
  }
  if (!stopped()) rescore(error, near, memory);
  return true;
}

bool ListSearch::probe(std::span<const GrowingLists::NearList> lists, const CodedQuery& query,
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

void ListSearch::find_likely(const GrowingLists::NearList& near, const CodedQuery& query,
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

float ListSearch::collect_likely(const LikelyRows& likely, const CodedQuery& query, float error,
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

void ListSearch::rescore(float error, std::span<const GrowingLists::NearList> lists,
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

Candidate ListSearch::compare(uint32_t row) {
  ++done_.distances_by_values;
  return Candidate(distance_(view_.segment->row(row), view_.segment->scale(row)), row);
}

}  // namespace jade
