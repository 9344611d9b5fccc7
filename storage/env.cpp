#include "storage/env.h"

#include <memory>

namespace jade {
namespace {

class SyncOnClose final : public leveldb::WritableFile {
 public:
  SyncOnClose(leveldb::WritableFile* target, std::shared_ptr<std::atomic<bool>> failed)
      : target_(target), failed_(std::move(failed)) {}
  // LevelDB does not ask how closing went, so the next write or sync tells it.
  ~SyncOnClose() override {
    if (!closed_) (void)Close();
  }

  leveldb::Status Append(const leveldb::Slice& data) override {
    return failed_->load() ? lost() : target_->Append(data);
  }
  leveldb::Status Flush() override { return target_->Flush(); }
  leveldb::Status Sync() override { return failed_->load() ? lost() : target_->Sync(); }
  leveldb::Status Close() override {
    closed_ = true;
    leveldb::Status synced = target_->Sync();
    if (!synced.ok()) failed_->store(true);
    leveldb::Status closed = target_->Close();
    return synced.ok() ? closed : synced;
  }

 private:
  static leveldb::Status lost() {
    return leveldb::Status::IOError("an earlier write-ahead log could not be synced");
  }

  std::unique_ptr<leveldb::WritableFile> target_;
  std::shared_ptr<std::atomic<bool>> failed_;
  bool closed_ = false;
};

bool is_log(const std::string& path) {
  return path.size() > 4 && path.compare(path.size() - 4, 4, ".log") == 0;
}

leveldb::Status wrap_log(const std::string& path, leveldb::Status status,
                         leveldb::WritableFile** out,
                         const std::shared_ptr<std::atomic<bool>>& failed) {
  if (status.ok() && is_log(path)) *out = new SyncOnClose(*out, failed);
  return status;
}

}  // namespace

leveldb::Status DurableEnv::NewWritableFile(const std::string& path, leveldb::WritableFile** out) {
  return wrap_log(path, target()->NewWritableFile(path, out), out, sync_failed_);
}

leveldb::Status DurableEnv::NewAppendableFile(const std::string& path,
                                              leveldb::WritableFile** out) {
  return wrap_log(path, target()->NewAppendableFile(path, out), out, sync_failed_);
}

Status from_leveldb(const leveldb::Status& status, std::string_view context) {
  if (status.ok()) return {};
  std::string message = status.ToString();
  Code code = Code::io_error;
  if (message.find("No space left on device") != std::string::npos ||
      message.find("Disk quota exceeded") != std::string::npos) {
    code = Code::disk_full;
  } else if (status.IsCorruption()) {
    code = Code::corruption;
  } else if (status.IsNotFound()) {
    code = Code::not_found;
  }
  return Status(code, std::string(context) + ": " + message);
}

}  // namespace jade
