#include "storage/log_store.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "storage/bytes.h"
#include "tests/storage/fault_env.h"
#include "tests/storage/raw_store.h"

namespace jade {
namespace {

std::shared_ptr<LogStore> open_log(leveldb::Env* env) {
  auto store = LogStore::open(env, "/log");
  REQUIRE_MESSAGE(store.ok(), store.status().to_string());
  return *store;
}

LogAppend entries(uint64_t group, uint64_t first, uint64_t count, uint64_t term = 1) {
  LogAppend append{group, first, {}, {}};
  for (uint64_t i = 0; i < count; ++i) {
    append.entries.push_back({term, 1, "entry " + std::to_string(first + i)});
  }
  return append;
}

Status append(LogStore& store, LogAppend one) { return store.append(std::span(&one, 1)); }

Status vote(LogStore& store, uint64_t group, HardState state) {
  return append(store, {group, 0, {}, state});
}

std::string entry_key(uint64_t group, uint64_t index) {
  std::string key;
  append_big_endian(key, group);
  key.push_back('e');
  append_big_endian(key, index);
  return key;
}

std::string key_of(uint64_t group, char tag) {
  std::string key;
  append_big_endian(key, group);
  key.push_back(tag);
  return key;
}

// What one group must hold.
struct Expected {
  HardState state;
  std::optional<RaftSnapshot> snapshot;
  uint64_t first = 1;
  std::vector<LogEntry> entries;

  uint64_t end() const { return first + entries.size(); }
};

void compare(const LogStore& store, uint64_t group, const Expected& expected) {
  auto loaded = store.load(group);
  REQUIRE_MESSAGE(loaded.ok(), loaded.status().to_string());
  CHECK(loaded->state == expected.state);
  REQUIRE(loaded->snapshot.has_value() == expected.snapshot.has_value());
  if (expected.snapshot) {
    CHECK(loaded->snapshot->index == expected.snapshot->index);
    CHECK(loaded->snapshot->term == expected.snapshot->term);
    CHECK(loaded->snapshot->configuration_index == expected.snapshot->configuration_index);
    CHECK(loaded->snapshot->configuration == expected.snapshot->configuration);
    CHECK(loaded->snapshot->data == expected.snapshot->data);
  }
  CHECK(loaded->first_index == expected.first);
  REQUIRE(loaded->entries.size() == expected.entries.size());
  for (size_t i = 0; i < expected.entries.size(); ++i) {
    REQUIRE(loaded->entries[i].term == expected.entries[i].term);
    REQUIRE(loaded->entries[i].type == expected.entries[i].type);
    REQUIRE(loaded->entries[i].data == expected.entries[i].data);
  }
}

// Random operations on a few groups, as Raft would ask for them: entries up to
// the snapshot are committed and never rewritten.
class Workload {
 public:
  explicit Workload(uint32_t seed) : random_(seed) {}

  void step() {
    uint64_t group = groups[draw(groups.size())];
    Expected& expected = model_[group];
    switch (draw(5)) {
      case 0:
      case 1: return append_some();
      case 2: {
        expected.state = {expected.state.term + draw(3), draw(5)};
        LogAppend only_state;
        only_state.group = group;
        only_state.state = expected.state;
        REQUIRE(store_->append({&only_state, 1}).ok());
        return;
      }
      case 3: return install(group, expected);
      default: return snapshot(group, expected);
    }
  }

  void reopen() {
    store_.reset();
    store_ = open_log(env_.get());
  }

  void check() {
    for (const auto& [group, expected] : model_) {
      CAPTURE(group);
      compare(*store_, group, expected);
    }
  }

 private:
  uint64_t draw(uint64_t below) { return random_() % below; }

  // The first index that may still change.
  static uint64_t keep_until(const Expected& expected) {
    return std::max(expected.first, expected.snapshot ? expected.snapshot->index + 1 : 1);
  }

  void append_some() {
    std::vector<LogAppend> appends;
    for (uint64_t group : groups) {
      if (draw(2) == 0) continue;
      Expected& expected = model_[group];
      uint64_t from = keep_until(expected);
      if (draw(3) > 0) from = expected.end();
      if (expected.end() > from) from += draw(expected.end() - from);
      LogAppend one{group, from, {}, {}};
      if (draw(3) == 0) one.state = expected.state = {expected.state.term + 1, draw(5)};
      for (uint64_t n = 1 + draw(4); n > 0; --n) {
        std::string data(draw(50), static_cast<char>(draw(256)));
        one.entries.push_back({expected.state.term, static_cast<uint8_t>(draw(3)), data});
      }
      expected.entries.resize(from - expected.first);
      expected.entries.insert(expected.entries.end(), one.entries.begin(), one.entries.end());
      appends.push_back(std::move(one));
    }
    REQUIRE(store_->append(appends).ok());
  }

  // The state of another member takes the place of the log: of part of it where both have the same
  // last entry, otherwise of all.
  void install(uint64_t group, Expected& expected) {
    RaftSnapshot snapshot;
    snapshot.index = expected.first - 1 + draw(expected.entries.size() + 5);
    const bool inside = snapshot.index < expected.end() - 1;
    const bool is_entry = inside && snapshot.index >= expected.first;
    snapshot.term =
        is_entry ? expected.entries[snapshot.index - expected.first].term : expected.state.term;
    snapshot.data = "theirs";
    const bool conflicts = is_entry && draw(3) == 0;
    if (conflicts) ++snapshot.term;
    REQUIRE(store_->install(group, snapshot).ok());
    if (inside && !conflicts) {
      auto gone = static_cast<std::ptrdiff_t>(snapshot.index + 1 - expected.first);
      expected.entries.erase(expected.entries.begin(), expected.entries.begin() + gone);
    } else {
      expected.entries.clear();
    }
    expected.snapshot = snapshot;
    expected.first = snapshot.index + 1;
  }

  void snapshot(uint64_t group, Expected& expected) {
    RaftSnapshot snapshot;
    uint64_t last = expected.snapshot ? expected.snapshot->index : 0;
    // Sometimes a leader's, beyond our log.
    uint64_t limit = draw(4) == 0 ? expected.end() + 5 : expected.end() - 1;
    if (limit <= last) return;
    snapshot.index = last + 1 + draw(limit - last);
    snapshot.term = expected.state.term;
    snapshot.configuration_index = draw(9);
    snapshot.configuration = std::string(draw(20), 'c');
    snapshot.data = std::string(draw(200), static_cast<char>(draw(256)));
    uint64_t trailing = draw(4);
    REQUIRE(store_->put_snapshot(group, snapshot, trailing).ok());
    if (expected.end() <= snapshot.index) {
      expected.first = snapshot.index + 1;
      expected.entries.clear();
    } else {
      uint64_t keep = snapshot.index > trailing ? snapshot.index - trailing + 1 : 1;
      keep = std::max(keep, expected.first);
      expected.entries.erase(
          expected.entries.begin(),
          expected.entries.begin() + static_cast<std::ptrdiff_t>(keep - expected.first));
      expected.first = keep;
    }
    // With no entry left, the log begins after the snapshot.
    if (expected.entries.empty()) expected.first = snapshot.index + 1;
    expected.snapshot = std::move(snapshot);
  }

  const std::vector<uint64_t> groups{1, 2, 255, 256, UINT64_MAX};
  std::mt19937 random_;
  std::unique_ptr<leveldb::Env> env_ = memory_env();
  std::shared_ptr<LogStore> store_ = open_log(env_.get());
  std::map<uint64_t, Expected> model_;
};

}  // namespace

TEST_CASE("random work on several groups, with reopening, leaves what a model says") {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    Workload workload(seed);
    for (int step = 1; step <= 250; ++step) {
      CAPTURE(step);
      workload.step();
      if (step % 25 == 0) workload.check();
      if (step % 40 == 0) {
        workload.reopen();
        workload.check();
      }
    }
    workload.reopen();
    workload.check();
  }
}

TEST_CASE("a new group is empty and starts at entry 1") {
  auto env = memory_env();
  auto store = open_log(env.get());
  auto loaded = store->load(7);
  REQUIRE(loaded.ok());
  CHECK(loaded->state == HardState());
  CHECK(!loaded->snapshot);
  CHECK(loaded->first_index == 1);
  CHECK(loaded->entries.empty());
  auto groups = store->groups();
  REQUIRE(groups.ok());
  CHECK(groups->empty());
}

TEST_CASE("a gap is refused, for all groups of the append") {
  auto env = memory_env();
  auto store = open_log(env.get());
  REQUIRE(append(*store, entries(1, 1, 3)).ok());
  std::vector<LogAppend> both{entries(2, 1, 2), entries(1, 5, 1)};
  Status refused = store->append(both);
  CHECK(refused.code() == Code::failed_precondition);
  CHECK(refused.message() == "entry 5 of Raft group 1 does not continue its log, which ends at 3");
  CHECK(append(*store, entries(1, 0, 1)).code() == Code::failed_precondition);
  for (int pass = 0; pass < 2; ++pass) {
    CHECK(store->load(1)->entries.size() == 3);
    CHECK(store->load(2)->entries.empty());
    store.reset();
    store = open_log(env.get());
  }
  // A refusal is no failed write: what follows is taken.
  CHECK(append(*store, entries(1, 4, 1)).ok());
}

TEST_CASE("one append may name a group twice; the later part goes on from the earlier") {
  auto env = memory_env();
  auto store = open_log(env.get());
  std::vector<LogAppend> appends{entries(1, 1, 5), entries(2, 1, 1), entries(1, 6, 2),
                                 entries(1, 4, 1, 9)};
  REQUIRE(store->append(appends).ok());
  auto loaded = store->load(1);
  REQUIRE(loaded.ok());
  REQUIRE(loaded->entries.size() == 4);
  CHECK(loaded->entries[2].term == 1);
  CHECK(loaded->entries[3].term == 9);
  CHECK(store->load(2)->entries.size() == 1);
}

TEST_CASE("a term and a vote are kept over reopening, with entries or without") {
  auto env = memory_env();
  auto store = open_log(env.get());
  REQUIRE(vote(*store, 1, {5, 3}).ok());
  CHECK(store->load(1)->state == HardState{5, 3});
  store.reset();
  store = open_log(env.get());
  CHECK(store->load(1)->state == HardState{5, 3});
  LogAppend both = entries(1, 1, 2);
  both.state = HardState{6, 0};
  REQUIRE(append(*store, both).ok());
  CHECK(store->load(1)->state == HardState{6, 0});
  CHECK(store->load(1)->entries.size() == 2);
  REQUIRE(append(*store, entries(1, 3, 1)).ok());
  CHECK(store->load(1)->state == HardState{6, 0});
}

TEST_CASE("a group that is marked as begun keeps what it has") {
  auto env = memory_env();
  auto store = open_log(env.get());
  REQUIRE(store->mark_begun(1).ok());
  REQUIRE(vote(*store, 2, {7, 3}).ok());
  REQUIRE(store->mark_begun(2).ok());
  store.reset();
  store = open_log(env.get());
  CHECK(store->load(1)->state == HardState{1, 0});
  CHECK(store->load(1)->entries.empty());
  CHECK(store->load(2)->state == HardState{7, 3});
  CHECK(append(*store, entries(1, 1, 2)).ok());
}

TEST_CASE("the lives of a node are kept, and are no group") {
  FaultEnv env;
  auto store = open_log(&env);
  CHECK(store->lives()->empty());
  REQUIRE(append(*store, entries(1, 1, 2)).ok());
  int syncs = env.syncs;
  REQUIRE(store->begin_life(7).ok());
  CHECK(env.syncs == syncs + 1);
  REQUIRE(store->record_life({7, 30}).ok());
  CHECK(env.syncs == syncs + 2);
  REQUIRE(store->begin_life(8).ok());
  REQUIRE(store->begin_life(9).ok());
  CHECK(store->record_life({6, 31}).code() == Code::not_found);
  REQUIRE(store->record_life({8, 32}).ok());
  for (int pass = 0; pass < 2; ++pass) {
    CHECK(*store->lives() == std::vector<Life>{{7, 30}, {8, 32}, {9, 0}});
    CHECK(*store->groups() == std::vector<uint64_t>{1});
    CHECK(store->load(1)->entries.size() == 2);
    store.reset();
    store = open_log(&env);
  }
  // On a full disk there is no other life, and the one before is what it was.
  env.wal_room = 3;
  CHECK(store->begin_life(10).code() == Code::disk_full);
  env.wal_room = UINT64_MAX;
  REQUIRE(store->reopen().ok());
  CHECK(*store->lives() == std::vector<Life>{{7, 30}, {8, 32}, {9, 0}});
}

TEST_CASE(
    "of many lives the latest are kept, and starts that nobody heard of drive out none that was") {
  auto env = memory_env();
  auto store = open_log(env.get());
  uint64_t id = 0;
  auto begin = [&] { REQUIRE(store->begin_life(++id).ok()); };
  for (size_t i = 0; i < lives_max + 3; ++i) {
    begin();
    REQUIRE(store->record_life({id, 100 + id}).ok());
  }
  for (size_t i = 0; i < lives_max + 5; ++i) begin();
  auto lives = store->lives();
  REQUIRE(lives.ok());
  REQUIRE(lives->size() == 2 * lives_max);
  CHECK(lives->front() == Life{4, 104});
  CHECK((*lives)[lives_max - 1] == Life{lives_max + 3, 100 + lives_max + 3});
  CHECK((*lives)[lives_max] == Life{lives_max + 3 + 6, 0});
  CHECK(lives->back() == Life{id, 0});
}

TEST_CASE("damaged lives are corruption, and say so") {
  auto env = memory_env();
  auto store = open_log(env.get());
  REQUIRE(store->begin_life(7).ok());
  store.reset();
  change_raw(env.get(), "/log", key_of(0, 'l'), [](std::string& value) { value.back() ^= 1; });
  store = open_log(env.get());
  CHECK(store->lives().status().message() == "the list of the node's lives has a wrong checksum");
  CHECK(store->begin_life(8).code() == Code::corruption);
  store.reset();
  change_raw(env.get(), "/log", key_of(0, 'l'), [](std::string& value) { value.clear(); });
  CHECK(open_log(env.get())->lives().status().code() == Code::corruption);
}

TEST_CASE("a removed group is gone, its neighbours stay") {
  auto env = memory_env();
  auto store = open_log(env.get());
  for (uint64_t group : {1, 2, 3}) {
    REQUIRE(append(*store, entries(group, 1, 4)).ok());
    REQUIRE(vote(*store, group, {2, 0}).ok());
    REQUIRE(store->put_snapshot(group, {2, 1, 0, "c", "d"}, 1).ok());
  }
  REQUIRE(store->remove_group(2).ok());
  for (int pass = 0; pass < 2; ++pass) {
    auto groups = store->groups();
    REQUIRE(groups.ok());
    CHECK(*groups == std::vector<uint64_t>{1, 3});
    CHECK(store->load(2)->entries.empty());
    CHECK(!store->load(2)->snapshot);
    CHECK(store->load(1)->entries.size() == 3);
    CHECK(store->load(3)->entries.size() == 3);
    store.reset();
    store = open_log(env.get());
  }
  CHECK(append(*store, entries(2, 1, 1)).ok());
}

TEST_CASE("any flipped byte of a value is corruption that names what is damaged") {
  auto env = memory_env();
  auto store = open_log(env.get());
  REQUIRE(append(*store, entries(3, 1, 4)).ok());
  REQUIRE(vote(*store, 3, {1, 0}).ok());
  REQUIRE(store->put_snapshot(3, {2, 1, 0, "configuration", "data"}, 1).ok());
  store.reset();
  auto damaged_at = [&](const std::string& key, const char* name) {
    size_t size = 1;
    for (size_t at = 0; at < size; ++at) {
      CAPTURE(at);
      auto flip = [&](std::string& value) {
        size = value.size();
        value[at] = static_cast<char>(value[at] ^ 0x20);
      };
      change_raw(env.get(), "/log", key, flip);
      // Some damage shows when the store is opened, the rest when it is loaded.
      auto opened = LogStore::open(env.get(), "/log");
      Status status = opened.ok() ? (*opened)->load(3).status() : opened.status();
      opened = Status(Code::internal, "closed");
      REQUIRE(status.code() == Code::corruption);
      REQUIRE_MESSAGE(status.message().find(name) != std::string::npos, status.message());
      change_raw(env.get(), "/log", key, flip);
    }
  };
  damaged_at(entry_key(3, 3), "entry 3 of Raft group 3");
  damaged_at(key_of(3, 'h'), "the term of Raft group 3");
  damaged_at(key_of(3, 's'), "the snapshot of Raft group 3");
  CHECK(open_log(env.get())->load(3).ok());
}

TEST_CASE("a value under another key, a cut value and a missing entry are corruption") {
  auto env = memory_env();
  auto store = open_log(env.get());
  REQUIRE(append(*store, entries(1, 1, 5)).ok());
  store.reset();
  std::string second;
  change_raw(env.get(), "/log", entry_key(1, 2), [&](std::string& value) { second = value; });
  std::string third;
  change_raw(env.get(), "/log", entry_key(1, 3), [&](std::string& value) {
    third = value;
    value = second;
  });
  CHECK(open_log(env.get())->load(1).status().code() == Code::corruption);
  for (size_t size = 0; size < third.size(); ++size) {
    CAPTURE(size);
    change_raw(env.get(), "/log", entry_key(1, 3),
               [&](std::string& value) { value = third.substr(0, size); });
    CHECK(open_log(env.get())->load(1).status().code() == Code::corruption);
  }
  erase_raw(env.get(), "/log", entry_key(1, 3));
  Status missing = open_log(env.get())->load(1).status();
  CHECK(missing.code() == Code::corruption);
  CHECK(missing.message() == "entry 3 of Raft group 1 is missing");
  erase_raw(env.get(), "/log", entry_key(1, 1));
  erase_raw(env.get(), "/log", entry_key(1, 2));
  CHECK(open_log(env.get())->load(1).status().message() == "entry 1 of Raft group 1 is missing");
}

TEST_CASE("an append to a full disk changes nothing, and reopening takes up writing again") {
  std::mt19937 random(5);
  FaultEnv env;
  auto store = open_log(&env);
  Expected one, two;
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    std::vector<LogAppend> appends{entries(1, one.end(), 1 + random() % 4),
                                   entries(2, two.end(), 1 + random() % 4)};
    env.wal_room = random() % 150;
    Status full = store->append(appends);
    bool failed = !full.ok();
    env.wal_room = UINT64_MAX;
    if (failed) {
      CHECK(full.code() == Code::disk_full);
      compare(*store, 1, one);
      CHECK(store->append(appends).code() == Code::disk_full);
      CHECK(vote(*store, 1, {9, 0}).code() == Code::disk_full);
      REQUIRE(store->reopen().ok());
      compare(*store, 1, one);
      compare(*store, 2, two);
      REQUIRE(store->append(appends).ok());
    }
    for (const LogEntry& entry : appends[0].entries) one.entries.push_back(entry);
    for (const LogEntry& entry : appends[1].entries) two.entries.push_back(entry);
    compare(*store, 1, one);
    compare(*store, 2, two);
  }
}

TEST_CASE("what was refused or failed makes no group") {
  FaultEnv env;
  auto store = open_log(&env);
  CHECK(append(*store, entries(7, 5, 1)).code() == Code::failed_precondition);
  env.wal_room = 3;
  CHECK(!vote(*store, 9, {0, 1}).ok());
  CHECK(!store->put_snapshot(10, {4, 1, 0, "", ""}, 0).ok());
  CHECK(store->groups()->empty());
}

TEST_CASE("a log that cannot be read when reopened takes no writes") {
  FaultEnv env;
  auto store = open_log(&env);
  REQUIRE(append(*store, entries(1, 1, 3)).ok());
  env.wal_room = 3;
  REQUIRE(!vote(*store, 1, {2, 0}).ok());
  env.wal_room = UINT64_MAX;
  env.on_lock = [](const std::string&) { return leveldb::Status::IOError("lock", "failed"); };
  CHECK(!store->reopen().ok());
  CHECK(!append(*store, entries(1, 4, 1)).ok());
  env.on_lock = nullptr;
  REQUIRE(store->reopen().ok());
  CHECK(append(*store, entries(1, 4, 1)).ok());
  CHECK(store->load(1)->entries.size() == 4);
}

TEST_CASE("durable entries behind a flipped bit are never dropped silently") {
  FaultEnv env;
  {
    auto store = open_log(&env);
    for (uint64_t i = 1; i <= 10; ++i) REQUIRE(append(*store, entries(1, i, 1)).ok());
  }
  std::string path = env.only("/log", ".log");
  env.flip(path, env.read(path).size() / 3);
  auto opened = LogStore::open(&env, "/log");
  CHECK(opened.status().code() == Code::corruption);
  CHECK(opened.status().message().find(path) != std::string::npos);
}

}  // namespace jade
