// A member of the metadata group, which every node is: some vote, the others learn.
// Its Raft leader is the master: it plans for the cluster and answers catalog
// changes when they are committed and applied. Every member hands each new map to
// its own node, so that no node has to ask for one.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "actors/catalog.h"
#include "actors/node.h"
#include "actors/planner.h"
#include "actors/raft_host.h"

namespace jade {

struct master_state : public RaftDriver {
  // A node that is to be removed from the catalog, and votes on it.
  struct Removal {
    ChangeCatalog request;
    caf::typed_response_promise<CatalogApplied> promise;
    uint64_t deadline_ms = 0;
    bool proposed = false;  // is on its way into the catalog
  };

  // A database to be placed once it is known which nodes are there.
  struct Creation {
    ChangeCatalog request;
    caf::typed_response_promise<CatalogApplied> promise;
    uint64_t asked_ms = 0;
  };

  static inline const char* name = "master";

  explicit master_state(master_actor::pointer actor) : self(actor) {}
  ~master_state() override;

  master_actor::pointer self;
  master_actor::stateful_pointer<master_state> stateful = nullptr;  // the same
  NodeContextPtr context;
  node_actor node;
  peer_actor peer;
  Catalog catalog;
  std::unique_ptr<RaftHost> raft;
  Status outcome;  // of the entry applied last
  uint64_t published = 0;
  bool published_current = false;
  uint64_t life = 0;  // how often the group was started; answers to earlier ones are void
  uint64_t started_ms = 0;
  std::optional<uint64_t> led_ms;  // when a leader was last heard of, or this node was it
  uint64_t members_index = 0;      // of the configuration that the peer knows; 0: none
  bool members_known = false;
  std::optional<RaftSnapshot> offered;  // another's state, to take the place of ours
  bool caught_up = false;
  uint64_t serving_since_ms = 0;         // as leader; 0: it is none
  bool planned = false;                  // a plan is on its way into the catalog
  bool changing = false;                 // so is a change of members
  std::map<uint64_t, Removal> removals;  // by node; each waits for it to vote no more
  std::vector<Creation> creations;
  std::string failure;       // of the group, until what it knows is current again
  std::string told_failure;  // which the log was told last
  uint64_t tell_ms = 0;      // from when on it is told the same again
  std::string trouble;       // that the node was told last
  bool stopping = false;

  Status start();
  // Starts anew from what is on disk, once that can be read and written again.
  void restart();
  void after_event();
  void publish();
  // Each tick: what a leader has to do.
  void lead();
  // As leader: one step towards the members and voters that there should be.
  void reconcile_members();
  // What is to be removed and votes no more goes from the catalog, what will vote on stays;
  // where another leads now, it is that one's.
  void settle_removal(uint64_t leaver);
  void settle_removals();
  // As leader: one step towards the replicas that there should be, where they should be.
  void plan();
  NodeHealth health() const;
  // As leader: where to put what was asked for at that time; nothing while nodes may yet be heard
  // of. Fails where there never will be a place.
  Result<std::optional<std::vector<ShardPlacement>>> place_asked(const DatabaseSpec& spec,
                                                                 uint64_t asked_ms) const;
  // Carries out the creation, passes it on where another leads now, or leaves it for later: false.
  bool settle(Creation& creation);
  void settle_creations();
  MasterInfo describe();
  // Tells the node why there may be a newer catalog.
  void tell_trouble();
  // As leader: why the node must not leave now; ok when it may.
  Status check_removal(uint64_t leaver) const;
  void propose(const std::string& command, std::function<void(Result<uint64_t>)> done);
  // The same, with the version that the catalog then has as its answer.
  void propose(const std::string& command, caf::typed_response_promise<CatalogApplied> promise);
  // As leader: gives the command what only the master knows, and carries it out.
  caf::result<CatalogApplied> change(ChangeCatalog& request);
  // As leader: once it is sure that there is no newer one.
  caf::result<CatalogApplied> tell_version();
  // As leader: a node that is removed is switched off as soon as that is answered, so it
  // loses its vote first.
  caf::result<CatalogApplied> remove(const RemoveRecord& remove, ChangeCatalog& request);
  caf::result<JoinedCluster> join(JoinCluster& request);

  uint64_t raft_now_ms() override;
  void raft_append(uint64_t number, LogAppend append) override;
  void raft_send(RaftMessage message) override;
  Status raft_apply(uint64_t index, uint64_t term, std::string_view command) override;
  std::string raft_state() override { return catalog.encode(); }
  Status raft_restore(std::string_view state) override { return catalog.restore(state); }
  void raft_store_snapshot(RaftSnapshot snapshot, uint64_t trailing) override;
  void raft_state_offered(RaftOffer offer) override;
  void raft_elected(uint64_t term) override { context->seams.tell_elected(metadata_group, term); }
};

master_actor::behavior_type master(master_actor::stateful_pointer<master_state> self,
                                   NodeContextPtr context, node_actor node, peer_actor peer);

}  // namespace jade
