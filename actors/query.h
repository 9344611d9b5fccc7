// Reads: validates a request, asks the shards that matter, merges the answers.
#pragma once

#include <atomic>
#include <memory>

#include "actors/messages.h"
#include "actors/retry.h"
#include "actors/routes.h"
#include "actors/shard_front.h"
#include "actors/timers.h"

namespace jade {

struct QueryOptions {
  // Of a whole request, at most and where it says nothing.
  caf::timespan read_timeout = std::chrono::milliseconds(Limits::timeout_ms_max);
  // How long to wait for the map of a shard that has been split.
  caf::timespan retry_for = std::chrono::seconds(6);
  // A search that any replica may answer is asked of a second one when the first is
  // several times slower than searches are, and at least so long.
  caf::timespan hedge_after_min = std::chrono::milliseconds(10);
  // Of this node; null: its shards are always asked.
  std::shared_ptr<const ShardFronts> fronts;
  std::vector<searcher_actor> searchers;
  // Becomes whether the last search went to another node; null: nobody wants to know.
  std::shared_ptr<std::atomic<bool>> asks_others;
};

struct query_state {
  static inline const char* name = "query";

  explicit query_state(query_actor::pointer self) : timers(self) {}

  QueryOptions options;
  Routes routes;
  double typical_ms = 0;  // of searches that any replica may answer
  size_t turn = 0;        // of second replicas
  size_t next_searcher = 0;
  ArmedTimers<query_actor::pointer> timers;
};

query_actor::behavior_type query(query_actor::stateful_pointer<query_state> self,
                                 QueryOptions options);

// Checks a search against its database and embeds its text. Changes only
// `search`.
Status prepare_search(const DatabaseSpec& spec, SearchRequest& search);

}  // namespace jade
