// An actor system of CAF's under virtual time: one node's scheduler, clock and
// network stack, all driven from outside by the simulation's one thread.
#pragma once

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <caf/io/network/test_multiplexer.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <cstdint>
#include <memory>
#include <optional>

#include "storage/status.h"

namespace jade::sim {

class SimSystem {
 public:
  // `now_ns`: the virtual time at which this system comes up.
  explicit SimSystem(uint64_t now_ns);
  // All actors that the owner spawned must have been killed or have quit.
  ~SimSystem();
  SimSystem(const SimSystem&) = delete;
  SimSystem& operator=(const SimSystem&) = delete;

  caf::actor_system& system() { return system_; }
  caf::io::network::test_multiplexer& multiplexer() const { return multiplexer_; }

  size_t runnable() const { return scheduler_.jobs.size(); }
  // Runs the `index`-th runnable actor until it has nothing to do or its turn is
  // over. Returns its id (0 for what is not an actor).
  uint64_t run(size_t index);
  // CAF's own brokers run on the multiplexer.
  bool run_broker() { return multiplexer_.try_exec_runnable(); }

  std::optional<uint64_t> next_timeout_ns() const;
  // Time never goes back; timeouts that are due become messages.
  void advance_to(uint64_t now_ns);

  // Publishes an actor of this system, as if at `port`.
  template <class Handle>
  void publish(const Handle& actor, uint16_t port) {
    // publish() blocks until the middleman has answered, so the middleman must be
    // idle and is then run in place.
    while (runnable() > 0) run(0);
    scheduler_.inline_next_enqueue();
    auto published = system_.middleman().publish(actor, port);
    JADE_ASSERT(published);
  }

 private:
  struct Config;
  std::unique_ptr<Config> config_;
  caf::actor_system system_;
  caf::scheduler::test_coordinator& scheduler_;
  caf::io::network::test_multiplexer& multiplexer_;
};

}  // namespace jade::sim
