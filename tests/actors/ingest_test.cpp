#include "actors/ingest.h"

#include <doctest/doctest.h>

#include "tests/actors/scripted_peer.h"

namespace jade {

TEST_CASE("columns of named vectors become stored records, or are refused") {
  DatabaseSpec spec;
  spec.name = "a";
  spec.named_vectors = {{"x", 1, Metric::l2, Datatype::float32},
                        {"y", 2, Metric::l2, Datatype::uint8}};
  auto bytes = [](const std::vector<float>& values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4);
  };
  UpsertRequest request;
  request.ids = {VectorId(uint64_t{1}), VectorId(uint64_t{2})};
  request.named = {{"y", 2, {0, 1}, bytes({1, 2, 3, 255})}, {"x", 1, {1}, bytes({0.5f})}};
  UpsertRequest prepared = request;
  REQUIRE(prepare_upsert(spec, prepared).ok());
  CHECK(prepared.values == std::string("\0\0\0\0\1\2\2", 7) + bytes({0.5f}) + "\x03\xff\x03");
  CHECK(prepared.named.empty());

  auto refused = [&](const std::function<void(UpsertRequest&)>& change, const std::string& why) {
    UpsertRequest wrong = request;
    change(wrong);
    Status status = prepare_upsert(spec, wrong);
    CHECK(status.code() == Code::invalid_argument);
    CHECK_MESSAGE(status.message().find(why) != std::string::npos, status.message());
  };
  refused([](UpsertRequest& r) { r.named[1].rows = {2}; }, "must be positions of ids, ascending");
  refused([](UpsertRequest& r) { r.named[0].rows = {1, 1}; }, "must be positions of ids");
  refused([](UpsertRequest& r) { r.named[1].rows = {}; }, "must be positions of ids");
  refused([](UpsertRequest& r) { r.named[1].name = "y"; }, "vector \"y\" is given twice");
  refused([](UpsertRequest& r) { r.named[1].values += "x"; },
          "the values of vector \"x\" have 5 bytes");
  refused([](UpsertRequest& r) { r.named.erase(r.named.begin()); },
          "vectors[0].values has none of the vectors \"x\", \"y\"");
  refused([](UpsertRequest& r) { r.values = "1234"; }, "values are given without names");
  refused([](UpsertRequest& r) { r.texts = {"a", "b"}; }, "either values or text");
  spec.named_vectors.clear();
  spec.dimension = 1;
  refused([](UpsertRequest&) {}, "has one vector without a name");
}

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
