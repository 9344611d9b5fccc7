// JSON as values.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "storage/status.h"

namespace jade {

// All of `text` as one value, of at most `depth_max` levels; numbers with a point or an exponent
// are the nearest there are. invalid_argument says what is wrong and at which byte: that `wrong`,
// as "not JSON", or that there is a number beyond those of 64-bit floats.
Result<boost::json::value> parse_json(std::string_view text, size_t depth_max,
                                      const std::string& wrong);

}  // namespace jade
