#include "storage/wal_check.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/storage/raw_store.h"
#include "tests/storage/wal_bytes.h"

namespace jade {
namespace {

struct Log {
  std::string bytes;
  std::vector<size_t> ends;  // of the records

  void add(size_t size) {
    append_wal_record(bytes, std::string(size, static_cast<char>('a' + ends.size() % 26)));
    ends.push_back(bytes.size());
  }
  // The end of the last record that is whole in the first `size` bytes.
  size_t good_before(size_t size) const {
    size_t good = 0;
    for (size_t end : ends) {
      if (end <= size) good = end;
    }
    return good;
  }
};

// Small records, records over several blocks, and all sizes of trailers: record
// after record such that 0 to 8 bytes are left in a block.
Log sample_log() {
  Log log;
  for (size_t size : {0, 1, 100, 40000, 3, 100000}) log.add(size);
  for (size_t left = 0; left <= 8; ++left) {
    size_t room = wal_block_bytes - log.bytes.size() % wal_block_bytes;
    if (room < 2 * wal_header_bytes + left) log.add(1000);
    room = wal_block_bytes - log.bytes.size() % wal_block_bytes;
    log.add(room - wal_header_bytes - left);
    log.add(10);
  }
  return log;
}

void write(leveldb::Env* env, const std::string& path, const std::string& bytes) {
  REQUIRE(leveldb::WriteStringToFile(env, bytes, path).ok());
}

std::string read(leveldb::Env* env, const std::string& path) {
  std::string bytes;
  REQUIRE(leveldb::ReadFileToString(env, path, &bytes).ok());
  return bytes;
}

}  // namespace

TEST_CASE("a log without damage is good to its end") {
  CHECK(scan_wal("").good_bytes == 0);
  CHECK(!scan_wal("").damaged);
  Log log = sample_log();
  WalExtent extent = scan_wal(log.bytes);
  CHECK(extent.good_bytes == log.bytes.size());
  CHECK(!extent.damaged);
  CHECK(!extent.more_follows);
  // The same after each record.
  for (size_t end : log.ends) {
    extent = scan_wal(std::string_view(log.bytes).substr(0, end));
    CHECK(extent.good_bytes == end);
    CHECK(!extent.damaged);
  }
}

TEST_CASE("a log cut anywhere is good up to its last whole record, and never corrupt") {
  Log log = sample_log();
  std::string_view all = log.bytes;
  // Every offset near the ends of records and blocks, some of the others.
  std::vector<size_t> cuts;
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    size_t in_block = cut % wal_block_bytes;
    bool near_block = in_block < 32 || wal_block_bytes - in_block < 32;
    bool near_record = std::any_of(log.ends.begin(), log.ends.end(),
                                   [&](size_t end) { return cut + 16 > end && cut < end + 16; });
    if (near_block || near_record || cut % 4099 == 0) cuts.push_back(cut);
  }
  REQUIRE(cuts.size() > 500);
  for (size_t cut : cuts) {
    CAPTURE(cut);
    WalExtent extent = scan_wal(all.substr(0, cut));
    REQUIRE(extent.good_bytes == log.good_before(cut));
    REQUIRE(extent.damaged == (extent.good_bytes < cut));
    REQUIRE(!extent.more_follows);
  }
}

TEST_CASE("a log of one block, cut at every offset with garbage behind, is only torn") {
  Log log;
  for (size_t size : {20, 0, 33, 7, 50}) log.add(size);
  std::mt19937 random(3);
  for (size_t cut = 0; cut <= log.bytes.size(); ++cut) {
    CAPTURE(cut);
    std::string torn = log.bytes.substr(0, cut);
    for (int i = 0; i < 64; ++i) torn.push_back(static_cast<char>(random()));
    WalExtent extent = scan_wal(torn);
    REQUIRE(extent.good_bytes == log.good_before(cut));
    REQUIRE(extent.damaged);
    REQUIRE(!extent.more_follows);
  }
}

TEST_CASE("a flipped bit with whole records in a later block is more than a torn end") {
  Log log;
  while (log.bytes.size() < 4 * wal_block_bytes) log.add(500);
  std::mt19937 random(4);
  for (int i = 0; i < 300; ++i) {
    size_t at = random() % (2 * wal_block_bytes);
    CAPTURE(at);
    std::string damaged = log.bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1 << random() % 8);
    WalExtent extent = scan_wal(damaged);
    size_t in_block = at % wal_block_bytes;
    // A bit of the padding at the end of a block means nothing.
    if (!extent.damaged) {
      CHECK(wal_block_bytes - in_block < wal_header_bytes);
      CHECK(extent.good_bytes == log.bytes.size());
      continue;
    }
    CHECK(extent.good_bytes == log.good_before(at));
    CHECK(extent.more_follows);
  }
}

TEST_CASE("a flipped bit with whole records in the same block is more than a torn end") {
  Log log;
  for (size_t size : {30, 0, 200, 7, 1000, 5}) log.add(size);
  size_t last = log.ends[log.ends.size() - 2];
  for (size_t at = 0; at < last; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      CAPTURE(at);
      CAPTURE(bit);
      std::string damaged = log.bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ 1 << bit);
      WalExtent extent = scan_wal(damaged);
      REQUIRE(extent.damaged);
      REQUIRE(extent.more_follows);
      REQUIRE(extent.good_bytes == log.good_before(at));
    }
  }
}

TEST_CASE("a torn end of any content is scanned in reasonable time") {
  Log log;
  log.add(100);
  for (char c : {'\1', '\4', '\x7f'}) {
    WalExtent extent = scan_wal(log.bytes + std::string(4u << 20, c));
    CHECK(extent.damaged);
    CHECK(!extent.more_follows);
    CHECK(extent.good_bytes == log.bytes.size());
  }
}

TEST_CASE("a flipped bit in the last record is a torn end") {
  Log log;
  for (int i = 0; i < 5; ++i) log.add(80);
  size_t start = log.ends[3];
  for (size_t at = start; at < log.bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      CAPTURE(at);
      std::string damaged = log.bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ 1 << bit);
      WalExtent extent = scan_wal(damaged);
      REQUIRE(extent.damaged);
      REQUIRE(extent.good_bytes == start);
      REQUIRE(!extent.more_follows);
    }
  }
}

TEST_CASE("zeros at the end of a log are a torn end, over any number of blocks") {
  for (size_t zeros : {1, 6, 7, 100, 40000, 200000}) {
    CAPTURE(zeros);
    Log log = sample_log();
    WalExtent extent = scan_wal(log.bytes + std::string(zeros, '\0'));
    CHECK(extent.good_bytes == log.bytes.size());
    CHECK(extent.damaged);
    CHECK(!extent.more_follows);
  }
}

TEST_CASE("fragments without a beginning or an end are no records") {
  std::string begun;
  append_wal_record(begun, "whole");
  size_t good = begun.size();
  append_wal_fragment(begun, 2, "first");
  CHECK(scan_wal(begun).good_bytes == good);
  CHECK(scan_wal(begun).damaged);
  append_wal_fragment(begun, 3, "middle");
  CHECK(scan_wal(begun).good_bytes == good);
  append_wal_fragment(begun, 4, "last");
  CHECK(scan_wal(begun).good_bytes == begun.size());
  CHECK(!scan_wal(begun).damaged);
  for (char type : {3, 4}) {
    std::string orphan = begun;
    append_wal_fragment(orphan, type, "orphan");
    CHECK(scan_wal(orphan).good_bytes == begun.size());
    CHECK(scan_wal(orphan).damaged);
    CHECK(!scan_wal(orphan).more_follows);
  }
}

TEST_CASE("checking a directory mends the newest log and manifests and nothing else") {
  auto env = memory_env();
  env->CreateDir("/db");
  Log log;
  for (int i = 0; i < 3; ++i) log.add(60);
  std::string torn = log.bytes.substr(0, log.bytes.size() - 5);
  write(env.get(), "/db/MANIFEST-000002", log.bytes + "rubbish");
  write(env.get(), "/db/000009.log", log.bytes);
  write(env.get(), "/db/000010.log", torn);
  write(env.get(), "/db/000011.log", "");  // made, and the crash came before the sync of the last
  write(env.get(), "/db/000005.ldb", torn);
  write(env.get(), "/db/other.log", torn);
  write(env.get(), "/db/CURRENT", "MANIFEST-000002\n");
  auto cuts = check_wal(env.get(), "/db");
  REQUIRE_MESSAGE(cuts.ok(), cuts.status().to_string());
  REQUIRE(cuts->size() == 2);
  CHECK((*cuts)[0].path == "/db/MANIFEST-000002");
  CHECK((*cuts)[0].bytes == 7);
  CHECK((*cuts)[1].path == "/db/000010.log");
  CHECK((*cuts)[1].bytes == torn.size() - log.ends[1]);
  CHECK(read(env.get(), "/db/MANIFEST-000002") == log.bytes);
  CHECK(read(env.get(), "/db/000009.log") == log.bytes);
  CHECK(read(env.get(), "/db/000010.log") == log.bytes.substr(0, log.ends[1]));
  CHECK(read(env.get(), "/db/000011.log").empty());
  CHECK(read(env.get(), "/db/000005.ldb") == torn);
  CHECK(read(env.get(), "/db/other.log") == torn);
  std::vector<std::string> names;
  REQUIRE(env->GetChildren("/db", &names).ok());
  CHECK(names.size() == 7);
  auto again = check_wal(env.get(), "/db");
  REQUIRE(again.ok());
  CHECK(again->empty());
}

TEST_CASE("a torn log with anything in a later one is corruption, and nothing is changed") {
  Log log;
  for (int i = 0; i < 3; ++i) log.add(60);
  std::string torn = log.bytes.substr(0, log.bytes.size() - 5);
  for (const std::string& later : {log.bytes, torn, std::string("x")}) {
    auto env = memory_env();
    env->CreateDir("/db");
    write(env.get(), "/db/MANIFEST-000002", log.bytes + "rubbish");
    write(env.get(), "/db/CURRENT", "MANIFEST-000002\n");
    // By number: as text, 1000000 comes before 999999.
    write(env.get(), "/db/999998.log", torn);
    write(env.get(), "/db/999999.log", "");
    write(env.get(), "/db/1000000.log", later);
    auto checked = check_wal(env.get(), "/db");
    REQUIRE(!checked.ok());
    CHECK(checked.status().code() == Code::corruption);
    CHECK(checked.status().message() == "/db/999998.log is damaged at offset " +
                                            std::to_string(log.ends[1]) +
                                            ", although /db/1000000.log follows it");
    CHECK(read(env.get(), "/db/999998.log") == torn);
    CHECK(read(env.get(), "/db/1000000.log") == later);
    CHECK(read(env.get(), "/db/MANIFEST-000002") == log.bytes + "rubbish");
  }
}

TEST_CASE("a log that the manifest of a real store has done with may be torn") {
  auto env = memory_env();
  leveldb::Options options;
  options.env = env.get();
  options.create_if_missing = true;
  options.write_buffer_size = 64u << 10;  // many logs, tables and compactions
  options.max_file_size = 1u << 20;
  leveldb::DB* opened = nullptr;
  REQUIRE(leveldb::DB::Open(options, "/db", &opened).ok());
  std::unique_ptr<leveldb::DB> db(opened);
  std::mt19937 random(5);
  std::string value;
  for (int i = 0; i < 4000; ++i) {
    value.assign(500, static_cast<char>(random()));
    REQUIRE(db->Put({}, std::to_string(random() % 2000), value).ok());
  }
  db->CompactRange(nullptr, nullptr);  // waits until only one log is left
  REQUIRE(db->Put({}, "last", "value").ok());
  db.reset();

  std::vector<std::string> names, logs;
  REQUIRE(env->GetChildren("/db", &names).ok());
  for (const std::string& name : names) {
    if (name.ends_with(".log")) logs.push_back(name);
  }
  REQUIRE(logs.size() == 1);
  auto name_of = [](int number) {
    char name[32];
    std::snprintf(name, sizeof name, "/db/%06d.log", number);
    return std::string(name);
  };
  int number = std::stoi(logs[0]);
  REQUIRE(name_of(number) == "/db/" + logs[0]);
  Log log;
  for (int i = 0; i < 3; ++i) log.add(60);
  std::string torn = log.bytes.substr(0, log.bytes.size() - 5), holed = log.bytes;
  holed[log.ends[0]] ^= 1;
  for (const std::string& old : {torn, holed}) {
    write(env.get(), name_of(number - 1), old);
    auto checked = check_wal(env.get(), "/db");
    REQUIRE_MESSAGE(checked.ok(), checked.status().to_string());
    CHECK(checked->empty());
    CHECK(read(env.get(), name_of(number - 1)) == old);
  }
  // The one that it has not done with must be whole.
  std::string live = read(env.get(), name_of(number));
  write(env.get(), name_of(number), live.substr(0, live.size() - 1));
  write(env.get(), name_of(number + 1), log.bytes);
  auto checked = check_wal(env.get(), "/db");
  CHECK(checked.status().code() == Code::corruption);
}

TEST_CASE("damage inside a log is corruption with file and offset, and changes nothing") {
  auto env = memory_env();
  env->CreateDir("/db");
  Log log;
  while (log.bytes.size() < 2 * wal_block_bytes) log.add(600);
  std::string damaged = log.bytes;
  damaged[log.ends[2] + 20] ^= 4;
  write(env.get(), "/db/000003.log", damaged);
  auto checked = check_wal(env.get(), "/db");
  REQUIRE(!checked.ok());
  CHECK(checked.status().code() == Code::corruption);
  CHECK(checked.status().message() ==
        "/db/000003.log is damaged at offset " + std::to_string(log.ends[2]) + ", before its end");
  CHECK(read(env.get(), "/db/000003.log") == damaged);
}

TEST_CASE("a directory that is not there needs no mending") {
  auto env = memory_env();
  auto cuts = check_wal(env.get(), "/nowhere");
  REQUIRE(cuts.ok());
  CHECK(cuts->empty());
}

}  // namespace jade
