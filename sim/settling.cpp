#include "sim/settling.h"

#include <algorithm>
#include <string>

namespace jade::sim {
namespace {

// Moves come to an end within this, once nothing is the matter any more.
constexpr uint64_t settling_ns_max = 120'000 * ms;

std::string nodes_of(const ClusterInfo& info) {
  std::string out = "; nodes";
  for (const NodeInfo& node : info.nodes) {
    out += " " + std::to_string(node.id) + " (" + node.state + ", " +
           std::to_string(node.replicas) + " replicas)";
  }
  return out;
}

std::string members_of(const ClusterInfo& info, uint64_t group) {
  std::string out;
  for (const DatabaseInfo& db : info.databases) {
    for (const ShardInfo& shard : db.placement) {
      if (shard.shard != group) continue;
      out += "; leader " + std::to_string(shard.leader) + " at entry " +
             std::to_string(shard.applied_index) + ", members";
      for (const ReplicaInfo& replica : shard.replicas) {
        out += (replica.voter ? " voter " : " learner ") + std::to_string(replica.node) + " at " +
               std::to_string(replica.log_index);
      }
      for (const ReplicaProblem& problem : shard.problems) {
        out += "; on node " + std::to_string(problem.node) + ": " + problem.problem;
      }
      if (!shard.unknown.empty()) out += "; " + shard.unknown;
    }
  }
  return out;
}

// Empty: it has settled.
std::string unsettled(const ClusterInfo& info, const Cluster& cluster) {
  if (!info.tasks.empty()) {
    const TaskInfo& task = info.tasks[0];
    return "the " + task.kind + " of shard " + std::to_string(task.shard) + " from node " +
           std::to_string(task.from) + " to " + std::to_string(task.to) + " does not end: it is " +
           task.state + members_of(info, task.shard) + nodes_of(info);
  }
  for (const DatabaseInfo& db : info.databases) {
    if (db.router_state == "moving") return "vectors of " + db.spec.name + " are still moving";
    for (const ShardInfo& shard : db.placement) {
      std::string which = "shard " + std::to_string(shard.shard);
      if (shard.nodes.size() != db.spec.replicas) {
        return which + " has " + std::to_string(shard.nodes.size()) + " replicas";
      }
      for (uint64_t node : shard.nodes) {
        if (!cluster.machine_of(node)) return which + " has a replica on a lost node";
      }
    }
  }
  return {};
}

// Whether there are nodes for all replicas at all.
bool can_settle(const ClusterInfo& info, const Cluster& cluster) {
  auto usable = std::count_if(info.nodes.begin(), info.nodes.end(), [&](const NodeInfo& node) {
    return node.state == "active" && cluster.machine_of(node.id);
  });
  return std::all_of(info.databases.begin(), info.databases.end(), [&](const DatabaseInfo& db) {
    return db.spec.replicas <= static_cast<uint64_t>(usable);
  });
}

}  // namespace

bool await_ready(Run& run, Cluster& cluster) {
  const uint64_t stop_ns = run.now_ns() + recovery_ns_max;
  std::vector<size_t> all = cluster.members();
  for (size_t i = 0; i < all.size();) {
    auto ready = cluster.ask<std::string>([](Api& api, auto done) { api.ready(done); }, all[i]);
    if (ready.ok()) {
      ++i;
      continue;
    }
    if (run.now_ns() >= stop_ns) {
      run.fail("a node does not become ready: node " + std::to_string(all[i] + 1) + ": " +
               ready.status().to_string());
      return false;
    }
    cluster.run_for(100 * ms);
    // Its removal may have become known only now.
    auto info = cluster.ask<ClusterInfo>(Cluster::describe);
    if (!info.ok()) continue;
    cluster.retire_removed(*info);
    all = cluster.members();
    i = std::min(i, all.size() - 1);
  }
  return true;
}

bool await_settled(Run& run, Cluster& cluster) {
  const uint64_t stop_ns = run.now_ns() + settling_ns_max;
  for (;;) {
    auto info = cluster.insist<ClusterInfo>(Cluster::describe);
    if (!info.ok()) {
      run.fail("looking at the cluster: " + info.status().to_string());
      return false;
    }
    cluster.retire_removed(*info);
    std::string why = unsettled(*info, cluster);
    if (why.empty() || !can_settle(*info, cluster)) return why.empty();
    if (run.now_ns() >= stop_ns) {
      run.fail("the cluster does not settle: " + why);
      return false;
    }
    cluster.run_for(500 * ms);
  }
}

}  // namespace jade::sim
