#include "net/http_connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <exception>

#include "net/json_writer.h"

namespace jade {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr size_t input_bytes_start = 4 * 1024;
constexpr size_t input_bytes_body = 128 * 1024;
// A refused body up to this long is read to its end, to keep the connection.
constexpr size_t skip_body_bytes_max = 64 * 1024;
// A body up to this long is sent in one piece with its head.
constexpr size_t join_body_bytes_max = 16 * 1024;
constexpr uint32_t drain_timeout_ms_max = 2'000;

std::string_view reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Unknown";
  }
}

void append_head(std::string& out, const HttpResponse& response, bool close) {
  out += "HTTP/1.1 ";
  append_uint(out, static_cast<uint64_t>(response.status));
  out += ' ';
  out += reason(response.status);
  out += "\r\nContent-Type: ";
  out += response.content_type;
  out += "\r\nContent-Length: ";
  append_uint(out, response.body.size());
  if (!response.allow.empty()) {
    out += "\r\nAllow: ";
    out += response.allow;
  }
  if (response.retry_after_s > 0) {
    out += "\r\nRetry-After: ";
    append_uint(out, response.retry_after_s);
  }
  if (close) out += "\r\nConnection: close";
  out += "\r\n\r\n";
}

}  // namespace

HttpConnection::HttpConnection(HttpLoop& loop, asio::ip::tcp::socket socket)
    : loop_(loop),
      shared_(loop.shared),
      socket_(std::move(socket)),
      parser_({loop.shared.options.header_bytes_max, loop.shared.options.body_bytes_max}) {}

HttpConnection::~HttpConnection() = default;

void HttpConnection::start() {
  shared_.metrics->connection_opened();
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  deadline_ = deadline(Clock::now(), shared_.options.idle_timeout_ms, 0);
  read_more();
}

// Parses and handles what has been read, until a request waits for its answer, a
// response for the socket, or the parser for more bytes.
void HttpConnection::process() {
  while (state_ == State::reading) {
    if (!request_.begun && !begin_request()) return read_more();
    if (input_begin_ == input_end_) return read_more();
    std::string_view bytes(input_.data() + input_begin_, input_end_ - input_begin_);
    size_t consumed = 0;
    auto event = parser_.feed(bytes, consumed);
    input_begin_ += consumed;
    if (event == HttpParser::Event::error) return on_parse_error();
    if (!request_.refusal && !count_body()) {
      request_.complete = event == HttpParser::Event::message;
      refuse(error_response(
          Status(Code::resource_exhausted, "too many bytes of requests are in flight; try again")));
      if (request_.complete && state_ == State::reading) handle_message();
      continue;
    }
    switch (event) {
      case HttpParser::Event::need_more: return on_need_more(consumed);
      case HttpParser::Event::header: on_header(); break;
      case HttpParser::Event::message: handle_message(); break;
      case HttpParser::Event::error: break;
    }
  }
}

// Skips the empty lines that RFC 9112 allows before a request; false when there is
// nothing else.
bool HttpConnection::begin_request() {
  while (input_begin_ < input_end_ &&
         (input_[input_begin_] == '\r' || input_[input_begin_] == '\n')) {
    ++input_begin_;
  }
  if (input_begin_ == input_end_) return false;
  request_.begun = true;
  deadline_ = deadline(Clock::now(), shared_.options.read_timeout_ms, 0);
  return true;
}

void HttpConnection::read_more() {
  size_t kept = input_end_ - input_begin_;
  if (kept > 0 && input_begin_ > 0) {
    std::memmove(input_.data(), input_.data() + input_begin_, kept);
  }
  input_begin_ = 0;
  input_end_ = kept;
  bool large_body = request_.header_done && parser_.content_length() > input_bytes_start;
  size_t wanted = large_body ? input_bytes_body : input_bytes_start;
  if (kept == input_.size()) wanted = std::max(wanted, 2 * kept);
  if (input_.size() < wanted) input_.resize(wanted);
  read_pending_ = true;
  socket_.async_read_some(
      asio::buffer(input_.data() + input_end_, input_.size() - input_end_),
      [self = shared_from_this()](error_code error, size_t n) { self->on_read(error, n); });
}

void HttpConnection::on_read(const error_code& error, size_t bytes) {
  read_pending_ = false;
  if (state_ == State::draining) {
    input_end_ = input_begin_ = 0;
    return error ? close() : read_more();
  }
  if (state_ != State::reading) return;
  if (error == asio::error::eof && request_.begun) {
    // A half-closed client can still read why it gets no answer.
    last_ = true;
    return send(
        error_response(invalid_argument("the connection ended in the middle of the request")));
  }
  if (error) return close();
  input_end_ += bytes;
  if (request_.header_done) {
    deadline_ = deadline(request_.body_start, shared_.options.read_timeout_ms,
                         parser_.body_bytes_received() + bytes);
  }
  process();
}

void HttpConnection::on_need_more(size_t consumed) {
  size_t kept = input_end_ - input_begin_;
  size_t most = shared_.options.header_bytes_max + input_bytes_body;
  if (consumed == 0 && kept >= most) {
    last_ = true;
    return send(error_response(invalid_argument("a line of a chunked body is too long")));
  }
  read_more();
}

void HttpConnection::on_header() {
  const HttpRequest& request = parser_.request();
  request_.header_done = true;
  request_.body_start = Clock::now();
  deadline_ = deadline(request_.body_start, shared_.options.read_timeout_ms, 0);
  auto matched = match_route(request.method, request.target);
  if (auto* refusal = std::get_if<HttpResponse>(&matched)) {
    refuse(std::move(*refusal));
  } else {
    request_.match = std::get<RouteMatch>(matched);
    Status status = Handlers::check_content_type(*request_.match.route, request);
    if (!status) {
      refuse(error_response(status, 415));
    } else if (!request_.match.route->has_body) {
      parser_.discard_body();
    }
  }
  if (state_ != State::reading) return;
  if (!parser_.has_body()) return handle_message();
  if (parser_.expects_continue() && input_begin_ == input_end_) {
    static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    error_code error;
    size_t sent = socket_.write_some(asio::buffer(go_on), error);
    if (error || sent != go_on.size()) close();
  }
}

void HttpConnection::on_parse_error() {
  last_ = true;
  const HttpParser::Error& error = parser_.error();
  Code code = error.status == 413 ? Code::too_large : Code::invalid_argument;
  send(error_response(Status(code, error.message), error.status));
}

// What has arrived is counted before more is read; false when it is too much.
bool HttpConnection::count_body() {
  if (request_.refusal || !request_.header_done) return true;
  size_t more = parser_.body_bytes_received() - request_.body_counted;
  if (more == 0) return true;
  size_t before = shared_.inflight_body_bytes.fetch_add(more);
  request_.body_counted += more;
  return before + more <= shared_.options.inflight_body_bytes_max;
}

// Answers without regard to the body, which is skipped when it is short.
void HttpConnection::refuse(HttpResponse response) {
  size_t left =
      parser_.content_length() - std::min(parser_.content_length(), parser_.body_bytes_received());
  bool known = parser_.content_length() > 0 || !parser_.has_body();
  release_body();
  parser_.discard_body();
  if (known && left <= skip_body_bytes_max && !(parser_.expects_continue() && left > 0)) {
    request_.refusal = std::make_unique<HttpResponse>(std::move(response));
    return;
  }
  last_ = true;
  send(std::move(response));
}

void HttpConnection::handle_message() {
  request_.complete = true;
  request_.counted = true;
  request_.handling_start = Clock::now();
  deadline_ = Clock::time_point::max();
  state_ = State::handling;
  shared_.metrics->request_started();
  if (request_.refusal) return send(std::move(*request_.refusal));
  if (parser_.request().body.size() > shared_.options.inline_body_bytes) {
    // The request stays here, untouched by this thread, until it is answered.
    asio::post(shared_.decoders, [self = shared_from_this(), respond = make_responder()]() mutable {
      self->run_handler(std::move(respond));
    });
    return;
  }
  in_handler_ = true;
  run_handler(make_responder());
  in_handler_ = false;
  if (ready_) {
    auto response = std::move(ready_);
    send(std::move(*response));
  }
}

Responder HttpConnection::make_responder() {
  return Responder([weak = weak_from_this(), gate = loop_.gate](HttpResponse response) {
    std::lock_guard lock(gate->mutex);
    if (!gate->io) return;
    // Only the loop's thread may hold the connection, lest it be destroyed elsewhere.
    if (gate->io->get_executor().running_in_this_thread()) {
      auto self = weak.lock();
      if (self && self->in_handler_) {
        self->ready_ = std::make_unique<HttpResponse>(std::move(response));
        return;
      }
    }
    asio::post(*gate->io, [weak, response = std::move(response)]() mutable {
      if (auto self = weak.lock()) self->deliver(std::move(response));
    });
  });
}

void HttpConnection::run_handler(Responder respond) {
  try {
    shared_.handlers.handle(request_.match, parser_.request(), respond);
  } catch (const std::bad_alloc&) {
    respond(error_response(Status(Code::resource_exhausted, "out of memory; try again")));
  } catch (const std::exception& error) {
    respond(error_response(internal_error(error.what())));
  }
}

void HttpConnection::deliver(HttpResponse response) {
  if (state_ != State::handling) return;
  send(std::move(response));
  process();
}

void HttpConnection::send(HttpResponse response) {
  // A stop may not have reached this loop yet.
  bool keep = !last_ && !shared_.stopping && request_.complete && parser_.keep_alive();
  last_ = !keep;
  finish_metrics(response.status, response.body.size());
  output_head_.clear();
  output_body_.clear();
  output_sent_ = 0;
  append_head(output_head_, response, last_);
  if (parser_.request().method != HttpMethod::head) {
    if (response.body.size() <= join_body_bytes_max) {
      output_head_ += response.body;
    } else {
      output_body_ = std::move(response.body);
    }
  }
  state_ = State::writing;
  deadline_ = deadline(Clock::now(), shared_.options.write_timeout_ms,
                       output_head_.size() + output_body_.size());
  write_some();
}

// Writes what the socket takes at once and waits only for the rest.
void HttpConnection::write_some() {
  for (;;) {
    size_t head = std::min(output_sent_, output_head_.size());
    size_t body = output_sent_ - head;
    if (head == output_head_.size() && body == output_body_.size()) return after_response();
    std::array<asio::const_buffer, 2> pieces = {asio::buffer(output_head_) + head,
                                                asio::buffer(output_body_) + body};
    error_code error;
    output_sent_ += socket_.write_some(pieces, error);
    if (error == asio::error::would_block) break;
    if (error) return close();
  }
  socket_.async_wait(asio::ip::tcp::socket::wait_write,
                     [self = shared_from_this()](error_code error) {
                       if (self->state_ != State::writing) return;
                       if (error) return self->close();
                       self->write_some();
                       self->process();
                     });
}

void HttpConnection::after_response() {
  release_body();
  output_body_ = {};
  if (last_) return begin_draining();
  parser_.reset();
  request_ = {};
  state_ = State::reading;
  deadline_ = deadline(Clock::now(), shared_.options.idle_timeout_ms, 0);
  if (shared_.stopping && input_begin_ == input_end_) close();
}

void HttpConnection::begin_draining() {
  error_code error;
  bool all_read = request_.complete && input_begin_ == input_end_ && socket_.available(error) == 0;
  if (all_read || error) return close();
  state_ = State::draining;
  deadline_ =
      deadline(Clock::now(), std::min(shared_.options.read_timeout_ms, drain_timeout_ms_max), 0);
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  input_begin_ = input_end_ = 0;
  if (!read_pending_) read_more();
}

void HttpConnection::on_late() {
  if (state_ != State::reading || !request_.begun) return close();
  last_ = true;
  send(error_response(Status(Code::deadline_exceeded, "the request took too long to arrive"), 408));
}

void HttpConnection::stop_after_request() {
  if (state_ == State::reading && !request_.begun) return close();
  last_ = true;
}

void HttpConnection::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  auto self = shared_from_this();
  error_code ignored;
  socket_.close(ignored);
  release_body();
  if (request_.counted) finish_metrics(499, 0);
  shared_.metrics->connection_closed();
  loop_.connections.erase(self);
  {
    std::lock_guard lock(shared_.mutex);
    --shared_.connections;
  }
  shared_.connection_closed.notify_all();
}

void HttpConnection::release_body() {
  shared_.inflight_body_bytes -= request_.body_counted;
  request_.body_counted = 0;
}

void HttpConnection::finish_metrics(int status, size_t bytes_out) {
  Clock::time_point now = Clock::now();
  if (!request_.counted) {
    shared_.metrics->request_started();
    request_.handling_start = now;
  }
  request_.counted = false;
  double seconds = std::chrono::duration<double>(now - request_.handling_start).count();
  size_t bytes_in = request_.header_done ? parser_.body_bytes_received() : 0;
  shared_.metrics->request_finished(request_.match.route, status, seconds, bytes_in, bytes_out);
}

HttpConnection::Clock::time_point HttpConnection::deadline(Clock::time_point start,
                                                           uint32_t timeout_ms,
                                                           size_t bytes) const {
  return start + std::chrono::milliseconds(timeout_ms +
                                           bytes * 1000 / shared_.options.rate_bytes_per_s_min);
}

}  // namespace jade
