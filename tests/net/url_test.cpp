#include "net/url.h"

#include <doctest/doctest.h>

namespace jade {
namespace {

TEST_CASE("percent encoding goes both ways") {
  CHECK(*percent_decode("a%20b%2Fc+d") == "a b/c+d");
  CHECK(*percent_decode("a+b", true) == "a b");
  for (const char* bad : {"%", "%1", "%g0", "a%", "%00"}) CHECK(!percent_decode(bad).ok());
  std::string all;
  for (int c = 1; c < 256; ++c) all.push_back(static_cast<char>(c));
  CHECK(*percent_decode(percent_encode(all), true) == all);
}

TEST_CASE("an id in a URL is one thing only") {
  CHECK(*parse_id("42") == VectorId(42));
  CHECK(*parse_id("0") == VectorId(0));
  CHECK(*parse_id("\"42\"") == VectorId("42"));
  CHECK(*parse_id("007") == VectorId("007"));
  CHECK(*parse_id("-1") == VectorId("-1"));
  CHECK(*parse_id("18446744073709551615") == VectorId(UINT64_MAX));
  CHECK(*parse_id("18446744073709551616") == VectorId("18446744073709551616"));
  CHECK(*parse_id("a\"b") == VectorId("a\"b"));
  for (const char* bad : {"", "\"", "\"a", "\"a\"b", "\"\"", "\xff"}) CHECK(!parse_id(bad).ok());
  for (const VectorId& id : {VectorId(7), VectorId("7"), VectorId("\"7\""), VectorId("a/b\\é")}) {
    CHECK(*parse_id(format_id(id)) == id);
  }
}

TEST_CASE("queries and endpoints are taken apart") {
  auto query = parse_query("a=1&b=x%26y&c&&d=");
  REQUIRE(query.ok());
  CHECK(*query == Query{{"a", "1"}, {"b", "x&y"}, {"c", ""}, {"d", ""}});
  CHECK(!parse_query("a=%").ok());
  CHECK(parse_query("a=1&b=2&%61=1").status() ==
        invalid_argument("query parameter \"a\" is given twice"));
  auto check = [](const char* url, const char* host, const char* port) {
    auto endpoint = parse_endpoint(url);
    REQUIRE(endpoint.ok());
    CHECK(endpoint->host == host);
    CHECK(endpoint->port == port);
  };
  check("http://127.0.0.1:8080", "127.0.0.1", "8080");
  check("localhost", "localhost", "8080");
  check("http://[::1]:9/", "::1", "9");
  for (const char* bad : {"", "https://x:1", "http://", "x:0", "x:99999", "x:y", "http://x:1/p",
                          "[::1", "http://a@b:1"}) {
    CAPTURE(bad);
    CHECK(!parse_endpoint(bad).ok());
  }
}

}  // namespace
}  // namespace jade
