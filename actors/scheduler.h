// Runs the actors of a node, in place of the schedulers that CAF has.
//
// A search goes through five actors of a node, each of which works for microseconds. With
// CAF's schedulers every one of these steps wakes a thread. Here a worker keeps what it makes
// runnable to itself, and only wakes another for what it cannot do next. The idea of the slot
// is that of Go's scheduler ("runnext"). The clock is CAF's (but see actors/timers.h).
//
// Some actors work for milliseconds at a time: those that carry writes out. They have workers of
// their own, as many and of lower priority, so that the others wait for none of them.
//
// A node under the simulator is run by the simulator instead (sim/).
#pragma once

#include <caf/actor_system_config.hpp>
#include <string_view>

namespace jade {

// Whether actors of this name (of their state) have the workers of lower priority.
bool works_long(std::string_view name);

// Of systems made with this configuration. `scheduler.max-threads` counts as ever, for each of
// both kinds of workers.
void use_node_scheduler(caf::actor_system_config& config);

}  // namespace jade
