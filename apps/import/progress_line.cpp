#include "apps/import/progress_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace jade {
namespace {

// Without an acknowledgement for longer than a request usually lasts, no rate is to be relied on.
constexpr double stalled_after_seconds = 5;

std::string text_of(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", number);
  return text;
}

std::string time_left(const ImportProgress& now, double rate, uint64_t rows_left) {
  if (now.rows == 0) return "nothing acknowledged yet";
  double silent = now.seconds - now.acknowledged_seconds;
  if (silent >= stalled_after_seconds) {
    return "nothing acknowledged for " + text_of(std::floor(silent)) + " s";
  }
  return text_of(std::ceil(static_cast<double>(rows_left) / rate)) + " s left";
}

}  // namespace

std::string progress_line(const ImportProgress& now, uint64_t first_row,
                          std::optional<uint64_t> end_row) {
  double rate = now.seconds > 0 ? static_cast<double>(now.rows) / now.seconds : 0;
  double megabytes = now.seconds > 0 ? static_cast<double>(now.bytes) / now.seconds / 1e6 : 0;
  std::string line;
  char text[160];
  if (end_row) {
    double share =
        *end_row > 0 ? static_cast<double>(now.rows_done) / static_cast<double>(*end_row) : 1;
    share = std::min(share, 1.0);
    std::string bar(static_cast<size_t>(share * 30), '#');
    bar.resize(30, '.');
    std::snprintf(text, sizeof text, "[%s] %3.0f%%  %llu of %llu rows  %.0f rows/s  %.1f MB/s  ",
                  bar.c_str(), share * 100, static_cast<unsigned long long>(now.rows_done),
                  static_cast<unsigned long long>(*end_row), rate, megabytes);
    line = text;
    line += time_left(now, rate, *end_row - std::min(*end_row, first_row + now.rows));
  } else {
    std::snprintf(text, sizeof text, "%llu rows  %.0f rows/s  %.1f MB/s",
                  static_cast<unsigned long long>(now.rows), rate, megabytes);
    line = text;
  }
  if (now.missing > 0) line += "  " + std::to_string(now.missing) + " missing";
  if (now.bad_rows > 0) line += "  " + std::to_string(now.bad_rows) + " bad";
  return line;
}

}  // namespace jade
