#include "apps/up/up.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <string>

#include "apps/up/back_off.h"
#include "apps/up/child_process.h"

namespace jade {
namespace {

using namespace std::chrono_literals;

UpOptions usual_options() {
  UpOptions options;
  options.cluster_port = 9080;
  return options;
}

std::string join_of(const PlannedNode& node) {
  auto join = node.settings.find("join");
  return join == node.settings.end() ? "" : join->second;
}

std::string refusal(const UpOptions& options) {
  Status status = options.validate();
  CHECK(status.code() == Code::invalid_argument);
  return status.message();
}

}  // namespace

TEST_CASE("the first node founds, the others join it") {
  UpOptions options = usual_options();
  options.data = "/d";
  auto nodes = plan_nodes(options, {});
  REQUIRE(nodes.size() == 3);
  CHECK(nodes[0].settings == SettingValues{{"data", "/d/node-1"},
                                           {"name", "node-1"},
                                           {"listen", "127.0.0.1:8080"},
                                           {"cluster_listen", "127.0.0.1:9080"}});
  CHECK(nodes[2].settings == SettingValues{{"data", "/d/node-3"},
                                           {"name", "node-3"},
                                           {"listen", "127.0.0.1:8082"},
                                           {"cluster_listen", "127.0.0.1:9082"},
                                           {"join", "127.0.0.1:9080"}});
  CHECK(nodes[1].url == "http://127.0.0.1:8081");
}

TEST_CASE("a directory that is new joins those that are there, the first node's as well") {
  UpOptions options = usual_options();
  auto grown = plan_nodes(options, {1, 2});
  CHECK(join_of(grown[0]).empty());
  CHECK(join_of(grown[2]) == "127.0.0.1:9080,127.0.0.1:9081");
  auto lost = plan_nodes(options, {2, 3});
  CHECK(join_of(lost[0]) == "127.0.0.1:9081,127.0.0.1:9082");
}

TEST_CASE("fewer nodes than have data are refused, by name") {
  UpOptions options = usual_options();
  options.data = "/d";
  CHECK(check_all_start(options, {}).ok());
  CHECK(check_all_start(options, {1, 2, 3}).ok());
  CHECK(check_all_start(options, {3}).ok());
  options.nodes = 2;
  CHECK(check_all_start(options, {2}).ok());
  Status refused = check_all_start(options, {1, 2, 3, 5});
  CHECK(refused.code() == Code::invalid_argument);
  CHECK(refused.message().starts_with(
      "--nodes is 2, but /d has the data of node-3, node-5 as well, which would not be there; give "
      "--nodes 5."));
}

TEST_CASE("options that cannot be are refused by name") {
  UpOptions options = usual_options();
  CHECK(options.validate().ok());
  options.nodes = 0;
  CHECK(refusal(options) == "--nodes is 0; it must be 1 to 9");
  options.nodes = 10;
  CHECK(refusal(options).find("--nodes is 10") == 0);
  options.nodes = 3;
  options.port = 65534;
  CHECK(refusal(options).find("--port is 65534; it must be 1 to 65533") == 0);
  options.port = 8080;
  options.cluster_port = 0;
  CHECK(refusal(options).find("--cluster-port is 0") == 0);
  options.cluster_port = 8082;
  CHECK(refusal(options).find("overlap") != std::string::npos);
  options.cluster_port = 8083;
  CHECK(options.validate().ok());
  options.data = "";
  CHECK(refusal(options).find("--data is empty") == 0);
}

TEST_CASE("a process that dies again and again is started ever later, up to half a minute") {
  BackOff back_off;
  for (auto expected : {500ms, 1000ms, 2000ms, 4000ms, 8000ms, 16000ms, 30000ms, 30000ms}) {
    CHECK(back_off.next(1s) == expected);
  }
  CHECK(back_off.next(2min) == 500ms);
  CHECK(back_off.next(1s) == 1000ms);
}

TEST_CASE("how a process ended is told in words") {
  // As waitpid() has them: the exit code in the second byte, a signal in the first.
  CHECK(end_text(0) == "ended with exit code 0");
  CHECK(end_text(3 << 8) == "ended with exit code 3");
  CHECK(end_text(SIGKILL) == "was killed by SIGKILL");
}

}  // namespace jade
