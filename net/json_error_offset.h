// Where a text stops being JSON.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace jade {

struct JsonError {
  size_t offset = 0;
  bool after = false;  // of what follows a value that is whole
};

// The first byte that cannot be part of a JSON value, or the length of a text that ends too early;
// nothing for one that is JSON. Reads it once more, by another parser than the one that answers
// requests, which does not tell.
std::optional<JsonError> find_json_error(std::string_view text);

}  // namespace jade
