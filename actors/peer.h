// A node as other nodes see it, and its way to them.
//
// The peer actor is published at the node's cluster port. It hands what comes in
// to the shard or master that it is for, and passes on what is for a shard of
// another node. It connects to every member of the metadata group, again and
// again while that fails, and makes a new node a member of the cluster that it
// was told to join.
//
// While a group has no leader, or that one cannot be reached, what is for it waits
// here and is asked anew every tick, for some seconds: elections are short.
//
// CAF bounces nothing that was sent to a node that is lost, so every request that
// goes out is remembered, and answered with `unavailable` when its link breaks or
// the other node, paused perhaps, does not answer for some seconds.
//
// Raft relies on what its members have promised. So each node says in its Raft messages
// which life it has (storage/life.h), and those of a node count only while that is the
// life which the catalog recorded last, or one that remembers it: it is asked once. A node
// that does not has an older copy of its disk; it is told so by the same question, and
// takes no part any more (docs/decisions/0025-lives.md).
//
// A node that was removed may never hear so by the catalog, as nobody sends it that any more.
// Whoever it asks tells it, and it takes no part either (docs/decisions/0039-removed-nodes.md).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "actors/node.h"
#include "actors/timers.h"

namespace jade {

struct peer_state {
  static inline const char* name = "peer";

  // One other node.
  struct Link {
    std::string address;  // by the catalog, to connect to; "": it must connect to us
    std::string told;     // the same by itself, in the life of this process; "": it has not said
    bool by_catalog = false;  // the one to try next, where these differ
    peer_actor remote;        // null: not connected
    bool connecting = false;

    const std::string& latest_address() const { return told.empty() ? address : told; }
    const std::string& next_address() const { return by_catalog ? address : latest_address(); }
    uint64_t retry_ms = 0;
    uint64_t ping_ms = 0;              // when to ask whether it still answers; 0: being asked
    std::string failure;               // said already
    std::string dial_failure;          // the last; "": none since it was connected
    std::optional<uint64_t> heard_ms;  // when anything came from it
    bool silent = false;               // it owes an answer, and nothing has come from it since
    bool asking = false;               // how its shards are
    uint64_t ask_ms = 0;               // when to do so again
    std::map<uint64_t, std::string> reported;  // NodeReport::problems
    // Of the Raft messages that came last: the life that its sender says it has, and
    // those before that it was found to remember.
    uint64_t life = 0;
    std::set<uint64_t> remembered;
    bool checking = false;       // it is being asked about one
    std::vector<RaftWire> held;  // that came meanwhile
    uint64_t check_ms = 0;       // when to ask it again
    std::string problem;         // why its Raft messages do not count; "": they do
    // Calls that have no answer yet: how to fail them.
    std::map<uint64_t, std::function<void(const Status&)>> waiting;
  };

  NodeContextPtr context;
  master_actor master;
  node_actor supervisor;
  ClusterMapPtr map;
  std::shared_ptr<const std::map<uint64_t, shard_actor>> shards;
  std::map<uint64_t, std::string> problems;  // of this node's replicas
  std::map<uint64_t, Link> links;            // by node
  std::vector<std::function<void()>> held;   // to be asked anew at the next tick
  size_t next_searcher = 0;
  uint64_t next_call = 1;
  Timers timers;        // run at each tick
  uint64_t random = 0;  // state of the generator
  bool joining = false;
  size_t next_join = 0;             // of the addresses to join by
  std::string join_target;          // a member is dialling this one; "": none
  uint64_t join_ms = 0;             // when to try again
  std::string join_failure;         // said already
  std::set<std::string> strangers;  // clusters whose nodes have called, said already
  bool join_checked = false;  // that those to join by are of this cluster, or that they are not
  std::string out_of_touch;   // said to the node already
  uint64_t announce_ms = 0;
  std::string announce_failure;  // said already
  std::vector<Life> lives;       // of this node, as the log store has them
  bool recording = false;        // something of them is on its way to disk or catalog
  uint64_t record_ms = 0;        // when to try again
  uint64_t renew_ms = 0;         // when to begin another; 0: once this one is recorded
  uint64_t beacon_ms = 0;        // once refused: when to say so again
  Status refusal;                // why this node takes no part any more; ok: it does
  bool removed = false;          // so, as it was removed

  uint64_t id() const { return context->config.node_id; }
  uint64_t life() const { return lives.empty() ? 0 : lives.back().id; }
  shard_actor shard(uint64_t group) const;
  // For people, by its name where that is known.
  std::string title(uint64_t node) const;
  NodeReport report() const;
  // not_found: that node has been removed from this cluster.
  Status check_asker(const std::string& cluster_id, uint64_t node) const;
  // Another node is, or may be, at this address, or it is being dialled: one that was removed or
  // lost its disk leaves it to its successor.
  bool is_taken(const std::string& address) const;
  // What the lives of another node are to be compared with.
  std::vector<Life> known_lives(uint64_t other) const;
  // A node that holds the group and can be reached, the one whose turn it is of those that are not
  // silent; 0: none.
  uint64_t reachable(uint64_t group, size_t turn) const;
};

peer_actor::behavior_type peer(peer_actor::stateful_pointer<peer_state> self,
                               NodeContextPtr context);

// "HOST:PORT" or "[HOST]:PORT"; invalid_argument says what would be right.
Result<std::pair<std::string, uint16_t>> parse_address(const std::string& address);

}  // namespace jade
