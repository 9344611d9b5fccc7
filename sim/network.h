// The network between simulated systems. CAF's own protocol runs over it: what a
// system writes lies in the receiver's buffer, and the network decides when it
// may be read. Latency is reading later, a partition is not reading at all, a
// disconnect closes both ends. Bytes of one connection never overtake each other.
#pragma once

#include <cstdint>
#include <map>
#include <string>
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

  // From now on `server` can publish at `port`.
  void listen(SimSystem& server, uint16_t port);
  // Prepares one connection: the next time that `client` connects to `host` and
  // `port` it reaches what `server` publishes there.
  Link connect(SimSystem& server, SimSystem& client, const std::string& host, uint16_t port);

  // Partitions the link, or heals it: nothing arrives meanwhile, nothing is lost.
  void block(Link link, bool blocked);
  // What is on its way from one system to another, on all links between them.
  void block(const SimSystem& from, const SimSystem& to, bool blocked);
  // Each piece from one to the other takes so much longer, on the links that there are: what is
  // sent faster than that arrives later and later.
  void slow_down(const SimSystem& from, const SimSystem& to, uint64_t by_ns);
  // Both ends see the connection closed; what was under way is lost.
  void disconnect(Link link);
  void disconnect(const SimSystem& one, const SimSystem& other);
  // At the server, and at the client.
  std::pair<caf::io::connection_handle, caf::io::connection_handle> ends(Link link) const {
    return {links_[link].directions[0].handle, links_[link].directions[1].handle};
  }
  // The system is about to end: the other ends see their connections closed.
  void drop(SimSystem& system);

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
    bool blocked = false;
    uint64_t slower_by_ns = 0;
    std::optional<uint64_t> due_ns;  // of what waits in the receiver's buffer
    bool attached = false;           // the receiver has, or had, an actor for it
    // Of bytes that nobody reads, as of a connection that CAF has forgotten: how many there
    // were, and how much later it is tried again.
    size_t unread = 0;
    uint64_t later_ns = 0;
  };
  struct State {
    std::string host;  // as the client knows the server
    uint16_t port = 0;
    Direction directions[2];  // towards the server, towards the client
    bool accepted = false;
    bool closed = false;

    bool joins(const Multiplexer* one, const Multiplexer* other) const {
      const Multiplexer *server = directions[0].receiver, *client = directions[1].receiver;
      return (server == one && client == other) || (server == other && client == one);
    }
  };

  void schedule_arrivals(uint64_t now_ns);
  void close(const Direction& direction);
  void close_client(const State& state);
  void close_attached();
  // Where one end has let go of a connection, the other end sees it closed.
  void hang_up();

  uint64_t random_;
  LatencyRange latency_;
  int64_t next_handle_ = 1'000'000;  // apart from those that CAF gives out itself
  std::map<const Multiplexer*, caf::io::accept_handle> acceptors_;  // looked up only
  std::vector<State> links_;
  std::vector<Direction> closing_;  // ends that are to learn of it once they can
  uint64_t bytes_delivered_ = 0;
};

}  // namespace jade::sim
