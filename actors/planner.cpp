#include "actors/planner.h"

#include <algorithm>
#include <tuple>

namespace jade {
namespace {

constexpr size_t voters_max = 5;
// So many survive the loss of one; drained nodes vote where there would be fewer.
constexpr size_t safe_voters = 3;

// An odd number: one more vote than that guards against no further loss.
size_t votes_of(size_t nodes) {
  return nodes == 0 ? 0 : std::min(voters_max, (nodes - 1) / 2 * 2 + 1);
}

bool contains(const std::vector<uint64_t>& list, uint64_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

struct Load {
  size_t replicas = 0;
  size_t first = 0;  // shards that it should lead
};

// Of all nodes, once every move is over.
std::map<uint64_t, Load> loads_of(const ClusterMap& map) {
  std::map<uint64_t, Load> loads;
  for (const auto& [id, node] : map.nodes) loads[id];
  for (const auto& [name, entry] : map.databases) {
    for (const ShardPlacement& shard : entry.shards) {
      std::vector<uint64_t> target = target_of(shard);
      for (uint64_t node : target) ++loads[node].replicas;
      ++loads[target.front()].first;
    }
  }
  return loads;
}

class Planner {
 public:
  Planner(const ClusterMap& map, const NodeHealth& health)
      : map_(map), health_(health), loads_(loads_of(map)) {
    for (const auto& [name, entry] : map.databases) {
      for (const ShardPlacement& shard : entry.shards) {
        receiving_.insert(shard.joining.begin(), shard.joining.end());
        moving_ = moving_ || !shard.joining.empty() || !shard.leaving.empty();
      }
    }
  }

  std::optional<ShardRecord> plan() const {
    for (const auto& [name, entry] : map_.databases) {
      for (const ShardPlacement& shard : entry.shards) {
        // Before it has had a leader nobody could change its members.
        if (!shard.founded || shard.is_splitting()) continue;
        if (auto move = mend(shard, entry.spec.replicas)) return move;
      }
    }
    if (moving_) return std::nullopt;
    if (auto move = balance_replicas()) return move;
    return balance_leaders();
  }

 private:
  bool may_stay(uint64_t node) const {
    auto found = map_.nodes.find(node);
    return found != map_.nodes.end() && !found->second.draining &&
           has_role(found->second, NodeRole::worker) && health_.lost.count(node) == 0;
  }
  bool usable(uint64_t node) const { return may_stay(node) && health_.alive.count(node) > 0; }

  // Whether more than half of those that have a replica are there.
  bool has_majority(const ShardPlacement& shard) const {
    size_t had = 0, left = 0;
    for (uint64_t node : shard.nodes) {
      if (contains(shard.joining, node)) continue;
      ++had;
      left += map_.nodes.count(node) > 0 && health_.lost.count(node) == 0 ? 1 : 0;
    }
    return 2 * left > had;
  }

  // The least loaded node that could take a replica of the shard now; 0: none.
  uint64_t spare(const ShardPlacement& shard) const {
    uint64_t best = 0;
    for (const auto& [node, load] : loads_) {
      if (!usable(node) || contains(shard.nodes, node) || receiving_.count(node) > 0) continue;
      if (best == 0 || load.replicas < loads_.at(best).replicas) best = node;
    }
    return best;
  }

  // One that must not stay, or else cannot be reached, or else is the most loaded.
  uint64_t superfluous(const std::vector<uint64_t>& target) const {
    auto better = [this](uint64_t a, uint64_t b) {
      auto badness = [this](uint64_t node) {
        auto load = loads_.find(node);
        return std::tuple(!may_stay(node), !usable(node),
                          load == loads_.end() ? size_t{0} : load->second.replicas);
      };
      return badness(a) < badness(b);
    };
    return *std::max_element(target.begin(), target.end(), better);
  }

  std::optional<ShardRecord> mend(const ShardPlacement& shard, uint32_t replicas) const {
    std::vector<uint64_t> target = target_of(shard);
    bool moving = !shard.joining.empty() || !shard.leaving.empty();
    // A move under way is changed only if it can come to no end.
    bool stuck = std::any_of(shard.joining.begin(), shard.joining.end(),
                             [this](uint64_t node) { return !may_stay(node); });
    if (moving && !stuck) return std::nullopt;
    if (target.size() > replicas) {
      std::erase(target, superfluous(target));
      return move_to(shard, target, MoveReason::replicas);
    }
    // One that was to give up its replica still has it.
    auto back = std::find_if(shard.leaving.begin(), shard.leaving.end(),
                             [this](uint64_t node) { return usable(node); });
    uint64_t to = back != shard.leaving.end() ? *back : spare(shard);
    if (to == 0) return stuck ? take_back(shard, replicas) : std::nullopt;
    for (uint64_t& node : target) {
      if (may_stay(node)) continue;
      auto found = map_.nodes.find(node);
      bool drained = found != map_.nodes.end() && found->second.draining;
      // A group without one cannot take another in: it would wait for ever, with nothing.
      const bool lost = found == map_.nodes.end() || health_.lost.count(node) > 0;
      if (lost && !has_majority(shard)) continue;
      node = to;
      return move_to(shard, target, drained ? MoveReason::drain : MoveReason::replace);
    }
    if (target.size() >= replicas) return std::nullopt;
    target.push_back(to);
    return move_to(shard, target, MoveReason::replicas);
  }

  // Of a move that can come to no end: without the nodes that cannot get their replica, and with
  // those that were to give theirs up, as they have nobody to leave it to. Nothing where no node
  // would be left.
  std::optional<ShardRecord> take_back(const ShardPlacement& shard, uint32_t replicas) const {
    const std::vector<uint64_t> wanted = target_of(shard);
    std::vector<uint64_t> target = wanted;
    std::erase_if(target, [&](uint64_t node) {
      bool gone = map_.nodes.count(node) == 0 || health_.lost.count(node) > 0;
      return gone && contains(shard.joining, node);
    });
    for (uint64_t node : shard.leaving) {
      if (target.size() < replicas && health_.alive.count(node) > 0) target.push_back(node);
    }
    if (target.empty() || target == wanted) return std::nullopt;
    return move_to(shard, target, MoveReason::replace);
  }

  static ShardRecord move_to(const ShardPlacement& shard, const std::vector<uint64_t>& target,
                             MoveReason reason) {
    ShardRecord next = shard;
    next.nodes = target;
    next.leaving.clear();
    next.joining.clear();
    for (uint64_t node : target) {
      // One that was to leave may have been about to join before, and then has none.
      if (!contains(shard.nodes, node) || contains(shard.joining, node) ||
          contains(shard.leaving, node)) {
        next.joining.push_back(node);
      }
    }
    for (uint64_t node : shard.nodes) {
      if (contains(target, node)) continue;
      next.nodes.push_back(node);
      next.leaving.push_back(node);
    }
    next.reason = static_cast<uint8_t>(reason);
    return next;
  }

  std::optional<ShardRecord> balance_replicas() const {
    for (const auto& [name, entry] : map_.databases) {
      for (const ShardPlacement& shard : entry.shards) {
        if (!shard.founded || shard.is_splitting()) continue;
        uint64_t to = spare(shard);
        if (to == 0) continue;
        std::vector<uint64_t> target = shard.nodes;
        auto from = std::max_element(target.begin(), target.end(), [this](uint64_t a, uint64_t b) {
          return loads_.at(a).replicas < loads_.at(b).replicas;
        });
        if (!usable(*from) || loads_.at(*from).replicas < loads_.at(to).replicas + 2) continue;
        *from = to;
        return move_to(shard, target, MoveReason::balance);
      }
    }
    return std::nullopt;
  }

  std::optional<ShardRecord> balance_leaders() const {
    for (const auto& [name, entry] : map_.databases) {
      for (const ShardPlacement& shard : entry.shards) {
        if (!shard.founded || shard.is_splitting()) continue;
        size_t first = loads_.at(shard.nodes.front()).first;
        ShardRecord next = shard;
        auto to = std::min_element(
            next.nodes.begin(), next.nodes.end(),
            [this](uint64_t a, uint64_t b) { return loads_.at(a).first < loads_.at(b).first; });
        if (!usable(*to) || first < loads_.at(*to).first + 2) continue;
        std::swap(next.nodes.front(), *to);
        next.reason = static_cast<uint8_t>(MoveReason::balance);
        return next;
      }
    }
    return std::nullopt;
  }

  const ClusterMap& map_;
  const NodeHealth& health_;
  std::map<uint64_t, Load> loads_;
  std::set<uint64_t> receiving_;
  bool moving_ = false;
};

}  // namespace

Result<std::vector<ShardPlacement>> place(const DatabaseSpec& spec, const ClusterMap& map,
                                          const NodeHealth& health) {
  std::vector<uint64_t> workers;
  for (const auto& [id, node] : map.nodes) {
    if (!node.draining && has_role(node, NodeRole::worker)) workers.push_back(id);
  }
  if (workers.size() < spec.replicas) {
    return Status(Code::failed_precondition,
                  "replicas is " + std::to_string(spec.replicas) + ", but the cluster has " +
                      std::to_string(workers.size()) + (workers.size() == 1 ? " node" : " nodes") +
                      " to put them on");
  }
  auto loads = loads_of(map);
  std::vector<ShardPlacement> out(spec.shards);
  for (ShardPlacement& shard : out) {
    std::vector<uint64_t> nodes = workers;
    std::stable_sort(nodes.begin(), nodes.end(), [&](uint64_t a, uint64_t b) {
      bool a_alive = health.alive.count(a) > 0, b_alive = health.alive.count(b) > 0;
      if (a_alive != b_alive) return a_alive;
      return loads[a].replicas < loads[b].replicas;
    });
    nodes.resize(spec.replicas);
    auto fewer_leaders = [&](uint64_t a, uint64_t b) { return loads[a].first < loads[b].first; };
    std::stable_sort(nodes.begin(), nodes.end(), fewer_leaders);
    for (uint64_t node : nodes) ++loads[node].replicas;
    ++loads[nodes.front()].first;
    shard.nodes = std::move(nodes);
  }
  return out;
}

std::optional<ShardRecord> plan_move(const ClusterMap& map, const NodeHealth& health) {
  return Planner(map, health).plan();
}

std::set<uint64_t> plan_voters(const ClusterMap& map, const NodeHealth& health,
                               const std::set<uint64_t>& voters,
                               const std::set<uint64_t>& candidates,
                               const std::set<uint64_t>& leaving) {
  std::vector<uint64_t> staying, drained;
  for (const auto& [id, node] : map.nodes) {
    if (!has_role(node, NodeRole::master) || leaving.count(id) > 0) continue;
    if (!node.draining) staying.push_back(id);
    // One that is silent has been switched off, as it was drained for.
    if (node.draining && health.alive.count(id) > 0) drained.push_back(id);
  }
  if (staying.empty()) return voters;
  size_t wanted = votes_of(staying.size());
  if (wanted < safe_voters) {
    wanted = std::min(safe_voters, votes_of(staying.size() + drained.size()));
  }
  std::set<uint64_t> out;
  auto take = [&](const std::vector<uint64_t>& from, auto&& which) {
    for (uint64_t node : from) {
      if (out.size() < wanted && which(node)) out.insert(node);
    }
  };
  auto votes = [&](uint64_t node) { return voters.count(node) > 0; };
  auto may_vote = [&](uint64_t node) { return candidates.count(node) > 0; };
  auto there = [&](uint64_t node) { return health.lost.count(node) == 0; };
  take(staying, [&](uint64_t node) { return votes(node) && there(node); });
  take(staying, [&](uint64_t node) { return may_vote(node) && there(node); });
  take(drained, votes);
  take(drained, may_vote);
  take(staying, votes);
  return out;
}

}  // namespace jade
