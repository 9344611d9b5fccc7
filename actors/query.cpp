#include "actors/query.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "actors/answer_size.h"
#include "actors/deadline.h"
#include "actors/errors.h"
#include "actors/examples.h"
#include "actors/gather.h"
#include "actors/grouping.h"
#include "actors/named_vectors.h"
#include "actors/random.h"
#include "actors/shard_key.h"
#include "actors/token.h"
#include "index/embedder.h"
#include "index/filter.h"
#include "index/top_k.h"
#include "index/vector_router.h"

namespace jade {
namespace {

Status check_range(const char* field, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(std::string(field) + " is " + std::to_string(value) + "; it must be " +
                          std::to_string(low) + " to " + std::to_string(high));
}

// A search by a vector, and the stored vectors that must not be among the results, as it
// was made from them.
struct Question {
  SearchRequest search;
  std::vector<VectorId> excluded;
  // Prepared already, and its filter may be longer than that of a client.
  bool prepared = false;

  // How many hits are needed to have enough without those.
  uint32_t hits() const {
    return search.k + search.offset + static_cast<uint32_t>(excluded.size());
  }
};

// Of a SearchRequest or a RecallRequest.
template <class Request>
Status check_effort(const DatabaseSpec& spec, const Request& asked) {
  if (asked.ef_search) {
    JADE_RETURN_IF_ERROR(check_range("ef_search", *asked.ef_search, 1, 10000));
    JADE_RETURN_IF_ERROR(check_has_graphs("ef_search", spec.index.kind));
  }
  if (asked.nprobe) {
    JADE_RETURN_IF_ERROR(check_range("nprobe", *asked.nprobe, 1, 65536));
    JADE_RETURN_IF_ERROR(check_has_lists("nprobe", spec.index.kind));
  }
  if (!asked.min_recall) return {};
  if (asked.ef_search || asked.nprobe) {
    return invalid_argument(std::string("min_recall and ") +
                            (asked.ef_search ? "ef_search" : "nprobe") +
                            " are both given; each says how much effort to make, so give one");
  }
  return check_min_recall("min_recall", *asked.min_recall);
}

Status check_probes(const DatabaseSpec& spec, const std::optional<uint32_t>& probes) {
  if (!probes) return {};
  if (spec.sharding != Sharding::vector) {
    return invalid_argument("probes is given, but database \"" + spec.name +
                            "\" is not sharded by vector: all its shards are searched");
  }
  return check_range("probes", *probes, 1, Limits::shards_max);
}

Status check_recall(const DatabaseSpec& spec, const RecallRequest& recall) {
  JADE_RETURN_IF_ERROR(find_vector(spec, recall.vector_name).status());
  JADE_RETURN_IF_ERROR(check_probes(spec, recall.probes));
  JADE_RETURN_IF_ERROR(check_range("k", recall.k, 1, Limits::recall_k_max));
  JADE_RETURN_IF_ERROR(check_range("sample", recall.sample, 1, Limits::recall_sample_max));
  return check_effort(spec, recall);
}

// What a score that reaches the threshold may be. A vector's score with itself may be less than 1
// under cosine, by what is rounded.
float least_score(Metric metric, float threshold) {
  constexpr float cosine_rounding = 1e-6f;
  return metric == Metric::cosine ? threshold - cosine_rounding : threshold;
}

// All parameters of a search but its vector and its shard. `vector`: that it is for.
ShardSearch shard_search(const DatabaseSpec& spec, uint32_t vector, const Question& asked) {
  const SearchRequest& search = asked.search;
  const VectorSpec of = vectors_of(spec)[vector];
  ShardSearch out;
  out.dimension = of.dimension;
  out.vector = vector;
  out.k = asked.hits();
  out.ef_search = search.ef_search.value_or(0);
  out.nprobe = search.nprobe.value_or(0);
  out.min_recall = search.min_recall.value_or(0);
  out.filter = filter_of_key(spec, search.key, search.filter);
  out.exact = search.exact;
  out.include_metadata = search.include_metadata;
  out.include_values = search.include_values;
  out.consistency = search.consistency;
  out.explain = search.explain;
  // With shards by vector, whether others are to be asked depends on how many there are without it.
  if (search.score_threshold && spec.sharding != Sharding::vector) {
    out.has_threshold = true;
    out.distance_max =
        distance_from_score(of.metric, least_score(of.metric, *search.score_threshold));
  }
  return out;
}

bool same_parameters(const Question& one, const Question& other) {
  const SearchRequest &a = one.search, &b = other.search;
  return one.hits() == other.hits() && a.ef_search == b.ef_search && a.nprobe == b.nprobe &&
         a.min_recall == b.min_recall && a.probes == b.probes && a.filter == b.filter &&
         a.key == b.key && a.exact == b.exact && a.include_metadata == b.include_metadata &&
         a.include_values == b.include_values && a.consistency == b.consistency &&
         a.score_threshold == b.score_threshold && a.token == b.token && a.partial == b.partial &&
         a.explain == b.explain && a.vector_name == b.vector_name;
}

void append_floats(std::string& out, const std::vector<float>& values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

Result<StoredVector> to_vector(const RecordFormat& format, ShardHit& row) {
  auto id = id_of_row_key(row.id);
  if (!id.ok()) return id.status();
  StoredVector out{std::move(*id), {}, std::move(row.metadata)};
  JADE_RETURN_IF_ERROR(show_values(format, row.values, out.values, out.named));
  return out;
}

// The best of what the shards found, ties by id.
Result<SearchReply> merge_hits(const DatabaseSpec& spec, const RecordFormat& format, Metric metric,
                               const Question& asked, std::vector<std::vector<ShardHit>*>& parts) {
  std::vector<ShardHit*> hits;
  for (auto* part : parts) {
    for (ShardHit& hit : *part) hits.push_back(&hit);
  }
  if (parts.size() > 1) {
    std::sort(hits.begin(), hits.end(), [](const ShardHit* a, const ShardHit* b) {
      return a->distance != b->distance ? a->distance < b->distance : a->id < b->id;
    });
  }
  SearchReply reply;
  reply.results.reserve(std::min<size_t>(hits.size(), asked.search.k));
  size_t left_out = 0;
  // Where stale answers are allowed, an id may be in two shards.
  bool may_repeat = spec.sharding == Sharding::vector && parts.size() > 1;
  std::set<std::string_view> seen;
  for (ShardHit* hit : hits) {
    if (reply.results.size() == asked.search.k) break;
    if (may_repeat && !seen.insert(hit->id).second) continue;
    auto id = id_of_row_key(hit->id);
    if (!id.ok()) return id.status();
    bool excluded =
        std::find(asked.excluded.begin(), asked.excluded.end(), *id) != asked.excluded.end();
    if (excluded || left_out++ < asked.search.offset) continue;
    SearchHit& result = reply.results.emplace_back();
    result.id = std::move(*id);
    result.score = score_from_distance(metric, hit->distance);
    result.metadata = std::move(hit->metadata);
    JADE_RETURN_IF_ERROR(show_values(format, hit->values, result.values, result.named));
  }
  return reply;
}

// A run of searches of equal parameters, as one question to each shard that matters.
struct Group {
  size_t first = 0;
  size_t count = 0;
  uint32_t vector = 0;  // that they are for
};

// One of those shards.
struct Part {
  size_t group = 0;
  uint64_t shard = 0;             // Raft group
  std::vector<uint32_t> queries;  // of the group that it is asked, in order
  Status reachable;               // else it is not asked
};

struct Call {
  replica_actor replica;
  ShardSearch question;
  uint64_t other = 0;  // another node that may answer, should this replica be slow; 0: none
};

struct SearchPlan {
  DatabaseSpec spec;
  uint64_t router = 0;  // by which shards were chosen; 0: all are asked
  std::vector<Group> groups;
  std::vector<Part> parts;  // by group
  std::vector<Call> calls;  // of the reachable ones
};

// Of a search that may be answered without a shard: it waits a second for somebody who has it.
constexpr uint8_t partial_waits = Route::waits_max - 10;

// Whether it need not be the leader who answers.
bool any_may_answer(const ShardSearch& search) {
  return search.consistency == Consistency::eventual ||
         (search.consistency == Consistency::session && search.applied_min > 0);
}

// Another replica than the one that is asked first; 0: there is none. `turn`: so that
// others take turns.
uint64_t second_choice(const Routes& routes, const ShardPlacement& placement, size_t turn) {
  std::vector<uint64_t> others = others_of(placement, routes.node);
  for (uint64_t node : placement.joining) std::erase(others, node);
  bool here = routes.shards->count(placement.group) > 0;
  // The peer asks the first that it can reach.
  if (!here && !others.empty()) others.erase(others.begin());
  return others.empty() ? 0 : others[turn % others.size()];
}

// Which of a group's searches each shard is asked, by position of the shard.
std::vector<std::vector<uint32_t>> choose_shards(const DatabaseEntry& entry,
                                                 const std::vector<Question>& searches,
                                                 const Group& group) {
  std::vector<std::vector<uint32_t>> out(entry.shards.size());
  const SearchRequest& first = searches[group.first].search;
  const RouterRecord* router = entry.router_of_searches();
  uint32_t probes = std::min(entry.spec.shards, first.probes.value_or(entry.spec.probes));
  if (probes == 0) probes = default_probes(entry.spec.shards);
  for (uint32_t i = 0; i < group.count; ++i) {
    if (first.key) {
      // All vectors of a key are in the shard of any of them.
      out[shard_of(row_key_prefix(*first.key), entry)].push_back(i);
    } else if (router != nullptr && !first.exact) {
      VectorRouter cells(entry.spec.metric, entry.spec.dimension, router->centres);
      const auto& vector = searches[group.first + i].search.vector;
      for (uint32_t shard : cells.parts_for(vector.data(), probes)) out[shard].push_back(i);
    } else {
      for (auto& asked : out) asked.push_back(i);
    }
  }
  return out;
}

// `required`: by Raft group, entries that its answer must hold. `lost`: groups that did not
// answer just now, and are not asked again.
Result<SearchPlan> plan(const Routes& routes, const DatabaseEntry& entry,
                        std::vector<Question>& searches, bool batch, size_t turn,
                        const AppliedIndexes& required, const std::map<uint64_t, Status>& lost) {
  SearchPlan out;
  out.spec = entry.spec;
  const RouterRecord* router = entry.router_of_searches();
  out.router = router == nullptr ? 0 : router->version;
  for (size_t i = 0; i < searches.size(); ++i) {
    Status status;
    if (!searches[i].prepared) status = prepare_search(entry.spec, searches[i].search);
    if (!status.ok()) {
      return batch ? status.with_context("searches[" + std::to_string(i) + "]") : status;
    }
    if (i > 0 && same_parameters(searches[i - 1], searches[i])) {
      ++out.groups.back().count;
    } else {
      out.groups.push_back({i, 1, *find_vector(entry.spec, searches[i].search.vector_name)});
    }
  }
  for (size_t g = 0; g < out.groups.size(); ++g) {
    const Group& group = out.groups[g];
    const ShardSearch question = shard_search(entry.spec, group.vector, searches[group.first]);
    auto token = decode_token(searches[group.first].search.token);
    if (!token.ok()) return token.status();
    auto asked = choose_shards(entry, searches, group);
    for (size_t s = 0; s < asked.size(); ++s) {
      if (asked[s].empty()) continue;
      const ShardPlacement& placement = entry.shards[s];
      auto handle = routes.shard(placement);
      if (auto known = lost.find(placement.group); known != lost.end()) handle = known->second;
      out.parts.push_back({g, placement.group, std::move(asked[s]), handle.status()});
      if (!handle.ok()) continue;
      ShardSearch own = question;
      if (searches[group.first].search.partial) own.route.waits = partial_waits;
      for (uint32_t i : out.parts.back().queries) {
        append_floats(own.queries, searches[group.first + i].search.vector);
      }
      own.route.group = placement.group;
      own.last_child = placement.last_child;
      own.router = out.router;
      // What must be seen is, whatever else may be missing: any replica that has it may answer.
      bool promised = token->count(placement.group) > 0;
      if (promised && own.consistency == Consistency::eventual) {
        own.consistency = Consistency::session;
      }
      for (const AppliedIndexes* indexes : {&std::as_const(*token), &required}) {
        auto seen = indexes->find(placement.group);
        if (seen != indexes->end()) own.applied_min = std::max(own.applied_min, seen->second);
      }
      uint64_t other = any_may_answer(own) ? second_choice(routes, placement, turn) : 0;
      out.calls.push_back({*handle, std::move(own), other});
    }
  }
  return out;
}

bool is_absence(const Status& status) {
  return status.code() == Code::unavailable || status.code() == Code::deadline_exceeded;
}

// "shard 3", "shards 3, 5 and 9".
std::string title_of(const std::vector<uint64_t>& groups) {
  std::string out = groups.size() == 1 ? "shard " : "shards ";
  for (size_t i = 0; i < groups.size(); ++i) {
    if (i > 0) out += i + 1 == groups.size() ? " and " : ", ";
    out += std::to_string(groups[i]);
  }
  return out;
}

// `answers`: of the calls. `may_widen`: whether there is time to ask more shards. `lost` gets
// which groups did not answer, and why.
Result<std::vector<SearchReply>> merge_answers(const SearchPlan& plan,
                                               const std::vector<Question>& searches,
                                               std::vector<Result<ShardHits>>& answers,
                                               bool may_widen, std::map<uint64_t, Status>& lost) {
  struct Found {
    std::vector<std::vector<std::vector<ShardHit>*>> hits;    // by search
    std::vector<std::vector<ShardExplanation>> explanations;  // by search
    uint32_t answers = 0;
    std::vector<uint32_t> asked;  // by search, how many shards
    std::vector<uint64_t> missing;
    Status failure;
  };
  std::vector<Found> found(plan.groups.size());
  size_t call = 0;
  for (const Part& part : plan.parts) {
    Found& of = found[part.group];
    of.hits.resize(plan.groups[part.group].count);
    of.explanations.resize(plan.groups[part.group].count);
    of.asked.resize(plan.groups[part.group].count);
    for (uint32_t i : part.queries) ++of.asked[i];
    Status status = part.reachable;
    if (status.ok()) {
      auto& answer = answers[call++];
      status = given_up(answer.status());
      if (answer.ok()) {
        if (answer->queries.size() != part.queries.size()) {
          return internal_error("a shard answered another number of queries");
        }
        bool explained = searches[plan.groups[part.group].first].search.explain;
        if (answer->explanations.size() != (explained ? part.queries.size() : 0)) {
          return internal_error("a shard explained another number of queries");
        }
        ++of.answers;
        for (size_t i = 0; i < part.queries.size(); ++i) {
          of.hits[part.queries[i]].push_back(&answer->queries[i]);
        }
        for (size_t i = 0; i < answer->explanations.size(); ++i) {
          of.explanations[part.queries[i]].push_back(std::move(answer->explanations[i]));
        }
      }
    }
    if (status.ok()) continue;
    if (!is_absence(status)) return status;
    of.missing.push_back(part.shard);
    lost.emplace(part.shard, status);
    of.failure =
        status.with_context(title_of(of.missing) + " of database \"" + plan.spec.name + "\"");
  }
  std::vector<SearchReply> replies;
  const RecordFormat format = record_format(plan.spec);
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    const Group& group = plan.groups[g];
    const auto& asked = found[g].asked;
    // Where others were not asked yet, they may have something.
    bool others = may_widen && plan.spec.sharding == Sharding::vector &&
                  *std::min_element(asked.begin(), asked.end()) < plan.spec.shards;
    bool enough = searches[group.first].search.partial && (found[g].answers > 0 || others);
    if (!found[g].missing.empty() && !enough) return found[g].failure;
    for (size_t i = 0; i < group.count; ++i) {
      auto merged = merge_hits(plan.spec, format, format.format(group.vector).metric(),
                               searches[group.first + i], found[g].hits[i]);
      if (!merged.ok()) return merged.status();
      merged->explained = searches[group.first].search.explain;
      merged->explanation = std::move(found[g].explanations[i]);
      merged->missing_shards = found[g].missing;
      if (plan.spec.sharding == Sharding::vector) {
        merged->shards_searched = found[g].asked[i];
        merged->shards = plan.spec.shards;
      }
      replies.push_back(std::move(*merged));
    }
  }
  return replies;
}

// Leaves out what is not as good as was asked for.
void keep_within(std::optional<float> score_threshold, Metric metric,
                 std::vector<SearchHit>& results) {
  if (!score_threshold) return;
  const float limit = least_score(metric, *score_threshold);
  auto first = std::find_if(results.begin(), results.end(), [&](const SearchHit& hit) {
    return metric == Metric::l2 ? hit.score > limit : hit.score < limit;
  });
  results.erase(first, results.end());
}

// Whether searches have found too little in the shards that they asked; those are to ask
// all of them.
bool widen(std::vector<Question>& searches, const std::vector<SearchReply>& replies) {
  bool widened = false;
  for (size_t i = 0; i < searches.size(); ++i) {
    SearchRequest& search = searches[i].search;
    const SearchReply& reply = replies[i];
    bool enough = reply.results.size() >= search.k;
    if (enough || reply.shards_searched == reply.shards) continue;
    search.probes = reply.shards;
    widened = true;
  }
  return widened;
}

using query_pointer = query_actor::stateful_pointer<query_state>;

// Whether to ask all over again, by the map of then.
template <class Reply>
bool is_to_be_repeated(query_pointer self, const std::vector<Result<Reply>>& answers,
                       uint32_t replicas, uint64_t retry_until_ms) {
  return now_ms(self) < retry_until_ms &&
         std::any_of(answers.begin(), answers.end(),
                     [&](const auto& answer) { return may_pass(answer.status(), replicas); });
}

// Of one request, by the actor clock.
struct Time {
  uint64_t deadline_ms = 0;     // then it is given up
  uint64_t retry_until_ms = 0;  // so long it is asked anew
};

Time time_of(query_pointer self, std::optional<uint32_t> timeout_ms = std::nullopt) {
  const QueryOptions& options = self->state.options;
  uint64_t now = now_ms(self);
  uint64_t deadline = now + timeout_ms.value_or(static_cast<uint32_t>(to_ms(options.read_timeout)));
  return {deadline, std::min(deadline, now + to_ms(options.retry_for))};
}

Status check_timeout(query_pointer self, std::optional<uint32_t> timeout_ms) {
  if (!timeout_ms) return {};
  return check_range("timeout_ms", *timeout_ms, 1, to_ms(self->state.options.read_timeout));
}

Status check_timeouts(query_pointer self, const SearchBatchRequest& batch) {
  for (size_t i = 0; i < batch.searches.size(); ++i) {
    if (!batch.searches[i].timeout_ms) continue;
    return invalid_argument("searches[" + std::to_string(i) +
                            "].timeout_ms is given; a batch has one for all its searches");
  }
  return check_timeout(self, batch.timeout_ms);
}

// A row is in two shards for as long as a few writes take.
constexpr auto moving_interval = std::chrono::milliseconds(5);

// How many times slower than usual a replica is when another is asked as well.
constexpr double hedge_factor = 3;

// A question that two replicas may be asked.
struct Asking {
  size_t open = 0;                              // without an answer
  std::function<void(Result<ShardHits>)> done;  // null once it has been called

  void answered(Result<ShardHits> answer) {
    --open;
    // A failure is the answer only if no other can come.
    if (!done || (!answer.ok() && open > 0)) return;
    std::exchange(done, nullptr)(std::move(answer));
  }
};

void ask(query_pointer self, const replica_actor& replica, ShardSearch question,
         std::shared_ptr<Asking> asking) {
  ++asking->open;
  uint64_t deadline_ms = question.route.deadline_ms;
  auto ask_of = [&](const auto& whom, auto what) {
    ask_until<ShardHits>(
        self, self->state.timers, whom, deadline_ms, std::move(what),
        [asking](ShardHits& hits) { asking->answered(std::move(hits)); },
        [asking](const caf::error& error) { asking->answered(to_read_status(error)); });
  };
  const QueryOptions& options = self->state.options;
  const bool elsewhere = replica == self->state.routes.peer;
  if (options.asks_others) options.asks_others->store(elsewhere, std::memory_order_relaxed);
  if (options.fronts && !elsewhere) {
    if (auto task = options.fronts->admit(question, now_ms(self))) {
      size_t turn = self->state.next_searcher++;
      return ask_of(options.searchers[turn % options.searchers.size()], std::move(*task));
    }
  }
  ask_of(replica, std::move(question));
}

// One question to one shard, asked of a second replica where the first is slow: Dean and
// Barroso, "The tail at scale", 2013.
void ask_hedged(query_pointer self, Call call, std::function<void(Result<ShardHits>)> done) {
  auto asking = std::make_shared<Asking>();
  asking->done = std::move(done);
  if (call.other == 0) return ask(self, call.replica, std::move(call.question), asking);
  auto usual =
      std::chrono::milliseconds(static_cast<int64_t>(hedge_factor * self->state.typical_ms));
  caf::timespan delay = std::max<caf::timespan>(self->state.options.hedge_after_min, usual);
  ShardSearch again = call.question;
  again.route.node = call.other;
  Timers::Key hedge =
      self->state.timers.add(now_ms(self) + to_ms(delay), [self, asking, again = std::move(again)] {
        if (asking->done && self->state.routes.peer) {
          ask(self, self->state.routes.peer, again, asking);
        }
      });
  asking->done = [self, hedge, asked_ms = now_ms(self),
                  done = std::move(asking->done)](Result<ShardHits> answer) {
    self->state.timers.cancel(hedge);
    auto took = static_cast<double>(now_ms(self) - asked_ms);
    double& typical = self->state.typical_ms;
    if (answer.ok()) typical += (took - typical) / 16;
    done(std::move(answer));
  };
  ask(self, call.replica, std::move(call.question), asking);
}

// Answers with the parts that they answer, but for those that may be stale.
std::vector<std::pair<const Part*, const ShardHits*>> fresh_answers(
    const SearchPlan& plan, const std::vector<Question>& searches,
    const std::vector<Result<ShardHits>>& answers) {
  std::vector<std::pair<const Part*, const ShardHits*>> out;
  size_t call = 0;
  for (const Part& part : plan.parts) {
    if (!part.reachable.ok()) continue;
    const auto& answer = answers[call++];
    const SearchRequest& search = searches[plan.groups[part.group].first].search;
    if (answer.ok() && search.consistency != Consistency::eventual)
      out.emplace_back(&part, &*answer);
  }
  return out;
}

// Whether the answers are of moments that go together. With sharding by vector a row may
// have left one shard after it was asked, or before, and have come to another that was asked
// at another time: it would be found twice or, worse, not at all. `required` gets what to ask
// for instead.
bool belong_together(const SearchPlan& plan, const std::vector<Question>& searches,
                     const std::vector<Result<ShardHits>>& answers, AppliedIndexes& required) {
  if (plan.spec.sharding != Sharding::vector) return true;
  auto fresh = fresh_answers(plan, searches, answers);
  AppliedIndexes applied;  // the least of each shard
  for (auto [part, hits] : fresh) {
    auto [least, first] = applied.emplace(part->shard, hits->applied_index);
    if (!first) least->second = std::min(least->second, hits->applied_index);
  }
  bool together = true;
  std::set<std::tuple<size_t, uint32_t, std::string_view>> ids;
  for (auto [part, hits] : fresh) {
    for (auto [group, index] : hits->after) {
      auto at = applied.find(group);
      if (at == applied.end() || at->second >= index) continue;
      together = false;
      required[group] = std::max(required[group], index);
    }
    for (size_t i = 0; i < hits->queries.size() && i < part->queries.size(); ++i) {
      for (const ShardHit& hit : hits->queries[i]) {
        together = ids.emplace(part->group, part->queries[i], hit.id).second && together;
      }
    }
  }
  return together;
}

// Searches by vectors.
struct Searching {
  std::string database;
  std::vector<Question> searches;
  bool batch = false;
  Time time;
  AppliedIndexes required;          // found out by asking
  std::map<uint64_t, Status> lost;  // the same: which groups do not answer, and why
  uint32_t round = 0;               // more than one where too few shards were asked at first
  std::vector<std::vector<ShardExplanation>> explanations;  // by search, of all rounds
  std::function<void(Result<std::vector<SearchReply>>)> done;

  // Of the round that `replies` are of.
  void take_explanations(std::vector<SearchReply>& replies) {
    explanations.resize(replies.size());
    for (size_t i = 0; i < replies.size(); ++i) {
      for (ShardExplanation& shard : replies[i].explanation) {
        shard.round = round;
        explanations[i].push_back(std::move(shard));
      }
    }
    ++round;
  }
};

void run_searches(query_pointer self, std::shared_ptr<Searching> work) {
  const Routes& routes = self->state.routes;
  auto database = routes.database(work->database);
  if (!database.ok()) return work->done(database.status());
  auto planned = plan(routes, **database, work->searches, work->batch, self->state.turn++,
                      work->required, work->lost);
  if (!planned.ok()) return work->done(planned.status());
  auto calls = std::move(planned->calls);
  auto arrived = collect<ShardHits>(calls.size(), [self, work, plan = std::move(*planned)](
                                                      std::vector<Result<ShardHits>>& answers) {
    auto again = [self, work] { run_searches(self, work); };
    if (is_to_be_repeated(self, answers, plan.spec.replicas, work->time.retry_until_ms)) {
      return run_later(self, retry_interval, again);
    }
    if (belong_together(plan, work->searches, answers, work->required)) {
      const bool may_widen = now_ms(self) < work->time.deadline_ms;
      auto replies = merge_answers(plan, work->searches, answers, may_widen, work->lost);
      if (!replies.ok()) return work->done(replies.status());
      work->take_explanations(*replies);
      if (may_widen && widen(work->searches, *replies)) return again();
      for (size_t i = 0; i < replies->size(); ++i) {
        SearchReply& reply = (*replies)[i];
        if (plan.spec.sharding == Sharding::vector) {
          keep_within(work->searches[i].search.score_threshold, plan.spec.metric, reply.results);
        }
        reply.explanation = std::move(work->explanations[i]);
      }
      return work->done(std::move(replies));
    }
    if (now_ms(self) >= work->time.retry_until_ms) {
      return work->done(unavailable("vectors are moving between shards; try again"));
    }
    run_later(self, moving_interval, again);
  });
  auto size = std::make_shared<AnswerSize>(Limits::answers_bytes_max);
  for (size_t i = 0; i < calls.size(); ++i) {
    calls[i].question.route.deadline_ms = work->time.deadline_ms;
    ask_hedged(self, std::move(calls[i]), [arrived, size, i](Result<ShardHits> answer) {
      if (answer.ok()) {
        if (Status fits = size->add(*answer); !fits.ok()) answer = fits;
      }
      arrived(i, std::move(answer));
    });
  }
}

// How new the answer of a shard must be, by what a read asks for.
template <class Read, class Question>
void ask_for_state(const Read& read, const AppliedIndexes& token, Question& question) {
  question.consistency = read.consistency;
  auto seen = token.find(question.route.group);
  question.applied_min = seen == token.end() ? 0 : seen->second;
  // As with searches.
  const bool promised = seen != token.end();
  if (promised && read.consistency == Consistency::eventual) {
    question.consistency = Consistency::session;
  }
}

using GetDone = std::function<void(Result<StoredVector>)>;

void run_get(query_pointer self, std::shared_ptr<const GetRequest> get, Time time, GetDone done) {
  const Routes& routes = self->state.routes;
  auto database = routes.database(get->database);
  if (!database.ok()) return done(database.status());
  const DatabaseEntry& entry = **database;
  if (Status valid = get->id.validate(); !valid.ok()) return done(valid);
  if (Status valid = check_key(entry.spec, get->key, true); !valid.ok()) return done(valid);
  auto token = decode_token(get->token);
  if (!token.ok()) return done(token.status());
  std::string key = row_key(get->key, get->id);
  const ShardPlacement& placement = entry.shards[shard_of(key, entry)];
  auto shard = routes.shard(placement);
  if (!shard.ok()) return done(shard.status());
  auto found = [get, done, format = record_format(entry.spec)](ShardVectors& rows) {
    if (rows.rows.empty()) {
      return done(not_found("id " + get->id.to_string() + " does not exist in database \"" +
                            get->database + "\""));
    }
    done(to_vector(format, rows.rows.front()));
  };
  auto failed = [=, replicas = entry.spec.replicas](const caf::error& error) {
    Status status = to_read_status(error);
    if (!may_pass(status, replicas) || now_ms(self) >= time.retry_until_ms) {
      return done(given_up(status));
    }
    run_later(self, retry_interval, [=] { run_get(self, get, time, done); });
  };
  ShardGet question;
  question.route.group = placement.group;
  question.id = key;
  ask_for_state(*get, *token, question);
  question.route.deadline_ms = time.deadline_ms;
  ask_until<ShardVectors>(self, self->state.timers, *shard, time.deadline_ms, question, found,
                          failed);
}

// Searches as they are asked.
struct SearchWork {
  std::string database;
  std::vector<SearchRequest> searches;
  bool batch = false;
  Time time;
  std::function<void(Result<std::vector<SearchReply>>)> done;

  Status at(size_t search, const Status& status) const {
    return batch ? status.with_context("searches[" + std::to_string(search) + "]") : status;
  }
};

void run_vectors(query_pointer self, const std::shared_ptr<SearchWork>& request,
                 std::vector<Question> searches,
                 std::function<void(Result<std::vector<SearchReply>>)> done) {
  auto work = std::make_shared<Searching>();
  work->database = request->database;
  work->searches = std::move(searches);
  work->batch = request->batch;
  work->time = request->time;
  work->done = std::move(done);
  run_searches(self, std::move(work));
}

// The rounds of one search for groups.
void run_groups(query_pointer self, const std::shared_ptr<SearchWork>& request, size_t position,
                std::shared_ptr<Grouping> groups, std::shared_ptr<const Question> asked,
                std::function<void(Result<SearchReply>)> done) {
  std::vector<Question> round;
  for (SearchRequest& search : groups->next()) {
    round.push_back({std::move(search), asked->excluded, true});
  }
  if (round.empty()) return done(groups->finish());
  run_vectors(self, request, std::move(round), [=](Result<std::vector<SearchReply>> replies) {
    if (replies.status().code() == Code::too_large && groups->narrow()) {
      return run_groups(self, request, position, groups, asked, done);
    }
    if (!replies.ok()) return done(replies.status());
    Status taken = groups->take(std::move(*replies));
    if (!taken.ok()) return done(request->at(position, taken));
    run_groups(self, request, position, groups, asked, done);
  });
}

// Searches that groups are asked of go their own ways; the others are searched at once.
void run_questions(query_pointer self, std::shared_ptr<SearchWork> request,
                   const DatabaseSpec& spec, std::vector<Question> questions) {
  std::vector<Question> plain;
  std::vector<size_t> places;
  std::vector<size_t> grouped;
  for (size_t i = 0; i < questions.size(); ++i) {
    if (questions[i].search.group_by.empty()) {
      places.push_back(i);
    } else {
      grouped.push_back(i);
    }
  }
  if (grouped.empty()) return run_vectors(self, request, std::move(questions), request->done);
  auto replies = std::make_shared<std::vector<SearchReply>>(questions.size());
  auto arrived = collect<bool>(grouped.size() + (places.empty() ? 0 : 1),
                               [request, replies](std::vector<Result<bool>>& parts) {
                                 for (const auto& part : parts) {
                                   if (!part.ok()) return request->done(part.status());
                                 }
                                 request->done(std::move(*replies));
                               });
  for (size_t g = 0; g < grouped.size(); ++g) {
    auto asked = std::make_shared<const Question>(std::move(questions[grouped[g]]));
    Metric metric = vectors_of(spec)[*find_vector(spec, asked->search.vector_name)].metric;
    run_groups(self, request, grouped[g], std::make_shared<Grouping>(asked->search, spec, metric),
               asked, [=, place = grouped[g]](Result<SearchReply> reply) {
                 if (!reply.ok()) return arrived(g, reply.status());
                 (*replies)[place] = std::move(*reply);
                 arrived(g, true);
               });
  }
  if (places.empty()) return;
  for (size_t place : places) plain.push_back(std::move(questions[place]));
  run_vectors(self, request, std::move(plain),
              [=, part = grouped.size()](Result<std::vector<SearchReply>> found) {
                if (!found.ok()) return arrived(part, found.status());
                for (size_t i = 0; i < places.size(); ++i) {
                  (*replies)[places[i]] = std::move((*found)[i]);
                }
                arrived(part, true);
              });
}

// `stored`: the vectors that the examples name.
void run_examples(query_pointer self, const std::shared_ptr<SearchWork>& request,
                  std::vector<Result<StoredVector>>& stored) {
  auto database = self->state.routes.database(request->database);
  if (!database.ok()) return request->done(database.status());
  const DatabaseSpec& spec = (*database)->spec;
  std::vector<Question> questions;
  size_t next = 0;
  for (size_t i = 0; i < request->searches.size(); ++i) {
    Question question{request->searches[i], ids_of_examples(request->searches[i])};
    auto position = find_vector(spec, question.search.vector_name);
    if (!position.ok()) return request->done(request->at(i, position.status()));
    const VectorSpec vector = vectors_of(spec)[*position];
    std::vector<std::vector<float>> values;
    for (size_t n = 0; n < question.excluded.size(); ++n) {
      auto& found = stored[next++];
      if (!found.ok()) return request->done(request->at(i, found.status()));
      auto own = values_of(spec, vector, *found);
      if (!own.ok()) return request->done(request->at(i, own.status()));
      values.push_back(std::move(*own));
    }
    if (has_examples(question.search)) {
      Status combined = combine_examples(spec, question.search, values);
      if (!combined.ok()) return request->done(request->at(i, combined));
    }
    // Here, as it is not known later which of the batch a round for groups belongs to.
    Status prepared = prepare_search(spec, question.search);
    if (!prepared.ok()) return request->done(request->at(i, prepared));
    questions.push_back(std::move(question));
  }
  run_questions(self, request, spec, std::move(questions));
}

void run_asked(query_pointer self, std::shared_ptr<SearchWork> request) {
  bool simple =
      std::none_of(request->searches.begin(), request->searches.end(),
                   [](const SearchRequest& s) { return has_examples(s) || !s.group_by.empty(); });
  if (simple) {
    std::vector<Question> questions;
    for (SearchRequest& search : request->searches)
      questions.push_back({std::move(search), {}, false});
    return run_vectors(self, request, std::move(questions), request->done);
  }
  auto database = self->state.routes.database(request->database);
  if (!database.ok()) return request->done(database.status());
  std::vector<std::shared_ptr<const GetRequest>> gets;
  for (size_t i = 0; i < request->searches.size(); ++i) {
    const SearchRequest& search = request->searches[i];
    Status valid = check_question((*database)->spec, search);
    if (!valid.ok()) return request->done(request->at(i, valid));
    for (VectorId& id : ids_of_examples(search)) {
      gets.push_back(std::make_shared<const GetRequest>(GetRequest{
          request->database, std::move(id), search.key, search.consistency, search.token}));
    }
  }
  auto arrived = collect<StoredVector>(gets.size(),
                                       [self, request](std::vector<Result<StoredVector>>& stored) {
                                         run_examples(self, request, stored);
                                       });
  for (size_t i = 0; i < gets.size(); ++i) {
    run_get(self, gets[i], request->time,
            [arrived, i](Result<StoredVector> vector) { arrived(i, std::move(vector)); });
  }
}

// The first rows of all shards, in the order of their ids.
Result<ListReply> merge_pages(const RecordFormat& format,
                              std::vector<Result<ShardVectors>>& answers, uint32_t limit) {
  std::vector<ShardHit> rows;
  for (auto& answer : answers) {
    if (!answer.ok()) return given_up(answer.status());
    std::move(answer->rows.begin(), answer->rows.end(), std::back_inserter(rows));
  }
  std::sort(rows.begin(), rows.end(),
            [](const ShardHit& a, const ShardHit& b) { return a.id < b.id; });
  bool more = rows.size() > limit;
  if (more) rows.resize(limit);
  ListReply reply;
  for (ShardHit& row : rows) {
    auto vector = to_vector(format, row);
    if (!vector.ok()) return vector.status();
    reply.vectors.push_back(std::move(*vector));
  }
  if (more) reply.next = reply.vectors.back().id;
  return reply;
}

void run_list(query_pointer self, std::shared_ptr<const ListRequest> list, Time time,
              caf::typed_response_promise<ListReply> promise) {
  auto fail = [promise](const Status& status) mutable { promise.deliver(to_error(status)); };
  const Routes& routes = self->state.routes;
  auto database = routes.database(list->database);
  if (!database.ok()) return fail(database.status());
  const DatabaseEntry& entry = **database;
  Status valid = check_range("limit", list->limit, 1, Limits::page_limit_max);
  if (valid.ok() && list->after) valid = list->after->validate().with_context("after");
  if (valid.ok()) valid = check_key(entry.spec, list->key, true);
  if (!valid.ok()) return fail(valid);
  auto token = decode_token(list->token);
  if (!token.ok()) return fail(token.status());
  // One row more than asked for tells whether another page follows.
  ShardList question;
  question.limit = list->limit + 1;
  question.include_metadata = list->include_metadata;
  question.include_values = list->include_values;
  if (list->after) question.after = row_key(list->key, *list->after);
  std::string prefix = list->key ? row_key_prefix(*list->key) : "";
  if (!list->after) question.after = prefix;
  question.prefix = prefix;
  std::vector<std::pair<replica_actor, ShardList>> calls;
  for (size_t s = 0; s < entry.shards.size(); ++s) {
    if (list->key && s != shard_of(prefix, entry)) continue;
    auto shard = routes.shard(entry.shards[s]);
    if (!shard.ok()) return fail(shard.status());
    question.route.group = entry.shards[s].group;
    question.last_child = entry.shards[s].last_child;
    ask_for_state(*list, *token, question);
    calls.emplace_back(*shard, question);
  }
  gather<ShardVectors>(
      self, time.deadline_ms, std::move(calls),
      [=, format = record_format(entry.spec),
       replicas = entry.spec.replicas](std::vector<Result<ShardVectors>>& answers) mutable {
        if (is_to_be_repeated(self, answers, replicas, time.retry_until_ms)) {
          return run_later(self, retry_interval, [=] { run_list(self, list, time, promise); });
        }
        auto page = merge_pages(format, answers, list->limit);
        if (!page.ok()) return fail(page.status());
        promise.deliver(std::move(*page));
      });
}

// Recall by whole searches, where what is not found may be in a shard that is not asked.
struct RecallWork {
  std::string database;
  RecallRequest recall;
  Time time;
  std::vector<StoredVector> sample;
  std::vector<SearchReply> exact;
  std::function<void(Result<RecallReply>)> done;
};

void search_sample(query_pointer self, const std::shared_ptr<RecallWork>& work, bool exact,
                   std::function<void(std::vector<SearchReply>)> found) {
  auto searching = std::make_shared<Searching>();
  searching->database = work->database;
  searching->time = work->time;
  for (const StoredVector& vector : work->sample) {
    Question question{{}, {vector.id}};
    question.search.vector = vector.values;
    question.search.k = work->recall.k;
    question.search.exact = exact;
    question.search.include_metadata = false;
    if (!exact) {
      question.search.explain = true;
      question.search.ef_search = work->recall.ef_search;
      question.search.nprobe = work->recall.nprobe;
      question.search.min_recall = work->recall.min_recall;
      question.search.probes = work->recall.probes;
    }
    searching->searches.push_back(std::move(question));
  }
  searching->done = [work, found](Result<std::vector<SearchReply>> replies) {
    if (!replies.ok()) return work->done(replies.status());
    found(std::move(*replies));
  };
  run_searches(self, std::move(searching));
}

bool is_calibrated(const SearchReply& reply) {
  for (const ShardExplanation& shard : reply.explanation) {
    for (const SegmentExplanation& segment : shard.segments) {
      if (segment.min_recall > 0 && !segment.calibrated) return false;
    }
  }
  return true;
}

// Whether a least recall is asked for, or else the database's.
bool by_min_recall(const DatabaseSpec& spec, const RecallRequest& recall) {
  return recall.min_recall || (spec.index.min_recall > 0 && !recall.ef_search && !recall.nprobe);
}

RecallReply count_recall(Metric metric, const std::vector<SearchReply>& exact,
                         const std::vector<SearchReply>& found) {
  RecallReply reply;
  reply.sampled = exact.size();
  uint64_t expected = 0, hits = 0;
  double share = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    share += static_cast<double>(found[i].shards_searched) / found[i].shards;
    const auto& neighbours = exact[i].results;
    if (neighbours.empty()) continue;
    expected += neighbours.size();
    float last = neighbours.back().score;
    for (const SearchHit& hit : found[i].results) {
      hits += metric == Metric::l2 ? hit.score <= last : hit.score >= last;
    }
  }
  if (expected > 0) reply.recall = static_cast<double>(hits) / static_cast<double>(expected);
  if (!exact.empty()) reply.shards_searched = share / static_cast<double>(exact.size());
  return reply;
}

void run_whole_recall(query_pointer self, const DatabaseEntry& entry,
                      std::shared_ptr<RecallWork> work) {
  std::vector<std::pair<replica_actor, ShardSample>> calls;
  auto shards = static_cast<uint32_t>(entry.shards.size());
  for (const ShardPlacement& placement : entry.shards) {
    auto shard = self->state.routes.shard(placement);
    if (!shard.ok()) return work->done(shard.status());
    uint32_t count = (work->recall.sample + shards - 1) / shards;
    calls.emplace_back(*shard, ShardSample{{placement.group}, count});
  }
  gather<ShardVectors>(
      self, work->time.deadline_ms, std::move(calls),
      [self, work, metric = entry.spec.metric, format = record_format(entry.spec),
       tells_calibrated =
           by_min_recall(entry.spec, work->recall)](std::vector<Result<ShardVectors>>& answers) {
        for (auto& answer : answers) {
          if (!answer.ok()) return work->done(given_up(answer.status()));
          for (ShardHit& row : answer->rows) {
            auto vector = to_vector(format, row);
            if (!vector.ok()) return work->done(vector.status());
            work->sample.push_back(std::move(*vector));
          }
        }
        if (work->sample.empty()) return work->done(RecallReply());
        search_sample(self, work, true, [=](std::vector<SearchReply> exact) {
          work->exact = std::move(exact);
          search_sample(self, work, false, [=](const std::vector<SearchReply>& found) {
            RecallReply reply = count_recall(metric, work->exact, found);
            if (tells_calibrated) {
              reply.calibrated = std::all_of(found.begin(), found.end(), is_calibrated);
            }
            work->done(std::move(reply));
          });
        });
      });
}

void run_recall(query_pointer self, std::shared_ptr<const RecallRequest> recall, Time time,
                caf::typed_response_promise<RecallReply> promise) {
  auto fail = [promise](const Status& status) mutable { promise.deliver(to_error(status)); };
  const Routes& routes = self->state.routes;
  auto database = routes.database(recall->database);
  if (!database.ok()) return fail(database.status());
  const DatabaseEntry& entry = **database;
  if (Status valid = check_recall(entry.spec, *recall); !valid.ok()) return fail(valid);
  if (entry.by_vector()) {
    auto work = std::make_shared<RecallWork>();
    work->database = recall->database;
    work->recall = *recall;
    work->time = time;
    work->done = [promise](Result<RecallReply> reply) mutable {
      if (!reply.ok()) return (void)promise.deliver(to_error(reply.status()));
      promise.deliver(*reply);
    };
    return run_whole_recall(self, entry, std::move(work));
  }
  const bool tells_calibrated = by_min_recall(entry.spec, *recall);
  std::vector<std::pair<replica_actor, ShardRecall>> calls;
  auto shards = static_cast<uint32_t>(entry.shards.size());
  for (const ShardPlacement& placement : entry.shards) {
    auto shard = routes.shard(placement);
    if (!shard.ok()) return fail(shard.status());
    ShardRecall question;
    question.route.group = placement.group;
    question.sample = (recall->sample + shards - 1) / shards;
    question.k = recall->k;
    question.ef_search = recall->ef_search.value_or(0);
    question.nprobe = recall->nprobe.value_or(0);
    question.min_recall = recall->min_recall.value_or(0);
    question.vector = *find_vector(entry.spec, recall->vector_name);
    question.last_child = placement.last_child;
    calls.emplace_back(*shard, question);
  }
  gather<ShardRecallCount>(
      self, time.deadline_ms, std::move(calls),
      [=, replicas = entry.spec.replicas](std::vector<Result<ShardRecallCount>>& answers) mutable {
        if (is_to_be_repeated(self, answers, replicas, time.retry_until_ms)) {
          return run_later(self, retry_interval, [=] { run_recall(self, recall, time, promise); });
        }
        RecallReply reply;
        uint64_t expected = 0, found = 0;
        bool calibrated = true;
        for (const auto& answer : answers) {
          if (!answer.ok()) return fail(given_up(answer.status()));
          reply.sampled += answer->sampled;
          expected += answer->expected;
          found += answer->found;
          calibrated &= !answer->uncalibrated;
        }
        if (tells_calibrated) reply.calibrated = calibrated;
        if (expected > 0) reply.recall = static_cast<double>(found) / static_cast<double>(expected);
        promise.deliver(reply);
      });
}

// Shard infos of several databases at once.
struct Description {
  DatabaseInfos infos;
  std::vector<std::pair<size_t, size_t>> asked;  // database and shard of each call

  ShardInfo& shard(size_t call) { return infos[asked[call].first].placement[asked[call].second]; }
};

constexpr uint64_t leaders_timeout_ms = 2000;
// Of a shard that says nothing, the rest is shown without it; also of one that nobody who is
// reachable has, for which others would wait until there is somebody.
constexpr uint64_t describe_timeout_ms = 5000;
constexpr uint8_t describe_waits = Route::waits_max - 5;

ShardDescribe describe_question(uint64_t group, bool by_leader) {
  ShardDescribe out{{group}, by_leader};
  out.route.waits = describe_waits;
  return out;
}

// Takes what a replica says of its shard; what the catalog says stays, and what replicas complain
// of.
void take_description(ShardInfo& shard, ShardInfo& said) {
  said.nodes = std::move(shard.nodes);
  said.hash_begin = shard.hash_begin;
  said.problems.insert(said.problems.begin(), shard.problems.begin(), shard.problems.end());
  shard = std::move(said);
}

void add_up(DatabaseInfos& infos) {
  for (DatabaseInfo& info : infos) {
    for (const ShardInfo& shard : info.placement) {
      info.vectors += shard.vectors;
      info.indexed_vectors += shard.indexed_vectors;
    }
    info.index_state = info.vectors == info.indexed_vectors ? "ready" : "indexing";
  }
}

// As the leaders say, who alone know how far their replicas are, while others may have stood still
// for long. Their silence changes nothing.
void describe_replicas(query_actor::stateful_pointer<query_state> self,
                       std::shared_ptr<Description> description,
                       std::vector<std::pair<replica_actor, ShardDescribe>> calls,
                       std::function<void(DatabaseInfos)> done) {
  gather<ShardInfo>(self, now_ms(self) + leaders_timeout_ms, std::move(calls),
                    [description, done](std::vector<Result<ShardInfo>>& answers) {
                      for (size_t i = 0; i < answers.size(); ++i) {
                        if (answers[i].ok()) take_description(description->shard(i), *answers[i]);
                      }
                      add_up(description->infos);
                      done(std::move(description->infos));
                    });
}

void describe(query_actor::stateful_pointer<query_state> self,
              const std::vector<const DatabaseEntry*>& entries,
              std::function<void(DatabaseInfos)> done) {
  const Routes& routes = self->state.routes;
  auto all = std::make_shared<Description>();
  std::vector<std::pair<replica_actor, ShardDescribe>> calls;
  for (const DatabaseEntry* entry : entries) {
    DatabaseInfo info;
    info.spec = entry->spec;
    if (entry->by_vector()) {
      info.router_state = entry->next_router ? "moving" : entry->router ? "ready" : "untrained";
    }
    for (const ShardPlacement& placement : entry->shards) {
      ShardInfo shard;
      shard.shard = placement.group;
      shard.hash_begin = placement.hash_begin;
      shard.nodes = placement.nodes;
      auto handle = routes.shard(placement);
      if (!handle.ok()) {
        shard.unknown = handle.status().message();
      } else {
        std::pair where(all->infos.size(), info.placement.size());
        calls.emplace_back(*handle, describe_question(placement.group, false));
        all->asked.push_back(where);
      }
      info.placement.push_back(std::move(shard));
    }
    all->infos.push_back(std::move(info));
  }
  auto handles = std::make_shared<std::vector<replica_actor>>();
  for (const auto& [handle, question] : calls) handles->push_back(handle);
  auto described = [=](std::vector<Result<ShardInfo>>& answers) {
    auto led = std::make_shared<Description>();  // by others than were asked
    std::vector<std::pair<replica_actor, ShardDescribe>> leader_calls;
    for (size_t i = 0; i < answers.size(); ++i) {
      if (!answers[i].ok()) {
        all->shard(i).unknown = answers[i].status().message();
        continue;
      }
      ShardInfo& shard = all->shard(i);
      take_description(shard, *answers[i]);
      if (!shard.replicas.empty() || shard.nodes.size() < 2) continue;
      leader_calls.emplace_back((*handles)[i], describe_question(shard.shard, true));
      led->asked.push_back(all->asked[i]);
    }
    if (leader_calls.empty()) {
      add_up(all->infos);
      return done(std::move(all->infos));
    }
    led->infos = std::move(all->infos);
    describe_replicas(self, led, std::move(leader_calls), done);
  };
  gather<ShardInfo>(self, now_ms(self) + describe_timeout_ms, std::move(calls), described);
}

}  // namespace

Status prepare_search(const DatabaseSpec& spec, SearchRequest& search) {
  auto position = find_vector(spec, search.vector_name);
  if (!position.ok()) return position.status();
  const VectorSpec vector = vectors_of(spec)[*position];
  JADE_RETURN_IF_ERROR(check_question(spec, search));
  JADE_RETURN_IF_ERROR(check_grouping(search));
  JADE_RETURN_IF_ERROR(check_range("k", search.k, 1, Limits::k_max));
  if (search.offset > Limits::k_max - search.k) {
    return invalid_argument("k + offset is " + std::to_string(uint64_t{search.k} + search.offset) +
                            "; it must be at most " + std::to_string(Limits::k_max));
  }
  JADE_RETURN_IF_ERROR(check_effort(spec, search));
  JADE_RETURN_IF_ERROR(check_probes(spec, search.probes));
  if (search.score_threshold && !std::isfinite(*search.score_threshold)) {
    return invalid_argument("score_threshold is not a finite number");
  }
  if (!search.filter.empty()) {
    auto filter = parse_filter(search.filter);
    if (!filter.ok()) return filter.status().with_context("filter");
  }
  JADE_RETURN_IF_ERROR(check_key(spec, search.key, false));
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
  if (search.vector.size() != vector.dimension) {
    return invalid_argument("vector has " + std::to_string(search.vector.size()) + " values; " +
                            title_of(spec, vector) + " has dimension " +
                            std::to_string(vector.dimension));
  }
  double squared = 0;
  for (size_t i = 0; i < search.vector.size(); ++i) {
    if (!std::isfinite(search.vector[i])) {
      return invalid_argument("vector[" + std::to_string(i) + "] is not a finite number");
    }
    squared += static_cast<double>(search.vector[i]) * search.vector[i];
  }
  std::string refused = refusal_of_length(vector.metric, squared);
  return refused.empty() ? Status() : invalid_argument("vector " + refused);
}

query_actor::behavior_type query(query_actor::stateful_pointer<query_state> self,
                                 QueryOptions options) {
  self->state.options = std::move(options);
  return {
      [self](RoutesChanged& changed) { self->state.routes.change(changed); },
      [](const Later& later) { later.run(); },
      [self](SearchRequest& search) -> caf::result<SearchReply> {
        Status valid = check_timeout(self, search.timeout_ms);
        if (!valid.ok()) return to_error(valid);
        auto promise = self->make_response_promise<SearchReply>();
        auto work = std::make_shared<SearchWork>();
        work->database = std::move(search.database);
        work->time = time_of(self, search.timeout_ms);
        work->searches.push_back(std::move(search));
        work->done = [promise](Result<std::vector<SearchReply>> replies) mutable {
          if (!replies.ok()) return (void)promise.deliver(to_error(replies.status()));
          promise.deliver(std::move(replies->front()));
        };
        run_asked(self, std::move(work));
        return promise;
      },
      [self](SearchBatchRequest& batch) -> caf::result<SearchBatchReply> {
        if (batch.searches.empty() || batch.searches.size() > Limits::searches_per_batch_max) {
          return to_error(invalid_argument("searches has " + std::to_string(batch.searches.size()) +
                                           " elements; it must have 1 to " +
                                           std::to_string(Limits::searches_per_batch_max)));
        }
        if (Status valid = check_timeouts(self, batch); !valid.ok()) return to_error(valid);
        auto promise = self->make_response_promise<SearchBatchReply>();
        auto work = std::make_shared<SearchWork>();
        work->database = std::move(batch.database);
        work->searches = std::move(batch.searches);
        work->batch = true;
        work->time = time_of(self, batch.timeout_ms);
        work->done = [promise](Result<std::vector<SearchReply>> replies) mutable {
          if (!replies.ok()) return (void)promise.deliver(to_error(replies.status()));
          promise.deliver(SearchBatchReply{std::move(*replies)});
        };
        run_asked(self, std::move(work));
        return promise;
      },
      [self](GetRequest& get) -> caf::result<StoredVector> {
        auto promise = self->make_response_promise<StoredVector>();
        run_get(self, std::make_shared<const GetRequest>(std::move(get)), time_of(self),
                [promise](Result<StoredVector> vector) mutable {
                  if (!vector.ok()) return (void)promise.deliver(to_error(vector.status()));
                  promise.deliver(std::move(*vector));
                });
        return promise;
      },
      [self](ListRequest& list) -> caf::result<ListReply> {
        auto promise = self->make_response_promise<ListReply>();
        run_list(self, std::make_shared<const ListRequest>(std::move(list)), time_of(self),
                 promise);
        return promise;
      },
      [self](RecallRequest& recall) -> caf::result<RecallReply> {
        auto promise = self->make_response_promise<RecallReply>();
        run_recall(self, std::make_shared<const RecallRequest>(std::move(recall)), time_of(self),
                   promise);
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
