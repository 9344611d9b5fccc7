// When faults strike, what they do, and when they are over.
#pragma once

#include <optional>
#include <vector>

#include "sim/cluster.h"
#include "sim/old_disks.h"

namespace jade::sim {

class Faults {
 public:
  // `options` must live as long.
  Faults(const SimulationOptions& options, Run& run, Cluster& cluster, OldDisks& old_disks);
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  // The next one strikes in a while, or not before a moment from now.
  void schedule();
  void postpone();
  // When one strikes or ends.
  uint64_t next_ns() const;

  void strike_if_due();
  // One may strike between any two turns, and whenever a leader was elected in a turn.
  void before_turn();
  void after_turn();

  // Ends what is over.
  void look_after(size_t machine);
  void look_after_network();
  // Ends every fault; all members run.
  void heal();
  // All members run and no fault is under way.
  bool calm() const;

 private:
  bool enabled(Fault fault) const { return options_.faults.count(fault) > 0; }
  bool network_is_well() const { return network_over_ns_ == never; }
  std::vector<Fault> possible(size_t machine) const;
  void strike();
  void strike_disk(size_t machine, Fault kind);
  void strike_at_sync(size_t machine);
  void black_out();
  void strike_at_election(size_t leader);
  void partition();
  void cut_in_two(uint64_t side);
  void cut_link();
  void slow_down(size_t machine);
  void end_disk_fault(size_t machine);
  void heal_network();

  const SimulationOptions& options_;
  Run& run_;
  Cluster& cluster_;
  OldDisks& old_disks_;
  uint64_t next_strike_ns_ = never;
  uint64_t network_over_ns_ = never;    // of a partition, or a slow link
  std::vector<uint64_t> disk_over_ns_;  // of machines whose disk is not healthy
  std::optional<size_t> elected_;       // machine of a leader of the present turn
};

}  // namespace jade::sim
