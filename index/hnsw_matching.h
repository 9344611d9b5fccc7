// The walk over a graph to the neighbours of a query among some of its rows.
#pragma once

#include <algorithm>
#include <cmath>

#include "index/hnsw_search.h"

namespace jade {

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
