// Machines that get back what their disk held some time ago, as from a backup or a snapshot of
// a virtual machine. A node that has forgotten what it promised since must be refused by the
// others and say so; the machine then becomes another node. See docs/decisions/0025-lives.md.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/cluster.h"

namespace jade::sim {

class OldDisks {
 public:
  // `enabled`: disks are copied now and then, to be put back.
  OldDisks(bool enabled, Run& run, Cluster& cluster);
  OldDisks(const OldDisks&) = delete;
  OldDisks& operator=(const OldDisks&) = delete;

  // All nodes have caught up, and know of each other's last starts.
  void caught_up();
  // There is a copy of before a start that all nodes have heard of.
  bool has_older(size_t machine) const;
  void put_back(size_t machine);
  // A node with an old disk has not been refused yet.
  bool any() const;
  // Replaces the disk of a node that was refused.
  void look_after(size_t machine);
  // Waits until all are refused; then all run with disks that are their own.
  void await_refusals();

 private:
  struct State {
    // What the disk held once, and how often the node had been started then. Null: nothing.
    std::shared_ptr<const SimDisk::Image> image;
    uint64_t image_starts = 0;
    uint64_t checked_starts = 0;  // how often when all had caught up
    uint64_t until_ns = never;    // its disk is an old one, which is noticed by then
    bool refused = false;         // as it says
  };

  void keep_copy(size_t machine);
  void hear(size_t machine, std::string_view message);
  void fail_unnoticed(size_t machine);

  Run& run_;
  Cluster& cluster_;
  std::vector<State> states_;  // of machines
};

}  // namespace jade::sim
