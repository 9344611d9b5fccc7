#include "actors/token.h"

#include <charconv>

namespace jade {

std::string encode_token(const AppliedIndexes& indexes) {
  std::string out;
  for (auto [group, index] : indexes) {
    if (!out.empty()) out += ',';
    out += std::to_string(group) + ':' + std::to_string(index);
  }
  return out;
}

Result<AppliedIndexes> decode_token(std::string_view token) {
  AppliedIndexes out;
  const char* at = token.data();
  const char* end = at + token.size();
  auto number = [&](uint64_t& value) {
    auto [next, error] = std::from_chars(at, end, value);
    at = next;
    return error == std::errc();
  };
  while (at != end) {
    uint64_t group = 0, index = 0;
    bool good = number(group) && at != end && *at++ == ':' && number(index) &&
                (at == end || (*at++ == ',' && at != end));
    if (!good) return invalid_argument("token is not one that a write returned");
    out[group] = index;
  }
  return out;
}

}  // namespace jade
