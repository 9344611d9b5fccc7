#include "index/recall.h"

#include <algorithm>

namespace jade {
namespace {

bool is_uncalibrated(const SegmentExplanation& done) {
  return done.min_recall > 0 && !done.calibrated;
}

}  // namespace

std::vector<std::pair<uint32_t, uint32_t>> sample_rows(std::span<const SegmentView> views,
                                                       uint32_t count) {
  std::vector<std::pair<uint32_t, uint32_t>> out;
  uint64_t rows = live_rows(views);
  uint64_t wanted = std::min<uint64_t>(count, rows);
  uint64_t live = 0;  // rows before the one at hand
  for (uint32_t s = 0; s < views.size(); ++s) {
    for (uint32_t row = 0; row < views[s].visible && out.size() < wanted; ++row) {
      if (views[s].is_dead(row)) continue;
      if (live++ >= out.size() * rows / wanted) out.emplace_back(s, row);
    }
  }
  return out;
}

Result<RecallCount> measure_recall(std::span<const SegmentView> views, Metric metric,
                                   uint32_t dimension, uint32_t sample,
                                   const SearchOptions& options) {
  RecallCount out;
  if (options.k == 0) return out;
  SearchOptions walk = options, scan = options;
  scan.exact = true;
  std::vector<float> query(dimension);
  for (auto [s, row] : sample_rows(views, sample)) {
    if (options.stop != nullptr && options.stop->check()) return out;
    JADE_RETURN_IF_ERROR(views[s].segment->read_vector(row, query.data()));
    walk.left_out = scan.left_out = {s, row};
    auto exact = search_all(views, metric, dimension, query, scan);
    if (!exact.ok()) return exact.status();
    std::vector<SegmentExplanation> done;
    auto walked = search_all(views, metric, dimension, query, walk, &done);
    if (!walked.ok()) return walked.status();
    const std::vector<Hit>&expected = exact->front(), &found = walked->front();
    out.uncalibrated |= std::any_of(done.begin(), done.end(), is_uncalibrated);
    ++out.sampled;
    out.expected += expected.size();
    for (const Hit& hit : found) {
      out.found += !expected.empty() && hit.distance <= expected.back().distance ? 1 : 0;
    }
  }
  return out;
}

}  // namespace jade
