#include "apps/serve/serve.h"

#include <csignal>
#include <cstdio>
#include <string>

#include "actors/jade.h"
#include "apps/serve/serve_log.h"
#include "net/http_server.h"

namespace jade {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// While one lives, SIGTERM and SIGINT wait to be taken by wait(), in this thread
// and in all that it starts.
class StopSignal {
 public:
  StopSignal() {
    sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, &before_);
    // A client that hangs up is an error of its connection, not of the process.
    std::signal(SIGPIPE, SIG_IGN);
  }
  ~StopSignal() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Afterwards another such signal ends the process.
  const char* wait() {
    sigset_t set = stop_signals();
    int signal = 0;
    sigwait(&set, &signal);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    return signal == SIGINT ? "SIGINT" : "SIGTERM";
  }

 private:
  sigset_t before_;
};

std::string default_name(const ServeConfig& config) {
  if (!config.cluster_address.empty()) return config.cluster_address;
  if (!config.cluster_listen.empty()) return config.cluster_listen;
  return "node-1";
}

NodeOptions node_options(const ServeConfig& config, ServeLog& log) {
  NodeOptions options;
  options.data_dir = config.data;
  options.name = !config.name.empty() ? config.name : default_name(config);
  options.cluster_listen = config.cluster_listen;
  options.cluster_address = config.cluster_address;
  options.cluster_cert = config.cluster_cert;
  options.cluster_key = config.cluster_key;
  options.cluster_ca = config.cluster_ca;
  options.join = config.join_addresses();
  options.worker_threads = config.worker_threads;
  options.builder_threads = config.builder_threads;
  options.cache_bytes = size_t{config.cache_mib} << 20;
  options.inflight_bytes_max = size_t{config.inflight_mib_max} << 20;
  options.log = [&log](LogLevel level, std::string_view component, std::string_view message) {
    log.write(level, component, message);
  };
  return options;
}

HttpServerOptions http_options(const ServeConfig& config, ServeLog& log) {
  HttpServerOptions options;
  options.threads = config.http_threads;
  options.body_bytes_max = size_t{config.body_mib_max} << 20;
  options.inflight_body_bytes_max = size_t{config.inflight_mib_max} << 20;
  options.connections_max = config.connections_max;
  options.idle_timeout_ms = config.idle_timeout_ms;
  options.read_timeout_ms = config.read_timeout_ms;
  options.write_timeout_ms = config.write_timeout_ms;
  options.warn = [&log](std::string_view message) {
    log.write(LogLevel::warning, "http", message);
  };
  return options;
}

std::string url_of(const ListenAddress& address, uint16_t port) {
  bool v6 = address.host.find(':') != std::string::npos;
  return "http://" + (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(port);
}

}  // namespace

Status serve(const ServeConfig& config) {
  JADE_RETURN_IF_ERROR(config.validate());
  StopSignal stop;
  ServeLog log(config.log_level, config.log_format);
  ListenAddress address = *parse_listen_address(config.listen);

  NodeOptions options = node_options(config, log);
  JADE_RETURN_IF_ERROR(options.validate());
  auto socket = ListenSocket::bind(address.host, address.port);
  if (!socket) return socket.status();
  options.address = socket->address();
  auto node = Node::open(std::move(options));
  if (!node) return node.status();
  auto server = HttpServer::start(http_options(config, log), std::move(*socket), (*node)->api());
  if (!server) return server.status();

  std::string url = url_of(address, (*server)->port());
  log.write(LogLevel::info, "serve", "ready",
            {{"url", url}, {"data", config.data}, {"version", JADE_VERSION}});
  std::printf("%s\n", url.c_str());
  std::fflush(stdout);

  log.write(LogLevel::info, "serve", "stopping", {{"signal", stop.wait()}});
  (*server)->stop(config.shutdown_timeout_ms);
  JADE_RETURN_IF_ERROR((*node)->close().with_context("closing"));
  log.write(LogLevel::info, "serve", "stopped");
  return {};
}

}  // namespace jade
