#include "index/shard_view.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "index/hnsw_search.h"
#include "index/ivf.h"
#include "index/sealed_segment.h"

namespace jade {
namespace {

// Rows looked at to estimate how many match.
constexpr uint32_t sample_rows = 256;
// A row met on a walk costs as much as this many in a scan: it is somewhere else in
// memory, and its links have to be read.
constexpr double walk_cost = 8;
// Rows that a walk meets for one in its beam, at most: about the links of a row.
constexpr double visits_per_result = 32;

// The best k hits of all segments.
class Nearest {
 public:
  Nearest(std::span<const SegmentView> views, size_t k) : views_(views), k_(k) {}

  // Whether a row at this distance could still be among them: asked before the
  // filter, which costs more than a distance.
  bool wants(float distance) const {
    return heap_.size() < k_ || distance <= heap_.front().distance;
  }
  void push(const Hit& hit) {
    auto order = [this](const Hit& a, const Hit& b) { return better(a, b); };
    if (heap_.size() < k_) {
      heap_.push_back(hit);
    } else if (better(hit, heap_.front())) {
      std::pop_heap(heap_.begin(), heap_.end(), order);
      heap_.back() = hit;
    } else {
      return;
    }
    std::push_heap(heap_.begin(), heap_.end(), order);
  }
  std::vector<Hit> take_sorted() {
    std::sort_heap(heap_.begin(), heap_.end(),
                   [this](const Hit& a, const Hit& b) { return better(a, b); });
    return std::move(heap_);
  }

 private:
  bool better(const Hit& a, const Hit& b) const {
    if (a.distance != b.distance) return a.distance < b.distance;
    std::string_view id_a = views_[a.segment].segment->id_view(a.offset);
    std::string_view id_b = views_[b.segment].segment->id_view(b.offset);
    if (id_a != id_b) return id_a < id_b;
    return std::pair(a.segment, a.offset) < std::pair(b.segment, b.offset);
  }

  std::span<const SegmentView> views_;
  size_t k_;
  std::vector<Hit> heap_;  // the worst on top
};

// One search in one segment.
class SegmentSearch {
 public:
  SegmentSearch(const SegmentView& view, uint32_t position, const Distance& distance,
                const float* query, const SearchOptions& options, Nearest& nearest)
      : view_(view),
        position_(position),
        distance_(distance),
        query_(query),
        options_(options),
        nearest_(nearest) {}

  void run() {
    const auto* sealed = dynamic_cast<const SealedSegment*>(view_.segment.get());
    if (options_.exact || sealed == nullptr || sealed->kind() == IndexKind::flat) return scan();
    double share = estimate_share();
    bool found = sealed->graph() != nullptr ? walk_graph(*sealed, share) : probe(*sealed, share);
    if (!found) scan();
  }

 private:
  bool matches(uint32_t row) const {
    return !view_.is_dead(row) &&
           (options_.filter == nullptr || options_.filter->matches(view_.segment->metadata(row)));
  }

  void scan() {
    const auto* sealed = dynamic_cast<const SealedSegment*>(view_.segment.get());
    for (uint32_t row = 0; row < view_.visible; ++row) {
      if (view_.is_dead(row)) continue;
      float d = distance_(query_, sealed ? sealed->vector(row) : view_.segment->vector(row));
      if (!nearest_.wants(d)) continue;
      if (options_.filter && !options_.filter->matches(view_.segment->metadata(row))) continue;
      nearest_.push({d, position_, row});
    }
  }

  // The share of rows that live and match, from evenly spaced ones: the same for
  // every such search. Never 0.
  double estimate_share() const {
    if (view_.visible == 0) return 1;
    if (options_.filter == nullptr) {
      return std::max(0.5, static_cast<double>(view_.live())) / view_.visible;
    }
    uint32_t looked = std::min(view_.visible, sample_rows);
    uint32_t matched = 0;
    for (uint32_t i = 0; i < looked; ++i) {
      auto row = static_cast<uint32_t>(uint64_t{i} * view_.visible / looked);
      matched += matches(row) ? 1 : 0;
    }
    return (matched + 0.5) / (looked + 0.5);
  }

  // False where a scan is cheaper, or the walk did not find k rows.
  bool walk_graph(const SealedSegment& segment, double share) {
    uint32_t ef = options_.ef_search > 0 ? options_.ef_search : segment.options().ef_search;
    // The beam holds rows that match, and so is 1 / share wider in all rows: a
    // narrower one does.
    double scaled = ef * std::sqrt(share);
    size_t k = options_.k;
    size_t beam = std::max({k + k / 2, static_cast<size_t>(scaled), std::min<size_t>(ef, 2 * k)});
    double cost = static_cast<double>(beam) / share * walk_cost;
    if (cost > view_.visible) return false;
    // What matches may all be far from the query: then a scan is next.
    bool all_match = options_.filter == nullptr && view_.live() == view_.visible;
    size_t usual = static_cast<size_t>(static_cast<double>(beam) / share * visits_per_result);
    size_t visits_max = all_match ? view_.visible : std::max<size_t>(usual, view_.visible / 4);
    WalkMemory& memory = WalkMemory::of_this_thread();
    ExactRows exact(segment.columns().vectors.data(), distance_, query_);
    if (segment.codes() == nullptr || !segment.codes()->encode(query_, memory.query)) {
      if (!collect(*segment.graph(), exact, beam, visits_max, memory)) return false;
      for (Candidate found : memory.beam.sorted()) push(found);
      return true;
    }
    CodedRows coded(*segment.codes(), memory.query);
    if (!collect(*segment.graph(), coded, beam, visits_max, memory)) return false;
    // The order by codes is nearly that by values.
    auto& rows = memory.fresh;
    rows.clear();
    const size_t rescored = segment.codes()->rescored(k);
    for (Candidate found : memory.beam.sorted()) {
      if (rows.size() == rescored) break;
      rows.push_back(found.row());
      exact.prefetch(found.row());
    }
    memory.distances.resize(rows.size());
    exact.distances(rows.data(), rows.size(), memory.distances.data());
    for (size_t i = 0; i < rows.size(); ++i) push(Candidate(memory.distances[i], rows[i]));
    return true;
  }

  // False where the walk did not find k rows.
  template <class Compared>
  bool collect(const HnswGraph& graph, const Compared& rows, size_t beam, size_t visits_max,
               WalkMemory& memory) const {
    Candidate start = descend(graph, rows, 0, memory);
    auto accept = [&](uint32_t row) { return row < view_.visible && matches(row); };
    return walk(graph, rows, 0, start, beam, visits_max, accept, memory) &&
           memory.beam.sorted().size() >= std::min<uint64_t>(options_.k, view_.live());
  }

  void push(Candidate found) {
    if (nearest_.wants(found.distance())) nearest_.push({found.distance(), position_, found.row()});
  }

  // The same of inverted lists.
  bool probe(const SealedSegment& segment, double share) {
    const InvertedLists& lists = *segment.lists();
    uint32_t nprobe = options_.nprobe > 0 ? options_.nprobe : segment.options().nprobe;
    if (nprobe == 0) nprobe = default_nprobe(lists.lists());
    double wide = std::ceil(nprobe / std::sqrt(share));
    if (wide * 2 > lists.lists()) return false;
    ExactRows rows(segment.columns().vectors.data(), distance_, query_);
    Nearest best({&view_, 1}, options_.k);
    size_t count = 0;
    for (uint32_t list : nearest_lists(lists, segment.metric(), segment.dimension(), query_,
                                       static_cast<uint32_t>(wide))) {
      for (uint32_t i = lists.starts[list]; i < lists.starts[list + 1]; ++i) {
        if (i + 4 < lists.starts[list + 1]) {
          rows.prefetch(lists.rows[i + 4]);
        }
        uint32_t row = lists.rows[i];
        float d;
        rows.distances(&row, 1, &d);
        if (row >= view_.visible || !best.wants(d) || !matches(row)) continue;
        best.push({d, 0, row});
        ++count;
      }
    }
    if (count < std::min<uint64_t>(options_.k, view_.live())) return false;
    for (const Hit& hit : best.take_sorted()) nearest_.push({hit.distance, position_, hit.offset});
    return true;
  }

  const SegmentView& view_;
  uint32_t position_;
  const Distance& distance_;
  const float* query_;
  const SearchOptions& options_;
  Nearest& nearest_;
};

}  // namespace

std::vector<Hit> search(std::span<const SegmentView> views, Metric metric, uint32_t dimension,
                        const float* query, const SearchOptions& options) {
  if (options.k == 0) return {};
  std::vector<float> unit;
  if (metric == Metric::cosine) {
    unit.assign(query, query + dimension);
    normalise(unit.data(), dimension);
    query = unit.data();
  }
  Distance distance(metric, dimension);
  Nearest nearest(views, options.k);
  for (uint32_t i = 0; i < views.size(); ++i) {
    JADE_ASSERT(views[i].segment->dimension() == dimension && views[i].segment->metric() == metric);
    SegmentSearch(views[i], i, distance, query, options, nearest).run();
  }
  std::vector<Hit> hits = nearest.take_sorted();
  if (options.distance_max) {
    std::erase_if(hits, [&](const Hit& hit) { return !(hit.distance <= *options.distance_max); });
  }
  return hits;
}

std::vector<std::pair<uint32_t, uint32_t>> matching_rows(std::span<const SegmentView> views,
                                                         const Filter& filter) {
  std::vector<std::pair<uint32_t, uint32_t>> out;
  for (uint32_t i = 0; i < views.size(); ++i) {
    for (uint32_t row = 0; row < views[i].visible; ++row) {
      if (!views[i].is_dead(row) && filter.matches(views[i].segment->metadata(row))) {
        out.emplace_back(i, row);
      }
    }
  }
  return out;
}

uint64_t live_rows(std::span<const SegmentView> views) {
  uint64_t total = 0;
  for (const SegmentView& view : views) total += view.live();
  return total;
}

}  // namespace jade
