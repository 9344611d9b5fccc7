// The supervisor of a node: runs the shards that the cluster map gives to this
// node, restarts those that fail, and tells the gateway where they are.
#pragma once

#include <functional>
#include <map>
#include <set>

#include "actors/node.h"
#include "storage/shard_store.h"

namespace jade {

// A shard's life on this node:
//
//   (map names it) ──► opening ──► catching_up ──► serving
//                        │  ▲           │             │
//                        ▼  │ backoff   ▼             ▼
//                       failed ◄──────────────────────┘
//   (map drops it) ──► stopping ──► closing, while somebody has it open ──► removed from disk
//   (map names it again before that) ──► opening, after that
//   (its log cannot be continued, its state is damaged and others have it, or it has
//    missed the split that makes it) ──► replacing ──► opening
struct HostedShard {
  enum class State { opening, catching_up, serving, failed, replacing, stopping, closing };
  State state = State::opening;
  shard_actor actor;
  Status failure;
  std::shared_ptr<ShardStore> copy;  // being filled, while replacing
  bool asking = false;               // for a piece of it
  FetchState next_piece;             // of it, should the answer have been lost
  bool log_damaged = false;          // so that it cannot be replaced either
  size_t copies_begun = 0;           // each of another node than the one before
  std::string trouble;               // what it says itself, though it serves; "": all is well
};

struct supervisor_state {
  static inline const char* name = "node";
  NodeContextPtr context;
  gateway_actor gateway;
  master_actor master;
  peer_actor peer;
  ClusterMapPtr map;       // null until the metadata group has caught up
  bool was_ready = false;  // the node was
  std::map<uint64_t, HostedShard> shards;
  std::vector<std::pair<AwaitVersion, caf::typed_response_promise<CatalogApplied>>> waiting;
  bool stopping = false;
  bool trouble_changed = false;  // of a shard; told at the next tick
  // Children whose rows are being copied, and what is to be done with their state after that:
  // until then it is open.
  std::map<uint64_t, std::function<void()>> preparing;
  std::set<uint64_t> prepared;
  std::set<uint64_t> copied;        // wholly or in part
  Code prepare_failure = Code::ok;  // said already
  bool current = false;             // the map is; before, nothing is removed by it
  std::string out_of_touch;         // OutOfTouch
  CatalogTrouble catalog_trouble;
  Status refused;  // why the node takes no part any more; ok: it does

  node_actor::stateful_pointer<supervisor_state> self;

  // Shards end with their supervisor.
  ~supervisor_state();

  // Starts and stops shards so that they are those of `next`.
  void adopt(ClusterMapPtr next, bool is_current);
  void open(uint64_t group);
  void open_drained(uint64_t group, const DatabaseSpec& spec);
  // Makes the first state of a shard that is being split off another of this node, or
  // waits until it can be made; then opens it.
  void make_child(uint64_t group);
  // Copies the rows of shards that are to be split off, as far as that can be done now.
  void prepare_children();
  void prepare_child(uint64_t parent, uint64_t child, int passes);
  void preparation_ended(uint64_t child);
  // Removes the copies of children that will not be, as when their database was dropped.
  void forget_children(const std::set<uint64_t>& wanted);
  // Whether rows are being copied to its state; then `next` is done after that, instead of what
  // was to be before.
  bool waits_for_copy(uint64_t group, std::function<void()> next);
  void child_made(uint64_t group, const std::function<Status()>& blocking);
  void opened(uint64_t group);
  void fail(uint64_t group, Status status);
  // Takes the place of the replica's state by a copy of its leader's. What there is
  // stays until the first piece has arrived.
  void replace(uint64_t group);
  void fetch(uint64_t group, FetchState request);
  void fetched(uint64_t group, const FetchState& request, StateChunk& chunk);
  bool has_peers(uint64_t group) const;
  // This node is still getting its replica: a new one, or of a shard that is being split
  // off. That is nothing to be ready for.
  bool is_joining(uint64_t group) const;
  caf::result<ClusterInfo> describe();
  // Asks a shard that runs whether all is well there.
  void look_after(uint64_t group);
  // Why replicas here do not serve, or only in part, by group.
  std::map<uint64_t, std::string> problems() const;
  caf::result<NodeInfo> change_node(const ChangeNodeRequest& request);
  // Ends all shards, but for what is on disk: the node must not take part any more.
  void refuse(Status why);
  void retire(uint64_t group);
  void remove(uint64_t group);
  void remove_drained(uint64_t group);
  // Tells the gateway, and those who wait for a version.
  void changed();
  // Why `database` (empty: the node) does not serve; ok when it does. A node that did goes on,
  // whatever it opens later.
  Status readiness(const std::string& database) const;
  bool settled(const AwaitVersion& await) const;
  caf::result<Stopped> stop();
};

node_actor::behavior_type supervisor(node_actor::stateful_pointer<supervisor_state> self,
                                     NodeContextPtr context, peer_actor peer);

}  // namespace jade
