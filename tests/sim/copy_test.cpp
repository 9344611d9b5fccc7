// Replicas that take a copy of the shard from others: of whom some have nothing to give, because
// reading has met damage, and wherever the process ends meanwhile.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "actors/shard_files.h"
#include "storage/row_key.h"
#include "tests/sim/machines.h"

namespace jade::sim {
namespace {

std::string directory_of_shard(Machines& machines, size_t node) {
  return shard_directory(machines.nodes[node]->config().data_dir, machines.shard(0).shard);
}

// The node ends, and its replica's state can not be opened any more.
void end_damaged(Machines& machines, size_t node) {
  SimNode& machine = *machines.nodes[node];
  const std::string current = data_directory(directory_of_shard(machines, node)) + "/CURRENT";
  machine.crash();
  SimDisk::Image image = machine.disk().image();
  REQUIRE(image.files.count(current) == 1);
  image.files[current] = "nothing";
  machine.put_disk_back(image);
}

bool has_all(Machines& machines, uint64_t rows) {
  return machines.await<DatabaseInfo>(
      machines.front(), [](Api& api, auto done) { api.describe_database("d", done); },
      [&](const DatabaseInfo& info) { return info.vectors == rows; });
}

}  // namespace

TEST_CASE("replicas that take copies at the same time get them, whoever asks whom") {
  for (size_t one = 0; one < 5; ++one) {
    for (size_t other = one + 1; other < 5; ++other) {
      CAPTURE(one);
      CAPTURE(other);
      Machines machines(one, 5, {one, other});
      for (size_t i : machines.late) end_damaged(machines, i);
      for (size_t i : machines.late) machines.start(i);
      for (size_t i : machines.late) machines.await_ready(i);
      CHECK(has_all(machines, Machines::rows));
    }
  }
}

// Two of five are lost. Of the three that are left, all of which it takes for a leader, one
// has nothing, the one that it asks first lacks the last write, and the last has all.
TEST_CASE("a replica that needs a copy asks another after one that cannot give it") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Machines machines(seed, 5, {});
    Nodes by_turn;
    for (uint64_t node : machines.shard(0).nodes) by_turn.push_back(node - 1);
    const size_t empty = by_turn[0], behind = by_turn[1], whole = by_turn[2];
    machines.late = {behind};
    std::erase(machines.others, behind);
    machines.cut_off(true);
    machines.others = {whole};
    const UpsertRequest last = Machines::rows_of("d", Machines::rows, 1);
    REQUIRE(machines.await<UpsertReply>(
        whole, [&](Api& api, auto done) { api.upsert(last, done); },
        [](const UpsertReply&) { return true; }));
    REQUIRE(has_all(machines, Machines::rows + 1));
    machines.run_until([] { return false; }, 1000 * ms);
    end_damaged(machines, empty);
    for (size_t lost : {by_turn[3], by_turn[4]}) machines.nodes[lost]->crash();
    machines.cut_off(false);
    machines.start(empty);
    machines.await_ready(empty);
    CHECK(has_all(machines, Machines::rows + 1));
  }
}

// Of three founders one was off when the others founded the group, and needs a copy to vote; one
// gets an empty disk; the last has its log, but lost what it had applied. Only it can lead, and has
// only the founding state to give.
TEST_CASE("the founding state is given by one who has applied nothing") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Machines machines(seed, 3, {});
    const size_t whole = 0, empty = 1, late = 2;
    machines.nodes[late]->crash();
    DatabaseSpec spec;
    spec.name = "e";
    spec.dimension = 2;
    spec.replicas = 3;
    // Also where the master was that node.
    REQUIRE(machines.await<DatabaseInfo>(
        whole, [&](Api& api, auto done) { api.create_database(spec, done); },
        [](const DatabaseInfo& info) { return info.placement.front().nodes.size() == 3; }));
    const UpsertRequest row = Machines::rows_of("e", 1, 1);
    REQUIRE(machines.await<UpsertReply>(
        whole, [&](Api& api, auto done) { api.upsert(row, done); },
        [](const UpsertReply&) { return true; }));
    // The catalog knows by then that the group has been founded.
    machines.run_until([] { return false; }, 5000 * ms);
    const NodeConfig config = machines.nodes[empty]->config();
    machines.nodes[empty]->replace_disk(config);
    machines.nodes[whole]->lose_power();
    for (size_t node : {whole, empty, late}) machines.start(node);
    CHECK(machines.await<DatabaseInfo>(
        whole, [](Api& api, auto done) { api.describe_database("e", done); },
        [](const DatabaseInfo& info) {
          return info.placement.front().leader != 0 && info.vectors == 1;
        }));
  }
}

// All records of the replica are in tables, of which each is damaged. Returns what they hold now.
std::map<std::string, std::string> damage_records(Machines& machines, size_t node) {
  SimNode& machine = *machines.nodes[node];
  const std::string dir = data_directory(directory_of_shard(machines, node)) + "/";
  std::map<std::string, std::string> tables;
  for (const std::string& path : machine.disk().files()) {
    if (!path.starts_with(dir) || !path.ends_with(".ldb")) continue;
    // The end says what is where, and has been read.
    const uint64_t size = machine.disk().image().files[path].size();
    for (uint64_t at = 100; at + 1000 < size; at += 512) machine.disk().flip_bit(path, 8 * at);
    tables[path] = machine.disk().image().files[path];
  }
  REQUIRE(!tables.empty());
  return tables;
}

std::function<void(Api&, Api::Done<SearchReply>)> read_values(Consistency consistency) {
  SearchRequest request;
  request.database = "d";
  request.consistency = consistency;
  request.vector = {1, 1};
  request.k = Machines::rows;
  request.exact = true;
  request.include_values = true;
  return [request](Api& api, Api::Done<SearchReply> done) { api.search(request, done); };
}

bool found_all(const SearchReply& reply) { return reply.results.size() == Machines::rows; }

TEST_CASE("a replica that reading finds damaged makes way, and becomes a copy of another") {
  for (bool leads : {true, false}) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      CAPTURE(leads);
      CAPTURE(seed);
      Machines machines(seed, 3, {});
      const size_t first = machines.shard(0).leader - 1;
      const size_t node = leads ? first : (first + 1) % 3;
      machines.run_until([] { return false; }, 1000 * ms);
      // A start puts what it has applied into tables.
      machines.nodes[node]->crash();
      machines.start(node);
      machines.await_ready(node);
      auto led_by_first = [&](const DatabaseInfo& info) {
        return info.placement.front().leader == first + 1;
      };
      REQUIRE(machines.await<DatabaseInfo>(
          node, [](Api& api, auto done) { api.describe_database("d", done); }, led_by_first));
      const auto damaged = damage_records(machines, node);
      auto consistency = leads ? Consistency::session : Consistency::eventual;
      // Whoever meets it is answered by another, in the end.
      auto met = machines.answer_of<SearchReply>(node, read_values(consistency));
      REQUIRE_MESSAGE(met.ok(), met.status().to_string());
      CHECK(found_all(*met));
      const auto& disk = machines.nodes[node]->disk();
      CHECK(machines.run_until(
          [&] {
            const auto files = disk.image().files;
            return std::none_of(damaged.begin(), damaged.end(), [&](const auto& table) {
              auto found = files.find(table.first);
              return found != files.end() && found->second == table.second;
            });
          },
          20'000 * ms));
      machines.await_ready(node);
      // Of its own again, not another's.
      CHECK(machines.await<SearchReply>(node, read_values(Consistency::eventual), found_all));
      CHECK(has_all(machines, Machines::rows));
      CHECK(machines.await<ClusterInfo>(
          node, [](Api& api, auto done) { api.cluster(done); },
          [](const ClusterInfo& info) {
            return info.databases.front().placement.front().problems.empty();
          }));
    }
  }
}

TEST_CASE(
    "damage that reading finds where nobody else has the records is shown, the rest is read") {
  Machines machines(1, 1, {});
  machines.nodes[0]->crash();
  machines.start(0);
  machines.await_ready(0);
  damage_records(machines, 0);
  auto met = machines.answer_of<SearchReply>(0, read_values(Consistency::session));
  CHECK(met.status().code() == Code::corruption);
  machines.run_until([] { return false; }, 5000 * ms);
  auto cluster = machines.ask<ClusterInfo>(0, [](Api& api, auto done) { api.cluster(done); });
  REQUIRE(cluster);
  const auto& problems = cluster->databases.front().placement.front().problems;
  REQUIRE(problems.size() == 1);
  CHECK(problems.front().problem.starts_with("its records are damaged: corruption: record "));
  CHECK(machines.write(0, Machines::rows, 1));
}

TEST_CASE("a database is dropped whatever has become of the shards of others") {
  Machines machines(1, 1, {});
  end_damaged(machines, 0);
  machines.start(0);
  DatabaseSpec spec;
  spec.name = "e";
  spec.dimension = 2;
  REQUIRE(machines.await<DatabaseInfo>(
      0, [&](Api& api, auto done) { api.create_database(spec, done); },
      [](const DatabaseInfo&) { return true; }));
  auto ready = machines.answer_of<std::string>(0, [](Api& api, auto done) { api.ready(done); });
  CHECK(!ready.ok());  // that of "d" cannot be opened
  auto dropped = machines.answer_of<DatabaseInfo>(
      0, [](Api& api, auto done) { api.drop_database("e", done); });
  CHECK_MESSAGE(dropped.ok(), dropped.status().to_string());
}

// The process has ended after its replica's state had made room for the copy, and maybe before all
// of it was gone.
TEST_CASE("a state that made room for a copy is not opened again, but waits for it") {
  for (bool half : {false, true}) {
    CAPTURE(half);
    Machines machines(half ? 1 : 2, 3, {2});
    SimNode& machine = *machines.nodes[2];
    const std::string dir = directory_of_shard(machines, 2);
    machine.crash();
    SimDisk::Image image = machine.disk().image();
    const std::string data = data_directory(dir) + "/", spent = dir + "/spent/";
    const auto files = image.files;
    for (const auto& [path, bytes] : files) {
      if (!path.starts_with(data)) continue;
      image.files.erase(path);
      if (half && !path.ends_with("CURRENT")) image.files[spent + path.substr(data.size())] = bytes;
    }
    image.directories.erase(data_directory(dir));
    image.directories.insert(dir + "/spent");
    machine.put_disk_back(image);
    machines.start(2);
    machines.run_until([&] { return !machine.disk().FileExists(dir + "/spent"); }, 20'000 * ms);
    CHECK(!machine.disk().FileExists(dir + "/spent"));
    machines.await_ready(2);
    CHECK(has_all(machines, Machines::rows));
  }
}

// A replica at entry 3 with entries up to 6 in its log is to become one at entry 9.
TEST_CASE("a copy takes the place of a state as a whole, wherever the process ends") {
  const uint64_t group = 7;
  std::set<uint64_t> outcomes;
  for (bool power : {false, true}) {
    for (bool before : {false, true}) {
      bool died = true;
      for (uint64_t at = 1; died; ++at) {
        CAPTURE(power);
        CAPTURE(before);
        CAPTURE(at);
        SimDisk disk(at, [] { return 0; });
        disk.run_eagerly(true);
        NodeContext context;
        context.seams.env = &disk;
        context.seams.log = [](LogLevel, std::string_view, std::string_view) {};
        context.config.data_dir = "/n";
        disk.CreateDir("/n");
        auto open_log = [&] {
          auto log = LogStore::open(&disk, "/n/log", {});
          REQUIRE_MESSAGE(log.ok(), log.status().to_string());
          context.log = *log;
        };
        open_log();
        LogAppend append;
        append.group = group;
        append.first_index = 1;
        append.entries.assign(6, {1, 0, "entry"});
        REQUIRE(context.log->append({&append, 1}).ok());
        auto put = [](ShardStore& store, uint64_t applied, const char* values) {
          ShardStore::Batch batch;
          ShardStateMeta meta;
          meta.applied_index = applied;
          batch.set_state(meta);
          batch.put(1, row_key({}, VectorId(uint64_t{5})), values, "{}");
          REQUIRE(store.commit(batch).ok());
          REQUIRE(store.sync().ok());
        };
        const std::string dir = shard_directory("/n", group);
        disk.CreateDir("/n/shards");
        disk.CreateDir(dir);
        disk.CreateDir(segments_directory(dir));
        put(**ShardStore::open(&disk, data_directory(dir), nullptr), 3, "old");
        auto source = ShardStore::open(&disk, "/n/source", nullptr);
        REQUIRE(source.ok());
        put(**source, 9, "new");
        auto piece = (*source)->export_piece("", {}, 1 << 20);
        REQUIRE(piece.ok());
        source->reset();

        disk.die_at_sync(at, before);
        auto carry_out = [&]() -> Status {
          auto copy = begin_copy(context, group);
          if (!copy.ok()) return copy.status();
          JADE_RETURN_IF_ERROR((*copy)->import_piece(piece->bytes));
          return finish_copy(context, group, std::move(*copy), {9, 2, 1, "members", "shard"});
        };
        Status done = carry_out();
        died = disk.died();
        context.log.reset();
        power ? disk.lose_power() : disk.crash();
        open_log();
        Status settled = settle_copy(context, group);
        REQUIRE_MESSAGE(settled.ok(), settled.to_string());
        auto store = ShardStore::open(&disk, data_directory(dir), nullptr);
        REQUIRE(store.ok());
        auto state = (*store)->state();
        REQUIRE(state.ok());
        REQUIRE(state->has_value());
        auto log = context.log->load(group);
        REQUIRE(log.ok());
        const bool whole = (*state)->applied_index == 9;
        CHECK((*store)->get(1)->values == (whole ? "new" : "old"));
        CHECK(log->entries.size() == (whole ? 0 : 6));
        CHECK(log->snapshot.has_value() == whole);
        CHECK((*state)->applied_index == (whole ? 9 : 3));
        CHECK((whole || !done.ok()));
        std::vector<std::string> left;
        disk.GetChildren(dir, &left);
        CHECK(std::count(left.begin(), left.end(), "copy") == 0);
        CHECK(std::count(left.begin(), left.end(), "COPIED") == 0);
        outcomes.insert((*state)->applied_index);
        if (!died) CHECK(whole);
      }
    }
  }
  CHECK(outcomes == std::set<uint64_t>{3, 9});
}

}  // namespace jade::sim
