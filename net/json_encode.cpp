#include "net/json_codec.h"

#include <algorithm>

#include "index/datatype.h"
#include "net/json_writer.h"

namespace jade {
namespace {

void append_metadata(std::string& out, const std::string& metadata) {
  out += metadata.empty() ? "{}" : metadata;
}

// Those with names are an object.
template <class Vector>
void append_values(std::string& out, const Vector& vector) {
  if (vector.named.empty()) return append_floats(out, vector.values);
  JsonObject object(out);
  for (const NamedValues& one : vector.named) append_floats(object.key(one.name), one.values);
  object.close();
}

void append_vector(std::string& out, const StoredVector& vector, Include include) {
  JsonObject object(out);
  append_id(object.key("id"), vector.id);
  if (include.values) append_values(object.key("values"), vector);
  if (include.metadata) append_metadata(object.key("metadata"), vector.metadata);
  object.close();
}

void append_hit(std::string& out, const SearchHit& hit, Include include) {
  JsonObject object(out);
  append_id(object.key("id"), hit.id);
  append_float(object.key("score"), hit.score);
  if (include.metadata) append_metadata(object.key("metadata"), hit.metadata);
  if (include.values) append_values(object.key("values"), hit);
  object.close();
}

void append_hits(std::string& out, const std::vector<SearchHit>& hits, Include include) {
  append_array(out, hits, [&](const SearchHit& hit) { append_hit(out, hit, include); });
}

// The hits or, with group_by, the groups.
void append_found(std::string& out, const SearchReply& reply, Include include) {
  if (!reply.grouped) return append_hits(out, reply.results, include);
  append_array(out, reply.groups, [&](const SearchGroup& group) {
    JsonObject object(out);
    object.key("group") += group.value;
    append_hits(object.key("results"), group.results, include);
    object.close();
  });
}

void append_uints(std::string& out, const std::vector<uint64_t>& values) {
  append_array(out, values, [&](uint64_t value) { append_uint(out, value); });
}

const char* truth(bool value) { return value ? "true" : "false"; }

// 0 means none in the ids of nodes.
void append_optional(std::string& out, const std::optional<uint64_t>& value) {
  if (value) {
    append_uint(out, *value);
  } else {
    out += "null";
  }
}

void append_node(std::string& out, uint64_t node) {
  if (node == 0) {
    out += "null";
  } else {
    append_uint(out, node);
  }
}

void append_index(std::string& out, const IndexOptions& index) {
  JsonObject object(out);
  object.field("type", to_string(index.kind));
  if (has_graphs(index.kind)) {
    object.field("m", index.m)
        .field("ef_construction", index.ef_construction)
        .field("ef_search", index.ef_search)
        .field("quantization", to_string(index.quantization))
        .field("vectors", to_string(index.vectors));
  }
  if (has_lists(index.kind)) object.field("nlist", index.nlist).field("nprobe", index.nprobe);
  if (index.min_recall > 0) append_double(object.key("min_recall"), index.min_recall);
  object.close();
}

void append_segment(std::string& out, const SegmentInfo& segment) {
  JsonObject object(out);
  object.field("id", segment.id);
  if (!segment.vector.empty()) object.field("vector", segment.vector);
  object.field("state", segment.state)
      .field("type", to_string(segment.kind))
      .field("rows", segment.rows)
      .field("dead_rows", segment.dead_rows)
      .field("quantization", to_string(segment.quantization))
      .field("vectors", to_string(segment.vectors))
      .close();
}

// All 64 bits, which not every reader of JSON takes as a number.
std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

void append_shard(std::string& out, const ShardInfo& shard) {
  JsonObject object(out);
  object.field("shard", shard.shard).field("hash_begin", hex(shard.hash_begin));
  append_uints(object.key("nodes"), shard.nodes);
  append_node(object.key("leader"), shard.leader);
  for (auto [name, count] :
       {std::pair("vectors", shard.vectors), std::pair("indexed_vectors", shard.indexed_vectors),
        std::pair("applied_index", shard.applied_index)}) {
    if (shard.unknown.empty()) {
      object.field(name, count);
    } else {
      object.key(name) += "null";
    }
  }
  if (!shard.unknown.empty()) object.field("unknown", shard.unknown);
  if (!shard.replicas.empty()) {
    append_array(object.key("replicas"), shard.replicas, [&](const ReplicaInfo& one) {
      JsonObject replica(out);
      replica.field("node", one.node);
      replica.key("votes") += truth(one.voter);
      if (one.heard) replica.field("log_index", one.log_index);
      if (one.copied >= 0) append_double(replica.key("copied"), one.copied);
      replica.close();
    });
  }
  if (!shard.problems.empty()) {
    append_array(object.key("problems"), shard.problems, [&](const ReplicaProblem& one) {
      JsonObject problem(out);
      problem.field("node", one.node).field("problem", one.problem).close();
    });
  }
  if (shard.measured_recall >= 0) {
    append_double(object.key("measured_recall"), shard.measured_recall);
  }
  append_array(object.key("segments"), shard.segments,
               [&](const SegmentInfo& segment) { append_segment(out, segment); });
  object.close();
}

std::string_view sharding_of(const DatabaseSpec& spec) {
  if (spec.sharding == Sharding::vector) return "vector";
  return spec.shard_key.empty() ? "hash" : "key";
}

// What each vector is.
template <class Spec>
void append_form(JsonObject& object, const Spec& spec) {
  object.field("dimension", spec.dimension)
      .field("metric", to_string(spec.metric))
      .field("datatype", to_string(spec.datatype));
}

void append_vectors(JsonObject& object, const DatabaseSpec& spec) {
  if (spec.named_vectors.empty()) return append_form(object, spec);
  JsonObject named(object.key("named_vectors"));
  for (const VectorSpec& vector : spec.named_vectors) {
    JsonObject one(named.key(vector.name));
    append_form(one, vector);
    one.close();
  }
  named.close();
}

void append_database(std::string& out, const DatabaseInfo& info) {
  JsonObject object(out);
  object.field("name", info.spec.name);
  append_vectors(object, info.spec);
  object.field("shards", info.spec.shards).field("replicas", info.spec.replicas);
  append_index(object.key("index"), info.spec.index);
  object.field("embedder", info.spec.embedder)
      .field("shard_key", info.spec.shard_key)
      .field("sharding", sharding_of(info.spec));
  if (info.spec.sharding == Sharding::vector) {
    uint32_t probes = info.spec.probes;
    object.field("probes", probes == 0 ? default_probes(info.spec.shards) : probes)
        .field("router_state", info.router_state);
  }
  object.field("vectors", info.vectors)
      .field("indexed_vectors", info.indexed_vectors)
      .field("index_state", info.index_state);
  append_array(object.key("placement"), info.placement,
               [&](const ShardInfo& shard) { append_shard(out, shard); });
  object.close();
}

void append_databases(std::string& out, const std::vector<DatabaseInfo>& infos) {
  append_array(out, infos, [&](const DatabaseInfo& info) { append_database(out, info); });
}

void append_node_info(std::string& out, const NodeInfo& node) {
  JsonObject object(out);
  object.field("id", node.id)
      .field("name", node.name)
      .field("address", node.address)
      .field("cluster_address", node.cluster_address);
  append_array(object.key("roles"), node.roles,
               [&](const std::string& role) { append_string(out, role); });
  object.key("alive") += !node.alive_known ? "null" : node.alive ? "true" : "false";
  if (!node.alive) append_optional(object.key("silent_ms"), node.silent_ms);
  object.field("state", node.state).field("replicas", node.replicas).field("leads", node.leads);
  object.key("votes") += node.votes ? "true" : "false";
  if (!node.problem.empty()) object.field("problem", node.problem);
  if (!node.waiting_for.empty()) object.field("waiting_for", node.waiting_for);
  object.close();
}

void append_task(std::string& out, const TaskInfo& task) {
  JsonObject object(out);
  object.field("kind", task.kind).field("database", task.database).field("shard", task.shard);
  append_node(object.key("from"), task.from);
  append_node(object.key("to"), task.to);
  append_node(object.key("child"), task.child);
  object.field("state", task.state);
  append_double(object.key("progress"), task.progress);
  if (!task.waiting_for.empty()) object.field("waiting_for", task.waiting_for);
  object.close();
}

}  // namespace

std::string encode_error(const Status& status) {
  std::string out = "{\"error\":";
  JsonObject object(out);
  object.field("code", to_string(status.code())).field("message", status.message()).close();
  return out += '}';
}

std::string encode_database(const DatabaseInfo& info) {
  std::string out;
  append_database(out, info);
  return out;
}

std::string encode_databases(const std::vector<DatabaseInfo>& infos) {
  std::string out = "{\"databases\":";
  append_databases(out, infos);
  return out += '}';
}

std::string encode_upsert_reply(const UpsertReply& reply) {
  std::string out;
  JsonObject(out).field("upserted", reply.upserted).field("token", reply.token).close();
  return out;
}

std::string encode_update_reply(const UpdateReply& reply) {
  std::string out;
  JsonObject object(out);
  object.field("updated", reply.updated);
  append_array(object.key("missing"), reply.missing,
               [&](const VectorId& id) { append_id(out, id); });
  if (!reply.missing_keys.empty()) {
    append_array(object.key("missing_keys"), reply.missing_keys,
                 [&](const VectorId& key) { append_id(out, key); });
  }
  object.field("token", reply.token).close();
  return out;
}

std::string encode_updated(const UpdateReply& reply) {
  std::string out;
  JsonObject(out).field("updated", reply.updated).field("token", reply.token).close();
  return out;
}

std::string encode_delete_reply(const DeleteReply& reply) {
  std::string out;
  JsonObject(out).field("deleted", reply.deleted).field("token", reply.token).close();
  return out;
}

std::string encode_vector(const StoredVector& vector, Include include) {
  std::string out;
  append_vector(out, vector, include);
  return out;
}

std::string encode_page(const ListReply& reply, Include include) {
  std::string out;
  JsonObject object(out);
  append_array(object.key("vectors"), reply.vectors,
               [&](const StoredVector& vector) { append_vector(out, vector, include); });
  if (reply.next) {
    std::string next;
    append_id(next, *reply.next);
    object.field("next", next);
  } else {
    object.key("next") += "null";
  }
  object.close();
  return out;
}

// Only where something is missing.
void append_missing(JsonObject& object, std::vector<uint64_t> shards) {
  if (shards.empty()) return;
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  object.key("partial") += "true";
  append_uints(object.key("missing_shards"), shards);
}

namespace {

double to_ms(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

void append_segment_explanation(std::string& out, const SegmentExplanation& segment) {
  JsonObject object(out);
  object.field("segment", segment.segment)
      .field("type", to_string(segment.kind))
      .field("rows", segment.rows)
      .field("live", segment.live)
      .field("matching", segment.matching);
  object.key("matching_exact") += truth(segment.matching_exact);
  object.field("plan", to_string(segment.plan));
  object.key("fell_back") += truth(segment.fell_back);
  if (segment.walk_cost > 0) append_double(object.key("walk_cost"), segment.walk_cost);
  if (segment.ef_search > 0) object.field("ef_search", segment.ef_search);
  if (segment.ef > 0) {
    object.field("ef", segment.ef);
    object.key("raised") += truth(segment.raised);
  }
  if (segment.nprobe > 0) object.field("nprobe", segment.nprobe);
  if (segment.min_recall > 0) {
    append_double(object.key("min_recall"), segment.min_recall);
    object.key("calibrated") += truth(segment.calibrated);
    if (segment.measured_recall >= 0) {
      append_double(object.key("measured_recall"), segment.measured_recall);
    }
  }
  object.field("rows_visited", segment.rows_visited)
      .field("distances_by_codes", segment.distances_by_codes)
      .field("distances_by_values", segment.distances_by_values)
      .field("rescored", segment.rescored)
      .field("metadata_read", segment.metadata_read);
  append_double(object.key("filter_ms"), to_ms(segment.filter_ns));
  append_double(object.key("walk_ms"), to_ms(segment.walk_ns));
  append_double(object.key("scan_ms"), to_ms(segment.scan_ns));
  append_double(object.key("rescore_ms"), to_ms(segment.rescore_ns));
  object.close();
}

void append_explanation(std::string& out, const SearchReply& reply) {
  JsonObject all(out);
  append_array(all.key("shards"), reply.explanation, [&](const ShardExplanation& shard) {
    JsonObject object(out);
    object.field("shard", shard.shard);
    if (reply.grouped || reply.shards > 0) object.field("round", shard.round);
    object.field("applied_index", shard.applied_index);
    append_double(object.key("took_ms"), to_ms(shard.took_ns));
    append_double(object.key("fetch_ms"), to_ms(shard.fetch_ns));
    append_array(object.key("segments"), shard.segments, [&](const SegmentExplanation& segment) {
      append_segment_explanation(out, segment);
    });
    object.close();
  });
  all.close();
}

}  // namespace

std::string encode_recall(const RecallReply& reply) {
  std::string out;
  JsonObject object(out);
  append_double(object.key("recall"), reply.recall);
  object.field("sampled", reply.sampled);
  append_double(object.key("shards_searched"), reply.shards_searched);
  if (reply.calibrated) object.key("calibrated") += truth(*reply.calibrated);
  object.close();
  return out;
}

std::string encode_search_json(const SearchReply& reply, Include include, double took_ms) {
  std::string out;
  out.reserve(64 + 64 * reply.results.size());
  JsonObject object(out);
  append_found(object.key(reply.grouped ? "groups" : "results"), reply, include);
  if (reply.shards > 0) {
    object.field("shards_searched", reply.shards_searched).field("shards", reply.shards);
  }
  append_double(object.key("took_ms"), took_ms);
  append_missing(object, reply.missing_shards);
  if (reply.explained) append_explanation(object.key("explain"), reply);
  object.close();
  return out;
}

std::string encode_search_batch_json(const SearchBatchReply& reply,
                                     std::span<const Include> includes, double took_ms) {
  JADE_ASSERT(includes.size() == reply.results.size());
  std::string out;
  JsonObject object(out);
  size_t i = 0;
  append_array(object.key("results"), reply.results,
               [&](const SearchReply& one) { append_found(out, one, includes[i++]); });
  append_double(object.key("took_ms"), took_ms);
  std::vector<uint64_t> missing;
  for (const SearchReply& one : reply.results) {
    missing.insert(missing.end(), one.missing_shards.begin(), one.missing_shards.end());
  }
  append_missing(object, std::move(missing));
  bool explained = std::any_of(reply.results.begin(), reply.results.end(),
                               [](const SearchReply& one) { return one.explained; });
  if (explained) {
    append_array(object.key("explain"), reply.results, [&](const SearchReply& one) {
      if (one.explained) {
        append_explanation(out, one);
      } else {
        out += "null";
      }
    });
  }
  object.close();
  return out;
}

std::string encode_node(const NodeInfo& node) {
  std::string out;
  append_node_info(out, node);
  return out;
}

std::string encode_cluster(const ClusterInfo& info) {
  std::string out;
  JsonObject object(out);
  object.field("cluster_id", info.cluster_id);
  append_node(object.key("master"), info.master);
  object.field("catalog_version", info.catalog_version);
  append_node(object.key("answered_by"), info.answered_by);
  if (!info.problem.empty()) object.field("problem", info.problem);
  if (info.master == 0) append_optional(object.key("catalog_age_ms"), info.catalog_age_ms);
  append_array(object.key("nodes"), info.nodes,
               [&](const NodeInfo& node) { append_node_info(out, node); });
  append_databases(object.key("databases"), info.databases);
  append_array(object.key("tasks"), info.tasks,
               [&](const TaskInfo& task) { append_task(out, task); });
  object.close();
  return out;
}

}  // namespace jade
