// Incremental parser of HTTP/1.1 requests (RFC 9112), over Beast's grammar but
// writing straight into an HttpRequest.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "net/http_message.h"

namespace jade {

class HttpParser {
 public:
  struct Limits {
    size_t header_bytes = 0;
    size_t body_bytes = 0;
  };
  enum class Event {
    need_more,  // all complete elements were consumed: read more bytes
    header,     // the header is complete; a body may follow
    message,    // the request is complete
    error,      // the bytes are no request: see error(); nothing more can be parsed
  };
  struct Error {
    int status = 400;
    std::string message;
  };

  explicit HttpParser(Limits limits);
  ~HttpParser();

  // Parses up to the next event and sets `consumed`; bytes beyond stay the
  // caller's. After need_more, call again with the rest and more behind it.
  Event feed(std::string_view bytes, size_t& consumed);
  // Makes ready for the next request of the connection.
  void reset();
  // From now on the bytes of the body are counted but not kept.
  void discard_body();

  HttpRequest& request();
  bool keep_alive() const;  // never after HTTP/1.0; valid after header
  bool expects_continue() const;
  bool has_body() const;  // announced; valid after header
  // Of the Content-Length header; 0 when chunked or absent.
  size_t content_length() const;
  size_t body_bytes_received() const;
  const Error& error() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace jade
