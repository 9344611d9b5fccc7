// The shard actor: one replica of one shard, the only writer of its state.
//
// A write is proposed to the shard's Raft group, made durable by the node's log
// writer, applied to the state machine (actors/shard_replica.h), thereby visible,
// and only then acknowledged. Searches and reads run on searchers over an
// immutable snapshot of that state, so they never block and never see half a
// write. The leader also decides, by log entry, when rows are sealed and which
// segments are merged; builders carry it out. And it changes the group's members,
// one by one, until they are those of the shard's placement in the cluster map.
#pragma once

#include <atomic>
#include <map>
#include <memory>

#include "actors/abandonable.h"
#include "actors/node.h"
#include "actors/raft_host.h"
#include "actors/shard_front.h"
#include "actors/shard_replica.h"
#include "actors/vector_home.h"

namespace jade {

struct shard_state : public RaftDriver {
  static inline const char* name = "shard";

  explicit shard_state(shard_actor::pointer actor) : self(actor) {}
  ~shard_state() override;

  shard_actor::pointer self;
  NodeContextPtr context;
  node_actor node;
  peer_actor peer;
  uint64_t group = 0;
  ShardPlacement placement;  // as this node knows it
  bool may_found = false;    // the group may be new: without a log, begin one
  std::unique_ptr<ShardReplica> replica;
  std::shared_ptr<ShardFront> front;
  std::unique_ptr<RaftHost> raft;           // null while suspended
  std::unique_ptr<VectorHome> vector_home;  // null: not sharded by vector
  Status suspended;                         // why
  uint64_t life = 0;  // how often Raft was started; answers to earlier ones are void
  uint64_t resume_at_ms = 0;
  size_t next_searcher = 0;
  bool announced = false;
  bool failed = false;
  bool stopping = false;
  bool building = false;
  // A build that failed (on a full disk, say) costs as much the next time: the
  // pause before it doubles, until one succeeds.
  uint64_t build_pause_ms = 0;
  uint64_t build_at_ms = 0;  // not before
  bool listing = false;
  // Writes that wait until searches need not compare so many rows one by one.
  std::vector<std::function<void()>> held_writes;
  bool calibrating = false;
  uint64_t calibrate_at_ms = 0;  // not before, as it failed
  // What runs elsewhere for this actor is of no use any more.
  std::shared_ptr<std::atomic<bool>> ended = std::make_shared<std::atomic<bool>>(false);
  // Of builders, which have their queues: none of it must keep the stores open for long.
  AbandonableWork queued;
  bool maintenance_proposed = false;
  bool behind = false;   // said that the log cannot be continued from here
  bool damaged = false;  // said that reading has met damage in the records

  // A copy of the state that another replica is taking.
  struct Transfer {
    std::shared_ptr<const ShardSnapshot> view;
    StateChunk chunk;  // all but the pieces
    uint64_t used_ms = 0;
    uint64_t to = 0;      // the node
    double progress = 0;  // 0 to 1
  };
  std::map<uint64_t, Transfer> transfers;
  uint64_t life_of_transfers = 0;  // how many there were
  uint64_t last_write_ms = 0;
  bool placing = false;           // proposed that the members follow the placement
  bool changing = false;          // proposed a change of members
  bool splitting = false;         // does a step of a split
  uint64_t prepared_child = 0;    // whose rows have been copied here
  uint64_t split_asked_ms = 0;    // when the placement first asked for the split
  uint64_t split_from_ms = 0;     // when it may happen
  uint64_t report_ms = 0;         // when to tell the master again
  uint64_t prefer_ms = 0;         // when to hand over to the one that should lead
  uint64_t leading_since_ms = 0;  // 0: does not lead

  Status start();
  // When a write to the log failed: answers what waits with the reason. Reads go
  // on, as the state is whole; writes are refused until the log takes them again.
  void suspend(const Status& status);
  void resume();
  void tick();
  // After anything that may have moved Raft: announce, fail, plan maintenance.
  void after_event();
  // Publishes what searches may see by now, where there are any.
  void refresh_front();
  void fail(const Status& status);
  void propose(std::string command, std::function<void(Result<ShardWritten>)> done);
  // Proposes what a client asked for; `done` when searches see it.
  void write(std::string command, std::function<void(Result<ShardWritten>)> done);
  void plan_maintenance();
  void start_build();
  // Requests it of the builder of this shard.
  auto ask_builder(std::function<Status()> work);
  // Has rows that wait for an index put into lists, while somebody searches.
  void start_listing();
  bool lists_lag() const;
  void release_writes();
  void build_failed(const Status& status);
  // Lets a builder measure the segments that searches for `k` with a least recall would
  // have to guess at.
  void calibrate(uint32_t k);
  void calibrated(const Status& status);
  // Before the first of them, where the database says a least recall.
  void calibrate_for_defaults();
  caf::result<StateChunk> fetch(shard_actor::stateful_pointer<shard_state> actor,
                                FetchState& request);
  void expire_transfers();
  // Where reading has met damage: says so, and makes way for a copy of another's records.
  void look_for_damage();
  // Before it stops: asks another replica to lead.
  void hand_over();
  // Proposes that the members follow the placement, where that is not under way.
  void place();
  // As leader: one step towards the members that the placement names; when they are
  // there, tells the master.
  void reconcile_members();
  // The first of the placement leads if it can, so that leaders are spread.
  void prefer_first();
  // As leader: the next step of a split that the placement asks for.
  void advance_split();
  // Deletes the rows that the child has now, and then ends the split.
  void trim();
  void trimmed(const Status& status);
  // Deletes these rows, in commands of bounded size, one after another; ids with
  // another row by now stay. `done` gets the total. No command begins after `deadline_ms`
  // of the actor clock; 0: none.
  void erase_rows(MatchedRows rows, bool trim, uint64_t deadline_ms,
                  std::function<void(Result<ShardWritten>)> done);
  caf::result<SplitFound> find_split(const GetSplit& request);
  // The rows of this child have been copied here.
  void prepared(uint64_t child);
  // Tells the catalog what came of the placement.
  void report(const CatalogCommand& command);
  ShardInfo describe() const;
  const searcher_actor& pick_searcher();
  // Ok where this replica can be asked; it may have to pass the question on.
  Status check_open() const;
  // Another replica may lead, so questions can be passed on to it. One that cannot
  // write its log does not lead for long, and cannot know who does.
  bool follows() const { return !stopping && (raft ? !raft->is_leader() : !alone()); }
  uint64_t another(size_t turn) const;
  bool alone() const { return placement.nodes.size() == 1; }

  uint64_t raft_now_ms() override;
  void raft_append(uint64_t number, LogAppend append) override;
  void raft_send(RaftMessage message) override;
  Status raft_apply(uint64_t index, uint64_t term, std::string_view command) override;
  std::string raft_state() override { return "shard"; }
  Status raft_restore(std::string_view) override { return {}; }
  void raft_store_snapshot(RaftSnapshot snapshot, uint64_t trailing) override;
  void raft_state_offered(RaftOffer offer) override;
  void raft_elected(uint64_t term) override { context->seams.tell_elected(group, term); }
};

shard_actor::behavior_type shard(shard_actor::stateful_pointer<shard_state> self,
                                 NodeContextPtr context, node_actor node, peer_actor peer,
                                 ShardPlacement placement, bool may_found,
                                 std::shared_ptr<std::unique_ptr<ShardReplica>> replica);

}  // namespace jade
