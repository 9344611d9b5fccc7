// One member of one Raft group: libraft behind a seam of our own.
//
// libraft is event-driven and does no I/O. RaftHost turns what it wants done
// into calls on a RaftDriver (the actor that owns the group) and takes events in
// return. The driver's duties, in the manner of etcd-io/raft's doc.go:
//
//   1. tick() every `tick_ms` of the driver's clock.
//   2. On append(), make the entries durable in that order, then call
//      appended() with the same request number; also when it failed, which ends
//      the host: failed() is true, and a new one starts from what is on disk,
//      once no append of the old one can reach the log any more.
//   3. On apply(), change the state machine. Entries arrive in order, each
//      exactly once for the life of the host, from the index after
//      Options::applied_index.
//   4. On store_snapshot(), make the state machine durable up to that index and
//      the snapshot itself durable, then call snapshot_stored().
//   5. After close(), call nothing any more.
//
// Not thread-safe: the owning actor calls all of it. Terms and votes are written
// inside a call, because libraft wants them durable on return; that happens at
// start and in elections only. All groups have one voter so far, so no message
// ever leaves: send reports that there is no connection.
//
// Raft: Ongaro and Ousterhout, "In Search of an Understandable Consensus
// Algorithm", 2014.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "storage/log_store.h"
#include "storage/status.h"

namespace jade {

class RaftDriver {
 public:
  virtual ~RaftDriver() = default;
  virtual uint64_t raft_now_ms() = 0;
  // Uniform in [low, high).
  virtual int raft_random(int low, int high) = 0;
  virtual void raft_append(uint64_t request, LogAppend entries) = 0;
  // A failure stops the host: nothing more is applied, and failed() is true.
  virtual Status raft_apply(uint64_t index, uint64_t term, std::string_view command) = 0;
  // The state machine for a snapshot: the whole state, or only a marker where the
  // state is durable by itself (Options::durable_state).
  virtual std::string raft_state() = 0;
  // Replaces the state by one that raft_state() gave.
  virtual Status raft_restore(std::string_view state) = 0;
  virtual void raft_store_snapshot(RaftSnapshot snapshot, uint64_t trailing) = 0;
};

class RaftHost {
 public:
  struct Options {
    uint64_t group = 0;
    uint64_t node = 0;
    // The state machine keeps its state on disk and knows what it has applied:
    // entries up to applied_index are not applied again.
    bool durable_state = false;
    uint64_t applied_index = 0;
    uint32_t election_timeout_ms = 1000;
    uint32_t tick_ms = 100;
    // libraft keeps the log since the last snapshot in memory, so a snapshot is
    // taken after so many entries or bytes, whichever comes first.
    uint32_t snapshot_entries = 4096;
    size_t snapshot_bytes = 32u << 20;
    // Entries kept before a snapshot, for followers that are a little behind.
    uint32_t trailing_entries = 16;
  };

  // Called once: ok with the entry's index when it is applied; otherwise the
  // command may still be applied later (unavailable) or was refused (disk_full,
  // failed_precondition).
  using Proposed = std::function<void(Result<uint64_t>)>;

  // `log` and `driver` must outlive the host.
  RaftHost(Options options, LogStore& log, RaftDriver& driver);
  ~RaftHost();
  RaftHost(const RaftHost&) = delete;
  RaftHost& operator=(const RaftHost&) = delete;

  // Loads the log, writes the first configuration where there is none, and
  // applies what is known to be committed.
  Status start();

  void tick();
  void appended(uint64_t request, const Status& status);
  void snapshot_stored(const Status& status);

  // Size of a command: at most command_bytes_max.
  void propose(std::string_view command, Proposed done);
  // Ok once everything proposed before it is applied and this node is still the
  // leader: a linearizable read may follow.
  void barrier(Proposed done);

  bool is_leader() const;
  // Leader, and all entries of earlier terms are applied.
  bool serves() const;
  uint64_t term() const;
  uint64_t last_applied() const;
  uint64_t last_index() const;
  bool failed() const;
  const Status& failure() const;

  // Whatever is pending will be answered with this, at close().
  void fail(const Status& status);

  // Fails all that is pending, with `unavailable` when fail() gave no reason. No disk is touched.
  void close();

  static constexpr size_t command_bytes_max = 1u << 20;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace jade
