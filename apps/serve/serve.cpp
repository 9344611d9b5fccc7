#include "apps/serve/serve.h"

#include <cstdio>

#include "apps/serve/served_node.h"
#include "apps/serve/stop_signal.h"

namespace jade {

Status serve(const ServeConfig& config) {
  StopSignal stop;
  auto node = ServedNode::start(config);
  if (!node) return node.status();
  std::printf("%s\n", (*node)->url().c_str());
  std::fflush(stdout);
  return (*node)->stop(stop.wait());
}

}  // namespace jade
