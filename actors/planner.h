// Where replicas go: the master's decisions, as pure functions of what it knows.
#pragma once

#include <optional>
#include <set>
#include <vector>

#include "actors/cluster_map.h"

namespace jade {

// What the master knows of nodes beyond the catalog.
struct NodeHealth {
  std::set<uint64_t> alive;  // heard of within seconds
  std::set<uint64_t> lost;   // silent for so long that their replicas are replaced
};

// Where the replicas of a new database go: on different workers that are not being
// drained, those that are alive and have the fewest first. failed_precondition: there
// are not enough.
Result<std::vector<ShardPlacement>> place(const DatabaseSpec& spec, const ClusterMap& map,
                                          const NodeHealth& health);

// The next change of a placement that brings the cluster closer to what it should be,
// as a command for the catalog. In this order:
//
//   drain, replace  a replica leaves a node that is drained or lost, for another node
//   replicas        a shard gets as many replicas as its database asks for
//   balance         nodes hold equally many replicas, and lead equally many shards
//
// One shard at a time moves to a node, and nothing is moved for balance while
// anything else moves. Nothing: all is well, or there is nowhere to go.
std::optional<ShardRecord> plan_move(const ClusterMap& map, const NodeHealth& health);

// Those who should vote on the catalog: an odd number of nodes, up to five, that are
// not drained; members that vote now rather than others, and nodes that are not lost
// rather than those that are. Where these are fewer than three, drained nodes fill them
// up to three for as long as they are alive, and until another can take their place.
// `candidates` may be made voters now; `leaving` are to be removed and must not vote.
std::set<uint64_t> plan_voters(const ClusterMap& map, const NodeHealth& health,
                               const std::set<uint64_t>& voters,
                               const std::set<uint64_t>& candidates,
                               const std::set<uint64_t>& leaving = {});

}  // namespace jade
