// What a node has of its shards on disk, and how a copy of another's state takes the place of a
// replica's own (docs/decisions/0010-a-copy-replaces-a-replica.md). All of it blocks.
//
//   shards/N/data      the state: records, and which log entry they are at
//   shards/N/segments  what is built of the records
//   shards/N/copy      another's state, as far as it has come; becomes data/ once it is whole
//   shards/N/spent     there is no state until then: it made room for the copy
//   shards/N/COPIED    it is whole: the RaftSnapshot with which the log goes on after it
#pragma once

#include <leveldb/env.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "storage/log_store.h"
#include "storage/shard_store.h"

namespace jade {

struct NodeContext;

// So many a replica has open all the time: of each of its two stores the lock, the manifest and the
// log, and some tables.
constexpr size_t files_per_replica = 8;

std::string shard_directory(const std::string& data_dir, uint64_t group);
// Of what is in it.
std::string data_directory(const std::string& shard_directory);
std::string segments_directory(const std::string& shard_directory);

// Opens an empty store for a copy, in the place of an earlier one. The replica's state and log stay
// as they are until the copy is whole, as what it acknowledged counts; it must not run meanwhile.
Result<std::shared_ptr<ShardStore>> begin_copy(const NodeContext& context, uint64_t group);
// The copy is whole: it becomes the state, and `snapshot` takes the place of the log. `copy` must
// be the last reference.
Status finish_copy(const NodeContext& context, uint64_t group, std::shared_ptr<ShardStore> copy,
                   const RaftSnapshot& snapshot);
// What a crash has left of either: carries the second out, and removes what is not whole. To be
// called before a replica is opened. corruption: the mark of a whole copy is damaged.
Status settle_copy(const NodeContext& context, uint64_t group);
// Where the disk has no room for a copy beside the state that it is to replace: removes the state,
// and says whether there was one. The log stays.
Result<bool> make_room(const NodeContext& context, uint64_t group);
// Whether it was, and nothing has taken its place since: then only a copy may be opened.
bool is_spent(const NodeContext& context, uint64_t group);

// Deletes a shard's files and log. unavailable while somebody has them open, as a search may that
// has begun before the shard ended.
Status remove_shard(const NodeContext& context, uint64_t group);
// Raft groups that have a directory.
std::set<uint64_t> shards_on_disk(leveldb::Env* env, const std::string& data_dir);
// Deletes all shards on disk that are not in `keep`, but for those from `next_group` on, of which
// the catalog cannot know: corruption where there are such. Else the first failure; it goes on with
// the others.
Status remove_other_shards(const NodeContext& context, const std::set<uint64_t>& keep,
                           uint64_t next_group);

}  // namespace jade
