// Metadata of a vector: a JSON object, kept as canonical text.
//
// Canonical: no white space, fields in the order given (of equal names the last
// wins, in the place of the first), strings with the shortest escapes, integers
// exact, other numbers as the shortest text that reads back the same. Filters
// read fields straight from it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "storage/status.h"

namespace jade {

constexpr size_t metadata_depth_max = 16;

// invalid_argument with the byte position where `json` is not an object, is
// malformed or nested deeper than metadata_depth_max.
Result<std::string> canonical_metadata(std::string_view json);

// `metadata` (canonical or "") with a field "text" added unless it has one.
Result<std::string> metadata_with_text(std::string_view metadata, std::string_view text);

// `metadata` (canonical or "") with the fields of `patch` (canonical) in the place of those of
// their names, or behind all; null takes a field away: RFC 7396, of the fields of the object
// itself. With `keep_nulls` they stay, so that merging the result is merging one after the
// other. "" where both are without fields and `metadata` is "".
std::string merge_metadata(std::string_view metadata, std::string_view patch,
                           bool keep_nulls = false);

// The text of a JSON string, quotes included, in canonical form.
std::string canonical_string(std::string_view text);

// The value of a top-level field of a canonical object, as text; `name` is a
// canonical string. "" is an object without fields.
std::optional<std::string_view> find_field(std::string_view object, std::string_view name);

// Calls use(value), as text, for the fields of a canonical object that "a.b" names: field a.b, and
// field b of an object a; until it returns true. Whether it did. `name`: as of a canonical string,
// without its quotes.
bool any_field(std::string_view object, std::string_view name,
               const std::function<bool(std::string_view)>& use);

// The name of the first field of a canonical object that begins with $, as operators of filters
// do, so that no filter could be by it; as text.
std::optional<std::string_view> reserved_name(std::string_view object);

// A canonical value with the fields of all its objects in the order of their names.
std::string with_fields_sorted(std::string_view value);

// Where the canonical value that begins at `at` ends.
size_t skip_value(std::string_view json, size_t at);

}  // namespace jade
