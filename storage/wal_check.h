// Mends the one kind of damage that power loss leaves behind in LevelDB's
// append-only files (write-ahead logs and manifests): an end that was not synced
// and is torn. LevelDB itself either drops damage silently, with all that follows
// in the block, or refuses to open.
#pragma once

#include <leveldb/env.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "storage/status.h"

namespace jade {

struct WalExtent {
  uint64_t good_bytes = 0;    // the end of the last complete record before any damage
  bool damaged = false;       // something after it is not a record
  bool more_follows = false;  // and a complete record lies behind that: not a torn end
};

// Scans a file of LevelDB's log format (its doc/log_format.md): blocks of 32 KiB,
// records of masked CRC32C, length, type, payload.
WalExtent scan_wal(std::string_view file);

struct WalCut {
  std::string path;
  uint64_t bytes = 0;  // that were cut off
};

// Cuts torn ends off the logs and manifests in `dir`, and tells which. Corruption,
// named by file and offset, is damage that no crash leaves behind, and nothing is
// changed then: damage with complete records behind it, and a torn log that is
// followed by another with anything in it (DurableEnv syncs a log before the next
// one gets its first byte). A torn log may have an empty one after it: LevelDB
// creates the next log before it closes the last. Logs that the manifest has done
// with are not looked at, nor does LevelDB: one that could not be synced, and was
// then saved to a table and removed, may come back torn. A missing directory is
// fine.
Result<std::vector<WalCut>> check_wal(leveldb::Env* env, const std::string& dir);

}  // namespace jade
