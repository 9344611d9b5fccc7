// Searches for the best groups: vectors with the same value of a metadata field.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "actors/api.h"

namespace jade {

Status check_grouping(const SearchRequest& search);

// Finds them by rounds of ordinary searches: first for vectors of groups that are not
// known yet, until there are enough, then for more vectors of those groups that have too
// few. Every round but the last finds a group, so that it ends. Not an actor: whoever
// uses it carries the searches out.
class Grouping {
 public:
  // `search`: checked, with group_by; of a database as `spec` says. `metric`: of its vectors.
  Grouping(SearchRequest search, const DatabaseSpec& spec, Metric metric);

  // What to search for next; nothing: it is over.
  std::vector<SearchRequest> next();
  // The answer to that has more than it may: next() asks for less at once. False where it cannot.
  bool narrow();
  // The answers to that, in the same order. invalid_argument where the field of a vector
  // is an array or an object, which no group can be told by; too_large where what was found has
  // more than an answer may.
  Status take(std::vector<SearchReply> replies);
  SearchReply finish();

 private:
  struct Group {
    SearchGroup found;
    bool complete = false;  // there are no more vectors of it, or they have been asked for
  };

  bool is_better(const SearchHit& a, const SearchHit& b) const;
  bool is_same(const SearchHit& a, const SearchHit& b) const;
  // In which hits of equal scores come, as searches have them: the key of its row.
  std::string order_of(const SearchHit& hit) const;
  Group* find(const std::string& value);
  Status add(SearchHit hit);
  size_t wanted() const { return size_t{search_.k} + search_.offset; }
  SearchRequest ask(uint32_t k, const std::vector<std::string>& conditions) const;

  SearchRequest search_;
  DatabaseSpec spec_;
  Metric metric_;
  std::string field_;  // in canonical form
  std::vector<Group> groups_;
  std::vector<size_t> filled_;  // groups that the round at hand asks for; empty: for new ones
  uint32_t asked_ = 0;          // vectors, of the round at hand
  uint32_t asked_max_ = Limits::k_max;
  size_t filled_max_ = Limits::groups_max;
  size_t bytes_ = 0;         // of what was found
  bool discovered_ = false;  // no more groups are needed, or there are none
  std::set<uint64_t> missing_shards_;
  uint32_t shards_searched_ = 0;  // of any round, the most
  uint32_t shards_ = 0;
  uint32_t round_ = 0;
  std::vector<ShardExplanation> explanation_;
};

}  // namespace jade
