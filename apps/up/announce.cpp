#include "apps/up/announce.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace jade {
namespace {

std::vector<std::string> log_names(const std::vector<PlannedNode>& nodes) {
  std::vector<std::string> names;
  for (const PlannedNode& node : nodes) names.push_back(node.name);
  names.push_back("up");
  return names;
}

}  // namespace

Announce::Announce(const std::vector<PlannedNode>& nodes)
    : nodes_(nodes),
      log_(log_names(nodes), isatty(STDERR_FILENO) != 0, write_to_stderr),
      ready_(nodes.size()) {}

void Announce::say(const std::string& line) { log_.add(nodes_.size(), line + "\n"); }

void Announce::ready(size_t node) {
  say(nodes_[node].name + " is ready" + (ready_[node] ? " again" : ""));
  ready_[node] = true;
  if (all_were_ready_ || std::count(ready_.begin(), ready_.end(), false) > 0) return;
  all_were_ready_ = true;
  for (const PlannedNode& one : nodes_) std::printf("%s\n", one.url.c_str());
  std::fflush(stdout);
  say("all nodes are ready; see them with: jade status --url " + nodes_[0].url);
}

}  // namespace jade
