// A whole cluster on this machine, for `jade up`.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "apps/serve/serve_config.h"
#include "storage/status.h"

namespace jade {

struct UpOptions {
  unsigned nodes = 3;
  std::string data = "./jade-cluster";  // node-1, node-2 ... are made in it
  // Of node 1; each other node has the next one.
  uint16_t port = 8080;
  uint16_t cluster_port = 0;  // 0: as at the last start with this data; 9080 at the first
  bool in_process = false;    // all nodes in this process instead of one process each

  // Names the option and the allowed range. For options with a cluster_port.
  Status validate() const;
};

struct PlannedNode {
  std::string name;
  std::string url;
  SettingValues settings;  // of `jade serve`
};

// `existing` are the numbers of the nodes, from 1, that have a directory.
std::vector<PlannedNode> plan_nodes(const UpOptions& options, const std::set<unsigned>& existing);

// Refuses fewer nodes than have a directory: what the others hold would be missing, though all that
// are started were ready. As above; names them.
Status check_all_start(const UpOptions& options, const std::set<unsigned>& existing);

// Runs the cluster until SIGTERM or SIGINT. When every node is ready, prints their URLs
// on standard output, one a line. The log of all is on standard error. To be called
// from the main thread before it has started another. Fails where the cluster could not
// be started or a node did not stop as it was told.
Status up(UpOptions options);

// What up() does with the nodes that it has planned: a process each that is started
// again when it dies, or all in this process.
Status run_processes(const std::vector<PlannedNode>& nodes);
Status run_in_process(const std::vector<PlannedNode>& nodes);

}  // namespace jade
