// What `jade up` says: the merged log, and the URLs once all nodes are ready.
#pragma once

#include <string>
#include <vector>

#include "apps/up/log_merger.h"
#include "apps/up/up.h"

namespace jade {

class Announce {
 public:
  explicit Announce(const std::vector<PlannedNode>& nodes);

  LogMerger& log() { return log_; }  // the nodes' are in it by their index
  // A line of our own.
  void say(const std::string& line);
  // The node says that it is ready, for the first time or again.
  void ready(size_t node);

 private:
  std::vector<PlannedNode> nodes_;
  LogMerger log_;
  std::vector<bool> ready_;
  bool all_were_ready_ = false;
};

}  // namespace jade
