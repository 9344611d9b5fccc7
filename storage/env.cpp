#include "storage/env.h"

#include <memory>

namespace jade {
namespace {

bool is_log(const std::string& path) {
  return path.size() > 4 && path.compare(path.size() - 4, 4, ".log") == 0;
}

}  // namespace

class DurableEnv::LogFile final : public leveldb::WritableFile {
 public:
  LogFile(DurableEnv* env, leveldb::WritableFile* target) : env_(env), target_(target) {}
  // LevelDB drops its old log rather than closing it: the failure shows in the
  // next write.
  ~LogFile() override {
    if (!closed_) (void)Close();
  }

  leveldb::Status Append(const leveldb::Slice& data) override {
    leveldb::Status failed = env_->failure();
    return failed.ok() ? env_->note(target_->Append(data)) : failed;
  }
  leveldb::Status Flush() override {
    leveldb::Status failed = env_->failure();
    return failed.ok() ? env_->note(target_->Flush()) : failed;
  }
  leveldb::Status Sync() override {
    leveldb::Status failed = env_->failure();
    return failed.ok() ? env_->note(target_->Sync()) : failed;
  }
  leveldb::Status Close() override {
    closed_ = true;
    // Also after a failure: what is whole may be kept.
    leveldb::Status synced = env_->note(target_->Sync());
    leveldb::Status closed = env_->note(target_->Close());
    return synced.ok() ? closed : synced;
  }

 private:
  DurableEnv* env_;
  std::unique_ptr<leveldb::WritableFile> target_;
  bool closed_ = false;
};

leveldb::Status DurableEnv::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

leveldb::Status DurableEnv::note(leveldb::Status status) {
  if (status.ok()) return status;
  std::lock_guard lock(mutex_);
  if (failure_.ok()) failure_ = status;
  return status;
}

leveldb::Status DurableEnv::wrap_log(const std::string& path, leveldb::Status status,
                                     leveldb::WritableFile** out) {
  if (status.ok() && is_log(path)) *out = new LogFile(this, *out);
  return status;
}

leveldb::Status DurableEnv::NewWritableFile(const std::string& path, leveldb::WritableFile** out) {
  return wrap_log(path, target()->NewWritableFile(path, out), out);
}

leveldb::Status DurableEnv::NewAppendableFile(const std::string& path,
                                              leveldb::WritableFile** out) {
  return wrap_log(path, target()->NewAppendableFile(path, out), out);
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
