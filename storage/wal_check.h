// Mends the one kind of damage that power loss leaves behind in LevelDB's
// append-only files (write-ahead logs and manifests): an end that was not synced
// and is torn. LevelDB itself either drops damage silently, with all that follows
// in the block, or refuses to open.
#pragma once

#include <leveldb/env.h>

#include <cstdint>
#include <string>
#include <string_view>

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

// Cuts torn ends off all logs and manifests in `dir`; returns the bytes dropped.
// Damage with complete records behind it is corruption, named by file and offset,
// and nothing is changed. A missing directory is fine.
Result<uint64_t> check_wal(leveldb::Env* env, const std::string& dir);

}  // namespace jade
