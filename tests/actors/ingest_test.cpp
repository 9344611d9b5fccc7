#include "actors/ingest.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>

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

TEST_CASE("of vectors that do not fit, the first is named, and what would be right") {
  auto upserted = [](const DatabaseSpec& spec, const std::vector<float>& values,
                     const std::string& metadata = "") {
    UpsertRequest request;
    request.dimension = static_cast<uint32_t>(values.size());
    for (uint64_t id = 0; id < 2; ++id) {
      request.ids.emplace_back(id);
      std::vector<float> row = id == 0 ? std::vector<float>(values.size(), 1) : values;
      request.values.append(reinterpret_cast<const char*>(row.data()), row.size() * 4);
      request.metadata.push_back(id == 0 ? "" : metadata);
    }
    return prepare_upsert(spec, request).message();
  };
  DatabaseSpec spec;
  spec.name = "a";
  spec.dimension = 2;
  for (Metric metric : {Metric::l2, Metric::dot}) {
    spec.metric = metric;
    CHECK(upserted(spec, {7e17f, 7e17f}).empty());
    CHECK(upserted(spec, {1e-40f, 0}).empty());
    CHECK(upserted(spec, {-3e19f, 4e19f}) ==
          "vectors[1].values has a length of 5e+19; with metric \"" +
              std::string(to_string(metric)) +
              "\" it must be at most 1e+18, so that no distance overflows");
    CHECK(upserted(spec, {3e38f, 3e38f}).find("vectors[1].values has a length of 4.24e+38") == 0);
  }
  spec.metric = Metric::cosine;
  CHECK(upserted(spec, {3e38f, 3e38f}).empty());
  CHECK(upserted(spec, {1e-25f, -1e-45f}).empty());
  CHECK(upserted(spec, {0, -0.0f}) ==
        "vectors[1].values is a zero vector, which has no direction; metric \"cosine\" needs one");
  CHECK(upserted(spec, {1, std::nanf("")}) == "vectors[1].values[1] is not a finite number");
  CHECK(upserted(spec, {1, 2, 3}) ==
        "vectors[0].values has 3 values; database \"a\" has dimension 2");
  CHECK(upserted(spec, {1, 2}, R"({"a":1,"$b":2})") ==
        "vectors[1].metadata has a field \"$b\"; names that begin with $ are those of operators of "
        "filters");
  CHECK(upserted(spec, {1, 2}, R"({"a":{"$b":2},"c$":1,"d.e":1})").empty());
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
  CHECK(status.code() == Code::unavailable);
  CHECK(status.message().find("database \"a\" was dropped and created anew") == 0);
  CHECK(*asked == std::vector<uint64_t>{7});
}

TEST_CASE("the token of a deletion by a filter has what it reached in other shards") {
  test::ScriptedConfig config;
  caf::actor_system system(config);
  test::PeerScript script;
  script.delete_matching = [](const ShardDeleteMatching&) {
    ShardWritten written{7, 41, 2};
    written.reached = {{7, 43}, {8, 12}};
    return Result<ShardWritten>(written);
  };
  auto peer = system.spawn(test::scripted_peer, script);
  auto actor = system.spawn(ingest, IngestOptions());
  caf::scoped_actor self(system);
  self->send(actor, test::routes_to(peer, 7, 1, {2}));
  DeleteRequest request;
  request.database = "a";
  request.filter = "{}";
  DeleteReply reply;
  self->request(actor, caf::infinite, request)
      .receive([&](const DeleteReply& given) { reply = given; },
               [](const caf::error& error) { FAIL(to_status(error).to_string()); });
  CHECK(reply.deleted == 2);
  CHECK(reply.token == "7:43,8:12");
  // It would wait for its deadlines, and the system for it.
  caf::anon_send_exit(actor, caf::exit_reason::kill);
  caf::anon_send_exit(peer, caf::exit_reason::kill);
}

TEST_CASE("a large request is on its way to its shard a few parts at a time") {
  test::ScriptedConfig config;
  caf::actor_system system(config);
  constexpr uint32_t dimension = 1024;
  constexpr uint64_t rows = 4000;
  constexpr size_t underway_max = 4u << 20;  // of 16 MB
  std::atomic<size_t> sent = 0;
  std::optional<Result<ShardWritten>> answer;
  SUBCASE("while nobody answers") {}
  SUBCASE("all of them where each is written") { answer = ShardWritten{7, 1}; }
  SUBCASE("no more after a failure") { answer = internal_error("not this one"); }
  test::PeerScript script;
  script.write = [&](const ShardWrite& write) {
    sent += write.command.size();
    return answer;
  };
  auto peer = system.spawn(test::scripted_peer, script);
  IngestOptions options;
  if (!answer) options.write_timeout = std::chrono::milliseconds(500);
  auto actor = system.spawn(ingest, options);
  caf::scoped_actor self(system);
  self->send(actor, test::routes_to(peer, 7, dimension, {2}));
  UpsertRequest request;
  request.database = "a";
  request.dimension = dimension;
  for (uint64_t id = 0; id < rows; ++id) request.ids.emplace_back(id);
  request.values = std::string(rows * dimension * 4, '\0');
  Result<UpsertReply> reply = unavailable("none");
  self->request(actor, caf::infinite, request)
      .receive([&](const UpsertReply& written) { reply = written; },
               [&](const caf::error& error) { reply = to_status(error); });
  if (answer && answer->ok()) {
    REQUIRE_MESSAGE(reply.ok(), reply.status().to_string());
    CHECK(reply->upserted == rows);
    CHECK(sent > rows * dimension * 4);
  } else {
    CHECK(reply.status().code() == (answer ? Code::internal : Code::deadline_exceeded));
    CHECK(reply.status().message().find("other parts of this request") != std::string::npos);
    CHECK(sent > underway_max / 2);
    CHECK(sent <= underway_max);
  }
}

}  // namespace jade
