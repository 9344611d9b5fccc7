#include "index/metadata.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <unordered_map>
#include <vector>

#include "index/json.h"

namespace jade {
namespace {

namespace json = boost::json;

void write(std::string& out, const json::value& value);

void write_string(std::string& out, std::string_view text) {
  static constexpr char hex[] = "0123456789abcdef";
  out.push_back('"');
  for (char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out.push_back(hex[c >> 4]);
          out.push_back(hex[c & 15]);
        } else {
          out.push_back(c);
        }
    }
  }
  out.push_back('"');
}

template <class Number>
void write_number(std::string& out, Number number) {
  char text[40];
  auto [end, error] = std::to_chars(text, text + sizeof text, number);
  out.append(text, end);
}

void write_object(std::string& out, const json::object& object) {
  out.push_back('{');
  bool first = true;
  for (const auto& [name, value] : object) {
    if (!std::exchange(first, false)) out.push_back(',');
    write_string(out, name);
    out.push_back(':');
    write(out, value);
  }
  out.push_back('}');
}

void write(std::string& out, const json::value& value) {
  switch (value.kind()) {
    case json::kind::null: out += "null"; break;
    case json::kind::bool_: out += value.get_bool() ? "true" : "false"; break;
    case json::kind::int64: write_number(out, value.get_int64()); break;
    case json::kind::uint64: write_number(out, value.get_uint64()); break;
    case json::kind::double_: write_number(out, value.get_double() + 0.0); break;
    case json::kind::string: write_string(out, value.get_string()); break;
    case json::kind::object: write_object(out, value.get_object()); break;
    case json::kind::array: {
      out.push_back('[');
      bool first = true;
      for (const json::value& element : value.get_array()) {
        if (!std::exchange(first, false)) out.push_back(',');
        write(out, element);
      }
      out.push_back(']');
    }
  }
}

Result<json::value> parse_object(std::string_view text) {
  auto value =
      parse_json(text, metadata_depth_max,
                 "not a JSON object of at most " + std::to_string(metadata_depth_max) + " levels");
  if (!value.ok()) return value.status();
  if (!value->is_object()) return invalid_argument("must be a JSON object");
  return value;
}

size_t skip_string(std::string_view text, size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      return at + 1;
    }
  }
  return text.size();
}

// Calls on_field(name, value), both as text, for each field of a canonical object, until it
// returns false.
template <class OnField>
void each_field(std::string_view object, OnField on_field) {
  size_t at = 1;
  while (at < object.size() && object[at] == '"') {
    size_t name_end = skip_string(object, at);
    if (name_end >= object.size()) break;
    size_t value_end = skip_value(object, name_end + 1);
    std::string_view value = object.substr(name_end + 1, value_end - name_end - 1);
    if (!on_field(object.substr(at, name_end - at), value)) break;
    at = value_end + 1;
  }
}

}  // namespace

Result<std::string> canonical_metadata(std::string_view text) {
  auto value = parse_object(text);
  if (!value.ok()) return value.status();
  std::string out;
  out.reserve(text.size());
  write_object(out, value->get_object());
  return out;
}

Result<std::string> metadata_with_text(std::string_view metadata, std::string_view text) {
  std::string field = "\"text\":" + canonical_string(text);
  if (metadata.empty() || metadata == "{}") return canonical_metadata("{" + field + "}");
  if (find_field(metadata, "\"text\"")) return std::string(metadata);
  std::string with = std::string(metadata.substr(0, metadata.size() - 1)) + "," + field + "}";
  return canonical_metadata(with);
}

std::string merge_metadata(std::string_view metadata, std::string_view patch, bool keep_nulls) {
  struct Field {
    std::string_view name, value;
    bool patched;
  };
  std::vector<Field> fields;
  std::unordered_map<std::string_view, size_t> places;
  for (bool patched : {false, true}) {
    each_field(patched ? patch : metadata, [&](std::string_view name, std::string_view value) {
      auto [place, first] = places.try_emplace(name, fields.size());
      if (first) fields.push_back({name, {}, false});
      fields[place->second].value = value;
      fields[place->second].patched = patched;
      return true;
    });
  }
  std::string out;
  out.reserve(metadata.size() + patch.size());
  for (const Field& field : fields) {
    // One that was stored as null stays, unless it is named.
    if (field.patched && field.value == "null" && !keep_nulls) continue;
    out.append(out.empty() ? "{" : ",").append(field.name).append(":").append(field.value);
  }
  if (!out.empty()) return out + "}";
  return metadata.empty() ? "" : "{}";
}

std::string canonical_string(std::string_view text) {
  std::string out;
  write_string(out, text);
  return out;
}

size_t skip_value(std::string_view text, size_t at) {
  if (at >= text.size()) return text.size();
  if (text[at] == '"') return skip_string(text, at);
  if (text[at] == '{' || text[at] == '[') {
    size_t depth = 0;
    while (at < text.size()) {
      char c = text[at];
      if (c == '"') {
        at = skip_string(text, at);
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      ++at;
      if ((c == '}' || c == ']') && --depth == 0) return at;
    }
    return at;
  }
  while (at < text.size() && text[at] != ',' && text[at] != '}' && text[at] != ']') ++at;
  return at;
}

std::optional<std::string_view> reserved_name(std::string_view object) {
  std::optional<std::string_view> found;
  each_field(object, [&](std::string_view name, std::string_view) {
    if (name.starts_with("\"$")) found = name;
    return !found;
  });
  return found;
}

bool any_field(std::string_view object, std::string_view name,
               const std::function<bool(std::string_view)>& use) {
  bool used = false;
  const bool dotted = name.find('.') != std::string_view::npos;
  each_field(object, [&](std::string_view quoted, std::string_view value) {
    std::string_view field = quoted.substr(1, quoted.size() - 2);
    if (!name.starts_with(field)) return true;
    if (field.size() == name.size()) {
      used = use(value);
      return dotted && !used;
    }
    if (name[field.size()] == '.' && value.starts_with('{')) {
      used = any_field(value, name.substr(field.size() + 1), use);
    }
    return !used;
  });
  return used;
}

namespace {

void write_sorted(std::string& out, std::string_view value) {
  if (value.starts_with('{')) {
    std::vector<std::pair<std::string_view, std::string_view>> fields;
    each_field(value, [&](std::string_view name, std::string_view of_name) {
      fields.emplace_back(name, of_name);
      return true;
    });
    std::sort(fields.begin(), fields.end());
    out.push_back('{');
    for (const auto& [name, of_name] : fields) {
      if (name.data() != fields.front().first.data()) out.push_back(',');
      out.append(name).push_back(':');
      write_sorted(out, of_name);
    }
    out.push_back('}');
  } else if (value.starts_with('[')) {
    out.push_back('[');
    for (size_t at = 1; at < value.size() && value[at] != ']';) {
      size_t end = skip_value(value, at);
      if (at > 1) out.push_back(',');
      write_sorted(out, value.substr(at, end - at));
      at = end + 1;
    }
    out.push_back(']');
  } else {
    out += value;
  }
}

}  // namespace

std::string with_fields_sorted(std::string_view value) {
  std::string out;
  out.reserve(value.size());
  write_sorted(out, value);
  return out;
}

std::optional<std::string_view> find_field(std::string_view object, std::string_view name) {
  std::optional<std::string_view> found;
  each_field(object, [&](std::string_view field, std::string_view value) {
    if (field == name) found = value;
    return !found;
  });
  return found;
}

}  // namespace jade
