#include "actors/grouping.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "actors/random.h"
#include "index/filter.h"

namespace jade {
namespace {

struct Row {
  uint64_t id;
  float score;
  std::string metadata;
};

// What a database answers that has these rows, best first.
SearchReply answer(const std::vector<Row>& rows, const SearchRequest& search) {
  auto filter = parse_filter(search.filter, composed_filter);
  REQUIRE_MESSAGE(filter.ok(), filter.status().to_string());
  SearchReply reply;
  for (const Row& row : rows) {
    if (reply.results.size() == search.k) break;
    if (filter->matches(row.metadata)) {
      reply.results.push_back({VectorId(row.id), row.score, row.metadata, {}});
    }
  }
  return reply;
}

struct Run {
  Status status;
  SearchReply reply;
  size_t searches = 0;
};

// `rows_max`: how many all answers of a round may have together.
Run run(const std::vector<Row>& rows, const SearchRequest& search, Metric metric = Metric::dot,
        const DatabaseSpec& spec = {}, size_t rows_max = SIZE_MAX) {
  Run out;
  REQUIRE(check_grouping(search).ok());
  Grouping groups(search, spec, metric);
  while (true) {
    auto round = groups.next();
    if (round.empty()) break;
    std::vector<SearchReply> replies;
    size_t found = 0;
    for (const SearchRequest& one : round) {
      replies.push_back(answer(rows, one));
      found += replies.back().results.size();
    }
    out.searches += round.size();
    if (found > rows_max) {
      if (groups.narrow()) continue;
      out.status = Status(Code::too_large, "the answer would be too large");
      return out;
    }
    out.status = groups.take(std::move(replies));
    if (!out.status.ok()) return out;
  }
  out.reply = groups.finish();
  return out;
}

SearchRequest search_of(std::string field, uint32_t k, uint32_t size) {
  SearchRequest search;
  search.vector = {1};
  search.group_by = std::move(field);
  search.group_size = size;
  search.k = k;
  return search;
}

}  // namespace

TEST_CASE("groups are those that brute force finds, however uneven they are") {
  uint64_t random = 7;
  for (int round = 0; round < 200; ++round) {
    std::vector<Row> rows;
    size_t n = next_random(random) % 3000;
    uint64_t values = 1 + next_random(random) % 40;
    for (size_t i = 0; i < n; ++i) {
      // Most are of few groups, and those are the best.
      uint64_t spread = 1 + next_random(random) % values;
      uint64_t value = next_random(random) % spread;
      std::string metadata = next_random(random) % 10 == 0 ? R"({"x":1})"
                             : value % 2 == 0 ? R"({"a":{"b":"v)" + std::to_string(value) + "\"}}"
                                              : R"({"a":{"b":)" + std::to_string(value) + "}}";
      rows.push_back({i, -static_cast<float>(i / 2) - static_cast<float>(value * 20), metadata});
    }
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
      return a.score != b.score ? a.score > b.score : a.id < b.id;
    });
    SearchRequest search = search_of("a.b", 1 + static_cast<uint32_t>(next_random(random) % 30),
                                     1 + static_cast<uint32_t>(next_random(random) % 5));
    search.offset = static_cast<uint32_t>(next_random(random) % 3);
    if (round % 3 == 0) search.filter = R"({"a.b":{"$ne":"v2"}})";

    std::vector<std::string> order;
    std::map<std::string, std::vector<uint64_t>> expected;
    auto filter = parse_filter(search.filter.empty() ? "{}" : search.filter);
    for (const Row& row : rows) {
      if (row.metadata == R"({"x":1})" || !filter->matches(row.metadata)) continue;
      auto& ids = expected[row.metadata];
      if (ids.empty()) order.push_back(row.metadata);
      if (ids.size() < search.group_size) ids.push_back(row.id);
    }
    order.erase(order.begin(), order.begin() + std::min<size_t>(order.size(), search.offset));
    if (order.size() > search.k) order.resize(search.k);

    Run found = run(rows, search);
    REQUIRE(found.status.ok());
    CHECK(found.reply.grouped);
    REQUIRE(found.reply.groups.size() == order.size());
    for (size_t g = 0; g < order.size(); ++g) {
      CHECK(R"({"a":{"b":)" + found.reply.groups[g].value + "}}" == order[g]);
      std::vector<uint64_t> ids;
      for (const SearchHit& hit : found.reply.groups[g].results) ids.push_back(hit.id.integer());
      CHECK(ids == expected[order[g]]);
    }
  }
}

TEST_CASE("where answers may have little, groups are found by smaller ones") {
  std::vector<Row> rows;
  for (uint64_t i = 0; i < 3000; ++i) {
    rows.push_back({i, -static_cast<float>(i), R"({"g":)" + std::to_string(i / 20 % 40) + "}"});
  }
  for (bool metadata : {true, false}) {
    SearchRequest search = search_of("g", 30, 25);
    search.include_metadata = metadata;
    auto all = run(rows, search).reply.groups;
    REQUIRE(all.size() == 30);
    for (size_t rows_max : {25, 60, 1000}) {
      Run found = run(rows, search, Metric::dot, {}, rows_max);
      REQUIRE_MESSAGE(found.status.ok(), found.status.to_string());
      REQUIRE(found.reply.groups.size() == all.size());
      for (size_t g = 0; g < all.size(); ++g) {
        CHECK(found.reply.groups[g].value == all[g].value);
        REQUIRE(found.reply.groups[g].results.size() == 25);
        CHECK(found.reply.groups[g].results.back().id == all[g].results.back().id);
      }
    }
    // One group alone has more.
    CHECK(run(rows, search, Metric::dot, {}, 24).status.code() == Code::too_large);
  }
}

TEST_CASE("what was found is refused where it is more than an answer may have") {
  std::vector<Row> rows;
  const std::string text(Limits::metadata_bytes_max / 2, 'x');
  for (uint64_t i = 0; i < 6000; ++i) {
    rows.push_back({i, -static_cast<float>(i),
                    R"({"g":)" + std::to_string(i / 10) + R"(,"t":")" + text + R"("})"});
  }
  SearchRequest search = search_of("g", 500, 10);
  CHECK(run(rows, search, Metric::dot, {}, 1000).status.code() == Code::too_large);
  search.include_metadata = false;
  CHECK(run(rows, search, Metric::dot, {}, 1000).reply.groups.size() == 500);
}

TEST_CASE("one search is enough where its answer has all groups in full") {
  std::vector<Row> rows;
  for (uint64_t i = 0; i < 30; ++i) {
    rows.push_back({i, -static_cast<float>(i), R"({"g":)" + std::to_string(i % 3) + "}"});
  }
  CHECK(run(rows, search_of("g", 3, 2)).searches == 1);
  // Fewer vectors than asked for: there are no others.
  CHECK(run(rows, search_of("g", 50, 50)).searches == 1);
}

TEST_CASE("under l2 less is better; metadata comes back only if asked for") {
  std::vector<Row> rows{{1, 0.5f, R"({"g":true})"}, {2, 1.5f, R"({"g":null})"}};
  SearchRequest search = search_of("g", 2, 1);
  auto found = run(rows, search, Metric::l2).reply.groups;
  REQUIRE(found.size() == 2);
  CHECK(found[0].value == "true");
  CHECK(found[1].value == "null");
  CHECK(found[0].results[0].metadata == R"({"g":true})");
  search.include_metadata = false;
  CHECK(run(rows, search, Metric::l2).reply.groups[0].results[0].metadata.empty());
}

TEST_CASE("with a shard key, the same id of two values of it is two vectors") {
  std::vector<Row> rows{
      {1, 3, R"({"g":1,"t":"x"})"}, {1, 2, R"({"g":1,"t":"y"})"}, {2, 1, R"({"g":1,"t":"x"})"}};
  DatabaseSpec spec;
  spec.shard_key = "t";
  // Also where rounds find them again.
  for (uint32_t size : {2u, 3u, 50u}) {
    auto found = run(rows, search_of("g", 1, size), Metric::dot, spec).reply.groups;
    REQUIRE(found.size() == 1);
    CHECK(found[0].results.size() == std::min(size, 3u));
    CHECK(found[0].results[1].metadata == rows[1].metadata);
  }
}

TEST_CASE("with a shard key, equal scores come in the order of it, and only then of ids") {
  // As a search has them.
  const std::vector<Row> rows{{10, 1, R"({"g":1,"t":"a"})"},
                              {11, 1, R"({"g":2,"t":"a"})"},
                              {1, 1, R"({"g":3,"t":"b"})"},
                              {2, 1, R"({"g":4,"t":"b"})"},
                              {0, 1, R"({"g":4,"t":"c"})"}};
  DatabaseSpec spec;
  spec.shard_key = "t";
  std::string pages;
  for (uint32_t offset : {0u, 2u}) {
    SearchRequest search = search_of("g", 2, 2);
    search.offset = offset;
    for (const SearchGroup& group : run(rows, search, Metric::dot, spec).reply.groups) {
      pages += group.value + ":";
      for (const SearchHit& hit : group.results) pages += hit.id.to_string() + ",";
    }
  }
  CHECK(pages == "1:10,2:11,3:1,4:2,0,");
}

TEST_CASE("a filter as long as any may be can be added to") {
  std::vector<Row> rows;
  for (uint64_t i = 0; i < 4000; ++i) {
    rows.push_back({i, -static_cast<float>(i), R"({"g":)" + std::to_string(i / 8) + "}"});
  }
  SearchRequest search = search_of("g", Limits::groups_max, 8);
  search.filter = R"({"g":{"$nin":[)";
  for (size_t i = 0; i < FilterLimits().clauses - 1; ++i) {
    search.filter += (i == 0 ? "" : ",") + std::to_string(100'000 + i);
  }
  search.filter += "]}}";
  std::string deep = search.filter, deeper = deep;
  for (; parse_filter(deeper).ok(); deeper = R"({"$or":[)" + deep + "]}") deep = deeper;
  for (const std::string& filter : {search.filter, deep}) {
    REQUIRE(parse_filter(filter).ok());
    search.filter = filter;
    auto found = run(rows, search);
    CHECK(found.status.ok());
    CHECK(found.reply.groups.size() == Limits::groups_max);
  }
}

TEST_CASE("groups that cannot be are refused") {
  for (const char* metadata : {R"({"g":["a"]})", R"({"g":{"h":1}})"}) {
    Status status = run({{1, 1, metadata}}, search_of("g", 2, 1)).status;
    CHECK(status.code() == Code::invalid_argument);
    CHECK(status.message().find("field \"g\" of vector 1 is an ") != std::string::npos);
  }
  // Both are the field by its name.
  Status twice = run({{1, 1, R"({"a":{"b":1},"a.b":2})"}}, search_of("a.b", 2, 1)).status;
  CHECK(twice.message().find("vector 1 has a field \"a.b\" and another one") != std::string::npos);
  CHECK(run({{1, 1, R"({"a":{"b":1},"a.b":1})"}}, search_of("a.b", 2, 1)).status.ok());
  auto refused = [](SearchRequest search, const char* why) {
    CHECK(check_grouping(search).message().find(why) != std::string::npos);
  };
  refused(search_of("g", 500, 0), "group_size is 0");
  refused(search_of("g", 5, 101), "group_size is 101");
  refused(search_of("g", 501, 1), "501 groups");
  refused(search_of("$g", 1, 1), "group_by");
  refused(search_of("", 1, 2), "group_size is given without group_by");
}

}  // namespace jade
