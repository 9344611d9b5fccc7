#include "storage/shard_store.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

#include "storage/bytes.h"
#include "storage/vector_id.h"
#include "tests/storage/raw_store.h"

namespace jade {
namespace {

std::shared_ptr<ShardStore> open_shard(leveldb::Env* env, const std::string& dir = "/shard") {
  auto store = ShardStore::open(env, dir, nullptr);
  REQUIRE_MESSAGE(store.ok(), store.status().to_string());
  return *store;
}

std::string key_of(uint64_t number) { return VectorId(number).key(); }

std::string row_key(uint64_t row) {
  std::string key = "r";
  append_big_endian(key, row);
  return key;
}

void put(ShardStore& store, uint64_t row, uint64_t id, std::string_view values) {
  ShardStore::Batch batch;
  batch.put(row, key_of(id), values, "{}");
  REQUIRE(store.commit(batch).ok());
}

}  // namespace

TEST_CASE("a new shard store holds nothing") {
  auto env = memory_env();
  auto store = open_shard(env.get());
  REQUIRE(store->state().ok());
  CHECK(!store->state()->has_value());
  CHECK(!store->find(key_of(1))->has_value());
  CHECK(store->get(1).status().code() == Code::corruption);
  CHECK(*store->digest({}) == 0);
}

TEST_CASE("random upserts and deletes leave what a model says, also after reopening") {
  auto env = memory_env();
  auto store = open_shard(env.get());
  std::mt19937 random(5);
  std::map<uint64_t, std::pair<uint64_t, std::string>> rows;  // id → row, values
  std::map<uint64_t, bool> dead;
  uint64_t next_row = 1;
  for (int step = 1; step <= 2000; ++step) {
    uint64_t id = random() % 150;
    ShardStore::Batch batch;
    auto old = rows.find(id);
    if (old != rows.end()) {
      batch.erase_row(old->second.first);
      dead[old->second.first] = true;
    }
    if (random() % 3 > 0) {
      std::string values(8, static_cast<char>(random()));
      batch.put(next_row, key_of(id), values, "{\"n\":1}");
      rows[id] = {next_row++, values};
    } else {
      batch.forget_id(key_of(id));
      if (old != rows.end()) rows.erase(old);
    }
    if (!dead.empty() && random() % 5 == 0) {
      batch.forget_tombstone(dead.begin()->first);
      dead.erase(dead.begin());
    }
    ShardStateMeta state;
    state.applied_index = static_cast<uint64_t>(step);
    state.next_row = next_row;
    batch.set_state(state);
    REQUIRE(store->commit(batch).ok());
    if (step % 500 == 0) {
      if (step == 1500) REQUIRE(store->sync().ok());
      store.reset();
      store = open_shard(env.get());
      CHECK((*store->state())->applied_index == static_cast<uint64_t>(step));
      CHECK((*store->state())->next_row == next_row);
    }
  }
  for (uint64_t id = 0; id < 150; ++id) {
    auto found = store->find(key_of(id));
    REQUIRE(found.ok());
    auto expected = rows.find(id);
    REQUIRE(found->has_value() == (expected != rows.end()));
    if (expected == rows.end()) continue;
    CHECK(**found == expected->second.first);
    auto record = store->get(**found);
    REQUIRE(record.ok());
    CHECK(record->id == key_of(id));
    CHECK(record->values == expected->second.second);
    CHECK(record->metadata == "{\"n\":1}");
  }
  std::map<uint64_t, bool> tombstones;
  REQUIRE(store->scan_tombstones([&](uint64_t row) { tombstones[row] = true; }).ok());
  CHECK(tombstones == dead);
  std::map<uint64_t, uint64_t> by_row;
  for (const auto& [id, row] : rows) by_row[row.first] = id;
  auto expected = by_row.lower_bound(next_row / 4);
  uint64_t end = next_row - 5;
  Status scanned = store->scan_rows(next_row / 4, end, [&](uint64_t row, const Record& record) {
    REQUIRE(expected != by_row.end());
    CHECK(row == expected->first);
    CHECK(record.id == key_of(expected->second));
    ++expected;
    return Status();
  });
  CHECK(scanned.ok());
  CHECK(expected == by_row.lower_bound(end));
}

TEST_CASE("ids are listed in their order, page by page, as of a snapshot") {
  auto env = memory_env();
  auto store = open_shard(env.get());
  for (uint64_t i = 0; i < 10; ++i) put(*store, i + 1, 9 - i, "v");
  ShardStore::Batch text;
  text.put(11, VectorId(std::string("zebra")).key(), "v", "");
  text.put(12, VectorId(std::string("ant")).key(), "v", "");
  REQUIRE(store->commit(text).ok());
  auto snapshot = store->snapshot();
  put(*store, 20, 77, "v");
  std::vector<std::string> seen;
  std::string after;
  for (;;) {
    int page = 0;
    auto each = [&](std::string_view id, uint64_t) {
      seen.push_back(VectorId::from_key(id).value().to_string());
      after = id;
      return ++page < 5;
    };
    REQUIRE(store->scan_ids(after, snapshot, each).ok());
    if (page < 5) break;
  }
  CHECK(seen == std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9",
                                         "\"ant\"", "\"zebra\""});
  CHECK(!store->find(key_of(77), snapshot)->has_value());
  CHECK(store->find(key_of(77))->has_value());
  CHECK(store->get(20, snapshot).status().code() == Code::corruption);
}

TEST_CASE("the failure of a scan's function is the scan's") {
  auto env = memory_env();
  auto store = open_shard(env.get());
  for (uint64_t i = 1; i < 5; ++i) put(*store, i, i, "v");
  int calls = 0;
  Status status = store->scan_rows(0, 100, [&](uint64_t, const Record&) {
    return ++calls == 2 ? unavailable("stop") : Status();
  });
  CHECK(status.message() == "stop");
  CHECK(calls == 2);
}

TEST_CASE("the digest depends on content only") {
  auto env = memory_env();
  auto a = open_shard(env.get(), "/a");
  auto b = open_shard(env.get(), "/b");
  for (uint64_t i = 1; i <= 20; ++i) {
    put(*a, i, i, "v" + std::to_string(i));
    put(*b, 100 - i, i, "v" + std::to_string(i));
  }
  uint32_t digest = *a->digest({});
  CHECK(digest == *b->digest({}));
  auto before = b->snapshot();
  ShardStore::Batch batch;
  batch.erase_row(99);
  batch.put(200, key_of(1), "v1", "{}");
  REQUIRE(b->commit(batch).ok());
  CHECK(digest == *b->digest({}));
  put(*b, 201, 2, "other");
  CHECK(digest != *b->digest({}));
  CHECK(digest == *b->digest(before));
}

TEST_CASE("damaged records, ids and states are corruption") {
  auto env = memory_env();
  auto store = open_shard(env.get());
  for (uint64_t i = 1; i <= 3; ++i) put(*store, i, i, "values");
  ShardStore::Batch batch;
  batch.set_state({});
  REQUIRE(store->commit(batch).ok());
  store.reset();
  change_raw(env.get(), "/shard", row_key(2), [](std::string& value) { value.back() ^= 1; });
  change_raw(env.get(), "/shard", "i" + key_of(3), [](std::string& value) { value.pop_back(); });
  change_raw(env.get(), "/shard", "m", [](std::string& value) { value.resize(3); });
  store = open_shard(env.get());
  CHECK(store->get(1).ok());
  CHECK(store->get(2).status().to_string() == "corruption: record 2 has a wrong checksum");
  CHECK(store->find(key_of(3)).status().code() == Code::corruption);
  CHECK(store->state().status().to_string() ==
        "corruption: the shard's state has a wrong checksum");
  auto any = [](uint64_t, const Record&) { return Status(); };
  CHECK(store->scan_rows(1, 9, any).code() == Code::corruption);
  CHECK(store->digest({}).status().code() == Code::corruption);
}

TEST_CASE("an id that names another's record is found by the digest") {
  auto env = memory_env();
  auto store = open_shard(env.get());
  put(*store, 1, 1, "v");
  put(*store, 1, 2, "v");
  CHECK(store->digest({}).status().to_string() ==
        "corruption: record 1 does not belong to the id that names it");
}

}  // namespace jade
