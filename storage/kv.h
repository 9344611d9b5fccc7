// An ordered key-value store: LevelDB, with our defaults and error vocabulary.
#pragma once

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "storage/env.h"

namespace jade {

// Takes what a person should know of. Any thread.
using Warn = std::function<void(std::string_view message)>;

struct KvOptions {
  size_t write_buffer_bytes = 4u << 20;  // per memtable; two may be in memory
  size_t max_file_bytes = 2u << 20;
  size_t block_bytes = 4u << 10;
  std::shared_ptr<leveldb::Cache> cache;  // may be shared; null: LevelDB's default of 8 MiB
  Warn warn;                              // of what was cut off at opening; may be empty
};

// A state of the store; keeps the store open while it lives.
using Snapshot = std::shared_ptr<const leveldb::Snapshot>;

class KvStore {
 public:
  // Creates the store when missing. A torn end of its write-ahead log is cut off;
  // damage before the end is corruption and changes nothing.
  static Result<std::unique_ptr<KvStore>> open(leveldb::Env* env, const std::string& dir,
                                               KvOptions options);

  const std::string& dir() const { return dir_; }

  // Any thread may call these.
  Result<std::optional<std::string>> get(std::string_view key, const Snapshot& at = {}) const;
  // All or nothing. After a failure everything is refused until reopen(): half a
  // record may be in the write-ahead log, and what followed it would be lost.
  Status write(leveldb::WriteBatch& batch, bool sync);
  // Everything written so far becomes durable.
  Status sync();
  Snapshot snapshot() const;
  // Keeps the store open, as a snapshot does. Blocks of long scans are better not
  // cached.
  std::unique_ptr<leveldb::Iterator> iterate(const Snapshot& at = {}, bool fill_cache = true) const;

  // Gives the space back that deleted and overwritten keys in [begin, end) take up; reads and
  // rewrites what is there. What fails in it, later writes tell.
  void compact(std::string_view begin, std::string_view end);

  // After a failed write, closes and opens again; ok at once when none failed.
  // failed_precondition while snapshots, iterators or calls in progress keep the
  // store open: they stay valid, try again when they are gone. Any thread; of
  // several one reopens and the others wait.
  Status reopen();

 private:
  struct Files;
  KvStore() = default;
  Status open_files();
  std::shared_ptr<Files> files() const;

  leveldb::Env* env_ = nullptr;
  std::string dir_;
  KvOptions options_;
  std::mutex reopening_;  // before mutex_
  mutable std::mutex mutex_;
  std::shared_ptr<Files> files_;
  Status broken_;
};

}  // namespace jade
