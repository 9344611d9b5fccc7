#include "net/json_writer.h"

#include <charconv>
#include <cmath>

namespace jade {
namespace {

template <class T>
void append_number(std::string& out, T value) {
  char buffer[32];
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  out.append(buffer, end);
}

void append_escape(std::string& out, unsigned char c) {
  static constexpr char digits[] = "0123456789abcdef";
  switch (c) {
    case '"': out += "\\\""; break;
    case '\\': out += "\\\\"; break;
    case '\n': out += "\\n"; break;
    case '\r': out += "\\r"; break;
    case '\t': out += "\\t"; break;
    default:
      out += "\\u00";
      out.push_back(digits[c >> 4]);
      out.push_back(digits[c & 15]);
  }
}

}  // namespace

void append_uint(std::string& out, uint64_t value) { append_number(out, value); }

void append_float(std::string& out, float value) {
  if (std::isfinite(value)) {
    append_number(out, value);
  } else {
    out += "null";
  }
}

void append_floats(std::string& out, std::span<const float> values) {
  append_array(out, values, [&](float value) { append_float(out, value); });
}

void append_double(std::string& out, double value) {
  if (std::isfinite(value)) {
    append_number(out, value);
  } else {
    out += "null";
  }
}

void append_string(std::string& out, std::string_view text) {
  out.push_back('"');
  size_t plain = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, plain, i - plain);
    append_escape(out, c);
    plain = i + 1;
  }
  out.append(text, plain);
  out.push_back('"');
}

void append_id(std::string& out, const VectorId& id) {
  if (id.is_integer()) {
    append_uint(out, id.integer());
  } else {
    append_string(out, id.text());
  }
}

std::string& JsonObject::key(std::string_view name) {
  if (!first_) out_.push_back(',');
  first_ = false;
  out_.push_back('"');
  out_.append(name);
  out_.append("\":");
  return out_;
}

JsonObject& JsonObject::field(std::string_view name, std::string_view value) {
  append_string(key(name), value);
  return *this;
}

JsonObject& JsonObject::field(std::string_view name, uint64_t value) {
  append_uint(key(name), value);
  return *this;
}

}  // namespace jade
