#include "actors/shard_front.h"

#include "actors/deadline.h"
#include "actors/shard_replica.h"

namespace jade {
namespace {

// A state that nobody asked for so long is not kept.
constexpr uint64_t wanted_ms = 10'000;

}  // namespace

void ShardFront::publish(State state) {
  {
    std::lock_guard lock(mutex_);
    std::swap(state_, state);
  }
  // What was there before ends without the lock.
}

bool ShardFront::wanted(uint64_t now_ms) const {
  const uint64_t asked_ms = asked_ms_.load(std::memory_order_relaxed);
  return asked_ms != 0 && now_ms < asked_ms + wanted_ms;
}

std::optional<SearchTask> ShardFront::admit(ShardSearch& search, uint64_t now_ms) {
  want(now_ms);
  std::lock_guard lock(mutex_);
  const State& state = state_;
  if (!state.view || is_over(search.route, now_ms)) return std::nullopt;
  // The actor sees to it that there is a calibration.
  if (!search.exact && min_recall_of(search, state.view->index) > 0) return std::nullopt;
  if (search.last_child != state.last_child) return std::nullopt;
  if (search.router != 0 && search.router < state.router_announced) return std::nullopt;
  if (search.router > state.router_done) return std::nullopt;
  const bool token = search.consistency == Consistency::session && search.applied_min > 0;
  const bool fresh = search.consistency == Consistency::eventual ||
                     (token && state.view->applied_index >= search.applied_min) ||
                     (!token && now_ms < state.leads_until_ms);
  if (!fresh) return std::nullopt;
  return SearchTask{state.view, std::move(search)};
}

std::shared_ptr<ShardFront> ShardFronts::add(uint64_t group) {
  auto front = std::make_shared<ShardFront>();
  std::lock_guard lock(mutex_);
  fronts_[group] = front;
  return front;
}

void ShardFronts::remove(uint64_t group, const std::shared_ptr<ShardFront>& front) {
  front->withdraw();
  std::lock_guard lock(mutex_);
  auto found = fronts_.find(group);
  // Another actor of the shard may have begun.
  if (found != fronts_.end() && found->second == front) fronts_.erase(found);
}

std::optional<SearchTask> ShardFronts::admit(ShardSearch& search, uint64_t now_ms) const {
  std::shared_ptr<ShardFront> front;
  {
    std::lock_guard lock(mutex_);
    auto found = fronts_.find(search.route.group);
    if (found == fronts_.end()) return std::nullopt;
    front = found->second;
  }
  take_up(search.route, now_ms);
  return front->admit(search, now_ms);
}

}  // namespace jade
