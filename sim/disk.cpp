#include "sim/disk.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>

#include "actors/random.h"

namespace jade::sim {
namespace {

using leveldb::Slice;
using leveldb::Status;

constexpr size_t sector_bytes = 512;
// The helper looks so often at what the caller does, and believes that it is blocked
// when it has seen that a few times in a row: a lock may be held for a moment.
constexpr auto look_interval = std::chrono::milliseconds(1);
constexpr int looks = 3;

// Whether a thread of this process is blocked on a lock or a condition: proc(5), "syscall".
// One that could go on, but is not on a processor, is not.
bool is_blocked(long thread) {
  std::string path = "/proc/self/task/" + std::to_string(thread) + "/syscall";
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return true;  // it cannot be known
  char text[32] = {};
  ssize_t size = read(file, text, sizeof text);
  close(file);
  if (size <= 0) return true;
  long number = -1;
  auto [end, error] = std::from_chars(text, text + size, number);
  return error == std::errc() && number == SYS_futex;
}

Status dead_handle(const std::string& path) {
  return Status::IOError(path, "the process that opened it has crashed");
}
Status no_file(const std::string& path) {
  return Status::NotFound(path, "No such file or directory");
}

uint64_t fold(uint64_t hash, uint64_t value) { return (hash ^ value) * 0x100000001b3u; }

uint64_t hash_of(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : bytes) hash = fold(hash, static_cast<unsigned char>(c));
  return hash;
}

class NoLogger final : public leveldb::Logger {
  void Logv(const char*, std::va_list) override {}
};

}  // namespace

class SimDisk::Sequential final : public leveldb::SequentialFile {
 public:
  Sequential(SimDisk* disk, FilePtr file, std::string path)
      : disk_(disk), file_(std::move(file)), path_(std::move(path)), born_(disk->generation_) {}

  Status Read(size_t n, Slice* result, char* scratch) override {
    std::lock_guard lock(disk_->mutex_);
    if (!disk_->alive(born_)) return dead_handle(path_);
    size_t size = std::min(n, file_->bytes.size() - std::min(file_->bytes.size(), position_));
    std::memcpy(scratch, file_->bytes.data() + position_, size);
    disk_->maybe_flip(scratch, size);
    position_ += size;
    *result = Slice(scratch, size);
    return Status::OK();
  }

  Status Skip(uint64_t n) override {
    std::lock_guard lock(disk_->mutex_);
    position_ = std::min<size_t>(file_->bytes.size(), position_ + n);
    return Status::OK();
  }

 private:
  SimDisk* disk_;
  FilePtr file_;
  std::string path_;
  uint64_t born_;
  size_t position_ = 0;
};

class SimDisk::Random final : public leveldb::RandomAccessFile {
 public:
  Random(SimDisk* disk, FilePtr file, std::string path)
      : disk_(disk), file_(std::move(file)), path_(std::move(path)), born_(disk->generation_) {}

  Status Read(uint64_t offset, size_t n, Slice* result, char* scratch) const override {
    std::lock_guard lock(disk_->mutex_);
    if (!disk_->alive(born_)) return dead_handle(path_);
    // Past the end there is nothing, as of files.
    offset = std::min<uint64_t>(offset, file_->bytes.size());
    size_t size = std::min(n, file_->bytes.size() - offset);
    std::memcpy(scratch, file_->bytes.data() + offset, size);
    disk_->maybe_flip(scratch, size);
    *result = Slice(scratch, size);
    return Status::OK();
  }

 private:
  SimDisk* disk_;
  FilePtr file_;
  std::string path_;
  uint64_t born_;
};

class SimDisk::Writable final : public leveldb::WritableFile {
 public:
  Writable(SimDisk* disk, FilePtr file, std::string path)
      : disk_(disk), file_(std::move(file)), path_(std::move(path)), born_(disk->generation_) {}

  Status Append(const Slice& data) override {
    std::lock_guard lock(disk_->mutex_);
    if (!disk_->alive(born_)) return dead_handle(path_);
    uint64_t used = disk_->used_bytes();
    size_t fits = data.size();
    if (used + fits > disk_->capacity_) {
      // Like write(2): what fits is written.
      fits = disk_->capacity_ > used ? static_cast<size_t>(disk_->capacity_ - used) : 0;
    }
    file_->bytes.append(data.data(), fits);
    disk_->note("append", path_, hash_of({data.data(), fits}));
    if (fits < data.size()) return Status::IOError(path_, "No space left on device");
    return Status::OK();
  }

  Status Close() override { return Status::OK(); }
  Status Flush() override {
    std::lock_guard lock(disk_->mutex_);
    return disk_->alive(born_) ? Status::OK() : dead_handle(path_);
  }

  Status Sync() override {
    std::lock_guard lock(disk_->mutex_);
    if (!disk_->alive(born_)) return dead_handle(path_);
    const bool last = disk_->syncs_left_ > 0 && --disk_->syncs_left_ == 0;
    if (last && disk_->dies_before_) {
      disk_->die();
      return dead_handle(path_);
    }
    file_->synced = file_->bytes.size();
    file_->durable = true;
    // LevelDB syncs the directory before a manifest, which names files in it: they are there then,
    // whatever of their bytes.
    const size_t name = path_.rfind('/') + 1;
    if (path_.compare(name, 9, "MANIFEST-") == 0) {
      for (auto& [path, file] : disk_->files_) {
        if (path.compare(0, name, path_, 0, name) == 0) file->durable = true;
      }
    }
    ++disk_->syncs_;
    disk_->note("sync", path_, file_->synced);
    if (last) disk_->die();
    return Status::OK();
  }

 private:
  SimDisk* disk_;
  FilePtr file_;
  std::string path_;
  uint64_t born_;
};

class SimDisk::Lock final : public leveldb::FileLock {
 public:
  Lock(std::string locked, uint64_t generation) : path(std::move(locked)), born(generation) {}
  std::string path;
  uint64_t born;
};

SimDisk::SimDisk(uint64_t seed, std::function<uint64_t()> now_micros)
    : random_(mix(seed, 0xd15c)), now_micros_(std::move(now_micros)) {
  helper_ = std::thread([this] { run_jobs(); });
}

SimDisk::~SimDisk() {
  {
    std::lock_guard lock(jobs_mutex_);
    stopping_ = true;
  }
  jobs_changed_.notify_all();
  helper_.join();
}

void SimDisk::note(const char* what, const std::string& path, uint64_t number) {
  trace_ = fold(fold(fold(trace_, hash_of(what)), hash_of(path)), number);
}

void SimDisk::maybe_flip(char* bytes, size_t size) {
  if (faults_.read_corruption <= 0 || size == 0) return;
  double chance = static_cast<double>(next_random(random_) >> 11) / static_cast<double>(1ull << 53);
  if (chance >= faults_.read_corruption) return;
  uint64_t bit = next_random(random_) % (size * 8);
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  ++flips_;
}

void SimDisk::wipe() {
  std::lock_guard lock(mutex_);
  note("wipe", "/", files_.size());
  ++generation_;
  files_.clear();
  directories_.clear();
  locks_.clear();
  capacity_ = UINT64_MAX;
  faults_ = {};
}

SimDisk::Image SimDisk::image() const {
  std::lock_guard lock(mutex_);
  Image out;
  for (const auto& [path, file] : files_) out.files[path] = file->bytes;
  out.directories = directories_;
  return out;
}

void SimDisk::put_back(const Image& image) {
  wipe();
  std::lock_guard lock(mutex_);
  directories_ = image.directories;
  for (const auto& [path, bytes] : image.files) {
    files_[path] = std::make_shared<File>(File{bytes, bytes.size(), true});
  }
  note("put back", "/", files_.size());
}

uint64_t SimDisk::used_bytes() const {
  std::lock_guard lock(mutex_);
  uint64_t used = 0;
  for (const auto& [path, file] : files_) used += file->bytes.size();
  return used;
}

void SimDisk::die_at_sync(uint64_t number, bool before) {
  std::lock_guard lock(mutex_);
  syncs_left_ = number;
  dies_before_ = before;
}

void SimDisk::die() {
  ++generation_;
  died_ = true;
  note("die", "", generation_);
}

void SimDisk::crash() {
  std::lock_guard lock(mutex_);
  ++generation_;
  syncs_left_ = 0;
  died_ = false;
  locks_.clear();
  faults_ = DiskFaults();
  note("crash", "", generation_);
}

void SimDisk::lose_power() {
  std::lock_guard lock(mutex_);
  crash();
  for (auto at = files_.begin(); at != files_.end();) {
    // Handles of before hold the old object: what they do is not seen here.
    File file = *at->second;
    if (!file.durable && next_random(random_) % 2 == 0) {
      note("vanish", at->first, 0);
      at = files_.erase(at);
      continue;
    }
    size_t unsynced = file.bytes.size() - std::min(file.bytes.size(), file.synced);
    if (unsynced > 0) {
      size_t kept = next_random(random_) % (unsynced + 1);
      file.bytes.resize(file.synced + kept);
      // The sector that was being written may hold anything.
      if (kept > 0 && next_random(random_) % 2 == 0) {
        size_t torn = std::min<size_t>(kept, 1 + next_random(random_) % sector_bytes);
        for (size_t i = file.bytes.size() - torn; i < file.bytes.size(); ++i) {
          file.bytes[i] = static_cast<char>(next_random(random_));
        }
      }
      note("tear", at->first, kept);
    }
    file.synced = file.bytes.size();
    file.durable = true;
    at->second = std::make_shared<File>(std::move(file));
    ++at;
  }
}

bool SimDisk::flip_bit(const std::string& path, uint64_t bit) {
  std::lock_guard lock(mutex_);
  auto found = files_.find(path);
  if (found == files_.end() || found->second->bytes.empty()) return false;
  std::string& bytes = found->second->bytes;
  bit %= bytes.size() * 8;
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  ++flips_;
  note("flip", path, bit);
  return true;
}

std::vector<std::string> SimDisk::files() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [path, file] : files_) out.push_back(path);
  return out;
}

Status SimDisk::NewSequentialFile(const std::string& path, leveldb::SequentialFile** out) {
  std::lock_guard lock(mutex_);
  *out = nullptr;
  auto found = files_.find(path);
  if (found == files_.end()) return no_file(path);
  *out = new Sequential(this, found->second, path);
  return Status::OK();
}

Status SimDisk::NewRandomAccessFile(const std::string& path, leveldb::RandomAccessFile** out) {
  std::lock_guard lock(mutex_);
  *out = nullptr;
  auto found = files_.find(path);
  if (found == files_.end()) return no_file(path);
  *out = new Random(this, found->second, path);
  return Status::OK();
}

Status SimDisk::open_writable(const std::string& path, bool truncate, leveldb::WritableFile** out) {
  std::lock_guard lock(mutex_);
  *out = nullptr;
  std::string dir = path.substr(0, path.rfind('/'));
  if (directories_.count(dir) == 0) return no_file(dir);
  FilePtr& file = files_[path];
  if (!file || truncate) file = std::make_shared<File>();
  note(truncate ? "create" : "open", path, 0);
  *out = new Writable(this, file, path);
  return Status::OK();
}

Status SimDisk::NewWritableFile(const std::string& path, leveldb::WritableFile** out) {
  return open_writable(path, true, out);
}

Status SimDisk::NewAppendableFile(const std::string& path, leveldb::WritableFile** out) {
  return open_writable(path, false, out);
}

bool SimDisk::FileExists(const std::string& path) {
  std::lock_guard lock(mutex_);
  return files_.count(path) > 0 || directories_.count(path) > 0;
}

Status SimDisk::GetChildren(const std::string& dir, std::vector<std::string>* out) {
  std::lock_guard lock(mutex_);
  out->clear();
  if (directories_.count(dir) == 0) return no_file(dir);
  std::string prefix = dir + "/";
  auto add = [&](const std::string& path) {
    if (path.compare(0, prefix.size(), prefix) != 0) return;
    std::string rest = path.substr(prefix.size());
    if (!rest.empty() && rest.find('/') == std::string::npos) out->push_back(rest);
  };
  for (const auto& [path, file] : files_) add(path);
  for (const std::string& path : directories_) add(path);
  return Status::OK();
}

Status SimDisk::RemoveFile(const std::string& path) {
  std::lock_guard lock(mutex_);
  if (files_.erase(path) == 0) return no_file(path);
  note("remove", path, 0);
  return Status::OK();
}

Status SimDisk::CreateDir(const std::string& path) {
  std::lock_guard lock(mutex_);
  if (!directories_.insert(path).second) return Status::IOError(path, "File exists");
  note("mkdir", path, 0);
  return Status::OK();
}

Status SimDisk::RemoveDir(const std::string& path) {
  std::lock_guard lock(mutex_);
  std::vector<std::string> children;
  if (!GetChildren(path, &children).ok()) return no_file(path);
  if (!children.empty()) return Status::IOError(path, "Directory not empty");
  directories_.erase(path);
  note("rmdir", path, 0);
  return Status::OK();
}

Status SimDisk::GetFileSize(const std::string& path, uint64_t* size) {
  std::lock_guard lock(mutex_);
  auto found = files_.find(path);
  if (found == files_.end()) return no_file(path);
  *size = found->second->bytes.size();
  return Status::OK();
}

Status SimDisk::RenameFile(const std::string& from, const std::string& to) {
  std::lock_guard lock(mutex_);
  note("rename", from + " " + to, 0);
  if (auto file = files_.extract(from)) {
    files_[to] = std::move(file.mapped());
    return Status::OK();
  }
  if (directories_.erase(from) == 0) return no_file(from);
  directories_.insert(to);
  // It and what is in it: '0' follows '/'.
  auto begin = files_.lower_bound(from + "/"), end = files_.lower_bound(from + "0");
  while (begin != end) {
    auto file = files_.extract(begin++);
    file.key() = to + file.key().substr(from.size());
    files_.insert(std::move(file));
  }
  return Status::OK();
}

Status SimDisk::LockFile(const std::string& path, leveldb::FileLock** lock) {
  std::lock_guard guard(mutex_);
  *lock = nullptr;
  if (!locks_.insert(path).second) {
    return Status::IOError("lock " + path, "already held by process");
  }
  FilePtr& file = files_[path];
  if (!file) file = std::make_shared<File>();
  *lock = new Lock(path, generation_);
  return Status::OK();
}

Status SimDisk::UnlockFile(leveldb::FileLock* lock) {
  std::lock_guard guard(mutex_);
  std::unique_ptr<Lock> owner(static_cast<Lock*>(lock));
  if (alive(owner->born)) locks_.erase(owner->path);
  return Status::OK();
}

void SimDisk::Schedule(void (*function)(void*), void* argument) {
  {
    std::lock_guard lock(jobs_mutex_);
    jobs_.emplace_back(function, argument);
    // A job may schedule another.
    if (std::this_thread::get_id() != helper_.get_id()) caller_ = syscall(SYS_gettid);
  }
  jobs_changed_.notify_all();
}

void SimDisk::StartThread(void (*function)(void*), void* argument) { Schedule(function, argument); }

void SimDisk::drain() {
  std::unique_lock lock(jobs_mutex_);
  if (jobs_.empty() && !running_) return;
  draining_ = true;
  jobs_changed_.notify_all();
  jobs_changed_.wait(lock, [this] { return jobs_.empty() && !running_; });
  draining_ = false;
}

void SimDisk::run_eagerly(bool eager) {
  {
    std::lock_guard lock(jobs_mutex_);
    eager_ = eager;
  }
  jobs_changed_.notify_all();
}

void SimDisk::run_jobs() {
  std::unique_lock lock(jobs_mutex_);
  for (;;) {
    jobs_changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    auto may_run = [this] { return draining_ || stopping_ || eager_; };
    for (int blocked = 0; blocked < looks;) {
      if (jobs_changed_.wait_for(lock, look_interval, may_run)) break;
      long caller = caller_;
      // It must not be seen waiting for this very lock.
      lock.unlock();
      blocked = is_blocked(caller) ? blocked + 1 : 0;
      lock.lock();
    }
    if (jobs_.empty()) continue;
    auto [function, argument] = jobs_.front();
    jobs_.pop_front();
    running_ = true;
    lock.unlock();
    function(argument);
    lock.lock();
    running_ = false;
    jobs_changed_.notify_all();
  }
}

Status SimDisk::GetTestDirectory(std::string* path) {
  *path = "/test";
  return Status::OK();
}

Status SimDisk::NewLogger(const std::string&, leveldb::Logger** out) {
  *out = new NoLogger();
  return Status::OK();
}

}  // namespace jade::sim
