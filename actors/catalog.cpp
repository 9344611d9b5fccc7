#include "actors/catalog.h"

#include <algorithm>
#include <set>

#include "actors/raft_message.h"
#include "index/embedder.h"
#include "storage/record.h"

namespace jade {
namespace {

DatabaseRecord to_record(const DatabaseEntry& entry) {
  const DatabaseSpec& spec = entry.spec;
  DatabaseRecord out;
  out.name = spec.name;
  out.dimension = spec.dimension;
  out.metric = static_cast<uint8_t>(spec.metric);
  out.index_kind = static_cast<uint8_t>(spec.index.kind);
  out.m = spec.index.m;
  out.ef_construction = spec.index.ef_construction;
  out.ef_search = spec.index.ef_search;
  out.nlist = spec.index.nlist;
  out.nprobe = spec.index.nprobe;
  out.quantization = static_cast<uint8_t>(spec.index.quantization);
  out.vectors = static_cast<uint8_t>(spec.index.vectors);
  out.min_recall = spec.index.min_recall;
  out.datatype = static_cast<uint8_t>(spec.datatype);
  for (const VectorSpec& vector : spec.named_vectors) {
    out.named_vectors.push_back({vector.name, vector.dimension, static_cast<uint8_t>(vector.metric),
                                 static_cast<uint8_t>(vector.datatype)});
  }
  out.embedder = spec.embedder;
  out.replicas = spec.replicas;
  out.shard_key = spec.shard_key;
  out.sharding = static_cast<uint8_t>(spec.sharding);
  out.probes = spec.probes;
  if (entry.router) out.router = *entry.router;
  if (entry.next_router) out.next_router = *entry.next_router;
  out.shards = entry.shards;
  return out;
}

bool fits(const RouterRecord& router, const DatabaseSpec& spec) {
  return router.centres.size() == size_t{spec.shards} * spec.dimension * sizeof(float);
}

// Null: there is none.
std::shared_ptr<const RouterRecord> to_router(const RouterRecord& record) {
  return record.version == 0 ? nullptr : std::make_shared<const RouterRecord>(record);
}

// Its numbers may be out of range.
Result<IndexOptions> index_of(const DatabaseRecord& record) {
  if (record.index_kind > static_cast<uint8_t>(index_kind_max) ||
      record.quantization > static_cast<uint8_t>(quantization_max) ||
      record.vectors > static_cast<uint8_t>(VectorPlace::disk)) {
    return corruption(
        "the catalog holds an index type, quantization or place of vectors that this version does "
        "not know");
  }
  IndexOptions out;
  out.kind = static_cast<IndexKind>(record.index_kind);
  out.m = record.m;
  out.ef_construction = record.ef_construction;
  out.ef_search = record.ef_search;
  out.nlist = record.nlist;
  out.nprobe = record.nprobe;
  out.quantization = static_cast<Quantization>(record.quantization);
  out.vectors = static_cast<VectorPlace>(record.vectors);
  out.min_recall = record.min_recall;
  return out;
}

Result<DatabaseEntry> from_record(const DatabaseRecord& record) {
  if (record.metric > static_cast<uint8_t>(Metric::dot) ||
      record.sharding > static_cast<uint8_t>(Sharding::vector) ||
      record.datatype > static_cast<uint8_t>(datatype_max)) {
    return corruption(
        "the catalog holds a metric, datatype or sharding that this version does not know");
  }
  auto index = index_of(record);
  if (!index.ok()) return index.status();
  DatabaseEntry out;
  for (const NamedVectorRecord& vector : record.named_vectors) {
    if (vector.metric > static_cast<uint8_t>(Metric::dot) ||
        vector.datatype > static_cast<uint8_t>(datatype_max)) {
      return corruption(
          "the catalog holds a named vector of a metric or datatype that this "
          "version does not know");
    }
    out.spec.named_vectors.push_back({vector.name, vector.dimension,
                                      static_cast<Metric>(vector.metric),
                                      static_cast<Datatype>(vector.datatype)});
  }
  out.spec.name = record.name;
  out.spec.dimension = record.dimension;
  out.spec.metric = static_cast<Metric>(record.metric);
  out.spec.index = *index;
  out.spec.datatype = static_cast<Datatype>(record.datatype);
  out.spec.embedder = record.embedder;
  out.spec.replicas = record.replicas;
  out.spec.shard_key = record.shard_key;
  out.spec.sharding = static_cast<Sharding>(record.sharding);
  out.spec.probes = record.probes;
  out.spec.shards = static_cast<uint32_t>(record.shards.size());
  out.shards = record.shards;
  out.router = to_router(record.router);
  out.next_router = to_router(record.next_router);
  for (const auto& router : {out.router, out.next_router}) {
    if (router && !fits(*router, out.spec)) {
      return corruption("the catalog holds a router that does not fit its database");
    }
  }
  Status valid = validate(out.spec);
  if (!valid.ok())
    return corruption("the catalog holds an impossible database: " + valid.message());
  return out;
}

// Every hash belongs to one shard.
Status check_ranges(const DatabaseEntry& entry) {
  auto ascends = [](const ShardPlacement& a, const ShardPlacement& b) {
    return a.hash_begin >= b.hash_begin;
  };
  bool whole =
      entry.shards.front().hash_begin == 0 &&
      std::adjacent_find(entry.shards.begin(), entry.shards.end(), ascends) == entry.shards.end();
  if (whole) return {};
  return corruption("the catalog holds shards of database \"" + entry.spec.name +
                    "\" that do not share out all ids; it was written by a version that did not "
                    "know ranges of hashes, or is damaged");
}

// The hashes in n ranges of one size.
void share_out(std::vector<ShardPlacement>& shards) {
  uint64_t step = UINT64_MAX / shards.size() + 1;
  for (size_t i = 0; i < shards.size(); ++i) shards[i].hash_begin = i * step;
}

// Nodes that may hold replicas of new databases.
size_t workers(const ClusterMap& map) {
  return static_cast<size_t>(std::count_if(map.nodes.begin(), map.nodes.end(), [](const auto& n) {
    return !n.second.draining && has_role(n.second, NodeRole::worker);
  }));
}

std::string count_of(size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

bool contains(const std::vector<uint64_t>& list, uint64_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

Status unknown_node(uint64_t node) {
  return not_found("the cluster has no node " + std::to_string(node));
}

Status unknown_shard(uint64_t group) {
  return not_found("shard " + std::to_string(group) + " does not exist");
}

// Centres travel in one log entry.
constexpr uint64_t centre_values_max = 131'072;

Status validate_sharding(const DatabaseSpec& spec) {
  if (spec.sharding != Sharding::vector) {
    if (spec.probes == 0) return {};
    return invalid_argument("probes is given, but sharding is not \"vector\"");
  }
  if (!spec.shard_key.empty()) {
    return invalid_argument("sharding is \"vector\" and a shard_key is given; choose one of them");
  }
  if (spec.probes > spec.shards) {
    return invalid_argument("probes is " + std::to_string(spec.probes) +
                            "; it must be 1 to the number of shards, " +
                            std::to_string(spec.shards) + ", or 0 for the default");
  }
  if (uint64_t{spec.shards} * spec.dimension > centre_values_max) {
    return invalid_argument("with sharding \"vector\", shards × dimension must be at most " +
                            std::to_string(centre_values_max) + "; it is " +
                            std::to_string(uint64_t{spec.shards} * spec.dimension));
  }
  return {};
}

Status validate_dimension(const std::string& field, uint32_t dimension) {
  if (dimension >= 1 && dimension <= dimension_max) return {};
  return invalid_argument(field + " is " + std::to_string(dimension) + "; it must be 1 to " +
                          std::to_string(dimension_max));
}

Status validate_named_vectors(const DatabaseSpec& spec) {
  const auto& named = spec.named_vectors;
  if (named.size() > Limits::named_vectors_max) {
    return invalid_argument("named_vectors has " + std::to_string(named.size()) +
                            " vectors; it must have 1 to " +
                            std::to_string(Limits::named_vectors_max));
  }
  if (spec.dimension != 0 || spec.metric != Metric::cosine || spec.datatype != Datatype::float32) {
    return invalid_argument(
        "named_vectors is given, and so is dimension, metric or datatype; each named vector has "
        "its own");
  }
  size_t bytes = 0;
  std::set<std::string> names;
  for (const VectorSpec& vector : named) {
    if (!is_name(vector.name)) {
      return invalid_argument("named_vectors has \"" + vector.name.substr(0, 200) +
                              "\"; a name must be 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' "
                              "and '-', the first a letter or digit");
    }
    if (!names.insert(vector.name).second) {
      return invalid_argument("named_vectors has \"" + vector.name + "\" twice");
    }
    const std::string field = "named_vectors." + vector.name;
    JADE_RETURN_IF_ERROR(validate_dimension(field + ".dimension", vector.dimension));
    JADE_RETURN_IF_ERROR(check_is_known(field + ".metric", vector.metric, Metric::dot));
    JADE_RETURN_IF_ERROR(check_is_known(field + ".datatype", vector.datatype, datatype_max));
    bytes += vector.dimension * element_bytes(vector.datatype);
  }
  if (bytes > dimension_max * sizeof(float)) {
    return invalid_argument("the vectors of named_vectors have " + std::to_string(bytes) +
                            " bytes together; at most " +
                            std::to_string(dimension_max * sizeof(float)) + " are allowed");
  }
  if (spec.sharding == Sharding::vector) {
    return invalid_argument(
        "sharding is \"vector\" and named_vectors is given: which of them shards go by cannot be "
        "said; shard by \"hash\" or \"key\"");
  }
  if (!spec.embedder.empty()) {
    return invalid_argument(
        "embedder and named_vectors are given, but text makes no named vectors; leave one of them "
        "out");
  }
  return {};
}

Result<IndexChange> to_change(const ReindexRecord& record) {
  auto values = index_of(record.to);
  if (!values.ok()) return values.status();
  return IndexChange::of(*values, record.fields);
}

}  // namespace

bool is_name(const std::string& name) {
  auto alphanumeric = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  return !name.empty() && name.size() <= Limits::name_bytes_max && alphanumeric(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

Status validate(const DatabaseSpec& spec) {
  if (!is_name(spec.name)) {
    return invalid_argument(
        "name must be 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' and '-', the first a letter "
        "or digit");
  }
  JADE_RETURN_IF_ERROR(check_is_known("metric", spec.metric, Metric::dot));
  JADE_RETURN_IF_ERROR(check_is_known("datatype", spec.datatype, datatype_max));
  JADE_RETURN_IF_ERROR(check_is_known("sharding", spec.sharding, Sharding::vector));
  JADE_RETURN_IF_ERROR(spec.named_vectors.empty() ? validate_dimension("dimension", spec.dimension)
                                                  : validate_named_vectors(spec));
  if (spec.shards < 1 || spec.shards > Limits::shards_max) {
    return invalid_argument("shards is " + std::to_string(spec.shards) + "; it must be 1 to " +
                            std::to_string(Limits::shards_max));
  }
  if (spec.replicas < 1 || spec.replicas > Limits::replicas_max) {
    return invalid_argument("replicas is " + std::to_string(spec.replicas) + "; it must be 1 to " +
                            std::to_string(Limits::replicas_max));
  }
  // A dot would name a field of a field in filters.
  if (!spec.shard_key.empty() &&
      (!is_name(spec.shard_key) || spec.shard_key.find('.') != std::string::npos)) {
    return invalid_argument(
        "shard_key must be 1 to 128 characters of A-Z, a-z, 0-9, '_' and '-', the first a letter "
        "or digit: the name of a metadata field");
  }
  JADE_RETURN_IF_ERROR(validate_sharding(spec));
  JADE_RETURN_IF_ERROR(spec.index.validate());
  if (spec.embedder.empty()) return {};
  if (spec.datatype == Datatype::uint8) {
    return invalid_argument(
        "datatype is \"uint8\", but embedders make vectors of fractions; use \"float16\" or "
        "\"float32\"");
  }
  return check_embedder(spec.embedder, spec.dimension);
}

Status Catalog::apply(uint64_t index, std::string_view command) {
  auto decoded = decode_catalog_command(command);
  if (!decoded.ok()) return decoded.status();
  index_ = index;
  Status status = std::visit([this](const auto& one) { return carry_out(one); }, *decoded);
  if (status.ok()) map_.version = index;
  return status;
}

Status Catalog::carry_out(const DatabaseRecord& create) {
  auto entry = from_record(create);
  if (!entry.ok()) return entry.status();
  if (map_.databases.count(entry->spec.name) > 0) {
    return Status(Code::already_exists, "database \"" + entry->spec.name + "\" exists already");
  }
  for (const ShardPlacement& shard : entry->shards) {
    // It was sent to be told that the name is taken, which it no longer was when its turn came.
    if (target_of(shard).empty()) {
      return unavailable("database \"" + entry->spec.name +
                         "\" was dropped at the same time; try again");
    }
    for (uint64_t node : shard.nodes) {
      if (map_.removed.count(node) == 0) continue;
      return unavailable("node " + std::to_string(node) +
                         ", which was to have a part of it, has left the cluster; try again");
    }
  }
  share_out(entry->shards);
  for (ShardPlacement& shard : entry->shards) {
    shard.group = map_.next_group++;
    shard.version = index_;
  }
  map_.databases.emplace(entry->spec.name, std::move(*entry));
  return {};
}

Status Catalog::carry_out(const DropRecord& drop) {
  if (map_.databases.erase(drop.name) > 0) return {};
  return not_found("database \"" + drop.name + "\" does not exist");
}

Status Catalog::carry_out(const NodeRecord& join) {
  if (map_.removed.count(join.id) > 0) {
    return Status(Code::failed_precondition,
                  "node \"" + join.name +
                      "\" was removed from this cluster; to come back it must start with an "
                      "empty data directory");
  }
  for (const auto& [id, other] : map_.nodes) {
    if (id != join.id && other.name == join.name) {
      return Status(Code::already_exists, "the cluster has a node named \"" + join.name +
                                              "\" already; choose another name");
    }
  }
  NodeEntry& node = map_.nodes[join.id];
  bool draining = node.draining;
  Life life = node.life;
  node = join;
  node.draining = draining;
  node.life = life;
  return {};
}

Status Catalog::carry_out(const DrainRecord& drain) {
  auto found = map_.nodes.find(drain.node);
  if (found == map_.nodes.end()) return unknown_node(drain.node);
  ClusterMap after = map_;
  after.nodes[drain.node].draining = drain.draining;
  size_t left = workers(after);
  for (const auto& [name, entry] : map_.databases) {
    if (!drain.draining || entry.spec.replicas <= left) continue;
    return Status(Code::failed_precondition,
                  "database \"" + name + "\" has " + count_of(entry.spec.replicas, "replica") +
                      ", but without node \"" + found->second.name + "\" there would be " +
                      count_of(left, "node") +
                      " to put them on; add a node or lower its replicas first");
  }
  if (!any_master(after)) {
    return Status(Code::failed_precondition, "node \"" + found->second.name +
                                                 "\" is the last that can be master; add "
                                                 "another first");
  }
  found->second.draining = drain.draining;
  return {};
}

Status Catalog::carry_out(const RemoveRecord& remove) {
  auto found = map_.nodes.find(remove.node);
  if (found == map_.nodes.end()) return unknown_node(remove.node);
  size_t replicas = 0;
  for (const auto& [name, entry] : map_.databases) {
    for (const ShardPlacement& shard : entry.shards) replicas += contains(shard.nodes, remove.node);
  }
  if (replicas > 0) {
    return Status(Code::failed_precondition, "node \"" + found->second.name + "\" holds " +
                                                 count_of(replicas, "replica") +
                                                 "; drain it first, and wait until it is empty");
  }
  if (map_.nodes.size() == 1) {
    return Status(Code::failed_precondition,
                  "node \"" + found->second.name + "\" is the last of its cluster");
  }
  map_.nodes.erase(found);
  map_.removed.insert(remove.node);
  return {};
}

Status Catalog::carry_out(const ReplicasRecord& replicas) {
  auto found = map_.databases.find(replicas.database);
  if (found == map_.databases.end()) {
    return not_found("database \"" + replicas.database + "\" does not exist");
  }
  DatabaseSpec spec = found->second.spec;
  spec.replicas = replicas.replicas;
  JADE_RETURN_IF_ERROR(validate(spec));
  if (size_t nodes = workers(map_); spec.replicas > nodes) {
    return Status(Code::failed_precondition, "replicas is " + std::to_string(spec.replicas) +
                                                 ", but the cluster has " +
                                                 count_of(nodes, "node") + " to put them on");
  }
  found->second.spec = spec;
  return {};
}

Status Catalog::carry_out(const ReindexRecord& reindex) {
  auto change = to_change(reindex);
  if (!change.ok()) return change.status();
  auto found = map_.databases.find(reindex.to.name);
  if (found == map_.databases.end()) {
    return not_found("database \"" + reindex.to.name + "\" does not exist");
  }
  DatabaseSpec spec = found->second.spec;
  spec.index = change->applied_to(spec.index);
  JADE_RETURN_IF_ERROR(validate(spec));
  found->second.spec = spec;
  return {};
}

Status Catalog::carry_out(const ShardRecord& place) {
  ShardPlacement* placement = placement_of(place.group);
  if (placement == nullptr) return unknown_shard(place.group);
  if (placement->version != place.version) {
    return Status(Code::failed_precondition,
                  "shard " + std::to_string(place.group) + " has been placed anew since");
  }
  std::set<uint64_t> distinct(place.nodes.begin(), place.nodes.end());
  bool known = std::all_of(distinct.begin(), distinct.end(),
                           [this](uint64_t node) { return map_.nodes.count(node) > 0; });
  auto among = [&](uint64_t node) { return distinct.count(node) > 0; };
  bool within = std::all_of(place.leaving.begin(), place.leaving.end(), among) &&
                std::all_of(place.joining.begin(), place.joining.end(), among);
  if (distinct.size() != place.nodes.size() || !known || !within || target_of(place).empty()) {
    return invalid_argument("shard " + std::to_string(place.group) + " cannot be placed so");
  }
  if (placement->is_splitting()) {
    return Status(Code::failed_precondition,
                  "shard " + std::to_string(place.group) + " is being split");
  }
  placement->nodes = place.nodes;
  placement->leaving = place.leaving;
  placement->joining = place.joining;
  placement->reason = place.reason;
  placement->version = index_;
  return {};
}

Status Catalog::carry_out(const SplitRecord& split) {
  auto [entry, shard] = shard_of(split.group);
  if (entry == nullptr || (!split.database.empty() && entry->spec.name != split.database)) {
    std::string of = split.database.empty() ? "" : " of database \"" + split.database + "\"";
    return not_found("there is no shard " + std::to_string(split.group) + of);
  }
  if (split.step == SplitStep::begin) return begin_split(*entry, shard);
  ShardPlacement& parent = entry->shards[shard];
  // Said more than once.
  bool due =
      split.step == SplitStep::cut_over ? parent.child != 0 && !parent.divided : parent.divided;
  if (!due) {
    return Status(Code::failed_precondition,
                  "shard " + std::to_string(split.group) + " is not at this step of a split");
  }
  if (split.step == SplitStep::cut_over) {
    cut_over(*entry, shard);
    return {};
  }
  ShardPlacement& child = entry->shards[shard + 1];
  parent.child = parent.child_begin = child.parent = 0;
  parent.divided = false;
  parent.version = child.version = index_;
  return {};
}

Status Catalog::begin_split(DatabaseEntry& entry, size_t shard) {
  ShardPlacement& parent = entry.shards[shard];
  auto refuse = [&](const std::string& why) {
    return Status(Code::failed_precondition, "shard " + std::to_string(parent.group) + " " + why);
  };
  if (entry.by_vector()) {
    return refuse("cannot be split: its database is sharded by vector");
  }
  if (parent.is_splitting()) return refuse("is being split already");
  if (!parent.leaving.empty() || !parent.joining.empty()) {
    return refuse("is being moved; try again when that is over");
  }
  if (entry.shards.size() >= Limits::shards_max) {
    return refuse("cannot be split: its database has " + std::to_string(entry.shards.size()) +
                  " shards, and more are not allowed");
  }
  // The whole range of hashes is one more than can be counted.
  uint64_t half = (hash_end(entry, shard) - parent.hash_begin - 1) / 2 + 1;
  if (half <= 1) return refuse("holds a single hash and cannot be split");
  parent.child = map_.next_group++;
  parent.child_begin = parent.hash_begin + half;
  parent.version = index_;
  return {};
}

void Catalog::cut_over(DatabaseEntry& entry, size_t shard) {
  ShardPlacement& parent = entry.shards[shard];
  parent.divided = true;
  parent.last_child = parent.child;
  parent.version = index_;
  ShardPlacement child;
  child.group = parent.child;
  child.nodes = parent.nodes;
  // Its members begin with a part of the parent's state and log: none of them founds it.
  child.founded = true;
  // Another should lead it.
  std::rotate(child.nodes.begin(), child.nodes.begin() + 1, child.nodes.end());
  child.version = index_;
  child.hash_begin = parent.child_begin;
  child.parent = parent.group;
  entry.shards.insert(entry.shards.begin() + static_cast<std::ptrdiff_t>(shard) + 1, child);
  entry.spec.shards = static_cast<uint32_t>(entry.shards.size());
}

Status Catalog::carry_out(const RouteRecord& route) {
  auto found = map_.databases.find(route.database);
  bool known = found != map_.databases.end() && find_shard(found->second, route.group) != nullptr;
  if (!known) {
    return not_found("database \"" + route.database + "\" has no shard " +
                     std::to_string(route.group));
  }
  DatabaseEntry& entry = found->second;
  // Said more than once, or too late.
  Status not_due(Code::failed_precondition,
                 "database \"" + route.database + "\" is not at this step of a new router");
  if (!entry.by_vector()) return not_due;
  if (!route.centres.empty()) {
    uint64_t before = entry.router ? entry.router->version : 0;
    if (entry.next_router || route.router != before) return not_due;
    RouterRecord next{index_, route.centres, route.vectors, {}, {}};
    if (!fits(next, entry.spec)) return invalid_argument("a router does not fit its database");
    entry.next_router = to_router(next);
    return {};
  }
  if (!entry.next_router || entry.next_router->version != route.router) return not_due;
  RouterRecord next = *entry.next_router;
  bool done = route.step == RouteStep::done;
  std::vector<uint64_t>& at = done ? next.done : next.announced;
  bool due = route.step != RouteStep::follow && (!done || entry.is_moving());
  if (!due || contains(at, route.group)) return not_due;
  at.push_back(route.group);
  bool over = next.done.size() == entry.shards.size();
  auto after = to_router(next);
  if (over) entry.router = after;
  entry.next_router = over ? nullptr : after;
  return {};
}

Status Catalog::carry_out(const FoundRecord& found) {
  for (uint64_t group : found.groups) {
    if (ShardPlacement* placement = placement_of(group)) placement->founded = true;
  }
  return {};
}

Status Catalog::carry_out(const LivesRecord& live) {
  auto found = map_.nodes.find(live.node);
  if (found == map_.nodes.end()) return unknown_node(live.node);
  NodeEntry& node = found->second;
  uint64_t id = live.lives.back().id;
  if (node.life.id == id) return {};  // said more than once
  if (!remembers(live.lives, node.life)) return outlived(node.name);
  node.life = {id, index_};
  return {};
}

std::pair<DatabaseEntry*, size_t> Catalog::shard_of(uint64_t group) {
  for (auto& [name, entry] : map_.databases) {
    for (size_t i = 0; i < entry.shards.size(); ++i) {
      if (entry.shards[i].group == group) return {&entry, i};
    }
  }
  return {nullptr, 0};
}

ShardPlacement* Catalog::placement_of(uint64_t group) {
  auto [entry, shard] = shard_of(group);
  return entry == nullptr ? nullptr : &entry->shards[shard];
}

std::string Catalog::encode() const {
  CatalogState state;
  state.version = map_.version;
  state.next_group = map_.next_group;
  for (const auto& [name, entry] : map_.databases) state.databases.push_back(to_record(entry));
  for (const auto& [id, node] : map_.nodes) state.nodes.push_back(node);
  state.removed.assign(map_.removed.begin(), map_.removed.end());
  return jade::encode(state);
}

Status Catalog::restore(std::string_view bytes) {
  auto state = decode_catalog_state(bytes);
  if (!state.ok()) return state.status();
  ClusterMap map;
  map.version = state->version;
  for (const DatabaseRecord& record : state->databases) {
    auto entry = from_record(record);
    if (!entry.ok()) return entry.status();
    JADE_RETURN_IF_ERROR(check_ranges(*entry));
    map.databases.emplace(record.name, std::move(*entry));
  }
  for (const NodeRecord& node : state->nodes) map.nodes[node.id] = node;
  map.removed.insert(state->removed.begin(), state->removed.end());
  map.next_group = state->next_group;
  map_ = std::move(map);
  return {};
}

std::string create_command(const DatabaseSpec& spec, const std::vector<ShardPlacement>& shards) {
  DatabaseEntry entry;
  entry.spec = spec;
  entry.shards = shards;
  return encode(CatalogCommand(to_record(entry)));
}

std::string join_command(const NodeEntry& node) { return encode(CatalogCommand(node)); }

Status outlived(const std::string& node_name) {
  return Status(
      Code::failed_precondition,
      "node \"" + node_name +
          "\" was started with an older copy of its data directory: the cluster knows a "
          "later one, and this one has forgotten what the node promised since, so it "
          "takes no part. Put the latest directory back, or start with an empty one under "
          "another name and let it join");
}

Status removed_from(const std::string& cluster_id, const std::string& node_name,
                    const std::string& data_dir) {
  return Status(Code::failed_precondition,
                "node \"" + node_name + "\" was removed from cluster " + cluster_id +
                    " and takes no part in it any more. To use it again, stop it, empty its data "
                    "directory " +
                    data_dir + " and start it with --join: it becomes a new node");
}

Result<std::map<uint64_t, NodeEntry>> nodes_in(const LogStore::Loaded& log) {
  Catalog catalog;
  uint64_t applied = 0;
  if (log.snapshot) {
    JADE_RETURN_IF_ERROR(catalog.restore(log.snapshot->data));
    applied = log.snapshot->index;
  }
  for (size_t i = 0; i < log.entries.size(); ++i) {
    const LogEntry& entry = log.entries[i];
    uint64_t index = log.first_index + i;
    bool is_command = entry.type == static_cast<uint8_t>(RaftEntryType::command);
    if (index <= applied || !is_command) continue;
    Status status = catalog.apply(index, entry.data);
    if (status.code() == Code::corruption) return status;
  }
  return catalog.state().nodes;
}

std::map<uint64_t, Life> lives_of(const std::map<uint64_t, NodeEntry>& nodes) {
  std::map<uint64_t, Life> out;
  for (const auto& [id, node] : nodes) {
    if (node.life.id != 0) out[id] = node.life;
  }
  return out;
}

std::string drop_command(const std::string& name) {
  return encode(CatalogCommand(DropRecord{name}));
}

std::string reindex_command(const std::string& name, const IndexChange& change) {
  DatabaseEntry values;
  values.spec.name = name;
  values.spec.index = change.applied_to(values.spec.index);
  return encode(CatalogCommand(ReindexRecord{to_record(values), change.fields()}));
}

std::optional<DatabaseSpec> created_by(const CatalogCommand& command) {
  const auto* create = std::get_if<DatabaseRecord>(&command);
  if (create == nullptr) return std::nullopt;
  auto entry = from_record(*create);
  if (!entry.ok()) return std::nullopt;
  return entry->spec;
}

}  // namespace jade
