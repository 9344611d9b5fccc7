#include "sim/disk.h"

#include <doctest/doctest.h>
#include <leveldb/iterator.h>

#include <atomic>
#include <future>
#include <map>
#include <optional>
#include <random>

#include "storage/bytes.h"
#include "storage/kv.h"

namespace jade::sim {
namespace {

using File = std::unique_ptr<leveldb::WritableFile>;

uint64_t no_time() { return 0; }

File create(SimDisk& disk, const std::string& path) {
  leveldb::WritableFile* file = nullptr;
  REQUIRE(disk.NewWritableFile(path, &file).ok());
  return File(file);
}

std::optional<std::string> contents(SimDisk& disk, const std::string& path) {
  std::string bytes;
  if (!leveldb::ReadFileToString(&disk, path, &bytes).ok()) return std::nullopt;
  return bytes;
}

std::string key_of(uint64_t number) {
  std::string key;
  append_big_endian(key, number);
  return key;
}

// Small buffers, so that a few writes fill several logs and tables.
KvOptions small_buffers() {
  KvOptions options;
  options.write_buffer_bytes = 64u << 10;
  options.max_file_bytes = 64u << 10;
  return options;
}

std::string value_of(uint64_t number) {
  std::string value = "value " + std::to_string(number) + " ";
  value.resize(400 + number * 37 % 3000, static_cast<char>('a' + number % 26));
  return value;
}

// Number `n` says how many writes there were; keys are spread and overwritten.
Status put(KvStore& store, uint64_t number, bool sync) {
  leveldb::WriteBatch batch;
  batch.Put("count", key_of(number));
  batch.Put("k" + key_of(number % 50), value_of(number));
  return store.write(batch, sync);
}

// The store holds what the first n writes leave; gives n.
uint64_t check_prefix(const KvStore& store) {
  auto count = store.get("count");
  REQUIRE_MESSAGE(count.ok(), count.status().to_string());
  uint64_t last = count->has_value() ? load_big_endian(**count) : 0;
  for (uint64_t slot = 0; slot < 50; ++slot) {
    auto value = store.get("k" + key_of(slot));
    REQUIRE_MESSAGE(value.ok(), value.status().to_string());
    // The last number up to `last` that falls into the slot, counting from 1.
    std::optional<std::string> expected;
    for (uint64_t number = last; number > 0 && number + 50 > last; --number) {
      if (number % 50 == slot) expected = value_of(number);
    }
    REQUIRE((*value == expected));
  }
  return last;
}

}  // namespace

TEST_CASE("a crash keeps all that was written and kills what was open") {
  SimDisk disk(1, no_time);
  REQUIRE(disk.CreateDir("/d").ok());
  File file = create(disk, "/d/a");
  REQUIRE(file->Append("synced ").ok());
  REQUIRE(file->Sync().ok());
  REQUIRE(file->Append("unsynced").ok());
  leveldb::RandomAccessFile* opened = nullptr;
  REQUIRE(disk.NewRandomAccessFile("/d/a", &opened).ok());
  std::unique_ptr<leveldb::RandomAccessFile> reader(opened);
  leveldb::FileLock* lock = nullptr;
  REQUIRE(disk.LockFile("/d/LOCK", &lock).ok());
  leveldb::FileLock* second = nullptr;
  CHECK(!disk.LockFile("/d/LOCK", &second).ok());
  disk.crash();
  CHECK(contents(disk, "/d/a") == "synced unsynced");
  CHECK(!file->Append("more").ok());
  CHECK(!file->Flush().ok());
  CHECK(!file->Sync().ok());
  char scratch[8];
  leveldb::Slice slice;
  CHECK(!reader->Read(0, 4, &slice, scratch).ok());
  // The lock went with its process; giving it up late harms nobody.
  REQUIRE(disk.LockFile("/d/LOCK", &second).ok());
  CHECK(disk.UnlockFile(lock).ok());
  CHECK(!disk.LockFile("/d/LOCK", &lock).ok());
  CHECK(disk.UnlockFile(second).ok());
  CHECK(contents(disk, "/d/a") == "synced unsynced");
}

TEST_CASE("a process that dies at a sync does nothing after it") {
  for (bool before : {false, true}) {
    CAPTURE(before);
    SimDisk disk(1, [] { return 0; });
    disk.CreateDir("/d");
    leveldb::WritableFile* opened = nullptr;
    REQUIRE(disk.NewWritableFile("/d/f", &opened).ok());
    std::unique_ptr<leveldb::WritableFile> file(opened);
    disk.die_at_sync(2, before);
    REQUIRE(file->Append("one").ok());
    REQUIRE(file->Sync().ok());
    CHECK_FALSE(disk.died());
    REQUIRE(file->Append("two").ok());
    CHECK(file->Sync().ok() == !before);
    CHECK(disk.died());
    CHECK_FALSE(file->Append("three").ok());
    CHECK_FALSE(file->Sync().ok());
    const std::string held = disk.image().files.at("/d/f");
    CHECK(held == "onetwo");
    disk.lose_power();
    CHECK_FALSE(disk.died());
    // What was synced is all there.
    CHECK(disk.image().files.at("/d/f").substr(0, before ? 3 : 6) == (before ? "one" : "onetwo"));
    CHECK(disk.image().files.at("/d/f").size() <= 6);
  }
  SimDisk disk(1, [] { return 0; });
  disk.CreateDir("/d");
  leveldb::WritableFile* opened = nullptr;
  REQUIRE(disk.NewWritableFile("/d/f", &opened).ok());
  std::unique_ptr<leveldb::WritableFile> file(opened);
  disk.die_at_sync(1, true);
  disk.die_at_sync(0, true);  // thought better of it
  CHECK(file->Sync().ok());
  CHECK_FALSE(disk.died());
}

TEST_CASE("what is put back is what was there, and nothing else") {
  SimDisk disk(1, no_time);
  REQUIRE(disk.CreateDir("/d").ok());
  REQUIRE(create(disk, "/d/a")->Append("first").ok());
  SimDisk::Image image = disk.image();
  File open = create(disk, "/d/a");
  REQUIRE(open->Append("second").ok());
  REQUIRE(create(disk, "/d/b")->Append("later").ok());
  REQUIRE(disk.CreateDir("/e").ok());
  disk.put_back(image);
  CHECK(contents(disk, "/d/a") == "first");
  CHECK(!disk.FileExists("/d/b"));
  CHECK(!disk.FileExists("/e"));
  CHECK(!open->Append("of before").ok());
  // A backup is on the disk for good.
  disk.lose_power();
  CHECK(contents(disk, "/d/a") == "first");
}

TEST_CASE("power loss keeps synced bytes and no more of the rest than its size") {
  int longer = 0, shorter = 0, torn = 0, vanished = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    CAPTURE(seed);
    SimDisk disk(seed, no_time);
    REQUIRE(disk.CreateDir("/d").ok());
    File file = create(disk, "/d/a");
    std::string synced(1 + seed * 7 % 2000, 's'), rest(1 + seed * 13 % 3000, 'u');
    REQUIRE(file->Append(synced).ok());
    REQUIRE(file->Sync().ok());
    REQUIRE(file->Append(rest).ok());
    File never = create(disk, "/d/never");
    REQUIRE(never->Append("x").ok());
    disk.lose_power();
    auto left = contents(disk, "/d/a");
    REQUIRE(left);
    REQUIRE(left->size() >= synced.size());
    REQUIRE(left->size() <= synced.size() + rest.size());
    REQUIRE(left->substr(0, synced.size()) == synced);
    // Garbage is at most in the last sector.
    std::string tail = left->substr(synced.size());
    size_t same = tail.find_first_not_of('u');
    if (same != std::string::npos) {
      REQUIRE(tail.size() - same <= 512);
      ++torn;
    }
    ++(tail.size() == rest.size() ? longer : shorter);
    if (!disk.FileExists("/d/never")) ++vanished;
    CHECK(!file->Sync().ok());
    // What survived is on the disk for good.
    disk.lose_power();
    CHECK(contents(disk, "/d/a") == left);
  }
  CHECK(shorter > 250);
  CHECK(torn > 50);
  CHECK(vanished > 100);
  CHECK(vanished < 200);
}

TEST_CASE("a full disk takes what fits, and more once there is room") {
  SimDisk disk(1, no_time);
  REQUIRE(disk.CreateDir("/d").ok());
  File file = create(disk, "/d/a");
  disk.set_capacity(5);
  leveldb::Status status = file->Append("1234567");
  CHECK(status.ToString().find("No space left on device") != std::string::npos);
  CHECK(contents(disk, "/d/a") == "12345");
  CHECK(disk.used_bytes() == 5);
  CHECK(!file->Append("8").ok());
  disk.set_capacity(100);
  CHECK(file->Append("8").ok());
  CHECK(contents(disk, "/d/a") == "123458");
  REQUIRE(disk.RemoveFile("/d/a").ok());
  CHECK(disk.used_bytes() == 0);
}

TEST_CASE("files, directories and renames behave as on a real disk") {
  SimDisk disk(1, no_time);
  leveldb::WritableFile* none = nullptr;
  CHECK(!disk.NewWritableFile("/d/a", &none).ok());
  REQUIRE(disk.CreateDir("/d").ok());
  CHECK(!disk.CreateDir("/d").ok());
  REQUIRE(disk.CreateDir("/d/sub").ok());
  REQUIRE(leveldb::WriteStringToFile(&disk, "one", "/d/a").ok());
  REQUIRE(leveldb::WriteStringToFile(&disk, "two", "/d/b").ok());
  REQUIRE(disk.RenameFile("/d/a", "/d/b").ok());
  CHECK(contents(disk, "/d/b") == "one");
  CHECK(!disk.FileExists("/d/a"));
  CHECK(!contents(disk, "/d/a"));
  CHECK(!disk.RenameFile("/d/a", "/d/c").ok());
  CHECK(!disk.RemoveFile("/d/a").ok());
  CHECK(!disk.RemoveDir("/d").ok());
  std::vector<std::string> children;
  REQUIRE(disk.GetChildren("/d", &children).ok());
  CHECK(children == std::vector<std::string>{"b", "sub"});
  CHECK(!disk.GetChildren("/e", &children).ok());
  CHECK(disk.flip_bit("/d/b", 1));
  CHECK(contents(disk, "/d/b") == "mne");
  CHECK(!disk.flip_bit("/d/a", 1));
}

TEST_CASE("after power loss LevelDB holds a prefix of all writes, with all that was synced") {
  uint64_t lost = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    CAPTURE(seed);
    SimDisk disk(seed, no_time);
    disk.run_eagerly(true);
    std::mt19937_64 random(seed);
    uint64_t written = 0;
    // Several lives of one disk.
    for (int life = 0; life < 3; ++life) {
      CAPTURE(life);
      auto store = KvStore::open(&disk, "/db", small_buffers());
      REQUIRE_MESSAGE(store.ok(), store.status().to_string());
      uint64_t safe = check_prefix(**store);
      written = safe;
      for (auto n = random() % 120; n > 0; --n) {
        bool sync = random() % 8 == 0;
        REQUIRE(put(**store, ++written, sync).ok());
        if (sync) safe = written;
      }
      disk.lose_power();
      store = jade::Status(Code::internal, "gone");
      store = KvStore::open(&disk, "/db", small_buffers());
      REQUIRE_MESSAGE(store.ok(), store.status().to_string());
      uint64_t kept = check_prefix(**store);
      REQUIRE(kept >= safe);
      REQUIRE(kept <= written);
      lost += written - kept;
      disk.lose_power();
    }
  }
  CHECK(lost > 100);
}

TEST_CASE("after a crash of the process nothing that was written is lost") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    SimDisk disk(seed, no_time);
    disk.run_eagerly(true);
    auto store = KvStore::open(&disk, "/db", small_buffers());
    REQUIRE(store.ok());
    for (uint64_t number = 1; number <= 70 + seed; ++number) {
      REQUIRE(put(**store, number, false).ok());
    }
    disk.crash();
    store = jade::Status(Code::internal, "gone");
    store = KvStore::open(&disk, "/db", small_buffers());
    REQUIRE_MESSAGE(store.ok(), store.status().to_string());
    CHECK(check_prefix(**store) == 70 + seed);
  }
}

TEST_CASE("a store on a full disk says so, and goes on when there is room again") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    SimDisk disk(seed, no_time);
    disk.run_eagerly(true);
    auto store = KvStore::open(&disk, "/db", small_buffers());
    REQUIRE(store.ok());
    uint64_t number = 0;
    for (; number < 20; ++number) REQUIRE(put(**store, number + 1, true).ok());
    disk.set_capacity(disk.used_bytes() + 1000 * seed);
    jade::Status full;
    while (full.ok()) {
      full = put(**store, number + 1, true);
      if (full.ok()) ++number;
      REQUIRE(number < 1000);
    }
    CHECK(full.code() == Code::disk_full);
    // Refused until reopened, though there may be room for less.
    CHECK(put(**store, number + 1, false).code() == Code::disk_full);
    CHECK(check_prefix(**store) >= number);
    disk.set_capacity(UINT64_MAX);
    CHECK(put(**store, number + 1, false).code() == Code::disk_full);
    jade::Status reopened = (*store)->reopen();
    REQUIRE_MESSAGE(reopened.ok(), reopened.to_string());
    CHECK(check_prefix(**store) == number);
    CHECK(put(**store, number + 1, true).ok());
    CHECK(check_prefix(**store) == number + 1);
  }
}

TEST_CASE("a broken store that something still uses is not reopened; a whole one stays open") {
  SimDisk disk(1, no_time);
  disk.run_eagerly(true);
  auto store = KvStore::open(&disk, "/db", small_buffers());
  REQUIRE(store.ok());
  REQUIRE(put(**store, 1, true).ok());
  Snapshot snapshot = (*store)->snapshot();
  CHECK((*store)->reopen().ok());
  disk.set_capacity(0);
  CHECK(put(**store, 2, true).code() == Code::disk_full);
  disk.set_capacity(UINT64_MAX);
  CHECK((*store)->reopen().code() == Code::failed_precondition);
  CHECK(check_prefix(**store) == 1);
  snapshot.reset();
  CHECK((*store)->reopen().ok());
  CHECK(check_prefix(**store) == 1);
  CHECK(put(**store, 2, true).ok());
}

TEST_CASE("flipped bits in what is read are errors, never other values") {
  uint64_t errors = 0, flips = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SimDisk disk(seed, no_time);
    disk.run_eagerly(true);
    {
      auto store = KvStore::open(&disk, "/db", small_buffers());
      REQUIRE(store.ok());
      for (uint64_t number = 1; number <= 200; ++number) REQUIRE(put(**store, number, false).ok());
    }
    disk.set_faults({0.02});
    for (int attempt = 0; attempt < 20; ++attempt) {
      auto store = KvStore::open(&disk, "/db", small_buffers());
      if (!store.ok()) {
        ++errors;
        continue;
      }
      for (uint64_t number = 151; number <= 200; ++number) {
        auto value = (*store)->get("k" + key_of(number % 50));
        if (!value.ok()) {
          ++errors;
        } else {
          REQUIRE(value->has_value());
          REQUIRE((**value == value_of(number)));
        }
      }
    }
    disk.set_faults({});
    auto store = KvStore::open(&disk, "/db", small_buffers());
    REQUIRE_MESSAGE(store.ok(), store.status().to_string());
    CHECK(check_prefix(**store) == 200);
    flips += disk.flipped_bits();
  }
  CHECK(errors > 0);
  CHECK(flips > 0);
}

TEST_CASE("the same seed and the same work leave the same trace") {
  auto run = [](uint64_t seed) {
    SimDisk disk(seed, no_time);
    std::mt19937_64 random(7);
    for (int life = 0; life < 3; ++life) {
      auto store = KvStore::open(&disk, "/db", small_buffers());
      REQUIRE(store.ok());
      uint64_t number = check_prefix(**store);
      for (int i = 0; i < 60; ++i) {
        REQUIRE(put(**store, ++number, random() % 4 == 0).ok());
        disk.drain();
      }
      disk.lose_power();
    }
    return std::pair(disk.trace_hash(), disk.syncs());
  };
  CHECK(run(1) == run(1));
  CHECK(run(2) == run(2));
  CHECK(run(1).first != run(2).first);
}

TEST_CASE("a job waits for drain(), however long its caller takes, unless that is blocked by it") {
  SimDisk disk(1, [] { return uint64_t{0}; });
  std::atomic<bool> ran = false;
  auto run = [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); };
  disk.Schedule(run, &ran);
  // As if off the processor: not blocked, but nothing comes of it for a tenth of a second.
  std::mt19937_64 random(1);
  uint64_t sum = 0;
  for (int i = 0; i < 100'000'000; ++i) sum += random();
  CHECK(sum != 0);
  CHECK_FALSE(ran);
  disk.drain();
  CHECK(ran);
  std::promise<void> done;
  disk.Schedule([](void* promise) { static_cast<std::promise<void>*>(promise)->set_value(); },
                &done);
  done.get_future().wait();
}

}  // namespace jade::sim
