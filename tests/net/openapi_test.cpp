#include "net/openapi.h"

#include <boost/json.hpp>
#include <map>
#include <set>
#include <vector>

#include "net/json_codec.h"
#include "net/router.h"
#include "tests/net/server_fixture.h"

namespace jade {
namespace {

using Names = std::set<std::string>;

boost::json::value document() {
  auto text = openapi_document();
  return boost::json::parse(boost::json::string_view(text.data(), text.size()));
}

// "GET /v1/databases/{db} describe_database"
Names documented() {
  Names all;
  boost::json::value spec = document();
  for (const auto& [path, item] : spec.at("paths").as_object()) {
    for (const auto& [key, operation] : item.as_object()) {
      if (key == "parameters") continue;
      std::string method(key);
      for (char& c : method) c = static_cast<char>(std::toupper(c));
      all.insert(method + " " + std::string(path) + " " +
                 std::string(operation.at("operationId").as_string()));
    }
  }
  return all;
}

TEST_CASE("the document and the router know the same routes") {
  Names routed;
  for (const Route& route : routes()) {
    routed.insert(std::string(to_string(route.method)) + " " + std::string(route.pattern) + " " +
                  std::string(route.name));
  }
  CHECK(routed == documented());
  for (size_t i = 0; i < routes().size(); ++i) CHECK(static_cast<size_t>(routes()[i].id) == i);
}

TEST_CASE("every documented operation is answered by the server") {
  test::ServerFixture f;
  boost::json::value spec = document();
  for (const auto& [path, item] : spec.at("paths").as_object()) {
    for (const auto& [key, operation] : item.as_object()) {
      if (key == "parameters") continue;
      std::string method(key), target(path);
      for (char& c : method) c = static_cast<char>(std::toupper(c));
      for (std::string name : {"{db}", "{id}", "{node}", "{shard}"}) {
        if (size_t at = target.find(name); at != std::string::npos) {
          target.replace(at, name.size(), "x");
        }
      }
      CAPTURE(method);
      CAPTURE(target);
      auto response =
          f.call(method, target, operation.as_object().contains("requestBody") ? "{" : "");
      CHECK(response.status != 405);
      CHECK(response.status != 415);
      // A database that is not there is 404 as well, and says so.
      if (response.status == 404) {
        bool named = response.body.find("no database x") != std::string::npos ||
                     response.body.find("no node x") != std::string::npos ||
                     response.body.find("no shard x") != std::string::npos;
        CHECK(named);
      }
    }
  }
}

TEST_CASE("the schemas have the fields that the decoders read") {
  boost::json::value spec = document();
  auto check = [&](const char* schema, std::span<const std::string_view> fields) {
    CAPTURE(schema);
    const auto& object = spec.at("components").at("schemas").at(schema);
    Names described, read(fields.begin(), fields.end());
    for (const auto& property : object.at("properties").as_object()) {
      described.insert(std::string(property.key()));
    }
    CHECK(described == read);
    CHECK(object.at("additionalProperties") == false);
  };
  check("CreateDatabase", json_fields::create());
  check("NamedVector", json_fields::named_vector());
  check("AlterDatabase", json_fields::alter());
  check("IndexOptions", json_fields::index());
  check("Upsert", json_fields::upsert());
  check("UpsertVector", json_fields::upsert_vector());
  check("UpdateVectors", json_fields::update());
  check("UpdateVector", json_fields::update_vector());
  check("PatchVector", json_fields::patch_vector());
  check("DeleteVectors", json_fields::remove());
  check("Search", json_fields::search());
  check("SearchBatch", json_fields::search_batch());
}

TEST_CASE("required fields are required") {
  boost::json::value spec = document();
  const auto& schema = spec.at("components").at("schemas").at("CreateDatabase");
  REQUIRE(schema.at("required").as_array().size() == 1);
  REQUIRE(schema.at("oneOf").as_array().size() == 2);
  const std::map<std::string, boost::json::value> values = {
      {"name", "a"},
      {"dimension", 1},
      {"named_vectors", boost::json::object{{"b", boost::json::object{{"dimension", 1}}}}}};
  for (const auto& choice : schema.at("oneOf").as_array()) {
    std::vector<std::string> required;
    for (const auto* list : {&schema.at("required"), &choice.at("required")}) {
      for (const auto& field : list->as_array()) required.emplace_back(field.as_string());
    }
    REQUIRE(required.size() == 2);
    boost::json::object body;
    for (const std::string& field : required) body[field] = values.at(field);
    std::string whole = boost::json::serialize(body);
    CHECK(decode_create(whole).ok());
    for (const std::string& field : required) {
      boost::json::object without = body;
      without.erase(field);
      std::string partial = boost::json::serialize(without);
      std::string missing = field == "name" ? field : "dimension";
      CHECK(decode_create(partial).status().message() == missing + " is missing");
    }
  }
}

TEST_CASE("every reference resolves") {
  boost::json::value spec = document();
  std::string text(openapi_document());
  const auto& schemas = spec.at("components").at("schemas").as_object();
  std::string_view mark = "#/components/schemas/";
  size_t references = 0;
  for (size_t at = text.find(mark); at != text.npos; at = text.find(mark, at + 1)) {
    size_t start = at + mark.size();
    CHECK(schemas.contains(text.substr(start, text.find('"', start) - start)));
    ++references;
  }
  CHECK(references > 20);
}

}  // namespace
}  // namespace jade
