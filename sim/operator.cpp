#include "sim/operator.h"

#include <algorithm>
#include <set>
#include <utility>

#include "sim/records.h"

namespace jade::sim {
namespace {

// Shards are not split any more when a database has so many.
constexpr size_t shards_max = 8;

const char* verb_of(NodeChange change) {
  if (change == NodeChange::drain) return "drains ";
  return change == NodeChange::activate ? "takes back " : "removes ";
}

}  // namespace

Operator::Operator(const SimulationOptions& options, Run& run, Cluster& cluster, Faults& faults,
                   OldDisks& old_disks)
    : options_(options), run_(run), cluster_(cluster), faults_(faults), old_disks_(old_disks) {
  cluster.when_ended([this](size_t machine, bool) {
    if (asked_ == machine) waits_ = false;
  });
}

void Operator::schedule() {
  const uint64_t mean_ms = cluster_.several() ? options_.operator_interval_ms : 0;
  next_look_ns_ = mean_ms == 0 ? never : run_.now_ns() + (1 + run_.draw(2 * mean_ms)) * ms;
}

void Operator::postpone() { next_look_ns_ = std::max(next_look_ns_, run_.now_ns() + ms); }

void Operator::act_if_due() {
  if (run_.now_ns() >= next_look_ns_) look();
  if (!seen_) return;
  ClusterInfo info = *std::exchange(seen_, std::nullopt);
  cluster_.retire_removed(info);
  act(info);
}

void Operator::look() {
  schedule();
  size_t machine = cluster_.pick_member();
  if (waits_ || !cluster_.running(machine)) return;
  auto seen = answered<ClusterInfo>(machine, [this](Result<ClusterInfo>& info) {
    if (!info.ok()) return cluster_.check_error(info.status());
    seen_ = std::move(*info);
  });
  Cluster::describe(cluster_.node(machine).api(), seen);
}

template <class T>
Api::Done<T> Operator::answered(size_t machine, std::function<void(Result<T>&)> check) {
  waits_ = true;
  asked_ = machine;
  uint64_t process = cluster_.node(machine).starts();
  return [this, machine, process, check](Result<T> result) {
    bool same = waits_ && asked_ == machine && cluster_.node(machine).starts() == process;
    if (!same) return;
    waits_ = false;
    check(result);
  };
}

template <class T>
Api::Done<T> Operator::changed(size_t machine, Fault kind, std::function<void()> then) {
  return answered<T>(machine, [this, kind, then](Result<T>& result) {
    if (result.ok()) ++run_.report().faults[kind];
    if (result.ok() && then) then();
    // What was true when the operator looked need not be true any more.
    const Code code = result.status().code();
    bool refused = code == Code::failed_precondition || code == Code::not_found;
    if (!result.ok() && !refused) cluster_.check_error(result.status());
  });
}

void Operator::act(const ClusterInfo& info) {
  std::vector<Fault> kinds;
  for (Fault kind : {Fault::lost_disk, Fault::old_disk, Fault::bit_rot, Fault::join, Fault::drain,
                     Fault::remove, Fault::replicas, Fault::split, Fault::reindex}) {
    if (options_.faults.count(kind) > 0) kinds.push_back(kind);
  }
  // A node that has just begun may know an old catalog.
  if (kinds.empty() || info.nodes.empty() || info.databases.empty()) return;
  Fault kind = kinds[run_.draw(kinds.size())];
  run_.note(40 + static_cast<uint64_t>(kind));
  const NodeInfo& node = info.nodes[run_.draw(info.nodes.size())];
  switch (kind) {
    case Fault::lost_disk: return lose_disk(info);
    case Fault::old_disk: return put_disk_back(info);
    case Fault::bit_rot: return let_rot(info);
    case Fault::join: return join_spare();
    case Fault::drain: return drain_or_take_back(node);
    case Fault::remove: return remove_empty(info);
    case Fault::split: return split_shard(info);
    case Fault::reindex: return change_index();
    default:
      return change_replicas(static_cast<uint32_t>(1 + run_.draw(std::max(3u, options_.replicas))));
  }
}

// ---- machines

void Operator::drain_or_take_back(const NodeInfo& node) {
  bool back = node.state != "active";
  change_node(node, back ? NodeChange::activate : NodeChange::drain, Fault::drain);
}

void Operator::remove_empty(const ClusterInfo& info) {
  for (const NodeInfo& node : info.nodes) {
    bool gone = node.state == "drained" || !cluster_.machine_of(node.id);
    if (node.replicas == 0 && gone) return change_node(node, NodeChange::remove, Fault::remove);
  }
}

void Operator::change_node(const NodeInfo& node, NodeChange change, Fault kind) {
  if (change != NodeChange::remove && !cluster_.machine_of(node.id)) return;
  size_t machine = cluster_.pick_member();
  if (!cluster_.running(machine)) return;
  run_.say(machine, verb_of(change) + node.name);
  cluster_.node(machine).api().change_node(
      {std::to_string(node.id), change},
      changed<NodeInfo>(machine, kind, [this, change, id = node.id] {
        if (change == NodeChange::remove) cluster_.note_removal(id);
      }));
}

void Operator::join_spare() {
  auto spare = cluster_.pick_spare();
  if (!spare) return;
  ++run_.report().faults[Fault::join];
  cluster_.join(*spare);
}

void Operator::lose_disk(const ClusterInfo& info) {
  uint32_t disks = 2;
  while (disks > 0 && !may_lose_disk(info, disks)) --disks;
  // Several at the same moment: after it, not everything else is well.
  std::set<size_t> hit;
  while (hit.size() < disks) hit.insert(cluster_.pick_member());
  for (size_t machine : hit) {
    ++lost_disks_;
    run_.say(machine, "loses its disk");
    ++run_.report().faults[Fault::lost_disk];
    cluster_.replace_disk(machine, true);
  }
}

void Operator::put_disk_back(const ClusterInfo& info) {
  size_t machine = cluster_.pick_member();
  if (!may_lose_disk(info) || !old_disks_.has_older(machine)) return;
  lost_disks_ = 1;
  ++run_.report().faults[Fault::old_disk];
  old_disks_.put_back(machine);
}

void Operator::let_rot(const ClusterInfo& info) {
  if (!may_lose_disk(info) || !cluster_.let_rot(cluster_.pick_member())) return;
  lost_disks_ = 1;
  ++run_.report().faults[Fault::bit_rot];
}

// Only what a cluster must survive: everything else is well, and there are others.
// Who has asked for fewer replicas than leave a majority wants to survive no such thing.
bool Operator::may_lose_disk(const ClusterInfo& info, uint32_t disks) const {
  const uint32_t least = 2 * disks + 1;
  if (!faults_.calm() || !info.tasks.empty() || fewest_asked_ < least) return false;
  if (cluster_.rotten()) return false;
  size_t voters = 0;
  for (const NodeInfo& node : info.nodes) {
    if (!node.alive || !cluster_.machine_of(node.id)) return false;
    voters += node.votes ? 1 : 0;
  }
  if (voters < least) return false;
  for (const DatabaseInfo& db : info.databases) {
    for (const ShardInfo& shard : db.placement) {
      if (shard.nodes.size() < least || db.spec.replicas < least) return false;
    }
  }
  return true;
}

// ---- databases

void Operator::change_replicas(uint32_t replicas) {
  size_t machine = cluster_.pick_member();
  if (!cluster_.running(machine) || (lost_disks_ > 0 && replicas < 2 * lost_disks_ + 1)) {
    return;
  }
  fewest_asked_ = std::min(fewest_asked_, replicas);
  run_.say(machine, "wants " + std::to_string(replicas) + " replicas");
  cluster_.node(machine).api().alter_database({own_database, replicas, std::nullopt},
                                              changed<DatabaseInfo>(machine, Fault::replicas));
}

void Operator::change_index() {
  size_t machine = cluster_.pick_member();
  if (!cluster_.running(machine)) return;
  IndexChange change;
  change.kind = static_cast<IndexKind>(run_.draw(static_cast<size_t>(index_kind_max) + 1));
  const auto codes = static_cast<Quantization>(run_.draw(2));  // sq8, sq4
  const bool graph = has_graphs(*change.kind);
  if (graph) change.quantization = codes;
  change.vectors = graph && run_.draw(2) == 0 ? VectorPlace::disk : VectorPlace::memory;
  run_.say(machine, "wants the index to be " + std::string(to_string(*change.kind)));
  cluster_.node(machine).api().alter_database({own_database, std::nullopt, change},
                                              changed<DatabaseInfo>(machine, Fault::reindex));
}

void Operator::split_shard(const ClusterInfo& info) {
  const DatabaseInfo& db = info.databases[run_.draw(info.databases.size())];
  const ShardInfo& shard = db.placement[run_.draw(db.placement.size())];
  size_t machine = cluster_.pick_member();
  if (!cluster_.running(machine) || db.placement.size() >= shards_max) return;
  run_.say(machine, "splits shard " + std::to_string(shard.shard) + " of " + db.spec.name);
  cluster_.node(machine).api().split_shard({db.spec.name, shard.shard},
                                           changed<DatabaseInfo>(machine, Fault::split));
}

}  // namespace jade::sim
