// The walk over a graph to the neighbours of a query among some of its rows.
#pragma once

#include <algorithm>
#include <cmath>

#include "index/hnsw_search.h"

namespace jade {

// How many rows a walk that collects what matches looks at for one that is nearer than the k-th
// match: of SIFT, 0.99 of the nearest are then found.
inline constexpr size_t rows_per_nearer = 2;

struct NearOptions {
  size_t k = 0;      // how many to find, 1 and more
  size_t width = 0;  // how many to collect, at least k
  // How many rows a walk for any looks at, and how many its beam holds.
  size_t near = 0;
  size_t beam = 0;
  double dimensions = 0;  // that rows fill (index/intrinsic_dimension.h); 0: not known
};

// How far a walk among all rows goes that is to find those that match, and collects them: where
// enough of the rows near the query do, it is hardly longer than a walk for any, and several times
// as fast for a row as one from match to match. It counts the rows that are nearer than the k-th
// match, and looks at some times as many. A bound of walk() (index/hnsw_search.h).
template <class Rows, class Matches>
class NearMatches {
 public:
  // `found` gets what is collected, best first. It, `rows` and `matches` outlive this.
  NearMatches(const Rows& rows, const Matches& matches, const NearOptions& options, Beam& found)
      : rows_(rows), matches_(matches), options_(options), found_(found) {
    found.reset(options.width);
  }

  void met(Candidate candidate) {
    if (candidate.distance() > found_.limit() || !matches_(candidate.row())) return;
    if (found_.wants(candidate)) found_.insert(candidate);
  }

  // What is farther away than this is not looked for.
  float operator()(const Beam& beam) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const auto all = beam.sorted();
    if (++steps_ == steps_before_estimate && seem_few(all)) {
      few_ = true;
      return -infinity;
    }
    const auto found = found_.sorted();
    if (found.size() < options_.k) return infinity;
    const Candidate last = found[options_.k - 1];
    const auto nearer =
        static_cast<size_t>(std::lower_bound(all.begin(), all.end(), last) - all.begin());
    const size_t wanted = std::max(options_.near, rows_per_nearer * (nearer + 1));
    if (options_.dimensions == 0) {
      return wanted <= all.size() ? all[wanted - 1].distance() : infinity;
    }
    if (nearer != nearer_) {
      nearer_ = nearer;
      // Of rows that fill m dimensions evenly, so far are as many as are wanted.
      const double more = static_cast<double>(wanted) / static_cast<double>(nearer + 1);
      stretch_ =
          static_cast<float>(std::min(std::pow(more, 2 / options_.dimensions), walk_stretch_max));
    }
    return Horizon<Rows>::reach(rows_, last.distance(), stretch_);
  }

  // Whether the walk met so few of those that match that there may be nearer ones.
  bool few(const Beam& beam) const {
    const auto found = found_.sorted();
    return few_ || found.size() < options_.k ||
           (beam.full() && beam.sorted().back() < found[options_.k - 1]);
  }

 private:
  // The steps after which it is estimated of how many rows near the query, and by how many times
  // the rows that match may then still seem too few.
  static constexpr size_t steps_before_estimate = 4;
  static constexpr size_t estimated_of = 32;
  static constexpr size_t doubt = 2;

  // Not as many as that k of them would be among those that the beam holds, with others around.
  bool seem_few(std::span<const Candidate> all) const {
    const auto some = all.first(std::min(all.size(), estimated_of));
    const auto match = static_cast<size_t>(std::count_if(
        some.begin(), some.end(), [&](Candidate row) { return matches_(row.row()); }));
    return doubt * match * options_.beam < some.size() * rows_per_nearer * options_.k;
  }

  const Rows& rows_;
  const Matches& matches_;
  const NearOptions options_;
  Beam& found_;
  size_t steps_ = 0;
  size_t nearer_ = SIZE_MAX;
  float stretch_ = 1;
  bool few_ = false;
};

// The share of rows below which too few that match are two steps from each other, as
// two steps reach about m² rows.
inline double matching_share_min(const HnswGraph& graph) {
  double m = graph.m();
  return 8 / (m * m);
}

// As walk() on level 0, but it goes from a row that matches to those that match, and
// where a neighbour does not, on to that one's neighbours, without computing distances
// of others: ACORN (Patel et al., "ACORN: Performant and predicate-agnostic search over
// vector embeddings and structured data", 2024), on a graph that knows of no filters.
//
// `share`: of the rows that match. `seeds`: matching rows to begin at besides `start`,
// which need not match, nor any around it. matches(row): asked often, and more than once
// for a row. `bound`: Unbounded or a Horizon, which may end it earlier.
template <class Rows, class Matches, class Bound = Unbounded>
bool walk_matching(const HnswGraph& graph, const Rows& rows, Candidate start,
                   std::span<const uint32_t> seeds, double share, size_t width, size_t visits_max,
                   Matches matches, WalkMemory& memory, Stopper* stop = nullptr,
                   const Bound& bound = Bound()) {
  Beam& beam = memory.beam;
  auto& fresh = memory.fresh;
  auto& between = memory.between;
  beam.reset(width);
  memory.reset(graph.rows());
  // How many rows to compare next, from wherever they are: fewer where most match, as
  // then those next to a row do. More find little that is new.
  const auto enough = static_cast<size_t>(graph.m() * std::min(1.5, 0.65 / std::sqrt(share)));

  // Rows to go through whose links are on their way from memory.
  constexpr size_t ahead = 4;
  size_t fresh_count = 0;
  // Without branches on what matches, which could not be foreseen.
  auto gather = [&](uint32_t from) {
    const auto links = graph.links(from, 0);
    const size_t most = enough + 2 * links.size();
    if (fresh.size() < most) fresh.resize(most);
    if (between.size() < links.size()) between.resize(links.size());
    size_t between_count = 0;
    fresh_count = 0;
    for (int32_t link : links) {
      if (link < 0) break;
      auto row = static_cast<uint32_t>(link);
      const bool first = memory.visit(row), match = matches(row);
      fresh[fresh_count] = between[between_count] = row;
      fresh_count += first & match ? 1 : 0;
      between_count += first & !match ? 1 : 0;
    }
    for (size_t i = 0; i < fresh_count; ++i) rows.prefetch(fresh[i]);
    for (size_t i = 0; i < std::min(ahead, between_count); ++i) graph.prefetch_links(between[i]);
    for (size_t i = 0; i < between_count && fresh_count < enough; ++i) {
      if (i + ahead < between_count) graph.prefetch_links(between[i + ahead]);
      const size_t before = fresh_count;
      for (int32_t link : graph.links(between[i], 0)) {
        if (link < 0) break;
        auto row = static_cast<uint32_t>(link);
        fresh[fresh_count] = row;
        fresh_count += memory.visit_if(matches(row), row) ? 1 : 0;
      }
      for (size_t k = before; k < fresh_count; ++k) rows.prefetch(fresh[k]);
    }
  };
  size_t visits = 0;
  float reach_max = std::numeric_limits<float>::infinity();
  auto reach_fresh = [&] {
    visits += fresh_count;
    if (memory.distances.size() < fresh_count) memory.distances.resize(fresh_count);
    rows.distances(fresh.data(), fresh_count, memory.distances.data());
    for (size_t i = 0; i < fresh_count; ++i) {
      if (memory.distances[i] > std::min(reach_max, beam.limit())) continue;
      Candidate candidate(memory.distances[i], fresh[i]);
      if (beam.wants(candidate)) beam.insert(candidate);
    }
  };

  memory.visit(start.row());
  if (matches(start.row())) {
    beam.insert(start);
  } else {
    gather(start.row());
    reach_fresh();
  }
  if (fresh.size() < seeds.size()) fresh.resize(seeds.size());
  fresh_count = 0;
  for (uint32_t row : seeds) {
    if (memory.visit(row)) fresh[fresh_count++] = row;
  }
  reach_fresh();
  Pace pace(visits_max, stop);
  while (const Candidate* next = beam.next()) {
    reach_max = bound(beam);
    if (next->distance() > reach_max) return true;
    if (pace.ends(visits)) return false;
    uint32_t row = next->row();
    beam.take_next();
    gather(row);
    if (const Candidate* likely = beam.next()) graph.prefetch_links(likely->row());
    reach_fresh();
  }
  return true;
}

}  // namespace jade
