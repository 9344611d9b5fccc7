#include "actors/shard_replica.h"

#include <doctest/doctest.h>
#include <leveldb/env.h>

#include <filesystem>

namespace jade {
namespace {

// A shard of a database that is sharded by vector, of dimension 1.
struct Cell {
  std::string dir = (std::filesystem::temp_directory_path() / "jade-replica-XXXXXX").string();
  std::unique_ptr<ShardReplica> replica;
  uint64_t index = 0;

  Cell() {
    REQUIRE(mkdtemp(dir.data()) != nullptr);
    std::filesystem::create_directory(dir + "/shards");
    open();
  }
  ~Cell() {
    replica.reset();
    std::filesystem::remove_all(dir);
  }
  void open() {
    replica.reset();
    ShardReplica::Options options;
    options.env = leveldb::Env::Default();
    options.dir = dir + "/shards/2";
    options.group = 2;
    options.dimension = 1;
    options.metric = Metric::l2;
    options.by_vector = true;
    auto opened = ShardReplica::open(options, [](std::string_view) {});
    REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
    replica = std::move(*opened);
  }
  template <class Command>
  Code apply(const Command& command) {
    Status status = replica->apply(++index, 1, encode(command));
    REQUIRE_MESSAGE(status.ok(), status.to_string());
    return replica->last_outcome().code();
  }
  Code take(uint64_t term, uint64_t sequence, const std::string& id, uint64_t version,
            const std::string& values = "1234", uint64_t home = 3) {
    ForwardCommand command;
    command.home = home;
    command.term = term;
    command.sequence = sequence;
    command.dimension = 1;
    command.take = {{id, values, "", 2, version}};
    return apply(command);
  }
  Code give_up(uint64_t term, uint64_t sequence, const std::string& id, uint64_t before) {
    ForwardCommand command;
    command.home = 3;
    command.term = term;
    command.sequence = sequence;
    command.give_up = {{id, before}};
    command.after = {{5, before}};
    return apply(command);
  }
  // The version of a row; 0: it is not there.
  uint64_t version_of(const std::string& id) {
    auto place = replica->store().find_place(id);
    REQUIRE(place.ok());
    return place->has_value() ? (*place)->version : 0;
  }
  uint64_t rows() const { return replica->describe().vectors; }
};

}  // namespace

TEST_CASE("a cell takes rows once, gives older ones up, and heeds nothing that comes late") {
  Cell cell;
  std::string a = VectorId(uint64_t{1}).key(), b = VectorId(uint64_t{2}).key();
  CHECK(cell.take(1, 1, a, 5) == Code::ok);
  CHECK(cell.version_of(a) == 5);
  // Sent again, by the same leader and by the next.
  CHECK(cell.take(1, 1, a, 5) == Code::failed_precondition);
  CHECK(cell.take(2, 1, a, 5) == Code::ok);
  CHECK(cell.rows() == 1);
  CHECK(cell.take(2, 2, a, 4, "old!") == Code::ok);
  CHECK(cell.version_of(a) == 5);
  CHECK(cell.give_up(2, 3, a, 5) == Code::ok);
  CHECK(cell.version_of(a) == 5);
  CHECK(cell.give_up(2, 4, a, 6) == Code::ok);
  CHECK(cell.version_of(a) == 0);
  CHECK(cell.rows() == 0);
  CHECK(cell.replica->snapshot()->after == std::map<uint64_t, uint64_t>{{5, 6}});
  // What a leader of before had sent.
  CHECK(cell.take(1, 9, a, 5) == Code::failed_precondition);
  CHECK(cell.version_of(a) == 0);
  // Each home counts for itself.
  CHECK(cell.take(1, 1, b, 1, "1234", 4) == Code::ok);
  cell.open();
  CHECK(cell.version_of(b) == 1);
  CHECK(cell.rows() == 1);
  CHECK(cell.take(1, 1, b, 2, "1234", 4) == Code::failed_precondition);
  CHECK(cell.replica->snapshot()->after == std::map<uint64_t, uint64_t>{{5, 6}});
}

TEST_CASE("a home follows routers, and takes writes by no older one, but answers repeated ones") {
  Cell cell;
  auto write = [&](uint64_t router, const std::string& request) {
    UpsertCommand command{1, {VectorId(uint64_t{1}).key()}, "1234", {""}, {2}, router};
    REQUIRE(cell.replica->apply(++cell.index, 1, encode(command, {request, 1})).ok());
    return cell.replica->last_outcome().code();
  };
  CHECK(write(0, "a") == Code::ok);
  CHECK(cell.replica->cells().vectors == 1);
  CHECK(cell.apply(RouteCommand{7, RouteStep::announce}) == Code::ok);
  CHECK(write(0, "b") == Code::ok);
  CHECK(cell.apply(RouteCommand{7, RouteStep::follow}) == Code::ok);
  CHECK(write(0, "c") == Code::moved);
  CHECK(write(6, "c") == Code::moved);
  CHECK(write(0, "a") == Code::ok);
  CHECK(cell.replica->last_affected() == 1);
  CHECK(cell.replica->homes()->last_version() == 2);
  CHECK(write(7, "c") == Code::ok);
  cell.open();
  CHECK(cell.replica->cells().announced == 7);
  CHECK(cell.replica->cells().followed == 7);
  CHECK(cell.replica->cells().done == 0);
  CHECK(write(6, "d") == Code::moved);
  CHECK(cell.replica->homes()->changes() == 3);
}

TEST_CASE("a shard that is not sharded by vector takes a forwarded row for damage") {
  Cell cell;
  cell.replica.reset();
  ShardReplica::Options options;
  options.env = leveldb::Env::Default();
  options.dir = cell.dir + "/shards/9";
  options.group = 9;
  options.dimension = 1;
  auto replica = ShardReplica::open(options, [](std::string_view) {});
  REQUIRE(replica.ok());
  CHECK((*replica)->apply(1, 1, encode(ForwardedCommand{3})).code() == Code::corruption);
}

TEST_CASE("a view is at the entry that the state is at, also when that changed nothing") {
  std::string dir = (std::filesystem::temp_directory_path() / "jade-replica-XXXXXX").string();
  REQUIRE(mkdtemp(dir.data()) != nullptr);
  ShardReplica::Options options;
  options.env = leveldb::Env::Default();
  options.dir = dir + "/shards/2";
  std::filesystem::create_directory(dir + "/shards");
  options.group = 2;
  options.dimension = 1;
  options.metric = Metric::l2;
  {
    auto replica = ShardReplica::open(options, [](std::string_view) {});
    REQUIRE_MESSAGE(replica.ok(), replica.status().to_string());
    UpsertCommand command{1, {VectorId(uint64_t{1}).key()}, std::string(4, '\0'), {""}};
    REQUIRE((*replica)->apply(1, 1, encode(command)).ok());
    CHECK((*replica)->snapshot()->applied_index == 1);
    REQUIRE((*replica)->pass(5, 1).ok());
    auto view = (*replica)->snapshot();
    CHECK(view->applied_index == 5);
    auto piece = view->store->export_piece("", view->records, 1u << 20);
    REQUIRE(piece.ok());
    auto copy = ShardStore::open(options.env, dir + "/copy", nullptr);
    REQUIRE(copy.ok());
    REQUIRE((*copy)->import_piece(piece->bytes).ok());
    auto state = (*copy)->state();
    REQUIRE(state.ok());
    CHECK((*state)->applied_index == 5);
  }
  std::filesystem::remove_all(dir);
}

}  // namespace jade
