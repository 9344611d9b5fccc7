#include "apps/status/cluster_report.h"

#include <doctest/doctest.h>

#include <limits>
#include <string>

namespace jade {
namespace {

constexpr size_t unlimited = std::numeric_limits<size_t>::max();

std::string report(const std::string& reply, size_t width = unlimited) {
  auto text = report_of_cluster(reply, width);
  REQUIRE_MESSAGE(text.ok(), text.status().to_string());
  return *text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a cluster reads as tables") {
  CHECK(report(R"({"cluster_id":"c1","master":2,"catalog_version":7,"nodes":[
      {"id":2,"name":"b","address":"127.0.0.1:2","roles":["catalog","data"],"alive":true},
      {"id":1,"name":"a","address":"127.0.0.1:1","roles":["data"],"alive":false}],
      "databases":[{"name":"films","placement":[
        {"shard":3,"nodes":[2,1],"leader":2,"vectors":12},
        {"shard":4,"nodes":[2],"leader":null,"vectors":0}]}]})") ==
        "cluster  master  catalog version\n"
        "-------  ------  ---------------\n"
        "c1       b                     7\n"
        "\n"
        "node  id  address      is                roles\n"
        "----  --  -----------  ----------------  -------------\n"
        "a      1  127.0.0.1:1  not heard of yet  data\n"
        "b      2  127.0.0.1:2  alive             catalog, data\n"
        "\n"
        "database  shard  vectors  leader  replicas\n"
        "--------  -----  -------  ------  -----------\n"
        "films         3       12  b       a (lost), b\n"
        "films         4        0  none    b\n");
}

TEST_CASE("states, replicas and tasks are shown where a node tells them") {
  CHECK(report(R"({"cluster_id":"c1","master":1,"catalog_version":7,"nodes":[
      {"id":1,"name":"a","address":"h:1","cluster_address":"h:9","roles":["data"],"alive":true,
       "state":"draining","replicas":3},
      {"id":2,"name":"b","address":"h:2","roles":["data"],"alive":true}],
      "databases":[],
      "tasks":[{"kind":"drain","database":"films","shard":7,"from":1,"to":2,
                "state":"copying","progress":0.42},
               {"kind":"replicas","database":"films","shard":8,"from":null,"to":2,
                "state":"waiting","progress":0}]})") ==
        "cluster  master  catalog version\n"
        "-------  ------  ---------------\n"
        "c1       a                     7\n"
        "\n"
        "node  id  address  cluster address  is     state     replicas  roles\n"
        "----  --  -------  ---------------  -----  --------  --------  -----\n"
        "a      1  h:1      h:9              alive  draining         3  data\n"
        "b      2  h:2      -                alive  -                -  data\n"
        "\n"
        "no databases yet\n"
        "\n"
        "task      database  shard  from  to  state    progress\n"
        "--------  --------  -----  ----  --  -------  --------\n"
        "drain     films         7  a     b   copying      42 %\n"
        "replicas  films         8  none  b   waiting       0 %\n");
}

TEST_CASE("who votes on the catalog is shown, and that it hangs on one disk") {
  auto of = [](const std::string& a, const std::string& b) {
    return report(R"({"cluster_id":"c1","master":1,"catalog_version":7,"nodes":[
      {"id":1,"name":"a","address":"h:1","roles":["data"],"alive":true,"votes":)" +
                  a + R"(},
      {"id":2,"name":"b","address":"h:2","roles":["data"],"alive":true,"votes":)" +
                  b + R"(}],"databases":[]})");
  };
  CHECK(contains(of("true", "false"),
                 "node  id  address  is     votes  roles\n"
                 "----  --  -------  -----  -----  -----\n"
                 "a      1  h:1      alive  yes    data\n"
                 "b      2  h:2      alive  no     data\n"
                 "\n"
                 "only a votes on the catalog: with its disk the cluster would be lost\n"));
  CHECK_FALSE(contains(of("true", "true"), "only"));
  CHECK_FALSE(contains(of("\"odd\"", "false"), "only"));
  CHECK(contains(of("\"odd\"", "false"), "odd"));
}

TEST_CASE("why a node must not take part is shown where there is one") {
  std::string text = report(R"({"cluster_id":"c1","master":1,"catalog_version":7,"nodes":[
      {"id":1,"name":"a","address":"h:1","roles":["data"],"alive":true},
      {"id":2,"name":"b","address":"h:2","roles":["data"],"alive":false,"silent_ms":2000,
       "problem":"too old"}],
      "databases":[]})");
  CHECK(contains(text,
                 "node  id  address  is          roles  problem\n"
                 "----  --  -------  ----------  -----  -------\n"
                 "a      1  h:1      alive       data   -\n"
                 "b      2  h:2      lost (2 s)  data   too old\n"));
}

TEST_CASE("a shard whose replicas fail says so, and what is not known is not shown as none") {
  std::string text = report(R"({"cluster_id":"c1","master":1,"catalog_version":7,"nodes":[
      {"id":1,"name":"a","address":"h:1","alive":true},
      {"id":2,"name":"b","address":"h:2","alive":false,"silent_ms":12900}],
      "databases":[{"name":"d","placement":[
        {"shard":3,"nodes":[1,2],"leader":1,"vectors":5,"problems":[{"node":1,"problem":"full"}]},
        {"shard":4,"nodes":[2],"leader":null,"vectors":null,"unknown":"cannot be reached"},
        {"shard":5,"nodes":[1],"leader":1,"vectors":0}]}]})");
  CHECK(contains(text, "database  shard  vectors  leader  replicas     problem\n"));
  CHECK(contains(text, "d             3        5  a       a, b (lost)  a: full\n"));
  CHECK(contains(text,
                 "d             4        -  none    b (lost)     no replica answers: cannot be "
                 "reached\n"));
  CHECK(contains(text, "d             5        0  a       a            -\n"));
  CHECK(contains(text, "b      2  h:2      lost (12 s)"));
}

TEST_CASE("what a task and a node wait for is shown") {
  std::string text = report(R"({"cluster_id":"c1","master":1,"catalog_version":7,"nodes":[
      {"id":1,"name":"a","address":"h:1","alive":true},
      {"id":2,"name":"b","address":"h:2","alive":true,"waiting_for":"another worker"}],
      "databases":[],"tasks":[{"kind":"drain","database":"d","shard":7,"from":1,"to":2,
                "state":"waiting","progress":0,"waiting_for":"b, which is silent"}]})");
  CHECK(contains(text, "another worker\n"));
  CHECK(contains(text, "0 %  b, which is silent\n"));
}

TEST_CASE("without a master it is said from when the catalog is") {
  auto of = [](const std::string& more) {
    return report(R"({"cluster_id":"c1","master":null,"catalog_version":7,"answered_by":1)" + more +
                  R"(,"nodes":[{"id":1,"name":"a","address":"h:1","alive":null}],"databases":[]})");
  };
  CHECK(contains(of(R"(,"catalog_age_ms":61500)"),
                 "no master is known to a: nodes, states, votes and replicas are as the catalog "
                 "had them 61 s ago;"));
  CHECK(contains(of(R"(,"catalog_age_ms":null)"), "as the catalog had them before a was started;"));
  CHECK_FALSE(contains(of(""), "as the catalog"));
  CHECK(contains(of(R"(,"problem":"it was removed","catalog_age_ms":1)"),
                 "a takes no part any more, and shows what it knew last: it was removed\n"));
  CHECK(contains(of(""), "a      1  h:1      -"));
}

TEST_CASE("missing, odd and unknown fields do not hide the rest") {
  std::string text = report(R"({"cluster_id":"c1","master":9,"new":{"x":[1]},"nodes":[
      {"id":1,"name":["odd"],"alive":"perhaps","roles":"all","state":5,"colour":"red"},
      7, {"name":"unnumbered"}],
      "databases":[{"placement":[{"nodes":[1,5,null]},3]},4,{"name":"bare"}],
      "tasks":[{"progress":"much"},{"progress":7.5},{"progress":0.9999},{}]})");
  CHECK(contains(text, "node with id 9"));
  CHECK(contains(text, "[\"odd\"]"));
  CHECK(contains(text, "perhaps"));
  CHECK(contains(text, "unnumbered"));
  CHECK(contains(text, "[\"odd\"], node with id 5, none"));
  CHECK(contains(text, "much\n"));
  CHECK(contains(text, " 7.5E0\n"));
  CHECK(contains(text, " 99 %\n"));
  CHECK_FALSE(contains(text, "colour"));
}

TEST_CASE("tasks and databases of a wrong type are none") {
  std::string text = report(R"({"cluster_id":"c1","nodes":[],"databases":1,"tasks":"no"})");
  CHECK(contains(text, "no databases yet"));
  CHECK_FALSE(contains(text, "task"));
}

TEST_CASE("replicas that lack something say how much") {
  std::string text = report(R"({"cluster_id":"c1","nodes":[{"id":1,"name":"a"},{"id":2,"name":"b"},
      {"id":3,"name":"c"},{"id":4,"name":"d"}],"databases":[{"name":"films","placement":[
      {"shard":1,"vectors":9,"leader":1,"nodes":[1,2,3,4],"replicas":[
        {"node":1,"votes":true,"log_index":40},{"node":2,"votes":true,"log_index":28},
        {"node":3,"votes":true,"log_index":40},
        {"node":4,"votes":false,"log_index":0,"copied":0.257}]},
      {"shard":2,"vectors":9,"leader":2,"nodes":[1,2],"replicas":[{"node":1},7,{"log_index":3}]}]}]})");
  CHECK(contains(text, "a, b (12 behind), c, d (25 % copied)"));
  CHECK(contains(text, "a, b\n"));
}

TEST_CASE("a cluster fits the terminal, and cannot steer it") {
  std::string text = report(R"({"cluster_id":"\u001b[2J","nodes":[],"databases":[
      {"name":"d","placement":[{"shard":1,"vectors":1,"leader":1,
       "nodes":[100000001,100000002,100000003]}]}]})",
                            60);
  CHECK_FALSE(contains(text, "\x1B"));
  CHECK(contains(text, "…\n"));
}

TEST_CASE("what is no cluster is said to be none") {
  for (std::string text :
       {"", "<html>", "[]", "{}", "42", R"({"cluster_id":"c"})", R"({"cluster_id":1,"nodes":[]})",
        R"({"cluster_id":"c","nodes":{}})", R"({"cluster_id":"c","nodes":[]} x)"}) {
    auto result = report_of_cluster(text, 80);
    REQUIRE_FALSE(result.ok());
    CHECK(result.status().code() == Code::corruption);
    CHECK(contains(result.status().message(), "not that of a jade node"));
  }
}

}  // namespace jade
