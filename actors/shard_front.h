// Searches that need not wait for the actor of a shard, which may have writes to carry out
// before it comes to them.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "actors/messages.h"

namespace jade {

// The latest state of one replica of this node. Its shard actor publishes it, before it
// acknowledges the write that made it; any thread may search it. All moments are of the
// actor clock.
class ShardFront {
 public:
  struct State {
    std::shared_ptr<const ShardSnapshot> view;  // null: the actor has to be asked
    uint64_t leads_until_ms = 0;                // nobody else can have been elected before
    uint64_t last_child = 0;                    // as in ShardReplica
    uint64_t router_announced = 0;
    uint64_t router_done = 0;
  };

  void publish(State state);
  void withdraw() { publish({}); }
  // Whether somebody has asked lately: else it is not worth publishing.
  bool wanted(uint64_t now_ms) const;
  // That somebody asks for it.
  void want(uint64_t now_ms) { asked_ms_.store(now_ms, std::memory_order_relaxed); }
  // What answers the search, where it can be seen that the actor would answer it by this
  // state. `search` is moved from then.
  std::optional<SearchTask> admit(ShardSearch& search, uint64_t now_ms);

 private:
  std::atomic<uint64_t> asked_ms_{0};
  mutable std::mutex mutex_;
  State state_;
};

// Those of a node. Any thread.
class ShardFronts {
 public:
  // As a shard begins, and ends.
  std::shared_ptr<ShardFront> add(uint64_t group);
  void remove(uint64_t group, const std::shared_ptr<ShardFront>& front);

  std::optional<SearchTask> admit(ShardSearch& search, uint64_t now_ms) const;

 private:
  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<ShardFront>> fronts_;
};

}  // namespace jade
