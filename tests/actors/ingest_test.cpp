#include "actors/ingest.h"

#include <doctest/doctest.h>

#include "tests/actors/scripted_peer.h"

namespace jade {

TEST_CASE("what is sent again never goes to another database of the same name") {
  test::ScriptedConfig config;
  caf::actor_system system(config);
  auto asked = std::make_shared<std::vector<uint64_t>>();
  test::PeerScript script;
  ingest_actor actor;
  // Once it has been asked, the database is dropped, and created anew with another
  // dimension.
  script.write = [&](const ShardWrite& write) -> std::optional<Result<ShardWritten>> {
    asked->push_back(write.route.group);
    caf::anon_send(actor, test::routes_to(replica_actor(), 8, 3, {2}));
    return Result<ShardWritten>(unavailable("the leader changed"));
  };
  auto peer = system.spawn(test::scripted_peer, script);
  actor = system.spawn(ingest, IngestOptions());
  caf::scoped_actor self(system);
  self->send(actor, test::routes_to(peer, 7, 1, {2}));
  UpsertRequest request;
  request.database = "a";
  request.dimension = 1;
  request.ids = {VectorId(uint64_t{1})};
  request.values = std::string(4, '\0');
  Status status;
  self->request(actor, caf::infinite, request)
      .receive([](const UpsertReply&) {},
               [&](const caf::error& error) { status = to_status(error); });
  CHECK(status == not_found("database \"a\" has been dropped"));
  CHECK(*asked == std::vector<uint64_t>{7});
}

}  // namespace jade
