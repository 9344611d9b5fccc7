// A node with its HTTP server and its log: what `jade serve` runs one of, and
// `jade up --in-process` several.
#pragma once

#include <memory>
#include <string>

#include "actors/jade.h"
#include "apps/serve/ready_log.h"
#include "apps/serve/serve_config.h"
#include "apps/serve/serve_log.h"
#include "net/http_server.h"
#include "storage/status.h"

namespace jade {

class ServedNode {
 public:
  // Listens, opens the node and answers requests; /readyz and the log tell when it is ready, which
  // in a cluster depends on others. Fails where the configuration is wrong, the address is taken or
  // the node does not open. Its log goes to `sink`, or to standard error without one.
  static Result<std::unique_ptr<ServedNode>> start(const ServeConfig& config, LineSink sink = {});

  const std::string& url() const { return url_; }

  // Stops accepting, answers what is in flight and closes; `why` is for the log. Fails
  // where the data could not be made durable. Once only; without it the destructor
  // closes at once.
  Status stop(const std::string& why);

 private:
  explicit ServedNode(const ServeConfig& config, LineSink sink);
  Status open(const ServeConfig& config);

  ServeLog log_;
  uint32_t shutdown_timeout_ms_;
  std::string url_;
  // The server uses the node, and both the log: destroyed in reverse.
  std::unique_ptr<Node> node_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<ReadyLog> ready_;
};

}  // namespace jade
