#include "apps/import/existing_database.h"

#include <doctest/doctest.h>

#include <string>

namespace jade {
namespace {

std::string check(const std::string& wanted, const std::string& there) {
  Status status = check_existing(boost::json::parse(wanted).as_object(), boost::json::parse(there));
  return status.ok() ? "" : status.message();
}

constexpr const char* films =
    R"({"name":"films","dimension":3,"metric":"cosine","shards":2,"shard_key":"",
        "index":{"type":"hnsw","quantization":"sq8"}})";
constexpr const char* docs = R"({"name":"docs","named_vectors":{"title":{"dimension":4}}})";

}  // namespace

TEST_CASE("what was not asked for may be anything") {
  CHECK(check("{}", films).empty());
  CHECK(check(R"({"dimension":3,"index":{"type":"hnsw"},"shard_key":""})", films).empty());
  CHECK(check(R"({"named_vectors":{"title":{"dimension":4}}})", docs).empty());
}

TEST_CASE("a database may have been split since it was made as asked for") {
  CHECK(check(R"({"shards":2})", films).empty());
  CHECK(check(R"({"shards":1})", films).empty());
  CHECK_FALSE(check(R"({"shards":3})", films).empty());
}

TEST_CASE("what differs is named, with both values") {
  CHECK(
      check(R"({"metric":"l2","dimension":3})", films) ==
      "the database \"films\" exists already: its metric is \"cosine\", and \"l2\" was asked for. "
      "Leave that option out, or --create; nothing was changed");
  auto differs = [](const std::string& wanted, const char* there, const std::string& what) {
    return check(wanted, there).find(": its " + what + " was asked for.") != std::string::npos;
  };
  CHECK(differs(R"({"dimension":4})", films, "dimension is 3, and 4"));
  CHECK(differs(R"({"index":{"quantization":"pq"}})", films,
                "index.quantization is \"sq8\", and \"pq\""));
  CHECK(differs(R"({"shard_key":"t"})", films, "shard_key is \"\", and \"t\""));
  CHECK(differs(R"({"dimension":4})", docs, "dimension is none, and 4"));
  CHECK(differs(R"({"named_vectors":{"title":{"dimension":5}}})", docs,
                "named_vectors.title.dimension is 4, and 5"));
  CHECK(differs(R"({"named_vectors":{"body":{"dimension":5}}})", docs,
                "named_vectors.body.dimension is none, and 5"));
}

TEST_CASE("what is no description is said to be none") {
  for (const char* odd : {"[]", "{}", "7"}) {
    CHECK(check("{}", odd) == "the server does not describe its database");
  }
}

}  // namespace jade
