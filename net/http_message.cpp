#include "net/http_message.h"

#include <algorithm>

namespace jade {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

MediaType parse_media_type(std::string_view value) {
  value = value.substr(0, value.find(';'));
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  if (value.empty()) return MediaType::none;
  auto same = [](char a, char b) { return lower(a) == b; };
  auto equals = [&](std::string_view name) {
    return std::equal(value.begin(), value.end(), name.begin(), name.end(), same);
  };
  if (equals(content_type_json)) return MediaType::json;
  if (equals(content_type_binary)) return MediaType::binary;
  return MediaType::other;
}

}  // namespace jade
