// The clients of a run: each asks one thing at a time, of any node that runs, and waits for the
// answer, or at most as long as its patience lasts. What they ask is for workloads to say.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "sim/cluster.h"

namespace jade::sim {

class Clients {
 public:
  Clients(const SimulationOptions& options, Run& run, Cluster& cluster);
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  // Calls `ask` for each that is free and has found a node: it must ask that, by api(), one
  // thing, to be answered to answered().
  void drive(const std::function<void(uint32_t client)>& ask);
  // When one may have something to do, where a node runs.
  uint64_t next_ns() const;
  // Everything was answered, or can no longer be.
  bool idle() const;

  // It asks one machine alone, and only reads.
  bool watches(uint32_t client) const { return clients_[client].watches.has_value(); }
  Api& api(uint32_t client) { return cluster_.node(clients_[client].machine).api(); }
  // Wraps an answer: ignores those that nobody waits for, or of a process that has died.
  template <class T>
  Api::Done<T> answered(uint32_t client, std::function<void(Result<T>&)> check);
  // Counts a write that failed, and fails the run if no fault explains that.
  void check_write_error(const Status& status);
  // For writes; all that clients write has another number.
  uint64_t next_version() { return ++versions_; }

 private:
  struct Client {
    std::optional<size_t> watches;  // the machine that it asks; none: any
    bool busy = false;
    uint64_t ready_ns = 0;
    size_t machine = 0;    // that was asked
    uint64_t process = 0;  // of that machine
    uint64_t request = 0;  // a number of its own
    uint64_t patient_until_ns = never;
  };

  bool find_node(Client& client);
  void give_up(Client& client);
  void process_ended(size_t machine);

  Run& run_;
  Cluster& cluster_;
  uint64_t patience_ms_;
  std::vector<Client> clients_;
  std::set<std::pair<size_t, uint64_t>> given_up_;  // unanswered requests, by machine asked
  uint64_t requests_ = 0;
  uint64_t versions_ = 0;
};

template <class T>
Api::Done<T> Clients::answered(uint32_t client, std::function<void(Result<T>&)> check) {
  const Client& asks = clients_[client];
  return [this, client, machine = asks.machine, process = asks.process, request = asks.request,
          check = std::move(check)](Result<T> result) {
    Client& waits = clients_[client];
    if (cluster_.node(machine).starts() != process) return;
    if (given_up_.erase({machine, request}) > 0) return;
    if (!waits.busy || waits.request != request) return;
    waits.busy = false;
    waits.ready_ns = run_.now_ns() + (1 + run_.draw(20)) * ms;
    check(result);
  };
}

}  // namespace jade::sim
