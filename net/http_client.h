// A small blocking HTTP/1.1 client for `jade import`, `jade bench` and tests.
//
// One client is one kept-alive connection and one request at a time: use several
// clients for several requests in flight. Not thread-safe; no TLS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "net/http_message.h"
#include "storage/status.h"

namespace jade {

struct HttpClientOptions {
  uint32_t connect_timeout_ms = 5'000;
  // From the first byte sent to the last byte received: a large import batch may
  // wait for the disk.
  uint32_t request_timeout_ms = 120'000;
  size_t response_bytes_max = size_t{1} << 30;
  // Whether a request is sent once more where the connection was closed before its answer. Not
  // for what must not be done twice: the server may have done it.
  bool send_again = true;
};

class HttpClient {
 public:
  // `url` is "http://host:port" ("http://" and a port of 8080 are the defaults;
  // "[::1]:8080" for IPv6); a path after it is an error. Fails with `unavailable`
  // when nobody listens there, `invalid_argument` when it is no such URL.
  static Result<std::unique_ptr<HttpClient>> connect(std::string_view url,
                                                     HttpClientOptions options = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Sends one request and waits for its response. A response of any status is a
  // value; see check_response(). When the server had closed the kept-alive
  // connection before the request, connects again and sends it once more (send_again).
  // `unavailable`: refused or broken; `deadline_exceeded`: timed out;
  // `corruption`: not HTTP; `too_large`: over response_bytes_max. After a failure
  // the next request connects anew. With an idempotency key, which is the header of that name, a
  // write that is sent again is carried out once.
  Result<HttpResponse> request(std::string_view method, std::string_view target,
                               std::string_view body = {},
                               std::string_view content_type = content_type_json,
                               std::string_view accept = content_type_json,
                               std::string_view idempotency_key = {});

 private:
  struct Impl;
  explicit HttpClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// ok for a 2xx response; else the failure that its JSON error body describes,
// with its code and message, or, without such a body (of a proxy), that its
// status stands for.
Status check_response(const HttpResponse& response);

}  // namespace jade
