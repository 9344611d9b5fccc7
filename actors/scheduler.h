// Runs the actors of a node, in place of the schedulers that CAF has.
//
// A search goes through five actors of a node, each of which works for microseconds. With
// CAF's schedulers every one of these steps wakes a thread. Here a worker keeps what it makes
// runnable to itself, and only wakes another for what it cannot do next. The idea of the slot
// is that of Go's scheduler ("runnext"). The clock is CAF's (but see actors/timers.h).
//
// A node under the simulator is run by the simulator instead (sim/).
#pragma once

#include <caf/actor_system_config.hpp>

namespace jade {

// Of systems made with this configuration. `scheduler.max-threads` counts as ever.
void use_node_scheduler(caf::actor_system_config& config);

}  // namespace jade
