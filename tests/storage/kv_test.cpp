#include "storage/kv.h"

#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "tests/storage/fault_env.h"

namespace jade {
namespace {

std::unique_ptr<KvStore> open_kv(leveldb::Env* env, KvOptions options = {}) {
  auto store = KvStore::open(env, "/kv", options);
  REQUIRE_MESSAGE(store.ok(), store.status().to_string());
  return std::move(*store);
}

Status put(KvStore& store, const std::string& key, const std::string& value, bool sync = false) {
  leveldb::WriteBatch batch;
  batch.Put(key, value);
  return store.write(batch, sync);
}

std::map<std::string, std::string> contents(const KvStore& store, const Snapshot& at = {}) {
  std::map<std::string, std::string> out;
  auto it = store.iterate(at);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    out[it->key().ToString()] = it->value().ToString();
  }
  CHECK(it->status().ok());
  return out;
}

std::optional<std::string> get(const KvStore& store, const std::string& key,
                               const Snapshot& at = {}) {
  auto value = store.get(key, at);
  REQUIRE_MESSAGE(value.ok(), value.status().to_string());
  return *value;
}

}  // namespace

TEST_CASE("random work with full disks and reopening leaves what a model says") {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    FaultEnv env;
    KvOptions options;
    options.write_buffer_bytes = 64u << 10;  // several logs and tables
    auto store = open_kv(&env, options);
    std::map<std::string, std::string> model;
    int failures = 0;
    for (int step = 0; step < 400; ++step) {
      CAPTURE(step);
      leveldb::WriteBatch batch;
      auto changed = model;
      for (int n = 0; n < 5; ++n) {
        std::string key = std::to_string(random() % 60);
        if (random() % 4 == 0) {
          batch.Delete(key);
          changed.erase(key);
        } else {
          changed[key] = std::string(random() % 900, static_cast<char>('a' + random() % 26));
          batch.Put(key, changed[key]);
        }
      }
      // Now and then the log takes only part of the batch.
      if (random() % 10 == 0) env.wal_room = random() % (batch.ApproximateSize() + 1);
      Status written = store->write(batch, random() % 3 == 0);
      bool full = env.wal_room != UINT64_MAX;
      env.wal_room = UINT64_MAX;
      REQUIRE(written.ok() == !full);
      if (written.ok()) {
        model = std::move(changed);
      } else {
        ++failures;
        CHECK(written.code() == Code::disk_full);
        CHECK(put(*store, "refused", "x").code() == Code::disk_full);
        CHECK(store->sync().code() == Code::disk_full);
        REQUIRE(contents(*store) == model);  // reads go on
        REQUIRE(store->reopen().ok());
        REQUIRE(contents(*store) == model);
      }
      if (random() % 60 == 0) {
        store.reset();
        store = open_kv(&env, options);
        REQUIRE(contents(*store) == model);
      }
    }
    CHECK(failures > 10);
    CHECK(contents(*store) == model);
  }
}

TEST_CASE("what is cut off a torn log is told, by file and bytes") {
  FaultEnv env;
  std::vector<std::string> warnings;
  KvOptions options;
  options.warn = [&](std::string_view message) { warnings.emplace_back(message); };
  auto store = open_kv(&env, options);
  REQUIRE(put(*store, "a", "1").ok());
  env.wal_room = 9;
  REQUIRE(!put(*store, "b", "2").ok());
  env.wal_room = UINT64_MAX;
  CHECK(warnings.empty());
  std::string log = env.only("/kv", ".log");
  REQUIRE(store->reopen().ok());
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0] == "cut 9 bytes off the torn end of " + log);
  store.reset();
  log = env.only("/kv", ".log");
  env.write(log, env.read(log) + "torn");
  store = open_kv(&env, options);
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[1] == "cut 4 bytes off the torn end of " + log);
}

TEST_CASE("a snapshot does not change, and keeps the store open") {
  FaultEnv env;
  auto store = open_kv(&env);
  REQUIRE(put(*store, "a", "1").ok());
  Snapshot before = store->snapshot();
  REQUIRE(put(*store, "a", "2").ok());
  REQUIRE(put(*store, "b", "3").ok());
  CHECK(get(*store, "a", before) == "1");
  CHECK(!get(*store, "b", before).has_value());
  CHECK(contents(*store, before).size() == 1);
  CHECK(contents(*store).size() == 2);
  store.reset();
  before.reset();
}

TEST_CASE("snapshots and iterators stop a reopening and stay valid") {
  FaultEnv env;
  auto store = open_kv(&env);
  REQUIRE(put(*store, "a", "1").ok());
  Snapshot snapshot = store->snapshot();
  auto it = store->iterate();
  it->SeekToFirst();
  CHECK(store->reopen().ok());  // nothing to mend, nothing is closed
  env.wal_room = 2;
  REQUIRE(put(*store, "b", "2").code() == Code::disk_full);
  env.wal_room = UINT64_MAX;
  CHECK(store->reopen().code() == Code::failed_precondition);
  snapshot.reset();
  CHECK(store->reopen().code() == Code::failed_precondition);
  REQUIRE(it->Valid());
  CHECK(it->value().ToString() == "1");
  it.reset();
  REQUIRE(store->reopen().ok());
  CHECK(get(*store, "a") == "1");
  CHECK(!get(*store, "b").has_value());
  CHECK(put(*store, "b", "2").ok());
}

TEST_CASE("an iterator may outlive its store") {
  FaultEnv env;
  auto store = open_kv(&env);
  REQUIRE(put(*store, "a", "1").ok());
  auto it = store->iterate();
  store.reset();
  it->SeekToFirst();
  REQUIRE(it->Valid());
  CHECK(it->value().ToString() == "1");
}

TEST_CASE("of many that reopen at the same time one does, the others wait") {
  FaultEnv env;
  auto store = open_kv(&env);
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    std::string key = std::to_string(round);
    REQUIRE(put(*store, key, "there", true).ok());
    env.wal_room = 5;
    REQUIRE(!put(*store, "half", "x", true).ok());
    env.wal_room = UINT64_MAX;
    env.locks = 0;
    std::atomic<int> succeeded{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        if (store->reopen().ok() && put(*store, key, "again", true).ok()) ++succeeded;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(succeeded == 4);
    CHECK(env.locks == 1);
    CHECK(get(*store, key) == "again");
    CHECK(!get(*store, "half").has_value());
  }
}

TEST_CASE("a sync after a log was dropped unsynced does not claim durability") {
  FaultEnv env;
  KvOptions options;
  options.write_buffer_bytes = 64u << 10;
  auto store = open_kv(&env, options);
  env.wal_syncs_fail = true;
  Status written;
  for (int i = 0; written.ok() && i < 100; ++i) {
    written = put(*store, std::to_string(i), std::string(4096, 'x'));
  }
  env.wal_syncs_fail = false;
  CHECK(written.code() == Code::io_error);
  CHECK(!store->sync().ok());
  REQUIRE(store->reopen().ok());
  CHECK(store->sync().ok());
}

TEST_CASE("any flipped bit of a log or manifest is refused, but for the last record") {
  for (const char* part : {".log", "MANIFEST"}) {
    FaultEnv env;
    auto store = open_kv(&env);
    for (int i = 0; i < 20; ++i) REQUIRE(put(*store, std::to_string(i), "value", true).ok());
    store.reset();
    if (part[0] == 'M') {  // the log becomes a table; the manifest has several records
      for (int i = 0; i < 3; ++i) {
        store = open_kv(&env);
        REQUIRE(put(*store, "again", std::to_string(i), true).ok());
        store.reset();
      }
    }
    std::string path = env.only("/kv", part);
    std::string good = env.read(path);
    // Behind each byte of the first half lies a whole record.
    for (size_t byte = 0; byte < good.size() / 2; ++byte) {
      CAPTURE(part);
      CAPTURE(byte);
      env.flip(path, byte);
      std::string damaged = env.read(path);
      auto opened = KvStore::open(&env, "/kv", {});
      REQUIRE(opened.status().code() == Code::corruption);
      REQUIRE(opened.status().message().find(path) != std::string::npos);
      REQUIRE(env.read(path) == damaged);  // as it was, for whoever repairs it
      env.write(path, good);
    }
    store = open_kv(&env);
    CHECK(contents(*store).size() >= 20);
  }
}

TEST_CASE("a store that would begin anew although it has tables is refused, and left as it is") {
  FaultEnv env;
  KvOptions options;
  options.write_buffer_bytes = 64u << 10;
  {
    auto store = open_kv(&env, options);
    for (int i = 0; i < 64; ++i)
      REQUIRE(put(*store, std::to_string(i), std::string(4096, 'x')).ok());
  }
  const std::string current = "/kv/CURRENT", manifest = env.only("/kv", "MANIFEST");
  auto refused = [&](const char* why) {
    std::vector<std::string> before, after;
    REQUIRE(env.GetChildren("/kv", &before).ok());
    auto opened = KvStore::open(&env, "/kv", {});
    CHECK(opened.status().code() == Code::corruption);
    CHECK(opened.status().message().find(why) != std::string::npos);
    REQUIRE(env.GetChildren("/kv", &after).ok());
    CHECK(before == after);
  };
  std::string good = env.read(current);
  REQUIRE(env.RemoveFile(current).ok());
  refused("/kv/CURRENT is missing");
  env.write(current, good);
  // What it says of the tables, and that their log is done with, is in its last record.
  good = env.read(manifest);
  env.flip(manifest, good.size() - 1);
  const std::string damaged = env.read(manifest);
  refused(".log is missing, which MANIFEST-");
  CHECK(env.read(manifest) == damaged);
  env.write(manifest, good);
  CHECK(contents(*open_kv(&env)).size() == 64);
  env.write(current, std::string(5000, 'x'));
  refused("/kv/CURRENT has 5000 bytes");
}

TEST_CASE("a table that vanished is an error, not a key that is not there") {
  namespace fs = std::filesystem;
  std::string dir = (fs::temp_directory_path() / "jade-kv-XXXXXX").string();
  REQUIRE(mkdtemp(dir.data()) != nullptr);
  KvOptions options;
  options.write_buffer_bytes = 64u << 10;
  {
    auto store = KvStore::open(leveldb::Env::Default(), dir, options);
    REQUIRE(store.ok());
    for (int i = 0; i < 64; ++i) {
      REQUIRE(put(**store, std::to_string(i), std::string(4096, 'x')).ok());
    }
  }
  auto store = KvStore::open(leveldb::Env::Default(), dir, options);
  REQUIRE(store.ok());
  int tables = 0;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.path().extension() == ".ldb") tables += fs::remove(entry.path()) ? 1 : 0;
  }
  REQUIRE(tables > 0);
  int found = 0, failed = 0;
  for (int i = 0; i < 64; ++i) {
    auto value = (*store)->get(std::to_string(i));
    if (!value.ok()) {
      CHECK(value.status().code() == Code::corruption);
      ++failed;
    } else {
      REQUIRE(value->has_value());
      ++found;
    }
  }
  CHECK(found + failed == 64);
  CHECK(failed > 0);
  auto absent = (*store)->get("absent");
  if (absent.ok()) CHECK(!absent->has_value());
  *store = nullptr;
  fs::remove_all(dir);
}

}  // namespace jade
