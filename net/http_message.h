// One HTTP request and its response as plain values: what handlers see of HTTP.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace jade {

inline constexpr std::string_view content_type_json = "application/json";
// The binary body of docs/binary-protocol.md.
inline constexpr std::string_view content_type_binary = "application/vnd.jade.vectors";
inline constexpr std::string_view content_type_metrics = "text/plain; version=0.0.4; charset=utf-8";

enum class HttpMethod : uint8_t { get, post, patch, del, head, other };

enum class MediaType : uint8_t { none, json, binary, other };
// Of a Content-Type value; parameters such as charset are ignored.
MediaType parse_media_type(std::string_view value);

struct HttpRequest {
  HttpMethod method = HttpMethod::get;
  MediaType content_type = MediaType::none;
  bool accepts_binary = false;  // Accept names content_type_binary
  bool of_web_page = false;     // it has an Origin header, as browsers send
  std::string idempotency_key;  // of the Idempotency-Key header
  std::string target;           // path and query as sent, still percent-encoded
  std::string body;             // with capacity for 64 bytes more: the JSON reader's padding
};

struct HttpResponse {
  int status = 200;
  std::string content_type{content_type_json};
  std::string body;
  std::string allow;           // methods for 405, "" otherwise
  uint32_t retry_after_s = 0;  // 0: no such header

  bool ok() const { return status >= 200 && status < 300; }
};

}  // namespace jade
