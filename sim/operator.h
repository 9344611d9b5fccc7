// Looks at the cluster from time to time, as `jade status` would, and does something about it:
// what operators do, and what happens to them, as disks that are lost.
#pragma once

#include <functional>
#include <optional>

#include "sim/cluster.h"
#include "sim/faults.h"
#include "sim/old_disks.h"

namespace jade::sim {

class Operator {
 public:
  // `options` must live as long.
  Operator(const SimulationOptions& options, Run& run, Cluster& cluster, Faults& faults,
           OldDisks& old_disks);
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;

  // Looks again in a while, or not before a moment from now.
  void schedule();
  void postpone();
  uint64_t next_ns() const { return next_look_ns_; }

  // To be called between turns only: what is done may end the node that told.
  void act_if_due();
  // Waits for no answer.
  bool idle() const { return !waits_; }
  // All that was asked for has come about.
  void settled() {
    lost_disks_ = 0;
    fewest_asked_ = UINT32_MAX;
  }

 private:
  void look();
  void act(const ClusterInfo& info);
  void drain_or_take_back(const NodeInfo& node);
  void remove_empty(const ClusterInfo& info);
  void join_spare();
  void lose_disk(const ClusterInfo& info);
  void put_disk_back(const ClusterInfo& info);
  void let_rot(const ClusterInfo& info);
  bool may_lose_disk(const ClusterInfo& info, uint32_t disks = 1) const;
  void change_node(const NodeInfo& node, NodeChange change, Fault kind);
  void change_replicas(uint32_t replicas);
  void change_index();
  void split_shard(const ClusterInfo& info);
  // Wraps the answer of the machine asked: ignores that of a process that has died.
  template <class T>
  Api::Done<T> answered(size_t machine, std::function<void(Result<T>&)> check);
  // The same, of a change; `then`: once it was carried out.
  template <class T>
  Api::Done<T> changed(size_t machine, Fault kind, std::function<void()> then = {});

  const SimulationOptions& options_;
  Run& run_;
  Cluster& cluster_;
  Faults& faults_;
  OldDisks& old_disks_;
  uint64_t next_look_ns_ = never;
  bool waits_ = false;  // for an answer
  size_t asked_ = 0;    // machine
  std::optional<ClusterInfo> seen_;
  // Since the last time that everything was well:
  uint32_t lost_disks_ = 0;
  uint32_t fewest_asked_ = UINT32_MAX;  // replicas
};

}  // namespace jade::sim
