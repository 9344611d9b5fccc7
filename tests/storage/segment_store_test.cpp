#include "storage/segment_store.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "storage/bytes.h"
#include "tests/storage/fault_env.h"
#include "tests/storage/raw_store.h"

namespace jade {
namespace {

constexpr size_t chunk_bytes = 1u << 20;

std::shared_ptr<SegmentStore> open_segments(leveldb::Env* env) {
  auto store = SegmentStore::open(env, "/segments", nullptr);
  REQUIRE_MESSAGE(store.ok(), store.status().to_string());
  return *store;
}

std::string random_bytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

void write_blob(SegmentStore& store, uint64_t id, std::string_view bytes, size_t part) {
  auto writer = store.create(id);
  REQUIRE(writer.ok());
  for (size_t at = 0; at < bytes.size(); at += part) {
    REQUIRE((*writer)->append(bytes.substr(at, part)).ok());
  }
  REQUIRE((*writer)->finish().ok());
}

Result<std::string> read_blob(const SegmentStore& store, uint64_t id, size_t part = 100'000) {
  auto reader = store.read(id);
  if (!reader.ok()) return reader.status();
  std::string out;
  std::string buffer(part, '\0');
  for (;;) {
    auto read = (*reader)->read(buffer.data(), buffer.size());
    if (!read.ok()) return read.status();
    out.append(buffer, 0, *read);
    if (*read < part) break;
  }
  CHECK((*reader)->size() == out.size());
  return out;
}

std::string chunk_key(uint64_t id, uint32_t chunk) {
  std::string key = "s";
  append_big_endian(key, id);
  append_big_endian32(key, chunk);
  return key;
}

std::string footer_key(uint64_t id) {
  std::string key = "f";
  append_big_endian(key, id);
  return key;
}

}  // namespace

TEST_CASE("blobs of all sizes come back, also after reopening") {
  auto env = memory_env();
  auto store = open_segments(env.get());
  std::vector<std::string> blobs;
  for (size_t size : {size_t{0}, size_t{1}, size_t{1000}, chunk_bytes - 1, chunk_bytes,
                      chunk_bytes + 1, 3 * chunk_bytes + 17}) {
    blobs.push_back(random_bytes(size, static_cast<uint32_t>(size)));
    write_blob(*store, blobs.size(), blobs.back(), 70'001);
  }
  for (int pass = 0; pass < 2; ++pass) {
    auto ids = store->list();
    REQUIRE(ids.ok());
    CHECK(*ids == std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7});
    for (size_t i = 0; i < blobs.size(); ++i) {
      CAPTURE(i);
      for (size_t part : {size_t{4099}, chunk_bytes, 5 * chunk_bytes}) {
        auto read = read_blob(*store, i + 1, part);
        REQUIRE_MESSAGE(read.ok(), read.status().to_string());
        REQUIRE((*read == blobs[i]));
      }
    }
    store.reset();
    store = open_segments(env.get());
  }
}

TEST_CASE("a half-written blob does not exist, and reopening removes its chunks") {
  auto env = memory_env();
  auto store = open_segments(env.get());
  std::string bytes = random_bytes(3 * chunk_bytes, 1);
  write_blob(*store, 1, bytes, chunk_bytes);
  write_blob(*store, 9, "small", 5);
  {
    auto writer = store->create(5);
    REQUIRE(writer.ok());
    REQUIRE((*writer)->append(bytes).ok());
    CHECK(read_blob(*store, 5).status().code() == Code::not_found);
  }
  CHECK(*store->list() == std::vector<uint64_t>{1, 9});
  store.reset();
  CHECK(raw_keys(env.get(), "/segments").size() == 2 + 4 + 3);
  store = open_segments(env.get());
  CHECK(read_blob(*store, 5).status().code() == Code::not_found);
  CHECK((*read_blob(*store, 1) == bytes));
  CHECK(*read_blob(*store, 9) == "small");
  store.reset();
  CHECK(raw_keys(env.get(), "/segments").size() == 2 + 4);
}

TEST_CASE("a blob is replaced by a shorter one without a trace, and removed") {
  auto env = memory_env();
  auto store = open_segments(env.get());
  write_blob(*store, 4, random_bytes(2 * chunk_bytes + 5, 2), chunk_bytes);
  write_blob(*store, 4, "new", 1);
  CHECK(*read_blob(*store, 4) == "new");
  REQUIRE(store->remove(4).ok());
  CHECK(read_blob(*store, 4).status().code() == Code::not_found);
  CHECK(store->list()->empty());
  CHECK(store->remove(4).ok());
  store.reset();
  CHECK(raw_keys(env.get(), "/segments").empty());
}

TEST_CASE("the space of blobs that were removed or replaced is given back") {
  FaultEnv env;
  auto store = open_segments(&env);
  auto used = [&] {
    uint64_t bytes = 0;
    std::vector<std::string> names;
    env.GetChildren("/segments", &names);
    for (const std::string& name : names) {
      uint64_t size = 0;
      if (name.ends_with(".ldb") && env.GetFileSize("/segments/" + name, &size).ok()) bytes += size;
    }
    return bytes;
  };
  constexpr size_t size = 3u << 20;
  for (uint32_t id = 1; id <= 4; ++id) write_blob(*store, id, random_bytes(size, id), size);
  REQUIRE(store->remove(1).ok());
  REQUIRE(store->remove(3).ok());
  write_blob(*store, 2, random_bytes(size, 9), size);
  store->reclaim({1, 2, 3});
  CHECK(used() < 2 * size + size / 2);  // of 5 times as much that was written
  CHECK(*read_blob(*store, 2) == random_bytes(size, 9));
  CHECK(*read_blob(*store, 4) == random_bytes(size, 4));
}

TEST_CASE("a reader goes on with what it began, whatever replaces it") {
  auto env = memory_env();
  auto store = open_segments(env.get());
  std::string bytes = random_bytes(2 * chunk_bytes, 3);
  write_blob(*store, 4, bytes, chunk_bytes);
  auto reader = store->read(4);
  REQUIRE(reader.ok());
  std::string out(bytes.size(), '\0');
  REQUIRE((*reader)->read(out.data(), 10).ok());
  REQUIRE(store->remove(4).ok());
  auto rest = (*reader)->read(out.data() + 10, out.size());
  REQUIRE(rest.ok());
  CHECK(*rest == bytes.size() - 10);
  CHECK((out == bytes));
}

TEST_CASE("damage names segment and chunk, and other blobs stay readable") {
  auto env = memory_env();
  auto store = open_segments(env.get());
  std::string bytes = random_bytes(3 * chunk_bytes, 4);
  write_blob(*store, 7, bytes, chunk_bytes);
  write_blob(*store, 8, "whole", 5);
  store.reset();
  auto failure = [&] {
    auto reopened = open_segments(env.get());
    CHECK(*read_blob(*reopened, 8) == "whole");
    return read_blob(*reopened, 7).status();
  };
  std::string kept;
  change_raw(env.get(), "/segments", chunk_key(7, 1), [&](std::string& value) {
    kept = value;
    value[value.size() / 2] ^= 1;
  });
  CHECK(failure().to_string() == "corruption: chunk 1 of segment 7 has a wrong checksum");
  change_raw(env.get(), "/segments", chunk_key(7, 1), [](std::string& value) { value = "abc"; });
  CHECK(failure().to_string() == "corruption: chunk 1 of segment 7 has a wrong checksum");
  erase_raw(env.get(), "/segments", chunk_key(7, 1));
  CHECK(failure().to_string() == "corruption: chunk 1 of segment 7 is missing");
  REQUIRE(open_raw(env.get(), "/segments")->Put({}, chunk_key(7, 1), kept).ok());
  CHECK(failure().ok());
  erase_raw(env.get(), "/segments", chunk_key(7, 2));
  CHECK(failure().to_string() == "corruption: chunk 2 of segment 7 is missing");
  change_raw(env.get(), "/segments", footer_key(7), [](std::string& value) { value[6] ^= 1; });
  CHECK(failure().to_string() == "corruption: the footer of segment 7 has a wrong checksum");
}

TEST_CASE("a blob that the disk had no room for does not exist; the next one does") {
  FaultEnv env;
  auto store = open_segments(&env);
  std::string bytes = random_bytes(3 * chunk_bytes, 6);
  write_blob(*store, 1, bytes, chunk_bytes);
  for (uint64_t room : {uint64_t{0}, uint64_t{1000}, uint64_t{chunk_bytes + 500}}) {
    CAPTURE(room);
    auto writer = store->create(2);
    REQUIRE(writer.ok());
    env.wal_room = room;
    Status status = (*writer)->append(bytes);
    CHECK(status.code() == Code::disk_full);
    env.wal_room = UINT64_MAX;
    CHECK((*writer)->finish().code() == Code::disk_full);
    CHECK(read_blob(*store, 2).status().code() == Code::not_found);
    CHECK((*read_blob(*store, 1) == bytes));
  }
  write_blob(*store, 2, bytes, chunk_bytes);
  CHECK((*read_blob(*store, 2) == bytes));
}

TEST_CASE("a writer that failed stays failed when another has reopened the store") {
  FaultEnv env;
  auto store = open_segments(&env);
  auto first = store->create(1);
  REQUIRE(first.ok());
  env.wal_room = 100;
  REQUIRE(!(*first)->append(random_bytes(2 * chunk_bytes, 7)).ok());
  env.wal_room = UINT64_MAX;
  write_blob(*store, 2, "whole", 5);
  CHECK((*first)->append("more").code() == Code::disk_full);
  CHECK((*first)->finish().code() == Code::disk_full);
  CHECK(*store->list() == std::vector<uint64_t>{2});
}

TEST_CASE("a reader is not cut off by a store that wants to reopen") {
  FaultEnv env;
  auto store = open_segments(&env);
  std::string bytes = random_bytes(2 * chunk_bytes, 8);
  write_blob(*store, 1, bytes, chunk_bytes);
  auto reader = store->read(1);
  REQUIRE(reader.ok());
  std::string out(bytes.size(), '\0');
  REQUIRE((*reader)->read(out.data(), 10).ok());
  auto writer = store->create(2);
  REQUIRE(writer.ok());
  env.wal_room = 100;
  REQUIRE(!(*writer)->append(bytes).ok());
  env.wal_room = UINT64_MAX;
  CHECK(store->create(3).status().code() == Code::failed_precondition);
  auto rest = (*reader)->read(out.data() + 10, out.size());
  REQUIRE(rest.ok());
  CHECK((out == bytes));
  *reader = nullptr;
  CHECK(store->create(3).ok());
}

}  // namespace jade
