// What an update asks of records that exist, as the logs of shards have it
// (docs/decisions/0037-partial-updates.md).
#pragma once

#include <vector>

#include "actors/api.h"
#include "storage/record.h"

namespace jade {

struct PreparedUpdate {
  // One for each id, in the order in which they are first named; without place and cell.
  std::vector<UpdateCommand::Row> rows;
  std::vector<VectorId> ids;        // of the rows
  std::vector<VectorId> keys;       // the same, where there is a shard key; else empty
  uint32_t metadata_bytes_max = 0;  // of a record, as in UpdateCommand
};

// Checks a whole update against its database, embeds texts, canonicalises metadata, makes values
// what is stored, and of several changes of one id one. Names the first offending vector and
// field. What depends on what is stored is for the shard to see. Uses `request` up.
Result<PreparedUpdate> prepare_update(const DatabaseSpec& spec, UpdateRequest& request);

}  // namespace jade
