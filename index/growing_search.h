// The search of a growing segment, whose rows have no graph: of those that are in lists
// (index/growing_lists.h) by these, of the others one by one.
#pragma once

#include <span>

#include "index/growing_lists.h"
#include "index/segment_query.h"

namespace jade {

class GrowingSearch : public SegmentQuery {
 public:
  using SegmentQuery::SegmentQuery;

  void run();

 private:
  struct LikelyRows;

  void probe_lists(const GrowingLists& lists, const CodedQuery& query);
  uint32_t lists_to_probe(uint32_t lists);
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
  bool matches(uint32_t row);

  uint32_t listed_ = 0;  // rows that are in lists
};

}  // namespace jade
