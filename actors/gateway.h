// The one door of a node: every request of the API passes here. Bounds what is
// in flight and hands the request to the actor that answers it. Of a database that the
// catalog of this node lacks, the master is asked first.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/messages.h"

namespace jade {

struct GatewayOptions {
  // Bytes of writes that were accepted and not yet answered.
  size_t inflight_bytes_max = 256u << 20;
  // A database is created when its shards serve; no longer than this.
  size_t replicas_max = 0;  // NodeConfig::replicas_max
  caf::timespan create_timeout = std::chrono::seconds(30);
};

struct gateway_state {
  static inline const char* name = "gateway";
  GatewayOptions options;
  master_actor master;
  node_actor node;
  size_t inflight_bytes = 0;
  size_t replicas = 0;      // that this node has
  size_t nodes = 1;         // that the cluster has
  ClusterMapPtr map;        // null until the catalog has been read
  std::string map_trouble;  // why there may be a newer one, and nobody to ask for it

  // Wait until the map is as new as when they came; with the reason where that cannot be.
  using Renewed = std::function<void(const Status&)>;
  std::vector<Renewed> waiting;
  bool renewing = false;  // for others, that came before these

  // Why this node cannot take its share of the database's replicas; ok: it can. Others are taken to
  // be like it.
  Status check_room(const DatabaseSpec& spec) const;
};

gateway_actor::behavior_type gateway(gateway_actor::stateful_pointer<gateway_state> self,
                                     GatewayOptions options, ingest_actor ingest, query_actor query,
                                     master_actor master, node_actor node);

}  // namespace jade
