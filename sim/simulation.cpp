#include "sim/simulation.h"

#include <algorithm>
#include <deque>

#include "sim/checks.h"
#include "sim/clients.h"
#include "sim/cluster.h"
#include "sim/faults.h"
#include "sim/ledger.h"
#include "sim/old_disks.h"
#include "sim/operator.h"
#include "sim/own_workload.h"
#include "sim/passing_databases.h"
#include "sim/records.h"
#include "sim/run.h"
#include "sim/settling.h"
#include "sim/shared_workload.h"

namespace jade::sim {
namespace {

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        run_(options_),
        cluster_(options_, run_),
        old_disks_(options_.faults.count(Fault::old_disk) > 0, run_, cluster_),
        faults_(options_, run_, cluster_, old_disks_),
        operator_(options_, run_, cluster_, faults_, old_disks_),
        clients_(options_, run_, cluster_),
        records_(options_, run_),
        ledger_(cluster_.several(), run_, records_),
        own_(options_, run_, cluster_, clients_, records_, ledger_),
        shared_(run_, cluster_, clients_, records_),
        passing_(options_, run_, cluster_, records_),
        checks_(uint64_t{options_.ids_per_client} * options_.clients, run_, cluster_, records_,
                ledger_) {}

  // Unanswered requests call back when their node ends: while all of this lives.
  ~Simulation() { cluster_.end_all(); }

  SimulationReport run() {
    cluster_.start_members();
    if (run_.ok()) create_databases();
    faults_.schedule();
    operator_.schedule();
    schedule_checkpoint();
    const uint64_t end_ns = options_.simulated_ms * ms;
    while (run_.ok() && run_.now_ns() < end_ns) turn();
    if (run_.ok()) checkpoint();
    SimulationReport report = run_.report();
    report.simulated_ns = run_.now_ns();
    report.bytes_sent = cluster_.bytes_sent();
    report.trace_hash = cluster_.trace_hash();
    return report;
  }

 private:
  void create_databases() {
    if (!await_ready(run_, cluster_) || !create(records_.own_spec())) return;
    if (!cluster_.several() || !await_ready(run_, cluster_)) return;
    if (create(records_.shared_spec())) await_ready(run_, cluster_);
  }

  bool create(const DatabaseSpec& spec) {
    auto created =
        cluster_.ask<DatabaseInfo>([&](Api& api, auto done) { api.create_database(spec, done); });
    if (!created.ok()) run_.fail("creating the database: " + created.status().to_string());
    return created.ok();
  }

  // Whatever is due, and then one turn of the cluster, or time goes by.
  void turn() {
    faults_.strike_if_due();
    operator_.act_if_due();
    for (size_t i = 0; i < cluster_.size() && run_.ok(); ++i) {
      faults_.look_after(i);
      if (run_.ok()) cluster_.start_if_due(i);
    }
    faults_.look_after_network();
    if (run_.ok() && run_.now_ns() >= next_checkpoint_ns_ && faults_.calm()) {
      checkpoint();
      schedule_checkpoint();
    }
    if (run_.ok()) passing_.act_if_due();
    if (run_.ok()) clients_.drive([this](uint32_t client) { ask(client); });
    if (!run_.ok()) return;
    faults_.before_turn();
    if (run_.ok() && cluster_.step()) {
      faults_.after_turn();
    } else {
      cluster_.advance_to(std::max(next_event_ns(), run_.now_ns() + 1));
    }
  }

  uint64_t next_event_ns() {
    uint64_t next = std::min({faults_.next_ns(), operator_.next_ns(), cluster_.next_restart_ns()});
    if (faults_.calm()) next = std::min(next, next_checkpoint_ns_);
    if (auto due = cluster_.next_due_ns()) next = std::min(next, *due);
    if (cluster_.any_running()) next = std::min({next, clients_.next_ns(), passing_.next_ns()});
    return next;
  }

  void ask(uint32_t client) {
    const uint64_t dice = run_.draw(100);
    if (clients_.watches(client)) return shared_.read(client, dice);
    if (cluster_.several() && run_.draw(3) == 0) return shared_.ask(client, dice);
    own_.ask(client, dice);
  }

  void schedule_checkpoint() {
    next_checkpoint_ns_ = run_.now_ns() + (1000 + run_.draw(2000)) * ms;
  }

  // With clients at rest everything can be compared with what they know.
  void checkpoint() {
    ++run_.report().checkpoints;
    faults_.heal();
    if (!run_.ok() || !come_to_rest()) return;
    if (cluster_.rotten()) {
      checks_.await_mended();
      if (!run_.ok() || !come_to_rest()) return;
    }
    old_disks_.caught_up();
    own_.forget_unanswered();
    passing_.settle();
    if (run_.ok()) checks_.compare_disks();
    if (!run_.ok()) return;
    ledger_.settle();
    checks_.compare_contents();
    if (run_.ok()) checks_.compare_searches();
    if (run_.ok() && cluster_.several()) checks_.compare_replicas();
    if (run_.ok() && cluster_.several()) shared_.check_history();
    if (run_.ok() && run_.draw(2) == 0) checks_.compare_replay();
    ledger_.unsettle();
    // Not a burst of everything that was due meanwhile.
    faults_.postpone();
    operator_.postpone();
  }

  bool come_to_rest() {
    auto idle = [this] { return operator_.idle() && clients_.idle() && passing_.idle(); };
    if (!cluster_.run_until(idle, 120'000 * ms)) {
      run_.fail("a request was never answered");
      return false;
    }
    settle();
    if (!run_.ok() || !await_ready(run_, cluster_) || !cluster_.await_left()) return false;
    // Whatever was given up on its way has arrived by now, or never will.
    if (cluster_.several()) cluster_.run_for(2000 * ms);
    // By what arrived last another router may have become due.
    if (options_.by_vector) settle();
    return run_.ok();
  }

  void settle() {
    if (cluster_.several() && await_settled(run_, cluster_)) operator_.settled();
  }

  const SimulationOptions options_;
  Run run_;
  Cluster cluster_;
  OldDisks old_disks_;
  Faults faults_;
  Operator operator_;
  Clients clients_;
  Records records_;
  Ledger ledger_;
  OwnWorkload own_;
  SharedWorkload shared_;
  PassingDatabases passing_;
  Checks checks_;
  uint64_t next_checkpoint_ns_ = never;
};

}  // namespace

SimulationReport simulate(const SimulationOptions& options) { return Simulation(options).run(); }

std::vector<std::string> last_lines(SimulationOptions options, size_t lines) {
  std::deque<std::string> last;
  options.log = [&last, lines](const std::string& line) {
    last.push_back(line);
    if (last.size() > lines) last.pop_front();
  };
  simulate(options);
  return {last.begin(), last.end()};
}

}  // namespace jade::sim
