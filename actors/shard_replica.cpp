#include "actors/shard_replica.h"

#include <algorithm>

#include "actors/node.h"
#include "actors/random.h"
#include "actors/segment_vectors.h"
#include "actors/shard_files.h"
#include "index/calibration.h"
#include "index/metadata.h"
#include "index/segment_builder.h"
#include "index/segment_io.h"
#include "storage/crc32c.h"
#include "storage/data_dir.h"
#include "storage/row_key.h"

namespace jade {
namespace {

// So few rows are searched exactly as fast as an index would be.
constexpr uint32_t rows_worth_sealing = 256;
// A graph is not copied and written again for less than this share of new rows.
constexpr uint64_t fold_divisor = 16;

// Nor without dead rows that are more than one of so many.
uint32_t dead_worth_a_build(ShardReplica::Pause pause) {
  return pause == ShardReplica::Pause::lasting ? 20 : 3;
}
// One graph does not grow beyond this: merging it would take hours.
constexpr uint64_t rows_per_segment_max = 4'000'000;
// A client that has no answer asks again within seconds. They are about 10 MB.
constexpr size_t requests_kept = 100'000;
// While somebody searches, writes wait for what is in no list to be fewer than so many times
// what lists begin with, which is 4,096: a core compares so many small vectors in the time of a
// search.
constexpr uint64_t unlisted_factor = 8;
// Segments with so much in vectors are worth reading again to give their space back.
constexpr uint64_t reclaim_bytes_min = 8u << 20;

// Of one vector of a segment. Those of a segment follow each other.
uint64_t blob_of(const RecordFormat& format, uint64_t segment, size_t vector) {
  return format.named() ? segment * RecordFormat::vectors_max + vector : segment;
}

uint64_t segment_of(const RecordFormat& format, uint64_t blob) {
  return format.named() ? blob / RecordFormat::vectors_max : blob;
}

// From how many rows on a segment that has no index of its kind yet has lists: where an exact
// search is asked for, none. `rows_min`: as ShardReplica::Options has it.
uint32_t listed_from(IndexKind kind, const RowFormat& format, uint32_t rows_min) {
  if (kind == IndexKind::flat) return GrowingSegment::never_listed;
  if (kind != IndexKind::automatic || rows_min > 0) return rows_min;
  return static_cast<uint32_t>(auto_flat_bytes / format.row_bytes());
}

std::shared_ptr<GrowingSegment> make_growing(
    const RowFormat& format, uint32_t listed_from,
    uint32_t listed_rows_min = GrowingSegment::default_listed_rows_min) {
  return std::make_shared<GrowingSegment>(format.dimension(), format.metric(), format.datatype(),
                                          listed_from, listed_rows_min);
}

// Appends the rows [begin, end) to the segments, by vector, that are not null.
Status read_records(const ShardStore& store, uint64_t begin, uint64_t end,
                    const RecordFormat& format,
                    const std::vector<std::shared_ptr<GrowingSegment>>& segments) {
  return store.scan_rows(begin, end, [&](uint64_t row, Record record) {
    if (!format.fits(record.values)) {
      return corruption("record " + std::to_string(row) + " has values of a wrong length or form");
    }
    for (size_t v = 0; v < segments.size(); ++v) {
      const char* values = format.find(record.values, v);
      if (segments[v] && values != nullptr) {
        segments[v]->append(row, record.id, values, record.metadata);
      }
    }
    return Status();
  });
}

// Where segments of these ids, of which there is one at least, lie next to each other in `all`,
// before the last, which grows; its end where they do not.
std::vector<SegmentMeta>::iterator find_run(std::vector<SegmentMeta>& all,
                                            const std::vector<uint64_t>& ids) {
  auto growing = std::prev(all.end());
  if (ids.empty()) return all.end();
  auto same = [](const SegmentMeta& segment, uint64_t id) { return segment.id == id; };
  auto found = std::search(all.begin(), growing, ids.begin(), ids.end(), same);
  return found == growing ? all.end() : found;
}

// All that is needed to make the index of one vector of some rows.
struct ColumnBuild {
  std::shared_ptr<SegmentStore> blobs;
  std::shared_ptr<ShardStore> store;
  RecordFormat format;
  size_t vector = 0;
  uint64_t begin_row = 0;
  uint64_t end_row = 0;
  std::vector<BuildInput> inputs;
  uint64_t blob = 0;
  IndexOptions index;
  uint64_t seed = 0;
  std::shared_ptr<Workers> workers;

  // On a builder's thread.
  Result<std::shared_ptr<const SealedSegment>> run(const std::atomic<bool>* cancel) const;
};

Result<std::shared_ptr<const SealedSegment>> ColumnBuild::run(
    const std::atomic<bool>* cancel) const {
  const RowFormat& of = format.format(vector);
  BuildOptions options;
  options.metric = of.metric();
  options.dimension = of.dimension();
  options.datatype = of.datatype();
  options.index = index;
  options.seed = seed;
  options.workers = workers.get();
  options.cancel = cancel;
  options.store_vectors = [&] { return store_vectors(blobs, blob, of.row_bytes()); };
  auto sealed = build_segment(inputs, options);
  if (sealed.status().code() == Code::corruption) {
    // Vectors of a source that are on disk are damaged; the records have them all.
    std::vector<std::shared_ptr<GrowingSegment>> rows(format.size());
    rows[vector] = make_growing(of, GrowingSegment::never_listed);
    JADE_RETURN_IF_ERROR(read_records(*store, begin_row, end_row, format, rows));
    sealed = build_segment({{rows[vector], nullptr, rows[vector]->rows()}}, options);
  }
  if (!sealed.ok()) return sealed.status();
  if ((*sealed)->stored() == nullptr) JADE_RETURN_IF_ERROR(blobs->remove_rows(blob));
  auto writer = blobs->create(blob);
  if (!writer.ok()) return writer.status();
  JADE_RETURN_IF_ERROR(
      serialize(**sealed, [&](std::string_view bytes) { return (*writer)->append(bytes); }));
  JADE_RETURN_IF_ERROR((*writer)->finish());
  return sealed;
}

}  // namespace

std::shared_ptr<const Segment> ShardReplica::Column::segment() const {
  if (sealed) return sealed;
  return growing;
}

void ShardReplica::Column::cover() {
  size_t size = segment()->rows();
  if (!dead || dead->size() >= size) return;
  auto longer = std::make_shared<Bitmap>(size + size / 4 + 1024);
  for (size_t i = 0; i < dead->size(); ++i) {
    if (dead->test(i)) longer->set(i);
  }
  dead = std::move(longer);
  dead_shared = false;
}

bool ShardReplica::Column::kill(uint64_t row) {
  auto offset = segment()->find(row);
  if (!offset) return false;
  if (!dead) dead = std::make_shared<Bitmap>(segment()->rows());
  cover();
  if (std::exchange(dead_shared, false)) dead = std::make_shared<Bitmap>(*dead);
  if (!dead->set(*offset)) return false;
  ++dead_count;
  return true;
}

bool ShardReplica::Column::is_damaged() const {
  return damaged || (sealed && sealed->stored() != nullptr && sealed->stored()->damaged());
}

SegmentView ShardReplica::Column::share(uint64_t id) {
  cover();
  dead_shared = dead != nullptr;
  return {segment(), dead, rows(), dead_count, id};
}

bool ShardReplica::Part::built() const {
  return std::all_of(columns.begin(), columns.end(),
                     [](const Column& column) { return column.sealed != nullptr; });
}

bool ShardReplica::Part::is_damaged() const {
  return std::any_of(columns.begin(), columns.end(),
                     [](const Column& column) { return column.is_damaged(); });
}

bool ShardReplica::Part::is_outdated(const IndexOptions& index) const {
  return built() && std::any_of(columns.begin(), columns.end(), [&](const Column& column) {
           return !build_alike(column.sealed->options(), index);
         });
}

bool ShardReplica::Part::has_dead(uint32_t one_of) const {
  return std::any_of(columns.begin(), columns.end(),
                     [one_of](const Column& column) { return column.has_dead(one_of); });
}

uint32_t ShardReplica::Part::rows() const {
  uint32_t most = 0;
  for (const Column& column : columns) most = std::max(most, column.rows());
  return most;
}

uint64_t ShardReplica::Part::count_live() const {
  uint64_t count = columns.front().live();
  for (size_t v = 1; v < columns.size(); ++v) {
    auto own = columns[v].segment();
    for (uint32_t offset = 0; offset < own->rows(); ++offset) {
      if (columns[v].dead && offset < columns[v].dead->size() && columns[v].dead->test(offset)) {
        continue;
      }
      uint64_t row = own->row_number(offset);
      // What lives in one lives in all that have it.
      bool counted = std::any_of(columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(v),
                                 [&](const Column& c) { return c.segment()->find(row); });
      if (!counted) ++count;
    }
  }
  return count;
}

bool ShardReplica::Part::kill(uint64_t row) {
  bool lived = false;
  for (Column& column : columns) lived = column.kill(row) || lived;
  if (lived) --live;
  return lived;
}

Result<std::unique_ptr<ShardReplica>> ShardReplica::open(Options options, Warn warn) {
  std::unique_ptr<ShardReplica> replica(new ShardReplica(std::move(options)));
  JADE_RETURN_IF_ERROR(replica->load(warn));
  return replica;
}

Status ShardReplica::load(const Warn& warn) {
  const std::string& dir = options_.dir;
  std::string parent = dir.substr(0, dir.rfind('/'));
  options_.env->CreateDir(parent);
  options_.env->CreateDir(dir);
  auto store = ShardStore::open(options_.env, data_directory(dir), options_.cache, warn);
  if (!store.ok()) return store.status();
  store_ = std::move(*store);
  const std::string segments = segments_directory(dir);
  auto blobs = SegmentStore::open(options_.env, segments, options_.cache, warn);
  if (blobs.status().code() == Code::corruption) {
    // All that is in them is made of the records.
    warn("the segments of shard " + std::to_string(options_.group) +
         " are damaged and will be built from its records: " + blobs.status().to_string());
    JADE_RETURN_IF_ERROR(remove_tree(options_.env, segments));
    blobs = SegmentStore::open(options_.env, segments, options_.cache, warn);
  }
  if (!blobs.ok()) return blobs.status();
  blobs_ = std::move(*blobs);

  if (options_.by_vector) {
    homes_ = std::make_unique<HomeRecords>(*store_, meta_.cells);
    JADE_RETURN_IF_ERROR(homes_->load());
  }
  auto state = store_->state();
  if (!state.ok()) return state.status();
  if (!state->has_value()) {
    parts_.push_back(make_part(1, meta_.next_row));
    update_meta();
    return {};
  }
  meta_ = **state;
  if (meta_.segments.empty()) return corruption("the shard's state lists no segments");
  std::vector<SegmentMeta> listed = meta_.segments;
  if (listed.back().built) return corruption("the shard's state lists no growing segment");
  for (const SegmentMeta& segment : listed) JADE_RETURN_IF_ERROR(load_part(segment, warn));
  Status scanned = store_->scan_tombstones([this](uint64_t row) { kill_row(row); });
  JADE_RETURN_IF_ERROR(scanned);
  live_rows_ = 0;
  for (Part& part : parts_) {
    kill_foreign(part);
    part.live = part.count_live();
    live_rows_ += part.live;
  }
  JADE_RETURN_IF_ERROR(
      store_->scan_requests([this](Request request) { remember(std::move(request)); }));

  // What a crash left between building and listing, or between replacing and
  // removing.
  auto stored = blobs_->list();
  if (!stored.ok()) return stored.status();
  for (uint64_t blob : *stored) {
    uint64_t id = segment_of(format(), blob);
    bool wanted = std::any_of(parts_.begin(), parts_.end(),
                              [id](const Part& part) { return part.id == id && part.built(); });
    if (!wanted) JADE_RETURN_IF_ERROR(blobs_->remove(blob));
  }
  return {};
}

Status ShardReplica::load_part(const SegmentMeta& listed, const Warn& warn) {
  Part part = make_part(listed.id, listed.begin_row);
  part.end_row = listed.end_row;
  for (size_t v = 0; listed.built && v < format().size(); ++v) {
    Column& column = part.columns[v];
    auto sealed = load_column(listed.id, v);
    if (sealed.ok()) {
      column.sealed = std::move(*sealed);
      column.growing.reset();
      continue;
    }
    column.damaged = true;
    // A copy of another's records comes without its segments.
    bool lost = sealed.status().code() == Code::not_found;
    warn("segment " + std::to_string(listed.id) + " of shard " + std::to_string(options_.group) +
         (format().named() ? ", vector \"" + format().name(v) + "\"," : "") +
         (lost ? " is not here and will be built from its records"
               : " is damaged and will be rebuilt from its records: " +
                     sealed.status().to_string()));
  }
  if (!part.built()) {
    std::vector<std::shared_ptr<GrowingSegment>> segments;
    for (const Column& column : part.columns) segments.push_back(column.growing);
    JADE_RETURN_IF_ERROR(read_records(*store_, part.begin_row, part.end_row, format(), segments));
  }
  parts_.push_back(std::move(part));
  return {};
}

Result<std::shared_ptr<const SealedSegment>> ShardReplica::load_column(uint64_t segment,
                                                                       size_t vector) const {
  uint64_t blob = blob_of(format(), segment, vector);
  auto reader = blobs_->read(blob);
  if (!reader.ok()) return reader.status();
  auto sealed =
      deserialize((*reader)->size(), [&](char* out, size_t n) { return (*reader)->read(out, n); },
                  [&](size_t row_bytes, uint32_t rows) {
                    return open_vectors(*blobs_, blob, row_bytes, rows);
                  });
  if (sealed.ok() && (*sealed)->format() != format().format(vector)) {
    return corruption("the segment is of another dimension, metric or datatype");
  }
  return sealed;
}

ShardReplica::Part ShardReplica::make_part(uint64_t id, uint64_t begin_row) const {
  Part part;
  part.id = id;
  part.begin_row = begin_row;
  part.end_row = UINT64_MAX;
  part.columns.resize(format().size());
  for (size_t v = 0; v < format().size(); ++v) {
    const RowFormat& of = format().format(v);
    part.columns[v].growing = make_growing(
        of, listed_from(options_.index.kind, of, options_.listed_rows_min), listed_rows_min());
  }
  return part;
}

uint32_t ShardReplica::listed_rows_min() const {
  return options_.listed_rows_min > 0 ? options_.listed_rows_min
                                      : GrowingSegment::default_listed_rows_min;
}

Status ShardReplica::apply(uint64_t index, uint64_t term, std::string_view command) {
  JADE_ASSERT(index > meta_.applied_index);
  ShardStore::Batch batch;
  last_affected_ = 0;
  last_missing_.clear();
  last_entry_ = {options_.group, index};
  last_outcome_ = Status();
  batch_rows_.clear();
  std::optional<Request> request;
  CommandVisitor visitor;
  visitor.begin = [&](RequestId id) {
    uint32_t fingerprint = id.fingerprint != 0 ? id.fingerprint : crc32c(command);
    if (!begin_request(id.id, fingerprint)) return false;
    request = Request{index, 0, fingerprint, std::string(id.id)};
    return true;
  };
  visitor.begin_upsert = [this](size_t, uint32_t dimension, Datatype datatype) {
    return check_values(dimension, datatype);
  };
  visitor.upsert_row = [&](const RowView& row) {
    if (!homes_) return apply_upsert(row, batch);
    ++last_affected_;
    return homes_->put(row, batch);
  };
  visitor.update = [&](const UpdateCommand& update) { return apply_update(update, batch); };
  visitor.erase = [&](const DeleteCommand& erase) {
    return homes_ ? apply_home_delete(erase, batch) : apply_delete(erase, batch);
  };
  if (homes_) {
    homes_->begin_entry();
    visitor.forward = [&](const ForwardCommand& forward) { return apply_forward(forward, batch); };
    visitor.forwarded = [&](const ForwardedCommand& forwarded) {
      homes_->forwarded(forwarded.through, batch);
      return Status();
    };
    visitor.route = [&](const RouteCommand& route) {
      apply_route(route);
      return Status();
    };
    visitor.reroute = [&](const RerouteCommand& reroute) {
      return homes_->reroute(reroute, batch);
    };
  }
  visitor.split = [&](const SplitCommand& split) {
    apply_split(split, index, term);
    return Status();
  };
  visitor.split_end = [this](const SplitEndCommand& end) {
    if (meta_.split.child == end.child) meta_.split = SplitState();
    return Status();
  };
  visitor.seal = [this](const SealCommand& seal) {
    apply_seal(seal);
    return Status();
  };
  visitor.merge = [this](const MergeCommand& merge) {
    apply_merge(merge);
    return Status();
  };
  visitor.placed = [this](const PlacedCommand& placed) {
    meta_.placed = std::max(meta_.placed, placed.version);
    return Status();
  };
  if (meta_.hash_end != 0) last_outcome_ = check_owned(command);
  if (meta_.cells.followed != 0) last_outcome_ = check_router(command);
  if (last_outcome_.code() == Code::corruption) return last_outcome_;
  if (last_outcome_.ok()) JADE_RETURN_IF_ERROR(visit_command(command, visitor));
  // What was refused may be tried again.
  if (request && last_outcome_.ok()) {
    request->affected = last_affected_;
    request->missing = last_missing_;
    batch.remember(*request);
    remember(*std::move(request));
  }
  forget_requests(batch);
  meta_.applied_index = index;
  meta_.applied_term = term;
  update_meta();
  batch.set_state(meta_);
  snapshot_.reset();
  return store_->commit(batch);
}

bool ShardReplica::begin_request(std::string_view id, uint32_t fingerprint) {
  auto found = request_by_id_.find(id);
  if (found == request_by_id_.end()) return true;
  if (found->second->fingerprint == fingerprint) {
    const Request& before = *found->second;
    last_affected_ = before.affected;
    last_missing_ = before.missing;
    last_entry_ = {before.group != 0 ? before.group : options_.group, before.index};
  } else {
    last_outcome_ = Status(Code::failed_precondition,
                           "this idempotency key was used for another request; choose a new one "
                           "for each");
  }
  return false;
}

void ShardReplica::remember(Request request) {
  requests_.push_back(std::move(request));
  request_by_id_[requests_.back().id] = &requests_.back();
}

void ShardReplica::forget_requests(ShardStore::Batch& batch) {
  // The child of a split begins with those that there were, whenever it is made.
  while (meta_.split.child == 0 && requests_.size() > requests_kept) {
    batch.forget_request(requests_.front().index);
    request_by_id_.erase(requests_.front().id);
    requests_.pop_front();
  }
}

Status ShardReplica::check_owned(std::string_view command) const {
  bool owned = true;
  CommandVisitor visitor;
  // Also of a request that is known: of some of its rows, perhaps, as it came in parts that were
  // cut by a newer map. Whoever asks with all of them is to cut it so too.
  visitor.begin_upsert = [](size_t, uint32_t, Datatype) { return Status(); };
  visitor.upsert_row = [&](const RowView& row) {
    owned = owned && owns(row.id);
    return Status();
  };
  visitor.update = [&](const UpdateCommand& update) {
    for (const auto& row : update.rows) owned = owned && owns(row.id);
    return Status();
  };
  visitor.erase = [&](const DeleteCommand& erase) {
    for (const std::string& id : erase.ids) owned = owned && (erase.trim || owns(id));
    return Status();
  };
  visitor.seal = [](const SealCommand&) { return Status(); };
  visitor.merge = [](const MergeCommand&) { return Status(); };
  visitor.placed = [](const PlacedCommand&) { return Status(); };
  visitor.split = [](const SplitCommand&) { return Status(); };
  visitor.split_end = [](const SplitEndCommand&) { return Status(); };
  JADE_RETURN_IF_ERROR(visit_command(command, visitor));
  return owned ? Status() : moved();
}

Status ShardReplica::check_router(std::string_view command) const {
  auto head = head_of_command(command);
  if (!head.ok()) return head.status();
  bool current = !head->is_routed || head->router >= meta_.cells.followed ||
                 request_by_id_.count(head->request) > 0;
  if (current) return {};
  return Status(Code::moved, "shard " + std::to_string(options_.group) +
                                 " follows another router by now; try again");
}

Status ShardReplica::apply_home_delete(const DeleteCommand& command, ShardStore::Batch& batch) {
  for (size_t i = 0; i < command.ids.size(); ++i) {
    std::optional<uint64_t> version;
    if (!command.rows.empty()) version = command.rows[i];
    auto erased = homes_->erase(command.ids[i], version, batch);
    if (!erased.ok()) return erased.status();
    last_affected_ += *erased;
  }
  return {};
}

Status ShardReplica::apply_forward(const ForwardCommand& command, ShardStore::Batch& batch) {
  std::pair<uint64_t, uint64_t> now(command.term, command.sequence);
  auto& last = meta_.cells.homes[command.home];
  if (now <= last) {
    last_outcome_ = Status(Code::failed_precondition,
                           "shard " + std::to_string(command.home) + " has sent something since");
    return {};
  }
  if (!command.take.empty()) {
    JADE_RETURN_IF_ERROR(check_values(command.dimension, command.datatype));
  }
  last = now;
  for (const RowView& row : command.take) {
    auto known = store_->find_place(row.id);
    if (!known.ok()) return known.status();
    if (known->has_value() && (*known)->version >= row.version) continue;
    JADE_RETURN_IF_ERROR(apply_upsert(row, batch));
  }
  for (const ForwardCommand::Leaving& leaving : command.give_up) {
    auto known = store_->find_place(leaving.id);
    if (!known.ok()) return known.status();
    if (!known->has_value() || (*known)->version >= leaving.before) continue;
    batch.erase_row((*known)->row);
    batch.forget_id(leaving.id);
    live_rows_ -= kill_row((*known)->row);
  }
  for (auto [group, index] : command.after) {
    uint64_t& seen = meta_.cells.after[group];
    seen = std::max(seen, index);
  }
  return {};
}

void ShardReplica::apply_route(const RouteCommand& command) {
  CellsMeta& cells = meta_.cells;
  uint64_t& at = command.step == RouteStep::announce ? cells.announced
                 : command.step == RouteStep::follow ? cells.followed
                                                     : cells.done;
  at = std::max(at, command.router);
}

Status ShardReplica::moved() const {
  return Status(Code::moved,
                "shard " + std::to_string(options_.group) +
                    " has been split, and another has some of these ids now; try again");
}

void ShardReplica::apply_split(const SplitCommand& command, uint64_t index, uint64_t term) {
  // Proposed again by another leader.
  if (command.child <= meta_.last_child) return;
  meta_.last_child = command.child;
  meta_.split = {command.child, command.at, index, term, meta_.next_row, meta_.hash_end, false};
  meta_.hash_end = command.at;
  for (Part& part : parts_) live_rows_ -= kill_foreign(part);
}

uint64_t ShardReplica::kill_foreign(Part& part) const {
  if (meta_.hash_end == 0) return 0;
  uint64_t killed = 0;
  for (const Column& column : part.columns) {
    auto segment = column.segment();
    for (uint32_t offset = 0; offset < segment->rows(); ++offset) {
      if (!owns(segment->id_view(offset))) killed += part.kill(segment->row_number(offset));
    }
  }
  return killed;
}

Status ShardReplica::pass(uint64_t index, uint64_t term) {
  if (index <= meta_.applied_index) return {};
  ShardStore::Batch batch;
  meta_.applied_index = index;
  meta_.applied_term = term;
  batch.set_state(meta_);
  snapshot_.reset();
  return store_->commit(batch);
}

Status ShardReplica::check_values(uint32_t dimension, Datatype datatype) const {
  if (dimension == format().stored_dimension() && datatype == format().stored_datatype()) {
    return {};
  }
  auto named = [](uint32_t d, Datatype of) {
    return std::to_string(d) + " " + std::string(to_string(of)) + " values";
  };
  return corruption("a vector of " + named(dimension, datatype) +
                    " is in the log of a shard of vectors of " +
                    named(format().stored_dimension(), format().stored_datatype()));
}

Status ShardReplica::check_asked(std::string_view command) const {
  auto forbidden = [](const auto&) { return corruption("no client gives such a command"); };
  auto harmless = [](const auto&) { return Status(); };
  auto fits = [this](std::string_view values) {
    return format().fits(values) ? Status() : corruption("a record has no vector");
  };
  CommandVisitor visitor;
  visitor.begin_upsert = [this](size_t, uint32_t dimension, Datatype datatype) {
    return check_values(dimension, datatype);
  };
  visitor.upsert_row = [&](const RowView& row) { return fits(row.values); };
  visitor.update = [&](const UpdateCommand& update) {
    for (const UpdateCommand::Row& row : update.rows) {
      if (row.values.empty()) continue;
      JADE_RETURN_IF_ERROR(check_values(update.dimension, update.datatype));
      JADE_RETURN_IF_ERROR(fits(row.values));
      if (homes_ && row.cell == 0) return corruption("an update is for no shard");
    }
    return Status();
  };
  visitor.erase = harmless;
  visitor.seal = forbidden;
  visitor.merge = forbidden;
  visitor.placed = forbidden;
  visitor.split = forbidden;
  visitor.split_end = forbidden;
  if (homes_) {
    visitor.forward = [&](const ForwardCommand& forward) {
      if (!forward.take.empty()) {
        JADE_RETURN_IF_ERROR(check_values(forward.dimension, forward.datatype));
      }
      for (const RowView& row : forward.take) JADE_RETURN_IF_ERROR(fits(row.values));
      return Status();
    };
  }
  Status status = visit_command(command, visitor);
  return status.ok() ? status : invalid_argument("from another node: " + status.message());
}

Status ShardReplica::apply_upsert(const RowView& row, ShardStore::Batch& batch) {
  if (!format().fits(row.values)) {
    return corruption("a record without any vector is in the log of a shard");
  }
  uint64_t number = meta_.next_row++;
  // An earlier row of this very entry is not in the store yet.
  auto [same_entry, first] = batch_rows_.try_emplace(std::string(row.id), number);
  std::optional<uint64_t> old;
  if (!first) {
    old = std::exchange(same_entry->second, number);
  } else {
    auto found = store_->find(row.id);
    if (!found.ok()) return found.status();
    old = *found;
  }
  if (old) {
    batch.erase_row(*old);
    live_rows_ -= kill_row(*old);
  }
  batch.put(number, row.id, row.values, row.metadata, row.version);
  for (size_t v = 0; v < format().size(); ++v) {
    const char* values = format().find(row.values, v);
    if (values == nullptr) continue;
    parts_.back().columns[v].growing->append(number, row.id, values, row.metadata);
  }
  ++parts_.back().live;
  ++live_rows_;
  ++last_affected_;
  return {};
}

Result<std::optional<ShardReplica::Content>> ShardReplica::find_content(
    const std::string& id) const {
  if (homes_) {
    auto record = homes_->get(id);
    if (!record.ok()) return record.status();
    if (!record->has_value()) return std::optional<Content>();
    HomeRecord& home = **record;
    return std::optional<Content>(
        {std::move(home.values), std::move(home.metadata), home.cell, home.valued});
  }
  auto row = store_->find(id);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return std::optional<Content>();
  auto record = store_->get(**row);
  if (!record.ok()) return record.status();
  return std::optional<Content>({std::move(record->values), std::move(record->metadata)});
}

Result<ShardReplica::Content> ShardReplica::merge(const Content& old, const UpdateCommand& command,
                                                  const UpdateCommand::Row& row) const {
  auto vector = [&] {
    auto id = id_of_row_key(row.id);
    return "vector " + (id.ok() ? id->to_string() : "of an unreadable id");
  };
  Content out = old;
  if (!row.metadata.empty()) out.metadata = merge_metadata(old.metadata, row.metadata);
  // It may have come longer, with a text.
  size_t bytes = out.metadata.size();
  if (bytes > command.metadata_bytes_max && bytes > old.metadata.size()) {
    return Status(Code::too_large, "the metadata of " + vector() + " would have " +
                                       std::to_string(bytes) +
                                       " bytes with what it has already; at most " +
                                       std::to_string(command.metadata_bytes_max) + " are allowed");
  }
  out.values = format().merge(old.values, row.values, row.without);
  if (!format().fits(out.values)) {
    return Status(Code::failed_precondition, "the update would take all its vectors away from " +
                                                 vector() +
                                                 ", which must keep one; delete it instead");
  }
  if (!row.values.empty()) {
    out.cell = row.cell;
    out.valued = 0;
  }
  return out;
}

Status ShardReplica::apply_update(const UpdateCommand& command, ShardStore::Batch& batch) {
  struct Change {
    const std::string* id;
    Content content;
  };
  std::vector<Change> changes;
  std::string missing(update_rows_max / 8, '\0');
  uint64_t found_rows = 0;
  for (const UpdateCommand::Row& row : command.rows) {
    if (!row.values.empty()) {
      JADE_RETURN_IF_ERROR(check_values(command.dimension, command.datatype));
      if (!format().fits(row.values) || (homes_ && row.cell == 0)) {
        return corruption("an update in the log of a shard sets no vector, or for no shard");
      }
    }
    auto old = find_content(row.id);
    if (!old.ok()) return old.status();
    if (!old->has_value()) {
      missing[row.place / 8] = static_cast<char>(missing[row.place / 8] | 1 << row.place % 8);
      continue;
    }
    ++found_rows;
    auto merged = merge(**old, command, row);
    if (!merged.ok()) {
      last_outcome_ = merged.status();
      return {};
    }
    if (*merged != **old) changes.push_back({&row.id, std::move(*merged)});
  }
  for (const Change& change : changes) {
    const Content& content = change.content;
    RowView row{*change.id, content.values, content.metadata, content.cell};
    row.valued = content.valued;
    JADE_RETURN_IF_ERROR(homes_ ? homes_->put(row, batch) : apply_upsert(row, batch));
  }
  last_affected_ = found_rows;
  if (found_rows > 0 && found_rows < command.rows.size()) last_missing_ = std::move(missing);
  return {};
}

Status ShardReplica::apply_delete(const DeleteCommand& command, ShardStore::Batch& batch) {
  if (command.trim) meta_.split.trimming = true;
  for (size_t i = 0; i < command.ids.size(); ++i) {
    const std::string& id = command.ids[i];
    if (!batch_rows_.try_emplace(id, 0).second) continue;  // named twice
    auto found = store_->find(id);
    if (!found.ok()) return found.status();
    if (!found->has_value()) continue;
    uint64_t row = **found;
    if (!command.rows.empty() && command.rows[i] != row) continue;
    batch.erase_row(row);
    batch.forget_id(id);
    // Those to be trimmed are dead already.
    live_rows_ -= kill_row(row);
    ++last_affected_;
  }
  return {};
}

void ShardReplica::apply_seal(const SealCommand& command) {
  // Proposed for a segment that was sealed meanwhile: nothing to do.
  // By numbers, as a replica that was opened since does not have the rows that died before.
  if (parts_.back().id != command.segment || parts_.back().begin_row == meta_.next_row) return;
  parts_.back().end_row = meta_.next_row;
  parts_.push_back(make_part(meta_.next_segment++, meta_.next_row));
}

std::vector<SegmentMeta> ShardReplica::decided_segments() const {
  std::vector<SegmentMeta> out;
  for (const Part& part : parts_) out.push_back({part.id, part.begin_row, part.end_row, false});
  for (const MergeCommand& merge : meta_.merges) {
    auto first = find_run(out, merge.sources);
    JADE_ASSERT(first != out.end());
    auto end = first + static_cast<std::ptrdiff_t>(merge.sources.size());
    first->id = merge.segment;
    first->end_row = std::prev(end)->end_row;
    out.erase(first + 1, end);
  }
  return out;
}

void ShardReplica::apply_merge(MergeCommand command) {
  // By what is decided, not by what is built here so far: other replicas are slower or
  // faster, and all must take the same merges.
  std::vector<SegmentMeta> decided = decided_segments();
  if (find_run(decided, command.sources) == decided.end()) return;
  command.segment = meta_.next_segment++;
  meta_.merges.push_back(std::move(command));
}

bool ShardReplica::is_merging(uint64_t segment) const {
  return std::any_of(meta_.merges.begin(), meta_.merges.end(), [segment](const auto& merge) {
    return std::count(merge.sources.begin(), merge.sources.end(), segment) > 0;
  });
}

bool ShardReplica::kill_row(uint64_t row) {
  Part* part = part_of(row);
  return part != nullptr && part->kill(row);
}

ShardReplica::Part* ShardReplica::part_of(uint64_t row) {
  auto after = std::upper_bound(parts_.begin(), parts_.end(), row,
                                [](uint64_t r, const Part& part) { return r < part.begin_row; });
  return after == parts_.begin() ? nullptr : &*std::prev(after);
}

std::vector<ShardReplica::Part>::iterator ShardReplica::find_sources(
    const std::vector<uint64_t>& sources) {
  if (sources.empty()) return parts_.end();
  auto same = [](const Part& part, uint64_t id) { return part.id == id; };
  auto found =
      std::search(parts_.begin(), std::prev(parts_.end()), sources.begin(), sources.end(), same);
  return found == std::prev(parts_.end()) ? parts_.end() : found;
}

void ShardReplica::update_meta() {
  meta_.segments.clear();
  for (const Part& part : parts_) {
    meta_.segments.push_back({part.id, part.begin_row, part.end_row, part.built()});
  }
}

std::shared_ptr<const ShardSnapshot> ShardReplica::snapshot() {
  if (snapshot_) return snapshot_;
  auto view = std::make_shared<ShardSnapshot>(format());
  view->index = options_.index;
  view->applied_index = meta_.applied_index;
  view->hash_end = meta_.hash_end;
  view->by_vector = options_.by_vector;
  view->after = meta_.cells.after;
  view->segments.resize(format().size());
  for (Part& part : parts_) {
    for (size_t v = 0; v < format().size(); ++v) {
      view->segments[v].push_back(part.columns[v].share(part.id));
    }
  }
  view->store = store_;
  view->records = store_->snapshot();
  snapshot_ = std::move(view);
  return snapshot_;
}

std::function<Status()> ShardReplica::syncer() const {
  return [store = store_] { return store->sync(); };
}

uint32_t ShardReplica::seal_rows_min() const {
  if (options_.seal_rows_min > 0) return options_.seal_rows_min;
  // About 2 MiB of vectors: what one core scans in the time of a graph search.
  uint32_t widest = 0;
  for (size_t v = 0; v < format().size(); ++v) {
    widest = std::max(widest, format().format(v).dimension());
  }
  return std::clamp<uint32_t>((2u << 20) / (4 * widest), 1024, 8192);
}

uint32_t ShardReplica::seal_rows_max() const {
  if (options_.seal_rows_max > 0) return options_.seal_rows_max;
  uint32_t values = 0;
  for (size_t v = 0; v < format().size(); ++v) values += format().format(v).dimension();
  return std::clamp<uint32_t>((64u << 20) / (4 * values), 8192, 131072);
}

std::optional<std::string> ShardReplica::plan_maintenance(bool idle, Pause pause) const {
  const Part& growing = parts_.back();
  uint32_t rows = growing.rows();
  idle = idle && meta_.merges.empty();
  if (rows >= seal_rows_max() || (idle && rows >= seal_rows_min()) ||
      (idle && pause != Pause::none && growing.live >= rows_worth_sealing)) {
    return encode(SealCommand{growing.id});
  }
  if (!idle) return std::nullopt;
  size_t first = merge_start(pause);
  if (first >= parts_.size()) return std::nullopt;
  MergeCommand merge;
  size_t end = parts_.size() - 1;
  // A segment with many dead rows is rebuilt alone, where it stands.
  if (parts_[first].has_dead(dead_worth_a_build(pause))) end = first + 1;
  for (size_t i = first; i < end; ++i) merge.sources.push_back(parts_[i].id);
  // The same on every replica, as the entry carries it.
  merge.seed = mix(options_.group, meta_.next_segment);
  return encode(merge);
}

size_t ShardReplica::merge_start(Pause pause) const {
  size_t sealed = parts_.size() - 1;
  for (size_t i = 0; i < sealed; ++i) {
    if (parts_[i].has_dead(dead_worth_a_build(pause))) return i;
  }
  size_t first = sealed;
  uint64_t rows = 0;
  for (size_t i = 0; i < sealed; ++i) {
    if (!parts_[i].built()) {
      first = i;
      break;
    }
  }
  for (size_t i = first; i < sealed; ++i) rows += parts_[i].rows();
  bool unbuilt = first < sealed;
  if (!unbuilt && sealed > 0) rows = parts_[--first].rows();
  // Sizes at least double from neighbour to neighbour, so that there are few
  // graphs and each row moves a few times only. When writes pause, somewhat
  // larger neighbours are folded in too.
  while (first > 0) {
    uint64_t left = parts_[first - 1].rows();
    bool worth = left < 2 * rows || (pause != Pause::none && left / fold_divisor < rows);
    if (!worth || left + rows > rows_per_segment_max) break;
    rows += left;
    --first;
  }
  return unbuilt || first + 1 < sealed ? first : parts_.size();
}

BuildJob ShardReplica::make_job(uint64_t segment, const std::vector<uint64_t>& sources,
                                uint64_t seed) {
  BuildJob job;
  job.segment = segment;
  job.sources = sources;
  auto first = find_sources(sources);
  JADE_ASSERT(first != parts_.end());
  auto last = first + static_cast<std::ptrdiff_t>(sources.size());
  std::vector<ColumnBuild> columns;
  for (size_t v = 0; v < format().size(); ++v) {
    ColumnBuild build{blobs_,
                      store_,
                      format(),
                      v,
                      first->begin_row,
                      std::prev(last)->end_row,
                      {},
                      blob_of(format(), segment, v),
                      options_.index,
                      seed,
                      options_.workers};
    for (auto part = first; part != last; ++part) {
      SegmentView view = part->columns[v].share(part->id);
      build.inputs.push_back({view.segment, view.dead, view.visible});
    }
    columns.push_back(std::move(build));
  }
  job.built = std::make_shared<std::vector<std::shared_ptr<const SealedSegment>>>();
  job.run = [columns = std::move(columns), built = job.built, cancel = cancel_] {
    for (const ColumnBuild& column : columns) {
      auto sealed = column.run(cancel.get());
      if (!sealed.ok()) return sealed.status();
      built->push_back(std::move(*sealed));
    }
    return Status();
  };
  return job;
}

std::optional<BuildJob> ShardReplica::next_build() {
  for (size_t i = 0; i + 1 < parts_.size(); ++i) {
    // Its stored form is damaged: the same segment, once more.
    if (parts_[i].is_damaged() && !is_merging(parts_[i].id)) {
      return make_job(parts_[i].id, {parts_[i].id}, parts_[i].id);
    }
  }
  if (!meta_.merges.empty()) {
    const MergeCommand merge = meta_.merges.front();
    return make_job(merge.segment, merge.sources, merge.seed);
  }
  for (const Part& part : parts_) {
    if (part.is_outdated(options_.index)) return make_job(part.id, {part.id}, part.id);
  }
  return std::nullopt;
}

Status ShardReplica::finish_build(const BuildJob& job, const Status& status,
                                  std::function<Status()>* cleanup) {
  if (!status.ok()) return {};
  auto first = find_sources(job.sources);
  JADE_ASSERT(first != parts_.end());
  auto last = first + static_cast<std::ptrdiff_t>(job.sources.size());

  Part part;
  part.id = job.segment;
  part.begin_row = first->begin_row;
  part.end_row = std::prev(last)->end_row;
  JADE_ASSERT(job.built->size() == format().size());
  part.columns.resize(format().size());
  for (size_t v = 0; v < format().size(); ++v) part.columns[v].sealed = (*job.built)[v];
  // Rows that died before or during the build: dead here too, or gone for good.
  ShardStore::Batch batch;
  Status scanned = store_->scan_tombstones([&](uint64_t row) {
    if (row < part.begin_row || row >= part.end_row) return;
    if (!part.kill(row)) batch.forget_tombstone(row);
  });
  JADE_RETURN_IF_ERROR(scanned);
  kill_foreign(part);
  part.live = 0;
  for (auto it = first; it != last; ++it) part.live += it->live;
  std::vector<uint64_t> replaced, used;
  uint64_t used_bytes = 0;
  for (auto it = first; it != last; ++it) {
    bool same = it->id == job.segment;
    for (size_t v = 0; v < format().size(); ++v) {
      uint64_t blob = blob_of(format(), it->id, v);
      if (it->built() && !same) replaced.push_back(blob);
      if (!it->built() && !same) continue;
      used.push_back(blob);
      used_bytes += it->columns[v].rows() * format().format(v).row_bytes();
    }
  }
  // Less than that is LevelDB's own affair.
  if (used_bytes < reclaim_bytes_min) used.clear();
  *first = std::move(part);
  parts_.erase(first + 1, last);
  std::erase_if(meta_.merges,
                [&](const MergeCommand& merge) { return merge.segment == job.segment; });
  update_meta();
  batch.set_state(meta_);
  snapshot_.reset();
  JADE_RETURN_IF_ERROR(store_->commit(batch));
  if (!replaced.empty() || !used.empty()) {
    // Not before the new list is durable.
    *cleanup = [store = store_, blobs = blobs_, replaced, used] {
      if (!replaced.empty()) JADE_RETURN_IF_ERROR(store->sync());
      for (uint64_t blob : replaced) JADE_RETURN_IF_ERROR(blobs->remove(blob));
      blobs->reclaim(used);
      return Status();
    };
  }
  return {};
}

std::vector<std::shared_ptr<GrowingSegment>> ShardReplica::extensible() const {
  std::vector<std::shared_ptr<GrowingSegment>> out;
  for (const Part& part : parts_) {
    for (const Column& column : part.columns) {
      if (column.growing && column.growing->wants_extending()) out.push_back(column.growing);
    }
  }
  return out;
}

bool ShardReplica::lists_lag() const {
  uint64_t rows = 0;
  for (const auto& segment : extensible()) {
    if (segment->wants_lists()) rows += segment->rows() - segment->listed();
  }
  return rows > unlisted_factor * listed_rows_min();
}

void ShardReplica::cancel_builds() { cancel_->store(true); }

void ShardReplica::set_index(const IndexOptions& index) {
  if (index == options_.index) return;
  options_.index = index;
  snapshot_.reset();
}

ShardInfo ShardReplica::describe() const {
  ShardInfo info;
  info.shard = options_.group;
  info.measured_recall = measured_recall();
  info.vectors = live_rows_;
  info.applied_index = meta_.applied_index;
  for (const Part& part : parts_) {
    bool grows = &part == &parts_.back();
    for (size_t v = 0; v < format().size(); ++v) {
      const Column& column = part.columns[v];
      SegmentInfo segment;
      segment.id = part.id;
      segment.vector = format().name(v);
      segment.state = grows ? "growing" : part.built() ? "indexed" : "sealed";
      segment.kind = column.segment()->kind();
      segment.rows = column.rows();
      segment.dead_rows = column.dead_count;
      if (column.sealed && column.sealed->codes() != nullptr) {
        segment.quantization = column.sealed->codes()->kind();
        if (column.sealed->stored() != nullptr) segment.vectors = VectorPlace::disk;
      }
      info.segments.push_back(std::move(segment));
    }
    // By rows that live: of dead ones a replica has more the longer it has been running.
    bool final = grows ? part.live < rows_worth_sealing
                       : part.built() && !is_merging(part.id) && !part.is_outdated(options_.index);
    if (final) info.indexed_vectors += part.live;
  }
  return info;
}

double ShardReplica::measured_recall() const {
  // Of several vectors, that which does worst.
  double least = -1;
  for (size_t v = 0; v < format().size(); ++v) {
    double recall = measured_recall(v);
    if (recall >= 0 && (least < 0 || recall < least)) least = recall;
  }
  return least;
}

double ShardReplica::measured_recall(size_t vector) const {
  double found = 0, rows = 0;
  bool measured = false;
  for (const Part& part : parts_) {
    const Column& column = part.columns[vector];
    auto live = static_cast<double>(column.live());
    double recall = 1;  // of an exact search
    if (column.sealed && column.sealed->kind() != IndexKind::flat) {
      auto known = jade::measured_recall(*column.sealed, options_.index);
      if (!known) continue;
      measured = true;
      recall = *known;
    } else if (column.growing && column.growing->listed() > 0) {
      continue;
    }
    found += live * recall;
    rows += live;
  }
  return measured && rows > 0 ? found / rows : -1;
}

double ShardReplica::share_before(std::string_view key) const {
  // Nearly all of it are the records.
  auto row = ShardStore::row_of_key(key);
  return row ? std::min(1.0, static_cast<double>(*row) / static_cast<double>(meta_.next_row)) : 0;
}

}  // namespace jade
