#include "sim/cluster.h"

#include <algorithm>

namespace jade::sim {
namespace {

// What clocks show at the start of a run. Far from 0, so that who takes 0 for a time waits for
// ever.
constexpr uint64_t booted_ns = 1'000'000'000 * ms;

}  // namespace

Cluster::Cluster(const SimulationOptions& options, Run& run)
    : options_(options), run_(run), network_(mix(options.seed, 0x52u), LatencyRange{}) {
  machines_.resize(options.nodes + (options.nodes > 1 ? options.spares : 0));
  const bool drift = several() && options.faults.count(Fault::drift) > 0;
  for (uint32_t i = 0; i < machines_.size(); ++i) {
    machines_[i].member = i < options.nodes;
    if (drift) machines_[i].drift_permille = static_cast<int64_t>(run_.draw(401)) - 200;
    machines_[i].node = make_node(i);
  }
}

std::unique_ptr<SimNode> Cluster::make_node(uint32_t index) {
  return std::make_unique<SimNode>(
      mix(options_.seed, 0x60u + index),
      [this, index] { return machines_[index].local_ns(run_.now_ns()); }, config(index),
      several() ? &network_ : nullptr,
      [this, index](const std::string& host, uint16_t port) {
        prepare_connection(index, host, port);
      },
      [this, index](LogLevel, std::string_view component, std::string_view message) {
        hear(index, message);
        check_said(message);
        for (const auto& told : when_logged_) told(index, message);
        run_.say(index, std::string(component) + ": " + std::string(message));
      },
      [this, index](uint64_t group, uint64_t term) {
        for (const auto& told : when_elected_) told(index, group, term);
      });
}

NodeConfig Cluster::config(uint32_t index) const {
  NodeConfig config;
  std::string machine = "node-" + std::to_string(index + 1);
  uint64_t life = machines_[index].life;
  config.node_id = index + 1 + 100 * life;
  config.name = life == 0 ? machine : machine + "." + std::to_string(life);
  config.replace_after_ms = options_.replace_after_ms;
  config.searchers = 2;
  config.builders = 2;
  config.clients = 2;
  config.cache_bytes = 1u << 20;
  config.seal_rows_min = options_.seal_rows_min;
  // So that routers are trained, and vectors move, several times.
  config.router_vectors_min = 12;
  config.router_growth = 2;
  config.seal_rows_max = options_.seal_rows_max;
  config.listed_rows_min = options_.listed_rows_min;
  if (config.listed_rows_min == 0) config.listed_rows_min = 1u << mix(options_.seed, 0x54u) % 6;
  config.raft_snapshot_entries = options_.snapshot_entries;
  config.raft_retained_bytes = options_.retained_bytes;
  config.renew_life_ms = options_.renew_life_ms;
  if (several()) {
    config.cluster_address = machine + ":1";
    for (uint32_t i = 1; i <= machines_.size(); ++i) {
      bool other = i != index + 1 && (index > 0 || life > 0);
      if (other) config.join.push_back("node-" + std::to_string(i) + ":1");
    }
  }
  return config;
}

void Cluster::when_ended(std::function<void(size_t, bool)> told) {
  when_ended_.push_back(std::move(told));
}

void Cluster::when_elected(std::function<void(size_t, uint64_t, uint64_t)> told) {
  when_elected_.push_back(std::move(told));
}

void Cluster::when_logged(std::function<void(size_t, std::string_view)> told) {
  when_logged_.push_back(std::move(told));
}

// ---- who is there

std::vector<size_t> Cluster::members() const {
  std::vector<size_t> out;
  for (size_t i = 0; i < machines_.size(); ++i) {
    if (machines_[i].member) out.push_back(i);
  }
  return out;
}

size_t Cluster::pick_member() {
  std::vector<size_t> all = members();
  return all[run_.draw(all.size())];
}

std::optional<size_t> Cluster::pick_spare() const {
  for (size_t i = 0; i < machines_.size(); ++i) {
    if (!machines_[i].member && !machines_[i].leaving) return i;
  }
  return std::nullopt;
}

std::optional<size_t> Cluster::machine_of(uint64_t node_id) const {
  for (size_t i : members()) {
    if (node(i).config().node_id == node_id) return i;
  }
  return std::nullopt;
}

bool Cluster::any_running() const {
  return std::any_of(machines_.begin(), machines_.end(),
                     [](const Machine& machine) { return machine.node->running(); });
}

bool Cluster::paused(size_t machine) const {
  return run_.now_ns() < machines_[machine].paused_until_ns;
}

bool Cluster::is_well(size_t machine) const {
  return running(machine) && node(machine).disk().healthy() && !paused(machine);
}

// ---- time

uint64_t Cluster::Machine::local_ns(uint64_t global) const {
  int64_t now = static_cast<int64_t>(global);
  return booted_ns + static_cast<uint64_t>(now + now / 1000 * drift_permille);
}

uint64_t Cluster::Machine::global_ns(uint64_t local) const {
  int64_t rate = 1000 + drift_permille;
  int64_t wanted = static_cast<int64_t>(local - booted_ns);
  int64_t global = wanted / rate * 1000;
  while (global + global / 1000 * drift_permille < wanted) global += 500;
  return static_cast<uint64_t>(global);
}

bool Cluster::step() {
  std::vector<size_t> ready;
  for (size_t i = 0; i < machines_.size(); ++i) {
    if (running(i) && !paused(i) && node(i).system().runnable() > 0) ready.push_back(i);
  }
  if (!ready.empty()) {
    size_t machine = ready[ready.size() == 1 ? 0 : run_.draw(ready.size())];
    SimSystem& system = node(machine).system();
    size_t choices = system.runnable();
    uint64_t actor = system.run(run_.draw(choices));
    run_.note(actor * 31 + choices);
    ++run_.report().steps;
    after_turn(machine);
    return true;
  }
  for (size_t i = 0; i < machines_.size(); ++i) {
    if (!running(i) || paused(i)) continue;
    bool ran = node(i).system().run_broker();
    after_turn(i);
    if (ran) return true;
  }
  return several() && network_.deliver(run_.now_ns());
}

bool Cluster::after_turn(size_t machine) {
  SimDisk& disk = node(machine).disk();
  disk.drain();
  if (!disk.died()) return false;
  run_.say(machine, "is at a sync");
  ++run_.report().faults[Fault::crash_at_sync];
  end_shortly(machine, machines_[machine].loses_power);
  return true;
}

void Cluster::advance_to(uint64_t then_ns) {
  run_.advance_to(then_ns);
  for (size_t i = 0; i < machines_.size(); ++i) {
    if (running(i) && !paused(i)) {
      node(i).system().advance_to(machines_[i].local_ns(run_.now_ns()));
    }
  }
}

std::optional<uint64_t> Cluster::next_due_ns() {
  std::optional<uint64_t> next;
  auto earlier = [&](std::optional<uint64_t> due) {
    if (due && (!next || *due < *next)) next = due;
  };
  for (size_t i = 0; i < machines_.size(); ++i) {
    if (!running(i)) continue;
    if (paused(i)) {
      earlier(machines_[i].paused_until_ns);
    } else {
      auto due = node(i).system().next_timeout_ns();
      if (due) earlier(machines_[i].global_ns(*due));
    }
  }
  if (several()) earlier(network_.next_arrival_ns(run_.now_ns()));
  return next;
}

uint64_t Cluster::next_restart_ns() const {
  uint64_t next = never;
  for (size_t i : members()) {
    if (!running(i)) next = std::min(next, machines_[i].restart_ns);
  }
  return next;
}

bool Cluster::run_until(const std::function<bool()>& done, uint64_t limit_ns) {
  uint64_t stop_ns = run_.now_ns() + limit_ns;
  while (!done()) {
    if (step()) continue;
    if (run_.now_ns() >= stop_ns) return false;
    advance_to(std::min(stop_ns, std::max(next_due_ns().value_or(stop_ns), run_.now_ns() + 1)));
  }
  return true;
}

void Cluster::run_for(uint64_t time_ns) {
  run_until([] { return false; }, time_ns);
}

// ---- what nodes have told

void Cluster::describe(Api& api, const Api::Done<ClusterInfo>& done) {
  api.cluster([done](Result<ClusterInfo> info) {
    if (info.ok() && !info->problem.empty()) info = unavailable(info->problem);
    done(std::move(info));
  });
}

void Cluster::hear(size_t machine, std::string_view message) {
  const NodeConfig& config = node(machine).config();
  // In the middle of it is the cluster's id.
  machines_[machine].told =
      machines_[machine].told ||
      (message.find("node \"" + config.name + "\" was removed from cluster ") == 0);
}

bool Cluster::await_left() {
  const uint64_t stop_ns = run_.now_ns() + removal_ns_max;
  for (;;) {
    auto info = insist<ClusterInfo>(describe);
    if (!info.ok()) {
      run_.fail("looking at the cluster: " + info.status().to_string());
      return false;
    }
    retire_removed(*info);
    auto back = std::find_if(info->nodes.begin(), info->nodes.end(),
                             [this](const NodeInfo& one) { return removals_.count(one.id) > 0; });
    if (back == info->nodes.end() || !run_.ok()) break;
    if (run_.now_ns() >= stop_ns) {
      run_.fail("node " + std::to_string(back->id) + " was removed, and is still a member");
      return false;
    }
    run_for(100 * ms);
  }
  if (!run_.ok()) return false;
  for (size_t i = 0; i < machines_.size(); ++i) {
    if (!machines_[i].leaving) continue;
    if (!running(i)) start(i);
    if (!run_until([&] { return machines_[i].told; }, removal_ns_max)) {
      run_.fail("node " + std::to_string(node(i).config().node_id) +
                " was removed, and does not know it");
      return false;
    }
    replace_disk(i, false);
  }
  return true;
}

void Cluster::retire_removed(const ClusterInfo& info) {
  for (const NodeInfo& one : info.nodes) {
    auto gone = removed_.find(one.id);
    if (gone != removed_.end() && info.catalog_version > gone->second) {
      run_.fail("node " + std::to_string(one.id) + " was removed, and is a member again");
    }
  }
  for (size_t i : members()) {
    Machine& machine = machines_[i];
    bool known = std::any_of(info.nodes.begin(), info.nodes.end(), [&](const NodeInfo& one) {
      return one.id == node(i).config().node_id;
    });
    if (known) {
      machine.seen_version = std::max(machine.seen_version, info.catalog_version);
    } else if (machine.seen_version > 0 && info.catalog_version > machine.seen_version) {
      run_.say(i, "was removed");
      removed_[node(i).config().node_id] = info.catalog_version;
      machine.member = false;
      machine.leaving = true;
    }
  }
}

bool Cluster::bits_flipped() const {
  return std::any_of(machines_.begin(), machines_.end(), [](const Machine& machine) {
    return machine.node && machine.node->disk().flipped_bits() > 0;
  });
}

// Whatever clients are told of it.
void Cluster::check_said(std::string_view message) {
  const bool damage = message.find("corruption: ") != std::string_view::npos;
  if (damage && !bits_flipped()) run_.fail("unprovoked: " + std::string(message));
}

void Cluster::check_error(const Status& status) {
  switch (status.code()) {
    case Code::unavailable:
    case Code::deadline_exceeded:
    case Code::disk_full:
    case Code::io_error: return;
    case Code::corruption:
      if (!bits_flipped()) run_.fail("unprovoked: " + status.to_string());
      return;
    default: run_.fail("an unexpected error: " + status.to_string());
  }
}

// ---- what happens to machines

void Cluster::start(size_t machine) {
  run_.say(machine, "starts");
  Status started = node(machine).start();
  if (after_turn(machine) || started.ok()) return;
  if (node(machine).disk().healthy()) {
    return run_.fail("a node does not start on a healthy disk: " + started.to_string());
  }
  machines_[machine].restart_ns = run_.now_ns() + 200 * ms;
}

void Cluster::start_members() {
  for (size_t i : members()) {
    if (run_.ok() && !running(i)) start(i);
  }
}

void Cluster::start_if_due(size_t machine) {
  const Machine& one = machines_[machine];
  if (one.member && !running(machine) && run_.now_ns() >= one.restart_ns) start(machine);
}

void Cluster::end(size_t machine, bool power) {
  run_.note(power ? 2 : 1);
  run_.say(machine, power ? "loses power" : "crashes");
  ++run_.report().faults[power ? Fault::power_loss : Fault::crash];
  if (power) {
    node(machine).lose_power();
  } else {
    node(machine).crash();
  }
  ended(machine, false);
  machines_[machine].restart_ns = run_.now_ns() + run_.draw(500) * ms;
}

void Cluster::ended(size_t machine, bool new_disk) {
  machines_[machine].paused_until_ns = 0;
  for (const auto& told : when_ended_) told(machine, new_disk);
}

void Cluster::end_shortly(size_t machine, bool power) {
  end(machine, power);
  machines_[machine].restart_ns = run_.now_ns() + (10 + run_.draw(190)) * ms;
}

void Cluster::end_at_sync(size_t machine, uint64_t number, bool before, bool power) {
  machines_[machine].loses_power = power;
  node(machine).disk().die_at_sync(number, before);
}

void Cluster::restart(size_t machine) {
  if (running(machine)) end(machine, false);
  machines_[machine].restart_ns = run_.now_ns();
}

void Cluster::pause(size_t machine, uint64_t time_ns) {
  run_.say(machine, "pauses");
  machines_[machine].paused_until_ns = run_.now_ns() + time_ns;
}

void Cluster::resume(size_t machine) {
  if (paused(machine)) machines_[machine].paused_until_ns = run_.now_ns();
}

void Cluster::replace_disk(size_t machine, bool member) {
  Machine& one = machines_[machine];
  ++one.life;
  one.member = member;
  one.leaving = one.told = false;
  one.seen_version = 0;
  one.node->replace_disk(config(static_cast<uint32_t>(machine)));
  ended(machine, true);
  one.restart_ns = run_.now_ns() + run_.draw(2000) * ms;
}

void Cluster::put_disk_back(size_t machine, const SimDisk::Image& image) {
  node(machine).put_disk_back(image);
  ended(machine, false);
  machines_[machine].restart_ns = run_.now_ns() + run_.draw(500) * ms;
}

bool Cluster::let_rot(size_t machine) {
  std::vector<std::string> tables;
  for (const std::string& path : node(machine).disk().files()) {
    if (path.ends_with(".ldb") && path.find("/data/shards/") != std::string::npos &&
        path.find("/segments/") == std::string::npos) {
      tables.push_back(path);
    }
  }
  if (tables.empty()) return false;
  const std::string& path = tables[run_.draw(tables.size())];
  if (!node(machine).disk().flip_bit(path, run_.draw(uint64_t{1} << 32))) return false;
  run_.say(machine, "has a flipped bit in " + path);
  rotten_ = machine;
  return true;
}

void Cluster::join(size_t spare) {
  machines_[spare].member = true;
  machines_[spare].restart_ns = run_.now_ns();
  run_.say(spare, "is to join");
}

void Cluster::end_all() {
  for (Machine& machine : machines_) machine.node->crash();
}

// ---- what happens to the network

// A node wants to reach another: let it, where both and the network are well.
void Cluster::prepare_connection(size_t from, const std::string& host, uint16_t port) {
  for (size_t to = 0; to < machines_.size(); ++to) {
    if (host != "node-" + std::to_string(to + 1) || to == from || !running(to)) continue;
    if (is_cut(from, to) || is_cut(to, from)) return;
    network_.connect(node(to).system(), node(from).system(), host, port);
    set_speed(slower_by_ns_);
  }
}

void Cluster::cut(size_t from, size_t to) {
  run_.say(from, "does not get through to node " + std::to_string(to + 1));
  cut_.insert({from, to});
  if (both_run(from, to)) network_.block(node(from).system(), node(to).system(), true);
}

void Cluster::slow_down(size_t from, size_t to, uint64_t by_ns) {
  run_.say(from, "gets through slowly to node " + std::to_string(to + 1));
  slow_link_ = {from, to};
  slower_by_ns_ = by_ns;
  set_speed(by_ns);
}

void Cluster::set_speed(uint64_t slower_by_ns) {
  auto [from, to] = slow_link_;
  if (from == to || !both_run(from, to)) return;
  network_.slow_down(node(from).system(), node(to).system(), slower_by_ns);
}

void Cluster::disconnect(size_t one, size_t other) {
  if (one == other || !both_run(one, other)) return;
  run_.say(one, "loses its connection with node " + std::to_string(other + 1));
  network_.disconnect(node(one).system(), node(other).system());
}

void Cluster::heal_network() {
  run_.say(0, "and all others reach each other again");
  for (auto [from, to] : cut_) {
    if (both_run(from, to)) network_.block(node(from).system(), node(to).system(), false);
  }
  set_speed(0);
  cut_.clear();
  slow_link_ = {};
}

uint64_t Cluster::trace_hash() const {
  uint64_t hash = run_.trace();
  for (const Machine& machine : machines_) hash = mix(hash, machine.node->disk().trace_hash());
  return hash;
}

}  // namespace jade::sim
