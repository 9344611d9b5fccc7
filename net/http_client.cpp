#include "net/http_client.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/json/parse.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>

#include "net/json_writer.h"
#include "net/url.h"

namespace jade {
namespace {

namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;

constexpr size_t input_bytes = 64 * 1024;

Status broken(const std::string& what, int error) {
  return unavailable(what + ": " + std::strerror(error));
}

// A non-blocking socket whose waits end at a deadline: one system call to send a
// request and, when the answer is quick, two to receive it.
class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() { ::close(descriptor_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  Status wait(short events, Clock::time_point deadline) {
    for (;;) {
      auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) return Status(Code::deadline_exceeded, "the server did not answer in time");
      pollfd poll{descriptor_, events, 0};
      int ready = ::poll(&poll, 1, static_cast<int>(left));
      if (ready > 0) return {};
      if (ready < 0 && errno != EINTR) return broken("waiting for the server", errno);
    }
  }

  Status connect(const addrinfo& address, Clock::time_point deadline) {
    if (::connect(descriptor_, address.ai_addr, address.ai_addrlen) == 0) return {};
    if (errno != EINPROGRESS) return broken("connecting", errno);
    JADE_RETURN_IF_ERROR(wait(POLLOUT, deadline));
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size);
    return error == 0 ? Status() : broken("connecting", error);
  }

  Status send(std::string_view head, std::string_view body, Clock::time_point deadline) {
    while (!head.empty() || !body.empty()) {
      iovec pieces[2] = {{const_cast<char*>(head.data()), head.size()},
                         {const_cast<char*>(body.data()), body.size()}};
      msghdr message{};
      message.msg_iov = pieces;
      message.msg_iovlen = 2;
      ssize_t sent = ::sendmsg(descriptor_, &message, MSG_NOSIGNAL);
      if (sent >= 0) {
        size_t of_head = std::min(static_cast<size_t>(sent), head.size());
        head.remove_prefix(of_head);
        body.remove_prefix(static_cast<size_t>(sent) - of_head);
      } else if (errno == EAGAIN) {
        JADE_RETURN_IF_ERROR(wait(POLLOUT, deadline));
      } else if (errno != EINTR) {
        return broken("sending the request", errno);
      }
    }
    return {};
  }

  // 0 bytes: the server closed.
  Result<size_t> receive(char* out, size_t size, Clock::time_point deadline) {
    for (;;) {
      ssize_t received = ::recv(descriptor_, out, size, 0);
      if (received >= 0) return static_cast<size_t>(received);
      if (errno == EAGAIN) {
        JADE_RETURN_IF_ERROR(wait(POLLIN, deadline));
      } else if (errno != EINTR) {
        return broken("receiving the response", errno);
      }
    }
  }

 private:
  int descriptor_;
};

using Parser = http::response_parser<http::string_body>;

HttpResponse to_response(Parser& parser) {
  auto& message = parser.get();
  HttpResponse response;
  response.status = static_cast<int>(message.result_int());
  auto text = [&](http::field field) {
    auto value = message[field];
    return std::string(value.data(), value.size());
  };
  response.content_type = text(http::field::content_type);
  response.allow = text(http::field::allow);
  std::string retry = text(http::field::retry_after);
  std::from_chars(retry.data(), retry.data() + retry.size(), response.retry_after_s);
  response.body = std::move(message.body());
  return response;
}

}  // namespace

struct HttpClient::Impl {
  Endpoint endpoint;
  HttpClientOptions options;
  std::optional<Socket> socket;
  std::string input = std::string(input_bytes, '\0');
  std::string head;

  Status open() {
    auto deadline = Clock::now() + std::chrono::milliseconds(options.connect_timeout_ms);
    std::string where = endpoint.host + ":" + endpoint.port;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    int error = ::getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &hints, &found);
    if (error != 0) return unavailable(where + ": " + ::gai_strerror(error));
    Status status = unavailable(where + ": no address");
    for (addrinfo* one = found; one && !status; one = one->ai_next) {
      int descriptor =
          ::socket(one->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, one->ai_protocol);
      if (descriptor < 0) {
        status = broken(where, errno);
        continue;
      }
      int on = 1;
      ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      socket.emplace(descriptor);
      status = socket->connect(*one, deadline).with_context(where);
    }
    ::freeaddrinfo(found);
    if (!status) socket.reset();
    return status;
  }

  void write_head(std::string_view method, std::string_view target, size_t body_bytes,
                  std::string_view content_type, std::string_view accept,
                  std::string_view idempotency_key) {
    head.clear();
    head.append(method).append(" ").append(target).append(" HTTP/1.1\r\nHost: ");
    head.append(endpoint.host).append(":").append(endpoint.port);
    head.append("\r\nAccept: ").append(accept);
    if (!idempotency_key.empty()) head.append("\r\nIdempotency-Key: ").append(idempotency_key);
    if (body_bytes > 0 || method == "POST") {
      head.append("\r\nContent-Type: ").append(content_type).append("\r\nContent-Length: ");
      append_uint(head, body_bytes);
    }
    head.append("\r\n\r\n");
  }

  // `answered`: a byte of the response had come when it failed.
  Result<HttpResponse> exchange(std::string_view body, bool is_head, bool& answered) {
    auto deadline = Clock::now() + std::chrono::milliseconds(options.request_timeout_ms);
    JADE_RETURN_IF_ERROR(socket->send(head, body, deadline));
    std::optional<Parser> parser;
    auto begin = [&] {
      parser.emplace();
      parser->eager(true);
      parser->skip(is_head);
      parser->body_limit(options.response_bytes_max);
    };
    begin();
    size_t kept = 0;
    for (;;) {
      if (kept == input.size()) return corruption("the response's header is too long");
      auto received = socket->receive(input.data() + kept, input.size() - kept, deadline);
      if (!received) return received.status();
      boost::system::error_code error;
      if (*received == 0) {
        if (answered) parser->put_eof(error);
        if (!answered || error || !parser->is_done()) {
          return unavailable("the server closed the connection before its answer");
        }
        socket.reset();
        return to_response(*parser);
      }
      answered = true;
      size_t size = kept + *received, used = 0;
      for (;;) {
        used += parser->put(boost::asio::buffer(input.data() + used, size - used), error);
        // 100 Continue and the like come before the response itself.
        if (error || !parser->is_done() || parser->get().result_int() >= 200) break;
        begin();
      }
      if (error == http::error::body_limit) {
        return Status(Code::too_large, "the response is longer than " +
                                           std::to_string(options.response_bytes_max) + " bytes");
      }
      if (error && error != http::error::need_more) {
        return corruption("the response is not HTTP/1.1: " + error.message());
      }
      kept = size - used;
      std::memmove(input.data(), input.data() + used, kept);
      if (!parser->is_done()) continue;
      if (!parser->keep_alive() || kept > 0) socket.reset();
      return to_response(*parser);
    }
  }
};

HttpClient::HttpClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::connect(std::string_view url,
                                                        HttpClientOptions options) {
  auto endpoint = parse_endpoint(url);
  if (!endpoint) return endpoint.status();
  auto impl = std::make_unique<Impl>();
  impl->endpoint = *std::move(endpoint);
  impl->options = options;
  JADE_RETURN_IF_ERROR(impl->open());
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(impl)));
}

Result<HttpResponse> HttpClient::request(std::string_view method, std::string_view target,
                                         std::string_view body, std::string_view content_type,
                                         std::string_view accept,
                                         std::string_view idempotency_key) {
  impl_->write_head(method, target, body.size(), content_type, accept, idempotency_key);
  bool reused = impl_->socket.has_value();
  if (!reused) JADE_RETURN_IF_ERROR(impl_->open());
  const bool send_again = reused && impl_->options.send_again;
  bool answered = false;
  auto response = impl_->exchange(body, method == "HEAD", answered);
  if (!response && send_again && !answered && response.status().code() == Code::unavailable) {
    JADE_RETURN_IF_ERROR(impl_->open());
    response = impl_->exchange(body, method == "HEAD", answered);
  }
  if (!response) impl_->socket.reset();
  return response;
}

Status check_response(const HttpResponse& response) {
  if (response.ok()) return {};
  std::string message = "HTTP status " + std::to_string(response.status);
  // What stands before a node answers without our body.
  Code code = Code::internal;
  if (response.status == 429) code = Code::resource_exhausted;
  if (response.status == 502 || response.status == 503) code = Code::unavailable;
  if (response.status == 504) code = Code::deadline_exceeded;
  boost::system::error_code error;
  auto json = boost::json::parse(response.body, error);
  if (error || !json.is_object()) return Status(code, message);
  auto* details = json.as_object().if_contains("error");
  if (!details || !details->is_object()) return Status(code, message);
  if (auto* text = details->as_object().if_contains("message"); text && text->is_string()) {
    message = std::string(text->as_string());
  }
  auto* name = details->as_object().if_contains("code");
  for (int i = 1; name && name->is_string() && i <= static_cast<int>(Code::internal); ++i) {
    if (name->as_string() == to_string(static_cast<Code>(i))) code = static_cast<Code>(i);
  }
  return Status(code, message);
}

}  // namespace jade
