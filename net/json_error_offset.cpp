#include "net/json_error_offset.h"

#include <boost/json/basic_parser_impl.hpp>

namespace jade {
namespace {

// Keeps nothing of what is read.
struct Ignore {
  using error_code = boost::json::error_code;
  using string_view = boost::json::string_view;

  constexpr static std::size_t max_object_size = std::size_t(-1);
  constexpr static std::size_t max_array_size = std::size_t(-1);
  constexpr static std::size_t max_key_size = std::size_t(-1);
  constexpr static std::size_t max_string_size = std::size_t(-1);

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return true; }
  bool on_object_end(std::size_t, error_code&) { return true; }
  bool on_array_begin(error_code&) { return true; }
  bool on_array_end(std::size_t, error_code&) { return true; }
  bool on_key_part(string_view, std::size_t, error_code&) { return true; }
  bool on_key(string_view, std::size_t, error_code&) { return true; }
  bool on_string_part(string_view, std::size_t, error_code&) { return true; }
  bool on_string(string_view, std::size_t, error_code&) { return true; }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(std::int64_t, string_view, error_code&) { return true; }
  bool on_uint64(std::uint64_t, string_view, error_code&) { return true; }
  bool on_double(double, string_view, error_code&) { return true; }
  bool on_bool(bool, error_code&) { return true; }
  bool on_null(error_code&) { return true; }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }
};

}  // namespace

std::optional<JsonError> find_json_error(std::string_view text) {
  boost::json::basic_parser<Ignore> parser{boost::json::parse_options{}};
  boost::json::error_code error;
  size_t read = parser.write_some(false, text.data(), text.size(), error);
  if (error) return JsonError{error == boost::json::error::incomplete ? text.size() : read};
  const size_t rest = text.find_first_not_of(" \t\r\n", read);
  if (rest == std::string_view::npos) return std::nullopt;
  return JsonError{rest, true};
}

}  // namespace jade
