#include "apps/search/table.h"

#include <doctest/doctest.h>

#include <string>

#include "apps/search/search_reply.h"

namespace jade {

TEST_CASE("columns are aligned, numbers to the right") {
  Table table{{"score", "id", "note"},
              {{"0.5", "a", "first"}, {"10.25", "long-id", ""}},
              {true, false, false}};
  CHECK(render(table, 80) ==
        "score  id       note\n"
        "-----  -------  -----\n"
        "  0.5  a        first\n"
        "10.25  long-id  \n");
}

TEST_CASE("only the last column is cut, by characters and not by bytes") {
  Table table{{"id", "text"}, {{"1", "äöüäöüäöüäöüäöü"}, {"2", "short"}}, {false, false}};
  CHECK(render(table, 16) ==
        "id  text\n"
        "--  ------------\n"
        "1   äöüäöüäöüäö…\n"
        "2   short\n");
  CHECK(render(table, 3).find("äöüäöüäöü…") != std::string::npos);
}

TEST_CASE("data cannot steer the terminal") {
  Table table{{"id"},
              {{"\x1B[2Jx\r\n\t\x7F\xC2\x9B"
                "y\xFF\xC3"}},
              {false}};
  std::string out = render(table, 80);
  CHECK(out.find('\x1B') == std::string::npos);
  CHECK(out.find("\xC2\x9B") == std::string::npos);
  CHECK(out.find(" [2Jx     y  \n") != std::string::npos);
  CHECK(render_tsv(table) == "id\n [2Jx     y  \n");
}

TEST_CASE("an empty table is its header") {
  CHECK(render({{"score", "id"}, {}, {true, false}}, 80) == "score  id\n-----  --\n");
}

TEST_CASE("a reply becomes a table") {
  std::string reply = R"({"results":[
      {"id":"a","score":0.75,"metadata":{"section":"games","size":12}},
      {"id":7,"score":0.5,"metadata":{"size":3,"tags":["x"]}},
      {"id":"c","score":0.25}],"took_ms":1})";
  auto table = table_of_reply(reply, {});
  REQUIRE(table.ok());
  CHECK(table->header == std::vector<std::string>{"score", "id", "section", "size", "tags"});
  CHECK(table->right_aligned == std::vector<bool>{true, false, false, true, false});
  CHECK(table->rows[0] == std::vector<std::string>{"0.7500", "a", "games", "12", ""});
  CHECK(table->rows[1] == std::vector<std::string>{"0.5000", "7", "", "3", "[\"x\"]"});
  CHECK(table->rows[2] == std::vector<std::string>{"0.2500", "c", "", "", ""});

  auto chosen = table_of_reply(reply, {"size", "missing"});
  REQUIRE(chosen.ok());
  CHECK(chosen->rows[1] == std::vector<std::string>{"0.5000", "7", "3", ""});
}

TEST_CASE("an explanation becomes a table") {
  std::string reply = R"({"results":[],"took_ms":1,"explain":{"shards":[
      {"shard":3,"applied_index":9,"took_ms":0.5,"fetch_ms":0,"segments":[
        {"segment":2,"type":"hnsw","rows":500,"live":400,"matching":120,"matching_exact":false,
         "plan":"walk","fell_back":true,"walk_cost":70.5,"ef_search":4,"ef":15,"raised":true,
         "rows_visited":80,"distances_by_codes":90,"distances_by_values":30,"rescored":30,
         "metadata_read":7,"filter_ms":0,"walk_ms":0.25,"scan_ms":0.125,"rescore_ms":0},
        {"segment":5,"type":"ivf","rows":9,"live":9,"matching":9,"matching_exact":true,
         "plan":"probe","fell_back":false,"nprobe":2,"rows_visited":4,"distances_by_codes":0,
         "distances_by_values":4,"rescored":0,"metadata_read":0,"filter_ms":0,"walk_ms":0,
         "scan_ms":0,"rescore_ms":0}]}]}})";
  auto table = table_of_explanation(reply);
  REQUIRE(table.ok());
  CHECK(table->rows ==
        std::vector<std::vector<std::string>>{
            {"3", "2", "hnsw", "~120 of 400", "walk, ef 15 (raised from 4), then scan", "80", "90",
             "30", "30", "7", "walk 0.250, scan 0.125"},
            {"3", "5", "ivf", "9 of 9", "probe, nprobe 2", "4", "0", "4", "0", "0", ""}});
  CHECK(table->right_aligned.size() == table->header.size());

  const std::string shard = "\"shard\":3";
  for (auto [round, text] : {std::pair("0", "3"), {"1", "3 (round 1)"}}) {
    std::string asked = reply;
    asked.insert(asked.find(shard) + shard.size(), std::string(",\"round\":") + round);
    table = table_of_explanation(asked);
    REQUIRE(table.ok());
    CHECK(table->rows[0][0] == text);
    CHECK(table->rows[1][0] == text);
  }
}

TEST_CASE("what is no reply of a search is said to be none") {
  for (std::string text :
       {"", "[]", "{}", "{\"results\":1}", "{\"results\":[1]}", "{\"results\":[{\"id\":1}]}",
        "{\"results\":[{\"id\":1,\"score\":\"x\"}]}"}) {
    auto table = table_of_reply(text, {});
    REQUIRE_FALSE(table.ok());
    CHECK(table.status().code() == Code::corruption);
    CHECK(table_of_explanation(text).status().code() == Code::corruption);
  }
}

}  // namespace jade
