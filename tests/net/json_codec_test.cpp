#include "net/json_codec.h"

#include <doctest/doctest.h>

#include <charconv>
#include <cstring>
#include <limits>

#include "net/json_writer.h"

namespace jade {
namespace {

template <class T>
std::string failure(Result<T> (*decode)(std::string&), std::string body) {
  auto result = decode(body);
  REQUIRE_MESSAGE(!result.ok(), body);
  return result.status().message();
}

Result<UpsertRequest> upsert(std::string body) { return decode_json_upsert(body); }

TEST_CASE("what tells the shard of a vector is said in one way only") {
  auto decode = [](const std::string& more) {
    std::string body = R"({"name":"a","dimension":2)" + more + "}";
    return decode_create(body);
  };
  auto plain = decode("");
  REQUIRE(plain.ok());
  CHECK(plain->sharding == Sharding::hash);
  CHECK(decode(R"(,"sharding":"hash")")->sharding == Sharding::hash);
  CHECK(decode(R"(,"sharding":"key","shard_key":"t")")->shard_key == "t");
  CHECK(decode(R"(,"shard_key":"t")")->shard_key == "t");
  auto vector = decode(R"(,"sharding":"vector","probes":3)");
  REQUIRE(vector.ok());
  CHECK(vector->sharding == Sharding::vector);
  CHECK(vector->probes == 3);
  for (const auto& [wrong, message] :
       {std::pair(R"(,"sharding":"key")",
                  "sharding is \"key\", but shard_key is missing: name the "
                  "metadata field that chooses the shard"),
        {R"(,"sharding":"hash","shard_key":"t")",
         "sharding is \"hash\", by the id, and a shard_key is given, by which it would be \"key\"; "
         "leave one of them out"},
        {R"(,"sharding":"vectors")",
         "sharding is \"vectors\"; it must be \"hash\", \"key\" (with a shard_key) or \"vector\""},
        {R"(,"sharding":"id")",
         "sharding is \"id\"; it must be \"hash\", \"key\" (with a shard_key) or \"vector\""}}) {
    CHECK(decode(wrong).status() == invalid_argument(message));
  }
  std::string search = R"({"vector":[1,2],"probes":4})";
  auto decoded = decode_json_search(search);
  REQUIRE(decoded.ok());
  CHECK(decoded->probes == 4);
}

TEST_CASE("numbers that are none are told the range that there is") {
  auto create = [](const std::string& more) {
    return failure(decode_create, R"({"name":"a",)" + more + "}");
  };
  CHECK(create(R"("dimension":-1)") == "dimension is -1; it must be an integer from 1 to 16384");
  CHECK(create(R"("dimension":5000000000)") ==
        "dimension is 5000000000; it must be an integer from 1 to 16384");
  CHECK(create(R"("dimension":2,"replicas":1.5)") ==
        "replicas is 1.5; it must be an integer from 1 to 7");
  CHECK(create(R"("dimension":2,"shards":-1)") ==
        "shards is -1; it must be an integer from 1 to 256");
  CHECK(create(R"("dimension":2,"index":{"m":1e9})") ==
        "index.m is 1e9; it must be an integer from 4 to 64");
  CHECK(failure(decode_json_search, R"({"vector":[1],"k":-5})") ==
        "k is -5; it must be an integer from 1 to 10000");
}

TEST_CASE("where the body stops being JSON is told") {
  auto place = [](const std::string& body) {
    std::string message = failure(decode_create, body);
    size_t at = message.find(" (byte ");
    return at == std::string::npos ? message : message.substr(at);
  };
  CHECK(place(R"({"name":"a","dimension":2)") == " (byte 25, counted from 0)");
  CHECK(place(R"({"name":"a",,"dimension":2})") == " (byte 12, counted from 0)");
  CHECK(place(R"({"name":"a" "dimension":2})") == " (byte 12, counted from 0)");
  CHECK(place(R"({"name":'a'})") == " (byte 8, counted from 0)");
  CHECK(place("{\"name\":\"\xff\",\"dimension\":2}") == " (byte 9, counted from 0)");
  CHECK(place("") == " (byte 0, counted from 0)");
  // What is JSON, but not what is asked for, has its path.
  CHECK(place(R"({"name":7})") == "name is a number; it must be a string");
}

TEST_CASE("what is not known of a cluster is null") {
  ClusterInfo info;
  info.cluster_id = "c";
  info.nodes.resize(2);
  info.nodes[1].alive = false;
  info.nodes[1].silent_ms = 1200;
  DatabaseInfo database;
  database.placement.resize(2);
  database.placement[0].problems = {{7, "full"}};
  database.placement[0].replicas = {{7, true, 12}, {8, false, 3, 0.5}, {9, true, 0, -1, false}};
  database.placement[1].unknown = "nobody answers";
  info.databases = {database};
  TaskInfo task;
  task.waiting_for = "n1";
  info.tasks = {task};
  auto has = [&](const std::string& part) {
    std::string text = encode_cluster(info);
    return text.find(part) != std::string::npos;
  };
  CHECK(has(R"("master":null)"));
  CHECK(has(R"("catalog_age_ms":null)"));
  CHECK(has(R"("alive":true,"state")"));
  CHECK(has(R"("alive":false,"silent_ms":1200)"));
  CHECK(has(
      R"("vectors":0,"indexed_vectors":0,"applied_index":0,"replicas":[{"node":7,"votes":true,"log_index":12},{"node":8,"votes":false,"log_index":3,"copied":0.5},{"node":9,"votes":true}],"problems":[{"node":7,"problem":"full"}])"));
  CHECK(has(
      R"("vectors":null,"indexed_vectors":null,"applied_index":null,"unknown":"nobody answers")"));
  CHECK(has(R"("waiting_for":"n1")"));
  CHECK(!has(R"("problem":"out")"));
  info.master = 5;
  info.problem = "out";
  info.nodes[0].alive = info.nodes[0].alive_known = false;
  CHECK(has(R"("problem":"out")"));
  CHECK(has(R"("alive":null,"silent_ms":null)"));
  CHECK(!has("catalog_age_ms"));
}

TEST_CASE("where there is a shard key, what is missing has its values") {
  UpdateReply reply;
  reply.missing = {VectorId(uint64_t{1}), VectorId(std::string("x"))};
  CHECK(encode_update_reply(reply) == R"({"updated":0,"missing":[1,"x"],"token":""})");
  reply.missing_keys = {VectorId(std::string("acme")), VectorId(uint64_t{7})};
  CHECK(encode_update_reply(reply) ==
        R"({"updated":0,"missing":[1,"x"],"missing_keys":["acme",7],"token":""})");
}

TEST_CASE("an upsert becomes columns") {
  auto r = upsert(R"({"vectors":[{"id":1,"values":[1,-2.5e0]},
      {"metadata":{"a": [1, {"b":"}"}]} ,"values":[0.1,3],"id":"x\u0041"}]})");
  REQUIRE(r.ok());
  CHECK(r->ids == std::vector<VectorId>{1, VectorId("xA")});
  CHECK(r->dimension == 2);
  CHECK(r->metadata == std::vector<std::string>{"", R"({"a": [1, {"b":"}"}]})"});
  float values[4];
  REQUIRE(r->values.size() == sizeof values);
  std::memcpy(values, r->values.data(), sizeof values);
  CHECK(values[1] == -2.5f);
  CHECK(values[2] == 0.1f);
  CHECK(r->texts.empty());
}

TEST_CASE("64-bit ids are exact, and what is not one is refused") {
  auto r = upsert(R"({"vectors":[{"id":18446744073709551615,"values":[1]},
                                 {"id":9007199254740993,"values":[1]},{"id":0,"values":[1]}]})");
  REQUIRE(r.ok());
  CHECK(r->ids[0].integer() == 18446744073709551615u);
  CHECK(r->ids[1].integer() == 9007199254740993u);
  for (const char* id : {"-1", "1.0", "1e3", "18446744073709551616", "true", "null", "[1]", "{}",
                         "\"\"", "\"a\\u0000b\""}) {
    CAPTURE(id);
    std::string body = std::string(R"({"vectors":[{"values":[1],"id":)") + id + "}]}";
    CHECK(failure(decode_json_upsert, body).find("vectors[0].id") != std::string::npos);
  }
  std::string longest(VectorId::size_bytes_max, 'x');
  CHECK(upsert(R"({"vectors":[{"values":[1],"id":")" + longest + "\"}]}").ok());
  CHECK(!upsert(R"({"vectors":[{"values":[1],"id":")" + longest + "x\"}]}").ok());
}

TEST_CASE("an upsert that is wrong is told where") {
  struct Case {
    const char* body;
    const char* message;
  };
  for (const Case& c : std::initializer_list<Case>{
           {R"({"vectors":[{"id":1,"values":[1,"2"]}]})",
            "vectors[0].values[1] is a string; it must be a number"},
           {R"({"vectors":[{"id":1,"values":[1,null]}]})", "vectors[0].values[1] is null"},
           {R"({"vectors":[{"id":1,"values":[1,[2]]}]})", "vectors[0].values[1] is an array"},
           {R"({"vectors":[{"id":1,"values":7}]})",
            "vectors[0].values is a number; it must be an array"},
           {R"({"vectors":[{"id":1,"values":[1e999]}]})", "vectors[0].values[0] is 1e999"},
           {R"({"vectors":[{"id":1,"values":[1e39]}]})", "vectors[0].values[0] is 1e+39"},
           {R"({"vectors":[{"id":1,"values":[NaN]}]})", "not valid JSON"},
           {R"({"vectors":[{"id":1,"values":[Infinity]}]})", "not valid JSON"},
           {R"({"vectors":[{"id":1,"values":[01]}]})", "vectors[0].values[0]"},
           {R"({"vectors":[{"id":1,"values":[1 2]}]})", "not valid JSON"},
           {R"({"vectors":[{"id":1,"values":[]}]})", "vectors[0].values is empty"},
           {R"({"vectors":[{"id":1,"values":[1]},{"id":2,"values":[1,2]}]})",
            "vectors[1].values has 2 numbers"},
           {R"({"vectors":[{"id":1}]})", "either \"values\" or \"text\""},
           {R"({"vectors":[{"id":1,"values":[1],"text":"a"}]})", "either \"values\" or \"text\""},
           {R"({"vectors":[{"id":1,"values":[1]},{"id":2,"text":"a"}]})", "one kind"},
           {R"({"vectors":[{"values":[1]}]})", "vectors[0].id is missing"},
           {R"({"vectors":[{"id":1,"id":2,"values":[1]}]})", "vectors[0].id is given twice"},
           {R"({"vectors":[{"id":1,"value":[1]}]})", "unknown field \"value\" in vectors[0]"},
           {R"({"vectors":[{"id":1,"values":[1],"metadata":[]}]})",
            "vectors[0].metadata is an array; it must be an object"},
           {R"({"vectors":[1]})", "vectors[0] is a number; it must be an object"},
           {R"({"vectors":[]})", "vectors is empty"},
           {R"({"vectors":{}})", "vectors is an object; it must be an array"},
           {R"({"vectors":[{"id":1,"values":[1]}],"more":1})", "unknown field \"more\""},
           {R"({"vectors":[{"id":1,"values":[1]}]} x)",
            "more bytes after its JSON object, from byte 36 on"},
           {R"({"vectors":[{"id":1,"values":[1]}]}])",
            "more bytes after its JSON object, from byte 35 on"},
           {R"({"vectors":[{"id":1,"values":[1]}]},)",
            "more bytes after its JSON object, from byte 35 on"},
           {R"({"vectors":[{"id":1,"values":[1]}]}{})", "more bytes after"},
           {R"({})", "vectors is missing"},
           {R"([])", "must be a JSON object"},
           {R"(7)", "must be a JSON object"},
           {"", "not valid JSON"},
           {"   ", "not valid JSON"},
           {"{", "not valid JSON"},
           {"\xef\xbb\xbf{}", ""},
           {"{\"vectors\":[{\"id\":\"\xff\",\"values\":[1]}]}", "not valid JSON"}}) {
    CAPTURE(c.body);
    std::string message = failure(decode_json_upsert, c.body);
    std::string_view choices = c.message;
    size_t bar = choices.find('|');
    bool found = message.find(choices.substr(0, bar)) != std::string::npos ||
                 (bar != choices.npos && message.find(choices.substr(bar + 1)) != message.npos);
    CHECK_MESSAGE(found, message);
  }
}

TEST_CASE("every cut of a valid body is refused") {
  std::string body = R"({"vectors":[{"id":"a","values":[1.5,2],"metadata":{"k":[true,"x"]}}]})";
  REQUIRE(upsert(body).ok());
  for (size_t n = 0; n < body.size(); ++n) CHECK(!upsert(body.substr(0, n)).ok());
}

TEST_CASE("nesting is limited, sizes too") {
  auto nested = [](size_t depth) {
    std::string object = "1";
    for (size_t i = 1; i < depth; ++i) object = "[" + object + "]";
    return R"({"vectors":[{"id":1,"values":[1],"metadata":{"a":)" + object + "}}]}";
  };
  CHECK(upsert(nested(json_depth_max)).ok());
  CHECK(failure(decode_json_upsert, nested(json_depth_max + 1)).find("nested deeper") !=
        std::string::npos);
  CHECK(!upsert(nested(5'000)).ok());
  CHECK(!upsert(std::string(200'000, '[')).ok());
  CHECK(!upsert(R"({"vectors":)" + std::string(200'000, '[')).ok());
  std::string big(Limits::metadata_bytes_max, 'x');
  auto r = upsert(R"({"vectors":[{"id":1,"values":[1],"metadata":{"a":")" + big + "\"}}]}");
  CHECK(r.status().code() == Code::too_large);
  std::string wide = R"({"vectors":[{"id":1,"values":[1)";
  for (uint32_t i = 0; i < dimension_max; ++i) wide += ",1";
  CHECK(upsert(wide + "]}]}").status().code() == Code::too_large);
}

TEST_CASE("a search has all its options") {
  std::string body = R"({"vector":[1,2],"k":3,"filter":{"a":{"$gte":1}},"include":["values"],
      "consistency":"strong","token":"t","ef_search":50,"nprobe":4,"score_threshold":0.5,
      "exact":true,"timeout_ms":250})";
  auto r = decode_json_search(body);
  REQUIRE(r.ok());
  CHECK(r->vector == std::vector<float>{1, 2});
  CHECK(r->k == 3);
  CHECK(r->filter == R"({"a":{"$gte":1}})");
  CHECK(!r->include_metadata);
  CHECK(r->include_values);
  CHECK(r->consistency == Consistency::strong);
  CHECK(r->token == "t");
  CHECK(r->ef_search == 50u);
  CHECK(r->nprobe == 4u);
  CHECK(r->score_threshold == 0.5f);
  CHECK(r->exact);
  CHECK(r->timeout_ms == 250u);
  std::string least = R"({"text":"a"})";
  auto d = decode_json_search(least);
  REQUIRE(d.ok());
  CHECK(d->k == 10);
  CHECK(d->include_metadata);
  CHECK(!d->ef_search);
  CHECK(!d->timeout_ms);
  std::string together = R"({"timeout_ms":30000,"searches":[{"vector":[1]},{"vector":[2]}]})";
  auto b = decode_json_search_batch(together);
  REQUIRE(b.ok());
  CHECK(b->timeout_ms == 30000u);
  CHECK(b->searches.size() == 2);
}

TEST_CASE("a search by examples, and for groups") {
  std::string body = R"({"positive":[7,"a",[1,2]],"negative":[[3,4]],"offset":5,
      "group_by":"a.b","group_size":2})";
  auto r = decode_json_search(body);
  REQUIRE_MESSAGE(r.ok(), r.status().to_string());
  REQUIRE(r->positive.size() == 3);
  CHECK(r->positive[0].id == VectorId(uint64_t{7}));
  CHECK(r->positive[1].id == VectorId("a"));
  CHECK(!r->positive[2].id);
  CHECK(r->positive[2].vector == std::vector<float>{1, 2});
  REQUIRE(r->negative.size() == 1);
  CHECK(r->negative[0].vector == std::vector<float>{3, 4});
  CHECK(r->offset == 5);
  CHECK(r->group_by == "a.b");
  CHECK(r->group_size == 2);
  std::string by_id = R"({"id":"x"})";
  auto d = decode_json_search(by_id);
  REQUIRE(d.ok());
  CHECK(d->id == VectorId("x"));
  std::string many = R"({"positive":[0)";
  for (size_t i = 0; i < Limits::examples_max; ++i) many += ",1";
  many += "]}";
  CHECK(decode_json_search(many).status().code() == Code::too_large);

  SearchReply reply;
  reply.grouped = true;
  reply.groups.push_back({R"("red")", {{VectorId(uint64_t{1}), 0.5f, R"({"c":"red"})", {}}}});
  Include include{true, false};
  CHECK(encode_search_json(reply, include, 0.25) ==
        R"({"groups":[{"group":"red","results":[{"id":1,"score":0.5,"metadata":{"c":"red"}}]}],)"
        R"("took_ms":0.25})");
  CHECK(encode_search_batch_json({{reply, {}}}, std::vector<Include>{include, include}, 0.25) ==
        R"({"results":[[{"group":"red","results":[{"id":1,"score":0.5,"metadata":{"c":"red"}}]}],)"
        R"([]],"took_ms":0.25})");
}

TEST_CASE("an explanation is written where it was asked for") {
  std::string body = R"({"vector":[1],"explain":true})";
  CHECK(decode_json_search(body)->explain);
  SegmentExplanation segment;
  segment.segment = 4;
  segment.kind = IndexKind::hnsw;
  segment.rows = 100;
  segment.live = 90;
  segment.matching = 80;
  segment.matching_exact = true;
  segment.plan = SegmentPlan::walk;
  segment.walk_cost = 12.5;
  segment.ef_search = 5;
  segment.ef = 15;
  segment.raised = true;
  segment.rows_visited = 40;
  segment.distances_by_codes = 41;
  segment.distances_by_values = 30;
  segment.rescored = 30;
  segment.walk_ns = 250'000;
  segment.rescore_ns = 500;
  SearchReply reply;
  reply.explained = true;
  reply.explanation.push_back({3, 0, 17, 1'000'000, 0, {segment}});
  const std::string explanation =
      R"({"shards":[{"shard":3,"applied_index":17,"took_ms":1,"fetch_ms":0,"segments":[)"
      R"({"segment":4,"type":"hnsw","rows":100,"live":90,"matching":80,"matching_exact":true,)"
      R"("plan":"walk","fell_back":false,"walk_cost":12.5,"ef_search":5,"ef":15,"raised":true,)"
      R"("rows_visited":40,"distances_by_codes":41,"distances_by_values":30,"rescored":30,)"
      R"("metadata_read":0,"filter_ms":0,"walk_ms":0.25,"scan_ms":0,"rescore_ms":5e-04}]}]})";
  CHECK(encode_search_json(reply, {}, 2) ==
        R"({"results":[],"took_ms":2,"explain":)" + explanation + "}");
  SearchReply by_recall = reply;
  SegmentExplanation& told = by_recall.explanation.front().segments.front();
  told.min_recall = 0.9;
  CHECK(encode_search_json(by_recall, {}, 2).find(R"("min_recall":0.9,"calibrated":false,"rows)") !=
        std::string::npos);
  told.calibrated = true;
  told.measured_recall = 0.95;
  CHECK(encode_search_json(by_recall, {}, 2)
            .find(R"("min_recall":0.9,"calibrated":true,"measured_recall":0.95,"rows)") !=
        std::string::npos);
  CHECK(encode_search_batch_json({{{}, reply}}, std::vector<Include>(2), 2) ==
        R"({"results":[[],[]],"took_ms":2,"explain":[null,)" + explanation + "]}");
  CHECK(encode_search_batch_json({{{}, {}}}, std::vector<Include>(2), 2) ==
        R"({"results":[[],[]],"took_ms":2})");
}

TEST_CASE("a search that is wrong is told where") {
  struct Case {
    const char* body;
    const char* message;
  };
  for (const Case& c : std::initializer_list<Case>{
           {R"({"vector":[1],"k":-1})", "k is -1; it must be an integer"},
           {R"({"vector":[1],"k":1.5})", "k is 1.5; it must be an integer"},
           {R"({"vector":[1],"k":4294967296})", "k is 4294967296"},
           {R"({"vector":[1],"k":"1"})", "k is a string; it must be an integer"},
           {R"({"vector":[1],"explain":"yes"})", "explain is a string"},
           {R"({"vector":[1],"min_recall":"high"})", "min_recall is a string"},
           {R"({"vector":[1],"exact":1})", "exact is a number; it must be true or false"},
           {R"({"vector":[1],"include":["all"]})", "include[0] is \"all\""},
           {R"({"vector":[1],"consistency":"weak"})", "consistency is \"weak\""},
           {R"({"vector":[1],"filter":"a"})", "filter is a string; it must be an object"},
           {R"({"vector":[1],"score_threshold":1e60})", "score_threshold is 1e+60"},
           {R"({"vector":[1],"text":"a"})", "exactly one of \"vector\", \"text\""},
           {R"({"vector":[1],"id":1})", "exactly one of \"vector\", \"text\""},
           {R"({"negative":[1]})", "exactly one of \"vector\", \"text\""},
           {R"({"k":1})", "exactly one of \"vector\", \"text\""},
           {R"({"positive":[]})", "positive is empty"},
           {R"({"positive":[1],"negative":[]})", "negative is empty"},
           {R"({"positive":[1.5]})", "positive[0] is 1.5"},
           {R"({"positive":[1,[]]})", "positive[1] is empty"},
           {R"({"positive":[1,["a"]]})", "positive[1][0] is a string"},
           {R"({"positive":[{}]})", "positive[0] is an object"},
           {R"({"vector":[1],"group_by":""})", "group_by is empty"},
           {R"({"vector":[1],"group_size":1.5})", "group_size is 1.5"},
           {R"({"vector":[1],"offset":-1})", "offset is -1"},
           {R"({"vector":[1],"timeout_ms":0})", "timeout_ms is 0; it must be 1 to 30000"},
           {R"({"vector":[1],"timeout_ms":30001})", "timeout_ms is 30001; it must be 1 to 30000"},
           {R"({"vector":[1],"timeout_ms":1.5})", "timeout_ms is 1.5; it must be an integer"},
           {R"({"vector":[1],"timeout_ms":"1s"})", "timeout_ms is a string"},
           {R"({"vector":[]})", "vector is empty"},
           {R"({"vector":[1],"k":0})", "k is 0"}}) {
    CAPTURE(c.body);
    std::string message = failure(decode_json_search, c.body);
    CHECK_MESSAGE(message.find(c.message) != std::string::npos, message);
  }
  CHECK(failure(decode_json_search_batch, R"({"searches":[{"vector":[1]},{"vector":[1],"k":0}]})")
            .find("searches[1].k is 0") != std::string::npos);
  CHECK(failure(decode_json_search_batch, R"({"searches":[]})").find("empty") != std::string::npos);
  CHECK(failure(decode_json_search_batch,
                R"({"searches":[{"vector":[1]},{"vector":[1],"timeout_ms":5}]})") ==
        "searches[1].timeout_ms is given; a batch has one for all its searches");
  CHECK(failure(decode_json_search_batch, R"({"searches":[{"vector":[1]}],"timeout_ms":0})") ==
        "timeout_ms is 0; it must be 1 to 30000");
}

TEST_CASE("databases and deletions are read") {
  CHECK(failure(decode_create, R"({"name":"a"})") == "dimension is missing");
  CHECK(failure(decode_create, R"({"name":"a","dimension":1,"metric":"x"})").find("\"x\"") !=
        std::string::npos);
  CHECK(failure(decode_create, R"({"name":"a","dimension":1,"index":{"type":"hnsw","mm":1}})")
            .find("unknown field \"mm\" in index") != std::string::npos);
  CHECK(failure(decode_create, R"({"name":"a","dimension":1,"index":{"m":"1"}})") ==
        "index.m is a string; it must be an integer");
  CHECK(failure(decode_create, R"({"name":"a","dimension":1,"index":{"quantization":"sq5"}})") ==
        "index.quantization \"sq5\" is unknown; use \"sq8\", \"sq4\", \"rabitq\", \"pq\" or "
        "\"none\"");
  CHECK(failure(decode_create,
                R"({"name":"a","dimension":1,"index":{"min_recall":0.9,"ef_search":9}})") ==
        "index has both min_recall and ef_search; each says how much effort to make, so give one");
  std::string create = R"({"name":"a","dimension":1,"index":{"min_recall":0.9}})";
  CHECK(decode_create(create)->index.min_recall == 0.9);
  std::string search = R"({"vector":[1],"min_recall":0.95})";
  CHECK(decode_json_search(search)->min_recall == 0.95);
  CHECK(failure(decode_create, R"({"name":"a","dimension":1,"index":{"quantization":4}})") ==
        "index.quantization is a number; it must be a string");
  CHECK(failure(decode_create, R"({"name":"a","dimension":1,"index":{"vectors":"ram"}})") ==
        "index.vectors \"ram\" is unknown; use \"memory\" or \"disk\"");
  std::string on_disk = R"({"name":"a","dimension":1,"index":{"vectors":"disk"}})";
  CHECK(decode_create(on_disk)->index.vectors == VectorPlace::disk);
  std::string by_size = R"({"name":"a","dimension":1,"index":{"type":"auto"}})";
  CHECK(decode_create(by_size)->index.kind == IndexKind::automatic);
  CHECK(failure(decode_alter, "{}") == "give either replicas or index, what is to be changed");
  CHECK(failure(decode_alter, R"({"replicas":1,"index":{"m":9}})") ==
        "give either replicas or index, what is to be changed");
  CHECK(failure(decode_alter, R"({"index":{}})") == "index is empty; name what is to change");
  CHECK(failure(decode_alter, R"({"dimension":3})").find("unknown field \"dimension\"") !=
        std::string::npos);
  std::string alter = R"({"index":{"type":"ivf","nprobe":7}})";
  auto altered = decode_alter(alter);
  REQUIRE(altered.ok());
  CHECK(!altered->replicas);
  IndexOptions before;
  before.min_recall = 0.9;
  before.m = 20;
  IndexOptions after = altered->index->applied_to(before);
  CHECK(after.kind == IndexKind::ivf);
  CHECK(after.nprobe == 7);
  CHECK(after.m == 20);
  CHECK(after.min_recall == 0);  // the newer wish
  CHECK(failure(decode_delete, R"({"ids":[1],"filter":{}})").find("either") != std::string::npos);
  CHECK(failure(decode_delete, R"({"ids":[true]})").find("ids[0]") != std::string::npos);
  std::string filter = R"({"filter":{"a":1}})";
  CHECK(decode_delete(filter)->filter == R"({"a":1})");
}

TEST_CASE("an update is read, and one that is wrong is told where") {
  std::string body = R"({"key":"acme","vectors":[
      {"id":"a","metadata":{"x":null},"values":{"t":[1,2.5],"b":null,"c":[3]}},
      {"id":7,"values":[1,2]},{"id":8,"text":"words"}]})";
  auto read = decode_update(body);
  REQUIRE_MESSAGE(read.ok(), read.status().to_string());
  CHECK(read->key == VectorId(std::string("acme")));
  CHECK(!read->named_by_client);
  REQUIRE(read->vectors.size() == 3);
  const VectorUpdate& named = read->vectors[0];
  CHECK(named.id == VectorId(std::string("a")));
  CHECK(named.metadata == R"({"x":null})");
  CHECK(named.values.empty());
  REQUIRE(named.named.size() == 2);
  CHECK(named.named[0].name == "t");
  CHECK(named.named[0].values == std::vector<float>{1, 2.5});
  CHECK(named.named[1].name == "c");
  CHECK(named.without == std::vector<std::string>{"b"});
  CHECK(read->vectors[1].values == std::vector<float>{1, 2});
  CHECK(!read->vectors[1].text);
  CHECK(read->vectors[2].text == "words");
  for (size_t n = 0; n < body.size(); ++n) {
    std::string cut = body.substr(0, n);
    CHECK(!decode_update(cut).ok());
  }
  std::string one = R"({"values":{"b":null}})";
  auto patch = decode_update_vector(one);
  REQUIRE(patch.ok());
  CHECK(patch->without == std::vector<std::string>{"b"});

  auto refused = [](const char* text, const char* why) {
    std::string message = failure(decode_update, text);
    CHECK_MESSAGE(message.find(why) != std::string::npos, message);
  };
  refused("{}", "vectors is missing");
  refused(R"({"vectors":[]})", "vectors is empty");
  refused(R"({"vectors":[{"values":[1]}]})", "vectors[0].id is missing");
  refused(R"({"vectors":[{"id":1,"values":[]}]})", "vectors[0].values is empty");
  refused(R"({"vectors":[{"id":1,"values":{}}]})", "vectors[0].values is empty");
  refused(R"({"vectors":[{"id":1,"values":{"a":[]}}]})", "vectors[0].values.a is empty");
  refused(R"({"vectors":[{"id":1,"values":{"a":1}}]})", "vectors[0].values.a is a number");
  refused(R"({"vectors":[{"id":1,"values":null}]})",
          "vectors[0].values is null; it must be an array");
  refused(R"({"vectors":[{"id":1,"values":{"a":[1,null]}}]})", "vectors[0].values.a[1] is null");
  refused(R"({"vectors":[{"id":1,"metadata":null}]})", "vectors[0].metadata is null");
  refused(R"({"vectors":[{"id":1,"text":1}]})", "vectors[0].text is a number");
  refused(R"({"vectors":[{"id":1,"text":"a","text":"b"}]})", "vectors[0].text is given twice");
  refused(R"({"vectors":[{"id":1}],"filter":{}})", "unknown field \"filter\"");
  CHECK(failure(decode_update_vector, R"({"id":1})").find("unknown field \"id\"") !=
        std::string::npos);
  CHECK(failure(decode_update_vector, R"({"values":[1,"2"]})") ==
        "values[1] is a string; it must be a number");
}

TEST_CASE(
    "options that the type of an index has no use for are refused, and those it has are not") {
  auto created = [](const std::string& index) {
    std::string body = R"({"name":"a","dimension":1,"index":)" + index + "}";
    return failure(decode_create, body);
  };
  for (const char* type : {"hnsw", "auto"}) {
    const std::string prefix = std::string(R"({"type":")") + type + "\",";
    CHECK(created(prefix + R"("nlist":4})") ==
          std::string("index.nlist needs index.type \"ivf\"; it is \"") + type + "\"");
    CHECK(created(prefix + R"("nprobe":4})") ==
          std::string("index.nprobe needs index.type \"ivf\"; it is \"") + type + "\"");
    std::string body =
        R"({"name":"a","dimension":1,"index":)" + prefix +
        R"("m":8,"ef_construction":90,"ef_search":50,"quantization":"pq","vectors":"disk"}})";
    CHECK(decode_create(body).ok());
  }
  for (const char* type : {"ivf", "flat"}) {
    const std::string prefix = std::string(R"({"type":")") + type + "\",";
    const std::string why =
        std::string(" needs index.type \"hnsw\" or \"auto\"; it is \"") + type + "\"";
    CHECK(created(prefix + R"("m":8})") == "index.m" + why);
    CHECK(created(prefix + R"("ef_construction":90})") == "index.ef_construction" + why);
    CHECK(created(prefix + R"("ef_search":90})") == "index.ef_search" + why);
    CHECK(created(prefix + R"("quantization":"sq8"})") == "index.quantization" + why);
    CHECK(created(prefix + R"("vectors":"disk"})") == "index.vectors is \"disk\", which" + why);
    // True of them.
    std::string body = R"({"name":"a","dimension":1,"index":)" + prefix +
                       R"("quantization":"none","vectors":"memory","min_recall":0.9}})";
    CHECK(decode_create(body).ok());
  }
  std::string lists = R"({"name":"a","dimension":1,"index":{"type":"ivf","nlist":4,"nprobe":2}})";
  CHECK(decode_create(lists).ok());
  CHECK(created(R"({"type":"flat","nprobe":2})") ==
        "index.nprobe needs index.type \"ivf\"; it is \"flat\"");
}

TEST_CASE("each field of an index can be changed by itself") {
  IndexOptions other;
  other.kind = IndexKind::ivf;
  other.m = 20;
  other.ef_construction = 150;
  other.ef_search = 77;
  other.nlist = 9;
  other.nprobe = 3;
  other.quantization = Quantization::pq;
  other.vectors = VectorPlace::disk;
  other.min_recall = 0.9;
  const std::vector<std::string> fields = {
      R"("type":"ivf")",        R"("m":20)",           R"("ef_construction":150)",
      R"("ef_search":77)",      R"("nlist":9)",        R"("nprobe":3)",
      R"("quantization":"pq")", R"("vectors":"disk")", R"("min_recall":0.9)"};
  for (size_t i = 0; i < fields.size(); ++i) {
    CAPTURE(fields[i]);
    std::string body = R"({"index":{)" + fields[i] + "}}";
    auto altered = decode_alter(body);
    REQUIRE(altered.ok());
    CHECK(altered->index->fields() == 1u << i);
    CHECK(altered->index->applied_to({}) == IndexChange::of(other, 1u << i).applied_to({}));
    CHECK(altered->index->applied_to({}) != IndexOptions{});
  }
}

TEST_CASE("mutated bodies are read or refused, never more") {
  std::string valid = R"({"vectors":[{"id":"a\u00e9","values":[1.5,-2e3,0.25],"metadata":{"k":
      [true,"x",{"y":null}]}},{"id":77,"values":[1,2,3],"metadata":{}}]})";
  REQUIRE(upsert(valid).ok());
  uint32_t seed = 1;
  auto random = [&](size_t n) { return (seed = seed * 1664525u + 1013904223u, seed >> 8) % n; };
  const std::string symbols = "{}[]\",:\\0e-.tn ";
  size_t read = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string body = valid;
    for (size_t changes = 1 + random(4); changes > 0; --changes) {
      size_t at = random(body.size());
      switch (random(3)) {
        case 0: body[at] = symbols[random(symbols.size())]; break;
        case 1: body[at] = static_cast<char>(random(256)); break;
        default: body.erase(at, 1 + random(5));
      }
    }
    auto r = upsert(body);
    if (!r) continue;
    ++read;
    CHECK(r->values.size() == r->ids.size() * r->dimension * sizeof(float));
    CHECK((r->metadata.empty() || r->metadata.size() == r->ids.size()));
  }
  CHECK(read > 0);
}

TEST_CASE("floats are written so that they read back the same") {
  uint32_t bits = 1;
  for (int i = 0; i < 20000; ++i) {
    bits = bits * 1664525u + 1013904223u;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    if (value != value || value - value != 0) continue;
    std::string body = "{\"vector\":[";
    append_float(body, value);
    body += "]}";
    auto r = decode_json_search(body);
    REQUIRE_MESSAGE(r.ok(), body);
    CHECK_MESSAGE(std::memcmp(&r->vector[0], &value, sizeof value) == 0, body);
  }
  std::string out;
  append_float(out, std::numeric_limits<float>::infinity());
  CHECK(out == "null");
}

TEST_CASE("strings are escaped") {
  std::string out;
  append_string(out, std::string_view("a\"\\\n\x01é\0z", 9));
  CHECK(out == "\"a\\\"\\\\\\n\\u0001é\\u0000z\"");
  CHECK(*decode_json_string(out) == std::string("a\"\\\n\x01é\0z", 9));
  CHECK(!decode_json_string("\"a").ok());
  CHECK(!decode_json_string("\"a\"b").ok());
  CHECK(!decode_json_string("a").ok());
}

}  // namespace
}  // namespace jade
