// One member of one Raft group: RaftCore with its disk, its state machine and
// those who wait for it.
//
// The host turns effects of the core into calls on a RaftDriver (the actor that
// owns the group) and takes events in return. The driver's duties:
//
//   1. tick() every `tick_ms` of the driver's clock.
//   2. On raft_append(), make it durable, in that order, then call appended()
//      with the same number; also when it failed, which ends the host: failed()
//      is true, and a new one starts from what is on disk, once no append of the
//      old one can reach the log any more.
//   3. On raft_send(), send; on what the other members send, receive().
//   4. On raft_apply(), change the state machine. Entries arrive in order, each
//      exactly once for the life of the host, from the index after
//      Options::applied_index.
//   5. On raft_store_snapshot(), make the state machine durable up to that index
//      and the snapshot itself durable, then call snapshot_stored().
//   6. On raft_state_offered(), fetch the state, replace this member's state and
//      log by it and start a new host. It may be offered again meanwhile.
//   7. raft_elected() is for who watches: nothing is to be done.
//   8. After close(), call nothing any more.
//
// Not thread-safe: the owning actor calls all of it, and nothing in here blocks
// but start().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "actors/raft_core.h"
#include "storage/log_store.h"
#include "storage/status.h"

namespace jade {

class RaftDriver {
 public:
  virtual ~RaftDriver() = default;
  virtual uint64_t raft_now_ms() = 0;
  virtual void raft_append(uint64_t number, LogAppend append) = 0;
  virtual void raft_send(RaftMessage message) = 0;
  // A failure stops the host: nothing more is applied, and failed() is true.
  virtual Status raft_apply(uint64_t index, uint64_t term, std::string_view command) = 0;
  // The state machine for a snapshot: the whole state, or only a marker where the
  // state is durable by itself (Options::durable_state).
  virtual std::string raft_state() = 0;
  // Replaces the state by one that raft_state() gave.
  virtual Status raft_restore(std::string_view state) = 0;
  virtual void raft_store_snapshot(RaftSnapshot snapshot, uint64_t trailing) = 0;
  virtual void raft_state_offered(RaftOffer offer) = 0;
  // This member leads in this term from now on.
  virtual void raft_elected(uint64_t term) = 0;
};

class RaftHost {
 public:
  struct Options {
    uint64_t group = 0;
    uint64_t node = 0;
    uint64_t seed = 0;
    // The voters of a group that is new on this node; the first of them leads if
    // it can. Empty: where there is no log, wait for a leader to send one.
    std::vector<RaftMember> founders;
    // Who leads first, if it can, where the log begins with a state that was put there;
    // of founders the first does.
    uint64_t first_leader = 0;
    // The state machine keeps its state on disk and knows what it has applied:
    // entries up to applied_index are not applied again.
    bool durable_state = false;
    uint64_t applied_index = 0;
    uint32_t election_timeout_ms = 1000;
    uint32_t tick_ms = 100;
    // The log since the last snapshot is in memory, so a snapshot is taken after
    // so many entries or bytes, whichever comes first.
    uint32_t snapshot_entries = 4096;
    size_t snapshot_bytes = 32u << 20;
    // Entries kept before a snapshot where there are other members: one that was
    // away for so long needs no copy of the whole state.
    size_t retained_bytes = 32u << 20;
    // Of a log that is held, in memory.
    size_t held_bytes_max = 256u << 20;
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

  // Loads the log, writes the first configuration of a new group, and takes up
  // where the log ends. Blocks on the disk.
  Status start();

  void tick();
  void receive(const RaftMessage& message);
  void appended(uint64_t number, const Status& status);
  void snapshot_stored(const Status& status);

  // Size of a command: at most command_bytes_max.
  void propose(std::string_view command, Proposed done);
  // Ok when everything that was acknowledged before is applied here and this node
  // was the leader: a linearizable read may follow at once.
  void read(Proposed done);
  // One member more, less or of another kind; ok when it is committed.
  void change(const RaftConfiguration& next, Proposed done);
  // Asks another voter to lead. Whether it does shows later.
  Status transfer(uint64_t node);

  // While held, no entry is dropped from the log (up to a limit): whoever copies
  // the state will need those that follow it.
  void hold_log(bool held);

  bool is_leader() const;
  // Leader, and all entries of earlier terms are applied.
  bool serves() const;
  // Until when nobody else leads, by the driver's clock, and all that was ever acknowledged
  // has been applied here; 0: not so.
  uint64_t leads_until_ms() const;
  // Has applied what was committed when this host started, so that nothing older
  // than its life shows any more.
  bool current() const;
  uint64_t leader() const;  // 0: unknown
  uint64_t term() const;
  uint64_t last_applied() const;
  uint64_t last_index() const;
  // Null before start() and after close().
  const RaftCore* core() const;
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
