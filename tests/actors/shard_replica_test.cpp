#include "actors/shard_replica.h"

#include <doctest/doctest.h>
#include <leveldb/env.h>

#include <filesystem>

namespace jade {

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
