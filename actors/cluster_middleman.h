// The connections between nodes, which carry what CAF sends. They are ours, as CAF's own
// believe every length they are told and ask the system five times as often as is needed, and
// read what comes however much of it waits already (actors/inflow.h).
// With TLS, CAF gets to see a connection only when both sides have shown their certificates.
#pragma once

#include <caf/all.hpp>
#include <caf/io/middleman_actor.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "actors/cluster_tls.h"
#include "actors/connection_loop.h"

namespace jade {

class ClusterMiddleman {
 public:
  // No node sends a longer one.
  static constexpr size_t message_bytes_max = size_t{1} << 30;

  struct Bounds {
    // Of a connection: what is more is given up with it, as a node that takes nothing, being
    // stopped perhaps, is as good as lost.
    size_t unsent_bytes_max = message_bytes_max;
    // Connections opened from one address that are up at once: each may have as much waiting
    // here as actors/inflow.h says. A node opens one to each other; many may share a machine.
    size_t connections_from_one_max = 128;
    // Of a connection, until the other side has said who it is: it is let go then.
    std::chrono::milliseconds greeting_limit{10'000};
  };

  // `system` is configured by ConnectionLoop::configure() and outlives this. `tls`: null for
  // connections in the clear.
  ClusterMiddleman(caf::actor_system& system, std::shared_ptr<const ClusterTls> tls, LogSink log,
                   const Bounds& bounds);
  // Ends listening, dialling and all connections.
  ~ClusterMiddleman();
  ClusterMiddleman(const ClusterMiddleman&) = delete;
  ClusterMiddleman& operator=(const ClusterMiddleman&) = delete;

  // Answers dials as CAF's own middleman does, many at a time.
  caf::actor connector() const;
  // What others that connect get; at most once. Port 0: any. Returns the port.
  Result<uint16_t> publish(const caf::actor& actor, const std::string& host, uint16_t port);

  // See ConnectionLoop::io().
  boost::asio::io_context& loop() { return loop_.io(); }

  struct Shared;  // of the implementation
  struct Dials;

 private:
  // Ends it, though connections that CAF has not let go of hold the rest of what is shared.
  struct Listening {
    Shared& shared;
    ~Listening();
  };

  caf::actor_system& system_;
  std::shared_ptr<Shared> shared_;
  Listening listening_;  // ends after the loop, whose thread takes what it has accepted
  ConnectionLoop loop_;
  caf::actor broker_;
  caf::io::middleman_actor actor_;
  std::shared_ptr<Dials> dials_;
  caf::actor dialler_;
};

}  // namespace jade
