// The search of rows that are in lists by codes (index/growing_lists.h): a part of those of growing
// and of sealed segments.
#pragma once

#include <cstdint>
#include <span>

#include "index/growing_lists.h"
#include "index/segment_query.h"

namespace jade {

class ListSearch : public SegmentQuery {
 public:
  using SegmentQuery::SegmentQuery;

 protected:
  // What a row of a list that is probed takes, in rows that are compared by values: measured with
  // 512 and 3,136 bytes.
  double probed_row_cost() const;
  // Finds the best of the rows in the `count` lists that are nearest, about. Where they are fewer
  // than there may be to find, or what is nearest seems to be left out, as it has to be looked for
  // on all its sides then: in all lists if it `widens`, else nothing, and returns false.
  bool search_lists(const GrowingLists& lists, const CodedQuery& query, uint32_t count,
                    bool widens);
  // The share of rows that live and match. Never 0.
  double share() const {
    return std::max(0.5, static_cast<double>(done_.matching)) / view_.visible;
  }

  uint32_t listed_ = 0;  // rows that are in lists: the first ones

 private:
  struct LikelyRows;

  // Collects the best of these lists by their codes: of those that may be by their estimates. False
  // as search_lists().
  bool probe(std::span<const GrowingLists::NearList> lists, const CodedQuery& query, float error,
             WalkMemory& memory);
  // And of these the best by their values.
  void rescore(float error, std::span<const GrowingLists::NearList> lists,
               const WalkMemory& memory);
  void find_likely(const GrowingLists::NearList& near, const CodedQuery& query, float limit,
                   LikelyRows& out);
  // Returns the limit from then on.
  float collect_likely(const LikelyRows& likely, const CodedQuery& query, float error, float limit,
                       Beam& beam);
  Candidate compare(uint32_t row);
  // Whether a row is in lists and may be found, as far as is known without its metadata.
  bool may_match(uint32_t row) const {
    if (row >= listed_) return false;
    return matches_ != nullptr ? matches_->widest().test(row) : is_there(row);
  }

  // Of a sample of the rows in the lists that were probed: how many, and how many of them match.
  uint64_t looked_ = 0;
  uint64_t met_ = 0;
};

}  // namespace jade
