// A simulated machine: a disk that outlives its process, and the process, which
// is the production node over simulated seams.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "actors/node.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/system.h"

namespace jade::sim {

class SimNode {
 public:
  // `now_ns` is read whenever the node asks what time it is. With a network, the
  // node publishes itself at its cluster address; `connecting` is told whenever it
  // is about to connect, and is to prepare the connection where it would succeed;
  // `elected` of the terms in which it leads a Raft group.
  SimNode(uint64_t seed, std::function<uint64_t()> now_ns, NodeConfig config,
          SimNetwork* network = nullptr,
          std::function<void(const std::string& host, uint16_t port)> connecting = {},
          LogSink log = {}, std::function<void(uint64_t group, uint64_t term)> elected = {});
  ~SimNode();

  // Starts the process. Fails as a real start would, on a full disk say.
  Status start();
  bool running() const { return runtime_ != nullptr; }
  // Ends the process between two of its instructions.
  void crash();
  // The same, and the machine loses what it had not synced.
  void lose_power();
  // The same, and the machine gets an empty disk and another configuration.
  void replace_disk(NodeConfig config);
  // The same, and the machine gets back what its disk held before.
  void put_disk_back(const SimDisk::Image& image);
  const NodeConfig& config() const { return config_; }

  Api& api() { return runtime_->api(); }
  NodeRuntime& runtime() { return *runtime_; }
  SimSystem& system() { return *system_; }
  SimDisk& disk() { return disk_; }
  const SimDisk& disk() const { return disk_; }
  uint64_t starts() const { return starts_; }

 private:
  void end_process();

  uint64_t seed_;
  std::function<uint64_t()> now_ns_;
  NodeConfig config_;
  SimDisk disk_;
  SimNetwork* network_;
  std::function<void(const std::string&, uint16_t)> connecting_;
  LogSink log_;
  std::function<void(uint64_t, uint64_t)> elected_;
  std::unique_ptr<SimSystem> system_;
  std::unique_ptr<NodeRuntime> runtime_;
  uint64_t starts_ = 0;
};

}  // namespace jade::sim
