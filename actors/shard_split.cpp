#include "actors/shard_split.h"

#include "actors/node.h"
#include "actors/raft_message.h"
#include "storage/crc32c.h"
#include "storage/data_dir.h"

namespace jade {
namespace {

constexpr size_t batch_bytes = 1u << 20;

// Of rows, in their order.
struct Digest {
  uint64_t rows = 0;
  uint32_t crc = 0;

  void add(uint64_t row, const Record& record) {
    ++rows;
    crc = crc32c({reinterpret_cast<const char*>(&row), sizeof row}, crc);
    for (const std::string* part : {&record.id, &record.values, &record.metadata}) {
      crc = crc32c(*part, crc);
    }
  }
  friend bool operator==(const Digest&, const Digest&) = default;
};

Result<Digest> copy_rows(const SplitSource& source, ShardStore& child) {
  const SplitState& split = source.split;
  Digest digest;
  ShardStore::Batch batch;
  size_t bytes = 0;
  auto flush = [&] {
    Status status = child.commit(batch);
    batch = ShardStore::Batch();
    bytes = 0;
    return status;
  };
  Status scanned = source.view->store->scan_rows(
      0, split.next_row,
      [&](uint64_t row, Record record) {
        uint64_t hash = hash_of_row_key(record.id);
        if (hash < split.at || !is_before(hash, split.end)) return Status();
        digest.add(row, record);
        batch.put(row, record.id, record.values, record.metadata);
        bytes += record.id.size() + record.values.size() + record.metadata.size();
        return bytes < batch_bytes ? Status() : flush();
      },
      source.view->records);
  JADE_RETURN_IF_ERROR(scanned);
  JADE_RETURN_IF_ERROR(flush());
  return digest;
}

Status copy_requests(const SplitSource& source, ShardStore& child) {
  ShardStore::Batch batch;
  Status scanned = source.view->store->scan_requests(
      [&](Request request) {
        if (request.index <= source.split.index) batch.remember(request);
      },
      source.view->records);
  JADE_RETURN_IF_ERROR(scanned);
  return child.commit(batch);
}

// The row of every id is there, and nothing else is.
Status verify(const ShardStore& child, const Digest& expected) {
  Digest rows;
  Status scanned = child.scan_rows(0, UINT64_MAX, [&](uint64_t row, const Record& record) {
    rows.add(row, record);
    return Status();
  });
  JADE_RETURN_IF_ERROR(scanned);
  uint64_t ids = 0;
  JADE_RETURN_IF_ERROR(child.scan_ids("", {}, [&](std::string_view, uint64_t) {
    ++ids;
    return true;
  }));
  if (rows == expected && ids == expected.rows) return {};
  return corruption("of " + std::to_string(expected.rows) + " rows that were split off, " +
                    std::to_string(rows.rows) + " arrived, or other ones");
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

Status make_child(const NodeContext& context, const SplitSource& source,
                  const std::vector<uint64_t>& members) {
  const SplitState& split = source.split;
  leveldb::Env* env = context.seams.env;
  std::string dir = shard_directory(context.config.data_dir, split.child);
  JADE_RETURN_IF_ERROR(remove_tree(env, dir));
  env->CreateDir(context.config.data_dir + "/shards");
  env->CreateDir(dir);
  auto opened = ShardStore::open(env, data_directory(dir), context.cache);
  if (!opened.ok()) return opened.status();
  std::shared_ptr<ShardStore> child = std::move(*opened);
  auto digest = copy_rows(source, *child);
  if (!digest.ok()) return digest.status();
  JADE_RETURN_IF_ERROR(copy_requests(source, *child));
  JADE_RETURN_IF_ERROR(verify(*child, *digest));
  ShardStore::Batch batch;
  batch.set_state(first_state(split, digest->rows == 0));
  JADE_RETURN_IF_ERROR(child->commit(batch));
  JADE_RETURN_IF_ERROR(child->sync());
  child.reset();
  RaftConfiguration configuration;
  for (uint64_t member : members) configuration.set(member, true, {});
  // Last: that there is a log says that the state is whole.
  return context.log->replace(
      split.child, {split.index, split.term, split.index, configuration.encode(), "shard"});
}

Status await_copy(const NodeContext& context, uint64_t child) {
  std::string dir = shard_directory(context.config.data_dir, child);
  JADE_RETURN_IF_ERROR(remove_tree(context.seams.env, dir));
  return context.log->mark_begun(child);
}

}  // namespace jade
