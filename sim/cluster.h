// The machines of a run, the network between them, and the time that passes for both.
//
// All that happens to machines happens here, by a call each; when and why is for others to
// decide. Machines are known by their number, from 0 on; members have a node of the cluster on
// their disk, spares have nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actors/api.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/options.h"
#include "sim/run.h"

namespace jade::sim {

// Without faults a node serves again, and answers, within this.
constexpr uint64_t recovery_ns_max = 30'000 * ms;
// And a node that was removed has heard of that.
constexpr uint64_t removal_ns_max = 60'000 * ms;

class Cluster {
 public:
  // `options` and `run` must live as long. No node runs yet.
  Cluster(const SimulationOptions& options, Run& run);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // ---- those who want to know; they are told in the order in which they asked

  // A process has ended, with all that was asked of it. `new_disk`: and it will be another node.
  void when_ended(std::function<void(size_t machine, bool new_disk)> told);
  void when_elected(std::function<void(size_t machine, uint64_t group, uint64_t term)> told);
  // Of what a node says in its log.
  void when_logged(std::function<void(size_t machine, std::string_view message)> told);

  // ---- who is there

  size_t size() const { return machines_.size(); }
  // One machine is no cluster: it has no network.
  bool several() const { return machines_.size() > 1; }
  std::vector<size_t> members() const;
  size_t pick_member();
  std::optional<size_t> pick_spare() const;
  // The member that is this node now; nothing: no machine is.
  std::optional<size_t> machine_of(uint64_t node_id) const;
  SimNode& node(size_t machine) { return *machines_[machine].node; }
  const SimNode& node(size_t machine) const { return *machines_[machine].node; }
  bool running(size_t machine) const { return node(machine).running(); }
  bool any_running() const;
  bool paused(size_t machine) const;
  // It runs, and nothing is the matter with it.
  bool is_well(size_t machine) const;

  // ---- time

  // One turn of one actor, chosen by the seed, or one thing of the network. False: nothing can
  // run now.
  bool step();
  void advance_to(uint64_t then_ns);
  // When a node or the network has something to do.
  std::optional<uint64_t> next_due_ns();
  // When a member that does not run will be started.
  uint64_t next_restart_ns() const;
  // Runs the nodes, and nothing else, until `done` or the time is up; then it is false.
  bool run_until(const std::function<bool()>& done, uint64_t limit_ns);
  void run_for(uint64_t time_ns);

  // ---- questions to nodes, for when no faults are about

  template <class T>
  using Call = std::function<void(Api&, Api::Done<T>)>;
  // Asks a member, any by default, and waits.
  template <class T>
  Result<T> ask(const Call<T>& call, std::optional<size_t> machine = std::nullopt);
  // As often as it takes: leaders may still be being elected.
  template <class T>
  Result<T> insist(const Call<T>& call);

  // ---- what nodes have told

  // What a node says of the cluster; unavailable where it takes no part in it any more, as it
  // shows what it knew last.
  static void describe(Api& api, const Api::Done<ClusterInfo>& done);
  // Machines whose node is gone from the catalog are members no more, and spares once that node
  // has been told. Fails the run if one that was gone is in a later catalog.
  void retire_removed(const ClusterInfo& info);
  // An operator was told that it was removed.
  void note_removal(uint64_t node_id) { removals_.insert(node_id); }
  // Waits until nodes that were removed are gone from the catalog, and say so themselves, on the
  // disks that they had. False: one does not in time, and the run has failed.
  bool await_left();
  // Fails the run if no fault explains the error.
  void check_error(const Status& status);

  // ---- what happens to machines

  void start(size_t machine);
  void start_members();
  void start_if_due(size_t machine);
  // The process dies, or the machine loses power; it is back soon.
  void end(size_t machine, bool power);
  // So soon that what it took part in goes on while it is away.
  void end_shortly(size_t machine, bool power);
  // At one of the coming syncs, see SimDisk::die_at_sync().
  void end_at_sync(size_t machine, uint64_t number, bool before, bool power);
  // Ends what runs, and starts again at once.
  void restart(size_t machine);
  void pause(size_t machine, uint64_t time_ns);
  void resume(size_t machine);
  // The machine has an empty disk. As a member it comes back as another node.
  void replace_disk(size_t machine, bool member);
  void put_disk_back(size_t machine, const SimDisk::Image& image);
  // A bit flips in the records of one of its replicas. False where none are in tables.
  bool let_rot(size_t machine);
  // Where such damage may be.
  std::optional<size_t> rotten() const { return rotten_; }
  void mended() { rotten_.reset(); }
  void join(size_t spare);
  // All processes die, for good: what they were asked calls back.
  void end_all();

  // ---- what happens to the network

  void cut(size_t from, size_t to);
  // One link at a time; see SimNetwork::slow_down().
  void slow_down(size_t from, size_t to, uint64_t by_ns);
  void disconnect(size_t one, size_t other);
  void heal_network();

  uint64_t bytes_sent() const { return network_.bytes_delivered(); }
  // Of the run, and of all that was written to disks.
  uint64_t trace_hash() const;

 private:
  struct Machine {
    std::unique_ptr<SimNode> node;
    bool member = true;
    bool leaving = false;       // its node was removed, and has not been seen to know that
    bool told = false;          // it does
    uint64_t life = 0;          // of its disk: each is another node
    uint64_t seen_version = 0;  // of a catalog that knew the node; 0: none yet
    uint64_t restart_ns = 0;    // when it does not run
    uint64_t paused_until_ns = 0;
    bool loses_power = false;    // if it dies at a sync
    int64_t drift_permille = 0;  // of its clock

    // What its clock shows at a time of the run, and when it shows that.
    uint64_t local_ns(uint64_t global) const;
    uint64_t global_ns(uint64_t local) const;
  };

  std::unique_ptr<SimNode> make_node(uint32_t index);
  NodeConfig config(uint32_t index) const;
  void prepare_connection(size_t from, const std::string& host, uint16_t port);
  // What its process wrote is on disk now. True: it died of that.
  bool after_turn(size_t machine);
  void ended(size_t machine, bool new_disk);
  bool bits_flipped() const;
  // Of what a node says.
  void check_said(std::string_view message);
  void hear(size_t machine, std::string_view message);
  bool both_run(size_t one, size_t other) const { return running(one) && running(other); }
  bool is_cut(size_t from, size_t to) const { return cut_.count({from, to}) > 0; }
  void set_speed(uint64_t slower_by_ns);

  const SimulationOptions& options_;
  Run& run_;
  SimNetwork network_;  // outlives the nodes
  std::vector<Machine> machines_;
  std::optional<size_t> rotten_;
  std::map<uint64_t, uint64_t> removed_;     // nodes, with a version of the catalog without them
  std::set<uint64_t> removals_;              // of nodes, that were answered
  std::set<std::pair<size_t, size_t>> cut_;  // from, to
  std::pair<size_t, size_t> slow_link_;      // the same; equal: there is none
  uint64_t slower_by_ns_ = 0;
  std::vector<std::function<void(size_t, bool)>> when_ended_;
  std::vector<std::function<void(size_t, uint64_t, uint64_t)>> when_elected_;
  std::vector<std::function<void(size_t, std::string_view)>> when_logged_;
};

template <class T>
Result<T> Cluster::ask(const Call<T>& call, std::optional<size_t> machine) {
  auto answer = std::make_shared<std::optional<Result<T>>>();
  size_t asked = machine ? *machine : pick_member();
  call(node(asked).api(), [answer](Result<T> result) { answer->emplace(std::move(result)); });
  if (!run_until([&] { return answer->has_value(); }, recovery_ns_max)) {
    return Status(Code::deadline_exceeded, "the node did not answer");
  }
  return std::move(**answer);
}

template <class T>
Result<T> Cluster::insist(const Call<T>& call) {
  uint64_t stop_ns = run_.now_ns() + recovery_ns_max;
  for (;;) {
    auto answer = ask<T>(call);
    if (answer.status().code() != Code::unavailable || run_.now_ns() >= stop_ns) return answer;
    run_for(100 * ms);
  }
}

}  // namespace jade::sim
