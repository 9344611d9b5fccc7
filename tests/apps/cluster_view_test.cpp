#include "apps/node/cluster_view.h"

#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "apps/commands.h"
#include "tests/apps/scripted_server.h"

namespace jade {
namespace {

Answer view(const std::string& fields) { return {200, "", "{" + fields + "}", false}; }

const std::string healthy = R"("cluster_id":"c","master":1,"catalog_version":7,"nodes":[])";
const std::string masterless = R"("cluster_id":"c","master":null,"catalog_version":7,"nodes":[])";
const std::string removed =
    R"("cluster_id":"c","master":null,"catalog_version":5,"nodes":[],"problem":"it was removed")";

int status(const std::string& urls) {
  CLI::App app;
  int exit_code = 0;
  add_status_command(app, exit_code);
  std::vector<std::string> arguments{urls, "--url", "status"};
  app.parse(arguments);
  return exit_code;
}

}  // namespace

TEST_CASE("a node that was removed is shown only where nobody knows better") {
  ScriptedServer gone({view(removed), view(removed), view(removed)});
  ScriptedServer good({view(healthy)});
  std::string dead = ScriptedServer({}).url();
  CHECK(status(gone.url() + "," + good.url()) == 0);
  CHECK(good.targets().size() == 1);
  CHECK(status(gone.url() + "," + dead) == 1);
  CHECK(status(gone.url()) == 1);
}

TEST_CASE("of several views the best is taken") {
  auto ask = [](std::deque<Answer> answers, uint64_t version_min = 0) {
    std::deque<ScriptedServer> servers;
    std::string urls;
    for (Answer& answer : answers) {
      urls += servers.emplace_back(std::deque<Answer>{answer}).url() + ",";
    }
    AnyNode nodes(urls);
    return ask_cluster(nodes, version_min);
  };
  auto best = ask({view(removed), view(masterless), view(healthy)});
  REQUIRE_MESSAGE(best.ok(), best.status().to_string());
  CHECK(best->body == "{" + healthy + "}");
  CHECK(best->outdated.ok());
  // A cluster may have no master: that is no fault of who says so.
  best = ask({view(removed), view(masterless), view(removed)});
  REQUIRE_MESSAGE(best.ok(), best.status().to_string());
  CHECK(best->body == "{" + masterless + "}");
  CHECK(best->outdated.ok());
  best = ask({refusal(503, "unavailable", ""), view(removed)});
  REQUIRE_MESSAGE(best.ok(), best.status().to_string());
  CHECK(best->version == 5);
  CHECK(best->outdated.message().find(": nounavailable; ") != std::string::npos);
  CHECK(best->outdated.message().ends_with(": it was removed"));
  // One that is behind tells at least how far it is.
  best = ask({view(healthy), view(removed)}, 8);
  REQUIRE_MESSAGE(best.ok(), best.status().to_string());
  CHECK(best->version == 7);
  CHECK(best->outdated.ok());
}

TEST_CASE("what is no view of a cluster is an error") {
  for (const char* body : {"[]", "<html>", ""}) {
    ScriptedServer other({{200, "", body, false}});
    AnyNode nodes(other.url());
    auto answer = ask_cluster(nodes);
    REQUIRE(!answer.ok());
    CHECK(answer.status().code() == Code::corruption);
    CHECK(answer.status().message().starts_with("the answer is not that of a jade node"));
  }
}

}  // namespace jade
