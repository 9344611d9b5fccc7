// What a shard calls a row: the key form of its id, and before that, in a database
// that is sharded by key, the shard key. Rows of one shard key lie together, in one
// shard, and ids are unique within it.
//
//   id key                                   0x01 BE64, or 0x02 text
//   0x03 shard key's key form [0x00] id key  the zero byte after a text only
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "storage/vector_id.h"

namespace jade {

// `shard_key`: none where the database is sharded by id.
std::string row_key(const std::optional<VectorId>& shard_key, const VectorId& id);

// What the keys of all rows of one shard key begin with.
std::string row_key_prefix(const VectorId& shard_key);

// The id in it; corruption where it has another form.
Result<VectorId> id_of_row_key(std::string_view key);

// The shard key in it; nothing where ids tell the shard.
Result<std::optional<VectorId>> shard_key_of_row_key(std::string_view key);

// Chooses the shard. The same on every machine and in every version.
uint64_t hash_of_row_key(std::string_view key);

}  // namespace jade
