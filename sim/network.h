// The network between simulated systems. CAF's own protocol runs over it: what a
// system writes lies in the receiver's buffer, and the network decides when it
// may be read. Latency is reading later, a partition is not reading at all, a
// disconnect closes both ends. Bytes of one connection never overtake each other.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/system.h"

namespace jade::sim {

struct LatencyRange {
  uint64_t low_ns = 50'000;
  uint64_t high_ns = 500'000;
};

class SimNetwork {
 public:
  using Link = size_t;

  SimNetwork(uint64_t seed, LatencyRange latency) : random_(seed), latency_(latency) {}

  // Prepares a connection: `client` will reach what `server` publishes at `port`
  // under the name `host`. Call it before the server publishes.
  Link connect(SimSystem& server, SimSystem& client, const std::string& host, uint16_t port);

  // Partitions the link, or heals it: nothing arrives meanwhile, nothing is lost.
  void block(Link link, bool blocked) { links_[link].blocked = blocked; }
  // Both ends see the connection closed; what was under way is lost.
  void disconnect(Link link);

  // Lets one thing arrive that is due at `now_ns`, if any.
  bool deliver(uint64_t now_ns);
  // When the next arrival will be due.
  std::optional<uint64_t> next_arrival_ns(uint64_t now_ns);
  uint64_t bytes_delivered() const { return bytes_delivered_; }

 private:
  using Multiplexer = caf::io::network::test_multiplexer;
  struct Direction {
    Multiplexer* receiver = nullptr;
    caf::io::connection_handle handle;
    std::optional<uint64_t> due_ns;  // of what waits in the receiver's buffer
  };
  struct State {
    Direction directions[2];
    Multiplexer* server = nullptr;
    bool accepted = false;
    bool blocked = false;
    bool closed = false;
  };

  void schedule_arrivals(uint64_t now_ns);
  static void close(const Direction& direction);

  uint64_t random_;
  LatencyRange latency_;
  int64_t next_handle_ = 1'000'000;  // apart from those that CAF gives out itself
  std::vector<State> links_;
  uint64_t bytes_delivered_ = 0;
};

}  // namespace jade::sim
