// A run of the simulator: one node or a cluster, several clients, a random workload
// and random faults, all from one seed, with checks all along and at the end.
//
// The nodes are the production ones. What is simulated is under them: the
// scheduler's order, the clock, the disk, the network. The seed decides which runnable actor goes
// next, what the clients ask, when a fault strikes and what it does; the same seed gives the same
// run, byte for byte, as trace_hash shows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace jade::sim {

// Named chances and sizes, with the reason for each default.
struct SimulationOptions {
  uint64_t seed = 1;
  uint64_t simulated_ms = 20'000;
  uint32_t nodes = 1;            // each shard has a replica on up to three of them
  uint32_t clients = 3;          // more than one, so that operations overlap
  uint32_t ids_per_client = 60;  // few, so that updates and deletes meet
  uint32_t dimension = 8;
  uint32_t shards = 2;
  // Small, so that sealing, building and merging happen all the time.
  uint32_t seal_rows_min = 24;
  uint32_t seal_rows_max = 64;
  uint32_t snapshot_entries = 24;
  uint32_t retained_bytes = 10'000;  // so that replicas have to be copied
  // Mean time between faults; 0: none.
  uint64_t fault_interval_ms = 1500;
  bool crashes = true;          // the process dies
  bool power_loss = true;       // so does the machine: unsynced bytes are lost or torn
  bool disk_full = true;        // for a while
  bool read_corruption = true;  // flipped bits in what is read, for a while
  // With several nodes:
  bool partitions = true;   // between two parts of the cluster, both ways or one
  bool disconnects = true;  // of the connection of two nodes
  bool pauses = true;       // of a process, as by SIGSTOP
  // Told what happens and what the nodes say, a line each; null: nobody listens.
  std::function<void(const std::string& line)> log;
};

struct SimulationReport {
  uint64_t seed = 0;
  std::string failure;  // empty: all checks held
  uint64_t trace_hash = 0;
  uint64_t simulated_ns = 0;
  uint64_t steps = 0;
  uint64_t writes_acknowledged = 0;
  uint64_t writes_failed = 0;
  uint64_t reads_checked = 0;
  uint64_t searches_checked = 0;
  uint64_t checkpoints = 0;
  uint64_t crashes = 0;
  uint64_t power_losses = 0;
  uint64_t full_disks = 0;
  uint64_t corrupt_periods = 0;
  uint64_t partitions = 0;
  uint64_t disconnects = 0;
  uint64_t pauses = 0;
  uint64_t bytes_sent = 0;  // between nodes
};

SimulationReport simulate(const SimulationOptions& options);

}  // namespace jade::sim
