// What a run of the simulator is to be like.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace jade::sim {

// What may happen to a cluster, beside its clients.
enum class Fault : uint8_t {
  crash,            // the process dies
  power_loss,       // so does the machine: unsynced bytes are lost or torn
  crash_at_sync,    // one of both at a sync, or just before, and is soon back
  disk_full,        // for a while
  read_corruption,  // flipped bits in what is read, for a while
  // With several nodes:
  partition,   // between two parts of the cluster, or two nodes; both ways or one
  slow_link,   // from one node to another: what is sent arrives later and later
  disconnect,  // of the connection of two nodes
  pause,       // of a process, as by SIGSTOP
  drift,       // clocks run up to a fifth too fast or too slow
  blackout,    // all processes die at once, or all machines lose power
  election,    // of a leader: it, or others who may have voted for it, are hit at once
  lost_disk,   // a node comes back as a new one, with nothing; at once only a minority of replicas
  old_disk,    // the same, but first with what its disk held earlier, and is refused
  bit_rot,     // a bit of a replica's records flips on the disk, for good; one at a time
  // What operators do:
  join,      // a spare machine becomes a node
  drain,     // a node is emptied, and may be taken back
  remove,    // an empty node leaves the cluster
  replicas,  // of the database: another number
  split,     // of a shard in two
  reindex,   // of the database: another type or other parameters
  drop,      // of small databases, which are created and written to before
};
constexpr size_t fault_count = 22;
const char* name_of(Fault fault);
// Nothing: no fault has this name.
std::optional<Fault> fault_of(std::string_view name);
std::set<Fault> all_faults();

// Named chances and sizes, with the reason for each default.
struct SimulationOptions {
  uint64_t seed = 1;
  uint64_t simulated_ms = 20'000;
  uint32_t nodes = 1;
  uint32_t replicas = 0;         // of each shard, on as many of the nodes; 0: up to three
  uint32_t spares = 1;           // machines that may join a cluster
  uint32_t clients = 3;          // more than one, so that operations overlap
  uint32_t watchers = 0;         // of each machine: clients that ask it alone, and only read
  uint32_t patience_ms = 0;      // for an answer, up to twice that; 0: as long as it takes
  uint32_t ids_per_client = 60;  // few, so that updates and deletes meet
  uint32_t dimension = 8;
  uint32_t shards = 2;
  // Which sharding the databases have: by vector where true.
  bool by_vector = false;
  // Small, so that sealing, building and merging happen all the time.
  uint32_t seal_rows_min = 24;
  uint32_t seal_rows_max = 64;
  // From how many rows on what has no index yet has lists; 0: a power of two, 1 to 32, by the seed.
  uint32_t listed_rows_min = 0;
  uint32_t snapshot_entries = 24;
  uint32_t retained_bytes = 10'000;  // so that replicas have to be copied
  uint64_t replace_after_ms = 6000;  // of lost nodes
  uint64_t renew_life_ms = 7000;     // so that nodes begin lives while they run, too
  // Mean time between faults, and between what operators do; 0: none.
  uint64_t fault_interval_ms = 1500;
  uint64_t operator_interval_ms = 3000;
  std::set<Fault> faults = all_faults();  // that may happen
  // Told what happens and what the nodes say, a line each; null: nobody listens.
  std::function<void(const std::string& line)> log;
};

}  // namespace jade::sim
