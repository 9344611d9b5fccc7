#include "net/http_server.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <future>
#include <thread>

#include "net/http_connection.h"
#include "net/listen_socket_impl.h"

namespace jade {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Clock = HttpConnection::Clock;

constexpr std::string_view refused_response =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 83\r\n"
    "Retry-After: 1\r\nConnection: close\r\n\r\n"
    R"({"error":{"code":"unavailable","message":"too many connections are open; retry"}}  )";
constexpr auto accept_pause = std::chrono::milliseconds(100);
constexpr auto accept_warn_pause = std::chrono::minutes(1);

}  // namespace

Status HttpServerOptions::validate() const {
  auto at_least = [](const char* name, uint64_t value, uint64_t least) {
    if (value >= least) return Status();
    return invalid_argument(std::string(name) + " is " + std::to_string(value) +
                            "; it must be at least " + std::to_string(least));
  };
  JADE_RETURN_IF_ERROR(at_least("threads", threads, 1));
  if (threads > 64) return invalid_argument("threads must be 1 to 64");
  JADE_RETURN_IF_ERROR(at_least("body_bytes_max", body_bytes_max, 1024));
  JADE_RETURN_IF_ERROR(at_least("header_bytes_max", header_bytes_max, 512));
  if (header_bytes_max > (size_t{1} << 20)) {
    return invalid_argument("header_bytes_max must be at most 1048576");
  }
  JADE_RETURN_IF_ERROR(
      at_least("inflight_body_bytes_max", inflight_body_bytes_max, body_bytes_max));
  JADE_RETURN_IF_ERROR(at_least("connections_max", connections_max, 1));
  JADE_RETURN_IF_ERROR(at_least("idle_timeout_ms", idle_timeout_ms, 1));
  JADE_RETURN_IF_ERROR(at_least("read_timeout_ms", read_timeout_ms, 1));
  JADE_RETURN_IF_ERROR(at_least("write_timeout_ms", write_timeout_ms, 1));
  return at_least("rate_bytes_per_s_min", rate_bytes_per_s_min, 1);
}

struct HttpServer::Impl {
  Impl(HttpServerOptions options, Api& api) : shared(std::move(options), api) {
    for (unsigned i = 0; i < shared.options.threads; ++i) {
      loops.push_back(std::make_unique<HttpLoop>(shared, i == 0 ? shared.options.loop : nullptr));
      timers.push_back(std::make_unique<asio::steady_timer>(loops.back()->io));
      if (loops.back()->own) guards.emplace_back(loops.back()->io.get_executor());
    }
  }

  ~Impl() { stop(0); }

  Status start(ListenSocket::Impl& socket) {
    JADE_RETURN_IF_ERROR(socket.listen(acceptor()));
    port = socket.endpoint.port();
    started = true;
    asio::post(loops[0]->io, [this] { accept(); });
    for (size_t i = 0; i < loops.size(); ++i) {
      sweep_later(i);
      if (loops[i]->own) threads.emplace_back([this, i] { loops[i]->io.run(); });
    }
    return {};
  }

  tcp::acceptor& acceptor() {
    if (!acceptor_) acceptor_.emplace(loops[0]->io);
    return *acceptor_;
  }

  // On the thread of loop 0; connections go to the loops in turn.
  void accept() {
    HttpLoop& loop = *loops[next_loop++ % loops.size()];
    acceptor().async_accept(loop.io, [this, &loop](error_code error, tcp::socket socket) {
      if (shared.stopping || error == asio::error::operation_aborted) return;
      if (error) return pause_accepting(error);
      place(loop, std::move(socket));
      accept();
    });
  }

  // Out of descriptors or memory: what is open shall end first.
  void pause_accepting(const error_code& error) {
    const Clock::time_point now = Clock::now();
    if (shared.options.warn && now >= warn_from) {
      warn_from = now + accept_warn_pause;
      shared.options.warn("cannot accept a connection: " + error.message());
    }
    accept_timer.emplace(loops[0]->io, accept_pause);
    accept_timer->async_wait([this](error_code cancelled) {
      if (!cancelled && !shared.stopping) accept();
    });
  }

  void place(HttpLoop& loop, tcp::socket socket) {
    {
      std::lock_guard lock(shared.mutex);
      if (shared.connections >= shared.options.connections_max) return refuse(socket);
      ++shared.connections;
    }
    asio::post(loop.io, [&loop, socket = std::move(socket)]() mutable {
      auto connection = std::make_shared<HttpConnection>(loop, std::move(socket));
      loop.connections.insert(connection);
      connection->start();
      if (loop.shared.stopping) connection->close();
    });
  }

  void refuse(tcp::socket& socket) {
    shared.metrics->connection_refused();
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(refused_response), ignored);
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  // Looks at all deadlines of a loop now and then: cheaper than a timer for each
  // connection, and late by a quarter of the shortest timeout at most.
  void sweep_later(size_t i) {
    const HttpServerOptions& o = shared.options;
    uint32_t shortest = std::min({o.idle_timeout_ms, o.read_timeout_ms, o.write_timeout_ms});
    timers[i]->expires_after(std::chrono::milliseconds(std::clamp(shortest / 4, 1u, 500u)));
    timers[i]->async_wait([this, i](error_code cancelled) {
      // It may have gone off right before it was cancelled.
      if (cancelled || !timers[i]) return;
      sweep(*loops[i]);
      sweep_later(i);
    });
  }

  void sweep(HttpLoop& loop) {
    std::vector<std::shared_ptr<HttpConnection>> late;
    Clock::time_point now = Clock::now();
    for (const auto& connection : loop.connections) {
      if (connection->is_late(now)) late.push_back(connection);
    }
    for (const auto& connection : late) connection->on_late();
  }

  // Runs on each connection of each loop, on the loop's thread.
  template <class Action>
  void for_all(Action action) {
    for (auto& loop : loops) {
      asio::post(loop->io, [&loop = *loop, action] {
        std::vector<std::shared_ptr<HttpConnection>> all(loop.connections.begin(),
                                                         loop.connections.end());
        for (const auto& connection : all) action(*connection);
      });
    }
  }

  void stop(uint32_t grace_ms) {
    if (stopped) return;
    stopped = true;
    shared.stopping = true;
    if (started) {
      asio::post(loops[0]->io, [this] {
        error_code ignored;
        acceptor().close(ignored);
        if (accept_timer) accept_timer->cancel();
      });
      for_all([](HttpConnection& connection) { connection.stop_after_request(); });
      wait_for_connections(std::chrono::milliseconds(grace_ms));
      for_all([](HttpConnection& connection) { connection.close(); });
      wait_for_connections(std::chrono::seconds(10));
    }
    shared.decoders.join();
    for (auto& loop : loops) {
      std::lock_guard lock(loop->gate->mutex);
      loop->gate->io = nullptr;
    }
    if (started && shared.options.loop != nullptr) leave_loop(*shared.options.loop);
    for (auto& loop : loops) {
      if (loop->own) loop->io.stop();
    }
    for (auto& thread : threads) thread.join();
  }

  // It may go on, or be gone before this is: nothing of this may stay there.
  void leave_loop(asio::io_context& loop) {
    std::promise<void> left;
    asio::post(loop, [this, &loop, &left] {
      timers[0].reset();
      acceptor_.reset();
      accept_timer.reset();
      asio::post(loop, [&left] { left.set_value(); });  // behind all that was cancelled
    });
    left.get_future().wait();
  }

  template <class Duration>
  void wait_for_connections(Duration most) {
    std::unique_lock lock(shared.mutex);
    shared.connection_closed.wait_for(lock, most, [this] { return shared.connections == 0; });
  }

  HttpShared shared;
  std::vector<std::unique_ptr<HttpLoop>> loops;
  std::vector<std::unique_ptr<asio::steady_timer>> timers;
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> guards;
  std::optional<tcp::acceptor> acceptor_;
  std::optional<asio::steady_timer> accept_timer;
  Clock::time_point warn_from{};  // when the next failure to accept is told
  std::vector<std::thread> threads;
  size_t next_loop = 0;
  uint16_t port = 0;
  bool started = false;
  bool stopped = false;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options, Api& api) {
  JADE_RETURN_IF_ERROR(options.validate());
  auto socket = ListenSocket::bind(options.host, options.port);
  if (!socket) return socket.status();
  return start(std::move(options), std::move(*socket), api);
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options,
                                                      ListenSocket socket, Api& api) {
  JADE_RETURN_IF_ERROR(options.validate());
  auto impl = std::make_unique<Impl>(std::move(options), api);
  JADE_RETURN_IF_ERROR(impl->start(*socket.impl_));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

uint16_t HttpServer::port() const { return impl_->port; }

void HttpServer::stop(uint32_t grace_ms) { impl_->stop(grace_ms); }

}  // namespace jade
