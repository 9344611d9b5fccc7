#include "storage/env.h"

#include <memory>

namespace jade {
namespace {

class SyncOnClose final : public leveldb::WritableFile {
 public:
  explicit SyncOnClose(leveldb::WritableFile* target) : target_(target) {}
  // Closing cannot report a failure to LevelDB here; what is lost by it is what
  // a power loss at this moment would lose.
  ~SyncOnClose() override {
    if (!closed_) (void)Close();
  }

  leveldb::Status Append(const leveldb::Slice& data) override { return target_->Append(data); }
  leveldb::Status Flush() override { return target_->Flush(); }
  leveldb::Status Sync() override { return target_->Sync(); }
  leveldb::Status Close() override {
    closed_ = true;
    leveldb::Status synced = target_->Sync();
    leveldb::Status closed = target_->Close();
    return synced.ok() ? closed : synced;
  }

 private:
  std::unique_ptr<leveldb::WritableFile> target_;
  bool closed_ = false;
};

bool is_log(const std::string& path) {
  return path.size() > 4 && path.compare(path.size() - 4, 4, ".log") == 0;
}

leveldb::Status wrap_log(const std::string& path, leveldb::Status status,
                         leveldb::WritableFile** out) {
  if (status.ok() && is_log(path)) *out = new SyncOnClose(*out);
  return status;
}

}  // namespace

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
