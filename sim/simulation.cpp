#include "sim/simulation.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <memory>
#include <set>

#include "actors/catalog.h"
#include "actors/errors.h"
#include "actors/random.h"
#include "index/datatype.h"
#include "index/scoring.h"
#include "sim/linearizability.h"
#include "sim/model.h"
#include "sim/node.h"

namespace jade::sim {
namespace {

constexpr uint64_t ms = 1'000'000;
constexpr uint64_t none = UINT64_MAX;
// After faults have ended the node must serve again within this.
constexpr uint64_t recovery_ns_max = 30'000 * ms;
constexpr const char* database = "sim";
// A few vectors that all clients of a cluster write and read, for the order of things.
constexpr const char* shared_database = "shared";
constexpr uint64_t shared_keys = 5;
// Shards are not split any more when a database has so many.
constexpr size_t shards_max = 8;
// Moves come to an end within this, once nothing is the matter any more.
constexpr uint64_t settling_ns_max = 120'000 * ms;
// A node with an old disk may be cut off, or stand still, for a while.
constexpr uint64_t old_disk_ns_max = 60'000 * ms;

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        random_(mix(options.seed, 0x51u)),
        network_(mix(options.seed, 0x52u), LatencyRange{}),
        model_(options.nodes > 1),
        marks_(options.nodes > 1) {
    report_.seed = options.seed;
    uint32_t machines = options.nodes + (options.nodes > 1 ? options.spares : 0);
    machines_.resize(machines);
    for (uint32_t i = 0; i < machines; ++i) {
      machines_[i].member = i < options.nodes;
      if (enabled(Fault::drift) && machines > 1) {
        machines_[i].drift_permille = static_cast<int64_t>(draw(401)) - 200;
      }
      auto connecting = [this, i](const std::string& host, uint16_t port) {
        prepare_connection(i, host, port);
      };
      nodes_.push_back(std::make_unique<SimNode>(
          mix(options.seed, 0x60u + i), [this, i] { return local_ns(i); }, config(i),
          options.nodes > 1 ? &network_ : nullptr, connecting,
          [this, i](LogLevel, std::string_view component, std::string_view message) {
            hear(i, message);
            say(i, std::string(component) + ": " + std::string(message));
          },
          [this, i](uint64_t group, uint64_t term) { check_elected(i, group, term); }));
    }
    clients_.resize(options.clients);
    for (uint32_t i = 0; i < machines * options.watchers; ++i) {
      clients_.emplace_back().watches = i % machines;
    }
  }

  // Unanswered requests call back when their node ends: while all of this lives.
  ~Simulation() {
    for (auto& node : nodes_) node->crash();
  }

  SimulationReport run() {
    for (size_t i = 0; i < nodes_.size() && ok(); ++i) {
      if (machines_[i].member) start_node(i);
    }
    if (ok()) create_database();
    next_fault_ns_ = now_ns_ + fault_delay();
    next_operation_ns_ = now_ns_ + operator_delay();
    next_checkpoint_ns_ = now_ns_ + checkpoint_delay();
    uint64_t end_ns = options_.simulated_ms * ms;
    while (ok() && now_ns_ < end_ns) {
      if (now_ns_ >= next_fault_ns_) strike();
      if (now_ns_ >= next_operation_ns_) operate();
      if (looked_) act_on_what_was_seen();
      for (size_t i = 0; i < nodes_.size() && ok(); ++i) look_after(i);
      if (network_over_ns_ != none && now_ns_ >= network_over_ns_) heal_network();
      if (ok() && now_ns_ >= next_checkpoint_ns_ && calm()) {
        checkpoint();
        next_checkpoint_ns_ = now_ns_ + checkpoint_delay();
      }
      if (ok()) drive_clients();
      if (ok()) step_or_wait();
    }
    if (ok()) checkpoint();
    report_.simulated_ns = now_ns_;
    report_.bytes_sent = network_.bytes_delivered();
    report_.trace_hash = trace_;
    for (auto& node : nodes_)
      report_.trace_hash = mix(report_.trace_hash, node->disk().trace_hash());
    return report_;
  }

 private:
  struct Client {
    std::optional<size_t> watches;  // the machine that it asks; none: any
    bool busy = false;
    uint64_t ready_ns = 0;
    size_t node = 0;          // that was asked
    uint64_t generation = 0;  // of its process
    uint64_t request = 0;     // a number of its own
    uint64_t patient_until_ns = none;
    std::shared_ptr<const UpsertRequest> done;  // the last that was acknowledged
    // The same of updates, and the answer.
    std::shared_ptr<const UpdateRequest> updated;
    UpdateReply updated_reply;
  };

  // What is the matter with a node, beyond whether its process runs.
  struct Machine {
    uint64_t restart_ns = 0;       // when it does not run
    bool loses_power = false;      // if it dies at a sync
    uint64_t disk_over_ns = none;  // of a disk fault
    uint64_t paused_until_ns = 0;
    bool member = true;          // otherwise a spare, with nothing on its disk
    uint64_t life = 0;           // of its disk: each is another node
    uint64_t seen_version = 0;   // of a catalog that knew the node; 0: none yet
    int64_t drift_permille = 0;  // of its clock
    // What its disk held once, and how often the node had been started then and at the
    // last checkpoint. Null: nothing.
    std::shared_ptr<const SimDisk::Image> image;
    uint64_t image_starts = 0;
    uint64_t checked_starts = 0;
    uint64_t old_until_ns = none;  // its disk is an old one, which is noticed by then
    bool refused = false;          // as it says
  };

  NodeConfig config(uint32_t index) const {
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
    if (options_.nodes > 1) {
      config.cluster_address = machine + ":1";
      for (uint32_t i = 1; i <= machines_.size(); ++i) {
        bool other = i != index + 1 && (index > 0 || life > 0);
        if (other) config.join.push_back("node-" + std::to_string(i) + ":1");
      }
    }
    return config;
  }

  bool ok() const { return report_.failure.empty(); }
  void fail(const std::string& why) {
    if (!ok()) return;
    report_.failure = "at " + std::to_string(now_ns_ / ms) + " ms, step " +
                      std::to_string(report_.steps) + ": " + why;
  }
  uint64_t draw(uint64_t below) { return next_random(random_) % below; }
  uint64_t fault_delay() {
    if (options_.fault_interval_ms == 0) return none / 2;
    return (1 + draw(2 * options_.fault_interval_ms)) * ms;
  }
  uint64_t operator_delay() {
    if (options_.operator_interval_ms == 0 || !cluster()) return none / 2;
    return (1 + draw(2 * options_.operator_interval_ms)) * ms;
  }
  // Of a Raft group at most one member leads in a term.
  void check_elected(size_t node, uint64_t group, uint64_t term) {
    uint64_t id = nodes_[node]->config().node_id;
    elected_ = node;
    auto [leader, first] = leaders_.try_emplace({group, term}, id);
    if (first || leader->second == id) return;
    fail("nodes " + std::to_string(leader->second) + " and " + std::to_string(id) +
         " both lead shard " + std::to_string(group) + " in term " + std::to_string(term));
  }
  bool enabled(Fault fault) const { return options_.faults.count(fault) > 0; }
  // What a machine's clock shows.
  uint64_t local_ns(size_t node) const {
    int64_t now = static_cast<int64_t>(now_ns_);
    return static_cast<uint64_t>(now + now / 1000 * machines_[node].drift_permille);
  }
  // When it will show this.
  uint64_t global_ns(size_t node, uint64_t local) const {
    int64_t rate = 1000 + machines_[node].drift_permille;
    int64_t wanted = static_cast<int64_t>(local);
    int64_t global = wanted / rate * 1000;
    while (global + global / 1000 * machines_[node].drift_permille < wanted) global += 500;
    return static_cast<uint64_t>(global);
  }
  std::vector<size_t> members() const {
    std::vector<size_t> out;
    for (size_t i = 0; i < machines_.size(); ++i) {
      if (machines_[i].member) out.push_back(i);
    }
    return out;
  }
  size_t pick_member() {
    std::vector<size_t> all = members();
    return all[draw(all.size())];
  }
  // The machine that is this node now; none: no machine is.
  size_t machine_of(uint64_t node) const {
    for (size_t i : members()) {
      if (nodes_[i]->config().node_id == node) return i;
    }
    return none;
  }
  uint64_t checkpoint_delay() { return (1000 + draw(2000)) * ms; }
  void note(uint64_t what) { trace_ = (trace_ ^ what) * 0x100000001b3u; }
  void say(size_t node, const std::string& what) const {
    if (!options_.log) return;
    options_.log(std::to_string(now_ns_ / ms) + " ms  node " + std::to_string(node + 1) + "  " +
                 what);
  }
  bool cluster() const { return nodes_.size() > 1; }
  bool paused(size_t node) const { return now_ns_ < machines_[node].paused_until_ns; }

  bool is_well(size_t node) const {
    return nodes_[node]->running() && machines_[node].disk_over_ns == none && !paused(node);
  }

  // All nodes run and no fault is under way.
  bool calm() const {
    if (network_over_ns_ != none) return false;
    for (size_t i : members()) {
      const Machine& machine = machines_[i];
      bool well = machine.disk_over_ns == none && machine.old_until_ns == none;
      if (!nodes_[i]->running() || !well || paused(i)) return false;
    }
    return true;
  }

  // ---- time ------------------------------------------------------------------

  // One turn of one actor, chosen by the seed, or one thing of the network. False:
  // nothing can run now.
  bool step() {
    std::vector<size_t> ready;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i]->running() && !paused(i) && nodes_[i]->system().runnable() > 0) {
        ready.push_back(i);
      }
    }
    if (!ready.empty()) {
      size_t node = ready[ready.size() == 1 ? 0 : draw(ready.size())];
      SimSystem& system = nodes_[node]->system();
      size_t choices = system.runnable();
      uint64_t actor = system.run(draw(choices));
      note(actor * 31 + choices);
      ++report_.steps;
      nodes_[node]->disk().drain();
      if (nodes_[node]->disk().died()) end_at_sync(node);
      return true;
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i]->running() || paused(i)) continue;
      bool ran = nodes_[i]->system().run_broker();
      nodes_[i]->disk().drain();
      if (nodes_[i]->disk().died()) end_at_sync(i);
      if (ran) return true;
    }
    return cluster() && network_.deliver(now_ns_);
  }

  void advance_to(uint64_t then_ns) {
    now_ns_ = std::max(now_ns_, then_ns);
    note(now_ns_);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i]->running() && !paused(i)) nodes_[i]->system().advance_to(local_ns(i));
    }
  }

  // When a node or the network has something to do.
  std::optional<uint64_t> next_due_ns() {
    std::optional<uint64_t> next;
    auto earlier = [&](std::optional<uint64_t> due) {
      if (due && (!next || *due < *next)) next = due;
    };
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i]->running()) continue;
      if (paused(i)) {
        earlier(machines_[i].paused_until_ns);
      } else {
        auto due = nodes_[i]->system().next_timeout_ns();
        if (due) earlier(global_ns(i, *due));
      }
    }
    if (cluster()) earlier(network_.next_arrival_ns(now_ns_));
    return next;
  }

  uint64_t next_event_ns() {
    uint64_t next = std::min({next_fault_ns_, next_operation_ns_, network_over_ns_});
    for (size_t i = 0; i < nodes_.size(); ++i) {
      next = std::min(next, machines_[i].disk_over_ns);
      if (machines_[i].member && !nodes_[i]->running()) {
        next = std::min(next, machines_[i].restart_ns);
      }
    }
    if (calm()) next = std::min(next, next_checkpoint_ns_);
    if (auto due = next_due_ns()) next = std::min(next, *due);
    if (any_running()) {
      for (const Client& client : clients_) {
        next = std::min(next, client.busy ? client.patient_until_ns : client.ready_ns);
      }
    }
    return next;
  }

  bool any_running() const {
    return std::any_of(nodes_.begin(), nodes_.end(), [](const auto& n) { return n->running(); });
  }

  void step_or_wait() {
    // A fault may strike between any two turns.
    if (options_.fault_interval_ms > 0 && draw(200'000) == 0) strike();
    elected_.reset();
    if (ok() && step()) {
      bool strikes = elected_ && options_.fault_interval_ms > 0 && enabled(Fault::election);
      if (strikes && cluster() && draw(3) == 0) strike_at_election(*elected_);
      return;
    }
    advance_to(std::max(next_event_ns(), now_ns_ + 1));
  }

  // Runs the nodes, but no client, until `done` or the time is up.
  bool run_until(const std::function<bool()>& done, uint64_t limit_ns) {
    uint64_t stop_ns = now_ns_ + limit_ns;
    while (!done()) {
      if (step()) continue;
      if (now_ns_ >= stop_ns) return false;
      advance_to(std::min(stop_ns, std::max(next_due_ns().value_or(stop_ns), now_ns_ + 1)));
    }
    return true;
  }

  // Asks a node and waits; for when no faults are about.
  template <class T>
  Result<T> ask(const std::function<void(Api&, Api::Done<T>)>& call,
                std::optional<size_t> node = std::nullopt) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    size_t asked = node ? *node : pick_member();
    call(nodes_[asked]->api(), [answer](Result<T> result) { answer->emplace(std::move(result)); });
    if (!run_until([&] { return answer->has_value(); }, recovery_ns_max)) {
      return Status(Code::deadline_exceeded, "the node did not answer");
    }
    return std::move(**answer);
  }

  // The same, as often as it takes: leaders may still be being elected.
  template <class T>
  Result<T> insist(const std::function<void(Api&, Api::Done<T>)>& call) {
    uint64_t stop_ns = now_ns_ + recovery_ns_max;
    for (;;) {
      auto answer = ask<T>(call);
      if (answer.ok() || answer.status().code() != Code::unavailable || now_ns_ >= stop_ns) {
        return answer;
      }
      run_until([] { return false; }, 100 * ms);
    }
  }

  // ---- the nodes' lives ----------------------------------------------------------

  void start_node(size_t index) {
    say(index, "starts");
    SimNode& node = *nodes_[index];
    Status started = node.start();
    node.disk().drain();
    if (node.disk().died()) return end_at_sync(index);
    if (started.ok()) return;
    if (machines_[index].disk_over_ns == none) {
      return fail("a node does not start on a healthy disk: " + started.to_string());
    }
    machines_[index].restart_ns = now_ns_ + 200 * ms;
  }

  void look_after(size_t index) {
    Machine& machine = machines_[index];
    if (machine.disk_over_ns != none && now_ns_ >= machine.disk_over_ns) end_disk_fault(index);
    if (machine.old_until_ns != none && machine.refused) replace_disk(index, true);
    if (machine.old_until_ns != none && now_ns_ >= machine.old_until_ns) fail(not_refused(index));
    bool down = machine.member && !nodes_[index]->running();
    if (ok() && down && now_ns_ >= machine.restart_ns) start_node(index);
  }

  // A node wants to reach another: let it, where both and the network are well.
  void prepare_connection(size_t from, const std::string& host, uint16_t port) {
    for (size_t to = 0; to < nodes_.size(); ++to) {
      if (host != "node-" + std::to_string(to + 1) || to == from || !nodes_[to]->running())
        continue;
      if (is_cut(from, to) || is_cut(to, from)) return;
      network_.connect(nodes_[to]->system(), nodes_[from]->system(), host, port);
      set_speed(slower_by_ns_);
    }
  }

  bool is_cut(size_t from, size_t to) const { return cut_.count({from, to}) > 0; }

  void create_database() {
    DatabaseSpec spec;
    spec.name = database;
    spec.dimension = options_.dimension;
    spec.metric = static_cast<Metric>(draw(3));
    spec.shards = options_.shards;
    spec.replicas = std::min(options_.nodes, 3u);
    spec.datatype = datatype_;
    if (options_.by_vector) spec.sharding = Sharding::vector;
    vectors_ = {{"", spec.dimension, spec.metric, spec.datatype}};
    const DatabaseSpec unnamed = spec;
    if (named_) {
      vectors_.front().name = "all";
      vectors_.push_back({"some", spec.dimension + 3, static_cast<Metric>(draw(3)),
                          static_cast<Datatype>(draw(3))});
      spec.named_vectors = vectors_;
      spec.dimension = 0;
      spec.metric = Metric::cosine;
      spec.datatype = Datatype::float32;
    }
    if (!await_ready()) return;
    auto created = ask<DatabaseInfo>([&](Api& api, auto done) { api.create_database(spec, done); });
    if (!created.ok()) return fail("creating the database: " + created.status().to_string());
    if (!cluster() || !await_ready()) return;
    spec = unnamed;
    spec.name = shared_database;
    // With one, nothing would move.
    if (!options_.by_vector) spec.shards = 1;
    created = ask<DatabaseInfo>([&](Api& api, auto done) { api.create_database(spec, done); });
    if (!created.ok()) return fail("creating the database: " + created.status().to_string());
    await_ready();
  }

  // All of them serve.
  bool await_ready() {
    uint64_t stop_ns = now_ns_ + recovery_ns_max;
    std::string last;
    std::vector<size_t> all = members();
    for (size_t i = 0; i < all.size();) {
      auto ready = ask<std::string>([](Api& api, auto done) { api.ready(done); }, all[i]);
      if (ready.ok()) {
        ++i;
        continue;
      }
      last = "node " + std::to_string(all[i] + 1) + ": " + ready.status().to_string();
      if (now_ns_ >= stop_ns) {
        fail("a node does not become ready: " + last);
        return false;
      }
      run_until([] { return false; }, 100 * ms);
      // Its removal may have become known only now.
      auto info = ask<ClusterInfo>([](Api& api, auto done) { api.cluster(done); });
      if (!info.ok()) continue;
      retire_removed(*info);
      all = members();
      i = std::min(i, all.size() - 1);
    }
    return true;
  }

  void end_process(size_t index, bool power) {
    note(power ? 2 : 1);
    say(index, power ? "loses power" : "crashes");
    SimNode& node = *nodes_[index];
    ++report_.faults[power ? Fault::power_loss : Fault::crash];
    if (power) {
      node.lose_power();
    } else {
      node.crash();
    }
    Machine& machine = machines_[index];
    if (cluster() && enabled(Fault::old_disk) && machine.old_until_ns == none) {
      if (machine.image == nullptr || draw(4) == 0) {
        machine.image = std::make_shared<const SimDisk::Image>(node.disk().image());
        machine.image_starts = node.starts();
      }
    }
    process_ended(index);
    machines_[index].restart_ns = now_ns_ + draw(500) * ms;
  }

  // It has died by itself.
  void end_at_sync(size_t index) {
    say(index, "is at a sync");
    ++report_.faults[Fault::crash_at_sync];
    end_shortly(index, machines_[index].loses_power);
  }

  // So that what it took part in goes on while it is away.
  void end_shortly(size_t index, bool power) {
    end_process(index, power);
    machines_[index].restart_ns = now_ns_ + (10 + draw(190)) * ms;
  }

  void process_ended(size_t index) {
    machines_[index].paused_until_ns = 0;
    // Whatever was asked of it is unanswered for good.
    for (Client& client : clients_) {
      if (!client.busy || client.node != index) continue;
      client.busy = false;
      client.ready_ns = now_ns_ + draw(50) * ms;
    }
    std::erase_if(given_up_, [index](const auto& one) { return one.first == index; });
    if (operating_ && operated_node_ == index) operating_ = false;
  }

  // What a node says of itself in its log.
  void hear(size_t index, std::string_view message) {
    if (message != outlived(nodes_[index]->config().name).message()) return;
    Machine& machine = machines_[index];
    machine.refused = true;
    if (machine.old_until_ns == none) {
      fail("node " + std::to_string(index + 1) + " is refused with the disk that it should have");
    }
  }

  std::string not_refused(size_t index) const {
    return "node " + std::to_string(index + 1) + " has an old disk, and nobody notices";
  }

  // The machine has an empty disk. As a member it comes back as another node.
  void replace_disk(size_t index, bool member) {
    Machine& machine = machines_[index];
    ++machine.life;
    machine.member = member;
    machine.disk_over_ns = none;
    machine.seen_version = 0;
    machine.image = nullptr;
    machine.checked_starts = 0;
    machine.old_until_ns = none;
    machine.refused = false;
    nodes_[index]->replace_disk(config(static_cast<uint32_t>(index)));
    process_ended(index);
    machine.restart_ns = now_ns_ + draw(2000) * ms;
  }

  void strike() {
    next_fault_ns_ = now_ns_ + fault_delay();
    size_t index = pick_member();
    SimNode& node = *nodes_[index];
    Machine& machine = machines_[index];
    const bool well = is_well(index);
    std::vector<Fault> kinds;
    auto may = [&](Fault fault, bool now) {
      if (enabled(fault) && now) kinds.push_back(fault);
    };
    may(Fault::crash, well);
    may(Fault::power_loss, well);
    may(Fault::crash_at_sync, well);
    may(Fault::disk_full, well);
    may(Fault::read_corruption, well);
    may(Fault::partition, cluster() && network_over_ns_ == none);
    may(Fault::slow_link, cluster() && network_over_ns_ == none);
    may(Fault::disconnect, cluster());
    may(Fault::pause, cluster() && well);
    if (kinds.empty()) return;
    Fault kind = kinds[draw(kinds.size())];
    note(3 + static_cast<uint64_t>(kind));
    if (kind == Fault::crash || kind == Fault::power_loss) {
      return end_process(index, kind == Fault::power_loss);
    }
    if (kind == Fault::crash_at_sync) {
      machine.loses_power = draw(2) == 0;
      const uint64_t most = draw(2) == 0 ? 2 : 30;
      return node.disk().die_at_sync(1 + draw(most), draw(2) == 0);
    }
    ++report_.faults[kind];
    if (kind == Fault::partition) return partition();
    if (kind == Fault::slow_link) return slow_down(index);
    if (kind == Fault::disconnect) return disconnect(index);
    if (kind == Fault::pause) {
      say(index, "pauses");
      machine.paused_until_ns = now_ns_ + (50 + draw(4000)) * ms;
    } else if (kind == Fault::disk_full) {
      say(index, "has a full disk");
      node.disk().set_capacity(node.disk().used_bytes() + draw(20'000));
      machine.disk_over_ns = now_ns_ + (100 + draw(1000)) * ms;
    } else {
      say(index, "reads flipped bits");
      node.disk().set_faults({.read_corruption = 0.05});
      machine.disk_over_ns = now_ns_ + (100 + draw(1000)) * ms;
    }
  }

  void disconnect(size_t index) {
    size_t other = pick_member();
    if (other == index || !nodes_[index]->running() || !nodes_[other]->running()) return;
    say(index, "loses its connection with node " + std::to_string(other + 1));
    network_.disconnect(nodes_[index]->system(), nodes_[other]->system());
  }

  // A leader is most easily wronged when few know of it yet.
  void strike_at_election(size_t leader) {
    ++report_.faults[Fault::election];
    note(60);
    say(leader, "was elected");
    const uint64_t kind = draw(4);
    if (kind == 0 && network_over_ns_ == none) return cut_in_two(uint64_t{1} << leader);
    if (kind == 1) {
      machines_[leader].paused_until_ns = now_ns_ + (50 + draw(4000)) * ms;
      return say(leader, "pauses");
    }
    for (size_t i : members()) {
      bool hit = i == leader ? kind != 3 : draw(2) == 0;
      if (hit && is_well(i)) end_shortly(i, draw(2) == 0);
    }
  }

  void partition() {
    if (nodes_.size() > 2 && draw(3) == 0) return cut_link();
    cut_in_two(1 + draw((1u << nodes_.size()) - 2));
  }

  // Cuts the cluster in two, or only what goes from one part to the other. `side`: a bit for each
  // node of one of them.
  void cut_in_two(uint64_t side) {
    bool both = draw(3) > 0;
    for (size_t a = 0; a < nodes_.size(); ++a) {
      for (size_t b = 0; b < nodes_.size(); ++b) {
        bool a_in = (side >> a & 1) != 0, b_in = (side >> b & 1) != 0;
        if (a_in != b_in && (both || a_in)) cut(a, b);
      }
    }
    cut_for_a_while();
    // Those who are cut off begin anew with what they have.
    if (!enabled(Fault::power_loss) || draw(4) > 0) return;
    for (size_t i : members()) {
      if ((side >> i & 1) != 0 && is_well(i)) end_shortly(i, true);
    }
  }

  // Two nodes that do not hear of each other, but others of both.
  void cut_link() {
    size_t a = draw(nodes_.size());
    size_t b = (a + 1 + draw(nodes_.size() - 1)) % nodes_.size();
    cut(a, b);
    if (draw(3) > 0) cut(b, a);
    cut_for_a_while();
  }

  void cut(size_t from, size_t to) {
    cut_.insert({from, to});
    say(from, "does not get through to node " + std::to_string(to + 1));
  }

  void cut_for_a_while() {
    set_blocks(true);
    network_over_ns_ = now_ns_ + (200 + draw(6000)) * ms;
  }

  void slow_down(size_t index) {
    slow_link_ = {index, (index + 1 + draw(nodes_.size() - 1)) % nodes_.size()};
    slower_by_ns_ = (1 + draw(20)) * ms;
    say(index, "gets through slowly to node " + std::to_string(slow_link_.second + 1));
    set_speed(slower_by_ns_);
    network_over_ns_ = now_ns_ + (200 + draw(4000)) * ms;
  }

  void set_speed(uint64_t slower_by_ns) {
    auto [from, to] = slow_link_;
    if (from == to || !nodes_[from]->running() || !nodes_[to]->running()) return;
    network_.slow_down(nodes_[from]->system(), nodes_[to]->system(), slower_by_ns);
  }

  void set_blocks(bool blocked) {
    for (auto [a, b] : cut_) {
      if (nodes_[a]->running() && nodes_[b]->running()) {
        network_.block(nodes_[a]->system(), nodes_[b]->system(), blocked);
      }
    }
  }

  void heal_network() {
    say(0, "and all others reach each other again");
    set_blocks(false);
    set_speed(0);
    cut_.clear();
    slow_link_ = {};
    network_over_ns_ = none;
  }

  void end_disk_fault(size_t index) {
    nodes_[index]->disk().set_capacity(none);
    nodes_[index]->disk().set_faults({});
    machines_[index].disk_over_ns = none;
    // What was read in a bad moment may be believed until the process ends; an
    // operator restarts a node whose disk was replaced.
    if (nodes_[index]->running()) end_process(index, false);
    machines_[index].restart_ns = now_ns_;
  }

  // Ends every fault.
  void heal() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      nodes_[i]->disk().die_at_sync(0, false);
      if (machines_[i].disk_over_ns != none) end_disk_fault(i);
      if (paused(i)) machines_[i].paused_until_ns = now_ns_;
    }
    if (network_over_ns_ != none) heal_network();
    advance_to(now_ns_);
    for (size_t i : members()) {
      if (ok() && !nodes_[i]->running()) start_node(i);
    }
    for (size_t i : members()) {
      Machine& machine = machines_[i];
      if (!ok() || machine.old_until_ns == none) continue;
      if (!run_until([&] { return machine.refused; }, old_disk_ns_max)) return fail(not_refused(i));
      replace_disk(i, true);
      start_node(i);
    }
  }

  // ---- the operator --------------------------------------------------------------
  //
  // Looks at the cluster from time to time, as `jade status` would, and does
  // something about it.

  void operate() {
    next_operation_ns_ = now_ns_ + operator_delay();
    size_t index = pick_member();
    if (operating_ || !nodes_[index]->running()) return;
    operating_ = true;
    operated_node_ = index;
    nodes_[index]->api().cluster(operated<ClusterInfo>([this](Result<ClusterInfo>& info) {
      if (!info.ok()) return check_error(info.status());
      looked_ = std::move(*info);
    }));
  }

  // Not inside the node that told, as that may end by it.
  void act_on_what_was_seen() {
    ClusterInfo info = *std::exchange(looked_, std::nullopt);
    retire_removed(info);
    act(info);
  }

  template <class T>
  Api::Done<T> operated(std::function<void(Result<T>&)> check) {
    uint64_t generation = nodes_[operated_node_]->starts();
    size_t node = operated_node_;
    return [this, node, generation, check](Result<T> result) {
      bool same = operating_ && operated_node_ == node && nodes_[node]->starts() == generation;
      if (!same) return;
      operating_ = false;
      check(result);
    };
  }

  // Machines whose node is gone from the catalog become spares.
  void retire_removed(const ClusterInfo& info) {
    for (size_t i : members()) {
      Machine& machine = machines_[i];
      bool known = std::any_of(info.nodes.begin(), info.nodes.end(), [&](const NodeInfo& node) {
        return node.id == nodes_[i]->config().node_id;
      });
      if (known) {
        machine.seen_version = std::max(machine.seen_version, info.catalog_version);
      } else if (machine.seen_version > 0 && info.catalog_version > machine.seen_version) {
        say(i, "was removed");
        replace_disk(i, false);
      }
    }
  }

  void act(const ClusterInfo& info) {
    std::vector<Fault> kinds;
    for (Fault kind : {Fault::lost_disk, Fault::old_disk, Fault::join, Fault::drain, Fault::remove,
                       Fault::replicas, Fault::split, Fault::reindex}) {
      if (enabled(kind)) kinds.push_back(kind);
    }
    if (kinds.empty()) return;
    Fault kind = kinds[draw(kinds.size())];
    note(40 + static_cast<uint64_t>(kind));
    const NodeInfo& node = info.nodes[draw(info.nodes.size())];
    switch (kind) {
      case Fault::lost_disk: return lose_disk(info);
      case Fault::old_disk: return put_disk_back(info);
      case Fault::join: return join_spare();
      case Fault::drain: {
        bool back = node.state != "active";
        return change_node(node, back ? NodeChange::activate : NodeChange::drain, kind);
      }
      case Fault::remove:
        for (const NodeInfo& empty : info.nodes) {
          if (empty.replicas == 0 && (empty.state == "drained" || machine_of(empty.id) == none)) {
            return change_node(empty, NodeChange::remove, kind);
          }
        }
        return;
      case Fault::split: return split_shard(info);
      case Fault::reindex: return change_index();
      default: return change_replicas(static_cast<uint32_t>(1 + draw(3)));
    }
  }

  void join_spare() {
    for (size_t i = 0; i < machines_.size(); ++i) {
      if (machines_[i].member) continue;
      machines_[i].member = true;
      machines_[i].restart_ns = now_ns_;
      ++report_.faults[Fault::join];
      return say(i, "is to join");
    }
  }

  // Only what a cluster must survive: everything else is well, and there are others.
  // Who has asked for fewer than three replicas wants to survive no such thing.
  bool may_lose_disk(const ClusterInfo& info) const {
    if (!calm() || !info.tasks.empty() || asked_for_few_) return false;
    size_t voters = 0;
    for (const NodeInfo& node : info.nodes) {
      if (!node.alive || machine_of(node.id) == none) return false;
      voters += node.votes ? 1 : 0;
    }
    if (voters < 3) return false;
    for (const DatabaseInfo& db : info.databases) {
      for (const ShardInfo& shard : db.placement) {
        if (shard.nodes.size() < 3 || db.spec.replicas < 3) return false;
      }
    }
    return true;
  }

  // Of before a start that all nodes have heard of: at a checkpoint, all have caught up.
  void put_disk_back(const ClusterInfo& info) {
    size_t index = pick_member();
    Machine& machine = machines_[index];
    bool older = machine.image != nullptr && machine.checked_starts > machine.image_starts;
    if (!may_lose_disk(info) || !older) return;
    lost_a_disk_ = true;
    say(index, "gets an older copy of its disk");
    ++report_.faults[Fault::old_disk];
    machine.old_until_ns = now_ns_ + old_disk_ns_max;
    nodes_[index]->put_disk_back(*machine.image);
    process_ended(index);
    machine.restart_ns = now_ns_ + draw(500) * ms;
  }

  void lose_disk(const ClusterInfo& info) {
    if (!may_lose_disk(info)) return;
    lost_a_disk_ = true;
    size_t index = pick_member();
    say(index, "loses its disk");
    ++report_.faults[Fault::lost_disk];
    replace_disk(index, true);
  }

  void change_node(const NodeInfo& node, NodeChange change, Fault kind) {
    if (change != NodeChange::remove && machine_of(node.id) == none) return;
    size_t index = pick_member();
    if (!nodes_[index]->running()) return;
    operating_ = true;
    operated_node_ = index;
    say(index, std::string(change == NodeChange::drain      ? "drains "
                           : change == NodeChange::activate ? "takes back "
                                                            : "removes ") +
                   node.name);
    nodes_[index]->api().change_node({std::to_string(node.id), change},
                                     operated<NodeInfo>([this, kind](auto& changed) {
                                       if (changed.ok()) ++report_.faults[kind];
                                       check_operation(changed.status());
                                     }));
  }

  void change_replicas(uint32_t replicas) {
    size_t index = pick_member();
    if (!nodes_[index]->running() || (lost_a_disk_ && replicas < 3)) return;
    asked_for_few_ = asked_for_few_ || replicas < 3;
    operating_ = true;
    operated_node_ = index;
    say(index, "wants " + std::to_string(replicas) + " replicas");
    nodes_[index]->api().alter_database(
        {database, replicas, std::nullopt},
        operated<DatabaseInfo>([this](Result<DatabaseInfo>& changed) {
          if (changed.ok()) ++report_.faults[Fault::replicas];
          check_operation(changed.status());
        }));
  }

  void change_index() {
    size_t index = pick_member();
    if (!nodes_[index]->running()) return;
    IndexChange change;
    change.kind = static_cast<IndexKind>(draw(static_cast<size_t>(index_kind_max) + 1));
    change.quantization = static_cast<Quantization>(draw(2));  // sq8, sq4
    bool graph = *change.kind == IndexKind::hnsw || *change.kind == IndexKind::automatic;
    change.vectors = graph && draw(2) == 0 ? VectorPlace::disk : VectorPlace::memory;
    operating_ = true;
    operated_node_ = index;
    say(index, "wants the index to be " + std::string(to_string(*change.kind)));
    nodes_[index]->api().alter_database(
        {database, std::nullopt, change},
        operated<DatabaseInfo>([this](Result<DatabaseInfo>& changed) {
          if (changed.ok()) ++report_.faults[Fault::reindex];
          check_operation(changed.status());
        }));
  }

  void split_shard(const ClusterInfo& info) {
    const DatabaseInfo& db = info.databases[draw(info.databases.size())];
    const ShardInfo& shard = db.placement[draw(db.placement.size())];
    size_t index = pick_member();
    if (!nodes_[index]->running() || db.placement.size() >= shards_max) return;
    operating_ = true;
    operated_node_ = index;
    say(index, "splits shard " + std::to_string(shard.shard) + " of " + db.spec.name);
    nodes_[index]->api().split_shard({db.spec.name, shard.shard},
                                     operated<DatabaseInfo>([this](Result<DatabaseInfo>& changed) {
                                       if (changed.ok()) ++report_.faults[Fault::split];
                                       check_operation(changed.status());
                                     }));
  }

  // What was true when the operator looked need not be true any more.
  void check_operation(const Status& status) {
    bool refused = status.code() == Code::failed_precondition || status.code() == Code::not_found;
    if (!status.ok() && !refused) check_error(status);
  }

  static std::string nodes_of(const ClusterInfo& info) {
    std::string out = "; nodes";
    for (const NodeInfo& node : info.nodes) {
      out += " " + std::to_string(node.id) + " (" + node.state + ", " +
             std::to_string(node.replicas) + " replicas)";
    }
    return out;
  }

  static std::string members_of(const ClusterInfo& info, uint64_t group) {
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
      }
    }
    return out;
  }

  // Each shard has the replicas that it should have, and nothing is on its way.
  std::string unsettled(const ClusterInfo& info) const {
    if (!info.tasks.empty()) {
      const TaskInfo& task = info.tasks[0];
      return "the " + task.kind + " of shard " + std::to_string(task.shard) + " from node " +
             std::to_string(task.from) + " to " + std::to_string(task.to) +
             " does not end: it is " + task.state + members_of(info, task.shard) + nodes_of(info);
    }
    for (const DatabaseInfo& db : info.databases) {
      if (db.router_state == "moving") return "vectors of " + db.spec.name + " are still moving";
      for (const ShardInfo& shard : db.placement) {
        std::string which = "shard " + std::to_string(shard.shard);
        if (shard.nodes.size() != db.spec.replicas) {
          return which + " has " + std::to_string(shard.nodes.size()) + " replicas";
        }
        for (uint64_t node : shard.nodes) {
          if (machine_of(node) == none) return which + " has a replica on a lost node";
        }
      }
    }
    return {};
  }

  // Whether there are nodes for all replicas at all.
  bool can_settle(const ClusterInfo& info) const {
    auto usable = std::count_if(info.nodes.begin(), info.nodes.end(), [&](const NodeInfo& node) {
      return node.state == "active" && machine_of(node.id) != none;
    });
    return std::all_of(info.databases.begin(), info.databases.end(), [&](const DatabaseInfo& db) {
      return db.spec.replicas <= static_cast<uint64_t>(usable);
    });
  }

  void await_settled() {
    uint64_t stop_ns = now_ns_ + settling_ns_max;
    for (;;) {
      auto info = insist<ClusterInfo>([](Api& api, auto done) { api.cluster(done); });
      if (!info.ok()) return fail("looking at the cluster: " + info.status().to_string());
      retire_removed(*info);
      std::string why = unsettled(*info);
      if (why.empty()) lost_a_disk_ = asked_for_few_ = false;
      if (why.empty() || !can_settle(*info)) return;
      if (now_ns_ >= stop_ns) return fail("the cluster does not settle: " + why);
      run_until([] { return false; }, 500 * ms);
    }
  }

  // ---- clients -------------------------------------------------------------------

  void drive_clients() {
    for (uint32_t i = 0; i < clients_.size(); ++i) {
      Client& client = clients_[i];
      if (client.busy && now_ns_ >= client.patient_until_ns) give_up(client);
      if (client.busy || client.ready_ns > now_ns_) continue;
      // Any node answers; one that is down refuses the connection.
      client.node = client.watches ? *client.watches : pick_member();
      if (!nodes_[client.node]->running()) {
        client.ready_ns = now_ns_ + 20 * ms;
        continue;
      }
      client.busy = true;
      client.generation = nodes_[client.node]->starts();
      client.request = ++requests_;
      if (options_.patience_ms > 0) {
        client.patient_until_ns = now_ns_ + (1 + draw(2 * options_.patience_ms)) * ms;
      }
      uint64_t dice = draw(100);
      if (client.watches) {
        dice < 60 ? get_shared(i, draw(shared_keys)) : search_shared(i);
      } else if (cluster() && draw(3) == 0) {
        begin_shared(i, dice);
      } else if (client.done && draw(12) == 0) {
        begin_repetition(i);
      } else if (dice < 33) {
        begin_upsert(i);
      } else if (dice < 48) {
        begin_update(i);
      } else if (dice < 60) {
        begin_delete(i);
      } else if (dice < 85) {
        begin_get(i);
      } else if (dice < 95) {
        begin_search(i);
      } else {
        begin_census(i);
      }
    }
  }

  // Does something else, whatever comes of the request.
  void give_up(Client& client) {
    given_up_.emplace(client.node, client.request);
    client.busy = false;
    client.ready_ns = now_ns_;
  }

  // Wraps an answer: ignores those that nobody waits for, or of a process that has died.
  template <class T>
  Api::Done<T> answered(uint32_t index, std::function<void(Result<T>&)> check) {
    uint64_t generation = clients_[index].generation;
    uint64_t request = clients_[index].request;
    size_t node = clients_[index].node;
    return [this, index, node, generation, request, check](Result<T> result) {
      Client& client = clients_[index];
      if (nodes_[node]->starts() != generation || given_up_.erase({node, request}) > 0) return;
      if (!client.busy || client.request != request) return;
      client.busy = false;
      client.ready_ns = now_ns_ + (1 + draw(20)) * ms;
      check(result);
    };
  }

  // Ids are the clients' own: id % clients is its writer.
  uint64_t pick_id(uint32_t client) {
    return draw(options_.ids_per_client) * options_.clients + client;
  }

  void begin_upsert(uint32_t client) {
    UpsertRequest request;
    request.database = database;
    std::map<uint64_t, uint64_t> written;  // id → version
    uint64_t rows = 1 + draw(12);
    for (uint64_t i = 0; i < rows; ++i) {
      uint64_t id = pick_id(client);
      if (written.count(id) > 0) continue;
      uint64_t version = ++versions_;
      written[id] = version;
      model_.begin(id, {version, true});
      marks_.begin(id, {version, true});
      request.ids.emplace_back(id);
      request.metadata.push_back(metadata_of(id, version, version));
      add_values(request, id, version);
    }
    request.request_id = "upsert-" + std::to_string(versions_);
    nodes_[clients_[client].node]->api().upsert(
        request,
        answered<UpsertReply>(client, [this, client, written, request](Result<UpsertReply>& reply) {
          if (!reply.ok()) return check_write_error(reply.status());
          ++report_.writes_acknowledged;
          acknowledge(written);
          clients_[client].done = std::make_shared<const UpsertRequest>(request);
        }));
  }

  // Of whole records.
  void acknowledge(const std::map<uint64_t, uint64_t>& written) {
    for (auto [id, version] : written) {
      model_.acknowledge(id, version);
      marks_.acknowledge(id, version);
    }
  }

  // Some records get another version, with the vectors of that and without others; some another
  // mark. Whatever else they have stays.
  void begin_update(uint32_t client) {
    UpdateRequest request;
    request.database = database;
    std::map<uint64_t, uint64_t> revised, marked;  // id → version, mark
    uint64_t rows = 1 + draw(8);
    for (uint64_t i = 0; i < rows; ++i) {
      uint64_t id = pick_id(client);
      if (revised.count(id) + marked.count(id) > 0) continue;
      const bool marks = draw(2) == 0;
      const uint64_t number = ++versions_;
      (marks ? marked : revised)[id] = number;
      (marks ? marks_ : model_).begin(id, {number, true});
      if (marks) {
        request.vectors.emplace_back().id = VectorId(id);
        request.vectors.back().metadata = marking_of(number);
      } else {
        request.vectors.push_back(revision(id, number));
      }
    }
    request.request_id = "update-" + std::to_string(versions_);
    nodes_[clients_[client].node]->api().update(
        request, answered<UpdateReply>(client, [=, this](Result<UpdateReply>& reply) {
          if (!reply.ok()) return check_write_error(reply.status());
          ++report_.writes_acknowledged;
          report_.missing_updated += reply->missing.size();
          if (reply->updated + reply->missing.size() != request.vectors.size()) {
            return fail("an update of " + std::to_string(request.vectors.size()) + " ids counts " +
                        std::to_string(reply->updated) + " and " +
                        std::to_string(reply->missing.size()) + " missing");
          }
          std::set<uint64_t> missing;
          for (const VectorId& id : reply->missing) missing.insert(id.integer());
          updated(model_, revised, missing);
          updated(marks_, marked, missing);
          clients_[client].updated = std::make_shared<const UpdateRequest>(request);
          clients_[client].updated_reply = *reply;
        }));
  }

  void updated(Model& model, const std::map<uint64_t, uint64_t>& written,
               const std::set<uint64_t>& missing) {
    for (auto [id, number] : written) {
      if (missing.count(id) == 0) {
        model.acknowledge(id, number);
      } else {
        model.discard(id, number);
        observe_nothing(id);
      }
    }
  }

  // Makes what is stored of an id a later version.
  VectorUpdate revision(uint64_t id, uint64_t version) const {
    VectorUpdate out;
    out.id = VectorId(id);
    out.metadata = revision_of(id, version);
    if (!named_) {
      out.values = sent_vector(id, version);
      return out;
    }
    for (size_t v = 0; v < vectors_.size(); ++v) {
      if (has_vector(id, version, v)) {
        out.named.push_back({vectors_[v].name, sent_vector(id, version, v)});
      } else {
        out.without.push_back(vectors_[v].name);
      }
    }
    return out;
  }

  // A client that did not get its answer, or a proxy, asks again, perhaps late. It
  // changes nothing.
  void begin_repetition(uint32_t client) {
    if (clients_[client].updated && draw(2) == 0) return repeat_update(client);
    nodes_[clients_[client].node]->api().upsert(
        *clients_[client].done, answered<UpsertReply>(client, [this](Result<UpsertReply>& reply) {
          if (!reply.ok()) check_error(reply.status());
        }));
  }

  void repeat_update(uint32_t client) {
    auto first = clients_[client].updated_reply;
    nodes_[clients_[client].node]->api().update(
        *clients_[client].updated,
        answered<UpdateReply>(client, [this, first](Result<UpdateReply>& reply) {
          if (!reply.ok()) return check_error(reply.status());
          if (reply->updated != first.updated || reply->missing != first.missing) {
            fail("an update that was sent again has another answer: " +
                 std::to_string(reply->updated) + " updated, and before " +
                 std::to_string(first.updated));
          }
        }));
  }

  void begin_delete(uint32_t client) {
    DeleteRequest request;
    request.database = database;
    std::map<uint64_t, uint64_t> written;
    for (uint64_t i = 0; i < 1 + draw(4); ++i) {
      uint64_t id = pick_id(client);
      if (written.count(id) > 0) continue;
      written[id] = ++versions_;
      model_.begin(id, {written[id], false});
      marks_.begin(id, {written[id], false});
      ++deletions_[id];
      request.ids.emplace_back(id);
    }
    nodes_[clients_[client].node]->api().remove(
        std::move(request),
        answered<DeleteReply>(client, [this, written](Result<DeleteReply>& reply) {
          if (!reply.ok()) return check_write_error(reply.status());
          ++report_.writes_acknowledged;
          acknowledge(written);
        }));
  }

  // What a client sends, which can be stored, and what is read back: of the v-th vector.
  std::vector<float> sent_vector(uint64_t id, uint64_t version, size_t v = 0) const {
    auto out = vector_of(id, version, vectors_[v].dimension);
    for (float& value : out) {
      if (vectors_[v].datatype == Datatype::uint8) value = std::round(100 * (value + 0.5f));
    }
    return out;
  }
  std::vector<float> stored_vector(uint64_t id, uint64_t version, size_t v = 0) const {
    auto out = sent_vector(id, version, v);
    const Datatype datatype = vectors_[v].datatype;
    std::vector<char> stored(out.size() * element_bytes(datatype));
    store_values(datatype, out.data(), out.size(), stored.data());
    load_values(datatype, stored.data(), out.size(), out.data());
    return out;
  }
  // Every version has the first vector, and half of them have the second.
  static bool has_vector(uint64_t id, uint64_t version, size_t v) {
    return v == 0 || mix(id, version + 1) % 2 == 0;
  }

  // Of the id that was added last.
  void add_values(UpsertRequest& request, uint64_t id, uint64_t version) const {
    auto append = [](std::string& out, const std::vector<float>& values) {
      out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    };
    if (!named_) {
      request.dimension = vectors_[0].dimension;
      return append(request.values, sent_vector(id, version));
    }
    for (size_t v = 0; v < vectors_.size(); ++v) {
      if (!has_vector(id, version, v)) continue;
      auto own = std::find_if(request.named.begin(), request.named.end(),
                              [&](const VectorColumn& c) { return c.name == vectors_[v].name; });
      if (own == request.named.end()) {
        own = request.named.insert(own,
                                   VectorColumn{vectors_[v].name, vectors_[v].dimension, {}, {}});
      }
      own->rows.push_back(static_cast<uint32_t>(request.ids.size() - 1));
      append(own->values, sent_vector(id, version, v));
    }
  }

  bool holds(const StoredVector& found, uint64_t id, uint64_t version) const {
    if (!named_) return found.named.empty() && found.values == stored_vector(id, version);
    size_t next = 0;
    for (size_t v = 0; v < vectors_.size(); ++v) {
      if (!has_vector(id, version, v)) continue;
      if (next == found.named.size() || found.named[next].name != vectors_[v].name ||
          found.named[next].values != stored_vector(id, version, v)) {
        return false;
      }
      ++next;
    }
    return found.values.empty() && next == found.named.size();
  }

  // One operation on one of the vectors that all clients use.
  void begin_shared(uint32_t client, uint64_t dice) {
    Api& api = nodes_[clients_[client].node]->api();
    uint64_t key = draw(shared_keys);
    if (dice < 28) {
      uint64_t version = ++versions_;
      UpsertRequest request;
      request.database = shared_database;
      request.dimension = vectors_[0].dimension;
      request.ids.emplace_back(key);
      request.metadata.push_back(metadata_of(key, version, version));
      auto values = sent_vector(key, version);
      request.values.append(reinterpret_cast<const char*>(values.data()), values.size() * 4);
      auto operation = history_.write(client, key, version, now_ns_);
      auto marking = history_.write(client, mark_of(key), version, now_ns_);
      api.upsert(std::move(request), answered<UpsertReply>(client, [=, this](auto& reply) {
                   if (!reply.ok()) return check_write_error(reply.status());
                   history_.complete(operation, now_ns_);
                   history_.complete(marking, now_ns_);
                 }));
    } else if (dice < 42) {
      update_shared(client, key);
    } else if (dice < 50) {
      DeleteRequest request;
      request.database = shared_database;
      request.ids.emplace_back(key);
      auto operation = history_.erase(client, key, now_ns_);
      auto marking = history_.erase(client, mark_of(key), now_ns_);
      api.remove(std::move(request), answered<DeleteReply>(client, [=, this](auto& reply) {
                   if (!reply.ok()) return check_write_error(reply.status());
                   history_.complete(operation, now_ns_);
                   history_.complete(marking, now_ns_);
                 }));
    } else if (dice < 65) {
      search_shared(client);
    } else {
      get_shared(client, key);
    }
  }

  // The version and the mark of a vector are two registers in the history. An update writes one
  // of them, and what it does to the other shows there; or it reads that there is none.
  static uint64_t mark_of(uint64_t key) { return shared_keys + key; }

  void update_shared(uint32_t client, uint64_t key) {
    const bool marks = draw(2) == 0;
    const uint64_t number = ++versions_;
    UpdateRequest request;
    request.database = shared_database;
    VectorUpdate& update = request.vectors.emplace_back();
    update.id = VectorId(key);
    update.metadata = marks ? marking_of(number) : revision_of(key, number);
    if (!marks) update.values = sent_vector(key, number);
    auto written = history_.write(client, marks ? mark_of(key) : key, number, now_ns_);
    auto looked = history_.read(client, key, now_ns_);
    nodes_[clients_[client].node]->api().update(
        std::move(request), answered<UpdateReply>(client, [=, this](Result<UpdateReply>& reply) {
          if (!reply.ok()) return check_write_error(reply.status());
          if (reply->missing.empty()) {
            history_.complete(written, now_ns_);
          } else {
            history_.discard(written);
            history_.complete_read(looked, 0, now_ns_);
          }
        }));
  }

  void get_shared(uint32_t client, uint64_t key) {
    auto operation = history_.read(client, key, now_ns_);
    auto mark = history_.read(client, mark_of(key), now_ns_);
    nodes_[clients_[client].node]->api().get(
        {shared_database, VectorId(key)},
        answered<StoredVector>(client, [=, this](Result<StoredVector>& found) {
          if (found.ok()) {
            auto state = state_of(key, found->metadata);
            if (!state || found->values != stored_vector(key, state->version)) {
              return fail("a read gave what nobody wrote: " + found->metadata);
            }
            history_.complete_read(operation, state->version, now_ns_);
            history_.complete_read(mark, state->mark, now_ns_);
          } else if (found.status().code() == Code::not_found) {
            history_.complete_read(operation, 0, now_ns_);
            history_.complete_read(mark, 0, now_ns_);
          } else {
            check_error(found.status());
          }
        }));
  }

  // A search for everything reads all of them at once.
  void search_shared(uint32_t client) {
    SearchRequest request;
    request.database = shared_database;
    request.vector = sent_vector(draw(1000), 1);
    request.k = Limits::k_max;
    request.exact = true;
    if (draw(2) == 0) request.consistency = Consistency::strong;
    auto operations = std::make_shared<std::map<uint64_t, History::Handle>>();  // by key
    for (uint64_t key = 0; key < 2 * shared_keys; ++key) {
      operations->emplace(key, history_.read(client, key, now_ns_));
    }
    nodes_[clients_[client].node]->api().search(
        std::move(request),
        answered<SearchReply>(client, [this, operations](Result<SearchReply>& reply) {
          if (!reply.ok()) return check_error(reply.status());
          ++report_.searches_checked;
          std::map<uint64_t, uint64_t> found;  // version, mark by key; 0: it is not there
          for (const SearchHit& hit : reply->results) {
            uint64_t key = hit.id.integer();
            auto state = state_of(key, hit.metadata);
            if (!state) return fail("a search gave metadata that nobody wrote: " + hit.metadata);
            found[key] = state->version;
            found[mark_of(key)] = state->mark;
          }
          for (auto [key, operation] : *operations) {
            history_.complete_read(operation, found[key], now_ns_);
          }
        }));
  }

  void check_history() {
    Finding finding = check_linearizable(history_);
    if (finding.verdict == Verdict::violated) fail("not linearizable: " + finding.explanation);
    if (finding.verdict == Verdict::undecided) fail("too hard to check: " + finding.explanation);
  }

  void begin_get(uint32_t client) {
    uint64_t id = pick_id(client);
    nodes_[clients_[client].node]->api().get(
        {database, VectorId(id)},
        answered<StoredVector>(client, [this, id](Result<StoredVector>& found) {
          if (found.ok()) {
            observe(id, *found);
          } else if (found.status().code() == Code::not_found) {
            observe_nothing(id);
          } else {
            check_error(found.status());
          }
        }));
  }

  // Searches while others write: what comes back must be well formed and allowed.
  void begin_search(uint32_t client) {
    SearchRequest request;
    request.database = database;
    const size_t v = draw(vectors_.size());
    request.vector_name = vectors_[v].name;
    request.vector = sent_vector(draw(1000), 1, v);
    request.k = static_cast<uint32_t>(1 + draw(20));
    request.exact = draw(2) == 0;
    if (draw(3) == 0) request.consistency = Consistency::strong;
    uint64_t bucket = draw(10);
    bool filtered = draw(2) == 0;
    if (filtered) request.filter = "{\"bucket\":" + std::to_string(bucket) + "}";
    uint32_t k = request.k;
    std::optional<uint64_t> sought = draw(2) == 0 ? seek_own(client, v, request) : std::nullopt;
    filtered = filtered && !sought;
    // While a vector moves, one of its shards may show it as it was.
    bool settled = !options_.by_vector || request.exact;
    nodes_[clients_[client].node]->api().search(
        std::move(request),
        answered<SearchReply>(client, [this, client, k, filtered, bucket, sought, settled,
                                       v](Result<SearchReply>& reply) {
          if (!reply.ok()) return check_error(reply.status());
          ++report_.searches_checked;
          report_.lacking_searched += v > 0;
          if (reply->results.size() > k) fail("a search gave more than k results");
          std::set<uint64_t> ids;
          for (const SearchHit& hit : reply->results) ids.insert(hit.id.integer());
          if (ids.size() < reply->results.size()) fail("a search gave one id twice");
          if (sought && ids.count(*sought) == 0) {
            fail("a search for the vector of id " + std::to_string(*sought) + " did not find it");
          }
          for (const SearchHit& hit : reply->results) {
            uint64_t id = hit.id.integer();
            auto state = state_of(id, hit.metadata);
            if (!state) return fail("a search gave metadata that nobody wrote: " + hit.metadata);
            if (!has_vector(id, state->version, v)) {
              fail("a search by a vector gave id " + std::to_string(id) + ", which lacks it");
            }
            if (filtered && bucket_of(id, state->version) != bucket) {
              fail("a filtered search gave id " + std::to_string(id) + ", which does not match");
            }
            // Its own ids stand still while a client waits.
            if (settled && id % options_.clients == client) observe_state(id, *state);
          }
        }));
  }

  // Searches for everything: what exists all the time is found, whoever is just writing it
  // anew, and wherever it is moving.
  void begin_census(uint32_t client) {
    SearchRequest request;
    request.database = database;
    request.vector_name = vectors_[0].name;  // which all have
    request.vector = sent_vector(draw(1000), 1);
    request.k = Limits::k_max;
    // As k is more than there are, no index may leave one out. By vector, others ask few shards.
    request.exact = options_.by_vector || draw(2) == 0;
    if (draw(2) == 0) request.consistency = Consistency::strong;
    std::vector<std::pair<uint64_t, uint64_t>> staying;  // and how often it was deleted
    for (uint64_t id : model_.staying()) staying.emplace_back(id, deletions_[id]);
    nodes_[clients_[client].node]->api().search(
        std::move(request),
        answered<SearchReply>(client, [this, staying](Result<SearchReply>& reply) {
          if (!reply.ok()) return check_error(reply.status());
          ++report_.searches_checked;
          std::set<uint64_t> found;
          for (const SearchHit& hit : reply->results) found.insert(hit.id.integer());
          for (auto [id, deletions] : staying) {
            if (deletions_[id] == deletions && found.count(id) == 0) {
              return fail("a search for everything did not find id " + std::to_string(id));
            }
          }
        }));
  }

  // Makes the search one for a vector that the client has written itself, which must be
  // found: no other is as near. Nothing: there is none that it is sure of.
  std::optional<uint64_t> seek_own(uint32_t client, size_t v, SearchRequest& request) {
    uint64_t id = pick_id(client);
    auto certain = model_.certain().find(id);
    bool there = certain != model_.certain().end() && certain->second.exists;
    // By their product others may be nearer.
    if (!there || !model_.decided(id) || vectors_[v].metric == Metric::dot) return std::nullopt;
    if (!has_vector(id, certain->second.number, v)) return std::nullopt;
    request.vector = sent_vector(id, certain->second.number, v);
    request.filter.clear();
    // By vector, the nearest shard alone has it, and its few rows are all compared.
    request.exact = !options_.by_vector || draw(2) == 0;
    return id;
  }

  void check_error(const Status& status) {
    switch (status.code()) {
      case Code::unavailable:
      case Code::deadline_exceeded:
      case Code::disk_full:
      case Code::io_error: return;
      case Code::corruption:
        if (std::all_of(nodes_.begin(), nodes_.end(),
                        [](const auto& n) { return n->disk().flipped_bits() == 0; })) {
          fail("unprovoked: " + status.to_string());
        }
        return;
      default: fail("an unexpected error: " + status.to_string());
    }
  }

  void check_write_error(const Status& status) {
    ++report_.writes_failed;
    check_error(status);
  }

  struct State {
    uint64_t version = 0;
    uint64_t mark = 0;
  };
  // Nothing: nobody wrote this of that id.
  static std::optional<State> state_of(uint64_t id, const std::string& metadata) {
    constexpr std::string_view start = "{\"version\":", middle = "\"mark\":";
    size_t mark = metadata.find(middle);
    if (metadata.compare(0, start.size(), start) != 0 || mark == metadata.npos) return std::nullopt;
    State state{std::strtoull(metadata.c_str() + start.size(), nullptr, 10),
                std::strtoull(metadata.c_str() + mark + middle.size(), nullptr, 10)};
    if (metadata != metadata_of(id, state.version, state.mark)) return std::nullopt;
    return state;
  }

  void observe_state(uint64_t id, State state) {
    ++report_.reads_checked;
    std::string wrong = model_.observe(id, {state.version, true});
    if (wrong.empty()) {
      wrong = marks_.observe(id, {state.mark, true});
      if (!wrong.empty()) wrong = "by marks, " + wrong;
    }
    if (!wrong.empty()) fail(wrong);
  }

  void observe_nothing(uint64_t id) {
    ++report_.reads_checked;
    std::string wrong = model_.observe(id, {0, false});
    if (wrong.empty()) wrong = marks_.observe(id, {0, false});
    if (!wrong.empty()) fail(wrong);
  }

  void observe(uint64_t id, const StoredVector& found) {
    auto state = state_of(id, found.metadata);
    if (!state || !holds(found, id, state->version)) {
      return fail("id " + std::to_string(id) + " holds what nobody wrote: " + found.metadata);
    }
    observe_state(id, *state);
  }

  // ---- checkpoints -----------------------------------------------------------------

  // With clients at rest everything can be compared with the model.
  void checkpoint() {
    ++report_.checkpoints;
    heal();
    if (!ok()) return;
    auto idle = [this] {
      return !operating_ && given_up_.empty() &&
             std::none_of(clients_.begin(), clients_.end(), [](const Client& c) { return c.busy; });
    };
    if (!run_until(idle, 120'000 * ms)) return fail("a request was never answered");
    if (cluster()) await_settled();
    if (!ok() || !await_ready()) return;
    // Whatever was given up on its way has arrived by now, or never will.
    if (cluster()) run_until([] { return false; }, 2000 * ms);
    // By what arrived last another router may have become due.
    if (cluster() && options_.by_vector) await_settled();
    if (!ok()) return;
    for (size_t i : members()) machines_[i].checked_starts = nodes_[i]->starts();
    model_.settle();
    marks_.settle();
    compare_contents();
    if (ok()) compare_searches();
    if (ok() && cluster()) compare_replicas();
    if (ok() && cluster()) check_history();
    if (ok() && draw(2) == 0) compare_replay();
    model_.unsettle();
    marks_.unsettle();
    // Not a burst of everything that was due meanwhile.
    next_fault_ns_ = std::max(next_fault_ns_, now_ns_ + ms);
    next_operation_ns_ = std::max(next_operation_ns_, now_ns_ + ms);
  }

  void compare_contents() {
    std::map<uint64_t, StoredVector> listed;
    ListRequest request;
    request.database = database;
    request.limit = 37;
    request.include_values = true;
    for (;;) {
      auto page = insist<ListReply>([&](Api& api, auto done) { api.list(request, done); });
      if (!page.ok()) return fail("listing: " + page.status().to_string());
      for (StoredVector& vector : page->vectors) {
        uint64_t id = vector.id.integer();
        if (!listed.emplace(id, std::move(vector)).second) {
          return fail("id " + std::to_string(id) + " is listed twice");
        }
      }
      if (!page->next) break;
      request.after = page->next;
    }
    uint64_t ids = uint64_t{options_.ids_per_client} * options_.clients;
    for (uint64_t id = 0; id < ids && ok(); ++id) {
      auto found = listed.find(id);
      if (found == listed.end()) {
        observe_nothing(id);
      } else {
        observe(id, found->second);
      }
    }
    auto info = describe_whole();
    if (!info.ok()) return fail("describing: " + info.status().to_string());
    report_.routed += info->router_state == "ready";
    if (ok() && info->vectors != model_.live()) {
      fail("the database counts " + std::to_string(info->vectors) + " vectors; there are " +
           std::to_string(model_.live()));
    }
  }

  // A shard that is just being moved may be shown without what it holds, and a replica
  // that is catching up counts what it has. Not for long.
  Result<DatabaseInfo> describe_whole() {
    uint64_t stop_ns = now_ns_ + recovery_ns_max;
    for (;;) {
      auto info =
          insist<DatabaseInfo>([](Api& api, auto done) { api.describe_database(database, done); });
      if (!info.ok() || now_ns_ >= stop_ns) return info;
      if (info->vectors == model_.live()) return info;
      run_until([] { return false; }, 100 * ms);
    }
  }

  struct Expected {
    float distance;
    uint64_t id;
  };

  // Brute force, in another way than the engine's: all rows, sorted.
  std::vector<Expected> brute_force(const std::vector<float>& query, int bucket, size_t v) const {
    const Metric metric = vectors_[v].metric;
    std::vector<float> q = query;
    if (metric == Metric::cosine) normalise(q.data(), q.size());
    std::vector<Expected> all;
    for (const auto& [id, version] : model_.certain()) {
      if (!version.exists) continue;
      if (bucket >= 0 && bucket_of(id, version.number) != static_cast<uint64_t>(bucket)) continue;
      if (!has_vector(id, version.number, v)) continue;
      auto row = stored_vector(id, version.number, v);
      if (metric == Metric::cosine) normalise(row.data(), row.size());
      double sum = 0;
      for (size_t j = 0; j < row.size(); ++j) {
        double difference = static_cast<double>(q[j]) - row[j];
        sum += metric == Metric::l2 ? difference * difference : static_cast<double>(q[j]) * row[j];
      }
      if (metric != Metric::l2) sum = (metric == Metric::cosine ? 1 : 0) - sum;
      all.push_back({static_cast<float>(sum), id});
    }
    std::sort(all.begin(), all.end(), [](const Expected& a, const Expected& b) {
      return a.distance != b.distance ? a.distance < b.distance : a.id < b.id;
    });
    return all;
  }

  void compare_searches() {
    for (int i = 0; i < 6 && ok(); ++i) {
      SearchRequest request;
      request.database = database;
      const size_t v = draw(vectors_.size());
      request.vector_name = vectors_[v].name;
      request.vector = sent_vector(draw(1000), 3, v);
      request.k = static_cast<uint32_t>(1 + draw(40));
      request.exact = i % 2 == 0;
      int bucket = i % 3 == 0 ? -1 : static_cast<int>(draw(10));
      if (bucket >= 0) request.filter = "{\"bucket\":{\"$eq\":" + std::to_string(bucket) + "}}";
      auto reply = insist<SearchReply>([&](Api& api, auto done) { api.search(request, done); });
      if (!reply.ok()) return fail("searching: " + reply.status().to_string());
      auto expected = brute_force(request.vector, bucket, v);
      size_t size = std::min<size_t>(expected.size(), request.k);
      if (reply->results.size() != size) {
        return fail("a search for " + std::to_string(request.k) + " gave " +
                    std::to_string(reply->results.size()) + " results; " +
                    std::to_string(expected.size()) + " rows match");
      }
      for (size_t j = 0; request.exact && j < size; ++j) {
        float distance = distance_from_score(vectors_[v].metric, reply->results[j].score);
        if (std::abs(distance - expected[j].distance) >
            1e-4f * std::max(1.0f, std::abs(expected[j].distance))) {
          return fail("result " + std::to_string(j) + " of an exact search is at distance " +
                      std::to_string(distance) + ", brute force says " +
                      std::to_string(expected[j].distance));
        }
      }
      ++report_.searches_checked;
    }
  }

  // By group and node.
  std::optional<std::map<std::pair<uint64_t, uint64_t>, ShardDigest>> digests() {
    auto info =
        insist<DatabaseInfo>([](Api& api, auto done) { api.describe_database(database, done); });
    if (!info.ok()) {
      fail("describing: " + info.status().to_string());
      return std::nullopt;
    }
    std::map<std::pair<uint64_t, uint64_t>, ShardDigest> out;
    for (const ShardInfo& shard : info->placement) {
      for (uint64_t node : shard.nodes) {
        size_t machine = machine_of(node);
        if (machine == none) continue;  // there were not enough nodes to replace it
        auto digest = ask<ShardDigest>(
            [&](Api&, auto done) { nodes_[machine]->runtime().digest(shard.shard, done); });
        // A move may have begun since.
        if (digest.status().code() == Code::unavailable) continue;
        if (!digest.ok()) {
          fail("digest: " + digest.status().to_string());
          return std::nullopt;
        }
        out[{shard.shard, node}] = *digest;
      }
    }
    return out;
  }

  using Digests = std::map<std::pair<uint64_t, uint64_t>, ShardDigest>;  // by group and node

  static bool level(const Digests& all) {
    std::map<uint64_t, uint64_t> applied;
    return std::all_of(all.begin(), all.end(), [&](const auto& one) {
      uint64_t index = one.second.applied_index;
      return applied.try_emplace(one.first.first, index).first->second == index;
    });
  }

  // Replicas hold the same once they have applied the same, which takes no time to
  // speak of when nothing is the matter.
  void compare_replicas() {
    uint64_t stop_ns = now_ns_ + recovery_ns_max;
    auto all = digests();
    while (all && !level(*all) && now_ns_ < stop_ns) {
      run_until([] { return false; }, 200 * ms);
      all = digests();
    }
    if (!all) return;
    using Seen = std::pair<uint64_t, ShardDigest>;  // node
    std::map<uint64_t, Seen> first;                 // by group
    for (const auto& [where, digest] : *all) {
      auto [at, added] = first.try_emplace(where.first, where.second, digest);
      const auto& [node, other] = at->second;
      if (agree(other, digest)) continue;
      const bool same = other.digest == digest.digest;
      return fail("shard " + std::to_string(where.first) +
                  (same ? " has other segments" : " differs") + " on nodes " +
                  std::to_string(node) + " (" + describe(other, same) + ") and " +
                  std::to_string(where.second) + " (" + describe(digest, same) + ")");
    }
  }

  // Seals and merges are log entries that write no record: segments can differ for a while.
  static bool agree(const ShardDigest& a, const ShardDigest& b) {
    const bool level = a.applied_index == b.applied_index;
    return a.digest == b.digest && (!level || a.segments == b.segments);
  }

  static std::string describe(const ShardDigest& digest, bool segments) {
    std::string out = "entry " + std::to_string(digest.applied_index);
    for (const SegmentDigest& one : digest.segments) {
      if (!segments) break;
      out += ", " + std::to_string(one.id) + "/" + std::to_string(one.vector) + " from row " +
             std::to_string(one.begin_row) + " with " + std::to_string(one.live) + " alive";
    }
    return out;
  }

  // A restart, and the log replayed on what was on disk, change nothing.
  void compare_replay() {
    auto before = digests();
    if (!before) return;
    size_t index = pick_member();
    end_process(index, draw(2) == 0);
    start_node(index);
    if (!ok() || !await_ready()) return;
    if (cluster()) run_until([] { return false; }, 500 * ms);
    auto after = digests();
    if (!after) return;
    auto info = insist<ClusterInfo>([](Api& api, auto done) { api.cluster(done); });
    if (!info.ok()) return fail("looking at the cluster: " + info.status().to_string());
    for (const auto& [where, digest] : *before) {
      auto same = after->find(where);
      if (same == after->end()) continue;
      if (agree(same->second, digest)) continue;
      // A move to the node that was restarted is planned anew, and begins with nothing.
      bool joins = std::any_of(info->tasks.begin(), info->tasks.end(), [&](const TaskInfo& task) {
        return task.shard == where.first && task.to == where.second;
      });
      if (joins) continue;
      return fail("the contents differ after a restart without writes");
    }
  }

  SimulationOptions options_;
  uint64_t random_;
  uint64_t now_ns_ = 1000 * ms;
  SimNetwork network_;  // outlives the nodes
  std::vector<std::unique_ptr<SimNode>> nodes_;
  std::vector<Machine> machines_;
  std::set<std::pair<size_t, size_t>> cut_;  // from, to
  std::pair<size_t, size_t> slow_link_;      // the same; equal: there is none
  uint64_t slower_by_ns_ = 0;
  uint64_t network_over_ns_ = none;  // of either
  Model model_;
  Model marks_;
  std::map<uint64_t, uint64_t> deletions_;  // asked for, by id
  History history_;
  Datatype datatype_ = static_cast<Datatype>(mix(options_.seed, 0x52u) % 3);
  // Of the database: one without a name, or two with names.
  bool named_ = !options_.by_vector && mix(options_.seed, 0x53u) % 3 == 0;
  std::vector<VectorSpec> vectors_;
  std::vector<Client> clients_;
  std::set<std::pair<size_t, uint64_t>> given_up_;  // unanswered requests, by node asked
  uint64_t requests_ = 0;
  uint64_t versions_ = 0;
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> leaders_;  // by group and term
  std::optional<size_t> elected_;  // the node that was just elected by some group
  uint64_t next_fault_ns_ = none;
  uint64_t next_checkpoint_ns_ = none;
  uint64_t next_operation_ns_ = none;
  // Since the last time that everything was well:
  bool lost_a_disk_ = false;
  bool asked_for_few_ = false;
  bool operating_ = false;  // waits for an answer
  std::optional<ClusterInfo> looked_;
  size_t operated_node_ = 0;  // that was asked
  uint64_t trace_ = 0;
  SimulationReport report_;
};

}  // namespace

SimulationReport simulate(const SimulationOptions& options) { return Simulation(options).run(); }

}  // namespace jade::sim
