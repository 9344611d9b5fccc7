#include "index/json.h"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <cmath>
#include <string>

namespace jade {
namespace {

namespace json = boost::json;

// Makes values of what a parser meets. Boost 1.81's own handler takes the parser's word for
// numbers, which is off by the last bit or two of many.
struct Handler {
  using Error = boost::system::error_code;
  static constexpr size_t max_object_size = json::object::max_size();
  static constexpr size_t max_array_size = json::array::max_size();
  static constexpr size_t max_key_size = json::string::max_size();
  static constexpr size_t max_string_size = json::string::max_size();

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) { return true; }
  bool on_object_end(size_t count, Error&) { return values.push_object(count), true; }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(size_t count, Error&) { return values.push_array(count), true; }
  bool on_key_part(json::string_view part, size_t, Error&) { return values.push_chars(part), true; }
  bool on_key(json::string_view rest, size_t, Error&) { return values.push_key(rest), true; }
  bool on_string_part(json::string_view part, size_t, Error&) {
    return values.push_chars(part), true;
  }
  bool on_string(json::string_view rest, size_t, Error&) { return values.push_string(rest), true; }
  bool on_number_part(json::string_view part, Error&) { return number.append(part), true; }
  bool on_int64(int64_t value, json::string_view, Error&) {
    number.clear();
    return values.push_int64(value), true;
  }
  bool on_uint64(uint64_t value, json::string_view, Error&) {
    number.clear();
    return values.push_uint64(value), true;
  }
  bool on_double(double near, json::string_view rest, Error& error) {
    number.append(rest);
    auto [end, failed] = std::from_chars(number.data(), number.data() + number.size(), near);
    if (failed == std::errc::result_out_of_range) {
      if (std::fabs(near) >= 1) return error = json::error::exponent_overflow, false;
      near = 0;
    }
    number.clear();
    return values.push_double(near), true;
  }
  bool on_bool(bool value, Error&) { return values.push_bool(value), true; }
  bool on_null(Error&) { return values.push_null(), true; }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }

  json::value_stack values;
  std::string number;  // what there is of one
};

}  // namespace

Result<json::value> parse_json(std::string_view text, size_t depth_max, const std::string& wrong) {
  json::parse_options options;
  options.max_depth = depth_max;
  json::basic_parser<Handler> parser(options);
  boost::system::error_code error;
  parser.handler().values.reset();
  size_t read = parser.write_some(false, text.data(), text.size(), error);
  if (!error && read < text.size()) error = json::error::extra_data;
  if (error == json::error::exponent_overflow) {
    return invalid_argument("the number at byte " + std::to_string(read) +
                            " is out of the range of a 64-bit float");
  }
  if (error) {
    return invalid_argument(wrong + ": " + error.message() + " at byte " + std::to_string(read));
  }
  return parser.handler().values.release();
}

}  // namespace jade
