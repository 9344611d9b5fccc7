#include "storage/env.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "tests/storage/fault_env.h"

namespace jade {
namespace {

std::unique_ptr<leveldb::WritableFile> create(leveldb::Env& env, const std::string& path) {
  leveldb::WritableFile* file = nullptr;
  REQUIRE(env.NewWritableFile(path, &file).ok());
  return std::unique_ptr<leveldb::WritableFile>(file);
}

}  // namespace

TEST_CASE("a file that is cut while it is open reads as one that is short") {
  std::string path = (std::filesystem::temp_directory_path() / "jade-env-XXXXXX").string();
  const int made = mkstemp(path.data());
  REQUIRE(made >= 0);
  close(made);
  leveldb::Env* env = file_system();
  REQUIRE(leveldb::WriteStringToFile(env, std::string(20'000, 'x'), path).ok());
  leveldb::RandomAccessFile* opened = nullptr;
  REQUIRE(env->NewRandomAccessFile(path, &opened).ok());
  std::unique_ptr<leveldb::RandomAccessFile> file(opened);
  REQUIRE(truncate(path.c_str(), 10'000) == 0);
  std::string scratch(100, 0);
  leveldb::Slice got;
  CHECK(file->Read(9950, 100, &got, scratch.data()).ok());
  CHECK(got.size() == 50);
  for (uint64_t beyond : {uint64_t{15'000}, uint64_t{1} << 62, (uint64_t{1} << 63) - 50,
                          uint64_t{1} << 63, UINT64_MAX - 10}) {
    CAPTURE(beyond);
    CHECK(file->Read(beyond, 100, &got, scratch.data()).ok());
    CHECK(got.empty());
  }
  std::filesystem::remove(path);
}

TEST_CASE("write-ahead logs are synced once when closed or dropped; other files are not") {
  FaultEnv disk;
  DurableEnv env(&disk);
  auto file = create(env, "/000001.log");
  REQUIRE(file->Append("x").ok());
  CHECK(disk.syncs == 0);
  REQUIRE(file->Close().ok());
  CHECK(disk.syncs == 1);
  file.reset();
  CHECK(disk.syncs == 1);
  file = create(env, "/000002.log");
  file.reset();
  CHECK(disk.syncs == 2);
  for (const char* path : {"/000003.ldb", "/MANIFEST-000004", "/LOG", "/log", "/.log.new"}) {
    file = create(env, path);
    REQUIRE(file->Append("x").ok());
    REQUIRE(file->Close().ok());
    file.reset();
  }
  CHECK(disk.syncs == 2);
}

TEST_CASE("after half a record nothing more is written to any log") {
  FaultEnv disk;
  DurableEnv env(&disk);
  auto first = create(env, "/000001.log");
  auto second = create(env, "/000002.log");
  disk.wal_room = 3;
  leveldb::Status failed = first->Append("abcdef");
  REQUIRE(!failed.ok());
  // Space is back, but what came next would lie behind half a record.
  disk.wal_room = UINT64_MAX;
  int appends = disk.wal_appends;
  CHECK(first->Append("ghi").ToString() == failed.ToString());
  CHECK(second->Append("ghi").ToString() == failed.ToString());
  CHECK(first->Sync().ToString() == failed.ToString());
  CHECK(disk.wal_appends == appends);
  CHECK(disk.read("/000001.log") == "abc");
  auto table = create(env, "/000003.ldb");
  CHECK(table->Append("x").ok());
  // Begun anew, as when a store is opened again.
  DurableEnv next(&disk);
  CHECK(create(next, "/000004.log")->Append("x").ok());
}

TEST_CASE("a log that could not be synced when dropped fails what follows in others") {
  FaultEnv disk;
  DurableEnv env(&disk);
  auto first = create(env, "/000001.log");
  auto second = create(env, "/000002.log");
  REQUIRE(first->Append("x").ok());
  disk.wal_syncs_fail = true;
  first.reset();
  disk.wal_syncs_fail = false;
  CHECK(!second->Append("y").ok());
  CHECK(!second->Sync().ok());
}

}  // namespace jade
