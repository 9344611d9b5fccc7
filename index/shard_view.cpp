#include "index/shard_view.h"

#include <algorithm>

#include "index/growing_search.h"
#include "index/matches.h"
#include "index/sealed_search.h"
#include "index/sealed_segment.h"
#include "index/segment_query.h"

namespace jade {
namespace {

// Nothing where metadata has no index.
std::optional<Matches> matches_of(const SegmentView& view, const Filter& filter) {
  auto rows = view.segment->select(filter);
  if (!rows) return std::nullopt;
  return Matches(view, *std::move(rows), filter);
}

}  // namespace

std::string_view to_string(SegmentPlan plan) {
  switch (plan) {
    case SegmentPlan::none: return "none";
    case SegmentPlan::scan: return "scan";
    case SegmentPlan::matching_rows: return "matching_rows";
    case SegmentPlan::walk: return "walk";
    case SegmentPlan::walk_matching: return "walk_matching";
    case SegmentPlan::probe: return "probe";
  }
  return "";
}

Result<std::vector<std::vector<Hit>>> search_all(std::span<const SegmentView> views, Metric metric,
                                                 uint32_t dimension, std::span<const float> queries,
                                                 const SearchOptions& options,
                                                 std::vector<SegmentExplanation>* explain) {
  JADE_ASSERT(queries.size() % dimension == 0);
  std::vector<std::vector<Hit>> out(queries.size() / dimension);
  if (options.k == 0 || out.empty()) return out;
  std::vector<std::optional<Matches>> matches;
  matches.reserve(views.size());
  std::vector<uint64_t> filter_ns(views.size());
  const RowFormat format(
      metric, dimension,
      views.empty() ? Datatype::float32 : views.front().segment->format().datatype());
  for (size_t i = 0; i < views.size(); ++i) {
    JADE_ASSERT(views[i].segment->format() == format);
    if (options.filter == nullptr) {
      matches.emplace_back();
      continue;
    }
    if (options.stop != nullptr && options.stop->check()) return out;
    Stage stage(options, filter_ns[i]);
    matches.push_back(matches_of(views[i], *options.filter));
  }
  std::vector<QuerySearch> all;
  all.reserve(out.size());
  for (size_t q = 0; q < out.size(); ++q) {
    all.emplace_back(format, queries.subspan(q * dimension, dimension), views, options.k);
  }
  uint64_t rows_of_all = 0;
  for (const SegmentView& view : views) rows_of_all += view.visible;
  auto is_stopped = [&] { return options.stop != nullptr && options.stop->stopped(); };
  std::vector<std::vector<SegmentExplanation>> done(views.size());  // of the queries, in order
  for (uint32_t i = 0; i < views.size(); ++i) {
    const double part = views[i].visible / std::max(1.0, static_cast<double>(rows_of_all));
    const Matches* matching = matches[i] ? &*matches[i] : nullptr;
    const uint64_t read_before = matching != nullptr ? matching->metadata_read() : 0;
    const bool sealed = dynamic_cast<const SealedSegment*>(views[i].segment.get()) != nullptr;
    const auto search = sealed ? search_sealed : search_growing;
    auto* explained = explain != nullptr ? &done[i] : nullptr;
    JADE_RETURN_IF_ERROR(search(views[i], i, part, options, all, matching, explained));
    if (explained != nullptr && !explained->empty()) {
      explained->front().filter_ns = filter_ns[i];
      explained->front().metadata_read += read_before;
    }
    if (is_stopped()) break;
  }
  // Of those that were begun.
  for (size_t q = 0; explain != nullptr && q < out.size(); ++q) {
    for (const auto& of_segment : done) {
      if (q < of_segment.size()) explain->push_back(of_segment[q]);
    }
  }
  if (is_stopped()) return out;
  for (size_t q = 0; q < out.size(); ++q) {
    out[q] = all[q].nearest.take_sorted();
    if (options.distance_max) {
      std::erase_if(out[q],
                    [&](const Hit& hit) { return !(hit.distance <= *options.distance_max); });
    }
  }
  return out;
}

std::vector<Hit> search(std::span<const SegmentView> views, Metric metric, uint32_t dimension,
                        const float* query, const SearchOptions& options) {
  auto found = search_all(views, metric, dimension, {query, dimension}, options);
  JADE_ASSERT(found.ok());
  return std::move(found->front());
}

std::vector<std::pair<uint32_t, uint32_t>> matching_rows(std::span<const SegmentView> views,
                                                         const Filter& filter, Stopper* stop) {
  std::vector<std::pair<uint32_t, uint32_t>> out;
  auto stopped_after = [&](uint64_t rows) { return stop != nullptr && stop->after(rows); };
  for (uint32_t i = 0; i < views.size(); ++i) {
    if (stop != nullptr && stop->check()) return out;
    if (const auto matches = matches_of(views[i], filter)) {
      matches->widest().visit_while(0, [&](size_t row) {
        if (matches->check(row)) out.emplace_back(i, static_cast<uint32_t>(row));
        return !stopped_after(1);
      });
      continue;
    }
    for (uint32_t row = 0; row < views[i].visible; ++row) {
      if (stopped_after(1)) return out;
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
