#include "index/timestamp.h"

#include <doctest/doctest.h>

#include <ctime>
#include <random>
#include <string>

namespace jade {
namespace {

std::optional<int64_t> micros(std::string_view text) {
  auto parsed = parse_timestamp(text);
  if (!parsed) return std::nullopt;
  return parsed->micros;
}

}  // namespace

TEST_CASE("Moments are read by RFC 3339") {
  // The examples of the RFC, section 5.8.
  CHECK(micros("1985-04-12T23:20:50.52Z") == 482196050520000);
  CHECK(micros("1996-12-19T16:39:57-08:00") == micros("1996-12-20T00:39:57Z"));
  CHECK(micros("1990-12-31T23:59:60Z") == micros("1991-01-01T00:00:00Z"));
  CHECK(micros("1990-12-31T15:59:60-08:00") == micros("1991-01-01T00:00:00Z"));
  CHECK(micros("1937-01-01T12:00:27.87+00:20") == micros("1937-01-01T11:40:27.87Z"));

  CHECK(micros("1970-01-01") == 0);
  CHECK(micros("1970-01-01t00:00:00z") == 0);
  CHECK(micros("1970-01-01 00:00:01") == 1000000);
  CHECK(micros("1969-12-31T23:59:59.999999Z") == -1);
  CHECK(micros("1970-01-01T00:00:00.0000019Z") == 1);
  CHECK(micros("0000-01-01T00:00:00Z") == -62167219200000000);
  CHECK(micros("9999-12-31T23:59:59Z") == 253402300799000000);
  CHECK(micros("2024-02-29") == 1709164800000000);
}

TEST_CASE("What is no moment is none") {
  for (const char* text : {"",
                           "2024",
                           "2024-01",
                           "2024-1-1",
                           "2024-13-01",
                           "2024-00-01",
                           "2024-01-00",
                           "2024-02-30",
                           "2023-02-29",
                           "1900-02-29",
                           "2024-01-01T",
                           "2024-01-01T12",
                           "2024-01-01T12:00",
                           "2024-01-01T24:00:00Z",
                           "2024-01-01T12:60:00Z",
                           "2024-01-01T12:00:61Z",
                           "2024-01-01T12:00:00.Z",
                           "2024-01-01T12:00:00+1:00",
                           "2024-01-01T12:00:00+24:00",
                           "2024-01-01T12:00:00+01:60",
                           "2024-01-01T12:00:00Z ",
                           " 2024-01-01",
                           "2024-01-01Z",
                           "2024/01/01",
                           "20240101",
                           "-2024-01-01",
                           "2024-01-01T12:00:00UTC",
                           "1704067200"}) {
    CAPTURE(text);
    CHECK(!micros(text));
  }
}

TEST_CASE("Days are those of the C library") {
  std::mt19937_64 random(4);
  for (int i = 0; i < 3000; ++i) {
    auto seconds = static_cast<std::time_t>(random() % 253402300800);
    std::tm parts{};
    REQUIRE(gmtime_r(&seconds, &parts) != nullptr);
    char text[40];
    REQUIRE(std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) > 0);
    CAPTURE(text);
    REQUIRE(micros(text) == int64_t{seconds} * 1000000);
  }
}

}  // namespace jade
