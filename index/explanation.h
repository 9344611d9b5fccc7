// What a search did, in numbers: for those who ask why it took so long, or found so little.
#pragma once

#include <cstdint>
#include <string_view>

#include "index/metric.h"

namespace jade {

// How a segment was searched.
enum class SegmentPlan : uint8_t {
  none,           // no row matches
  scan,           // every row
  matching_rows,  // every row that matches
  walk,           // through the graph
  walk_matching,  // through the graph, from matching row to matching row
  probe,          // the nearest inverted lists
};
std::string_view to_string(SegmentPlan plan);

// Of one query in one segment. What queries that are searched together cost only once,
// which is to find out what their filter selects, is told of the first of them.
struct SegmentExplanation {
  uint64_t segment = 0;  // its id in the shard; 0: it has none
  IndexKind kind = IndexKind::flat;
  uint64_t rows = 0;  // that are visible, dead ones included
  uint64_t live = 0;
  // That live and match; where it is not exact an estimate, and of a growing segment all
  // that live.
  uint64_t matching = 0;
  bool matching_exact = false;
  SegmentPlan plan = SegmentPlan::none;
  // The plan found too few, or maybe so for min_recall: all (that match) were scanned after it.
  bool fell_back = false;
  // What a walk was thought to cost, in rows of a scan, which costs `matching` of them: the
  // less decided. 0: there was no choice.
  double walk_cost = 0;
  uint32_t ef_search = 0;  // asked for, the default, or what min_recall takes; 0: no graph
  // Width of the beam; of a walk that ends by distance (Horizon in index/hnsw_search.h) about what
  // is needed on average, and it may be up to twice as wide. 0: no walk.
  uint32_t ef = 0;
  bool raised = false;  // the beam is wider than ef_search, as k asks for it
  uint32_t nprobe = 0;  // lists probed; 0: none
  // The recall that was asked for; 0: none was, ef_search or nprobe count. Whether they were
  // chosen by what was measured of the segment, and what that was; negative: it was not.
  double min_recall = 0;
  bool calibrated = false;
  double measured_recall = -1;

  // Looked at, whether compared or not, each once a stage; by a walk, on the lowest level
  // of the graph.
  uint64_t rows_visited = 0;
  uint64_t distances_by_codes = 0;   // computed
  uint64_t distances_by_values = 0;  // those of rescoring included
  uint64_t rescored = 0;             // of those that are near by codes, by values
  uint64_t metadata_read = 0;        // rows whose metadata was read

  // Nanoseconds, where a clock was given: finding out what the filter selects, the walk (or
  // the probing of lists), the scan, and rescoring.
  uint64_t filter_ns = 0;
  uint64_t walk_ns = 0;
  uint64_t scan_ns = 0;
  uint64_t rescore_ns = 0;

  uint64_t distances() const { return distances_by_codes + distances_by_values; }
};

}  // namespace jade
