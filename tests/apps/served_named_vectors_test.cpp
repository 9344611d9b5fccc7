// Databases whose records have several vectors, over HTTP, on a node with its server.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "net/binary_codec.h"
#include "tests/apps/served.h"

namespace jade {
namespace {

constexpr const char* create_docs = R"({"name":"docs","named_vectors":{
    "title":{"dimension":2},
    "body":{"dimension":3,"metric":"l2","datatype":"uint8"}}})";

std::vector<std::string> ids_of(const json::value& results) {
  std::vector<std::string> out;
  for (const auto& hit : results.as_array()) out.push_back(json::serialize(hit.at("id")));
  return out;
}

using Ids = std::vector<std::string>;

}  // namespace

TEST_CASE(
    "Records with several vectors are written, read and searched by name, also after a restart") {
  Served served;
  auto created = served.ask("POST", "", create_docs);
  CHECK(created.at("named_vectors") ==
        json::parse(R"({"title":{"dimension":2,"metric":"cosine","datatype":"float32"},
                        "body":{"dimension":3,"metric":"l2","datatype":"uint8"}})"));
  for (const char* other : {"dimension", "metric", "datatype"}) {
    CHECK(!created.as_object().contains(other));
  }
  CHECK(created.at("placement").at(0).at("segments").as_array().size() == 2);
  CHECK(created.at("placement").at(0).at("segments").at(1).at("vector") == "body");
  auto written = served.ask("POST", "/docs/vectors", R"({"vectors":[
      {"id":1,"values":{"title":[3,4],"body":[1,2,3]},"metadata":{"kind":"a"}},
      {"id":2,"values":{"body":[1,2,5]},"metadata":{"kind":"b"}},
      {"id":3,"values":{"title":[4,3]},"metadata":{"kind":"a"}},
      {"id":4,"values":{"body":[9,9,9],"title":[-1,0]},"metadata":{"kind":"b"}}]})");
  CHECK(written.at("upserted") == 4);
  for (bool restarted : {false, true}) {
    CAPTURE(restarted);
    if (restarted) served.restart();
    auto search = [&](const std::string& body) {
      return served.ask("POST", "/docs/search", body).at("results");
    };
    CHECK(served.ask("GET", "/docs").at("vectors") == 4);
    CHECK(served.ask("GET", "/docs/vectors/1").at("values") ==
          json::parse(R"({"title":[3,4],"body":[1,2,3]})"));
    CHECK(served.ask("GET", "/docs/vectors/2").at("values") == json::parse(R"({"body":[1,2,5]})"));
    auto page = served.ask("GET", "/docs/vectors?include=values");
    CHECK(page.at("vectors").at(2).at("values") == json::parse(R"({"title":[4,3]})"));
    // Whichever way it is looked for, only what has the vector is found, and all of it.
    auto near = search(R"({"vector":[6,8],"using":"title","include":["values"]})");
    CHECK(ids_of(near) == Ids{"1", "3", "4"});
    CHECK(near.at(0).at("score").to_number<double>() == doctest::Approx(1));
    CHECK(near.at(0).at("values") == json::parse(R"({"title":[3,4],"body":[1,2,3]})"));
    CHECK(near.at(1).at("values") == json::parse(R"({"title":[4,3]})"));
    near = search(R"({"vector":[1,2,4.5],"using":"body"})");
    CHECK(ids_of(near) == Ids{"2", "1", "4"});
    CHECK(near.at(0).at("score").to_number<double>() == doctest::Approx(0.5));
    CHECK(ids_of(search(R"({"vector":[1,2,4.5],"using":"body","exact":true,"k":1})")) == Ids{"2"});
    CHECK(ids_of(search(R"({"vector":[1,2,3],"using":"body","filter":{"kind":"b"}})")) ==
          Ids{"2", "4"});
    CHECK(ids_of(search(R"({"vector":[1,2,3],"using":"body","min_recall":0.9})")) ==
          Ids{"1", "2", "4"});
    CHECK(ids_of(search(R"({"vector":[1,2,3],"using":"body","score_threshold":2.5})")) ==
          Ids{"1", "2"});
    CHECK(ids_of(search(R"({"id":1,"using":"body"})")) == Ids{"2", "4"});
    CHECK(ids_of(search(R"({"id":1,"using":"title"})")) == Ids{"3", "4"});
    CHECK(ids_of(search(R"({"positive":[1,[9,9,9]],"negative":[2],"using":"body"})")) == Ids{"4"});
    auto explained =
        served.ask("POST", "/docs/search", R"({"vector":[1,2,3],"using":"body","explain":true})");
    CHECK(explained.at("explain").at("shards").at(0).at("segments").at(0).at("live") == 3);
    auto groups =
        served.ask("POST", "/docs/search", R"({"vector":[1,2,3],"using":"body","group_by":"kind"})")
            .at("groups");
    REQUIRE(groups.as_array().size() == 2);
    CHECK(groups.at(0).at("group") == "a");
    CHECK(ids_of(groups.at(1).at("results")) == Ids{"2"});
    auto batch = served
                     .ask("POST", "/docs/search/batch", R"({"searches":[
        {"vector":[6,8],"using":"title","k":1},{"vector":[1,2,3],"using":"body","k":1},
        {"vector":[9,9,9],"using":"body","k":1},{"id":3,"using":"title","k":1}]})")
                     .at("results");
    CHECK(ids_of(batch.at(0)) == Ids{"1"});
    CHECK(ids_of(batch.at(1)) == Ids{"1"});
    CHECK(ids_of(batch.at(2)) == Ids{"4"});
    CHECK(ids_of(batch.at(3)) == Ids{"1"});
    for (std::string name : {"title", "body"}) {
      auto recall = served.ask("GET", "/docs/recall?k=2&using=" + name);
      CHECK(recall.at("recall").to_number<double>() == 1);
      CHECK(recall.at("sampled") == 3);
    }
  }
  // An upsert replaces the whole record.
  served.ask("POST", "/docs/vectors", R"({"vectors":[{"id":1,"values":{"body":[0,0,0]}}]})");
  CHECK(served.ask("GET", "/docs/vectors/1").at("values") == json::parse(R"({"body":[0,0,0]})"));
  auto left = served.ask("POST", "/docs/search", R"({"vector":[1,1],"using":"title"})");
  CHECK(ids_of(left.at("results")) == Ids{"3", "4"});
  // What has the one vector or the other goes once.
  auto gone =
      served.ask("POST", "/docs/vectors/delete", R"({"filter":{"kind":{"$in":["a","b"]}}})");
  CHECK(gone.at("deleted") == 3);
  CHECK(served.ask("GET", "/docs").at("vectors") == 1);
}

TEST_CASE("A database with one named vector need not be told which") {
  Served served;
  served.ask("POST", "", R"({"name":"one","named_vectors":{"v":{"dimension":2,"metric":"l2"}}})");
  served.ask("POST", "/one/vectors", R"({"vectors":[{"id":1,"values":{"v":[1,2]}}]})");
  for (std::string using_it : {"", R"(,"using":"v")"}) {
    auto found = served.ask("POST", "/one/search", R"({"vector":[1,2])" + using_it + "}");
    CHECK(ids_of(found.at("results")) == Ids{"1"});
  }
  CHECK(served.ask("GET", "/one/recall").at("sampled") == 1);
}

TEST_CASE(
    "What makes no sense with named vectors, or without, is refused, and nothing is written") {
  Served served;
  auto create = [](const std::string& rest) { return R"({"name":"x",)" + rest + "}"; };
  auto named = [&](const std::string& vectors, const std::string& rest = "") {
    return create(R"("named_vectors":{)" + vectors + "}" + rest);
  };
  CHECK(served.refusal_of("", named("")) == "named_vectors is empty; name at least one vector");
  CHECK(served.refusal_of("", named(R"("a":{})")) == "named_vectors.a.dimension is missing");
  CHECK(served.refusal_of("", named(R"("a":{"dimension":0})")) ==
        "named_vectors.a.dimension is 0; it must be 1 to 16384");
  CHECK(served.refusal_of("", named(R"("a":{"dimension":1},"a":{"dimension":1})")) ==
        "named_vectors has \"a\" twice");
  CHECK(served.refusal_of("", named(R"("-a":{"dimension":1})")) ==
        "named_vectors has \"-a\"; a name must be 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' "
        "and '-', the first a letter or digit");
  std::string nine;
  for (int i = 0; i < 9; ++i) {
    nine += (i ? ",\"" : "\"") + std::to_string(i) + R"(":{"dimension":1})";
  }
  CHECK(served.refusal_of("", named(nine)) == "named_vectors has more than 8 vectors");
  CHECK(served.refusal_of("", named(R"("a":{"dimension":10000},"b":{"dimension":10000})")) ==
        "the vectors of named_vectors have 80000 bytes together; at most 65536 are allowed");
  CHECK(served.refusal_of("", named(R"("a":{"dimension":1,"shards":2})")) ==
        "unknown field \"shards\" in named_vectors.a; its fields are dimension, metric, datatype");
  for (std::string other : {R"("dimension":2)", R"("metric":"l2")", R"("datatype":"uint8")"}) {
    CHECK(served.refusal_of("", named(R"("a":{"dimension":1})", "," + other)) ==
          "named_vectors and " + other.substr(1, other.find('"', 1) - 1) +
              " are given; each named vector has its own");
  }
  CHECK(served.refusal_of("", named(R"("a":{"dimension":1})", R"(,"sharding":"vector")"))
            .find("sharding is \"vector\" and named_vectors is given") == 0);
  CHECK(served.refusal_of("", named(R"("a":{"dimension":384})", R"(,"embedder":"lexical")"))
            .find("embedder and named_vectors are given") == 0);

  served.ask("POST", "", create_docs);
  served.ask("POST", "", R"({"name":"plain","dimension":2})");
  auto upsert = [&](const std::string& database, const std::string& second) {
    const char* first = database == "docs" ? R"({"title":[1,2]})" : "[1,2]";
    return served.refusal_of("/" + database + "/vectors",
                             std::string(R"({"vectors":[{"id":1,"values":)") + first +
                                 R"(},{"id":2,"values":)" + second + "}]}");
  };
  CHECK(upsert("docs", "{}") == "vectors[1].values is empty; give at least one vector");
  CHECK(
      upsert("docs", R"({"titel":[1,2]})") ==
      "vectors[1].values has \"titel\"; the vectors of database \"docs\" are \"title\", \"body\"");
  CHECK(
      upsert("docs", R"({"body":[1,2]})") ==
      "vectors[1].values.body has 2 values; vector \"body\" of database \"docs\" has dimension 3");
  CHECK(upsert("docs", R"({"title":[1,2,3]})") ==
        "vectors[1].values.title has 3 numbers and the vectors before it have 2");
  CHECK(upsert("docs", R"({"title":[1,2],"title":[1,2]})") ==
        "vectors[1].values.title is given twice");
  CHECK(upsert("docs", R"({"title":[0,0]})") ==
        "vectors[1].values.title is a zero vector, which has no direction; metric \"cosine\" needs "
        "one");
  CHECK(upsert("docs", R"({"title":[1,2],"body":[1,2,256]})") ==
        "vectors[1].values.body[2] is not a whole number from 0 to 255, as datatype \"uint8\" asks "
        "for");
  std::string many;
  for (int i = 0; i < 8; ++i) many += (i ? ",\"v" : "\"v") + std::to_string(i) + R"(":[1])";
  CHECK(upsert("docs", "{" + many + "}") ==
        "vectors[1].values.v7 is one vector too many: those before it have 8 names, which is as "
        "many as a database can have");
  CHECK(upsert("docs", "[1,2]") ==
        "vectors[1].values is an array, and the values before it are not; one request holds one "
        "kind");
  CHECK(upsert("plain", R"({"title":[1,2]})") ==
        "vectors[1].values is an object, and the values before it are not; one request holds one "
        "kind");
  CHECK(upsert("docs", "7") ==
        "vectors[1].values is a number; it must be an array, or an object of arrays by name");
  const std::string without =
      "values are given without names, but database \"docs\" has the vectors \"title\", \"body\": "
      "give them by name, in JSON as an object of one array for each";
  CHECK(served.refusal_of("/docs/vectors", R"({"vectors":[{"id":1,"values":[1,2]}]})") == without);
  const std::vector<VectorId> ids = {VectorId(uint64_t{1})};
  const float values[] = {1, 2};
  UpsertView binary;
  binary.ids = ids;
  binary.dimension = 2;
  binary.values = values;
  CHECK(served.refusal_of("/docs/vectors", encode_upsert(binary), content_type_binary) == without);
  CHECK(served.refusal_of("/plain/vectors", R"({"vectors":[{"id":1,"values":{"a":[1,2]}}]})") ==
        "values are given by name, but database \"plain\" has one vector without a name; give them "
        "as an array of numbers");
  CHECK(served.refusal_of("/docs/vectors", R"({"vectors":[{"id":1,"text":"x"}]})") ==
        "vectors[0].text is given, but database \"docs\" has no embedder; give values");
  for (std::string name : {"docs", "plain"}) {
    CHECK(served.ask("GET", "/" + name).at("vectors") == 0);
  }

  served.ask(
      "POST", "/docs/vectors",
      R"({"vectors":[{"id":1,"values":{"title":[1,2]}},{"id":2,"values":{"body":[1,2,3]}}]})");
  const std::string missing =
      "using is missing: database \"docs\" has several vectors; name one of \"title\", \"body\"";
  const std::string unknown =
      "using is \"text\"; the vectors of database \"docs\" are \"title\", \"body\"";
  CHECK(served.refusal_of("/docs/search", R"({"vector":[1,2]})") == missing);
  CHECK(served.refusal_of("/docs/search", R"({"id":1})") == missing);
  CHECK(served.refusal_of("/docs/search", R"({"vector":[1,2],"using":"text"})") == unknown);
  CHECK(served.refusal_of("/docs/search", R"({"positive":[[1,2]],"using":"text"})") == unknown);
  CHECK(served.refusal_of("/docs/search", R"({"vector":[1,2],"using":""})") ==
        "using is empty; name a vector");
  CHECK(served.refusal_of("/docs/search", R"({"vector":[1,2],"using":"body"})") ==
        "vector has 2 values; vector \"body\" of database \"docs\" has dimension 3");
  CHECK(served.refusal_of("/docs/search", R"({"positive":[[1,2]],"using":"body"})") ==
        "positive[0]: has 2 values; vector \"body\" of database \"docs\" has dimension 3");
  CHECK(served.refusal_of("/docs/search/batch",
                          R"({"searches":[{"vector":[1,2],"using":"title"},{"vector":[1,2]}]})") ==
        "searches[1]: " + missing);
  CHECK(
      served.refusal_of("/plain/search", R"({"vector":[1,2],"using":"title"})") ==
      "using is \"title\", but database \"plain\" has one vector without a name; leave using out");
  CHECK(served.refusal_of("/docs/search", R"({"text":"x","using":"title"})") ==
        "text is given, but database \"docs\" has no embedder; give vector");
  auto lacking = served.call("POST", "/docs/search", R"({"id":2,"using":"title"})");
  CHECK(lacking.status == 404);
  CHECK(lacking.body.find("id 2 has no vector \\\"title\\\" of database \\\"docs\\\"") !=
        std::string::npos);
  auto recall = [&](const std::string& query) {
    auto response = served.call("GET", query);
    CHECK(response.status == 400);
    return json::value_to<std::string>(json::parse(response.body).at("error").at("message"));
  };
  CHECK(recall("/docs/recall") == missing);
  CHECK(recall("/docs/recall?using=text") == unknown);
  CHECK(recall("/docs/recall?using=") == "using is empty; name a vector");
  CHECK(recall("/plain/recall?using=a").find("leave using out") != std::string::npos);
  auto gone = R"({"values":{"title":null,"body":null}})";
  auto no_vector = served.call("PATCH", "/docs/vectors/1", gone);
  CHECK(no_vector.status == 409);
  CHECK(no_vector.body.find("would take all its vectors away from vector 1") != std::string::npos);
  CHECK(served.call("PATCH", "/docs/vectors/404", gone).status == 404);
  auto by = [&](const std::string& name) {
    SearchRequest search;
    search.vector_name = name;
    return encode_search(search, values, 1, 2);
  };
  CHECK(served.refusal_of("/docs/search", by(""), content_type_binary) == missing);
  CHECK(served.refusal_of("/docs/search", by("text"), content_type_binary) == unknown);
  CHECK(served.refusal_of("/plain/search", by("a"), content_type_binary).find("leave using out") !=
        std::string::npos);
  const NamedView wrong[] = {{"titel", ElementType::f32, 2, values}};
  UpsertView by_name;
  by_name.ids = ids;
  by_name.named = wrong;
  CHECK(
      served.refusal_of("/docs/vectors", encode_upsert(by_name), content_type_binary) ==
      "vectors[0].values has \"titel\"; the vectors of database \"docs\" are \"title\", \"body\"");
}

TEST_CASE("Binary bodies and replies have named vectors as JSON has them") {
  Served served;
  served.ask("POST", "", create_docs);
  const std::vector<VectorId> ids = {VectorId(uint64_t{1}), VectorId("b"), VectorId(uint64_t{3})};
  const float titles[] = {3, 4, 4, 3};
  const uint32_t with_title[] = {0, 2};
  const uint8_t bodies[] = {1, 2, 3, 1, 2, 5};
  const uint32_t with_body[] = {0, 1};
  const std::vector<std::string> metadata = {"{\"kind\":\"a\"}", "", "{}"};
  const NamedView named[] = {{"title", ElementType::f32, 2, titles, with_title},
                             {"body", ElementType::u8, 3, bodies, with_body}};
  UpsertView upsert;
  upsert.ids = ids;
  upsert.metadata = metadata;
  upsert.named = named;
  auto written = served.call("POST", "/docs/vectors", encode_upsert(upsert), content_type_binary);
  REQUIRE_MESSAGE(written.status == 200, written.body);
  CHECK(served.ask("GET", "/docs/vectors/1").at("values") ==
        json::parse(R"({"title":[3,4],"body":[1,2,3]})"));
  CHECK(served.ask("GET", "/docs/vectors/%22b%22").at("values") ==
        json::parse(R"({"body":[1,2,5]})"));
  CHECK(served.ask("GET", "/docs/vectors/3").at("values") == json::parse(R"({"title":[4,3]})"));
  SearchRequest search;
  search.vector_name = "title";
  search.include_values = true;
  const float query[] = {6, 8};
  const std::string binary = encode_search(search, query, 1, 2);
  const std::string text = R"({"vector":[6,8],"using":"title","include":["values","metadata"]})";
  for (bool asked_in_json : {false, true}) {
    auto response =
        served.call("POST", "/docs/search", asked_in_json ? text : binary,
                    asked_in_json ? content_type_json : content_type_binary, content_type_binary);
    REQUIRE_MESSAGE(response.status == 200, response.body);
    auto reply = decode_search_reply(response.body);
    REQUIRE_MESSAGE(reply.ok(), reply.status().to_string());
    REQUIRE(reply->results.size() == 1);
    const auto& hits = reply->results[0].results;
    REQUIRE(hits.size() == 2);
    CHECK(hits[0].id == ids[0]);
    CHECK(hits[0].metadata == metadata[0]);
    REQUIRE(hits[0].named.size() == 2);
    CHECK(hits[0].named[0].name == "title");
    CHECK(hits[0].named[0].values == std::vector<float>{3, 4});
    CHECK(hits[0].named[1].name == "body");
    CHECK(hits[0].named[1].values == std::vector<float>{1, 2, 3});
    CHECK(hits[1].id == ids[2]);
    REQUIRE(hits[1].named.size() == 1);
    CHECK(hits[1].named[0].values == std::vector<float>{4, 3});
  }
  // And the other way round.
  auto answered = served.call("POST", "/docs/search", binary, content_type_binary);
  REQUIRE_MESSAGE(answered.status == 200, answered.body);
  CHECK(ids_of(json::parse(answered.body).at("results")) == Ids{"1", "3"});
}

TEST_CASE("Both vectors of many records are indexed, and found beside brute force") {
  Served served;
  served.ask("POST", "", R"({"name":"many","shards":2,"index":{"type":"hnsw"},"named_vectors":{
      "a":{"dimension":8,"metric":"l2"},"b":{"dimension":12,"metric":"l2","datatype":"float16"}}})");
  std::mt19937 random(3);
  auto draw = [&](size_t n) {
    std::vector<double> out(n);
    for (double& value : out) value = static_cast<int>(random() % 64);
    return out;
  };
  std::map<int, std::map<std::string, std::vector<double>>> rows;
  for (int first = 0; first < 4000; first += 500) {
    json::array vectors;
    for (int id = first; id < first + 500; ++id) {
      if (id % 4 != 0) rows[id]["a"] = draw(8);
      if (id % 4 != 1) rows[id]["b"] = draw(12);
      vectors.push_back({{"id", id}, {"values", json::value_from(rows[id])}});
    }
    served.ask("POST", "/many/vectors", json::serialize(json::object{{"vectors", vectors}}));
  }
  for (std::string name : {"a", "b"}) {
    for (bool exact : {true, false}) {
      int found = 0;
      for (int q = 0; q < 20; ++q) {
        auto query = draw(name == "a" ? 8 : 12);
        std::vector<double> all;
        for (const auto& [id, vectors] : rows) {
          auto own = vectors.find(name);
          if (own == vectors.end()) continue;
          double sum = 0;
          for (size_t i = 0; i < query.size(); ++i) sum += std::pow(query[i] - own->second[i], 2);
          all.push_back(std::sqrt(sum));
        }
        std::sort(all.begin(), all.end());
        json::object body{{"vector", json::value_from(query)}, {"using", name}, {"exact", exact}};
        auto hits = served.ask("POST", "/many/search", json::serialize(body)).at("results");
        REQUIRE(hits.as_array().size() == 10);
        for (size_t i = 0; i < 10; ++i) {
          double score = hits.at(i).at("score").to_number<double>();
          if (exact) CHECK(score == doctest::Approx(all[i]));
          found += score <= all[9] + 1e-4;
        }
      }
      CHECK(found > 190);
    }
  }
}

}  // namespace jade
