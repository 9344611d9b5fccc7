// Conditions on metadata, in the notation of MongoDB, Pinecone and Chroma:
//
//   {"year": {"$gte": 2000}, "genre": {"$in": ["a", "b"]},
//    "$or": [{"lang": "en"}, {"lang": {"$exists": false}}], "$not": {"draft": true}}
//
// Fields are ANDed, and so are the operators of a field. A bare value means $eq.
// "a.b" is field b of object a, and a field whose name is a.b; where there are both, it is true
// when it is for one. Where a field holds an array, a comparison is
// true when it is for any element ($eq also when it is the whole array). Objects are equal
// whatever the order of their fields. $ne and
// $nin are the exact negations of $eq and $in, so they hold where the field is
// missing; so does $not. $gt, $gte, $lt and $lte compare numbers with numbers
// (exactly, whatever their kind) and strings with strings (bytewise); anything
// else does not match. {} matches everything. A name that is given twice in one
// object is an error, as all but the last would have no effect.
//
//   {"at": {"$gte": {"$date": "2024-01-31T00:00:00+01:00"}},
//    "place": {"$geoRadius": {"lat": 48.2, "lon": 16.37, "meters": 5000}}}
//
// {"$date": text} may stand for the value of a comparison. It compares with strings that
// name a moment (index/timestamp.h), by time; all other values do not match. $geoRadius
// and $geoBox ({"top_left": {"lat", "lon"}, "bottom_right": ...}) match objects with
// numbers "lat" and "lon" (index/geo.h).
#pragma once

#include <memory>
#include <string_view>

#include "storage/status.h"

namespace jade {

// How long a filter may be.
struct FilterLimits {
  size_t depth = 16;
  size_t clauses = 1024;  // and values
};
// Of one that was made of a client's by adding to it: a shard key, and groups that are known.
constexpr FilterLimits composed_filter{20, 2048};

class Filter {
 public:
  // `metadata`: canonical (index/metadata.h), or "" for none. Any thread.
  bool matches(std::string_view metadata) const;

  struct Node;  // index/filter_tree.h
  const Node& root() const { return *root_; }

 private:
  friend Result<Filter> parse_filter(std::string_view json, const FilterLimits& limits);
  std::shared_ptr<const Node> root_;
};

// invalid_argument names what is wrong, where, and what is allowed.
Result<Filter> parse_filter(std::string_view json, const FilterLimits& limits = {});

}  // namespace jade
