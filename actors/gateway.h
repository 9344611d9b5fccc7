// The one door of a node: every request of the API passes here. Bounds what is
// in flight and hands the request to the actor that answers it.
#pragma once

#include <memory>

#include "actors/messages.h"

namespace jade {

struct GatewayOptions {
  // Bytes of writes that were accepted and not yet answered.
  size_t inflight_bytes_max = 256u << 20;
  // A database is created when its shards serve; no longer than this.
  caf::timespan create_timeout = std::chrono::seconds(30);
};

struct gateway_state {
  static inline const char* name = "gateway";
  GatewayOptions options;
  size_t inflight_bytes = 0;
};

gateway_actor::behavior_type gateway(gateway_actor::stateful_pointer<gateway_state> self,
                                     GatewayOptions options, ingest_actor ingest, query_actor query,
                                     master_actor master, node_actor node);

}  // namespace jade
