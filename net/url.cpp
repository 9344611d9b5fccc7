#include "net/url.h"

#include <algorithm>
#include <charconv>

#include "net/json_codec.h"
#include "net/json_writer.h"

namespace jade {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

bool is_port(std::string_view text) {
  uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port != 0;
}

}  // namespace

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
      if (low < 0) {
        return invalid_argument("the URL has a % at character " + std::to_string(i) + " of \"" +
                                std::string(text.substr(0, 64)) +
                                "\" that two hexadecimal digits must follow");
      }
      c = static_cast<char>(high * 16 + low);
      if (c == '\0') return invalid_argument("the URL has a %00; NUL is not allowed");
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    out.push_back(c);
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    if (is_unreserved(c)) {
      out.push_back(c);
    } else {
      auto byte = static_cast<unsigned char>(c);
      out.push_back('%');
      out.push_back(digits[byte >> 4]);
      out.push_back(digits[byte & 15]);
    }
  }
  return out;
}

Result<Query> parse_query(std::string_view query) {
  Query pairs;
  while (!query.empty()) {
    size_t end = query.find('&');
    std::string_view pair = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    if (pair.empty()) continue;
    size_t equals = pair.find('=');
    auto name = percent_decode(pair.substr(0, equals), true);
    if (!name) return name.status();
    std::string_view raw = equals == std::string_view::npos ? "" : pair.substr(equals + 1);
    auto value = percent_decode(raw, true);
    if (!value) return value.status();
    if (std::any_of(pairs.begin(), pairs.end(),
                    [&](const auto& other) { return other.first == *name; })) {
      return invalid_argument("query parameter \"" + *name + "\" is given twice");
    }
    pairs.emplace_back(*std::move(name), *std::move(value));
  }
  return pairs;
}

Result<VectorId> parse_id(std::string_view text) {
  if (!text.empty() && text.front() == '"') {
    auto string = decode_json_string(text);
    if (!string) {
      return invalid_argument("id " + std::string(text.substr(0, 64)) +
                              " starts with a quote but is not a JSON string");
    }
    VectorId id(*std::move(string));
    if (Status status = id.validate(); !status) return status;
    return id;
  }
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  bool whole = error == std::errc{} && end == text.data() + text.size();
  if (whole && (text.size() == 1 || text.front() != '0')) return VectorId(number);
  VectorId id{std::string(text)};
  if (Status status = id.validate(); !status) return status;
  return id;
}

std::string format_id(const VectorId& id) {
  std::string out;
  append_id(out, id);
  return out;
}

Result<Endpoint> parse_endpoint(std::string_view url) {
  auto fail = [&] {
    std::string text(url);
    return invalid_argument("the URL " + text + " is not of the form http://host:port");
  };
  std::string_view rest = url;
  if (rest.starts_with("http://")) rest.remove_prefix(7);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.empty() || rest.find_first_of("/?#@ ") != std::string_view::npos) return fail();
  std::string_view host = rest, port = "8080";
  size_t colon = rest.rfind(':');
  if (rest.front() == '[') {
    size_t close = rest.find(']');
    if (close == std::string_view::npos) return fail();
    host = rest.substr(1, close - 1);
    if (close + 1 < rest.size()) {
      if (rest[close + 1] != ':') return fail();
      port = rest.substr(close + 2);
    }
  } else if (colon != std::string_view::npos) {
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
  }
  if (host.empty() || !is_port(port)) return fail();
  return Endpoint{std::string(host), std::string(port)};
}

}  // namespace jade
