#include "apps/import/progress_line.h"

#include <doctest/doctest.h>

namespace jade {
namespace {

ImportProgress progress(uint64_t rows, double seconds, double acknowledged_seconds) {
  ImportProgress now;
  now.rows = now.rows_done = rows;
  now.bytes = 2'000'000;
  now.seconds = seconds;
  now.acknowledged_seconds = acknowledged_seconds;
  return now;
}

}  // namespace

TEST_CASE("how long an import will take is said while rows are acknowledged, and only then") {
  CHECK(progress_line(progress(50, 2, 2), 0, 200) ==
        "[#######.......................]  25%  50 of 200 rows  25 rows/s  1.0 MB/s  6 s left");
  CHECK(progress_line(progress(0, 2, 0), 0, 200) ==
        "[..............................]   0%  0 of 200 rows  0 rows/s  1.0 MB/s  "
        "nothing acknowledged yet");
  CHECK(progress_line(progress(50, 10, 2.5), 0, 200).ends_with("  nothing acknowledged for 7 s"));
  CHECK(progress_line(progress(50, 10, 5.5), 0, 200).ends_with("  30 s left"));
  CHECK(progress_line(progress(0, 0, 0), 0, 0).ends_with("  nothing acknowledged yet"));
}

TEST_CASE("an import that goes on counts what is left of the file, by the rate of this time") {
  ImportProgress now = progress(50, 2, 2);
  now.rows_done = 150;
  CHECK(progress_line(now, 100, 200) ==
        "[######################........]  75%  150 of 200 rows  25 rows/s  1.0 MB/s  2 s left");
}

TEST_CASE("of what has no known end there is no bar") {
  ImportProgress now = progress(50, 2, 2);
  now.missing = 3;
  now.bad_rows = 4;
  CHECK(progress_line(now, 0, std::nullopt) == "50 rows  25 rows/s  1.0 MB/s  3 missing  4 bad");
}

}  // namespace jade
