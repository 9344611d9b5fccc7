// The master: a member of the metadata group. Its Raft leader plans for the
// cluster and answers catalog changes when they are committed and applied; every
// member hands each new map to its own node.
#pragma once

#include <memory>

#include "actors/catalog.h"
#include "actors/node.h"
#include "actors/raft_host.h"

namespace jade {

struct master_state : public RaftDriver {
  static inline const char* name = "master";

  explicit master_state(master_actor::pointer actor) : self(actor) {}
  ~master_state() override;

  master_actor::pointer self;
  NodeContextPtr context;
  node_actor node;
  Catalog catalog;
  std::unique_ptr<RaftHost> raft;
  Status outcome;  // of the entry applied last
  uint64_t published = 0;
  uint64_t life = 0;  // how often the group was started; answers to earlier ones are void
  bool caught_up = false;
  bool stopping = false;

  Status start();
  // Starts anew from what is on disk, once that can be read and written again.
  void restart();
  void after_event();
  caf::result<CatalogApplied> propose(std::string command);

  uint64_t raft_now_ms() override;
  void raft_append(uint64_t number, LogAppend append) override;
  void raft_send(RaftMessage message) override;
  Status raft_apply(uint64_t index, uint64_t term, std::string_view command) override;
  std::string raft_state() override { return catalog.encode(); }
  Status raft_restore(std::string_view state) override { return catalog.restore(state); }
  void raft_store_snapshot(RaftSnapshot snapshot, uint64_t trailing) override;
  void raft_state_offered(RaftOffer offer) override;
};

master_actor::behavior_type master(master_actor::stateful_pointer<master_state> self,
                                   NodeContextPtr context, node_actor node);

}  // namespace jade
