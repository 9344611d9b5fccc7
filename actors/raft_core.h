// The Raft algorithm as a pure state machine: events go in, effects come out, in
// the manner of etcd-io/raft. It has no clock, disk, network or state machine of
// its own, so that a test can take it through every history.
//
// What the owner does after each event, by take():
//
//   1. Make RaftEffects::save durable, in the order given, and tell saved().
//      Nothing else may wait for it: messages that must not leave before a save
//      are held back in here.
//   2. Send the messages. They may be lost, late, doubled or out of order.
//   3. Apply the entries up to apply_limit() and tell applied().
//
// A save that fails ends the core: start another from what is on disk.
//
// From Ongaro's thesis (2014): pre-vote (9.6), leaders that step down without a
// majority (6.2), read index and lease (6.4), leadership transfer (3.10), and one
// change of members at a time (4), not before the leader has committed an entry
// of its own term.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "actors/raft_message.h"

namespace jade {

struct RaftSave {
  uint64_t number = 0;  // 1, 2, ...: as saved() wants it
  std::optional<HardState> state;
  // Replace what the log holds at and after first_index; none: leave it alone.
  uint64_t first_index = 0;
  std::vector<LogEntry> entries;
};

// The answer to read(): from `index` applied on, the state machine shows all that
// was acknowledged when the read was asked for. No index: lost the leadership.
struct RaftRead {
  uint64_t ticket = 0;
  std::optional<uint64_t> index;
};

struct RaftOffer {
  uint64_t from = 0;
  RaftSnapshot state;
};

struct RaftEffects {
  std::optional<RaftSave> save;
  std::vector<RaftMessage> messages;
  std::vector<RaftRead> reads;
  // The leader no longer has the entries that come next here. Take its state, put
  // it on disk with the snapshot's index in the log's place, and start anew.
  std::optional<RaftOffer> offer;
};

class RaftCore {
 public:
  enum class Role : uint8_t { follower, pre_candidate, candidate, leader };

  struct Options {
    uint64_t node = 0;
    uint64_t seed = 0;
    uint32_t election_timeout_ms = 1000;  // at least; drawn up to twice that
    uint32_t heartbeat_ms = 100;
    size_t message_bytes_max = 1u << 20;  // of entries; one entry may be longer
    size_t inflight_bytes_max = 8u << 20;
    // The member that leads a new group if it can, so that leaders are spread.
    uint64_t first_leader = 0;
  };

  // How far another member is, as the leader knows.
  struct Progress {
    uint64_t match = 0;     // entries up to it agree and are durable there
    uint64_t next = 1;      // to be sent
    bool probing = true;    // next is a guess: only empty appends until one fits
    uint64_t commit = 0;    // last told
    uint64_t since_ms = 0;  // when it became a member, or this node the leader
    uint64_t heard_ms = 0;  // any answer in this term
    uint64_t sent_ms = 0;   // of the latest append that was answered
    uint64_t round = 0;     // the same
    uint64_t offered_ms = 0;
    size_t inflight_bytes = 0;
    std::deque<std::pair<uint64_t, size_t>> inflight;  // last index, bytes
  };

  // `committed`: entries known to be committed, as they were applied before.
  // corruption: what was loaded cannot be.
  static Result<RaftCore> start(Options options, LogStore::Loaded loaded, uint64_t committed,
                                uint64_t now_ms);

  // ---- events

  void tick(uint64_t now_ms);
  void step(const RaftMessage& message, uint64_t now_ms);
  void saved(uint64_t number, uint64_t now_ms);
  void applied(uint64_t index);
  // The state up to `index`, which was applied, is durable: forget the entries.
  void compact(uint64_t index);

  // The entry's index. unavailable: not the leader, or about to hand over.
  Result<uint64_t> propose(RaftEntryType type, std::string data, uint64_t now_ms);
  // failed_precondition: more than one member differs, or the last change is not
  // committed yet.
  Result<uint64_t> change(const RaftConfiguration& next, uint64_t now_ms);
  // Answered by RaftEffects::reads.
  Result<uint64_t> read(uint64_t now_ms);
  Status transfer(uint64_t node, uint64_t now_ms);

  RaftEffects take();

  // ---- state

  Role role() const { return role_; }
  // Until when no other can have been elected, by the time of its events; 0: it has asked
  // one to be.
  uint64_t lease_until_ms() const;
  bool is_leader() const { return role_ == Role::leader; }
  // Leader, and an entry of its own term is committed: it knows what is.
  bool leads() const { return is_leader() && commit_ >= term_start_; }
  // Has applied all that was committed when it last started: what is older than
  // this life shows no more.
  bool current() const;
  // As leader: the first entry of its term.
  uint64_t term_start() const { return term_start_; }
  uint64_t leader() const { return is_leader() ? options_.node : leader_; }  // 0: unknown
  uint64_t term() const { return state_.term; }
  uint64_t commit_index() const { return commit_; }
  // Committed and stored here: a state machine that is durable by itself must
  // never be ahead of its log.
  uint64_t apply_limit() const { return std::min(commit_, stored_); }
  uint64_t first_index() const { return base_index_ + 1; }
  uint64_t last_index() const { return base_index_ + log_.size(); }
  // Both for [first_index() - 1, last_index()] or [first_index(), last_index()].
  uint64_t term_at(uint64_t index) const;
  const LogEntry& entry(uint64_t index) const;
  const RaftConfiguration& configuration() const { return configurations_.back().second; }
  // The latest at or before `index`, and its own index.
  const std::pair<uint64_t, RaftConfiguration>& configuration_at(uint64_t index) const;
  bool changing() const { return configurations_.back().first > commit_; }
  const std::map<uint64_t, Progress>& progress() const { return progress_; }
  // A broken promise of Raft, seen from here. The replica must not go on.
  const Status& broken() const { return broken_; }

 private:
  struct Held {
    uint64_t save;  // after which it may leave
    RaftMessage message;
  };
  struct PendingRead {
    uint64_t ticket, index, round;
  };

  explicit RaftCore(Options options) : options_(options), random_(options.seed) {}

  void become_follower(uint64_t term, uint64_t leader);
  void become_leader();
  void campaign(bool pre_vote, bool disrupt);
  void count_votes();
  void reset_timer();
  void set_state(HardState state);
  void hear_leader(const RaftMessage& message);
  bool quorum(const std::set<uint64_t>& nodes) const;
  // The highest value that a majority of voters has reached.
  uint64_t reached(uint64_t mine, uint64_t Progress::*field) const;

  void on_vote(const RaftMessage& message);
  void on_vote_reply(const RaftMessage& message);
  void on_append(const RaftMessage& message);
  void on_append_reply(const RaftMessage& message);
  void on_offer(const RaftMessage& message);

  uint64_t append(LogEntry entry);
  void truncate(uint64_t from);
  void adopt(uint64_t index, RaftConfiguration configuration);
  void follow_configuration();
  void advance_commit();
  bool lease_holds() const;
  void answer_reads();
  void heartbeat();
  void send_entries(uint64_t node);
  void send_append(uint64_t node, Progress& progress, uint64_t index, bool with_entries);
  void offer_state(uint64_t node, Progress& progress);
  void try_hand_over();
  RaftMessage message_to(uint64_t node, RaftMessage::Kind kind) const;
  // Not before everything is saved that is not now.
  void send_saved(RaftMessage message, bool entries_too);
  bool unsaved() const { return state_dirty_ || unsaved_from_ <= last_index(); }

  Options options_;
  uint64_t random_;
  uint64_t now_ms_ = 0;
  Status broken_;

  HardState state_;
  bool state_dirty_ = false;
  uint64_t base_index_ = 0;  // the log before it is gone
  uint64_t base_term_ = 0;
  std::deque<LogEntry> log_;
  // By index, the first one at or before base_index_.
  std::deque<std::pair<uint64_t, RaftConfiguration>> configurations_;
  uint64_t commit_ = 0;
  uint64_t applied_ = 0;

  // Saves under way, and up to where the log will be durable with them.
  uint64_t unsaved_from_ = 1;
  uint64_t next_save_ = 1;
  uint64_t last_saved_ = 0;
  uint64_t state_save_ = 0;  // the last one with a hard state
  uint64_t stored_ = 0;
  std::deque<std::pair<uint64_t, uint64_t>> saves_;  // number, last index
  std::deque<Held> held_;
  std::vector<RaftMessage> ready_;

  Role role_ = Role::follower;
  uint64_t leader_ = 0;
  uint64_t loyal_until_ms_ = 0;  // helps nobody to replace a leader before
  uint64_t timer_ms_ = 0;        // when the election timer was set
  uint64_t timeout_ms_ = 0;
  std::optional<uint64_t> contact_commit_;  // of the first leader heard in this life
  std::set<uint64_t> votes_;
  uint64_t vote_save_ = 0;

  // As leader.
  std::map<uint64_t, Progress> progress_;  // of the others
  uint64_t term_start_ = 0;                // its first entry
  uint64_t heartbeat_ms_ = 0;
  uint64_t quorum_check_ms_ = 0;
  uint64_t round_ = 0;
  bool round_due_ = false;
  uint64_t next_ticket_ = 1;
  std::deque<PendingRead> pending_reads_;
  std::vector<RaftRead> reads_;
  uint64_t transfer_to_ = 0;
  uint64_t transfer_ms_ = 0;
  bool transfer_sent_ = false;
  bool lease_given_up_ = false;  // asked another to lead: it may do so at any time

  std::optional<RaftOffer> offer_;
};

}  // namespace jade
