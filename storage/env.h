// What LevelDB needs from the file system beyond leveldb::Env.
#pragma once

#include <leveldb/env.h>
#include <leveldb/status.h>

#include <cstdint>
#include <mutex>
#include <string>
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
//
// LevelDB ignores a failure of that last sync, and lets writers that wait in its
// queue write behind the half record of one that failed. Here the first failure
// of any log fails all that is later asked of any: open the store anew, with a
// new DurableEnv. Any thread.
class DurableEnv final : public leveldb::EnvWrapper {
 public:
  // `target` outlives this, and this the files that it opened.
  explicit DurableEnv(leveldb::Env* target) : leveldb::EnvWrapper(target) {}

  leveldb::Status NewWritableFile(const std::string& path, leveldb::WritableFile** out) override;
  leveldb::Status NewAppendableFile(const std::string& path, leveldb::WritableFile** out) override;

 private:
  class LogFile;
  leveldb::Status wrap_log(const std::string& path, leveldb::Status status,
                           leveldb::WritableFile** out);
  leveldb::Status failure() const;
  leveldb::Status note(leveldb::Status status);

  mutable std::mutex mutex_;
  leveldb::Status failure_;  // the first one of a log
};

// A file of which one can say what is to be read soon.
class HintedFile : public leveldb::RandomAccessFile {
 public:
  virtual void will_read(uint64_t offset, size_t n) const = 0;
};

// The file system of this machine: leveldb::Env::Default(), but files are read by pread(2), not as
// a part of memory, where a file that was cut or a disk that fails would end the process. What
// lies in a directory called "rows" (storage/row_file.h) is not read ahead: each row that is not
// in the kernel's cache would cost the 32 pages around it. Keeps up to a quarter of the files
// open that the process may have. LevelDB writes no log of its doings. Lives as long as the
// program.
leveldb::Env* file_system();

// How many files this process may have open.
size_t open_files_max();
// As many as it may allow itself, from now on.
void raise_open_files_max();

// The same failure in our vocabulary: disk_full where the disk is full, corruption where a file is
// damaged or missing, else io_error.
Status from_leveldb(const leveldb::Status& status, std::string_view context);
// Before memory is taken for a file: corruption where it has more bytes than `most`.
Status check_file_size(leveldb::Env* env, const std::string& path, uint64_t most);
Result<std::string> read_file(leveldb::Env* env, const std::string& path, uint64_t most);
// Durable, and atomic: the file has the old content or the new.
Status write_file(leveldb::Env* env, const std::string& path, const std::string& bytes);

}  // namespace jade
