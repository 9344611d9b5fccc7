#include "actors/catalog.h"

#include <algorithm>

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
  out.embedder = spec.embedder;
  out.replicas = spec.replicas;
  for (const ShardPlacement& shard : entry.shards) out.shards.push_back({shard.group, shard.nodes});
  return out;
}

Result<DatabaseEntry> from_record(const DatabaseRecord& record) {
  if (record.metric > static_cast<uint8_t>(Metric::dot) ||
      record.index_kind > static_cast<uint8_t>(IndexKind::flat)) {
    return corruption("the catalog holds a metric or index type that this version does not know");
  }
  DatabaseEntry out;
  out.spec.name = record.name;
  out.spec.dimension = record.dimension;
  out.spec.metric = static_cast<Metric>(record.metric);
  out.spec.index.kind = static_cast<IndexKind>(record.index_kind);
  out.spec.index.m = record.m;
  out.spec.index.ef_construction = record.ef_construction;
  out.spec.index.ef_search = record.ef_search;
  out.spec.index.nlist = record.nlist;
  out.spec.index.nprobe = record.nprobe;
  out.spec.embedder = record.embedder;
  out.spec.replicas = record.replicas;
  out.spec.shards = static_cast<uint32_t>(record.shards.size());
  for (const auto& shard : record.shards) out.shards.push_back({shard.group, shard.nodes});
  Status valid = validate(out.spec);
  if (!valid.ok())
    return corruption("the catalog holds an impossible database: " + valid.message());
  return out;
}

NodeRecord to_record(const NodeEntry& node) {
  return {node.id, node.name, node.address, node.api_address};
}

NodeEntry from_record(const NodeRecord& node) {
  return {node.id, node.name, node.address, node.api_address};
}

bool is_name(const std::string& name) {
  auto alphanumeric = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  return !name.empty() && name.size() <= Limits::name_bytes_max && alphanumeric(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

}  // namespace

Status validate(const DatabaseSpec& spec) {
  if (!is_name(spec.name)) {
    return invalid_argument(
        "name must be 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' and '-', the first a letter "
        "or digit");
  }
  if (spec.dimension < 1 || spec.dimension > dimension_max) {
    return invalid_argument("dimension is " + std::to_string(spec.dimension) +
                            "; it must be 1 to " + std::to_string(dimension_max));
  }
  if (spec.shards < 1 || spec.shards > Limits::shards_max) {
    return invalid_argument("shards is " + std::to_string(spec.shards) + "; it must be 1 to " +
                            std::to_string(Limits::shards_max));
  }
  if (spec.replicas < 1 || spec.replicas > Limits::replicas_max) {
    return invalid_argument("replicas is " + std::to_string(spec.replicas) + "; it must be 1 to " +
                            std::to_string(Limits::replicas_max));
  }
  JADE_RETURN_IF_ERROR(spec.index.validate());
  if (spec.embedder.empty()) return {};
  return check_embedder(spec.embedder, spec.dimension);
}

Status Catalog::apply(uint64_t index, std::string_view command) {
  auto decoded = decode_catalog_command(command);
  if (!decoded.ok()) return decoded.status();
  if (!decoded->drop.empty()) return drop(index, decoded->drop);
  if (decoded->join.id != 0) return join(index, from_record(decoded->join));
  auto entry = from_record(decoded->create);
  if (!entry.ok()) return entry.status();
  return create(index, *entry);
}

Status Catalog::create(uint64_t index, const DatabaseEntry& entry) {
  if (map_.databases.count(entry.spec.name) > 0) {
    return Status(Code::already_exists, "database \"" + entry.spec.name + "\" exists already");
  }
  DatabaseEntry created = entry;
  for (ShardPlacement& shard : created.shards) shard.group = next_group_++;
  map_.databases.emplace(created.spec.name, std::move(created));
  map_.version = index;
  return {};
}

Status Catalog::drop(uint64_t index, const std::string& name) {
  if (map_.databases.erase(name) == 0) {
    return not_found("database \"" + name + "\" does not exist");
  }
  map_.version = index;
  return {};
}

Status Catalog::join(uint64_t index, const NodeEntry& node) {
  for (const auto& [id, other] : map_.nodes) {
    if (id != node.id && other.name == node.name) {
      return Status(Code::already_exists, "the cluster has a node named \"" + node.name +
                                              "\" already; choose another name");
    }
  }
  map_.nodes[node.id] = node;
  map_.version = index;
  return {};
}

std::string Catalog::encode() const {
  CatalogState state;
  state.version = map_.version;
  state.next_group = next_group_;
  for (const auto& [name, entry] : map_.databases) state.databases.push_back(to_record(entry));
  for (const auto& [id, node] : map_.nodes) state.nodes.push_back(to_record(node));
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
    map.databases.emplace(record.name, std::move(*entry));
  }
  for (const NodeRecord& node : state->nodes) map.nodes[node.id] = from_record(node);
  map_ = std::move(map);
  next_group_ = state->next_group;
  return {};
}

Result<std::vector<ShardPlacement>> place(const DatabaseSpec& spec, const ClusterMap& map) {
  if (map.nodes.size() < spec.replicas) {
    return Status(Code::failed_precondition,
                  "replicas is " + std::to_string(spec.replicas) + ", but the cluster has " +
                      std::to_string(map.nodes.size()) +
                      (map.nodes.size() == 1 ? " node" : " nodes") + " to put them on");
  }
  struct Load {
    size_t first = 0, all = 0;
  };
  std::map<uint64_t, Load> loads;
  for (const auto& [id, node] : map.nodes) loads[id];
  for (const auto& [name, entry] : map.databases) {
    for (const ShardPlacement& shard : entry.shards) {
      for (uint64_t node : shard.nodes) ++loads[node].all;
      ++loads[shard.nodes.front()].first;
    }
  }
  std::vector<ShardPlacement> out(spec.shards);
  for (ShardPlacement& shard : out) {
    std::vector<uint64_t> nodes;
    for (const auto& [id, node] : map.nodes) nodes.push_back(id);
    auto fewer_replicas = [&](uint64_t a, uint64_t b) { return loads[a].all < loads[b].all; };
    std::stable_sort(nodes.begin(), nodes.end(), fewer_replicas);
    nodes.resize(spec.replicas);
    auto fewer_leaders = [&](uint64_t a, uint64_t b) { return loads[a].first < loads[b].first; };
    std::stable_sort(nodes.begin(), nodes.end(), fewer_leaders);
    for (uint64_t node : nodes) ++loads[node].all;
    ++loads[nodes.front()].first;
    shard.nodes = std::move(nodes);
  }
  return out;
}

std::string create_command(const DatabaseSpec& spec, const std::vector<ShardPlacement>& shards) {
  DatabaseEntry entry;
  entry.spec = spec;
  entry.shards = shards;
  CatalogCommand command;
  command.create = to_record(entry);
  return encode(command);
}

Result<std::string> complete_command(const std::string& command, const ClusterMap& map) {
  auto decoded = decode_catalog_command(command);
  if (!decoded.ok()) return decoded.status();
  if (decoded->create.name.empty()) return command;
  auto entry = from_record(decoded->create);
  if (!entry.ok()) return entry.status();
  // Whether the name is free is the better complaint.
  if (map.find(entry->spec.name) != nullptr) return command;
  auto placed = place(entry->spec, map);
  if (!placed.ok()) return placed.status();
  return create_command(entry->spec, *placed);
}

std::string join_command(const NodeEntry& node) {
  CatalogCommand command;
  command.join = to_record(node);
  return encode(command);
}

std::string drop_command(const std::string& name) {
  CatalogCommand command;
  command.drop = name;
  return encode(command);
}

}  // namespace jade
