#include "actors/query.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "actors/errors.h"
#include "actors/gather.h"
#include "actors/token.h"
#include "index/embedder.h"
#include "index/filter.h"
#include "index/top_k.h"

namespace jade {
namespace {

Status check_range(const char* field, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(std::string(field) + " is " + std::to_string(value) + "; it must be " +
                          std::to_string(low) + " to " + std::to_string(high));
}

// All parameters of a search but its vector.
ShardSearch shard_search(const DatabaseSpec& spec, const SearchRequest& search) {
  ShardSearch out;
  out.dimension = spec.dimension;
  out.k = search.k;
  out.ef_search = search.ef_search.value_or(0);
  out.nprobe = search.nprobe.value_or(0);
  out.filter = search.filter;
  out.exact = search.exact;
  out.include_metadata = search.include_metadata;
  out.include_values = search.include_values;
  out.consistency = search.consistency;
  if (search.score_threshold) {
    out.has_threshold = true;
    out.distance_max = distance_from_score(spec.metric, *search.score_threshold);
  }
  return out;
}

bool same_parameters(const SearchRequest& a, const SearchRequest& b) {
  return a.k == b.k && a.ef_search == b.ef_search && a.nprobe == b.nprobe && a.filter == b.filter &&
         a.exact == b.exact && a.include_metadata == b.include_metadata &&
         a.include_values == b.include_values && a.consistency == b.consistency &&
         a.score_threshold == b.score_threshold && a.token == b.token && a.partial == b.partial;
}

void append_floats(std::string& out, const std::vector<float>& values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

std::vector<float> to_floats(const std::string& bytes) {
  std::vector<float> out(bytes.size() / sizeof(float));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
  return out;
}

Result<StoredVector> to_vector(ShardHit& row) {
  auto id = VectorId::from_key(row.id);
  if (!id.ok()) return id.status();
  return StoredVector{std::move(*id), to_floats(row.values), std::move(row.metadata)};
}

// The best k of what the shards found, ties by id.
Result<SearchReply> merge_hits(const DatabaseSpec& spec, uint32_t k,
                               std::vector<std::vector<ShardHit>*>& parts) {
  std::vector<ShardHit*> hits;
  for (auto* part : parts) {
    for (ShardHit& hit : *part) hits.push_back(&hit);
  }
  if (parts.size() > 1) {
    std::sort(hits.begin(), hits.end(), [](const ShardHit* a, const ShardHit* b) {
      return a->distance != b->distance ? a->distance < b->distance : a->id < b->id;
    });
  }
  if (hits.size() > k) hits.resize(k);
  SearchReply reply;
  reply.results.reserve(hits.size());
  for (ShardHit* hit : hits) {
    auto id = VectorId::from_key(hit->id);
    if (!id.ok()) return id.status();
    reply.results.push_back({std::move(*id), score_from_distance(spec.metric, hit->distance),
                             std::move(hit->metadata), to_floats(hit->values)});
  }
  return reply;
}

// A run of searches of equal parameters, as one question to every shard.
struct Group {
  size_t first = 0;
  size_t count = 0;
};

struct SearchPlan {
  std::vector<std::pair<replica_actor, ShardSearch>> calls;
  // The slots of the calls among groups × shards; a shard that is not reachable from
  // here is not asked.
  std::vector<size_t> slots;
  std::vector<Group> groups;
  std::vector<bool> partial;      // of each group
  std::vector<uint32_t> k;        // of each search
  std::vector<uint64_t> shards;   // Raft groups
  std::vector<Status> reachable;  // of each shard
};

Result<SearchPlan> plan(const Routes& routes, const DatabaseEntry& entry,
                        std::vector<SearchRequest>& searches, bool batch) {
  SearchPlan out;
  std::vector<Result<replica_actor>> handles;
  for (const ShardPlacement& placement : entry.shards) {
    handles.push_back(routes.shard(placement));
    out.shards.push_back(placement.group);
    out.reachable.push_back(handles.back().status());
  }
  for (size_t i = 0; i < searches.size(); ++i) {
    if (Status status = prepare_search(entry.spec, searches[i]); !status.ok()) {
      return batch ? status.with_context("searches[" + std::to_string(i) + "]") : status;
    }
    out.k.push_back(searches[i].k);
    if (i > 0 && same_parameters(searches[i - 1], searches[i])) {
      ++out.groups.back().count;
    } else {
      out.groups.push_back({i, 1});
      out.partial.push_back(searches[i].partial);
    }
  }
  for (const Group& group : out.groups) {
    const SearchRequest& first = searches[group.first];
    ShardSearch question = shard_search(entry.spec, first);
    for (size_t i = 0; i < group.count; ++i) {
      append_floats(question.queries, searches[group.first + i].vector);
    }
    auto token = decode_token(first.token);
    if (!token.ok()) return token.status();
    size_t g = static_cast<size_t>(&group - out.groups.data());
    for (size_t s = 0; s < handles.size(); ++s) {
      if (!handles[s].ok()) continue;
      question.route.group = out.shards[s];
      auto seen = token->find(question.route.group);
      question.applied_min = seen == token->end() ? 0 : seen->second;
      out.slots.push_back(g * handles.size() + s);
      out.calls.emplace_back(*handles[s], s + 1 < handles.size() ? question : std::move(question));
    }
  }
  return out;
}

bool is_absence(const Status& status) {
  return status.code() == Code::unavailable || status.code() == Code::deadline_exceeded;
}

// `answers`: groups × shards.
Result<std::vector<SearchReply>> merge_answers(const DatabaseSpec& spec, const SearchPlan& plan,
                                               std::vector<Result<ShardHits>>& answers) {
  std::vector<SearchReply> replies;
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    std::vector<ShardHits*> found;
    std::vector<uint64_t> missing;
    for (size_t s = 0; s < plan.shards.size(); ++s) {
      auto& answer = answers[g * plan.shards.size() + s];
      if (answer.ok()) {
        found.push_back(&*answer);
        continue;
      }
      if (!is_absence(answer.status())) return answer.status();
      missing.push_back(plan.shards[s]);
      if (plan.partial[g] && missing.size() < plan.shards.size()) continue;
      return answer.status().with_context("shard " + std::to_string(plan.shards[s]) +
                                          " of database \"" + spec.name + "\"");
    }
    for (size_t i = 0; i < plan.groups[g].count; ++i) {
      std::vector<std::vector<ShardHit>*> parts;
      for (ShardHits* hits : found) {
        if (i >= hits->queries.size()) return internal_error("a shard answered too few queries");
        parts.push_back(&hits->queries[i]);
      }
      auto merged = merge_hits(spec, plan.k[plan.groups[g].first + i], parts);
      if (!merged.ok()) return merged.status();
      merged->missing_shards = missing;
      replies.push_back(std::move(*merged));
    }
  }
  return replies;
}

// Asks and calls done(Result<std::vector<SearchReply>>).
template <class Done>
void run_searches(query_actor::stateful_pointer<query_state> self, const DatabaseEntry& entry,
                  SearchPlan planned, Done done) {
  auto calls = std::move(planned.calls);
  auto finish = [spec = entry.spec, planned = std::move(planned),
                 done](std::vector<Result<ShardHits>>& answers) mutable {
    std::vector<Result<ShardHits>> all;
    for (size_t i = 0; i < planned.groups.size() * planned.shards.size(); ++i) {
      const Status& reachable = planned.reachable[i % planned.shards.size()];
      all.emplace_back(reachable.ok() ? unavailable("no answer") : reachable);
    }
    for (size_t i = 0; i < answers.size(); ++i) all[planned.slots[i]] = std::move(answers[i]);
    done(merge_answers(spec, planned, all));
  };
  gather<ShardHits>(self, self->state.options.read_timeout, std::move(calls), std::move(finish));
}

// Shard infos of several databases at once.
struct Description {
  DatabaseInfos infos;
  std::vector<std::pair<size_t, size_t>> asked;  // database and shard of each call

  ShardInfo& shard(size_t call) { return infos[asked[call].first].placement[asked[call].second]; }
};

// What only the leaders know, of the shards that move; their silence changes nothing.
void describe_moves(query_actor::stateful_pointer<query_state> self,
                    std::shared_ptr<Description> description,
                    std::vector<std::pair<replica_actor, ShardDescribe>> calls,
                    std::function<void(DatabaseInfos)> done) {
  gather<ShardInfo>(self, std::chrono::seconds(2), std::move(calls),
                    [description, done](std::vector<Result<ShardInfo>>& answers) {
                      for (size_t i = 0; i < answers.size(); ++i) {
                        if (!answers[i].ok()) continue;
                        description->shard(i).replicas = std::move(answers[i]->replicas);
                        description->shard(i).leader = answers[i]->leader;
                      }
                      done(std::move(description->infos));
                    });
}

void describe(query_actor::stateful_pointer<query_state> self,
              const std::vector<const DatabaseEntry*>& entries,
              std::function<void(DatabaseInfos)> done) {
  const Routes& routes = self->state.routes;
  auto all = std::make_shared<Description>();
  auto moving = std::make_shared<Description>();
  std::vector<std::pair<replica_actor, ShardDescribe>> calls, move_calls;
  for (const DatabaseEntry* entry : entries) {
    DatabaseInfo info;
    info.spec = entry->spec;
    for (const ShardPlacement& placement : entry->shards) {
      ShardInfo shard;
      shard.shard = placement.group;
      shard.nodes = placement.nodes;
      if (auto handle = routes.shard(placement); handle.ok()) {
        std::pair where(all->infos.size(), info.placement.size());
        calls.emplace_back(*handle, ShardDescribe{{placement.group}});
        all->asked.push_back(where);
        if (!placement.joining.empty() || !placement.leaving.empty()) {
          move_calls.emplace_back(*handle, ShardDescribe{{placement.group}, true});
          moving->asked.push_back(where);
        }
      }
      info.placement.push_back(std::move(shard));
    }
    all->infos.push_back(std::move(info));
  }
  auto described = [=](std::vector<Result<ShardInfo>>& answers) {
    for (size_t i = 0; i < answers.size(); ++i) {
      if (!answers[i].ok()) continue;  // shown without a leader
      ShardInfo& shard = all->shard(i);
      std::vector<uint64_t> nodes = std::move(shard.nodes);
      shard = std::move(*answers[i]);
      shard.nodes = std::move(nodes);
    }
    for (DatabaseInfo& info : all->infos) {
      for (const ShardInfo& shard : info.placement) {
        info.vectors += shard.vectors;
        info.indexed_vectors += shard.indexed_vectors;
      }
      info.index_state = info.vectors == info.indexed_vectors ? "ready" : "indexing";
    }
    if (move_calls.empty()) return done(std::move(all->infos));
    moving->infos = std::move(all->infos);
    describe_moves(self, moving, move_calls, done);
  };
  gather<ShardInfo>(self, self->state.options.read_timeout, std::move(calls), described);
}

}  // namespace

Status prepare_search(const DatabaseSpec& spec, SearchRequest& search) {
  if (search.vector.empty() == search.text.empty()) {
    return invalid_argument("give either vector or text");
  }
  JADE_RETURN_IF_ERROR(check_range("k", search.k, 1, Limits::k_max));
  if (search.ef_search) {
    JADE_RETURN_IF_ERROR(check_range("ef_search", *search.ef_search, 1, 10000));
  }
  if (search.nprobe) JADE_RETURN_IF_ERROR(check_range("nprobe", *search.nprobe, 1, 65536));
  if (search.score_threshold && !std::isfinite(*search.score_threshold)) {
    return invalid_argument("score_threshold is not a finite number");
  }
  if (!search.filter.empty()) {
    auto filter = parse_filter(search.filter);
    if (!filter.ok()) return filter.status().with_context("filter");
  }
  if (auto token = decode_token(search.token); !token.ok()) return token.status();
  if (!search.text.empty()) {
    if (spec.embedder.empty()) {
      return invalid_argument("text is given, but database \"" + spec.name +
                              "\" has no embedder; give vector");
    }
    if (search.text.size() > Limits::text_bytes_max) {
      return Status(Code::too_large, "text has " + std::to_string(search.text.size()) +
                                         " bytes; at most " +
                                         std::to_string(Limits::text_bytes_max) + " are allowed");
    }
    auto embedder = find_embedder(spec.embedder, spec.dimension);
    if (!embedder) return internal_error("embedder \"" + spec.embedder + "\" is not available");
    search.vector.resize(spec.dimension);
    JADE_RETURN_IF_ERROR(embedder->embed(search.text, search.vector.data()).with_context("text"));
    search.text.clear();
    return {};
  }
  if (search.vector.size() != spec.dimension) {
    return invalid_argument("vector has " + std::to_string(search.vector.size()) +
                            " values; database \"" + spec.name + "\" has dimension " +
                            std::to_string(spec.dimension));
  }
  float norm = 0;
  for (size_t i = 0; i < search.vector.size(); ++i) {
    if (!std::isfinite(search.vector[i])) {
      return invalid_argument("vector[" + std::to_string(i) + "] is not a finite number");
    }
    norm += search.vector[i] * search.vector[i];
  }
  if (!std::isfinite(norm)) {
    return invalid_argument("vector is too large: its squared length overflows");
  }
  if (spec.metric == Metric::cosine && norm < std::numeric_limits<float>::min()) {
    return invalid_argument(
        "vector is a zero vector, which has no direction; metric \"cosine\" needs one");
  }
  return {};
}

query_actor::behavior_type query(query_actor::stateful_pointer<query_state> self,
                                 QueryOptions options) {
  self->state.options = options;
  return {
      [self](RoutesChanged& changed) { self->state.routes.change(changed); },
      [self](SearchRequest& search) -> caf::result<SearchReply> {
        const Routes& routes = self->state.routes;
        auto database = routes.database(search.database);
        if (!database.ok()) return to_error(database.status());
        std::vector<SearchRequest> searches;
        searches.push_back(std::move(search));
        auto planned = plan(routes, **database, searches, false);
        if (!planned.ok()) return to_error(planned.status());
        auto promise = self->make_response_promise<SearchReply>();
        run_searches(self, **database, std::move(*planned),
                     [promise](Result<std::vector<SearchReply>> replies) mutable {
                       if (!replies.ok()) {
                         promise.deliver(to_error(replies.status()));
                       } else {
                         promise.deliver(std::move(replies->front()));
                       }
                     });
        return promise;
      },
      [self](SearchBatchRequest& batch) -> caf::result<SearchBatchReply> {
        const Routes& routes = self->state.routes;
        auto database = routes.database(batch.database);
        if (!database.ok()) return to_error(database.status());
        if (batch.searches.empty() || batch.searches.size() > Limits::searches_per_batch_max) {
          return to_error(invalid_argument("searches has " + std::to_string(batch.searches.size()) +
                                           " elements; it must have 1 to " +
                                           std::to_string(Limits::searches_per_batch_max)));
        }
        auto planned = plan(routes, **database, batch.searches, true);
        if (!planned.ok()) return to_error(planned.status());
        auto promise = self->make_response_promise<SearchBatchReply>();
        run_searches(self, **database, std::move(*planned),
                     [promise](Result<std::vector<SearchReply>> replies) mutable {
                       if (!replies.ok()) {
                         promise.deliver(to_error(replies.status()));
                       } else {
                         promise.deliver(SearchBatchReply{std::move(*replies)});
                       }
                     });
        return promise;
      },
      [self](GetRequest& get) -> caf::result<StoredVector> {
        const Routes& routes = self->state.routes;
        auto database = routes.database(get.database);
        if (!database.ok()) return to_error(database.status());
        if (Status valid = get.id.validate(); !valid.ok()) return to_error(valid);
        std::string key = get.id.key();
        const ShardPlacement& placement = (*database)->shards[shard_of(key, **database)];
        auto shard = routes.shard(placement);
        if (!shard.ok()) return to_error(shard.status());
        auto promise = self->make_response_promise<StoredVector>();
        self->request(*shard, self->state.options.read_timeout,
                      ShardGet{{placement.group}, std::move(key)})
            .then(
                [promise, id = get.id, name = get.database](ShardVectors& found) mutable {
                  if (found.rows.empty()) {
                    promise.deliver(to_error(not_found(
                        "id " + id.to_string() + " does not exist in database \"" + name + "\"")));
                    return;
                  }
                  auto vector = to_vector(found.rows.front());
                  if (!vector.ok()) {
                    promise.deliver(to_error(vector.status()));
                  } else {
                    promise.deliver(std::move(*vector));
                  }
                },
                [promise](const caf::error& error) mutable { promise.deliver(error); });
        return promise;
      },
      [self](ListRequest& list) -> caf::result<ListReply> {
        const Routes& routes = self->state.routes;
        auto database = routes.database(list.database);
        if (!database.ok()) return to_error(database.status());
        Status valid = check_range("limit", list.limit, 1, Limits::page_limit_max);
        if (valid.ok() && list.after) valid = list.after->validate().with_context("after");
        if (!valid.ok()) return to_error(valid);
        auto shards = routes.all(**database);
        if (!shards.ok()) return to_error(shards.status());
        // One row more than asked for tells whether another page follows.
        ShardList question{{},
                           list.after ? list.after->key() : "",
                           list.limit + 1,
                           list.include_metadata,
                           list.include_values};
        std::vector<std::pair<replica_actor, ShardList>> calls;
        for (size_t s = 0; s < shards->size(); ++s) {
          question.route.group = (*database)->shards[s].group;
          calls.emplace_back((*shards)[s], question);
        }
        auto promise = self->make_response_promise<ListReply>();
        gather<ShardVectors>(
            self, self->state.options.read_timeout, std::move(calls),
            [promise, limit = list.limit](std::vector<Result<ShardVectors>>& answers) mutable {
              std::vector<ShardHit> rows;
              for (auto& answer : answers) {
                if (!answer.ok()) return (void)promise.deliver(to_error(answer.status()));
                std::move(answer->rows.begin(), answer->rows.end(), std::back_inserter(rows));
              }
              std::sort(rows.begin(), rows.end(),
                        [](const ShardHit& a, const ShardHit& b) { return a.id < b.id; });
              bool more = rows.size() > limit;
              if (more) rows.resize(limit);
              ListReply reply;
              for (ShardHit& row : rows) {
                auto vector = to_vector(row);
                if (!vector.ok()) return (void)promise.deliver(to_error(vector.status()));
                reply.vectors.push_back(std::move(*vector));
              }
              if (more) reply.next = reply.vectors.back().id;
              promise.deliver(std::move(reply));
            });
        return promise;
      },
      [self](ListDatabases) -> caf::result<DatabaseInfos> {
        if (Status known = self->state.routes.known(); !known.ok()) return to_error(known);
        std::vector<const DatabaseEntry*> entries;
        for (const auto& [name, entry] : self->state.routes.map->databases) {
          entries.push_back(&entry);
        }
        auto promise = self->make_response_promise<DatabaseInfos>();
        describe(self, entries,
                 [promise](DatabaseInfos infos) mutable { promise.deliver(std::move(infos)); });
        return promise;
      },
      [self](DescribeDatabase& what) -> caf::result<DatabaseInfo> {
        auto database = self->state.routes.database(what.name);
        if (!database.ok()) return to_error(database.status());
        auto promise = self->make_response_promise<DatabaseInfo>();
        describe(self, {*database}, [promise](DatabaseInfos infos) mutable {
          promise.deliver(std::move(infos.front()));
        });
        return promise;
      },
  };
}

}  // namespace jade
