#include "actors/searcher.h"

#include <cstring>
#include <functional>
#include <span>

#include "actors/errors.h"
#include "actors/random.h"
#include "actors/shard_replica.h"
#include "index/filter.h"
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
std::vector<ShardExplanation> explain(const ShardSnapshot& view, uint64_t shard,
                                      std::span<const SegmentExplanation> segments) {
  std::vector<ShardExplanation> out;
  const size_t each = view.segments.size();
  for (size_t at = 0; each > 0 && at < segments.size(); at += each) {
    ShardExplanation& query = out.emplace_back();
    query.shard = shard;
    query.applied_index = view.applied_index;
    auto first = segments.begin() + static_cast<std::ptrdiff_t>(at);
    query.segments.assign(first, first + static_cast<std::ptrdiff_t>(each));
  }
  return out;
}

// `clock_ns`: read only where an explanation is asked for.
Result<ShardHits> run_search(const SearchTask& task, const std::function<uint64_t()>& clock_ns) {
  const ShardSnapshot& view = *task.view;
  const ShardSearch& search = task.search;
  size_t row_bytes = size_t{view.dimension} * sizeof(float);
  if (search.dimension != view.dimension || search.queries.size() % row_bytes != 0) {
    return invalid_argument("a search of dimension " + std::to_string(search.dimension) +
                            " was sent to a shard of dimension " + std::to_string(view.dimension));
  }
  std::optional<Filter> filter;
  if (!search.filter.empty()) {
    auto parsed = parse_filter(search.filter);
    if (!parsed.ok()) return parsed.status();
    filter = std::move(*parsed);
  }
  SearchOptions options;
  options.k = search.k;
  set_effort(options, search, view.index);
  options.filter = filter ? &*filter : nullptr;
  options.exact = search.exact;
  if (search.has_threshold) options.distance_max = search.distance_max;
  const uint64_t began = search.explain ? clock_ns() : 0;
  if (search.explain) options.clock_ns = &clock_ns;

  ShardHits out;
  std::vector<float> queries(search.queries.size() / sizeof(float));
  if (!queries.empty()) std::memcpy(queries.data(), search.queries.data(), search.queries.size());
  std::vector<SegmentExplanation> explained;
  auto lists = search_all(view.segments, view.metric, view.dimension, queries, options,
                          search.explain ? &explained : nullptr);
  const uint64_t searched = search.explain ? clock_ns() : 0;
  for (const std::vector<Hit>& best : lists) {
    auto& hits = out.queries.emplace_back();
    for (const Hit& found : best) {
      const Segment& segment = *view.segments[found.segment].segment;
      ShardHit hit;
      hit.id = segment.id_key(found.offset);
      hit.distance = found.distance;
      if (search.include_metadata) hit.metadata = segment.metadata(found.offset);
      if (search.include_values) {
        // As the client gave them: the segment's are normalised under cosine.
        Status status = add_stored(view, segment.row_number(found.offset), false, true, hit);
        if (!status.ok()) return status;
      }
      hits.push_back(std::move(hit));
    }
  }
  if (!search.explain) return out;
  out.explanations = explain(view, search.route.group, explained);
  const uint64_t ended = clock_ns();
  for (ShardExplanation& query : out.explanations) {
    query.took_ns = ended - began;
    query.fetch_ns = ended - searched;
  }
  return out;
}

Result<ShardVectors> run_get(const GetTask& task) {
  const ShardSnapshot& view = *task.view;
  ShardVectors out;
  auto row = view.store->find(task.get.id, view.records);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return out;
  ShardHit hit;
  hit.id = task.get.id;
  if (Status status = add_stored(view, **row, true, true, hit); !status.ok()) return status;
  out.rows.push_back(std::move(hit));
  return out;
}

Result<ShardVectors> run_list(const ListTask& task) {
  const ShardSnapshot& view = *task.view;
  const ShardList& list = task.list;
  ShardVectors out;
  Status failure;
  Status scanned =
      view.store->scan_ids(list.after, view.records, [&](std::string_view id, uint64_t row) {
        if (out.rows.size() >= list.limit || !id.starts_with(list.prefix)) return false;
        if (!is_before(hash_of_row_key(id), view.hash_end)) return true;
        ShardHit hit;
        hit.id = id;
        if (list.include_metadata || list.include_values) {
          failure = add_stored(view, row, list.include_metadata, list.include_values, hit);
        }
        out.rows.push_back(std::move(hit));
        return failure.ok();
      });
  JADE_RETURN_IF_ERROR(scanned);
  if (!failure.ok()) return failure;
  return out;
}

ShardRecallCount run_recall(const RecallTask& task) {
  const ShardSnapshot& view = *task.view;
  SearchOptions options;
  options.k = task.recall.k;
  set_effort(options, task.recall, view.index);
  RecallCount count =
      measure_recall(view.segments, view.metric, view.dimension, task.recall.sample, options);
  return {count.sampled, count.expected, count.found};
}

Result<MatchedRows> run_match(const MatchTask& task) {
  const ShardSnapshot& view = *task.view;
  auto filter = parse_filter(task.filter);
  if (!filter.ok()) return filter.status();
  MatchedRows out{std::make_shared<std::vector<std::pair<std::string, uint64_t>>>()};
  for (auto [part, offset] : matching_rows(view.segments, *filter)) {
    const Segment& segment = *view.segments[part].segment;
    out.rows->emplace_back(segment.id_key(offset), segment.row_number(offset));
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

Result<ShardDigest> run_digest(const DigestTask& task) {
  auto digest = task.view->store->digest(task.view->records);
  if (!digest.ok()) return digest.status();
  return ShardDigest{task.view->applied_index, *digest};
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

}  // namespace

searcher_actor::behavior_type searcher(searcher_actor::pointer self) {
  return {
      [self](const SearchTask& task) {
        return reply(run_search(task, [self] { return now_ns(self); }));
      },
      [](const GetTask& task) { return reply(run_get(task)); },
      [](const ListTask& task) { return reply(run_list(task)); },
      [](const RecallTask& task) { return run_recall(task); },
      [](const MatchTask& task) { return reply(run_match(task)); },
      [](const TrimTask& task) { return reply(run_trim(task)); },
      [](const DigestTask& task) { return reply(run_digest(task)); },
      [](ExportTask& task) { return reply(run_export(task)); },
  };
}

}  // namespace jade
