// The parts of URLs that requests are made of (RFC 3986).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/status.h"
#include "storage/vector_id.h"

namespace jade {

// "%41+b" is "A+b", or "A b" with plus_is_space (as in a query). A stray % or a
// NUL is invalid_argument.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
// All but letters, digits and -._~ becomes %XX.
std::string percent_encode(std::string_view text);

// "a=1&b=2" as pairs in order; a name without "=" has the value "". One that is given twice is
// invalid_argument.
using Query = std::vector<std::pair<std::string, std::string>>;
Result<Query> parse_query(std::string_view query);

// An id in a path or query, decoded: digits that are an unsigned 64-bit integer
// without leading zeros mean that integer; text in double quotes is a JSON string
// and means that string ("\"42\"" is the string 42); all else means itself.
Result<VectorId> parse_id(std::string_view text);
// The form of parse_id() that is never ambiguous: 42 or "a\"b" with its quotes.
std::string format_id(const VectorId& id);

struct Endpoint {
  std::string host;
  std::string port;
};
// "http://host:port"; "http://" may be missing, the port is 8080 unless given.
Result<Endpoint> parse_endpoint(std::string_view url);

}  // namespace jade
