// The thread that serves a node's connections: those with other nodes, which are CAF's, and, where
// an HTTP server is given its loop, those of clients.
//
// Two threads would wake each other for every search through another node, once on its way out and
// once on its way back, and waking a thread takes longer than what either has to do.
#pragma once

#include <boost/asio/io_context.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/execution_unit.hpp>
#include <memory>

namespace jade {

class ConnectionLoop {
 public:
  // Of a system that is to have one: CAF is not to start a thread of its own for its middleman.
  static void configure(caf::actor_system_config& config);

  // Runs the middleman of `system` until this is destroyed, which must be before the system is,
  // and after all that unit() and io() were given has ended.
  explicit ConnectionLoop(caf::actor_system& system);
  ~ConnectionLoop();
  ConnectionLoop(const ConnectionLoop&) = delete;
  ConnectionLoop& operator=(const ConnectionLoop&) = delete;

  // Runs brokers in that thread; for any thread. Cheaper than CAF's way there, a pipe.
  caf::execution_unit& unit();

  // Runs in the same thread. What is given to it must not block.
  boost::asio::io_context& io();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace jade
