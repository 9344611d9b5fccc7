#include "apps/serve/served_node.h"

#include <algorithm>

#include "storage/env.h"

namespace jade {
namespace {

NodeOptions node_options(const ServeConfig& config, ServeLog& log) {
  NodeOptions options;
  options.data_dir = config.data;
  options.name = config.name;
  options.cluster_listen = config.cluster_listen;
  options.cluster_address = config.cluster_address;
  options.cluster_cert = config.cluster_cert;
  options.cluster_key = config.cluster_key;
  options.cluster_ca = config.cluster_ca;
  options.join = config.join_addresses();
  options.roles = config.role_names();
  options.replace_after_s = config.replace_after_s;
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
  auto roles = config.role_names();
  options.gateway = std::find(roles.begin(), roles.end(), "gateway") != roles.end();
  options.threads = config.http_threads;
  options.body_bytes_max = size_t{config.body_mib_max} << 20;
  options.inflight_body_bytes_max = size_t{config.inflight_mib_max} << 20;
  // The rest is for shards, tables and other nodes.
  options.connections_max =
      static_cast<uint32_t>(std::min<size_t>(config.connections_max, open_files_max() / 4 + 1));
  if (options.connections_max < config.connections_max) {
    log.write(LogLevel::warning, "http",
              "connections_max is " + std::to_string(config.connections_max) +
                  ", but the limit of open files (ulimit -n) leaves room for " +
                  std::to_string(options.connections_max) + " only");
  }
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

ServedNode::ServedNode(const ServeConfig& config, LineSink sink)
    : log_(config.log_level, config.log_format, std::move(sink)),
      shutdown_timeout_ms_(config.shutdown_timeout_ms) {}

Result<std::unique_ptr<ServedNode>> ServedNode::start(const ServeConfig& config, LineSink sink) {
  JADE_RETURN_IF_ERROR(config.validate());
  std::unique_ptr<ServedNode> node(new ServedNode(config, std::move(sink)));
  JADE_RETURN_IF_ERROR(node->open(config));
  return node;
}

Status ServedNode::open(const ServeConfig& config) {
  ListenAddress address = *parse_listen_address(config.listen);
  NodeOptions options = node_options(config, log_);
  JADE_RETURN_IF_ERROR(options.validate());
  auto socket = ListenSocket::bind(address.host, address.port);
  if (!socket) return socket.status();
  options.address = socket->address();
  auto node = Node::open(std::move(options));
  if (!node) return node.status();
  node_ = std::move(*node);
  HttpServerOptions http = http_options(config, log_);
  http.loop = node_->loop();
  auto server = HttpServer::start(std::move(http), std::move(*socket), node_->api());
  if (!server) return server.status();
  server_ = std::move(*server);

  url_ = url_of(address, server_->port());
  log_.write(LogLevel::info, "serve", "listening",
             {{"url", url_}, {"data", config.data}, {"version", JADE_VERSION}});
  ready_ = std::make_unique<ReadyLog>(
      node_->api(),
      [this] {
        log_.write(LogLevel::info, "serve", "ready", {{"url", url_}});
      },
      [this](const std::string& why) {
        log_.write(LogLevel::warning, "serve", "not ready yet", {{"reason", why}});
      });
  return {};
}

Status ServedNode::stop(const std::string& why) {
  log_.write(LogLevel::info, "serve", "stopping", {{"signal", why}});
  ready_.reset();
  server_->stop(shutdown_timeout_ms_);
  JADE_RETURN_IF_ERROR(node_->close().with_context("closing"));
  log_.write(LogLevel::info, "serve", "stopped");
  return {};
}

}  // namespace jade
