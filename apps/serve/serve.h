// Runs a node until it is told to stop.
#pragma once

#include "apps/serve/serve_config.h"
#include "storage/status.h"

namespace jade {

// Opens the node, serves, prints the URL as one line on standard output when it
// answers there (GET /readyz, and the log, tell when it is ready), and blocks until SIGTERM or
// SIGINT; then stops accepting, answers what is in flight and closes. A second signal ends the
// process at once. To be called from the main thread before it has started another, for the
// signals' sake. Fails where the node does not open, the address is taken or the
// data could not be made durable when closing.
Status serve(const ServeConfig& config);

}  // namespace jade
