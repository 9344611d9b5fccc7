// A file system in memory that fails when told to.
#pragma once

#include <doctest/doctest.h>
#include <leveldb/env.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "tests/storage/raw_store.h"

namespace jade {

inline bool is_wal(const std::string& path) { return path.ends_with(".log"); }

// Settings may change while files are open. Set them from one thread only, while
// no other writes.
class FaultEnv final : public leveldb::EnvWrapper {
 public:
  FaultEnv() : FaultEnv(memory_env()) {}

  // Bytes that may still be appended to write-ahead logs. The append that goes
  // beyond leaves what fits behind, half a record, and fails like a full disk.
  std::atomic<uint64_t> wal_room{UINT64_MAX};
  std::atomic<bool> wal_syncs_fail{false};
  // Asked for every file to lock.
  std::function<leveldb::Status(const std::string& path)> on_lock;

  std::atomic<int> wal_appends{0};  // that reached the disk, whole or in part
  std::atomic<int> syncs{0};
  std::atomic<int> locks{0};

  leveldb::Status NewWritableFile(const std::string& path, leveldb::WritableFile** out) override {
    leveldb::Status status = target()->NewWritableFile(path, out);
    if (status.ok()) *out = new File(*this, is_wal(path), *out);
    return status;
  }
  leveldb::Status LockFile(const std::string& path, leveldb::FileLock** lock) override {
    ++locks;
    *lock = nullptr;
    if (on_lock) {
      if (leveldb::Status status = on_lock(path); !status.ok()) return status;
    }
    return target()->LockFile(path, lock);
  }

  // Flips one bit of a file that nobody has open.
  void flip(const std::string& path, size_t byte) {
    std::string bytes = read(path);
    REQUIRE(byte < bytes.size());
    bytes[byte] = static_cast<char>(bytes[byte] ^ 1);
    write(path, bytes);
  }
  std::string read(const std::string& path) {
    std::string bytes;
    REQUIRE(leveldb::ReadFileToString(this, path, &bytes).ok());
    return bytes;
  }
  void write(const std::string& path, const std::string& bytes) {
    REQUIRE(leveldb::WriteStringToFile(target(), bytes, path).ok());
  }
  // The only file in `dir` whose name has `part` in it.
  std::string only(const std::string& dir, const std::string& part) {
    std::vector<std::string> names, found;
    REQUIRE(GetChildren(dir, &names).ok());
    for (const std::string& name : names) {
      if (name.find(part) != std::string::npos) found.push_back(dir + "/" + name);
    }
    REQUIRE(found.size() == 1);
    return found[0];
  }

 private:
  class File final : public leveldb::WritableFile {
   public:
    File(FaultEnv& env, bool wal, leveldb::WritableFile* target)
        : env_(env), wal_(wal), target_(target) {}
    leveldb::Status Append(const leveldb::Slice& data) override {
      if (!wal_) return target_->Append(data);
      ++env_.wal_appends;
      uint64_t fits = std::min<uint64_t>(env_.wal_room, data.size());
      if (env_.wal_room != UINT64_MAX) env_.wal_room -= fits;
      leveldb::Status status = target_->Append(leveldb::Slice(data.data(), fits));
      if (status.ok() && fits < data.size()) {
        return leveldb::Status::IOError("append", "No space left on device");
      }
      return status;
    }
    leveldb::Status Flush() override { return target_->Flush(); }
    leveldb::Status Sync() override {
      ++env_.syncs;
      if (wal_ && env_.wal_syncs_fail)
        return leveldb::Status::IOError("sync", "Input/output error");
      return target_->Sync();
    }
    leveldb::Status Close() override { return target_->Close(); }

   private:
    FaultEnv& env_;
    bool wal_;
    std::unique_ptr<leveldb::WritableFile> target_;
  };

  explicit FaultEnv(std::unique_ptr<leveldb::Env> memory)
      : leveldb::EnvWrapper(memory.get()), memory_(std::move(memory)) {}

  std::unique_ptr<leveldb::Env> memory_;
};

}  // namespace jade
