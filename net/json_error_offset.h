// Where a text stops being JSON.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace jade {

// The first byte that cannot be part of a JSON value, or the length of a text that ends too early;
// nothing for one that is JSON. Reads it once more, by another parser than the one that answers
// requests, which does not tell.
std::optional<size_t> json_error_offset(std::string_view text);

}  // namespace jade
