// What clients do with the own database: each writes its own ids, and all read and search
// everything. Answers are checked against the ledger as they come.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "sim/clients.h"
#include "sim/ledger.h"
#include "sim/records.h"

namespace jade::sim {

class OwnWorkload {
 public:
  OwnWorkload(const SimulationOptions& options, Run& run, Cluster& cluster, Clients& clients,
              const Records& records, Ledger& ledger);
  OwnWorkload(const OwnWorkload&) = delete;
  OwnWorkload& operator=(const OwnWorkload&) = delete;

  // Lets a client that writes ask one thing; `dice` is in [0, 100).
  void ask(uint32_t client, uint64_t dice);
  // With all at rest, what has no answer has happened or never will: it is not sent again.
  void forget_unanswered();

 private:
  // A write that is sent, perhaps several times. Its counts are those of its first time, which
  // are known where of its ids nothing else is open; and only then it can be sent again, as it is
  // certain then that all is as its last answer says.
  struct Sent {
    Ledger::Numbers revised, marked;  // of an update; else all are revised
    bool alone = false;
    std::set<uint64_t> missing;  // ids that did not exist, where it is alone
  };
  // What a client may send again: the last of each that was acknowledged.
  struct Acknowledged {
    std::shared_ptr<const UpsertRequest> upsert;
    std::shared_ptr<const UpdateRequest> update;
    UpdateReply updated;  // the answer to that
    std::shared_ptr<const DeleteRequest> removal;
    uint64_t deleted = 0;  // the answer to that
    // Of the last write, where that was an upsert: which ids, and what makes it visible.
    std::vector<uint64_t> latest;
    std::string token;
  };
  // What the hits of a search must be like.
  struct Sought {
    uint32_t client = 0;
    size_t vector = 0;
    uint32_t k = 0;
    std::optional<uint64_t> bucket;  // which all are of
    std::optional<uint64_t> id;      // which is among them
    bool settled = false;            // none is shown as it was
    bool partial = false;            // shards may be missing
  };

  uint64_t pick_id(uint32_t client);
  // Of ids that are about to be written.
  Sent sent(const Ledger::Numbers& revised, const Ledger::Numbers& marked) const;
  void begin(uint32_t client, const Sent& sent, std::function<void()> again);
  void send(uint32_t client, const UpsertRequest& request, const Sent& sent);
  void send(uint32_t client, const UpdateRequest& request, const Sent& sent);
  void send(uint32_t client, const DeleteRequest& request, const Sent& sent);
  void upsert(uint32_t client);
  void update(uint32_t client);
  void repeat(uint32_t client);
  void repeat_update(uint32_t client);
  void repeat_remove(uint32_t client);
  void remove(uint32_t client);
  void get(uint32_t client);
  void search(uint32_t client);
  std::optional<uint64_t> seek_own(uint32_t client, size_t vector, SearchRequest& request);
  std::optional<uint64_t> seek(uint64_t id, size_t vector, SearchRequest& request);
  void check_hits(const Sought& sought, const SearchReply& reply);
  void check_hit(const Sought& sought, const SearchHit& hit);
  void search_everything(uint32_t client);
  // Fails the run where shards are missing that must not be.
  bool is_whole(const SearchReply& reply, bool partial);

  const SimulationOptions& options_;
  Run& run_;
  Cluster& cluster_;
  Clients& clients_;
  const Records& records_;
  Ledger& ledger_;
  std::vector<Acknowledged> acknowledged_;         // by client
  std::vector<std::function<void()>> unanswered_;  // by client: sends its last write again
};

}  // namespace jade::sim
