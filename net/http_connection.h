// One connection of the HTTP server: reads requests, has them handled one after
// the other, writes the responses in order.
//
// Internal to the server: this header brings Asio in.
//
//   reading ──message──► handling ──answer──► writing ──► reading (keep-alive)
//      │ error, early refusal                    │              or
//      └─────────────────────────────────────────┴──► draining ──► closed
//
// While a request is handled nothing more is read, so that a client that floods
// fills its own socket and nothing else. Draining takes what the peer still sends
// before the close, where it may: it would otherwise lose the response to a reset.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>

#include "net/handlers.h"
#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/metrics.h"

namespace jade {

class HttpConnection;

// What connections of all loops share.
struct HttpShared {
  HttpShared(HttpServerOptions o, Api& api)
      : options(std::move(o)), handlers(api, metrics, options.gateway) {}

  HttpServerOptions options;
  std::shared_ptr<Metrics> metrics = std::make_shared<Metrics>();
  Handlers handlers;
  std::atomic<size_t> inflight_body_bytes{0};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable connection_closed;
  unsigned connections = 0;              // guarded by the mutex
  boost::asio::thread_pool decoders{1};  // for large bodies
};

// The way into a loop for answers from other threads, which may outlive it.
struct HttpGate {
  std::mutex mutex;
  boost::asio::io_context* io = nullptr;  // null once closed
};

// One event loop's part: touched by its thread only, but for the gate.
struct HttpLoop {
  // `run_elsewhere`: null for a loop of its own.
  HttpLoop(HttpShared& s, boost::asio::io_context* run_elsewhere)
      : shared(s), io(run_elsewhere != nullptr ? *run_elsewhere : own.emplace(1)) {
    gate->io = &io;
  }

  HttpShared& shared;
  std::optional<boost::asio::io_context> own;
  boost::asio::io_context& io;
  std::shared_ptr<HttpGate> gate = std::make_shared<HttpGate>();
  std::unordered_set<std::shared_ptr<HttpConnection>> connections;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Clock = std::chrono::steady_clock;

  HttpConnection(HttpLoop& loop, boost::asio::ip::tcp::socket socket);
  ~HttpConnection();

  // All of the following on the loop's thread.
  void start();
  bool is_late(Clock::time_point now) const { return now >= deadline_; }
  // Acts on that: 408 in the middle of a request, else a close.
  void on_late();
  // Closes now when idle, else after the request in hand.
  void stop_after_request();
  void close();

 private:
  enum class State { reading, handling, writing, draining, closed };

  void process();
  void read_more();
  void on_read(const boost::system::error_code& error, size_t bytes);
  bool begin_request();
  void on_header();
  void on_need_more(size_t consumed);
  void on_parse_error();
  bool count_body();
  void refuse(HttpResponse response);
  void handle_message();
  Responder make_responder();
  void run_handler(Responder respond);
  void deliver(HttpResponse response);
  void send(HttpResponse response);
  void write_some();
  void after_response();
  void begin_draining();
  void release_body();
  void finish_metrics(int status, size_t bytes_out);
  // Now, plus the timeout, plus the time that `bytes` take at the lowest rate.
  Clock::time_point deadline(Clock::time_point start, uint32_t timeout_ms, size_t bytes) const;

  HttpLoop& loop_;
  HttpShared& shared_;
  boost::asio::ip::tcp::socket socket_;
  State state_ = State::reading;
  Clock::time_point deadline_;

  // Bytes read and not yet parsed: [input_begin_, input_end_) of input_.
  std::string input_;
  size_t input_begin_ = 0;
  size_t input_end_ = 0;
  bool read_pending_ = false;

  // The request in hand; all is reset after its response.
  struct Request {
    bool begun = false;  // its first byte has come
    bool header_done = false;
    bool complete = false;
    bool counted = false;  // as begun, in the metrics
    RouteMatch match;
    std::unique_ptr<HttpResponse> refusal;  // decided at the header, sent after the body
    Clock::time_point body_start;
    Clock::time_point handling_start;
    size_t body_counted = 0;  // of shared_.inflight_body_bytes
  };
  HttpParser parser_;
  Request request_;
  bool last_ = false;  // the connection closes after the response in hand

  bool in_handler_ = false;  // an answer given meanwhile goes to ready_
  std::unique_ptr<HttpResponse> ready_;
  std::string output_head_;
  std::string output_body_;
  size_t output_sent_ = 0;
};

}  // namespace jade
