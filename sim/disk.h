// A disk in memory for one simulated node: a leveldb::Env whose faults and whose
// every byte follow from a seed.
//
// The model, in the manner of a journalling file system such as ext4:
// - What was written survives a crash of the process; only what was synced
//   survives power loss for certain.
// - At power loss an unsynced tail keeps a random part of itself, and the last
//   sector of that part may be garbage.
// - A file that was never synced may vanish at power loss, unless a manifest of
//   LevelDB beside it was synced since: then its directory was, too. Renaming and
//   removing are durable at once: LevelDB syncs the directory where it matters,
//   and tests with lost directory entries would test the file system, not us.
// - After a crash the handles that were open are dead: every call on them fails.
//
// One thread uses the disk, with one exception: LevelDB compacts on a background
// thread and may wait for it. Jobs therefore run on a helper thread in lock step:
// only inside drain(), while the caller waits. Where a caller of LevelDB blocks
// on a job outside drain() (closing a database does), the helper starts by itself
// once it sees that the caller is standing still, so the order of operations is the
// same every time. By real time alone it could not tell: on a machine with other work
// a caller may be off the processor for long.
#pragma once

#include <leveldb/env.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace jade::sim {

// How likely things are. All zero: a perfect disk.
struct DiskFaults {
  double read_corruption = 0;  // per read: one bit of what is returned is flipped
};

class SimDisk final : public leveldb::Env {
 public:
  SimDisk(uint64_t seed, std::function<uint64_t()> now_micros);
  ~SimDisk() override;

  // The process dies: open handles and locks are void, written bytes stay.
  void crash();
  // The machine loses power: crash(), and unsynced bytes may be lost or torn.
  void lose_power();
  // The process ends at a sync: of the coming ones that of this number, from 1 on, either does not
  // happen any more or is the last thing that does. Handles are dead from then on, and whoever owns
  // the process has to end it; until it does, with crash() or lose_power(), died() is true. 0: at
  // none.
  void die_at_sync(uint64_t number, bool before);
  bool died() const { return died_; }
  // Everything on it is gone; no process may run on it.
  void wipe();
  // What is on it, and back: no process may run on it.
  struct Image {
    std::map<std::string, std::string> files;
    std::set<std::string> directories;
  };
  Image image() const;
  void put_back(const Image& image);
  // Bytes that fit; writes beyond fail with "No space left on device".
  void set_capacity(uint64_t bytes) { capacity_ = bytes; }
  uint64_t used_bytes() const;
  void set_faults(DiskFaults faults) { faults_ = faults; }
  // Neither of these two is the matter.
  bool healthy() const { return capacity_ == UINT64_MAX && faults_.read_corruption == 0; }
  // Flips one bit of a file for good. False when it has no bytes.
  bool flip_bit(const std::string& path, uint64_t bit);
  std::vector<std::string> files() const;

  // Runs what LevelDB has scheduled, and what that schedules, to the end.
  void drain();

  // Whether jobs run as soon as they are scheduled. For the time after crash(),
  // when the order of what dead handles are asked no longer matters.
  void run_eagerly(bool eager);

  // Over all operations that changed the disk, in their order.
  uint64_t trace_hash() const { return trace_; }
  uint64_t syncs() const { return syncs_; }
  uint64_t flipped_bits() const { return flips_; }  // by either

  leveldb::Status NewSequentialFile(const std::string& path,
                                    leveldb::SequentialFile** out) override;
  leveldb::Status NewRandomAccessFile(const std::string& path,
                                      leveldb::RandomAccessFile** out) override;
  leveldb::Status NewWritableFile(const std::string& path, leveldb::WritableFile** out) override;
  leveldb::Status NewAppendableFile(const std::string& path, leveldb::WritableFile** out) override;
  bool FileExists(const std::string& path) override;
  leveldb::Status GetChildren(const std::string& dir, std::vector<std::string>* out) override;
  leveldb::Status RemoveFile(const std::string& path) override;
  leveldb::Status CreateDir(const std::string& path) override;
  leveldb::Status RemoveDir(const std::string& path) override;
  leveldb::Status GetFileSize(const std::string& path, uint64_t* size) override;
  leveldb::Status RenameFile(const std::string& from, const std::string& to) override;
  leveldb::Status LockFile(const std::string& path, leveldb::FileLock** lock) override;
  leveldb::Status UnlockFile(leveldb::FileLock* lock) override;
  void Schedule(void (*function)(void*), void* argument) override;
  void StartThread(void (*function)(void*), void* argument) override;
  leveldb::Status GetTestDirectory(std::string* path) override;
  leveldb::Status NewLogger(const std::string& path, leveldb::Logger** out) override;
  uint64_t NowMicros() override { return now_micros_(); }
  // Nobody waits for real; LevelDB only sleeps to let compactions catch up.
  void SleepForMicroseconds(int) override {}

 private:
  struct File {
    std::string bytes;
    size_t synced = 0;     // bytes that survive power loss
    bool durable = false;  // was synced once
  };
  using FilePtr = std::shared_ptr<File>;
  class Sequential;
  class Random;
  class Writable;
  class Lock;

  leveldb::Status open_writable(const std::string& path, bool truncate,
                                leveldb::WritableFile** out);
  bool alive(uint64_t generation) const { return generation == generation_; }
  void die();
  void note(const char* what, const std::string& path, uint64_t number);
  void maybe_flip(char* bytes, size_t size);
  void run_jobs();

  mutable std::recursive_mutex mutex_;  // the helper and the caller alternate
  uint64_t random_;
  std::function<uint64_t()> now_micros_;
  std::map<std::string, FilePtr> files_;
  std::set<std::string> directories_;
  std::set<std::string> locks_;
  uint64_t capacity_ = UINT64_MAX;
  uint64_t generation_ = 1;
  DiskFaults faults_;
  uint64_t syncs_left_ = 0;  // until it dies; 0: it does not
  bool dies_before_ = false;
  bool died_ = false;
  uint64_t trace_ = 0;
  uint64_t syncs_ = 0;
  uint64_t flips_ = 0;

  std::mutex jobs_mutex_;
  std::condition_variable jobs_changed_;
  std::deque<std::pair<void (*)(void*), void*>> jobs_;
  bool draining_ = false;
  bool eager_ = false;
  bool running_ = false;
  bool stopping_ = false;
  long caller_ = 0;  // system's id of the thread that scheduled last
  std::thread helper_;
};

}  // namespace jade::sim
