// The HTTP server of a node: REST v1 (docs/api.md) over an Api.
//
// Every thread runs its own event loop; a connection stays on the loop that it
// was given. Bodies over `inline_body_bytes` are decoded on a thread of their own,
// so that a bulk upload does not delay the searches of others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "actors/api.h"
#include "net/listen_socket.h"
#include "storage/status.h"

namespace boost::asio {
class io_context;
}

namespace jade {

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // an address or name of this machine; "0.0.0.0": all
  uint16_t port = 8080;            // 0: any free one, see port()
  unsigned threads = 1;            // event loops; one carries tens of thousands requests/s
  // The first of them, where it is run by somebody else, in one thread, until stop() has returned
  // (Node::loop()). Null: all have threads of their own.
  boost::asio::io_context* loop = nullptr;
  size_t body_bytes_max = size_t{64} << 20;
  size_t header_bytes_max = size_t{16} << 10;
  // Bytes of bodies being received or handled, over all connections; beyond it a
  // request is answered 429 with Retry-After.
  size_t inflight_body_bytes_max = size_t{256} << 20;
  size_t inline_body_bytes = size_t{64} << 10;
  // Connections open at a time; one more is answered 503 and closed.
  unsigned connections_max = 4096;
  // Between two requests of a connection.
  uint32_t idle_timeout_ms = 75'000;
  // For a whole request header; and for a body, or an answer being sent, this plus
  // the time its bytes take at rate_bytes_per_s_min. Slower clients are cut off.
  uint32_t read_timeout_ms = 10'000;
  uint32_t write_timeout_ms = 10'000;
  uint32_t rate_bytes_per_s_min = 64u << 10;
  // Whether clients are answered. Otherwise all but the state of node and cluster is
  // refused with 503, for a load balancer to ask another node.
  bool gateway = true;
  // Unusual events (out of file descriptors, ...); from any thread, must not block.
  std::function<void(std::string_view message)> warn;

  // Names the option and the allowed range.
  Status validate() const;
};

class HttpServer {
 public:
  // Listens when it returns. `api` must outlive the server and every callback
  // given to it. Fails with `already_exists` when the port is taken, with
  // `invalid_argument` when the host is not one of this machine.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, Api& api);
  // On an address that was taken before; those of the options are not looked at.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, ListenSocket socket,
                                                   Api& api);

  // Stops at once if stop() was not called.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;

  // Stops accepting, closes idle connections, gives requests in flight up to
  // `grace_ms` to be answered, then cuts off the rest. Blocks; from any thread but
  // a callback's. Once only.
  void stop(uint32_t grace_ms);

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace jade
