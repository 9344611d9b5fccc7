// The search of a growing segment, whose rows have no graph: of those that are in lists
// (index/growing_lists.h) by these, of the others one by one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "index/segment_query.h"

namespace jade {

// As search_sealed(). `matches`: null without a filter, and where no row has its metadata in an
// index yet.
Status search_growing(const SegmentView& view, uint32_t position, double part,
                      const SearchOptions& options, std::span<QuerySearch> queries,
                      const Matches* matches, std::vector<SegmentExplanation>* explain);

}  // namespace jade
