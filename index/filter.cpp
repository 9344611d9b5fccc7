#include "index/filter.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <compare>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "index/filter_tree.h"
#include "index/json.h"
#include "index/metadata.h"

namespace jade {
namespace {

namespace json = boost::json;

using Value = FilterValue;

// Exact, where converting an integer to double would not be.
std::partial_ordering compare_integer(bool negative, uint64_t magnitude, double other) {
  if (std::isnan(other)) return std::partial_ordering::unordered;
  constexpr double two_64 = 18446744073709551616.0;
  if (other >= two_64) return std::partial_ordering::less;
  if (other <= -two_64) return std::partial_ordering::greater;
  double whole = std::trunc(other);
  bool other_negative = other < 0;
  if (negative != other_negative) {
    if (magnitude == 0 && other == 0) return std::partial_ordering::equivalent;
    return negative ? std::partial_ordering::less : std::partial_ordering::greater;
  }
  auto other_magnitude = static_cast<uint64_t>(std::fabs(whole));
  std::partial_ordering by_size = magnitude <=> other_magnitude;
  if (by_size == 0 && whole != other) by_size = std::partial_ordering::less;
  return negative ? 0 <=> by_size : by_size;
}

std::partial_ordering compare_numbers(const Value& a, const Value& b) {
  auto integer = [](const Value& v, bool* negative, uint64_t* magnitude) {
    if (const auto* i = std::get_if<int64_t>(&v)) {
      *negative = *i < 0;
      *magnitude = *negative ? uint64_t{0} - static_cast<uint64_t>(*i) : static_cast<uint64_t>(*i);
      return true;
    }
    if (const auto* u = std::get_if<uint64_t>(&v)) {
      *negative = false;
      *magnitude = *u;
      return true;
    }
    return false;
  };
  bool a_negative = false, b_negative = false;
  uint64_t a_magnitude = 0, b_magnitude = 0;
  bool a_integer = integer(a, &a_negative, &a_magnitude);
  bool b_integer = integer(b, &b_negative, &b_magnitude);
  if (a_integer && b_integer) {
    if (a_negative != b_negative) {
      return a_negative ? std::partial_ordering::less : std::partial_ordering::greater;
    }
    return a_negative ? b_magnitude <=> a_magnitude : a_magnitude <=> b_magnitude;
  }
  if (a_integer) return compare_integer(a_negative, a_magnitude, std::get<double>(b));
  if (b_integer) return 0 <=> compare_integer(b_negative, b_magnitude, std::get<double>(a));
  return std::get<double>(a) <=> std::get<double>(b);
}

// Whatever the order of fields, which does not change how long the text is.
bool equal_composites(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  return a == b || with_fields_sorted(a) == with_fields_sorted(b);
}

}  // namespace

std::partial_ordering compare(const Value& a, const Value& b) {
  if (is_number(a) && is_number(b)) return compare_numbers(a, b);
  if (const auto* moment = std::get_if<Timestamp>(&b)) {
    const auto* text = std::get_if<std::string>(&a);
    auto named = text != nullptr ? parse_timestamp(*text) : std::nullopt;
    if (!named) return std::partial_ordering::unordered;
    return *named <=> *moment;
  }
  if (a.index() != b.index()) return std::partial_ordering::unordered;
  if (const auto* text = std::get_if<std::string>(&a)) return *text <=> std::get<std::string>(b);
  bool equal = std::holds_alternative<std::monostate>(a) ||
               (std::holds_alternative<bool>(a) && std::get<bool>(a) == std::get<bool>(b)) ||
               (std::holds_alternative<Composite>(a) &&
                equal_composites(std::get<Composite>(a).text, std::get<Composite>(b).text));
  return equal ? std::partial_ordering::equivalent : std::partial_ordering::unordered;
}

std::string unquoted(std::string_view quoted) {
  if (quoted.size() < 2) return {};
  std::string_view inner = quoted.substr(1, quoted.size() - 2);
  if (inner.find('\\') == std::string_view::npos) return std::string(inner);
  boost::system::error_code error;
  json::value value = json::parse(quoted, error);
  return error || !value.is_string() ? std::string(inner) : std::string(value.get_string());
}

FilterValue read_filter_value(std::string_view text) {
  switch (text.empty() ? 'n' : text[0]) {
    case 'n': return std::monostate();
    case 't': return true;
    case 'f': return false;
    case '"': return unquoted(text);
    case '{':
    case '[': return Composite{std::string(text)};
  }
  const char* end = text.data() + text.size();
  int64_t integer = 0;
  if (auto [stop, error] = std::from_chars(text.data(), end, integer);
      error == std::errc() && stop == end) {
    return integer;
  }
  uint64_t natural = 0;
  if (auto [stop, error] = std::from_chars(text.data(), end, natural);
      error == std::errc() && stop == end) {
    return natural;
  }
  double number = 0;
  std::from_chars(text.data(), end, number);
  return number;
}

namespace {

constexpr std::string_view date_name = "$date";

// {"$date": ...}, as MongoDB writes moments in JSON.
bool is_date(const json::value& value) {
  const json::object* object = value.if_object();
  return object != nullptr && object->size() == 1 &&
         std::string_view(object->begin()->key()) == date_name;
}

Result<Value> to_timestamp(const json::value& value) {
  const json::value& date = value.get_object().begin()->value();
  if (!date.is_string()) return invalid_argument("$date must be a string");
  auto parsed = parse_timestamp(std::string_view(date.get_string()));
  if (parsed) return Value(*parsed);
  return invalid_argument("$date is " + json::serialize(date) +
                          "; it must be a date or a date-time of RFC 3339, such as "
                          "\"2024-01-31T12:30:00Z\"");
}

Result<Value> to_value(const json::value& value) {
  if (is_date(value)) return to_timestamp(value);
  switch (value.kind()) {
    case json::kind::null: return Value();
    case json::kind::bool_: return Value(value.get_bool());
    case json::kind::int64: return Value(value.get_int64());
    case json::kind::uint64: return Value(value.get_uint64());
    case json::kind::double_: return Value(value.get_double());
    case json::kind::string: return Value(std::string(value.get_string()));
    default: break;
  }
  // By way of an object, as that is what has a canonical form.
  auto object = canonical_metadata("{\"v\":" + json::serialize(value) + "}");
  if (!object.ok()) return object.status();
  return Value(Composite{std::string(*find_field(*object, "\"v\""))});
}

}  // namespace

bool Filter::Node::holds(const Value& value) const {
  if (kind == Kind::within) {
    const auto* object = std::get_if<Composite>(&value);
    auto point = object != nullptr ? read_geo_point(object->text) : std::nullopt;
    return point && area->contains(*point);
  }
  for (const Value& operand : operands) {
    std::partial_ordering order = compare(value, operand);
    bool result = false;
    switch (kind) {
      case Kind::greater: result = order > 0; break;
      case Kind::greater_equal: result = order >= 0; break;
      case Kind::less: result = order < 0; break;
      case Kind::less_equal: result = order <= 0; break;
      default: result = order == 0; break;
    }
    if (result) return true;
  }
  return false;
}

bool Filter::Node::matches_field(std::string_view metadata) const {
  if (kind == Kind::exists) {
    return any_field(metadata, field, [](std::string_view) { return true; }) == wanted;
  }
  return any_field(metadata, field, [this](std::string_view value) {
    if (holds(read_filter_value(value))) return true;
    if (!value.starts_with('[')) return false;
    for (size_t at = 1; at < value.size() && value[at] != ']';) {
      size_t end = skip_value(value, at);
      if (holds(read_filter_value(value.substr(at, end - at)))) return true;
      at = end + 1;
    }
    return false;
  });
}

bool Filter::Node::matches(std::string_view metadata) const {
  switch (kind) {
    case Kind::all:
      for (const Node& child : children) {
        if (!child.matches(metadata)) return false;
      }
      return true;
    case Kind::any:
      for (const Node& child : children) {
        if (child.matches(metadata)) return true;
      }
      return false;
    case Kind::none: return !children.front().matches(metadata);
    default: return matches_field(metadata);
  }
}

bool Filter::matches(std::string_view metadata) const { return root_->matches(metadata); }

namespace {

using Node = Filter::Node;
using Kind = Node::Kind;

// The place of a name that its object has already, like "filter.year.$gt". Read
// from the text (well-formed JSON), as a parsed object has only the last of them.
std::optional<std::string> repeated_name(std::string_view text) {
  struct Level {
    std::string place;
    bool object = false;
    std::set<std::string> names;  // of an object
    std::string name;             // the last one; empty before it
    bool wants_name = false;
    size_t element = 0;  // of an array
  };
  std::vector<Level> levels;
  for (size_t at = 0; at < text.size();) {
    char c = text[at];
    Level* level = levels.empty() ? nullptr : &levels.back();
    if (c == '"') {
      size_t end = skip_value(text, at);
      if (level != nullptr && std::exchange(level->wants_name, false)) {
        level->name = unquoted(text.substr(at, end - at));
        if (!level->names.insert(level->name).second) return level->place + "." + level->name;
      }
      at = end;
      continue;
    }
    ++at;
    if (c == '{' || c == '[') {
      Level inner;
      inner.place = level == nullptr ? "filter"
                    : level->object  ? level->place + "." + level->name
                                     : level->place + "[" + std::to_string(level->element) + "]";
      inner.object = inner.wants_name = c == '{';
      levels.push_back(std::move(inner));
    } else if (level != nullptr && (c == '}' || c == ']')) {
      levels.pop_back();
    } else if (level != nullptr && c == ',') {
      level->wants_name = level->object;
      ++level->element;
    }
  }
  return std::nullopt;
}

class Parser {
 public:
  explicit Parser(const FilterLimits& limits) : limits_(limits) {}

  Result<Node> document(const json::value& value, const std::string& place, size_t depth) {
    if (depth > limits_.depth) {
      return invalid_argument(place + " is nested deeper than " + std::to_string(limits_.depth) +
                              " levels");
    }
    const json::object* object = value.if_object();
    if (object == nullptr) return invalid_argument(place + " must be an object");
    Node all;
    for (const auto& field : *object) {
      std::string name(field.key());
      std::string where = place + "." + name;
      auto child = name[0] == '$' ? logical(name, field.value(), where, depth)
                                  : condition(name, field.value(), where, depth);
      if (!child.ok()) return child.status();
      all.children.push_back(std::move(*child));
    }
    return all;
  }

 private:
  Result<Node> logical(const std::string& name, const json::value& value, const std::string& place,
                       size_t depth) {
    if (name == "$not") {
      auto inner = document(value, place, depth + 1);
      if (!inner.ok()) return inner.status();
      return negate(std::move(*inner));
    }
    if (name != "$and" && name != "$or") {
      return invalid_argument(place + ": operator " + name +
                              " is not known here; use $and, $or or $not, or put it in a field's "
                              "condition");
    }
    const json::array* array = value.if_array();
    if (array == nullptr || array->empty()) {
      return invalid_argument(place + " must be a non-empty array of filters");
    }
    Node out;
    out.kind = name == "$and" ? Kind::all : Kind::any;
    for (size_t i = 0; i < array->size(); ++i) {
      auto child = document((*array)[i], place + "[" + std::to_string(i) + "]", depth + 1);
      if (!child.ok()) return child.status();
      out.children.push_back(std::move(*child));
    }
    return out;
  }

  Result<Node> condition(const std::string& field, const json::value& value,
                         const std::string& place, size_t depth) {
    if (field.empty()) return invalid_argument(place + ": a field name must not be empty");
    const json::object* object = value.if_object();
    bool operators = object != nullptr &&
                     std::any_of(object->begin(), object->end(),
                                 [](const auto& entry) { return entry.key().starts_with('$'); });
    if (object != nullptr && !operators) JADE_RETURN_IF_ERROR(check_no_operator(*object, place));
    if (!operators || is_date(value)) return comparison(field, Kind::equal, value, place);
    if (depth > limits_.depth) {
      return invalid_argument(place + " is nested deeper than " + std::to_string(limits_.depth) +
                              " levels");
    }
    Node all;
    for (const auto& entry : *object) {
      std::string name(entry.key());
      auto child = operation(field, name, entry.value(), place + "." + name, depth);
      if (!child.ok()) return child.status();
      all.children.push_back(std::move(*child));
    }
    return all;
  }

  // An object of such fields alone is compared with, as any other; but hardly ever meant.
  Status check_no_operator(const json::object& object, const std::string& place) const {
    static const std::set<std::string_view> names{"eq",  "ne", "gt",  "gte",    "lt",
                                                  "lte", "in", "nin", "exists", "not"};
    auto is_name = [](const auto& entry) { return names.count(entry.key()) > 0; };
    if (object.empty() || !std::all_of(object.begin(), object.end(), is_name)) return {};
    std::string name(object.begin()->key());
    return invalid_argument(place + "." + name + ": operators begin with $: use $" + name +
                            ", or $eq to compare with an object of that field");
  }

  Result<Node> operation(const std::string& field, const std::string& name,
                         const json::value& value, const std::string& place, size_t depth) {
    if (name == "$eq") return comparison(field, Kind::equal, value, place);
    if (name == "$ne") return negated(comparison(field, Kind::equal, value, place));
    if (name == "$gt") return ordered(field, Kind::greater, value, place);
    if (name == "$gte") return ordered(field, Kind::greater_equal, value, place);
    if (name == "$lt") return ordered(field, Kind::less, value, place);
    if (name == "$lte") return ordered(field, Kind::less_equal, value, place);
    if (name == "$in") return membership(field, value, place);
    if (name == "$nin") return negated(membership(field, value, place));
    if (name == "$exists") {
      if (!value.is_bool()) return invalid_argument(place + " must be true or false");
      auto node = compare_node(field, Kind::exists, {}, place);
      if (node.ok()) node->wanted = value.get_bool();
      return node;
    }
    if (name == "$not") {
      if (!value.is_object()) return invalid_argument(place + " must be an object of operators");
      return negated(condition(field, value, place, depth + 1));
    }
    if (name == "$geoRadius" || name == "$geoBox") return geo(field, name, value, place);
    if (name == date_name) {
      return invalid_argument(place +
                              " must stand alone in its object, or as the value of an "
                              "operator such as $gte");
    }
    return invalid_argument(place + ": operator " + name +
                            " is not known; use $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, "
                            "$exists, $geoRadius, $geoBox or $not");
  }

  Result<Node> ordered(const std::string& field, Kind kind, const json::value& value,
                       const std::string& place) {
    if (!value.is_number() && !value.is_string() && !is_date(value)) {
      return invalid_argument(place + " must be a number, a string or {\"$date\": ...}");
    }
    return comparison(field, kind, value, place);
  }

  Result<Node> comparison(const std::string& field, Kind kind, const json::value& value,
                          const std::string& place) {
    auto operand = to_value(value);
    if (!operand.ok()) return operand.status().with_context(place);
    return compare_node(field, kind, {std::move(*operand)}, place);
  }

  Result<Node> membership(const std::string& field, const json::value& value,
                          const std::string& place) {
    const json::array* array = value.if_array();
    if (array == nullptr) return invalid_argument(place + " must be an array");
    std::vector<Value> operands;
    for (const json::value& element : *array) {
      auto operand = to_value(element);
      if (!operand.ok()) return operand.status().with_context(place);
      operands.push_back(std::move(*operand));
    }
    return compare_node(field, Kind::in, std::move(operands), place);
  }

  Result<Node> geo(const std::string& field, const std::string& name, const json::value& value,
                   const std::string& place) {
    auto area = name == "$geoRadius" ? circle(value) : box(value);
    if (!area.ok()) return area.status().with_context(place);
    auto node = compare_node(field, Kind::within, {}, place);
    if (node.ok()) node->area = std::move(*area);
    return node;
  }

  static Result<GeoArea> circle(const json::value& value) {
    static constexpr std::string_view names[] = {"lat", "lon", "meters"};
    double numbers[3];
    JADE_RETURN_IF_ERROR(read_numbers(value, names, numbers));
    return GeoArea::circle({numbers[0], numbers[1]}, numbers[2]);
  }

  static Result<GeoArea> box(const json::value& value) {
    static constexpr std::string_view corners[] = {"top_left", "bottom_right"};
    static constexpr std::string_view names[] = {"lat", "lon"};
    JADE_RETURN_IF_ERROR(check_names(value, corners));
    double numbers[2][2];
    for (size_t i = 0; i < 2; ++i) {
      const json::value& corner = value.get_object().at(corners[i]);
      JADE_RETURN_IF_ERROR(
          read_numbers(corner, names, numbers[i]).with_context(std::string(corners[i])));
    }
    return GeoArea::box({numbers[0][0], numbers[0][1]}, {numbers[1][0], numbers[1][1]});
  }

  // It is an object with these fields and no others.
  static Status check_names(const json::value& value, std::span<const std::string_view> names) {
    const json::object* object = value.if_object();
    if (object == nullptr) return invalid_argument("must be an object");
    for (std::string_view name : names) {
      if (!object->contains(name)) return invalid_argument(std::string(name) + " is missing");
    }
    for (const auto& field : *object) {
      if (std::find(names.begin(), names.end(), std::string_view(field.key())) == names.end()) {
        return invalid_argument("field \"" + std::string(field.key()) + "\" is not known");
      }
    }
    return {};
  }

  static Status read_numbers(const json::value& value, std::span<const std::string_view> names,
                             double* out) {
    JADE_RETURN_IF_ERROR(check_names(value, names));
    for (std::string_view name : names) {
      const json::value& number = value.get_object().at(name);
      if (!number.is_number()) return invalid_argument(std::string(name) + " must be a number");
      *out++ = number.to_number<double>();
    }
    return {};
  }

  Result<Node> compare_node(const std::string& field, Kind kind, std::vector<Value> operands,
                            const std::string& place) {
    clauses_ += 1 + operands.size();
    if (clauses_ > limits_.clauses) {
      return invalid_argument(place + ": the filter has more than " +
                              std::to_string(limits_.clauses) + " clauses and values");
    }
    Node node;
    node.kind = kind;
    node.operands = std::move(operands);
    const std::string quoted = canonical_string(field);
    node.field = quoted.substr(1, quoted.size() - 2);
    return node;
  }

  static Node negate(Node inner) {
    Node out;
    out.kind = Kind::none;
    out.children.push_back(std::move(inner));
    return out;
  }

  static Result<Node> negated(Result<Node> inner) {
    if (!inner.ok()) return inner;
    return negate(std::move(*inner));
  }

  const FilterLimits& limits_;
  size_t clauses_ = 0;
};

}  // namespace

Result<Filter> parse_filter(std::string_view text, const FilterLimits& limits) {
  auto document = parse_json(text, 2 * limits.depth + 2, "not a JSON object");
  if (!document.ok()) return document.status();
  if (auto place = repeated_name(text)) {
    return invalid_argument(*place +
                            " is given more than once; put all conditions on a field into one "
                            "object, or use $and");
  }
  auto root = Parser(limits).document(*document, "filter", 1);
  if (!root.ok()) return root.status();
  Filter filter;
  filter.root_ = std::make_shared<const Filter::Node>(std::move(*root));
  return filter;
}

}  // namespace jade
