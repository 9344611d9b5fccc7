#include "net/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>

namespace jade {
namespace {

// 0.1 ms to 10 s: a search takes less than the first milliseconds, a bulk load seconds.
const prometheus::Histogram::BucketBoundaries latency_bounds_s = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05,   0.1,     0.25,   0.5,   1,      2.5,   5,    10};

using Gauges = prometheus::Family<prometheus::Gauge>;

Gauges& gauges(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

void add_cluster(prometheus::Registry& registry, const ClusterInfo& cluster) {
  auto& vectors = gauges(registry, "jade_vectors", "Vectors stored, by database and shard");
  auto& indexed = gauges(registry, "jade_indexed_vectors", "Vectors in their final index");
  auto& applied = gauges(registry, "jade_applied_index", "Last log entry applied by the shard");
  auto& leader = gauges(registry, "jade_shard_has_leader", "1 where the shard knows its leader");
  auto& recall = gauges(registry, "jade_measured_recall",
                        "Recall@10 of searches by the database's defaults, as measured on a sample "
                        "of the shard's own rows; only where it was");
  auto& shards = gauges(registry, "jade_shards", "Shards of the database");
  for (const DatabaseInfo& database : cluster.databases) {
    prometheus::Labels labels{{"database", database.spec.name}};
    shards.Add(labels).Set(static_cast<double>(database.placement.size()));
    for (const ShardInfo& shard : database.placement) {
      labels["shard"] = std::to_string(shard.shard);
      if (shard.unknown.empty()) {
        vectors.Add(labels).Set(static_cast<double>(shard.vectors));
        indexed.Add(labels).Set(static_cast<double>(shard.indexed_vectors));
        applied.Add(labels).Set(static_cast<double>(shard.applied_index));
      }
      leader.Add(labels).Set(shard.leader != 0 ? 1 : 0);
      if (shard.measured_recall >= 0) recall.Add(labels).Set(shard.measured_recall);
    }
  }
  auto& alive = gauges(registry, "jade_node_alive", "1 for each node that is up");
  auto& master = gauges(registry, "jade_node_is_master", "1 for the master");
  for (const NodeInfo& node : cluster.nodes) {
    prometheus::Labels labels{{"node", std::to_string(node.id)}};
    if (node.alive_known) alive.Add(labels).Set(node.alive ? 1 : 0);
    master.Add(labels).Set(node.id == cluster.master ? 1 : 0);
  }
  gauges(registry, "jade_catalog_version", "Version of the catalog")
      .Add({})
      .Set(static_cast<double>(cluster.catalog_version));
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests =
      prometheus::BuildCounter()
          .Name("jade_http_requests_total")
          .Help("Requests answered, by route and status")
          .Register(registry);
  prometheus::Family<prometheus::Histogram>& seconds =
      prometheus::BuildHistogram()
          .Name("jade_http_request_seconds")
          .Help("From the complete request to its answer, by route")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& bytes = prometheus::BuildCounter()
                                                       .Name("jade_http_body_bytes_total")
                                                       .Help("Bytes of bodies, by direction")
                                                       .Register(registry);
  prometheus::Counter& bytes_in = bytes.Add({{"direction", "in"}});
  prometheus::Counter& bytes_out = bytes.Add({{"direction", "out"}});
  prometheus::Gauge& in_flight =
      gauges(registry, "jade_http_requests_in_flight", "Requests being handled").Add({});
  prometheus::Gauge& connections =
      gauges(registry, "jade_http_connections", "Connections open").Add({});
  prometheus::Counter& refused = prometheus::BuildCounter()
                                     .Name("jade_http_connections_refused_total")
                                     .Help("Connections over the limit")
                                     .Register(registry)
                                     .Add({});
  // Made once, since finding a series by its labels costs more than counting.
  std::array<prometheus::Counter*, route_count> ok{};
  std::array<prometheus::Histogram*, route_count> latency{};

  Impl() {
    for (const Route& route : routes()) {
      auto i = static_cast<size_t>(route.id);
      ok[i] = &requests.Add({{"route", std::string(route.name)}, {"status", "200"}});
      latency[i] = &seconds.Add({{"route", std::string(route.name)}}, latency_bounds_s);
    }
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::connection_opened() { impl_->connections.Increment(); }
void Metrics::connection_closed() { impl_->connections.Decrement(); }
void Metrics::connection_refused() { impl_->refused.Increment(); }
void Metrics::request_started() { impl_->in_flight.Increment(); }

void Metrics::request_finished(const Route* route, int status, double seconds, size_t bytes_in,
                               size_t bytes_out) {
  Impl& m = *impl_;
  m.in_flight.Decrement();
  m.bytes_in.Increment(static_cast<double>(bytes_in));
  m.bytes_out.Increment(static_cast<double>(bytes_out));
  if (route && status == 200) {
    m.ok[static_cast<size_t>(route->id)]->Increment();
  } else {
    std::string name = route ? std::string(route->name) : "none";
    m.requests.Add({{"route", name}, {"status", std::to_string(status)}}).Increment();
  }
  if (route) m.latency[static_cast<size_t>(route->id)]->Observe(seconds);
}

std::string Metrics::text(const ClusterInfo* cluster) const {
  auto families = impl_->registry.Collect();
  // A registry of their own for each reading: what has gone leaves no series behind.
  prometheus::Registry now;
  if (cluster) add_cluster(now, *cluster);
  for (auto& family : now.Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace jade
