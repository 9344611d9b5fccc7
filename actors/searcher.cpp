#include "actors/searcher.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <set>
#include <span>

#include "actors/answer_size.h"
#include "actors/deadline.h"
#include "actors/errors.h"
#include "actors/random.h"
#include "actors/shard_replica.h"
#include "index/datatype.h"
#include "index/filter.h"
#include "index/random.h"
#include "index/recall.h"
#include "index/shard_view.h"

namespace jade {
namespace {

Status add_stored(const ShardSnapshot& view, uint64_t row, bool metadata, bool values,
                  ShardHit& hit) {
  auto record = view.store->get(row, view.records);
  if (!record.ok()) return record.status();
  if (metadata) hit.metadata = std::move(record->metadata);
  if (values) hit.values = std::move(record->values);
  return {};
}

// As the question asks for, or else the database.
template <class Question>
void set_effort(SearchOptions& options, const Question& asked, const IndexOptions& index) {
  options.min_recall = min_recall_of(asked, index);
  options.ef_search = asked.ef_search > 0 ? asked.ef_search : index.ef_search;
  options.nprobe = asked.nprobe > 0 ? asked.nprobe : index.nprobe;
}

// Of each query, what was done in the segments; `segments` are those of one query after
// another.
std::vector<ShardExplanation> explain(const ShardSnapshot& view, uint64_t shard, size_t queries,
                                      std::span<const SegmentExplanation> segments) {
  std::vector<ShardExplanation> out(queries);
  const size_t each = segments.size() / std::max<size_t>(queries, 1);
  for (size_t q = 0; q < queries; ++q) {
    out[q].shard = shard;
    out[q].applied_index = view.applied_index;
    auto own = segments.subspan(q * each, each);
    out[q].segments.assign(own.begin(), own.end());
  }
  return out;
}

// The database may be another one of the same name by now.
Status check_vector(const ShardSnapshot& view, uint32_t vector) {
  if (vector < view.format.size()) return {};
  return invalid_argument("vector " + std::to_string(vector) + " was asked of a shard of " +
                          std::to_string(view.format.size()));
}

// `clock_ns`: read only where an explanation is asked for.
Result<ShardHits> run_search(const SearchTask& task, Stopper& stop,
                             const std::function<uint64_t()>& clock_ns) {
  const ShardSnapshot& view = *task.view;
  const ShardSearch& search = task.search;
  JADE_RETURN_IF_ERROR(check_vector(view, search.vector));
  const RowFormat& format = view.format.format(search.vector);
  size_t row_bytes = size_t{format.dimension()} * sizeof(float);
  if (search.dimension != format.dimension() || search.queries.size() % row_bytes != 0) {
    return invalid_argument("a search of dimension " + std::to_string(search.dimension) +
                            " was sent to a shard of dimension " +
                            std::to_string(format.dimension()));
  }
  const std::vector<SegmentView>& segments = view.segments[search.vector];
  std::optional<Filter> filter;
  if (!search.filter.empty()) {
    auto parsed = parse_filter(search.filter, composed_filter);
    if (!parsed.ok()) return parsed.status();
    filter = std::move(*parsed);
  }
  SearchOptions options;
  options.k = search.k;
  set_effort(options, search, view.index);
  options.filter = filter ? &*filter : nullptr;
  options.exact = search.exact;
  options.stop = &stop;
  if (search.has_threshold) options.distance_max = search.distance_max;
  const uint64_t began = search.explain ? clock_ns() : 0;
  if (search.explain) options.clock_ns = &clock_ns;

  ShardHits out;
  out.applied_index = view.applied_index;
  out.after = view.after;
  std::vector<float> queries(search.queries.size() / sizeof(float));
  if (!queries.empty()) std::memcpy(queries.data(), search.queries.data(), search.queries.size());
  std::vector<SegmentExplanation> explained;
  auto found = search_all(segments, format.metric(), format.dimension(), queries, options,
                          search.explain ? &explained : nullptr);
  if (!found.ok()) return found.status();
  const uint64_t searched = search.explain ? clock_ns() : 0;
  AnswerSize size(Limits::answer_bytes_max);
  for (const std::vector<Hit>& best : *found) {
    if (stop.stopped()) return out;
    auto& hits = out.queries.emplace_back();
    for (const Hit& row : best) {
      const Segment& segment = *segments[row.segment].segment;
      ShardHit hit;
      hit.id = segment.id_key(row.offset);
      hit.distance = row.distance;
      if (search.include_metadata) hit.metadata = segment.metadata(row.offset);
      if (search.include_values) {
        // As they are stored: the segment's may be normalised under cosine.
        if (stop.after(1)) return out;
        Status status = add_stored(view, segment.row_number(row.offset), false, true, hit);
        if (!status.ok()) return status;
      }
      JADE_RETURN_IF_ERROR(size.add(hit));
      hits.push_back(std::move(hit));
    }
  }
  if (!search.explain || stop.stopped()) return out;
  out.explanations = explain(view, search.route.group, out.queries.size(), explained);
  const uint64_t ended = clock_ns();
  for (ShardExplanation& query : out.explanations) {
    query.took_ns = ended - began;
    query.fetch_ns = ended - searched;
  }
  return out;
}

ShardHit to_hit(HomeRecord record, bool metadata, bool values) {
  ShardHit hit;
  hit.id = std::move(record.id);
  if (metadata) hit.metadata = std::move(record.metadata);
  if (values) hit.values = std::move(record.values);
  return hit;
}

Result<ShardVectors> run_get(const GetTask& task, Stopper&) {
  const ShardSnapshot& view = *task.view;
  ShardVectors out;
  if (view.by_vector) {
    auto record = view.store->find_home(task.get.id, view.records);
    if (!record.ok()) return record.status();
    if (record->has_value()) out.rows.push_back(to_hit(std::move(**record), true, true));
    return out;
  }
  auto row = view.store->find(task.get.id, view.records);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return out;
  ShardHit hit;
  hit.id = task.get.id;
  if (Status status = add_stored(view, **row, true, true, hit); !status.ok()) return status;
  out.rows.push_back(std::move(hit));
  return out;
}

Result<ShardVectors> run_list(const ListTask& task, Stopper& stop) {
  const ShardSnapshot& view = *task.view;
  const ShardList& list = task.list;
  ShardVectors out;
  AnswerSize size(Limits::answer_bytes_max);
  Status failure;
  if (view.by_vector) {
    Status scanned = view.store->scan_homes(list.after, view.records, [&](HomeRecord record) {
      if (out.rows.size() >= list.limit) return false;
      out.rows.push_back(to_hit(std::move(record), list.include_metadata, list.include_values));
      failure = size.add(out.rows.back());
      return failure.ok();
    });
    JADE_RETURN_IF_ERROR(scanned);
    if (!failure.ok()) return failure;
    return out;
  }
  Status scanned =
      view.store->scan_ids(list.after, view.records, [&](std::string_view id, uint64_t row) {
        if (out.rows.size() >= list.limit || !id.starts_with(list.prefix)) return false;
        if (stop.after(1)) return false;
        if (!is_before(hash_of_row_key(id), view.hash_end)) return true;
        ShardHit hit;
        hit.id = id;
        if (list.include_metadata || list.include_values) {
          failure = add_stored(view, row, list.include_metadata, list.include_values, hit);
        }
        if (failure.ok()) failure = size.add(hit);
        out.rows.push_back(std::move(hit));
        return failure.ok();
      });
  JADE_RETURN_IF_ERROR(scanned);
  if (!failure.ok()) return failure;
  return out;
}

Result<ShardRecallCount> run_recall(const RecallTask& task, Stopper& stop) {
  const ShardSnapshot& view = *task.view;
  JADE_RETURN_IF_ERROR(check_vector(view, task.recall.vector));
  const RowFormat& format = view.format.format(task.recall.vector);
  SearchOptions options;
  options.k = task.recall.k;
  set_effort(options, task.recall, view.index);
  options.stop = &stop;
  auto count = measure_recall(view.segments[task.recall.vector], format.metric(),
                              format.dimension(), task.recall.sample, options);
  if (!count.ok()) return count.status();
  return ShardRecallCount{count->sampled, count->expected, count->found, count->uncalibrated};
}

Result<MatchedRows> run_match(const MatchTask& task, Stopper& stop) {
  const ShardSnapshot& view = *task.view;
  auto filter = parse_filter(task.filter, composed_filter);
  if (!filter.ok()) return filter.status();
  MatchedRows out{std::make_shared<std::vector<std::pair<std::string, uint64_t>>>()};
  if (view.by_vector) {
    Status scanned = view.store->scan_homes("", view.records, [&](const HomeRecord& record) {
      if (stop.after(1)) return false;
      if (filter->matches(record.metadata)) out.rows->emplace_back(record.id, record.version);
      return true;
    });
    JADE_RETURN_IF_ERROR(scanned);
    return out;
  }
  std::set<uint64_t> seen;  // where a row may be in several vectors' segments
  for (const std::vector<SegmentView>& segments : view.segments) {
    for (auto [part, offset] : matching_rows(segments, *filter, &stop)) {
      const Segment& segment = *segments[part].segment;
      uint64_t row = segment.row_number(offset);
      if (view.segments.size() > 1 && !seen.insert(row).second) continue;
      out.rows->emplace_back(segment.id_key(offset), row);
    }
  }
  return out;
}

constexpr size_t trimmed_rows_max = 100'000;

Result<MatchedRows> run_trim(const TrimTask& task) {
  const ShardSnapshot& view = *task.view;
  MatchedRows out{std::make_shared<std::vector<std::pair<std::string, uint64_t>>>()};
  Status scanned = view.store->scan_ids("", view.records, [&](std::string_view id, uint64_t row) {
    bool foreign = !is_before(hash_of_row_key(id), view.hash_end);
    if (foreign) out.rows->emplace_back(id, row);
    return out.rows->size() < trimmed_rows_max;
  });
  if (!scanned.ok()) return scanned;
  return out;
}

Result<ShardVectors> run_sample(const SampleTask& task, Stopper&) {
  const ShardSnapshot& view = *task.view;
  ShardVectors out;
  const std::vector<SegmentView>& segments = view.segments.front();
  for (auto [part, offset] : sample_rows(segments, task.count)) {
    const Segment& segment = *segments[part].segment;
    ShardHit hit;
    hit.id = segment.id_key(offset);
    JADE_RETURN_IF_ERROR(add_stored(view, segment.row_number(offset), false, true, hit));
    out.rows.push_back(std::move(hit));
  }
  return out;
}

// Of the rows of the segment that live in the view, whatever is built of it there, and in
// whatever order.
SegmentDigest digest_of(const SegmentMeta& decided, size_t vector,
                        const std::vector<SegmentView>& segments) {
  SegmentDigest out{decided.id, vector, decided.begin_row, decided.end_row, 0, 0};
  for (const SegmentView& view : segments) {
    for (uint32_t offset = 0; offset < view.visible; ++offset) {
      const uint64_t row = view.segment->row_number(offset);
      if (row < decided.begin_row || row >= decided.end_row) continue;
      if (view.is_dead(offset)) continue;
      out.digest += Random(row).next();
      ++out.live;
    }
  }
  return out;
}

Result<ShardDigest> run_digest(const DigestTask& task) {
  auto digest = task.view->store->digest(task.view->records);
  if (!digest.ok()) return digest.status();
  ShardDigest out{task.view->applied_index, *digest, {}};
  for (const SegmentMeta& decided : task.segments) {
    for (size_t v = 0; v < task.view->segments.size(); ++v) {
      out.segments.push_back(digest_of(decided, v, task.view->segments[v]));
    }
  }
  return out;
}

// Bounded, as it crosses the network as one message and is held at both ends.
constexpr size_t state_piece_bytes = 1u << 20;

Result<StateChunk> run_export(ExportTask& task) {
  auto piece = task.view->store->export_piece(task.after, task.view->records, state_piece_bytes);
  if (!piece.ok()) return piece.status();
  StateChunk out = std::move(task.chunk);
  out.bytes = std::move(piece->bytes);
  out.last_key = std::move(piece->last_key);
  return out;
}

template <class T>
caf::result<T> reply(Result<T> result) {
  if (!result.ok()) return to_error(result.status());
  return std::move(*result);
}

// run(task, stop), unless nobody waits for it any more, before or meanwhile.
template <class T, class Task, class Run>
caf::result<T> answer(searcher_actor::pointer self, uint64_t deadline_ms, const Task& task,
                      Run run) {
  Stopper stop([=] { return deadline_ms != 0 && now_ms(self) >= deadline_ms; });
  if (stop.check()) return to_error(out_of_time("before a searcher was free for it"));
  Result<T> found = run(task, stop);
  if (stop.stopped()) return to_error(out_of_time("in the middle of the search"));
  return reply(std::move(found));
}

// Whom to hand what is long; none: nobody.
class LongSearchers {
 public:
  explicit LongSearchers(std::vector<searcher_actor> all) : all_(std::move(all)) {}
  explicit operator bool() const { return !all_.empty(); }
  const searcher_actor& next() { return all_[turn_++ % all_.size()]; }

 private:
  std::vector<searcher_actor> all_;
  size_t turn_ = 0;
};

searcher_actor::behavior_type run(searcher_actor::pointer self,
                                  const std::shared_ptr<LongSearchers>& others) {
  return {
      [=](SearchTask& task) -> caf::result<ShardHits> {
        if (*others && is_long(task)) return self->delegate(others->next(), std::move(task));
        auto run = [self](const SearchTask& search, Stopper& stop) {
          return run_search(search, stop, [self] { return now_ns(self); });
        };
        return answer<ShardHits>(self, task.search.route.deadline_ms, task, run);
      },
      [=](const GetTask& task) {
        return answer<ShardVectors>(self, task.get.route.deadline_ms, task, run_get);
      },
      [=](const ListTask& task) {
        return answer<ShardVectors>(self, task.list.route.deadline_ms, task, run_list);
      },
      [=](RecallTask& task) -> caf::result<ShardRecallCount> {
        if (*others) return self->delegate(others->next(), std::move(task));
        return answer<ShardRecallCount>(self, task.recall.route.deadline_ms, task, run_recall);
      },
      [=](const SampleTask& task) {
        return answer<ShardVectors>(self, task.deadline_ms, task, run_sample);
      },
      [=](MatchTask& task) -> caf::result<MatchedRows> {
        if (*others) return self->delegate(others->next(), std::move(task));
        return answer<MatchedRows>(self, task.deadline_ms, task, run_match);
      },
      [=](TrimTask& task) -> caf::result<MatchedRows> {
        if (*others) return self->delegate(others->next(), std::move(task));
        return reply(run_trim(task));
      },
      [=](DigestTask& task) -> caf::result<ShardDigest> {
        if (*others) return self->delegate(others->next(), std::move(task));
        return reply(run_digest(task));
      },
      [](ExportTask& task) { return reply(run_export(task)); },
  };
}

}  // namespace

bool is_long(const SearchTask& task) {
  // About 5 ms of a core.
  constexpr double values_max = 16e6;
  // A walk compares so many rows for each that it keeps; an index by lists is similar.
  constexpr double rows_per_kept = 24;
  const ShardSearch& search = task.search;
  if (!task.view || search.vector >= task.view->segments.size() || search.dimension == 0)
    return false;
  double rows = 0;
  for (const SegmentView& segment : task.view->segments[search.vector]) rows += segment.visible;
  double compared = rows;
  if (!search.exact) {
    const IndexOptions& index = task.view->index;
    double kept = std::max(search.k, search.ef_search > 0 ? search.ef_search : index.ef_search);
    // With more effort where it cannot be known how much it takes.
    if (min_recall_of(search, index) > 0) kept *= 4;
    compared = std::min(rows, rows_per_kept * kept);
  }
  const double queries =
      static_cast<double>(search.queries.size()) / (sizeof(float) * search.dimension);
  return queries * compared * search.dimension > values_max;
}

searcher_actor::behavior_type searcher(searcher_actor::pointer self,
                                       std::vector<searcher_actor> long_searchers) {
  return run(self, std::make_shared<LongSearchers>(std::move(long_searchers)));
}

searcher_actor::behavior_type long_searcher(
    searcher_actor::stateful_pointer<long_searcher_state> self) {
  return run(self, std::make_shared<LongSearchers>(std::vector<searcher_actor>()));
}

}  // namespace jade
