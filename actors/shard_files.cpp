#include "actors/shard_files.h"

#include <algorithm>
#include <utility>

#include "actors/cluster_map.h"
#include "actors/node.h"
#include "storage/checksum.h"
#include "storage/data_dir.h"

namespace jade {
namespace {

constexpr char mark_name[] = "COPIED";
constexpr uint64_t mark_bytes_max = 1u << 20;

std::string directory_of(const NodeContext& context, uint64_t group) {
  return shard_directory(context.config.data_dir, group);
}
std::string copy_directory(const NodeContext& context, uint64_t group) {
  return directory_of(context, group) + "/copy";
}
std::string spent_directory(const NodeContext& context, uint64_t group) {
  return directory_of(context, group) + "/spent";
}
std::string mark_path(const NodeContext& context, uint64_t group) {
  return directory_of(context, group) + "/" + mark_name;
}

// unavailable while a search, say, has the state open: LevelDB takes all files of that name for its
// own, and would delete those that take their place.
Status check_closed(const NodeContext& context, uint64_t group) {
  leveldb::Env* env = context.seams.env;
  const std::string dir = directory_of(context, group);
  for (const std::string& store : {data_directory(dir), segments_directory(dir)}) {
    if (!env->FileExists(store + "/LOCK")) continue;
    leveldb::FileLock* lock = nullptr;
    leveldb::Status locked = env->LockFile(store + "/LOCK", &lock);
    if (!locked.ok()) return unavailable(store + " is still in use: " + locked.ToString());
    JADE_RETURN_IF_ERROR(from_leveldb(env->UnlockFile(lock), "unlocking " + store));
  }
  return {};
}

Status remove_state(const NodeContext& context, uint64_t group) {
  JADE_RETURN_IF_ERROR(check_closed(context, group));
  const std::string dir = directory_of(context, group);
  JADE_RETURN_IF_ERROR(remove_tree(context.seams.env, data_directory(dir)));
  return remove_tree(context.seams.env, segments_directory(dir));
}

// With the mark on disk. As long as it is, this is done again.
Status take_over(const NodeContext& context, uint64_t group, const RaftSnapshot& snapshot) {
  leveldb::Env* env = context.seams.env;
  const std::string copy = copy_directory(context, group);
  if (env->FileExists(copy)) {
    JADE_RETURN_IF_ERROR(remove_state(context, group));
    leveldb::Status renamed = env->RenameFile(copy, data_directory(directory_of(context, group)));
    JADE_RETURN_IF_ERROR(from_leveldb(renamed, "putting " + copy + " in its place"));
  }
  JADE_RETURN_IF_ERROR(remove_tree(env, spent_directory(context, group)));
  // Syncs a file, before which a journalling file system makes the renaming durable.
  JADE_RETURN_IF_ERROR(context.log->install(group, snapshot));
  return from_leveldb(env->RemoveFile(mark_path(context, group)), "taking the mark off a copy");
}

}  // namespace

std::string shard_directory(const std::string& data_dir, uint64_t group) {
  return data_dir + "/shards/" + std::to_string(group);
}

std::string data_directory(const std::string& dir) { return dir + "/data"; }

std::string segments_directory(const std::string& dir) { return dir + "/segments"; }

Result<std::shared_ptr<ShardStore>> begin_copy(const NodeContext& context, uint64_t group) {
  JADE_RETURN_IF_ERROR(check_closed(context, group));
  leveldb::Env* env = context.seams.env;
  env->CreateDir(context.config.data_dir + "/shards");
  env->CreateDir(directory_of(context, group));
  // A damaged one.
  if (env->FileExists(mark_path(context, group))) env->RemoveFile(mark_path(context, group));
  const std::string copy = copy_directory(context, group);
  JADE_RETURN_IF_ERROR(remove_tree(env, copy));
  return ShardStore::open(env, copy, context.cache);
}

Status finish_copy(const NodeContext& context, uint64_t group, std::shared_ptr<ShardStore> copy,
                   const RaftSnapshot& snapshot) {
  JADE_RETURN_IF_ERROR(copy->sync());
  copy.reset();
  JADE_RETURN_IF_ERROR(write_file(context.seams.env, mark_path(context, group),
                                  checked(mark_name, encode(snapshot))));
  return take_over(context, group, snapshot);
}

Status settle_copy(const NodeContext& context, uint64_t group) {
  leveldb::Env* env = context.seams.env;
  const std::string path = mark_path(context, group);
  if (!env->FileExists(path)) return remove_tree(env, copy_directory(context, group));
  auto bytes = read_file(env, path, mark_bytes_max);
  if (!bytes.ok()) return bytes.status();
  auto payload = check(mark_name, *bytes);
  if (!payload) return corruption(path + " has a wrong checksum");
  auto snapshot = decode_snapshot(*payload, path);
  if (!snapshot.ok()) return snapshot.status();
  return take_over(context, group, *snapshot);
}

Result<bool> make_room(const NodeContext& context, uint64_t group) {
  JADE_RETURN_IF_ERROR(check_closed(context, group));
  leveldb::Env* env = context.seams.env;
  const std::string data = data_directory(directory_of(context, group));
  const std::string spent = spent_directory(context, group);
  const bool any = env->FileExists(data);
  if (any) {
    // Needs no room, and says for good that there is no state, of which half may be gone.
    leveldb::Status renamed = env->RenameFile(data, spent);
    JADE_RETURN_IF_ERROR(from_leveldb(renamed, "putting " + data + " aside"));
  }
  JADE_RETURN_IF_ERROR(clear_directory(env, spent));
  JADE_RETURN_IF_ERROR(remove_tree(env, segments_directory(directory_of(context, group))));
  return any;
}

bool is_spent(const NodeContext& context, uint64_t group) {
  return context.seams.env->FileExists(spent_directory(context, group));
}

Status remove_shard(const NodeContext& context, uint64_t group) {
  JADE_RETURN_IF_ERROR(check_closed(context, group));
  JADE_RETURN_IF_ERROR(
      remove_tree(context.seams.env, shard_directory(context.config.data_dir, group)));
  return context.log->remove_group(group);
}

std::set<uint64_t> shards_on_disk(leveldb::Env* env, const std::string& data_dir) {
  std::set<uint64_t> found;
  std::vector<std::string> names;
  // No directory yet: no shards.
  env->GetChildren(data_dir + "/shards", &names);
  for (const std::string& name : names) {
    bool number = !name.empty() && name.size() < 20 &&
                  name.find_first_not_of("0123456789") == std::string::npos;
    if (number) found.insert(std::stoull(name));
  }
  return found;
}

Status remove_other_shards(const NodeContext& context, const std::set<uint64_t>& keep,
                           uint64_t next_group) {
  std::set<uint64_t> found = shards_on_disk(context.seams.env, context.config.data_dir);
  auto groups = context.log->groups();
  if (!groups.ok()) return groups.status();
  found.insert(groups->begin(), groups->end());
  Status unknown, failed;
  for (uint64_t group : found) {
    if (group <= metadata_group || keep.count(group) > 0) continue;
    if (group >= next_group) {
      unknown =
          corruption("shard " + std::to_string(group) +
                     " is on disk, but the catalog has not come that far: the log in " +
                     context.config.data_dir + " was cut or replaced. The shard is left as it is");
      continue;
    }
    context.say(LogLevel::info, "node", "removing dropped shard " + std::to_string(group));
    Status removed = remove_shard(context, group);
    if (failed.ok()) failed = std::move(removed);
  }
  return unknown.ok() ? failed : unknown;
}

}  // namespace jade
