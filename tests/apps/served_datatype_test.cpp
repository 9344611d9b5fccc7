// Databases of every datatype over HTTP, on a node with its server.
#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <cmath>

#include "index/datatype.h"
#include "tests/apps/served.h"

namespace jade {
namespace {

std::vector<double> values_of(const json::value& vector) {
  return json::value_to<std::vector<double>>(vector.at("values"));
}

std::string create(const std::string& name, const std::string& metric, Datatype datatype) {
  return R"({"name":")" + name + R"(","dimension":3,"metric":")" + metric + R"(","datatype":")" +
         std::string(to_string(datatype)) + "\"}";
}

}  // namespace

TEST_CASE("Vectors of every datatype are written, found and read over HTTP, also after a restart") {
  Served served;
  for (Datatype datatype : {Datatype::float32, Datatype::float16, Datatype::uint8}) {
    for (std::string metric : {"l2", "dot", "cosine"}) {
      const std::string name = metric + "-" + std::string(to_string(datatype));
      auto created = served.ask("POST", "", create(name, metric, datatype));
      CHECK(created.at("datatype") == json::string(to_string(datatype)));
      std::string first = datatype == Datatype::uint8 ? "[3,0,255]" : "[0.1,-2,1000]";
      served.ask("POST", "/" + name + "/vectors",
                 R"({"vectors":[{"id":1,"values":)" + first +
                     R"(,"metadata":{"n":1}},{"id":2,"values":[200,100,0]},)"
                     R"({"id":3,"values":[0,1,0]}]})");
    }
  }
  for (int round = 0; round < 2; ++round) {
    for (Datatype datatype : {Datatype::float32, Datatype::float16, Datatype::uint8}) {
      for (std::string metric : {"l2", "dot", "cosine"}) {
        const std::string name = metric + "-" + std::string(to_string(datatype));
        CAPTURE(name);
        CAPTURE(round);
        CHECK(served.ask("GET", "/" + name).at("datatype") == json::string(to_string(datatype)));
        // As they are stored: the nearest half.
        std::vector<double> stored = {3, 0, 255};
        if (datatype != Datatype::uint8) stored = {0, -2, 1000};
        if (datatype == Datatype::float32) stored[0] = static_cast<double>(0.1f);
        if (datatype == Datatype::float16) stored[0] = 0.0999755859375;
        auto one = served.ask("GET", "/" + name + "/vectors/1");
        for (size_t i = 0; i < 3; ++i) {
          CHECK(values_of(one)[i] == doctest::Approx(stored[i]).epsilon(1e-7));
        }
        CHECK(values_of(served.ask("GET", "/" + name + "/vectors/2")) ==
              std::vector<double>{200, 100, 0});
        auto listed = served.ask("GET", "/" + name + "/vectors?include=values");
        CHECK(listed.at("vectors").as_array().size() == 3);

        // By whole numbers, by fractions, and by a stored vector.
        for (std::string query : {R"("vector":[198,101,2])", R"("vector":[198.5,101.5,-2.25])",
                                  R"("vector":[198,101,2],"exact":true)"}) {
          auto found = served.ask("POST", "/" + name + "/search",
                                  "{" + query + R"(,"k":3,"include":["values"]})");
          auto& best = found.at("results").at(0);
          CHECK(best.at("id") == 2);
          CHECK(values_of(best) == std::vector<double>{200, 100, 0});
          double x = query.find('.') == std::string::npos ? 198 : 198.5;
          double y = x == 198 ? 101 : 101.5, z = x == 198 ? 2 : -2.25;
          double dot = 200 * x + 100 * y;
          double expected = metric == "dot" ? dot
                            : metric == "l2"
                                ? std::sqrt((200 - x) * (200 - x) + (100 - y) * (100 - y) + z * z)
                                : dot / std::sqrt(50'000 * (x * x + y * y + z * z));
          CHECK(best.at("score").to_number<double>() == doctest::Approx(expected).epsilon(1e-5));
        }
        auto by_id = served.ask("POST", "/" + name + "/search", R"({"id":2,"k":1})");
        int expected_near = metric == "dot" && datatype == Datatype::uint8 ? 1 : 3;
        CHECK(by_id.at("results").at(0).at("id") == expected_near);
        auto filtered = served.ask("POST", "/" + name + "/search",
                                   R"({"vector":[1,1,1],"k":3,"filter":{"n":1}})");
        CHECK(filtered.at("results").as_array().size() == 1);
      }
    }
    served.restart();
  }
}

TEST_CASE("Values that a datatype does not have are refused, and nothing is written") {
  Served served;
  served.ask("POST", "", create("halves", "cosine", Datatype::float16));
  served.ask("POST", "", create("bytes", "l2", Datatype::uint8));
  auto two = [](std::string second) {
    return R"({"vectors":[{"id":1,"values":[1,2,3]},{"id":2,"values":)" + second + "}]}";
  };
  CHECK(served.refusal_of("/halves/vectors", two("[1,70000,2]")) ==
        "vectors[1].values[1] is not between -65504 and 65504, as datatype \"float16\" asks for");
  // It would be stored as zeros.
  CHECK(served.refusal_of("/halves/vectors", two("[1e-9,0,0]")) ==
        "vectors[1].values, as datatype \"float16\" stores it, is a zero vector, which has no "
        "direction; metric \"cosine\" needs one");
  for (const char* wrong : {"[1,2,256]", "[1,2,-1]", "[1,2,0.5]"}) {
    CHECK(served.refusal_of("/bytes/vectors", two(wrong)) ==
          "vectors[1].values[2] is not a whole number from 0 to 255, as datatype \"uint8\" asks "
          "for");
  }
  for (std::string name : {"halves", "bytes"}) {
    CHECK(served.ask("GET", "/" + name).at("vectors") == 0);
  }
  CHECK(served.refusal_of("", R"({"name":"a","dimension":3,"datatype":"int8"})") ==
        "datatype \"int8\" is unknown; use \"float32\", \"float16\" or \"uint8\"");
  CHECK(served.refusal_of(
            "", R"({"name":"a","dimension":384,"embedder":"lexical","datatype":"uint8"})") ==
        "datatype is \"uint8\", but embedders make vectors of fractions; use \"float16\" or "
        "\"float32\"");
  // Halves of them are fine.
  served.ask("POST", "",
             R"({"name":"texts","dimension":384,"embedder":"lexical","datatype":"float16"})");
  served.ask("POST", "/texts/vectors", R"({"vectors":[{"id":1,"text":"a red house"}]})");
  auto found = served.ask("POST", "/texts/search", R"({"text":"red houses","k":1})");
  CHECK(found.at("results").at(0).at("id") == 1);
}

}  // namespace jade
