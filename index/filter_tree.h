// A filter as it was parsed: what index/filter.h means, for those who evaluate it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "index/filter.h"
#include "index/geo.h"
#include "index/timestamp.h"

namespace jade {

// A scalar, or the canonical text of an array or object; monostate is null. A Timestamp is
// only an operand: what metadata says is a string until it is compared with one.
struct Composite {
  std::string text;
};
using FilterValue = std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string,
                                 Composite, Timestamp>;

inline bool is_number(const FilterValue& value) { return value.index() >= 2 && value.index() <= 4; }

// unordered: of different kinds, or without an order. Numbers compare exactly; strings
// with a Timestamp, `b`, by the moment that they name.
std::partial_ordering compare(const FilterValue& a, const FilterValue& b);

// Of a canonical value.
FilterValue read_filter_value(std::string_view text);
// What a canonical string, quotes included, says.
std::string unquoted(std::string_view canonical);

struct Filter::Node {
  enum class Kind {
    all,
    any,
    none,
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    in,
    exists,
    within
  };
  Kind kind = Kind::all;
  std::vector<Node> children;  // all, any, none (one)
  std::string field;           // as in any_field(): index/metadata.h
  std::vector<FilterValue> operands;
  bool wanted = true;           // exists
  std::optional<GeoArea> area;  // within

  bool matches(std::string_view metadata) const;
  bool matches_field(std::string_view metadata) const;
  bool holds(const FilterValue& value) const;
};

}  // namespace jade
