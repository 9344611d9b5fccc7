#include "storage/env.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <limits>
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

namespace {

// More are opened for each read.
size_t kept_open_max() {
  static const size_t most = open_files_max() / 4;
  return most;
}
std::atomic<size_t> kept_open{0};

leveldb::Status failed_open(const std::string& path) {
  const char* why = std::strerror(errno);
  return errno == ENOENT ? leveldb::Status::NotFound(path, why)
                         : leveldb::Status::IOError(path, why);
}

// Reads by calls: a file that was cut, or that the disk cannot read, is an error there, where
// memory that it is mapped to would end the process.
class RandomFile final : public HintedFile {
 public:
  RandomFile(int descriptor, std::string path, bool in_order)
      : path_(std::move(path)), in_order_(in_order) {
    advise(descriptor);
    if (kept_open.fetch_add(1) < kept_open_max()) {
      descriptor_ = descriptor;
    } else {
      --kept_open;
      close(descriptor);
    }
  }
  ~RandomFile() override {
    if (descriptor_ < 0) return;
    close(descriptor_);
    --kept_open;
  }

  leveldb::Status Read(uint64_t offset, size_t n, leveldb::Slice* result,
                       char* scratch) const override {
    if (descriptor_ >= 0) return read(descriptor_, offset, n, result, scratch);
    int descriptor = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return failed_open(path_);
    advise(descriptor);
    auto status = read(descriptor, offset, n, result, scratch);
    close(descriptor);
    return status;
  }
  void will_read(uint64_t offset, size_t n) const override {
    if (descriptor_ < 0) return;
    (void)posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(n),
                        POSIX_FADV_WILLNEED);
  }

 private:
  // What is not read in order is not read ahead.
  void advise(int descriptor) const {
    if (!in_order_) (void)posix_fadvise(descriptor, 0, 0, POSIX_FADV_RANDOM);
  }
  leveldb::Status read(int descriptor, uint64_t offset, size_t n, leveldb::Slice* result,
                       char* scratch) const {
    size_t done = 0;
    // Where the end of a table is damaged it may tell of any place. There is nothing in those that
    // no file has: that is damage, not a failure of the disk.
    const bool beyond = offset > static_cast<uint64_t>(std::numeric_limits<off_t>::max()) - n;
    while (done < n && !beyond) {
      ssize_t got = pread(descriptor, scratch + done, n - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return leveldb::Status::IOError(path_, std::strerror(errno));
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    *result = leveldb::Slice(scratch, done);
    return leveldb::Status::OK();
  }

  int descriptor_ = -1;
  std::string path_;
  bool in_order_;
};

class FileSystem final : public leveldb::EnvWrapper {
 public:
  FileSystem() : leveldb::EnvWrapper(leveldb::Env::Default()) {}

  leveldb::Status NewRandomAccessFile(const std::string& path,
                                      leveldb::RandomAccessFile** out) override {
    *out = nullptr;
    int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return failed_open(path);
    // Tables are read through, too.
    const size_t name = path.rfind('/');
    const bool rows = name != std::string::npos && path.substr(0, name).ends_with("/rows");
    *out = new RandomFile(descriptor, path, !rows);
    return leveldb::Status::OK();
  }
  // Nobody reads it, and each store would keep a file open for it.
  leveldb::Status NewLogger(const std::string& path, leveldb::Logger** out) override {
    *out = nullptr;
    return leveldb::Status::NotSupported(path);
  }
};

}  // namespace

size_t open_files_max() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<size_t>(limit.rlim_cur) : 0;
}

void raise_open_files_max() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

leveldb::Env* file_system() {
  // Never destroyed: threads of LevelDB may outlive main().
  static FileSystem* const env = new FileSystem();
  return env;
}

Status from_leveldb(const leveldb::Status& status, std::string_view context) {
  if (status.ok()) return {};
  std::string message = status.ToString();
  Code code = Code::io_error;
  if (message.find("No space left on device") != std::string::npos ||
      message.find("Disk quota exceeded") != std::string::npos) {
    code = Code::disk_full;
  } else if (status.IsCorruption() || status.IsNotFound()) {
    // What LevelDB does not find is a file of its own, but for keys, which KvStore::get() tells.
    code = Code::corruption;
  }
  return Status(code, std::string(context) + ": " + message);
}

Status check_file_size(leveldb::Env* env, const std::string& path, uint64_t most) {
  uint64_t size = 0;
  leveldb::Status status = env->GetFileSize(path, &size);
  if (!status.ok()) return from_leveldb(status, "reading " + path);
  if (size <= most) return {};
  return corruption(path + " has " + std::to_string(size) + " bytes, and no such file more than " +
                    std::to_string(most));
}

Status write_file(leveldb::Env* env, const std::string& path, const std::string& bytes) {
  std::string temporary = path + ".new";
  leveldb::WritableFile* opened = nullptr;
  leveldb::Status status = env->NewWritableFile(temporary, &opened);
  if (!status.ok()) return from_leveldb(status, "writing " + path);
  std::unique_ptr<leveldb::WritableFile> file(opened);
  status = file->Append(bytes);
  if (status.ok()) status = file->Sync();
  if (status.ok()) status = file->Close();
  if (status.ok()) status = env->RenameFile(temporary, path);
  return from_leveldb(status, "writing " + path);
}

Result<std::string> read_file(leveldb::Env* env, const std::string& path, uint64_t most) {
  std::string bytes;
  JADE_RETURN_IF_ERROR(check_file_size(env, path, most));
  leveldb::Status status = leveldb::ReadFileToString(env, path, &bytes);
  if (!status.ok()) return from_leveldb(status, "reading " + path);
  return bytes;
}

}  // namespace jade
