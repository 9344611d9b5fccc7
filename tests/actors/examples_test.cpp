#include "actors/examples.h"

#include <doctest/doctest.h>

#include <limits>

namespace jade {
namespace {

DatabaseSpec spec_of(Metric metric) {
  DatabaseSpec spec;
  spec.name = "a";
  spec.dimension = 2;
  spec.metric = metric;
  return spec;
}

Example of_id(uint64_t id) { return {VectorId(id), {}}; }
Example of_values(std::vector<float> values) { return {std::nullopt, std::move(values)}; }

}  // namespace

TEST_CASE("examples become one vector") {
  SearchRequest search;
  search.positive = {of_id(1), of_values({3, 4})};
  CHECK(ids_of_examples(search) == std::vector<VectorId>{VectorId(uint64_t{1})});
  REQUIRE(check_question(spec_of(Metric::l2), search).ok());
  REQUIRE(combine_examples(spec_of(Metric::l2), search, {{1, 0}}).ok());
  CHECK(search.vector == std::vector<float>{2, 2});
  CHECK(!has_examples(search));

  SearchRequest away;
  away.positive = {of_values({2, 0})};
  away.negative = {of_id(5), of_id(6)};
  REQUIRE(combine_examples(spec_of(Metric::dot), away, {{0, 2}, {2, 2}}).ok());
  CHECK(away.vector == std::vector<float>{3, -2});

  // Under cosine only directions count.
  SearchRequest turned;
  turned.positive = {of_values({100, 0}), of_values({0, 1})};
  REQUIRE(combine_examples(spec_of(Metric::cosine), turned, {}).ok());
  CHECK(turned.vector[0] == doctest::Approx(turned.vector[1]));

  SearchRequest like;
  like.id = VectorId(uint64_t{9});
  REQUIRE(combine_examples(spec_of(Metric::cosine), like, {{3, 4}}).ok());
  CHECK(like.vector == std::vector<float>{3, 4});
}

TEST_CASE("examples that cannot be are refused") {
  auto why = [](const SearchRequest& search, DatabaseSpec spec = spec_of(Metric::l2)) {
    Status status = check_question(spec, search);
    CHECK(status.code() == Code::invalid_argument);
    return status.message();
  };
  SearchRequest search;
  CHECK(why(search).find("exactly one of") != std::string::npos);
  search.positive = {of_values({1})};
  CHECK(why(search) == "positive[0]: has 1 values; database \"a\" has dimension 2");
  search.positive = {of_values({1, std::numeric_limits<float>::infinity()})};
  CHECK(why(search) == "positive[0]: [1] is not a finite number");
  search.positive = {of_id(1)};
  search.vector = {1, 2};
  CHECK(why(search).find("exactly one of") != std::string::npos);
  search = SearchRequest();
  search.vector = {1, 2};
  search.negative = {of_id(1)};
  CHECK(why(search).find("negative is given without positive") != std::string::npos);
  search = SearchRequest();
  search.id = VectorId(std::string());
  CHECK(why(search).find("id") == 0);
  DatabaseSpec keyed = spec_of(Metric::l2);
  keyed.shard_key = "tenant";
  search.id = VectorId(uint64_t{1});
  CHECK(why(search, keyed).find("key is missing") != std::string::npos);

  SearchRequest cancelled;
  cancelled.positive = {of_values({1, 0}), of_values({-2, 0})};
  CHECK(combine_examples(spec_of(Metric::cosine), cancelled, {}).message().find("cancel") !=
        std::string::npos);
}

}  // namespace jade
