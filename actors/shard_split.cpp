#include "actors/shard_split.h"

#include "actors/node.h"
#include "actors/raft_message.h"
#include "actors/shard_files.h"
#include "storage/data_dir.h"

namespace jade {
namespace {

constexpr size_t batch_bytes = 1u << 20;

// The ids of a store that are the child's.
class ChildIds {
 public:
  ChildIds(const SplitState& split, const ShardStore& store, const Snapshot& at)
      : split_(split), ids_(store.ids("", at)) {
    skip();
  }
  bool valid() const { return ids_.valid(); }
  std::string_view id() const { return ids_.id(); }
  uint64_t row() const { return ids_.row(); }
  const Status& status() const { return ids_.status(); }
  void next() {
    ids_.next();
    skip();
  }

 private:
  void skip() {
    while (ids_.valid()) {
      uint64_t hash = hash_of_row_key(ids_.id());
      if (hash >= split_.at && is_before(hash, split_.end)) return;
      ids_.next();
    }
  }

  const SplitState& split_;
  ShardStore::Ids ids_;
};

// Changes of the child, in batches of bounded size.
class ChildWriter {
 public:
  explicit ChildWriter(ShardStore& child) : child_(child) {}

  Status put(uint64_t row, Record record) {
    batch_.put(row, record.id, record.values, record.metadata);
    bytes_ += record.id.size() + record.values.size() + record.metadata.size() + 64;
    written_.emplace_back(row, std::move(record));
    return flush_if_large();
  }
  Status remove(uint64_t row, std::string_view id) {
    batch_.remove(row, id);
    bytes_ += id.size() + 64;
    return flush_if_large();
  }
  // Reads back what was written.
  Status flush() {
    JADE_RETURN_IF_ERROR(child_.commit(batch_));
    for (const auto& [row, record] : written_) {
      auto back = child_.get(row);
      if (!back.ok()) return back.status();
      bool same = back->id == record.id && back->values == record.values &&
                  back->metadata == record.metadata;
      if (!same) return corruption("row " + std::to_string(row) + " is not what was copied");
    }
    batch_ = ShardStore::Batch();
    written_.clear();
    bytes_ = 0;
    return {};
  }

 private:
  Status flush_if_large() { return bytes_ < batch_bytes ? Status() : flush(); }

  ShardStore& child_;
  ShardStore::Batch batch_;
  std::vector<std::pair<uint64_t, Record>> written_;
  size_t bytes_ = 0;
};

// Makes the child's rows those of the parent; returns how many it had to change.
Result<uint64_t> level(const SplitSource& source, ShardStore& child) {
  const ShardSnapshot& parent = *source.view;
  ChildIds wanted(source.split, *parent.store, parent.records);
  ShardStore::Ids had = child.ids("", {});
  ChildWriter writer(child);
  uint64_t changes = 0;
  while (wanted.valid() || had.valid()) {
    bool surplus = had.valid() && (!wanted.valid() || had.id() < wanted.id());
    bool missing = wanted.valid() && (!had.valid() || wanted.id() < had.id());
    if (surplus || (!missing && had.row() != wanted.row())) {
      JADE_RETURN_IF_ERROR(writer.remove(had.row(), had.id()));
      ++changes;
    }
    if (missing || (!surplus && had.row() != wanted.row())) {
      auto record = parent.store->get(wanted.row(), parent.records);
      if (!record.ok()) return record.status();
      JADE_RETURN_IF_ERROR(writer.put(wanted.row(), std::move(*record)));
      ++changes;
    }
    if (!missing) had.next();
    if (!surplus) wanted.next();
  }
  JADE_RETURN_IF_ERROR(wanted.status());
  JADE_RETURN_IF_ERROR(had.status());
  JADE_RETURN_IF_ERROR(writer.flush());
  return changes;
}

Result<std::shared_ptr<ShardStore>> open_child(const NodeContext& context, uint64_t child) {
  leveldb::Env* env = context.seams.env;
  std::string dir = shard_directory(context.config.data_dir, child);
  env->CreateDir(context.config.data_dir + "/shards");
  env->CreateDir(dir);
  auto opened = ShardStore::open(env, data_directory(dir), context.cache);
  if (opened.ok() || opened.status().code() != Code::corruption) return opened;
  // What a crash left of an earlier attempt.
  JADE_RETURN_IF_ERROR(remove_tree(env, data_directory(dir)));
  return ShardStore::open(env, data_directory(dir), context.cache);
}

Status copy_requests(const SplitSource& source, ShardStore& child) {
  ShardStore::Batch batch;
  Status scanned = source.view->store->scan_requests(
      [&](Request request) {
        if (request.index > source.split.index) return;
        if (request.group == 0) request.group = source.group;
        batch.remember(request);
      },
      source.view->records);
  JADE_RETURN_IF_ERROR(scanned);
  return child.commit(batch);
}

ShardStateMeta first_state(const SplitState& split, bool empty) {
  ShardStateMeta state;
  state.applied_index = split.index;
  state.applied_term = split.term;
  state.next_row = split.next_row;
  state.hash_end = split.end;
  // Sealed, so that an index is built of all of them at once.
  if (!empty) state.segments.push_back({1, 0, split.next_row, false});
  state.segments.push_back({2, split.next_row, UINT64_MAX, false});
  state.next_segment = 3;
  return state;
}

}  // namespace

Status prepare_child(const NodeContext& context, const SplitSource& source) {
  auto child = open_child(context, source.split.child);
  if (!child.ok()) return child.status();
  return level(source, **child).status();
}

Status make_child(const NodeContext& context, const SplitSource& source,
                  const std::vector<uint64_t>& members) {
  const SplitState& split = source.split;
  auto child = open_child(context, split.child);
  if (!child.ok()) return child.status();
  auto changes = level(source, **child);
  if (!changes.ok()) return changes.status();
  // And again, to see that nothing is left to do.
  changes = level(source, **child);
  if (!changes.ok()) return changes.status();
  if (*changes > 0) {
    return corruption(std::to_string(*changes) + " rows that were split off did not arrive");
  }
  JADE_RETURN_IF_ERROR(copy_requests(source, **child));
  bool empty = !(*child)->ids("", {}).valid();
  ShardStore::Batch batch;
  batch.set_state(first_state(split, empty));
  JADE_RETURN_IF_ERROR((*child)->commit(batch));
  JADE_RETURN_IF_ERROR((*child)->sync());
  child->reset();
  RaftConfiguration configuration;
  for (uint64_t member : members) configuration.set(member, true, {});
  // Last: that there is a log says that the state is whole.
  return context.log->install(
      split.child, {split.index, split.term, split.index, configuration.encode(), "shard"});
}

}  // namespace jade
