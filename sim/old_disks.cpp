#include "sim/old_disks.h"

#include <algorithm>

#include "actors/catalog.h"

namespace jade::sim {
namespace {

// A node with an old disk may be cut off, or stand still, for a while.
constexpr uint64_t notice_ns_max = 60'000 * ms;

}  // namespace

OldDisks::OldDisks(bool enabled, Run& run, Cluster& cluster)
    : run_(run), cluster_(cluster), states_(cluster.size()) {
  cluster.when_logged([this](size_t machine, std::string_view message) { hear(machine, message); });
  cluster.when_ended([this, keeps = enabled && cluster.several()](size_t machine, bool new_disk) {
    if (new_disk) {
      states_[machine] = {};
    } else if (keeps) {
      keep_copy(machine);
    }
  });
}

void OldDisks::keep_copy(size_t machine) {
  State& state = states_[machine];
  if (state.until_ns != never) return;
  if (state.image != nullptr && run_.draw(4) != 0) return;
  SimNode& node = cluster_.node(machine);
  state.image = std::make_shared<const SimDisk::Image>(node.disk().image());
  state.image_starts = node.starts();
}

void OldDisks::hear(size_t machine, std::string_view message) {
  if (message != outlived(cluster_.node(machine).config().name).message()) return;
  states_[machine].refused = true;
  if (states_[machine].until_ns == never) {
    run_.fail("node " + std::to_string(machine + 1) +
              " is refused with the disk that it should have");
  }
}

void OldDisks::caught_up() {
  for (size_t i : cluster_.members()) states_[i].checked_starts = cluster_.node(i).starts();
}

bool OldDisks::has_older(size_t machine) const {
  const State& state = states_[machine];
  return state.image != nullptr && state.checked_starts > state.image_starts;
}

void OldDisks::put_back(size_t machine) {
  run_.say(machine, "gets an older copy of its disk");
  states_[machine].until_ns = run_.now_ns() + notice_ns_max;
  cluster_.put_disk_back(machine, *states_[machine].image);
}

bool OldDisks::any() const {
  return std::any_of(states_.begin(), states_.end(),
                     [](const State& state) { return state.until_ns != never; });
}

void OldDisks::look_after(size_t machine) {
  const State& state = states_[machine];
  if (state.until_ns == never) return;
  if (state.refused) return cluster_.replace_disk(machine, true);
  if (run_.now_ns() >= state.until_ns) fail_unnoticed(machine);
}

void OldDisks::await_refusals() {
  for (size_t i : cluster_.members()) {
    const State& state = states_[i];
    if (!run_.ok() || state.until_ns == never) continue;
    if (!cluster_.run_until([&] { return state.refused; }, notice_ns_max)) {
      return fail_unnoticed(i);
    }
    cluster_.replace_disk(i, true);
    cluster_.start(i);
  }
}

void OldDisks::fail_unnoticed(size_t machine) {
  run_.fail("node " + std::to_string(machine + 1) + " has an old disk, and nobody notices");
}

}  // namespace jade::sim
