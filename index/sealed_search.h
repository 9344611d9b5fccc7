// The search of a sealed segment: by its graph or its lists, or of all rows that match.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "index/segment_query.h"

namespace jade {

// Adds what it has to what was found. `position`: in the views; `part`: of the rows of all
// segments, the share that is in this one; `matches`: null without a filter. `explain`: gets what
// was done for each of the queries that was begun; null: nobody asks. Fails where a vector cannot
// be read. Where it was to stop, what was found is no answer.
Status search_sealed(const SegmentView& view, uint32_t position, double part,
                     const SearchOptions& options, std::span<QuerySearch> queries,
                     const Matches* matches, std::vector<SegmentExplanation>* explain);

}  // namespace jade
