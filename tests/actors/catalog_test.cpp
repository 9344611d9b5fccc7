#include "actors/catalog.h"

#include <doctest/doctest.h>

#include <functional>
#include <random>
#include <set>

#include "index/metric.h"
#include "storage/record.h"

namespace jade {
namespace {

DatabaseSpec spec_of(const std::string& name, uint32_t shards = 2) {
  DatabaseSpec spec;
  spec.name = name;
  spec.dimension = 64;
  spec.metric = Metric::dot;
  spec.shards = shards;
  spec.index.m = 24;
  spec.index.ef_search = 99;
  spec.embedder = "lexical";
  return spec;
}

NodeEntry node_of(uint64_t id, const std::string& name, const std::string& address = "",
                  const std::string& api_address = "") {
  return {id, name, address, api_address, false, 0};
}

std::string live(uint64_t node, std::vector<Life> lives) {
  return encode(CatalogCommand(LivesRecord{node, std::move(lives)}));
}

ShardPlacement placed_on(std::vector<uint64_t> nodes) {
  ShardPlacement out;
  out.nodes = std::move(nodes);
  return out;
}

std::string create(const DatabaseSpec& spec) {
  return create_command(spec, std::vector<ShardPlacement>(spec.shards, placed_on({1})));
}

}  // namespace

TEST_CASE("a node joins, comes back under another address, and keeps its name to itself") {
  Catalog catalog;
  REQUIRE(catalog.apply(3, join_command(node_of(7, "a", "h:1", "h:2"))).ok());
  REQUIRE(catalog.apply(4, join_command(node_of(8, "b", "h:3", "h:4"))).ok());
  REQUIRE(catalog.apply(5, join_command(node_of(7, "a", "h:9", "h:2"))).ok());
  CHECK(catalog.map()->nodes.at(7).address == "h:9");
  Status taken = catalog.apply(6, join_command(node_of(9, "b", "h:5", "")));
  CHECK(taken.code() == Code::already_exists);
  CHECK(catalog.version() == 5);
  Catalog copy;
  REQUIRE(copy.restore(catalog.encode()).ok());
  CHECK(copy.map()->nodes.size() == 2);
  CHECK(copy.map()->nodes.at(8).api_address == "h:4");
  CHECK(copy.encode() == catalog.encode());
}

TEST_CASE("a node that was removed is never taken back, also by a catalog that was restored") {
  Catalog catalog;
  REQUIRE(catalog.apply(3, join_command(node_of(7, "a"))).ok());
  REQUIRE(catalog.apply(4, join_command(node_of(8, "b"))).ok());
  REQUIRE(catalog.apply(5, encode(CatalogCommand(RemoveRecord{7}))).ok());
  CHECK(catalog.map()->nodes.count(7) == 0);
  Catalog restored;
  REQUIRE(restored.restore(catalog.encode()).ok());
  for (Catalog* one : {&catalog, &restored}) {
    CHECK(one->map()->removed == std::set<uint64_t>{7});
    Status back = one->apply(6, join_command(node_of(7, "a")));
    CHECK(back.code() == Code::failed_precondition);
    CHECK(back.message().find("was removed from this cluster") != std::string::npos);
    CHECK(one->map()->nodes.count(7) == 0);
    CHECK(one->apply(7, encode(CatalogCommand(RemoveRecord{7}))).code() == Code::not_found);
    // Nor does it get a part of a database that was being created.
    Status placed = one->apply(7, create_command(spec_of("d"), {placed_on({8, 7})}));
    CHECK(placed.code() == Code::unavailable);
    CHECK(placed.message().find("has left the cluster") != std::string::npos);
    CHECK(one->map()->find("d") == nullptr);
    // Its name is free for another.
    CHECK(one->apply(8, join_command(node_of(9, "a"))).ok());
  }
}

TEST_CASE("the latest life of a node is recorded, and one that does not remember it is refused") {
  Catalog catalog;
  REQUIRE(catalog.apply(3, join_command(node_of(7, "a"))).ok());
  CHECK(catalog.apply(4, live(8, {{1, 0}})).code() == Code::not_found);
  REQUIRE(catalog.apply(5, live(7, {{70, 0}})).ok());
  CHECK(catalog.state().nodes.at(7).life == Life{70, 5});
  // Said again, and announced by another address.
  REQUIRE(catalog.apply(6, live(7, {{70, 0}})).ok());
  REQUIRE(catalog.apply(7, join_command(node_of(7, "a", "h:1"))).ok());
  CHECK(catalog.state().nodes.at(7).life == Life{70, 5});
  // It did not learn of the record, and started three times more.
  REQUIRE(catalog.apply(8, live(7, {{70, 0}, {71, 0}, {72, 0}, {73, 0}})).ok());
  CHECK(catalog.state().nodes.at(7).life == Life{73, 8});

  // A copy of the disk of then, however often it is started.
  std::string refusal =
      "node \"a\" was started with an older copy of its data directory: the cluster knows a later "
      "one, and this one has forgotten what the node promised since, so it takes no part. Put the "
      "latest directory back, or start with an empty one under another name and let it join";
  for (const auto& lives : std::vector<std::vector<Life>>{{{70, 5}},
                                                          {{70, 5}, {80, 0}},
                                                          {{70, 5}, {80, 0}, {81, 0}, {82, 0}},
                                                          {{80, 0}},
                                                          {{70, 5}, {80, 8}}}) {
    Status refused = catalog.apply(9, live(7, lives));
    CHECK(refused.code() == Code::failed_precondition);
    CHECK(refused.message() == refusal);
  }
  CHECK(catalog.version() == 8);
  CHECK(catalog.state().nodes.at(7).life == Life{73, 8});

  // The record is part of the state.
  Catalog copy;
  REQUIRE(copy.restore(catalog.encode()).ok());
  CHECK(copy.state().nodes == catalog.state().nodes);
  CHECK(copy.encode() == catalog.encode());
  for (Catalog* one : {&catalog, &copy}) {
    CHECK(one->apply(10, live(7, {{70, 5}, {80, 0}})).code() == Code::failed_precondition);
    CHECK(one->apply(11, live(7, {{73, 8}, {90, 0}})).ok());
    CHECK(one->state().nodes.at(7).life == Life{90, 11});
  }
}

TEST_CASE("a member's own log says which lives it must not forget, committed or not") {
  Catalog catalog;
  REQUIRE(catalog.apply(1, join_command(node_of(7, "a"))).ok());
  REQUIRE(catalog.apply(2, join_command(node_of(8, "b"))).ok());
  REQUIRE(catalog.apply(3, live(7, {{70, 0}})).ok());
  LogStore::Loaded log;
  CHECK(lives_of(*nodes_in(log)).empty());
  log.snapshot = RaftSnapshot{3, 1, 0, "", catalog.encode()};
  log.first_index = 3;  // one that the snapshot has
  log.entries = {{1, 1, live(7, {{70, 0}})},
                 {1, 2, ""},
                 {1, 1, live(7, {{71, 0}})},
                 {1, 1, live(8, {{80, 0}})},
                 {1, 1, live(7, {{70, 3}, {72, 0}})}};
  auto nodes = nodes_in(log);
  REQUIRE(nodes.ok());
  CHECK(lives_of(*nodes) == std::map<uint64_t, Life>{{7, {72, 7}}, {8, {80, 6}}});
  log.entries.push_back({1, 1, "?"});
  CHECK(nodes_in(log).status().code() == Code::corruption);
}

TEST_CASE("hashes are shared out evenly, and every id belongs to one shard") {
  for (uint32_t shards : {1u, 2u, 3u, 7u, 256u}) {
    CAPTURE(shards);
    Catalog catalog;
    REQUIRE(catalog.apply(5, create(spec_of("a", shards))).ok());
    const DatabaseEntry& entry = *catalog.state().find("a");
    std::vector<size_t> count(shards);
    for (uint64_t id = 0; id < 20000; ++id) {
      size_t shard = shard_of(VectorId(id).key(), entry);
      uint64_t hash = hash_of_row_key(VectorId(id).key());
      REQUIRE(hash >= entry.shards[shard].hash_begin);
      REQUIRE(is_before(hash, hash_end(entry, shard)));
      ++count[shard];
    }
    for (size_t n : count) {
      CHECK(n > 20000 / shards / 2);
      CHECK(n < 20000 / shards * 2);
    }
  }
}

namespace {

Status split(Catalog& catalog, uint64_t index, uint64_t group, SplitStep step,
             const std::string& database = "") {
  return catalog.apply(index, encode(CatalogCommand(SplitRecord{group, step, database})));
}

}  // namespace

TEST_CASE("a shard becomes two, step by step") {
  Catalog catalog;
  REQUIRE(catalog.apply(1, join_command(node_of(1, "a"))).ok());
  REQUIRE(catalog.apply(2, join_command(node_of(2, "b"))).ok());
  DatabaseSpec spec = spec_of("db", 1);
  spec.replicas = 2;
  REQUIRE(catalog.apply(3, create_command(spec, {placed_on({1, 2})})).ok());
  REQUIRE(catalog.apply(5, encode(CatalogCommand(FoundRecord{{2}}))).ok());
  CHECK(split(catalog, 6, 9, SplitStep::begin).code() == Code::not_found);
  CHECK(split(catalog, 6, 2, SplitStep::begin, "other").code() == Code::not_found);
  CHECK(split(catalog, 6, 2, SplitStep::cut_over).code() == Code::failed_precondition);
  CHECK(split(catalog, 6, 2, SplitStep::end).code() == Code::failed_precondition);
  CHECK(catalog.version() == 5);

  REQUIRE(split(catalog, 6, 2, SplitStep::begin, "db").ok());
  const DatabaseEntry& entry = *catalog.state().find("db");
  REQUIRE(entry.shards.size() == 1);
  CHECK(entry.shards[0].child == 3);
  CHECK(entry.shards[0].child_begin == uint64_t{1} << 63);
  CHECK(split(catalog, 7, 2, SplitStep::begin).code() == Code::failed_precondition);
  CHECK(split(catalog, 7, 2, SplitStep::end).code() == Code::failed_precondition);
  ShardRecord move = entry.shards[0];
  move.nodes = {1};
  CHECK(catalog.apply(7, encode(CatalogCommand(move))).code() == Code::failed_precondition);

  REQUIRE(split(catalog, 7, 2, SplitStep::cut_over).ok());
  CHECK(split(catalog, 8, 2, SplitStep::cut_over).code() == Code::failed_precondition);
  REQUIRE(entry.shards.size() == 2);
  CHECK(entry.spec.shards == 2);
  CHECK(entry.shards[1].group == 3);
  CHECK(entry.shards[1].parent == 2);
  CHECK(entry.shards[1].founded);
  CHECK(entry.shards[0].last_child == 3);
  CHECK(entry.shards[1].last_child == 0);
  CHECK(entry.shards[1].nodes == std::vector<uint64_t>{2, 1});
  CHECK(entry.shards[1].hash_begin == uint64_t{1} << 63);
  CHECK(hash_end(entry, 0) == uint64_t{1} << 63);
  CHECK(hash_end(entry, 1) == 0);
  Catalog copy;
  REQUIRE(copy.restore(catalog.encode()).ok());
  CHECK(copy.encode() == catalog.encode());

  REQUIRE(split(catalog, 8, 2, SplitStep::end).ok());
  CHECK_FALSE(entry.shards[0].is_splitting());
  CHECK_FALSE(entry.shards[1].is_splitting());
  // And again, of what came of it.
  REQUIRE(split(catalog, 9, 3, SplitStep::begin).ok());
  REQUIRE(split(catalog, 10, 3, SplitStep::cut_over).ok());
  REQUIRE(entry.shards.size() == 3);
  CHECK(entry.shards[2].group == 4);
  CHECK(entry.shards[2].hash_begin == uint64_t{3} << 62);
}

TEST_CASE("a router is announced, followed, and then in force") {
  Catalog catalog;
  REQUIRE(catalog.apply(1, join_command(node_of(1, "a"))).ok());
  DatabaseSpec spec = spec_of("db", 2);
  spec.sharding = Sharding::vector;
  spec.probes = 1;
  REQUIRE(catalog.apply(2, create(spec)).ok());
  const DatabaseEntry& entry = *catalog.state().find("db");
  CHECK(entry.by_vector());
  CHECK(split(catalog, 3, 2, SplitStep::begin).message().find("sharded by vector") !=
        std::string::npos);
  auto say = [&](uint64_t index, uint64_t group, RouteStep step, uint64_t router,
                 std::string centres = "") {
    RouteRecord route{"db", group, step, router, std::move(centres), 77};
    return catalog.apply(index, encode(CatalogCommand(route))).code();
  };
  std::string centres(2 * 64 * sizeof(float), '\1');
  CHECK(say(3, 2, RouteStep::announce, 0, "short") == Code::invalid_argument);
  CHECK(say(3, 9, RouteStep::announce, 0, centres) == Code::not_found);
  CHECK(say(3, 2, RouteStep::announce, 8, centres) == Code::failed_precondition);
  CHECK(say(3, 2, RouteStep::announce, 3) == Code::failed_precondition);
  CHECK(catalog.version() == 2);

  REQUIRE(say(3, 2, RouteStep::announce, 0, centres) == Code::ok);
  CHECK(say(4, 2, RouteStep::announce, 0, centres) == Code::failed_precondition);
  REQUIRE(entry.next_router);
  CHECK(entry.next_router->version == 3);
  CHECK(entry.next_router->vectors == 77);
  // Until all shards know of it nobody uses it.
  CHECK_FALSE(entry.is_moving());
  CHECK(entry.router_of_writes() == nullptr);
  CHECK(entry.router_of_searches() == nullptr);
  REQUIRE(say(4, 2, RouteStep::announce, 3) == Code::ok);
  CHECK(say(5, 2, RouteStep::announce, 3) == Code::failed_precondition);
  CHECK(say(5, 2, RouteStep::done, 3) == Code::failed_precondition);
  CHECK(say(5, 3, RouteStep::announce, 2) == Code::failed_precondition);
  REQUIRE(say(5, 3, RouteStep::announce, 3) == Code::ok);
  CHECK(entry.is_moving());
  CHECK(entry.router_of_writes() == entry.next_router.get());
  CHECK(entry.router_of_searches() == nullptr);
  Catalog copy;
  REQUIRE(copy.restore(catalog.encode()).ok());
  CHECK(copy.encode() == catalog.encode());

  REQUIRE(say(6, 3, RouteStep::done, 3) == Code::ok);
  CHECK(say(7, 3, RouteStep::done, 3) == Code::failed_precondition);
  REQUIRE(entry.next_router);
  REQUIRE(say(7, 2, RouteStep::done, 3) == Code::ok);
  CHECK(entry.next_router == nullptr);
  REQUIRE(entry.router);
  CHECK(entry.router->version == 3);
  CHECK(entry.router_of_searches() == entry.router.get());

  // The next one. Searches ask all shards from its announcement on, while writes still go
  // by the one before.
  CHECK(say(8, 2, RouteStep::announce, 0, centres) == Code::failed_precondition);
  REQUIRE(say(8, 2, RouteStep::announce, 3, centres) == Code::ok);
  CHECK(entry.router_of_writes() == entry.router.get());
  CHECK(entry.router_of_searches() == nullptr);

  REQUIRE(catalog.apply(9, create(spec_of("hashed"))).ok());
  RouteRecord other{"hashed", 4, RouteStep::announce, 0, centres, 1};
  CHECK(catalog.apply(10, encode(CatalogCommand(other))).code() == Code::failed_precondition);
}

TEST_CASE("databases are created with groups of their own and dropped") {
  Catalog catalog;
  CHECK(catalog.version() == 0);
  CHECK(catalog.map()->databases.empty());
  REQUIRE(catalog.apply(5, create(spec_of("a", 3))).ok());
  REQUIRE(catalog.apply(7, create(spec_of("b", 1))).ok());
  CHECK(catalog.version() == 7);
  ClusterMapPtr map = catalog.map();
  REQUIRE(map->find("a") != nullptr);
  CHECK(map->find("a")->spec == spec_of("a", 3));
  CHECK(map->find("c") == nullptr);
  std::vector<uint64_t> groups;
  for (const char* name : {"a", "b"}) {
    for (const ShardPlacement& shard : map->find(name)->shards) {
      groups.push_back(shard.group);
      CHECK(shard.nodes == std::vector<uint64_t>{1});
    }
  }
  CHECK(groups == std::vector<uint64_t>{2, 3, 4, 5});
  REQUIRE(catalog.apply(9, drop_command("a")).ok());
  CHECK(catalog.version() == 9);
  CHECK(catalog.map()->find("a") == nullptr);
  // What was published before does not change.
  CHECK(map->find("a") != nullptr);
  // A group is never used again.
  REQUIRE(catalog.apply(10, create(spec_of("a", 1))).ok());
  CHECK(catalog.map()->find("a")->shards[0].group == 6);
}

TEST_CASE("a refusal changes nothing") {
  Catalog catalog;
  REQUIRE(catalog.apply(5, create(spec_of("a"))).ok());
  std::string before = catalog.encode();
  Status taken = catalog.apply(6, create(spec_of("a", 7)));
  CHECK(taken == Status(Code::already_exists, "database \"a\" exists already"));
  Status missing = catalog.apply(7, drop_command("b"));
  CHECK(missing == Status(Code::not_found, "database \"b\" does not exist"));
  CHECK(catalog.apply(8, "garbage").code() == Code::corruption);
  CHECK(catalog.apply(8, "").code() == Code::corruption);
  CHECK(catalog.apply(8, drop_command("")).code() == Code::corruption);
  CHECK(catalog.apply(8, create(spec_of("/"))).code() == Code::corruption);
  Status unplaced = catalog.apply(8, create_command(spec_of("b"), {ShardPlacement(), {}}));
  CHECK(unplaced.to_string() ==
        "unavailable: database \"b\" was dropped at the same time; try again");
  CHECK(catalog.encode() == before);
  CHECK(catalog.version() == 5);
}

TEST_CASE("of how a database is indexed changes what is given, and no more") {
  Catalog catalog;
  REQUIRE(catalog.apply(5, create(spec_of("a"))).ok());
  IndexOptions expected = catalog.map()->find("a")->spec.index;
  IndexChange change;
  change.kind = IndexKind::automatic;
  change.ef_search = 77;
  REQUIRE(catalog.apply(6, reindex_command("a", change)).ok());
  expected.kind = IndexKind::automatic;
  expected.ef_search = 77;
  CHECK(catalog.map()->find("a")->spec.index == expected);
  IndexChange other;
  other.min_recall = 0.9;
  other.m = 24;
  other.ef_construction = 100;
  other.nlist = 9;
  other.nprobe = 3;
  other.quantization = Quantization::pq;
  other.vectors = VectorPlace::disk;
  REQUIRE(catalog.apply(7, reindex_command("a", other)).ok());
  expected.m = 24;
  expected.ef_construction = 100;
  expected.nlist = 9;
  expected.nprobe = 3;
  expected.quantization = Quantization::pq;
  expected.vectors = VectorPlace::disk;
  expected.min_recall = 0.9;
  CHECK(catalog.map()->find("a")->spec.index == expected);

  std::string before = catalog.encode();
  CHECK(catalog.apply(8, reindex_command("b", change)) ==
        Status(Code::not_found, "database \"b\" does not exist"));
  IndexChange wrong;
  wrong.m = 500;
  CHECK(catalog.apply(8, reindex_command("a", wrong)) ==
        Status(Code::invalid_argument, "index.m is 500; it must be 4 to 64"));
  wrong = {};
  wrong.kind = IndexKind::flat;
  CHECK(catalog.apply(8, reindex_command("a", wrong)).code() == Code::invalid_argument);
  CHECK(catalog.encode() == before);
  Catalog restored;
  REQUIRE(restored.restore(before).ok());
  CHECK(restored.map()->find("a")->spec.index == expected);
}

TEST_CASE("a restored catalog is equal and goes on equally") {
  std::mt19937 random(3);
  Catalog catalog;
  for (uint64_t index = 1; index <= 300; ++index) {
    std::string name = "db-" + std::to_string(random() % 12);
    std::string command =
        random() % 3 == 0 ? drop_command(name) : create(spec_of(name, 1 + random() % 4));
    (void)catalog.apply(index, command);
    Catalog restored;
    REQUIRE(restored.restore(catalog.encode()).ok());
    REQUIRE(restored.encode() == catalog.encode());
    REQUIRE(restored.version() == catalog.version());
    CHECK(restored.map()->databases.size() == catalog.map()->databases.size());
    if (index % 2 == 0) catalog = restored;
  }
  std::set<uint64_t> groups;
  size_t shards = 0;
  ClusterMapPtr map = catalog.map();
  for (const auto& [name, entry] : map->databases) {
    for (const ShardPlacement& shard : entry.shards) groups.insert(shard.group);
    shards += entry.shards.size();
  }
  CHECK(groups.size() == shards);
}

TEST_CASE("a damaged state is refused and leaves the catalog as it was") {
  Catalog catalog;
  REQUIRE(catalog.apply(5, create(spec_of("a"))).ok());
  std::string before = catalog.encode();
  CHECK(catalog.restore("garbage").code() == Code::corruption);
  CatalogState impossible;
  impossible.databases.resize(1);
  impossible.databases[0].name = "x";
  CHECK(catalog.restore(encode(impossible)).code() == Code::corruption);
  impossible.databases[0].dimension = 4;
  impossible.databases[0].metric = 200;
  CHECK(catalog.restore(encode(impossible)).code() == Code::corruption);
  CHECK(catalog.encode() == before);
}

TEST_CASE("named vectors are kept, and checked one by one and together") {
  DatabaseSpec named = spec_of("a");
  named.dimension = 0;
  named.metric = Metric::cosine;
  named.embedder = "";
  named.named_vectors = {{"title", 128, Metric::cosine, Datatype::float32},
                         {"b.o-d_y", 300, Metric::dot, Datatype::float16},
                         {"0", 7, Metric::l2, Datatype::uint8}};
  Catalog catalog;
  REQUIRE(catalog.apply(1, join_command(node_of(1, "a"))).ok());
  Status created = catalog.apply(2, create(named));
  REQUIRE_MESSAGE(created.ok(), created.message());
  REQUIRE(catalog.state().find("a") != nullptr);
  CHECK(catalog.state().find("a")->spec == named);
  Catalog copy;
  REQUIRE(copy.restore(catalog.encode()).ok());
  CHECK(copy.state().find("a")->spec == named);

  auto refused = [&](const std::function<void(DatabaseSpec&)>& change, const std::string& why) {
    DatabaseSpec spec = named;
    change(spec);
    Status status = validate(spec);
    CHECK(status.code() == Code::invalid_argument);
    CHECK_MESSAGE(status.message().find(why) != std::string::npos, status.message());
  };
  refused([](DatabaseSpec& spec) { spec.dimension = 3; }, "each named vector has its own");
  refused([](DatabaseSpec& spec) { spec.metric = Metric::l2; }, "each named vector has its own");
  refused([](DatabaseSpec& spec) { spec.datatype = Datatype::uint8; },
          "each named vector has its own");
  refused([](DatabaseSpec& spec) { spec.named_vectors[1].name = "title"; },
          "named_vectors has \"title\" twice");
  refused([](DatabaseSpec& spec) { spec.named_vectors[1].name = ""; }, "a name must be 1 to 128");
  refused([](DatabaseSpec& spec) { spec.named_vectors[1].name = "a b"; },
          "named_vectors has \"a b\"; a name must be");
  refused([](DatabaseSpec& spec) { spec.named_vectors[1].metric = static_cast<Metric>(9); },
          ".metric is 9");
  refused([](DatabaseSpec& spec) { spec.named_vectors[1].datatype = static_cast<Datatype>(9); },
          ".datatype is 9");
  refused([](DatabaseSpec& spec) { spec.named_vectors[2].dimension = 0; },
          "named_vectors.0.dimension is 0; it must be 1 to " + std::to_string(dimension_max));
  refused(
      [](DatabaseSpec& spec) {
        for (int i = 0; i < 6; ++i) spec.named_vectors.push_back({"v" + std::to_string(i), 1});
      },
      "named_vectors has 9 vectors; it must have 1 to 8");
  refused([](DatabaseSpec& spec) { spec.sharding = Sharding::vector; },
          "sharding is \"vector\" and named_vectors is given");
  refused([](DatabaseSpec& spec) { spec.embedder = "lexical"; }, "text makes no named vectors");
  // As many bytes as one vector may have, and one more.
  named.named_vectors = {{"a", 16000}, {"b", 384 * 4, Metric::l2, Datatype::uint8}};
  CHECK(validate(named).ok());
  refused([](DatabaseSpec& spec) { ++spec.named_vectors[1].dimension; },
          "have 65537 bytes together; at most 65536 are allowed");
}

TEST_CASE("a catalog with a named vector that is unknown here is damage") {
  for (int what = 0; what < 2; ++what) {
    CatalogState state;
    state.databases.resize(1);
    state.databases[0].name = "x";
    state.databases[0].named_vectors = {{"v", 4, 0, 0}};
    (what == 0 ? state.databases[0].named_vectors[0].metric
               : state.databases[0].named_vectors[0].datatype) = 200;
    Catalog catalog;
    CHECK(catalog.restore(encode(state)).code() == Code::corruption);
  }
}

TEST_CASE("what cannot be created is refused with what would be right") {
  CHECK(validate(spec_of("a")).ok());
  auto refused = [](const std::function<void(DatabaseSpec&)>& change, const std::string& why) {
    DatabaseSpec spec = spec_of("a");
    change(spec);
    Status status = validate(spec);
    CHECK(status.code() == Code::invalid_argument);
    CHECK_MESSAGE(status.message().find(why) != std::string::npos, status.message());
  };
  for (const char* name : {"", "-a", ".a", "_a", "a b", "a/b", "a\n", "\xc3\xa4"}) {
    refused([&](DatabaseSpec& spec) { spec.name = name; }, "name must be 1 to 128 characters");
  }
  refused([](DatabaseSpec& spec) { spec.name = std::string(129, 'a'); }, "name must be");
  for (const std::string& name : {std::string(128, 'a'), std::string("0"), std::string("A_.-z")}) {
    CHECK(validate(spec_of(name)).ok());
  }
  std::string most = std::to_string(dimension_max);
  refused([](DatabaseSpec& spec) { spec.dimension = 0; },
          "dimension is 0; it must be 1 to " + most);
  refused([](DatabaseSpec& spec) { spec.dimension = dimension_max + 1; },
          "it must be 1 to " + most);
  refused([](DatabaseSpec& spec) { spec.shards = 0; }, "shards is 0; it must be 1 to 256");
  refused([](DatabaseSpec& spec) { spec.shards = 257; }, "shards is 257; it must be 1 to 256");
  refused([](DatabaseSpec& spec) { spec.replicas = 8; }, "replicas is 8; it must be 1 to 7");
  // What a program may pass, and HTTP cannot.
  refused([](DatabaseSpec& spec) { spec.metric = static_cast<Metric>(3); }, "metric is 3");
  refused([](DatabaseSpec& spec) { spec.datatype = static_cast<Datatype>(9); }, "datatype is 9");
  refused([](DatabaseSpec& spec) { spec.sharding = static_cast<Sharding>(9); }, "sharding is 9");
  refused([](DatabaseSpec& spec) { spec.index.kind = static_cast<IndexKind>(9); },
          "index.type is 9");
  refused([](DatabaseSpec& spec) { spec.index.quantization = static_cast<Quantization>(9); },
          "index.quantization is 9");
  refused([](DatabaseSpec& spec) { spec.index.vectors = static_cast<VectorPlace>(9); },
          "index.vectors is 9");
  refused([](DatabaseSpec& spec) { spec.index.m = 3; }, "index.m is 3; it must be 4 to 64");
  refused([](DatabaseSpec& spec) { spec.index.ef_construction = 23; },
          "index.ef_construction is 23; it must be 24 to 2000");
  refused([](DatabaseSpec& spec) { spec.index.ef_search = 0; }, "index.ef_search is 0");
  refused([](DatabaseSpec& spec) { spec.index.nlist = 70000; }, "index.nlist is 70000");
  refused([](DatabaseSpec& spec) { spec.index.nprobe = 70000; }, "index.nprobe is 70000");
  refused([](DatabaseSpec& spec) { spec.probes = 1; }, "sharding is not \"vector\"");
  refused(
      [](DatabaseSpec& spec) {
        spec.sharding = Sharding::vector;
        spec.shard_key = "tenant";
      },
      "choose one of them");
  refused(
      [](DatabaseSpec& spec) {
        spec.sharding = Sharding::vector;
        spec.probes = 3;
      },
      "it must be 1 to the number of shards, 2");
  refused(
      [](DatabaseSpec& spec) {
        spec.sharding = Sharding::vector;
        spec.shards = 256;
        spec.dimension = 513;
      },
      "shards × dimension must be at most 131072; it is 131328");
  refused(
      [](DatabaseSpec& spec) {
        spec.index.vectors = VectorPlace::disk;
        spec.index.kind = IndexKind::ivf;
      },
      "index.vectors is \"disk\", which needs index.type \"hnsw\" or \"auto\"; it is \"ivf\"");
  refused(
      [](DatabaseSpec& spec) {
        spec.index.vectors = VectorPlace::disk;
        spec.index.quantization = Quantization::none;
      },
      "index.vectors is \"disk\", which needs an index.quantization");
  refused([](DatabaseSpec& spec) { spec.embedder = "oracle"; }, "there is no embedder \"oracle\"");
  refused([](DatabaseSpec& spec) { spec.dimension = 1; }, "makes vectors of dimension");
}

}  // namespace jade
