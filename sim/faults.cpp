#include "sim/faults.h"

#include <algorithm>

namespace jade::sim {

Faults::Faults(const SimulationOptions& options, Run& run, Cluster& cluster, OldDisks& old_disks)
    : options_(options),
      run_(run),
      cluster_(cluster),
      old_disks_(old_disks),
      disk_over_ns_(cluster.size()) {
  cluster.when_elected([this](size_t machine, uint64_t, uint64_t) { elected_ = machine; });
}

// ---- when

void Faults::schedule() {
  const uint64_t mean_ms = options_.fault_interval_ms;
  next_strike_ns_ = mean_ms == 0 ? never : run_.now_ns() + (1 + run_.draw(2 * mean_ms)) * ms;
}

void Faults::postpone() { next_strike_ns_ = std::max(next_strike_ns_, run_.now_ns() + ms); }

uint64_t Faults::next_ns() const {
  uint64_t next = std::min(next_strike_ns_, network_over_ns_);
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (!cluster_.node(i).disk().healthy()) next = std::min(next, disk_over_ns_[i]);
  }
  return next;
}

void Faults::strike_if_due() {
  if (run_.now_ns() >= next_strike_ns_) strike();
}

void Faults::before_turn() {
  if (options_.fault_interval_ms > 0 && run_.draw(200'000) == 0) strike();
  elected_.reset();
}

void Faults::after_turn() {
  bool strikes = elected_ && options_.fault_interval_ms > 0 && enabled(Fault::election);
  if (strikes && cluster_.several() && run_.draw(3) == 0) strike_at_election(*elected_);
}

void Faults::look_after(size_t machine) {
  bool harmed = !cluster_.node(machine).disk().healthy();
  if (harmed && run_.now_ns() >= disk_over_ns_[machine]) end_disk_fault(machine);
  old_disks_.look_after(machine);
}

void Faults::look_after_network() {
  if (!network_is_well() && run_.now_ns() >= network_over_ns_) heal_network();
}

void Faults::heal() {
  for (size_t i = 0; i < cluster_.size(); ++i) {
    cluster_.node(i).disk().die_at_sync(0, false);
    if (!cluster_.node(i).disk().healthy()) end_disk_fault(i);
    cluster_.resume(i);
  }
  if (!network_is_well()) heal_network();
  cluster_.advance_to(run_.now_ns());
  cluster_.start_members();
  old_disks_.await_refusals();
}

bool Faults::calm() const {
  if (!network_is_well() || old_disks_.any()) return false;
  std::vector<size_t> members = cluster_.members();
  return std::all_of(members.begin(), members.end(),
                     [this](size_t i) { return cluster_.is_well(i); });
}

// ---- what

std::vector<Fault> Faults::possible(size_t machine) const {
  std::vector<Fault> kinds;
  auto may = [&](Fault fault, bool now) {
    if (enabled(fault) && now) kinds.push_back(fault);
  };
  const bool well = cluster_.is_well(machine), several = cluster_.several();
  may(Fault::crash, well);
  may(Fault::power_loss, well);
  may(Fault::crash_at_sync, well);
  may(Fault::disk_full, well);
  may(Fault::read_corruption, well);
  may(Fault::partition, several && network_is_well());
  may(Fault::slow_link, several && network_is_well());
  may(Fault::disconnect, several);
  may(Fault::pause, several && well);
  may(Fault::blackout, several);
  return kinds;
}

void Faults::strike() {
  schedule();
  const size_t machine = cluster_.pick_member();
  const std::vector<Fault> kinds = possible(machine);
  if (kinds.empty()) return;
  const Fault kind = kinds[run_.draw(kinds.size())];
  run_.note(3 + static_cast<uint64_t>(kind));
  switch (kind) {  // the first three are counted when they come
    case Fault::crash: return cluster_.end(machine, false);
    case Fault::power_loss: return cluster_.end(machine, true);
    case Fault::crash_at_sync: return strike_at_sync(machine);
    case Fault::partition: partition(); break;
    case Fault::slow_link: slow_down(machine); break;
    case Fault::disconnect: cluster_.disconnect(machine, cluster_.pick_member()); break;
    case Fault::blackout: black_out(); break;
    case Fault::pause: cluster_.pause(machine, (50 + run_.draw(4000)) * ms); break;
    default: strike_disk(machine, kind);
  }
  ++run_.report().faults[kind];
}

void Faults::strike_disk(size_t machine, Fault kind) {
  SimDisk& disk = cluster_.node(machine).disk();
  if (kind == Fault::disk_full) {
    run_.say(machine, "has a full disk");
    disk.set_capacity(disk.used_bytes() + run_.draw(20'000));
  } else {
    run_.say(machine, "reads flipped bits");
    disk.set_faults({.read_corruption = 0.05});
  }
  disk_over_ns_[machine] = run_.now_ns() + (100 + run_.draw(1000)) * ms;
}

void Faults::strike_at_sync(size_t machine) {
  const bool power = run_.draw(2) == 0;
  const uint64_t most = run_.draw(2) == 0 ? 2 : 30;
  const bool before = run_.draw(2) == 0;
  cluster_.end_at_sync(machine, 1 + run_.draw(most), before, power);
}

void Faults::black_out() {
  const bool power = run_.draw(2) == 0;
  for (size_t i : cluster_.members()) {
    if (cluster_.running(i)) cluster_.end(i, power);
  }
}

// A leader is most easily wronged when few know of it yet.
void Faults::strike_at_election(size_t leader) {
  ++run_.report().faults[Fault::election];
  run_.note(60);
  run_.say(leader, "was elected");
  const uint64_t kind = run_.draw(4);
  if (kind == 0 && network_is_well()) return cut_in_two(uint64_t{1} << leader);
  if (kind == 1) return cluster_.pause(leader, (50 + run_.draw(4000)) * ms);
  for (size_t i : cluster_.members()) {
    bool hit = i == leader ? kind != 3 : run_.draw(2) == 0;
    if (hit && cluster_.is_well(i)) cluster_.end_shortly(i, run_.draw(2) == 0);
  }
}

void Faults::partition() {
  if (cluster_.size() > 2 && run_.draw(3) == 0) return cut_link();
  cut_in_two(1 + run_.draw((1u << cluster_.size()) - 2));
}

// Cuts the cluster in two, or only what goes from one part to the other. `side`: a bit for each
// machine of one of them.
void Faults::cut_in_two(uint64_t side) {
  bool both = run_.draw(3) > 0;
  for (size_t a = 0; a < cluster_.size(); ++a) {
    for (size_t b = 0; b < cluster_.size(); ++b) {
      bool a_in = (side >> a & 1) != 0, b_in = (side >> b & 1) != 0;
      if (a_in != b_in && (both || a_in)) cluster_.cut(a, b);
    }
  }
  network_over_ns_ = run_.now_ns() + (200 + run_.draw(6000)) * ms;
  // Those who are cut off begin anew with what they have.
  if (!enabled(Fault::power_loss) || run_.draw(4) > 0) return;
  for (size_t i : cluster_.members()) {
    if ((side >> i & 1) != 0 && cluster_.is_well(i)) cluster_.end_shortly(i, true);
  }
}

// Two machines that do not hear of each other, but others of both.
void Faults::cut_link() {
  const size_t machines = cluster_.size();
  size_t a = run_.draw(machines);
  size_t b = (a + 1 + run_.draw(machines - 1)) % machines;
  cluster_.cut(a, b);
  if (run_.draw(3) > 0) cluster_.cut(b, a);
  network_over_ns_ = run_.now_ns() + (200 + run_.draw(6000)) * ms;
}

void Faults::slow_down(size_t machine) {
  const size_t machines = cluster_.size();
  const size_t to = (machine + 1 + run_.draw(machines - 1)) % machines;
  cluster_.slow_down(machine, to, (1 + run_.draw(20)) * ms);
  network_over_ns_ = run_.now_ns() + (200 + run_.draw(4000)) * ms;
}

void Faults::end_disk_fault(size_t machine) {
  SimDisk& disk = cluster_.node(machine).disk();
  disk.set_capacity(UINT64_MAX);
  disk.set_faults({});
  // What was read in a bad moment may be believed until the process ends; an
  // operator restarts a node whose disk was replaced.
  cluster_.restart(machine);
}

void Faults::heal_network() {
  cluster_.heal_network();
  network_over_ns_ = never;
}

}  // namespace jade::sim
