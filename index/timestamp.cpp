#include "index/timestamp.h"

namespace jade {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes what is expected from the front of a text.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : left_(text) {}

  bool at_end() const { return left_.empty(); }
  bool take(char c) { return take_one_of({&c, 1}) != '\0'; }
  // Which of them it was; 0: none.
  char take_one_of(std::string_view chars) {
    if (left_.empty() || chars.find(left_.front()) == std::string_view::npos) return '\0';
    char c = left_.front();
    left_.remove_prefix(1);
    return c;
  }
  bool take_number(size_t digits, int64_t low, int64_t high, int64_t& out) {
    if (left_.size() < digits) return false;
    out = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (!is_digit(left_[i])) return false;
      out = 10 * out + (left_[i] - '0');
    }
    left_.remove_prefix(digits);
    return out >= low && out <= high;
  }
  // One digit or more after a point, as microseconds.
  bool take_fraction(int64_t& micros) {
    size_t digits = 0;
    micros = 0;
    for (int64_t unit = 100'000; !left_.empty() && is_digit(left_.front()); unit /= 10) {
      micros += unit * (left_.front() - '0');
      left_.remove_prefix(1);
      ++digits;
    }
    return digits > 0;
  }

 private:
  std::string_view left_;
};

bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

int64_t days_of_month(int64_t year, int64_t month) {
  constexpr int64_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

// Since 1970-01-01; of a year from 0. Hinnant, "chrono-compatible low-level date
// algorithms", 2013: years begin in March, so that a leap day is the last.
int64_t days_since_epoch(int64_t year, int64_t month, int64_t day) {
  if (month <= 2) --year;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t year_of_era = year - era * 400;
  int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}

}  // namespace

std::optional<Timestamp> parse_timestamp(std::string_view text) {
  Cursor cursor(text);
  int64_t year, month, day, hour = 0, minute = 0, second = 0, micros = 0, offset = 0;
  if (!cursor.take_number(4, 0, 9999, year) || !cursor.take('-') ||
      !cursor.take_number(2, 1, 12, month) || !cursor.take('-') ||
      !cursor.take_number(2, 1, days_of_month(year, month), day)) {
    return std::nullopt;
  }
  if (!cursor.at_end()) {
    if (cursor.take_one_of("Tt ") == '\0' || !cursor.take_number(2, 0, 23, hour) ||
        !cursor.take(':') || !cursor.take_number(2, 0, 59, minute) || !cursor.take(':') ||
        !cursor.take_number(2, 0, 60, second) ||
        (cursor.take('.') && !cursor.take_fraction(micros))) {
      return std::nullopt;
    }
    char zone = cursor.take_one_of("Zz+-");
    if (zone == '+' || zone == '-') {
      int64_t hours, minutes;
      if (!cursor.take_number(2, 0, 23, hours) || !cursor.take(':') ||
          !cursor.take_number(2, 0, 59, minutes)) {
        return std::nullopt;
      }
      offset = (hours * 60 + minutes) * (zone == '+' ? 1 : -1);
    }
    if (!cursor.at_end()) return std::nullopt;
  }
  int64_t minutes = (days_since_epoch(year, month, day) * 24 + hour) * 60 + minute - offset;
  return Timestamp{(minutes * 60 + second) * 1'000'000 + micros};
}

}  // namespace jade
