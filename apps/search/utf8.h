// Just enough UTF-8 to print and to repair text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace jade {

// Length in bytes of the character at `pos`; 0 where the bytes are no UTF-8
// (surrogates and overlong forms included).
size_t utf8_length(std::string_view text, size_t pos);

// The text with each byte that is no UTF-8 replaced by U+FFFD.
std::string repaired_utf8(std::string_view text);

}  // namespace jade
