// What a server says of requests that make no sense, or would be of another effect than meant.
#include "tests/apps/served.h"

namespace jade {

TEST_CASE("Options of another type of index are refused, when it is changed and of searches") {
  Served served;
  served.ask("POST", "", R"({"name":"a","dimension":2,"metric":"l2"})");
  auto changed = [&](const std::string& index) {
    auto response = served.call("PATCH", "/a", R"({"index":)" + index + "}");
    if (response.status == 200) return std::string("ok");
    CHECK(response.status == 400);
    return json::value_to<std::string>(json::parse(response.body).at("error").at("message"));
  };
  CHECK(changed(R"({"nprobe":5})") == "index.nprobe needs index.type \"ivf\"; it is \"hnsw\"");
  CHECK(changed(R"({"type":"ivf","ef_search":9})") ==
        "index.ef_search needs index.type \"hnsw\" or \"auto\"; it is \"ivf\"");
  CHECK(changed(R"({"ef_search":99})") == "ok");
  CHECK(changed(R"({"type":"ivf","nprobe":5})") == "ok");
  // As it is described it can be made anew.
  auto index = served.ask("GET", "/a").at("index");
  CHECK(index == json::parse(R"({"type":"ivf","nlist":0,"nprobe":5})"));
  served.ask("POST", "",
             json::serialize(json::object{{"name", "b"}, {"dimension", 2}, {"index", index}}));
  CHECK(changed(R"({"quantization":"sq4"})") ==
        "index.quantization needs index.type \"hnsw\" or \"auto\"; it is \"ivf\"");
  CHECK(served.refusal_of("/a/search", R"({"vector":[1,2],"ef_search":9})") ==
        "ef_search needs index.type \"hnsw\" or \"auto\"; it is \"ivf\"");
  served.ask("POST", "/a/search", R"({"vector":[1,2],"nprobe":9})");
  CHECK(served.call("GET", "/a/recall?ef_search=9").status == 400);
  CHECK(served.call("GET", "/a/recall?k=1&k=2").status == 400);
  CHECK(changed(R"({"type":"auto"})") == "ok");
  CHECK(served.ask("GET", "/a").at("index").at("ef_search") == 99);
  CHECK(served.refusal_of("/a/search", R"({"vector":[1,2],"nprobe":9})") ==
        "nprobe needs index.type \"ivf\"; it is \"auto\"");
}

TEST_CASE("Numbers that are none, or too large, are refused where they are") {
  Served served;
  served.ask("POST", "", R"({"name":"a","dimension":2,"metric":"l2"})");
  auto upserted = [&](const std::string& values, const std::string& metadata = "{}") {
    return served.refusal_of("/a/vectors", R"({"vectors":[{"id":1,"values":)" + values +
                                               R"(,"metadata":)" + metadata + "}]}");
  };
  const std::string beyond = "; it must be a number within the range of a 32-bit float";
  CHECK(upserted("[1,1e400]") == "vectors[0].values[1] is 1e400" + beyond);
  CHECK(upserted("[1,1e39]") == "vectors[0].values[1] is 1e+39" + beyond);
  CHECK(upserted("[01,1]") == "vectors[0].values[0] is 01, which is no number of JSON");
  CHECK(upserted("[1,1e]") == "vectors[0].values[1] is 1e, which is no number of JSON");
  CHECK(upserted("[1,1]", R"({"a":1e400})").find("vectors[0].metadata: the number at byte ") == 0);
  CHECK(upserted("[1,1]", R"({"a":01})").find("vectors[0].metadata: not a JSON object") == 0);
  CHECK(upserted("[1,2,3]") == "vectors[0].values has 3 values; database \"a\" has dimension 2");
  CHECK(served.refusal_of("/a/search", R"({"vector":[1,1],"filter":{"a":{"$gt":1e400}}})")
            .find("filter: the number at byte ") == 0);
}

TEST_CASE("Long vectors are refused by name, so that every score is a number") {
  Served served;
  served.ask("POST", "", R"({"name":"a","dimension":2,"metric":"l2"})");
  CHECK(served.refusal_of("/a/vectors",
                          R"({"vectors":[{"id":1,"values":[1,2]},{"id":2,"values":[1e19,0]}]})") ==
        "vectors[1].values has a length of 1e+19; with metric \"l2\" it must be at most 1e+18, so "
        "that no distance overflows");
  served.ask("POST", "/a/vectors", R"({"vectors":[{"id":1,"values":[1e18,0]}]})");
  auto found = served.ask("POST", "/a/search", R"({"vector":[-1e18,0]})");
  CHECK(found.at("results").at(0).at("score").to_number<double>() == doctest::Approx(2e18));
}

}  // namespace jade
