#include "net/json_reader.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "index/metric.h"
#include "net/json_codec.h"
#include "net/json_error_offset.h"
#include "net/json_writer.h"

namespace jade {
namespace {

using simdjson::ondemand::json_type;

constexpr std::string_view not_json = "the body is not valid JSON";
constexpr size_t shared_parser_bytes_max = size_t{1} << 20;

std::string clip(std::string_view text) {
  constexpr size_t most = 40;
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  if (text.size() <= most) return std::string(text);
  return std::string(text.substr(0, most)) + "...";
}

// Of a key or literal that goes into a message and from there into JSON again.
std::string quote(std::string_view text) {
  std::string quoted(1, '"');
  quoted += clip(text);
  return quoted += '"';
}

std::string subject(const JsonPath& path) {
  std::string text = path.to_string();
  return text.empty() ? "the body" : text;
}

Status more_bytes(size_t offset) {
  return invalid_argument("the body has more bytes after its JSON object, from byte " +
                          std::to_string(offset) + " on, counted from 0");
}

// Brackets outside strings; the text is one balanced object already.
bool nested_too_deep(std::string_view json) {
  uint32_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > json_depth_max) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

simdjson::ondemand::parser& shared_parser() {
  thread_local simdjson::ondemand::parser parser(shared_parser_bytes_max);
  return parser;
}

Status out_of_range(const JsonPath& path, const std::string& found) {
  return invalid_argument(path.to_string() + " is " + found +
                          "; it must be a number within the range of a 32-bit float");
}

Status out_of_range(const JsonPath& path, double found) {
  std::string text;
  append_double(text, found);
  return out_of_range(path, text);
}

Status not_a_float(JsonValue& value, const JsonPath& path) {
  json_type type;
  if (value.type().get(type) || type != json_type::number) {
    return wrong_type(value, path, "a number");
  }
  std::string_view token = value.raw_json_token();
  double number = 0;
  auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), number);
  if (error == std::errc::result_out_of_range) return out_of_range(path, clip(token));
  return invalid_argument(path.to_string() + " is " + clip(token) + ", which is no number of JSON");
}

}  // namespace

std::string JsonPath::to_string() const {
  if (!parent) return {};
  std::string text = parent->to_string();
  if (name.empty()) return text + "[" + std::to_string(index) + "]";
  if (!text.empty()) text += '.';
  text += name;
  return text;
}

Status wrong_type(JsonValue& value, const JsonPath& path, std::string_view expected) {
  json_type type;
  if (auto error = value.type().get(type)) return malformed(error, path);
  std::string_view found = "null";
  switch (type) {
    case json_type::array: found = "an array"; break;
    case json_type::object: found = "an object"; break;
    case json_type::number: found = "a number"; break;
    case json_type::string: found = "a string"; break;
    case json_type::boolean: found = "true or false"; break;
    case json_type::null: break;
  }
  if (found == expected) return malformed(simdjson::TAPE_ERROR, path);
  return invalid_argument(subject(path) + " is " + std::string(found) + "; it must be " +
                          std::string(expected));
}

Status malformed(simdjson::error_code error, const JsonPath& path) {
  std::string where = path.to_string();
  return invalid_argument(std::string(not_json) + (where.empty() ? "" : " at " + where) + ": " +
                          simdjson::error_message(error));
}

Status unknown_field(std::string_view key, const JsonPath& path,
                     std::span<const std::string_view> fields) {
  std::string list;
  for (std::string_view field : fields) {
    if (!list.empty()) list += ", ";
    list += field;
  }
  return invalid_argument("unknown field " + quote(key) + " in " + subject(path) +
                          "; its fields are " + list);
}

Status repeated_field(std::string_view key, const JsonPath& path) {
  return invalid_argument(path.field(key).to_string() + " is given twice");
}

Status missing_field(std::string_view key, const JsonPath& path) {
  return invalid_argument(path.field(key).to_string() + " is missing");
}

Status read_string(JsonValue& value, const JsonPath& path, size_t bytes_max, std::string& out) {
  std::string_view text;
  if (auto error = value.get_string().get(text)) {
    if (error == simdjson::STRING_ERROR) return malformed(error, path);
    return wrong_type(value, path, "a string");
  }
  if (text.size() > bytes_max) {
    return Status(Code::too_large, path.to_string() + " is " + std::to_string(text.size()) +
                                       " bytes; at most " + std::to_string(bytes_max) +
                                       " are allowed");
  }
  out.assign(text);
  return {};
}

Status read_bool(JsonValue& value, const JsonPath& path, bool& out) {
  if (value.get_bool().get(out)) return wrong_type(value, path, "true or false");
  return {};
}

Status read_uint(JsonValue& value, const JsonPath& path, uint32_t& out, UintRange range) {
  uint64_t number = 0;
  bool failed = value.get_uint64().get(number) != simdjson::SUCCESS;
  if (!failed && number <= std::numeric_limits<uint32_t>::max()) {
    out = static_cast<uint32_t>(number);
    return {};
  }
  json_type type;
  if (failed && (value.type().get(type) || type != json_type::number)) {
    return wrong_type(value, path, "an integer");
  }
  std::string found = failed ? clip(value.raw_json_token()) : std::to_string(number);
  return invalid_argument(path.to_string() + " is " + found + "; it must be an integer from " +
                          std::to_string(range.least) + " to " + std::to_string(range.most));
}

Status read_float(JsonValue& value, const JsonPath& path, float& out) {
  double number = 0;
  if (value.get_double().get(number)) return not_a_float(value, path);
  out = static_cast<float>(number);
  return std::isfinite(out) ? Status() : out_of_range(path, number);
}

Status read_double(JsonValue& value, const JsonPath& path, double& out) {
  return value.get_double().get(out) ? not_a_float(value, path) : Status();
}

Status read_floats(JsonValue& value, const JsonPath& path, std::vector<float>& out) {
  out.clear();
  return read_array(value, path, [&](size_t i, JsonValue& item, const JsonPath& at) -> Status {
    if (i == dimension_max) {
      return Status(Code::too_large, path.to_string() + " has more than " +
                                         std::to_string(dimension_max) + " numbers");
    }
    double number = 0;
    if (item.get_double().get(number)) return not_a_float(item, at);
    auto rounded = static_cast<float>(number);
    if (!std::isfinite(rounded)) return out_of_range(at, number);
    out.push_back(rounded);
    return {};
  });
}

Status read_id(JsonValue& value, const JsonPath& path, VectorId& out) {
  constexpr std::string_view expected = "a string or an unsigned 64-bit integer";
  json_type type;
  if (auto error = value.type().get(type)) return malformed(error, path);
  if (type == json_type::string) {
    std::string text;
    JADE_RETURN_IF_ERROR(read_string(value, path, std::string::npos, text));
    out = VectorId(std::move(text));
    if (Status status = out.validate(); !status) return status.with_context(path.to_string());
    return {};
  }
  if (type != json_type::number) return wrong_type(value, path, expected);
  uint64_t number = 0;
  if (value.get_uint64().get(number)) {
    return invalid_argument(path.to_string() + " is " + clip(value.raw_json_token()) +
                            "; it must be " + std::string(expected));
  }
  out = VectorId(number);
  return {};
}

Status read_raw_object(JsonValue& value, const JsonPath& path, size_t bytes_max, std::string& out) {
  simdjson::ondemand::object object;
  if (value.get_object().get(object)) return wrong_type(value, path, "an object");
  std::string_view text;
  if (auto error = object.raw_json().get(text)) return malformed(error, path);
  while (!text.empty() && text.back() != '}') text.remove_suffix(1);
  if (text.size() > bytes_max) {
    return Status(Code::too_large, path.to_string() + " is " + std::to_string(text.size()) +
                                       " bytes of JSON; at most " + std::to_string(bytes_max) +
                                       " are allowed");
  }
  if (nested_too_deep(text)) {
    return invalid_argument(path.to_string() + " is nested deeper than " +
                            std::to_string(json_depth_max) + " levels");
  }
  out.assign(text);
  return {};
}

JsonDocument::JsonDocument(std::string& body)
    : body_(body), parser_(body.size() <= shared_parser_bytes_max ? &shared_parser() : &own_) {}

Status JsonDocument::open(simdjson::ondemand::object& object) {
  if (body_.capacity() < body_.size() + simdjson::SIMDJSON_PADDING) {
    body_.reserve(body_.size() + simdjson::SIMDJSON_PADDING);
  }
  simdjson::padded_string_view view(body_.data(), body_.size(), body_.capacity());
  if (auto error = parser_->iterate(view).get(document_)) return malformed(error, {});
  json_type type;
  if (auto error = document_.type().get(type)) return malformed(error, {});
  if (type != json_type::object) return invalid_argument("the body must be a JSON object");
  if (auto error = document_.get_object().get(object)) return malformed(error, {});
  return {};
}

Status JsonDocument::with_place(const Status& status) const {
  if (!status.message().starts_with(not_json)) return status;
  auto error = find_json_error(body_);
  if (!error) return status;
  if (error->after) return more_bytes(error->offset);
  return Status(status.code(),
                status.message() + " (byte " + std::to_string(error->offset) + ", counted from 0)");
}

Status JsonDocument::close() {
  if (document_.current_location().error() == simdjson::OUT_OF_BOUNDS) return {};
  auto error = find_json_error(body_);
  return more_bytes(error ? error->offset : body_.size());
}

Result<std::string> decode_json_string(std::string_view text) {
  simdjson::padded_string padded(text);
  simdjson::ondemand::document document;
  std::string_view string;
  if (shared_parser().iterate(padded).get(document) || document.get_string().get(string) ||
      document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
    return invalid_argument("not a JSON string");
  }
  return std::string(string);
}

}  // namespace jade
