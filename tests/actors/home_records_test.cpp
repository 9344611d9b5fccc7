#include "actors/home_records.h"

#include <doctest/doctest.h>

#include <random>
#include <set>

#include "storage/vector_id.h"
#include "tests/storage/raw_store.h"

namespace jade {
namespace {

std::string key_of(uint64_t id) { return VectorId(id).key(); }

// A home and its store, with an entry a call.
struct Home {
  std::unique_ptr<leveldb::Env> env = memory_env();
  std::shared_ptr<ShardStore> store;
  CellsMeta meta;
  std::unique_ptr<HomeRecords> homes;

  Home() { open(); }
  void open() {
    homes.reset();
    store.reset();
    auto opened = ShardStore::open(env.get(), "/home", nullptr);
    REQUIRE(opened.ok());
    store = *opened;
    homes = std::make_unique<HomeRecords>(*store, meta);
    REQUIRE(homes->load().ok());
  }
  template <class Change>
  void entry(Change change) {
    ShardStore::Batch batch;
    homes->begin_entry();
    change(batch);
    REQUIRE(store->commit(batch).ok());
  }
  void put(uint64_t id, uint64_t cell, const std::string& values = "1234") {
    entry([&](auto& batch) { REQUIRE(homes->put({key_of(id), values, "{}", cell}, batch).ok()); });
  }
  bool erase(uint64_t id, std::optional<uint64_t> version = std::nullopt) {
    bool erased = false;
    entry([&](auto& batch) {
      auto result = homes->erase(key_of(id), version, batch);
      REQUIRE(result.ok());
      erased = *result;
    });
    return erased;
  }
  ForwardBatch next(uint64_t after = 0, size_t bytes = 1u << 20) {
    auto batch = next_forward_batch(*store, after, bytes);
    REQUIRE(batch.ok());
    return std::move(*batch);
  }
};

std::vector<uint64_t> versions(const std::vector<const HomeRecord*>& changes) {
  std::vector<uint64_t> out;
  for (const HomeRecord* change : changes) out.push_back(change->version);
  return out;
}

using Versions = std::vector<uint64_t>;

}  // namespace

TEST_CASE("a vector goes to its cell, moves to another, and goes") {
  Home home;
  CHECK(home.homes->first_change() == 0);
  CHECK(home.next().through == 0);
  home.put(7, 2);
  CHECK(home.homes->change_of(key_of(7)) == 1);
  CHECK(home.meta.vectors == 1);
  ForwardBatch first = home.next();
  CHECK(first.through == 1);
  CHECK(versions(first.take[2]) == Versions{1});
  CHECK(first.give_up.empty());
  home.entry([&](auto& batch) { home.homes->forwarded(1, batch); });
  CHECK(home.homes->first_change() == 0);
  CHECK(home.homes->change_of(key_of(7)) == 0);

  home.put(7, 3);
  ForwardBatch moved = home.next(1);
  CHECK(versions(moved.take[3]) == Versions{2});
  CHECK(versions(moved.give_up[2]) == Versions{2});
  CHECK(moved.take.size() + moved.give_up.size() == 2);
  home.entry([&](auto& batch) { home.homes->forwarded(2, batch); });

  CHECK_FALSE(home.erase(7, 1));
  CHECK(home.erase(7, 2));
  CHECK_FALSE(home.erase(7));
  CHECK(home.meta.vectors == 0);
  CHECK_FALSE((*home.store->find_home(key_of(7))).has_value());
  ForwardBatch gone = home.next(2);
  CHECK(gone.take.empty());
  CHECK(versions(gone.give_up[3]) == Versions{3});
}

TEST_CASE("of several changes in a batch the last counts, wherever the others may have got") {
  Home home;
  home.put(1, 2);
  home.put(1, 3);
  home.put(1, 4);
  home.put(2, 4);
  ForwardBatch batch = home.next();
  CHECK(versions(batch.take[4]) == Versions{3, 4});
  CHECK(batch.take.size() == 1);
  CHECK(versions(batch.give_up[2]) == Versions{3});
  CHECK(versions(batch.give_up[3]) == Versions{3});
  // A change was brought to its cell before it was noted: another leader goes on.
  home.entry([&](auto& entry) { home.homes->forwarded(1, entry); });
  batch = home.next();
  CHECK(versions(batch.take[4]) == Versions{3, 4});
  CHECK(versions(batch.give_up[2]) == Versions{3});
  CHECK(versions(batch.give_up[3]) == Versions{3});
  home.put(1, 2);
  batch = home.next();
  CHECK(versions(batch.take[2]) == Versions{5});
  CHECK(batch.give_up.count(2) == 0);
  CHECK(versions(batch.give_up[4]) == Versions{5});
}

TEST_CASE("batches are bounded, but have one change at least") {
  Home home;
  for (uint64_t id = 0; id < 10; ++id) home.put(id, 2, std::string(1000, 'x'));
  CHECK(home.next(0, 1).through == 1);
  CHECK(home.next(0, 3500).through == 3);
  CHECK(home.next(3, 3500).through == 6);
  CHECK(home.next(9, 3500).through == 10);
  CHECK(home.next(10, 3500).through == 0);
}

TEST_CASE("an entry sees what it has itself written, and a reopened home what is on its way") {
  Home home;
  home.entry([&](auto& batch) {
    REQUIRE(home.homes->put({key_of(1), "1111", "", 2}, batch).ok());
    REQUIRE(home.homes->put({key_of(1), "2222", "", 3}, batch).ok());
    auto erased = home.homes->erase(key_of(1), std::nullopt, batch);
    REQUIRE(erased.ok());
    CHECK(*erased);
    REQUIRE(home.homes->put({key_of(1), "3333", "", 5}, batch).ok());
  });
  CHECK(home.meta.vectors == 1);
  CHECK((*home.store->find_home(key_of(1)))->values == "3333");
  home.open();
  CHECK(home.homes->first_change() == 1);
  CHECK(home.homes->changes() == 4);
  CHECK(home.homes->change_of(key_of(1)) == 4);
  ForwardBatch batch = home.next();
  CHECK(versions(batch.take[5]) == Versions{4});
  CHECK(batch.give_up.count(2) == 1);
  CHECK(batch.give_up.count(3) == 1);
  Status nowhere;
  home.entry([&](auto& entry) { nowhere = home.homes->put({key_of(1), "", "", 0}, entry); });
  CHECK(nowhere.code() == Code::corruption);
}

TEST_CASE("a vector is rerouted while it has the version that was looked at") {
  Home home;
  home.put(1, 2, "aaaa");
  home.put(2, 2, "bbbb");
  home.put(3, 4, "cccc");
  home.put(2, 2, "dddd");
  home.entry([&](auto& batch) {
    RerouteCommand command{
        9, {key_of(1), key_of(2), key_of(3), key_of(4)}, {1, 2, 3, 1}, {3, 3, 4, 3}};
    REQUIRE(home.homes->reroute(command, batch).ok());
  });
  // The second was written since, the third is there, the fourth does not exist.
  CHECK(home.homes->last_version() == 5);
  auto moved = *home.store->find_home(key_of(1));
  REQUIRE(moved);
  CHECK(moved->cell == 3);
  CHECK(moved->version == 5);
  CHECK(moved->values == "aaaa");
  CHECK((*home.store->find_home(key_of(2)))->cell == 2);
  CHECK(home.meta.vectors == 3);
}

// Whatever happens, and however often parts of batches arrive, in the end each cell holds
// what belongs there.
TEST_CASE("random changes, lost answers and new leaders leave every vector in one cell") {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    Home home;
    std::map<uint64_t, uint64_t> model;                         // id → cell
    std::map<uint64_t, std::map<std::string, uint64_t>> cells;  // cell → id → version
    auto take = [&](const ForwardBatch& batch) {
      for (const auto& [cell, changes] : batch.take) {
        if (random() % 4 == 0) return false;
        for (const auto* change : changes) {
          uint64_t& version = cells[cell][change->id];
          version = std::max(version, change->version);
        }
      }
      return true;
    };
    auto give_up = [&](const ForwardBatch& batch) {
      for (const auto& [cell, changes] : batch.give_up) {
        if (random() % 4 == 0) return false;
        for (const auto* change : changes) {
          auto found = cells[cell].find(change->id);
          if (found != cells[cell].end() && found->second < change->version) {
            cells[cell].erase(found);
          }
        }
      }
      return true;
    };
    uint64_t through = 0;
    for (int step = 0; step < 400; ++step) {
      uint64_t id = random() % 12;
      switch (random() % 8) {
        case 0: CHECK(home.erase(id) == (model.erase(id) > 0)); break;
        case 1: through = 0; break;  // another leader
        case 2: home.open(); break;
        case 3:
        case 4: {
          ForwardBatch batch = home.next(through, random() % 600);
          if (batch.through == 0 || !take(batch) || !give_up(batch)) break;
          through = batch.through;
          if (random() % 2 == 0) {
            home.entry([&](auto& entry) { home.homes->forwarded(through, entry); });
          }
          break;
        }
        default: home.put(id, model[id] = 2 + random() % 4);
      }
    }
    while (home.homes->first_change() != 0) {
      ForwardBatch batch = home.next(0, 600);
      if (!take(batch) || !give_up(batch)) continue;
      home.entry([&](auto& entry) { home.homes->forwarded(batch.through, entry); });
    }
    CHECK(home.meta.vectors == model.size());
    std::map<uint64_t, std::set<std::string>> expected, found;
    for (auto [id, cell] : model) expected[cell].insert(key_of(id));
    for (const auto& [cell, rows] : cells) {
      for (const auto& [id, version] : rows) {
        found[cell].insert(id);
        CHECK(version == (*home.store->find_home(id))->version);
      }
    }
    CHECK(found == expected);
  }
}

}  // namespace jade
