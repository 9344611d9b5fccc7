// Writes: validates a request as a whole, splits it by shard into commands of
// bounded size, and answers when every shard has it on disk and visible.
#pragma once

#include "actors/messages.h"
#include "actors/retry.h"
#include "actors/routes.h"
#include "actors/timers.h"

namespace jade {

struct IngestOptions {
  caf::timespan write_timeout = std::chrono::seconds(30);
  // The rows that become one log entry of each shard they belong to. Larger requests
  // become several; see Raft's limits in actors/raft_host.h.
  size_t command_bytes = 256u << 10;
  // A write whose answer was lost is sent again so long: its request id makes that
  // harmless.
  caf::timespan retry_for = std::chrono::seconds(6);
  uint64_t seed = 0;  // of the request ids that are drawn; another one in each life
};

struct ingest_state {
  static inline const char* name = "ingest";

  explicit ingest_state(ingest_actor::pointer self) : timers(self) {}

  IngestOptions options;
  Routes routes;
  uint64_t random = 0;  // state of the generator
  ArmedTimers<ingest_actor::pointer> timers;
};

ingest_actor::behavior_type ingest(ingest_actor::stateful_pointer<ingest_state> self,
                                   IngestOptions options);

// Checks a whole upsert against its database; embeds texts; canonicalises
// metadata; makes values what is stored, of the database's datatype. Names the first
// offending vector and field. Changes only `request`.
Status prepare_upsert(const DatabaseSpec& spec, UpsertRequest& request);

}  // namespace jade
