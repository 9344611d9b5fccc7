// What GET /v1/cluster shows, as pure functions of what the node that is asked has learnt.
#pragma once

#include "actors/api.h"
#include "actors/cluster_map.h"
#include "actors/messages.h"

namespace jade {

// What the catalog says of a node; whether it is alive is for describe_life().
NodeInfo describe_node(const ClusterMap& map, const NodeEntry& node);

// Whether the node is alive, and why its messages do not count. `own`: as below.
void describe_life(uint64_t own, const PeerStates& peers, NodeInfo& node);

// Completes `info`, which has the nodes as describe_node() gives them, the databases with their
// shards, and the master: who is alive, which replicas do not serve, what moves, and what that
// waits for. `own`: the node that is asked, which knows what `peers` says of the others.
void describe_cluster(const ClusterMap& map, uint64_t own, const PeerStates& peers,
                      ClusterInfo& info);

}  // namespace jade
