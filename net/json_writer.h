// Appends JSON to a string: what replies are built with.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "storage/vector_id.h"

namespace jade {

void append_uint(std::string& out, uint64_t value);
// Shortest digits that read back as the same float; null unless finite.
void append_float(std::string& out, float value);
void append_floats(std::string& out, std::span<const float> values);
void append_double(std::string& out, double value);
// Quoted and escaped. Bytes that are not ASCII are copied: the text must be UTF-8.
void append_string(std::string& out, std::string_view text);
// 42 or "abc".
void append_id(std::string& out, const VectorId& id);

// Writes "{", then ,"key": before each member, then "}".
class JsonObject {
 public:
  explicit JsonObject(std::string& out) : out_(out) { out_.push_back('{'); }
  // The caller appends the value next.
  std::string& key(std::string_view name);
  JsonObject& field(std::string_view name, std::string_view value);
  JsonObject& field(std::string_view name, uint64_t value);
  void close() { out_.push_back('}'); }

 private:
  std::string& out_;
  bool first_ = true;
};

// Appends [a,b,...] with `append(item)` for each.
template <class Items, class Append>
void append_array(std::string& out, const Items& items, Append append) {
  out.push_back('[');
  bool first = true;
  for (const auto& item : items) {
    if (!first) out.push_back(',');
    first = false;
    append(item);
  }
  out.push_back(']');
}

}  // namespace jade
