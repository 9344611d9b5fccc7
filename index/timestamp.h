// Moments in metadata and filters, as text: RFC 3339, "Date and Time on the Internet:
// Timestamps", 2002.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace jade {

// Microseconds since 1970-01-01T00:00:00Z. Finer digits are dropped.
struct Timestamp {
  int64_t micros = 0;
  friend auto operator<=>(const Timestamp&, const Timestamp&) = default;
};

// "2024-01-31T12:30:00.5+01:00". The T may be a blank or small; without a zone it is UTC,
// and a date alone is its beginning. Second 60 is second 0 of the next minute, as in POSIX.
// Nothing where it is anything else, or no day of the calendar.
std::optional<Timestamp> parse_timestamp(std::string_view text);

}  // namespace jade
