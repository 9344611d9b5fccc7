// Waiting for a cluster to be what its catalog says it is to be, when no faults are about.
#pragma once

#include "sim/cluster.h"

namespace jade::sim {

// Waits until all members serve. False: one does not in time, and the run has failed.
bool await_ready(Run& run, Cluster& cluster);

// Waits until each shard has the replicas that it should have and nothing is on its way any
// more. False: there are not enough nodes for that, or it did not come about in time and the
// run has failed.
bool await_settled(Run& run, Cluster& cluster);

}  // namespace jade::sim
