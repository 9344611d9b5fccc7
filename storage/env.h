// What LevelDB needs from the file system beyond leveldb::Env.
#pragma once

#include <leveldb/env.h>
#include <leveldb/status.h>

#include <atomic>
#include <memory>
#include <string_view>

#include "storage/status.h"

namespace jade {

// An Env that syncs write-ahead logs before it closes them.
//
// LevelDB starts a new log file when its write buffer is full and closes the old
// one without a sync. A synced write to the new log then says nothing about the
// end of the old one, so after power loss there could be a hole: later writes
// present, earlier ones gone. With this, what survives is always a prefix of what
// was written. It costs one sync a write buffer.
class DurableEnv final : public leveldb::EnvWrapper {
 public:
  // `target` outlives this.
  explicit DurableEnv(leveldb::Env* target) : leveldb::EnvWrapper(target) {}

  leveldb::Status NewWritableFile(const std::string& path, leveldb::WritableFile** out) override;
  leveldb::Status NewAppendableFile(const std::string& path, leveldb::WritableFile** out) override;

 private:
  // A log could not be synced when it was closed: nothing after it may be written.
  std::shared_ptr<std::atomic<bool>> sync_failed_ = std::make_shared<std::atomic<bool>>(false);
};

// The same failure in our vocabulary; "disk_full" where the disk is full.
Status from_leveldb(const leveldb::Status& status, std::string_view context);

}  // namespace jade
