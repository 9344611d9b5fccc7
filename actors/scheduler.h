// Runs the actors of a node, in place of the schedulers that CAF has.
//
// A search goes through five actors of a node, each of which works for microseconds. With
// CAF's schedulers every one of these steps wakes a thread. Here a worker keeps what it makes
// runnable to itself, and only wakes another for what it cannot do next. The idea of the slot
// is that of Go's scheduler ("runnext"). The clock
// is CAF's (but see actors/timers.h), and goes on while the machine is suspended.
//
// Some actors work for milliseconds at a time, or for seconds: those that carry writes out, and
// those that run long searches. Each of both kinds has workers of its own, as many and of lower
// priority, so that the others wait for none of them, nor they for each other.
//
// The threads that serve connections, of clients and of other nodes, lend themselves to the actors
// that a search goes through on its way (BriefTurns), as only its last step is long.
//
// A node under the simulator is run by the simulator instead (sim/).
#pragma once

#include <caf/actor_system_config.hpp>
#include <caf/execution_unit.hpp>
#include <deque>
#include <string_view>

namespace jade {

// The workers of a kind of actors.
enum class Lane : uint8_t { quick, searches, writes };
// Of actors of this name (of their state).
Lane lane_of(std::string_view name);

// Of systems made with this configuration. `scheduler.max-threads` counts as ever, for each lane.
void use_node_scheduler(caf::actor_system_config& config);

// Whether actors of this name work for microseconds at a time, and never block.
bool works_briefly(std::string_view name);

// Runs in the calling thread what messages from there make runnable, as far as it works briefly,
// so that no other thread has to be woken for it: waking one takes longer than such work. The
// node's workers run all else. Where the scheduler is not a node's, as in the simulator, that
// one runs everything.
class BriefTurns final : public caf::execution_unit {
 public:
  // A thread of somebody who calls the node gives the actor that it calls one turn, with what it
  // sends: answers, of this or of other calls, go to functions of the caller's, which may wait for
  // what it holds meanwhile.
  enum class Thread { of_node, of_caller };

  BriefTurns(caf::actor_system& system, Thread thread);
  ~BriefTurns() { run(); }

  // Of whom a message, sent with this, has made runnable.
  void exec_later(caf::resumable* job) override;

 private:
  void run();

  const Thread thread_;
  const bool lends_;  // the scheduler is a node's
  size_t turns_ = 0;
  std::deque<caf::resumable*> jobs_;
};

}  // namespace jade
