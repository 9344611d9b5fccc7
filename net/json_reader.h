// Reading JSON strictly, with errors that name the path of what is wrong. Over
// simdjson's On-Demand parser: a value is read once, in document order.
//
// Internal to the decoders: this header brings simdjson in.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/status.h"
#include "storage/vector_id.h"

namespace jade {

using JsonValue = simdjson::ondemand::value;

// A chain on the stack, made into text only for an error: vectors[3].values[17].
struct JsonPath {
  const JsonPath* parent = nullptr;
  std::string_view name;  // of a field, or empty for an element
  size_t index = 0;

  JsonPath field(std::string_view n) const { return {this, n, 0}; }
  JsonPath element(size_t i) const { return {this, {}, i}; }
  std::string to_string() const;  // "" for the whole body
};

// "vectors[3].id is a string; it must be <expected>", or that the JSON is broken.
Status wrong_type(JsonValue& value, const JsonPath& path, std::string_view expected);
Status malformed(simdjson::error_code error, const JsonPath& path);
Status unknown_field(std::string_view key, const JsonPath& path,
                     std::span<const std::string_view> fields);
Status repeated_field(std::string_view key, const JsonPath& path);
Status missing_field(std::string_view key, const JsonPath& path);

Status read_string(JsonValue& value, const JsonPath& path, size_t bytes_max, std::string& out);
Status read_bool(JsonValue& value, const JsonPath& path, bool& out);
// `range`: what the caller allows of it, for the message about what is no number from 0 to 2^32 -
// 1; whether one is in it is the caller's to check.
struct UintRange {
  uint32_t least = 0;
  uint32_t most = UINT32_MAX;
};
Status read_uint(JsonValue& value, const JsonPath& path, uint32_t& out, UintRange range);
Status read_float(JsonValue& value, const JsonPath& path, float& out);
Status read_double(JsonValue& value, const JsonPath& path, double& out);
// Replaces `out`; more than dimension_max numbers are an error.
Status read_floats(JsonValue& value, const JsonPath& path, std::vector<float>& out);
Status read_id(JsonValue& value, const JsonPath& path, VectorId& out);
// The text of an object, unread but for its nesting.
Status read_raw_object(JsonValue& value, const JsonPath& path, size_t bytes_max, std::string& out);

// Calls on_field(i, value, path) → Status for each member, where fields[i] is its
// name. At most 32 fields. Sets bit i of `seen` for each.
template <class OnField>
Status read_fields(simdjson::ondemand::object object, const JsonPath& path,
                   std::span<const std::string_view> fields, uint32_t& seen, OnField on_field) {
  for (auto member : object) {
    simdjson::ondemand::field field;
    if (auto error = std::move(member).get(field)) return malformed(error, path);
    std::string_view key;
    if (auto error = field.unescaped_key().get(key)) return malformed(error, path);
    size_t i = 0;
    while (i < fields.size() && fields[i] != key) ++i;
    if (i == fields.size()) return unknown_field(key, path, fields);
    if (seen & (1u << i)) return repeated_field(key, path);
    seen |= 1u << i;
    JADE_RETURN_IF_ERROR(on_field(i, field.value(), path.field(fields[i])));
  }
  return {};
}

template <class OnField>
Status read_object(JsonValue& value, const JsonPath& path, std::span<const std::string_view> fields,
                   uint32_t& seen, OnField on_field) {
  simdjson::ondemand::object object;
  if (value.get_object().get(object)) return wrong_type(value, path, "an object");
  return read_fields(object, path, fields, seen, on_field);
}

// Calls on_member(key, value, path) → Status for each member, whatever its name. The key
// lives as long as the document. The same one twice is not noticed.
template <class OnMember>
Status read_members(JsonValue& value, const JsonPath& path, OnMember on_member) {
  simdjson::ondemand::object object;
  if (value.get_object().get(object)) return wrong_type(value, path, "an object");
  for (auto member : object) {
    simdjson::ondemand::field field;
    if (auto error = std::move(member).get(field)) return malformed(error, path);
    std::string_view key;
    if (auto error = field.unescaped_key().get(key)) return malformed(error, path);
    JADE_RETURN_IF_ERROR(on_member(key, field.value(), path.field(key)));
  }
  return {};
}

// Calls on_element(i, value, path) → Status.
template <class OnElement>
Status read_array(JsonValue& value, const JsonPath& path, OnElement on_element) {
  simdjson::ondemand::array array;
  if (value.get_array().get(array)) return wrong_type(value, path, "an array");
  size_t i = 0;
  for (auto element : array) {
    JsonValue item;
    if (auto error = element.get(item)) return malformed(error, path);
    JADE_RETURN_IF_ERROR(on_element(i, item, path.element(i)));
    ++i;
  }
  return {};
}

// A parser with its document: small ones share the thread's parser, a large one
// has its own, whose memory ends with it.
class JsonDocument {
 public:
  explicit JsonDocument(std::string& body);
  // Reads the body as one object, and that nothing follows it.
  template <class OnField>
  Status read(std::span<const std::string_view> fields, uint32_t& seen, OnField on_field) {
    simdjson::ondemand::object object;
    Status status = open(object);
    if (status.ok()) status = read_fields(object, JsonPath{}, fields, seen, on_field);
    return status.ok() ? close() : with_place(status);
  }

 private:
  // Where the body stops being JSON, if that is the complaint.
  Status with_place(const Status& status) const;
  Status open(simdjson::ondemand::object& object);
  Status close();

  std::string& body_;
  simdjson::ondemand::parser own_;
  simdjson::ondemand::parser* parser_;
  simdjson::ondemand::document document_;
};

}  // namespace jade
