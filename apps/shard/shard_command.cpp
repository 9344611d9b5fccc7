#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "apps/commands.h"
#include "apps/node/ask_node.h"
#include "net/http_client.h"
#include "net/url.h"

namespace jade {
namespace {

namespace json = boost::json;

constexpr const char* footer = R"(
Splitting gives half of a shard's vectors to a new shard on the same nodes, while both
are read and written. `jade status` names the shards of each database.

Example:
  jade shard split 2 --database docs --wait)";

// How often a split that is waited for is looked at.
constexpr auto poll_interval = std::chrono::milliseconds(200);

struct Arguments {
  std::string url = "http://127.0.0.1:8080";
  std::string database;
  uint64_t shard = 0;
  bool wait = false;
};

// The shard that is being split off, or 0.
uint64_t child_of(const json::value& cluster, uint64_t shard) {
  const json::value* tasks = cluster.as_object().if_contains("tasks");
  if (tasks == nullptr || !tasks->is_array()) return 0;
  for (const json::value& task : tasks->as_array()) {
    const json::object* fields = task.if_object();
    const json::value* of = fields ? fields->if_contains("shard") : nullptr;
    const json::value* child = fields ? fields->if_contains("child") : nullptr;
    if (of == nullptr || child == nullptr || !of->is_int64() || !child->is_int64()) continue;
    if (of->as_int64() == static_cast<int64_t>(shard)) {
      return static_cast<uint64_t>(child->as_int64());
    }
  }
  return 0;
}

Status split(const Arguments& arguments) {
  auto client = HttpClient::connect(arguments.url);
  if (!client) return client.status();
  std::string shard = std::to_string(arguments.shard);
  auto reply = ask_node(
      **client, "POST",
      "/v1/databases/" + percent_encode(arguments.database) + "/shards/" + shard + "/split");
  if (!reply) return reply.status();
  std::printf("shard %s: splitting\n", shard.c_str());
  std::fflush(stdout);
  while (arguments.wait) {
    auto cluster = ask_node(**client, "GET", "/v1/cluster");
    if (!cluster) return cluster.status();
    if (child_of(*cluster, arguments.shard) == 0) {
      std::printf("shard %s: split\n", shard.c_str());
      return {};
    }
    std::this_thread::sleep_for(poll_interval);
  }
  return {};
}

}  // namespace

void add_shard_command(CLI::App& app, int& exit_code) {
  CLI::App* shard = app.add_subcommand("shard", "Split a shard of a database in two");
  shard->footer(footer);
  shard->require_subcommand(1);
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = shard->add_subcommand("split", "Give half of a shard to a new one");
  command->add_option("shard", arguments->shard, "Number of the shard")->required();
  command->add_option("--database", arguments->database, "Its database")->required();
  command->add_option("--url", arguments->url, "Any node of the cluster")->capture_default_str();
  command->add_flag("--wait", arguments->wait, "Return when the split is over");
  command->callback([arguments, &exit_code] {
    Status status = split(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "jade shard split: %s\n", status.message().c_str());
    exit_code = 1;
  });
}

}  // namespace jade
