// What all clients of a cluster do with the same few vectors of the shared database, as a
// history whose answers must be linearizable.
//
// The version and the mark of a vector are two registers in the history. An update writes one
// of them, and what it does to the other shows there; or it reads that there is none.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "sim/clients.h"
#include "sim/linearizability.h"
#include "sim/records.h"

namespace jade::sim {

class SharedWorkload {
 public:
  SharedWorkload(Run& run, Cluster& cluster, Clients& clients, const Records& records);
  SharedWorkload(const SharedWorkload&) = delete;
  SharedWorkload& operator=(const SharedWorkload&) = delete;

  // Lets a client ask one thing, or one that only reads; `dice` is in [0, 100).
  void ask(uint32_t client, uint64_t dice);
  void read(uint32_t client, uint64_t dice);

  // Fails the run if the history so far cannot be explained.
  void check_history() const;

 private:
  // Of the history: both registers of a vector.
  struct Both {
    History::Handle version, mark;
  };

  // Each sends a write, perhaps again.
  void send(uint32_t client, const UpsertRequest& request, Both operations);
  void send(uint32_t client, const DeleteRequest& request, Both operations);
  void send(uint32_t client, const UpdateRequest& request, History::Handle written,
            History::Handle looked);
  void upsert(uint32_t client, uint64_t key);
  void update(uint32_t client, uint64_t key);
  void remove(uint32_t client, uint64_t key);
  void get(uint32_t client, uint64_t key);
  void search(uint32_t client);
  template <class Reply>
  Api::Done<Reply> written(uint32_t client, Both operations);
  void shows(Both operations, RecordState state);

  Run& run_;
  Cluster& cluster_;
  Clients& clients_;
  const Records& records_;
  History history_;
  std::map<uint32_t, std::function<void()>> unanswered_;  // by client: sends its last write again
};

}  // namespace jade::sim
