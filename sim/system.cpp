#include "sim/system.h"

#include "actors/messages.h"

namespace jade::sim {

struct SimSystem::Config : caf::actor_system_config {
  Config() {
    load<caf::io::middleman>();
    jade::add_message_types(*this);
    set("scheduler.policy", caf::atom("testing"));
    set("middleman.network-backend", caf::atom("testing"));
    set("middleman.manual-multiplexing", true);
    set("middleman.attach-utility-actors", true);
    set("middleman.workers", size_t{0});
    // The logger would start a thread of its own.
    set("logger.inline-output", true);
    set("logger.verbosity", caf::atom("quiet"));
  }
};

namespace {

using time_point = caf::actor_clock::time_point;

time_point at(uint64_t now_ns) {
  return time_point(
      std::chrono::duration_cast<time_point::duration>(std::chrono::nanoseconds(now_ns)));
}

}  // namespace

SimSystem::SimSystem(uint64_t now_ns)
    : config_(std::make_unique<Config>()),
      system_(*config_),
      scheduler_(dynamic_cast<caf::scheduler::test_coordinator&>(system_.scheduler())),
      multiplexer_(
          dynamic_cast<caf::io::network::test_multiplexer&>(system_.middleman().backend())) {
  system_.await_actors_before_shutdown(false);
  scheduler_.clock().current_time = at(now_ns);
}

SimSystem::~SimSystem() {
  scheduler_.clock().cancel_all();
  // The destructor of the system runs what is left; nothing may start anew.
}

uint64_t SimSystem::run(size_t index) {
  auto& jobs = scheduler_.jobs;
  auto chosen = jobs.begin() + static_cast<std::ptrdiff_t>(index);
  uint64_t id = 0;
  if (auto* actor = dynamic_cast<caf::scheduled_actor*>(*chosen)) id = actor->id();
  std::rotate(jobs.begin(), chosen, chosen + 1);
  scheduler_.run_once();
  return id;
}

std::optional<uint64_t> SimSystem::next_timeout_ns() const {
  const auto& schedule = scheduler_.clock().schedule();
  if (schedule.empty()) return std::nullopt;
  auto due = schedule.begin()->first.time_since_epoch();
  return static_cast<uint64_t>(
      std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::nanoseconds>(due).count()));
}

void SimSystem::advance_to(uint64_t now_ns) {
  auto& clock = scheduler_.clock();
  if (at(now_ns) <= clock.current_time) {
    clock.trigger_expired_timeouts();
  } else {
    clock.advance_time(at(now_ns) - clock.current_time);
  }
}

}  // namespace jade::sim
