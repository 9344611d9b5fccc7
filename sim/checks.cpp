#include "sim/checks.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "actors/cluster_map.h"
#include "actors/shard_files.h"
#include "index/scoring.h"
#include "sim/settling.h"

namespace jade::sim {
namespace {

struct Expected {
  float distance;
  uint64_t id;
};

// In another way than the engine's: all rows of the own database (of a bucket, where there is
// one) that have this vector, sorted.
std::vector<Expected> brute_force(const Records& records, const Model& model,
                                  std::vector<float> query, size_t vector,
                                  std::optional<uint64_t> bucket) {
  const Metric metric = records.vectors()[vector].metric;
  if (metric == Metric::cosine) normalise(query.data(), query.size());
  std::vector<Expected> all;
  for (const auto& [id, version] : model.certain()) {
    if (!version.exists || !Records::has_vector(id, version.number, vector)) continue;
    if (bucket && bucket_of(id, version.number) != *bucket) continue;
    auto row = records.stored(id, version.number, vector);
    if (metric == Metric::cosine) normalise(row.data(), row.size());
    double sum = 0;
    for (size_t j = 0; j < row.size(); ++j) {
      double difference = static_cast<double>(query[j]) - row[j];
      sum +=
          metric == Metric::l2 ? difference * difference : static_cast<double>(query[j]) * row[j];
    }
    if (metric != Metric::l2) sum = (metric == Metric::cosine ? 1 : 0) - sum;
    all.push_back({static_cast<float>(sum), id});
  }
  std::sort(all.begin(), all.end(), [](const Expected& a, const Expected& b) {
    return a.distance != b.distance ? a.distance < b.distance : a.id < b.id;
  });
  return all;
}

// Seals and merges are log entries that write no record: segments can differ for a while.
bool agree(const ShardDigest& a, const ShardDigest& b) {
  const bool level = a.applied_index == b.applied_index;
  return a.digest == b.digest && (!level || a.segments == b.segments);
}

std::string text_of(const ShardDigest& digest, bool segments) {
  std::string out = "entry " + std::to_string(digest.applied_index);
  for (const SegmentDigest& one : digest.segments) {
    if (!segments) break;
    out += ", " + std::to_string(one.id) + "/" + std::to_string(one.vector) + " from row " +
           std::to_string(one.begin_row) + " with " + std::to_string(one.live) + " alive";
  }
  return out;
}

}  // namespace

Checks::Checks(uint64_t ids, Run& run, Cluster& cluster, const Records& records, Ledger& ledger)
    : ids_(ids), run_(run), cluster_(cluster), records_(records), ledger_(ledger) {
  cluster.when_elected([this](size_t machine, uint64_t group, uint64_t term) {
    check_elected(machine, group, term);
  });
  cluster.when_logged(
      [this](size_t machine, std::string_view message) { check_said(machine, message); });
}

// What is on its way to the log when a write fails comes too late for it; else nothing does. All
// shards whose entries are in one write with it fail.
void Checks::check_said(size_t machine, std::string_view message) {
  const SimDisk& disk = cluster_.node(machine).disk();
  if (!disk.healthy() || disk.died()) return;
  if (message.find("does not continue its log") == message.npos) return;
  run_.fail("node " + std::to_string(machine + 1) +
            " says, on a healthy disk: " + std::string(message));
}

void Checks::check_elected(size_t machine, uint64_t group, uint64_t term) {
  uint64_t id = cluster_.node(machine).config().node_id;
  auto [leader, first] = leaders_.try_emplace({group, term}, id);
  if (first || leader->second == id) return;
  run_.fail("nodes " + std::to_string(leader->second) + " and " + std::to_string(id) +
            " both lead shard " + std::to_string(group) + " in term " + std::to_string(term));
}

// ---- disks

void Checks::compare_disks() {
  const uint64_t stop_ns = run_.now_ns() + recovery_ns_max;
  for (;;) {
    auto info = cluster_.insist<ClusterInfo>(Cluster::describe);
    if (!info.ok()) return run_.fail("looking at the cluster: " + info.status().to_string());
    const std::string left = left_over(*info);
    if (left.empty()) return;
    if (run_.now_ns() >= stop_ns) return run_.fail(left);
    cluster_.run_for(200 * ms);
  }
}

std::string Checks::left_over(const ClusterInfo& info) {
  std::set<std::pair<uint64_t, uint64_t>> placed;  // node and group
  std::set<uint64_t> moving;                       // or being split
  for (const DatabaseInfo& db : info.databases) {
    for (const ShardInfo& shard : db.placement) {
      for (uint64_t node : shard.nodes) placed.emplace(node, shard.shard);
    }
  }
  for (const TaskInfo& task : info.tasks) moving.insert({task.shard, task.child});
  for (const NodeInfo& one : info.nodes) {
    auto machine = cluster_.machine_of(one.id);
    if (!machine || !cluster_.running(*machine)) continue;
    const NodeContext& context = cluster_.node(*machine).runtime().context();
    auto groups = context.log->groups();
    if (!groups.ok()) return "groups: " + groups.status().to_string();
    const auto dirs = shards_on_disk(context.seams.env, context.config.data_dir);
    std::set<uint64_t> found(groups->begin(), groups->end());
    found.insert(dirs.begin(), dirs.end());
    for (uint64_t group : found) {
      if (group <= metadata_group || moving.count(group) + placed.count({one.id, group}) > 0) {
        continue;
      }
      return "node " + std::to_string(*machine + 1) + " still has " +
             (dirs.count(group) > 0 ? "files" : "a log") + " of shard " + std::to_string(group) +
             ", which it is not to have";
    }
  }
  return {};
}

// ---- contents

void Checks::compare_contents() {
  auto listed = list();
  if (!listed) return;
  for (uint64_t id = 0; id < ids_ && run_.ok(); ++id) {
    auto found = listed->find(id);
    if (found == listed->end()) {
      ledger_.observe_nothing(id);
    } else {
      ledger_.observe(id, found->second);
    }
  }
  auto info = describe_whole();
  if (!info) return;
  run_.report().routed += info->router_state == "ready";
  const uint64_t live = ledger_.versions().live();
  if (run_.ok() && info->vectors != live) {
    run_.fail("the database counts " + std::to_string(info->vectors) + " vectors; there are " +
              std::to_string(live));
  }
}

std::optional<std::map<uint64_t, StoredVector>> Checks::list() {
  std::map<uint64_t, StoredVector> listed;
  ListRequest request;
  request.database = own_database;
  request.limit = 37;
  request.include_values = true;
  for (;;) {
    auto page = cluster_.insist<ListReply>([&](Api& api, auto done) { api.list(request, done); });
    if (!page.ok()) {
      run_.fail("listing: " + page.status().to_string());
      return std::nullopt;
    }
    for (StoredVector& vector : page->vectors) {
      uint64_t id = vector.id.integer();
      if (!listed.emplace(id, std::move(vector)).second) {
        run_.fail("id " + std::to_string(id) + " is listed twice");
        return std::nullopt;
      }
    }
    if (!page->next) return listed;
    request.after = page->next;
  }
}

// A shard that is just being moved may be shown without what it holds, and a replica
// that is catching up counts what it has. Not for long.
std::optional<DatabaseInfo> Checks::describe_whole() {
  const uint64_t stop_ns = run_.now_ns() + recovery_ns_max;
  for (;;) {
    auto info = describe();
    if (!info || run_.now_ns() >= stop_ns) return info;
    if (info->vectors == ledger_.versions().live()) return info;
    cluster_.run_for(100 * ms);
  }
}

std::optional<DatabaseInfo> Checks::describe() {
  auto info = cluster_.insist<DatabaseInfo>(
      [](Api& api, auto done) { api.describe_database(own_database, done); });
  if (info.ok()) return *info;
  run_.fail("describing: " + info.status().to_string());
  return std::nullopt;
}

// ---- searches

void Checks::compare_searches() {
  for (int i = 0; i < 6 && run_.ok(); ++i) {
    SearchRequest request;
    request.database = own_database;
    const size_t vector = run_.draw(records_.vectors().size());
    request.vector_name = records_.vectors()[vector].name;
    request.vector = records_.sent(run_.draw(1000), 3, vector);
    request.k = static_cast<uint32_t>(1 + run_.draw(40));
    request.exact = i % 2 == 0;
    std::optional<uint64_t> bucket;
    if (i % 3 != 0) bucket = run_.draw(10);
    if (bucket) request.filter = "{\"bucket\":{\"$eq\":" + std::to_string(*bucket) + "}}";
    compare_search(request, vector, bucket);
  }
}

void Checks::compare_search(const SearchRequest& request, size_t vector,
                            std::optional<uint64_t> bucket) {
  auto reply =
      cluster_.insist<SearchReply>([&](Api& api, auto done) { api.search(request, done); });
  if (!reply.ok()) return run_.fail("searching: " + reply.status().to_string());
  auto expected = brute_force(records_, ledger_.versions(), request.vector, vector, bucket);
  size_t size = std::min<size_t>(expected.size(), request.k);
  if (reply->results.size() != size) {
    return run_.fail("a search for " + std::to_string(request.k) + " gave " +
                     std::to_string(reply->results.size()) + " results; " +
                     std::to_string(expected.size()) + " rows match");
  }
  const Metric metric = records_.vectors()[vector].metric;
  for (size_t j = 0; request.exact && j < size; ++j) {
    float distance = distance_from_score(metric, reply->results[j].score);
    if (std::abs(distance - expected[j].distance) >
        1e-4f * std::max(1.0f, std::abs(expected[j].distance))) {
      return run_.fail("result " + std::to_string(j) + " of an exact search is at distance " +
                       std::to_string(distance) + ", brute force says " +
                       std::to_string(expected[j].distance));
    }
  }
  ++run_.report().searches_checked;
}

// ---- replicas

Result<ShardDigest> Checks::digest(size_t machine, uint64_t group) {
  return cluster_.ask<ShardDigest>(
      [&](Api&, auto done) { cluster_.node(machine).runtime().digest(group, done); });
}

void Checks::await_mended() {
  const uint64_t stop_ns = run_.now_ns() + recovery_ns_max;
  // What was read before the bit flipped would still be in memory.
  if (const size_t machine = *cluster_.rotten(); cluster_.running(machine)) {
    cluster_.end(machine, false);
    cluster_.start(machine);
  }
  if (!run_.ok() || !await_ready(run_, cluster_)) return;
  while (run_.ok()) {
    auto info = cluster_.insist<ClusterInfo>(Cluster::describe);
    if (!info.ok()) return run_.fail("looking at the cluster: " + info.status().to_string());
    Status first;
    for (const DatabaseInfo& db : info->databases) {
      for (const ShardInfo& shard : db.placement) {
        for (uint64_t node : shard.nodes) {
          auto machine = cluster_.machine_of(node);
          if (!machine || !first.ok()) continue;
          first = digest(*machine, shard.shard).status();
        }
      }
    }
    if (first.ok()) return cluster_.mended();
    if (run_.now_ns() >= stop_ns) run_.fail("damage is not mended: " + first.to_string());
    cluster_.run_for(200 * ms);
  }
}

std::optional<Checks::Digests> Checks::digests() {
  auto info = describe();
  if (!info) return std::nullopt;
  Digests out;
  for (const ShardInfo& shard : info->placement) {
    for (uint64_t node : shard.nodes) {
      auto machine = cluster_.machine_of(node);
      if (!machine) continue;  // there were not enough nodes to replace it
      auto digest = this->digest(*machine, shard.shard);
      // A move may have begun since.
      if (digest.status().code() == Code::unavailable) continue;
      if (!digest.ok()) {
        run_.fail("digest: " + digest.status().to_string());
        return std::nullopt;
      }
      out[{shard.shard, node}] = *digest;
    }
  }
  return out;
}

// They do once they have applied the same, which takes no time to speak of when nothing is the
// matter.
void Checks::compare_replicas() {
  auto level = [](const Digests& all) {
    std::map<uint64_t, uint64_t> applied;
    return std::all_of(all.begin(), all.end(), [&](const auto& one) {
      uint64_t index = one.second.applied_index;
      return applied.try_emplace(one.first.first, index).first->second == index;
    });
  };
  const uint64_t stop_ns = run_.now_ns() + recovery_ns_max;
  auto all = digests();
  while (all && !level(*all) && run_.now_ns() < stop_ns) {
    cluster_.run_for(200 * ms);
    all = digests();
  }
  if (!all) return;
  using Seen = std::pair<uint64_t, ShardDigest>;  // node
  std::map<uint64_t, Seen> first;                 // by group
  for (const auto& [where, digest] : *all) {
    auto [at, added] = first.try_emplace(where.first, where.second, digest);
    const auto& [node, other] = at->second;
    if (agree(other, digest)) continue;
    const bool same = other.digest == digest.digest;
    return run_.fail("shard " + std::to_string(where.first) +
                     (same ? " has other segments" : " differs") + " on nodes " +
                     std::to_string(node) + " (" + text_of(other, same) + ") and " +
                     std::to_string(where.second) + " (" + text_of(digest, same) + ")");
  }
}

void Checks::compare_replay() {
  auto before = digests();
  if (!before) return;
  // What moves to a node has begun with nothing before, or is planned anew after a restart.
  std::set<std::pair<uint64_t, uint64_t>> moving;  // shard and node
  auto note_moves = [&] {
    auto info = cluster_.insist<ClusterInfo>(Cluster::describe);
    if (!info.ok()) return run_.fail("looking at the cluster: " + info.status().to_string());
    for (const TaskInfo& task : info->tasks) moving.emplace(task.shard, task.to);
  };
  note_moves();
  size_t machine = cluster_.pick_member();
  cluster_.end(machine, run_.draw(2) == 0);
  cluster_.start(machine);
  if (!run_.ok() || !await_ready(run_, cluster_)) return;
  if (cluster_.several()) cluster_.run_for(500 * ms);
  auto after = digests();
  if (!after) return;
  note_moves();
  for (const auto& [where, digest] : *before) {
    if (!run_.ok()) return;
    auto same = after->find(where);
    if (same == after->end() || moving.count(where) > 0 || agree(same->second, digest)) continue;
    const bool alike = same->second.digest == digest.digest;
    run_.fail("shard " + std::to_string(where.first) + " on node " + std::to_string(where.second) +
              (alike ? " has other segments" : " differs") + " after a restart of machine " +
              std::to_string(machine + 1) + ": " + text_of(digest, alike) + " before, " +
              text_of(same->second, alike) + " after");
  }
}

}  // namespace jade::sim
