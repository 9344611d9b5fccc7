#include <memory>
#include <mutex>

#include "apps/serve/served_node.h"
#include "apps/serve/stop_signal.h"
#include "apps/up/announce.h"
#include "apps/up/ready_probe.h"
#include "apps/up/up.h"

namespace jade {
namespace {

Result<std::unique_ptr<ServedNode>> start(const PlannedNode& node, LineSink log) {
  auto config = config_of_process("", node.settings);
  if (!config) return config.status();
  return ServedNode::start(*config, std::move(log));
}

}  // namespace

Status run_in_process(const std::vector<PlannedNode>& plan) {
  StopSignal stop;
  Announce announce(plan);
  std::vector<std::unique_ptr<ServedNode>> nodes;
  for (size_t i = 0; i < plan.size(); ++i) {
    auto node =
        start(plan[i], [&announce, i](std::string_view line) { announce.log().add(i, line); });
    if (!node) return node.status().with_context(plan[i].name);
    nodes.push_back(std::move(*node));
  }

  std::string signal;
  {
    ReadyProbe probe([&announce](size_t node) { announce.ready(node); });
    for (size_t i = 0; i < plan.size(); ++i) probe.watch(i, plan[i].url);
    signal = stop.wait();
  }
  Status result;
  for (size_t i = 0; i < nodes.size(); ++i) {
    Status stopped = nodes[i]->stop(signal).with_context(plan[i].name);
    if (result.ok()) result = stopped;
  }
  return result;
}

}  // namespace jade
