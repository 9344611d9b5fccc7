#include "actors/cluster_view.h"

#include <algorithm>

namespace jade {
namespace {

// A node that was heard of since is alive: each is asked every second.
constexpr uint64_t alive_ms = 5000;

std::vector<std::string> role_names(const NodeEntry& node) {
  std::vector<std::string> out;
  if (has_role(node, NodeRole::master)) out.emplace_back("master");
  if (has_role(node, NodeRole::worker)) out.emplace_back("worker");
  if (has_role(node, NodeRole::gateway)) out.emplace_back("gateway");
  return out;
}

const char* reason_name(uint8_t reason) {
  switch (static_cast<MoveReason>(reason)) {
    case MoveReason::drain: return "drain";
    case MoveReason::replace: return "replace";
    case MoveReason::balance: return "balance";
    case MoveReason::none:
    case MoveReason::replicas: break;
  }
  return "replicas";
}

// `shard`: as its leader tells.
TaskInfo describe_move(const std::string& database, const ShardPlacement& placement,
                       const ShardInfo& shard) {
  TaskInfo task;
  task.kind = reason_name(placement.reason);
  task.database = database;
  task.shard = placement.group;
  if (!placement.leaving.empty()) task.from = placement.leaving.front();
  if (!placement.joining.empty()) task.to = placement.joining.front();
  task.state = task.to == 0 ? "removing" : "waiting";
  for (const ReplicaInfo& replica : shard.replicas) {
    if (replica.node != task.to) continue;
    if (replica.voter) {
      task.state = "removing";
      task.progress = 1;
    } else if (replica.copied >= 0) {
      task.state = "copying";
      task.progress = replica.copied;
    } else if (replica.log_index > 0) {
      task.state = "catching up";
      task.progress = shard.applied_index == 0
                          ? 0
                          : std::min(1.0, static_cast<double>(replica.log_index) /
                                              static_cast<double>(shard.applied_index));
    }
  }
  return task;
}

TaskInfo describe_split(const std::string& database, const ShardPlacement& placement) {
  TaskInfo task;
  task.kind = "split";
  task.database = database;
  task.shard = placement.group;
  task.child = placement.child;
  task.state = placement.divided ? "trimming" : "dividing";
  task.progress = placement.divided ? 0.5 : 0;
  return task;
}

// Of a shard that does not follow a new router yet, with sharding by vector.
TaskInfo describe_routing(const DatabaseEntry& entry, uint64_t group) {
  TaskInfo task;
  task.kind = "route";
  task.database = entry.spec.name;
  task.shard = group;
  task.state = entry.is_moving() ? "moving" : "announcing";
  task.progress = entry.is_moving() ? 0.5 : 0;
  return task;
}

const NodeInfo* find_node(const ClusterInfo& info, uint64_t id) {
  auto found = std::find_if(info.nodes.begin(), info.nodes.end(),
                            [id](const NodeInfo& node) { return node.id == id; });
  return found == info.nodes.end() ? nullptr : &*found;
}

std::string name_of(const ClusterInfo& info, uint64_t id) {
  const NodeInfo* node = find_node(info, id);
  return node == nullptr ? "node " + std::to_string(id) : node->name;
}

bool is_alive(const ClusterInfo& info, uint64_t id) {
  const NodeInfo* node = find_node(info, id);
  return node != nullptr && node->alive;
}

std::string silence_of(const NodeInfo* node) {
  if (node == nullptr) return "which the catalog does not know";
  if (!node->problem.empty()) return "which must not take part: " + node->problem;
  if (!node->silent_ms) return "which has not been heard of";
  return "which has not been heard of for " + std::to_string(*node->silent_ms / 1000) + " s";
}

// "" unless the node does not answer.
std::string silent_node(const ClusterInfo& info, uint64_t id) {
  if (is_alive(info, id)) return "";
  return name_of(info, id) + ", " + silence_of(find_node(info, id));
}

// Those of the nodes that do not answer; "": all do.
std::string silent_nodes(const ClusterInfo& info, const std::vector<uint64_t>& nodes) {
  std::string out;
  for (uint64_t id : nodes) {
    std::string one = silent_node(info, id);
    if (!one.empty()) out += (out.empty() ? "" : "; ") + one;
  }
  return out;
}

std::string problem_of(const ShardInfo& shard, uint64_t node) {
  for (const ReplicaProblem& one : shard.problems) {
    if (one.node == node) return one.problem;
  }
  return "";
}

// What keeps the shard from having a leader that answers; "": it has one.
std::string missing_leader(const ClusterInfo& info, const ShardInfo& shard) {
  if (shard.unknown.empty() && shard.leader != 0) {
    std::string silent = silent_node(info, shard.leader);
    return silent.empty() ? "" : "the shard's leader " + silent;
  }
  std::string why = silent_nodes(info, shard.nodes);
  for (const ReplicaProblem& one : shard.problems) {
    why += (why.empty() ? "" : "; ") + name_of(info, one.node) + ": " + one.problem;
  }
  return why.empty() ? "a leader of the shard, which is being elected"
                     : "a leader of the shard: " + why;
}

// A move waits for a leader, for the node that is to get a replica, and for those that must be
// there when one is taken away.
std::string blocker_of_move(const ClusterInfo& info, const ShardPlacement& placement,
                            const ShardInfo& shard, const TaskInfo& task) {
  if (std::string why = missing_leader(info, shard); !why.empty()) return why;
  if (task.to != 0 && task.state != "removing") {
    if (std::string why = silent_node(info, task.to); !why.empty()) return why;
    if (std::string why = problem_of(shard, task.to); !why.empty()) {
      return name_of(info, task.to) + ", whose replica does not serve: " + why;
    }
  }
  if (task.state == "waiting") {
    bool member = std::any_of(shard.replicas.begin(), shard.replicas.end(),
                              [&](const ReplicaInfo& one) { return one.node == task.to; });
    if (member) return name_of(info, task.to) + " to begin its replica";
    return "the shard's leader " + name_of(info, shard.leader) + " to take in " +
           name_of(info, task.to);
  }
  if (task.state != "removing" || task.from == 0) return "";
  if (std::string why = silent_nodes(info, target_of(placement)); !why.empty()) {
    return why + "; without " + name_of(info, task.from) + " there might be no majority";
  }
  return task.from == shard.leader ? name_of(info, task.from) + " to hand over its lead" : "";
}

// What the shard says of what happens to it.
void describe_tasks(const DatabaseEntry& entry, const ShardInfo& shard, ClusterInfo& info) {
  const ShardPlacement* placement = find_shard(entry, shard.shard);
  if (placement == nullptr) return;
  if (placement->child != 0) {
    TaskInfo task = describe_split(entry.spec.name, *placement);
    task.waiting_for = missing_leader(info, shard);
    info.tasks.push_back(std::move(task));
  }
  if (entry.next_router) {
    const auto& done = entry.next_router->done;
    if (std::count(done.begin(), done.end(), shard.shard) == 0) {
      TaskInfo task = describe_routing(entry, shard.shard);
      task.waiting_for = missing_leader(info, shard);
      info.tasks.push_back(std::move(task));
    }
  }
  if (placement->leaving.empty() && placement->joining.empty()) return;
  TaskInfo task = describe_move(entry.spec.name, *placement, shard);
  task.waiting_for = blocker_of_move(info, *placement, shard, task);
  info.tasks.push_back(std::move(task));
}

void describe_replicas(const PeerStates& peers, ShardInfo& shard) {
  shard.problems.clear();  // of the replica that has answered: its node tells that as well
  for (uint64_t node : shard.nodes) {
    auto told = peers.shards.find(node);
    if (told == peers.shards.end()) continue;
    auto problem = told->second.find(shard.shard);
    if (problem != told->second.end()) shard.problems.push_back({node, problem->second});
  }
}

// Whether another node could take the replica of the shard that this one has.
bool has_place(const ClusterMap& map, const ClusterInfo& info, const ShardPlacement& shard) {
  return std::any_of(map.nodes.begin(), map.nodes.end(), [&](const auto& entry) {
    const auto& [id, node] = entry;
    return !node.draining && has_role(node, NodeRole::worker) && is_alive(info, id) &&
           std::count(shard.nodes.begin(), shard.nodes.end(), id) == 0;
  });
}

// Why replicas stay on a node that is to be emptied, or is silent; "": a task takes one away, or
// there is none.
std::string blocker_of_node(const ClusterMap& map, const ClusterInfo& info, const NodeInfo& node) {
  bool moves = std::any_of(info.tasks.begin(), info.tasks.end(),
                           [&](const TaskInfo& task) { return task.from == node.id; });
  if (node.replicas == 0 || moves) return "";
  if (info.master == 0) return "a master, which plans moves";
  for (const auto& [name, entry] : map.databases) {
    for (const ShardPlacement& shard : entry.shards) {
      if (std::count(shard.nodes.begin(), shard.nodes.end(), node.id) == 0) continue;
      const std::string what = "shard " + std::to_string(shard.group) + " of \"" + name + "\"";
      if (!has_place(map, info, shard)) {
        return "another worker that is alive, not drained and has no replica of " + what;
      }
      if (shard.is_splitting()) return "the end of the split of " + what;
    }
  }
  if (!node.alive) return node.name + " to come back, or to be silent for long enough";
  return info.tasks.empty() ? "the master to plan its moves"
                            : "other moves: to each node one shard moves at a time";
}

}  // namespace

void describe_life(uint64_t own, const PeerStates& peers, NodeInfo& node) {
  if (node.id == own) return;
  auto silent = peers.silent_ms.find(node.id);
  if (silent != peers.silent_ms.end()) node.silent_ms = silent->second;
  bool linked = std::count(peers.connected.begin(), peers.connected.end(), node.id) > 0;
  node.alive = linked && node.silent_ms && *node.silent_ms <= alive_ms;
  if (auto found = peers.problems.find(node.id); found != peers.problems.end()) {
    node.alive = false;
    node.problem = found->second;
  }
  if (node.alive) node.silent_ms.reset();
}

NodeInfo describe_node(const ClusterMap& map, const NodeEntry& node) {
  NodeInfo info;
  info.id = node.id;
  info.name = node.name;
  info.address = node.api_address;
  info.cluster_address = node.address;
  info.roles = role_names(node);
  for (const auto& [name, entry] : map.databases) {
    for (const ShardPlacement& shard : entry.shards) {
      info.replicas +=
          static_cast<uint64_t>(std::count(shard.nodes.begin(), shard.nodes.end(), node.id));
    }
  }
  info.state = !node.draining ? "active" : info.replicas > 0 ? "draining" : "drained";
  return info;
}

void describe_cluster(const ClusterMap& map, uint64_t own, const PeerStates& peers,
                      ClusterInfo& info) {
  for (NodeInfo& node : info.nodes) describe_life(own, peers, node);
  for (DatabaseInfo& database : info.databases) {
    const DatabaseEntry* entry = map.find(database.spec.name);
    for (ShardInfo& shard : database.placement) {
      describe_replicas(peers, shard);
      for (NodeInfo& node : info.nodes) node.leads += node.id == shard.leader;
      if (entry != nullptr) describe_tasks(*entry, shard, info);
    }
  }
  for (NodeInfo& node : info.nodes) {
    if (!node.alive || node.state == "draining") {
      node.waiting_for = blocker_of_node(map, info, node);
    }
  }
}

}  // namespace jade
