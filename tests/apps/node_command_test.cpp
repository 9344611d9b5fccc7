// `jade node` and `jade shard` where nodes do not answer.
#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "apps/commands.h"
#include "tests/apps/scripted_server.h"

namespace jade {
namespace {

using Texts = std::vector<std::string>;

int run(void (*add)(CLI::App&, int&), Texts arguments) {
  CLI::App app;
  int exit_code = 0;
  add(app, exit_code);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return exit_code;
}
int node(const Texts& arguments) { return run(add_node_command, arguments); }
int shard(const Texts& arguments) { return run(add_shard_command, arguments); }

std::string dead_url() { return ScriptedServer({}).url(); }

const Answer hung_up{200, "", "", true};

std::string node_json(const std::string& state, int replicas) {
  return R"({"id":18000000000000000007,"name":"b","state":")" + state + R"(","replicas":)" +
         std::to_string(replicas) + "}";
}
Answer cluster(int version, const std::string& state, int replicas,
               const std::string& master = "1") {
  return {200, "",
          R"({"master":)" + master + R"(,"catalog_version":)" + std::to_string(version) +
              R"(,"nodes":[)" + node_json(state, replicas) + R"(],"tasks":[]})",
          false};
}
Answer splitting(int version, bool is) {
  return {200, "",
          R"({"master":1,"catalog_version":)" + std::to_string(version) +
              R"(,"nodes":[],"tasks":[)" + (is ? R"({"shard":2,"child":9})" : "") + "]}",
          false};
}

const std::string path = "/v1/cluster/nodes/18000000000000000007";
const std::string view = "GET /v1/cluster";

}  // namespace

TEST_CASE("a drain goes by way of another node where the first is lost after it, and waits there") {
  ScriptedServer first({cluster(1, "active", 2), hung_up, hung_up});
  ScriptedServer second({{200, "", node_json("draining", 2), false},
                         cluster(2, "draining", 2),
                         cluster(3, "drained", 0)});
  CHECK(node({"node", "drain", "b", "--wait", "--url", first.url() + "," + second.url()}) == 0);
  CHECK(first.targets() == Texts{view, "POST " + path + "/drain", "POST " + path + "/drain"});
  CHECK(second.targets() == Texts{"POST " + path + "/drain", view, view});
}

TEST_CASE("who does not know of a drain yet does not say that it was taken back") {
  ScriptedServer first({cluster(1, "active", 2),
                        {200, "", node_json("draining", 2), false},
                        cluster(5, "draining", 2),
                        refusal(503, "unavailable", "")});
  ScriptedServer second(
      {cluster(4, "active", 2), cluster(5, "draining", 1), cluster(6, "drained", 0)});
  CHECK(node({"node", "drain", "b", "--wait", "--url", first.url() + "," + second.url()}) == 0);
}

TEST_CASE("the first to be asked how a drain goes may be one that does not know of it") {
  ScriptedServer proxy({cluster(4, "active", 2),
                        {200, "", node_json("draining", 2), false},
                        cluster(4, "active", 2),
                        cluster(5, "draining", 1),
                        cluster(6, "drained", 0)});
  CHECK(node({"node", "drain", "b", "--wait", "--url", proxy.url()}) == 0);
  // From then on it is.
  ScriptedServer other({cluster(4, "active", 2),
                        {200, "", node_json("draining", 2), false},
                        cluster(5, "draining", 2),
                        cluster(6, "active", 2)});
  CHECK(node({"node", "drain", "b", "--wait", "--url", other.url()}) == 1);
}

TEST_CASE("a node that is gone when its removal is asked for again was removed") {
  ScriptedServer first({cluster(1, "drained", 0), hung_up, hung_up});
  ScriptedServer second({refusal(404, "not_found", "")});
  CHECK(node({"node", "remove", "b", "--url", first.url() + "," + second.url()}) == 0);
  CHECK(second.targets() == Texts{"DELETE " + path});
  // One that never was is an error, and nothing is sent.
  ScriptedServer third({cluster(1, "drained", 0)});
  CHECK(node({"node", "remove", "c", "--url", third.url()}) == 1);
  CHECK(third.targets() == Texts{view});
}

TEST_CASE("a node that was removed itself changes nothing where another can") {
  Answer removed{200, "", R"({"master":null,"nodes":[],"problem":"it was removed"})", false};
  ScriptedServer first({removed}),
      second({cluster(1, "active", 1), {200, "", node_json("draining", 1), false}});
  CHECK(node({"node", "drain", "b", "--url", first.url() + "," + second.url()}) == 0);
  CHECK(second.targets() == Texts{view, "POST " + path + "/drain"});
}

TEST_CASE("a split is sent once, to a node that answers for the database") {
  const Texts sent{"GET /v1/databases/d", "POST /v1/databases/d/shards/2/split"};
  for (const Answer& lost : {hung_up, refusal(503, "unavailable", "")}) {
    ScriptedServer gone({refusal(503, "unavailable", "")}), first({{}, lost}), second({});
    CHECK(shard({"shard", "split", "2", "--database", "d", "--url",
                 dead_url() + "," + gone.url() + "," + first.url() + "," + second.url()}) == 1);
    CHECK(gone.targets() == Texts{sent[0]});
    CHECK(first.targets() == sent);
    CHECK(second.targets().empty());
  }
}

TEST_CASE("a split is waited for at any node that knows of it") {
  ScriptedServer first({{}, {}, splitting(7, true), refusal(503, "unavailable", "")});
  ScriptedServer second({splitting(6, false), splitting(7, true), splitting(8, false)});
  CHECK(shard({"shard", "split", "2", "--database", "d", "--wait", "--url",
               first.url() + "," + second.url()}) == 0);
}

}  // namespace jade
