#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "apps/commands.h"
#include "apps/node/cluster_view.h"
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
uint64_t child_of(const ClusterView& cluster, uint64_t shard) {
  for (const json::value& task : array_of(cluster, "tasks")) {
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

Status await_split(AnyNode& nodes, uint64_t shard) {
  uint64_t version = 0;
  for (;;) {
    auto cluster = ask_cluster(nodes, version);
    if (!cluster) return cluster.status();
    JADE_RETURN_IF_ERROR(cluster->outdated);
    // One that is behind may not know of the split.
    bool current = cluster->version >= version;
    if (current && child_of(*cluster, shard) == 0) return {};
    if (current) version = cluster->version;
    std::this_thread::sleep_for(poll_interval);
  }
}

// A split that was begun may be over a moment later, and would be begun once more by the same
// request: that is sent once, to a node that has just answered for the database.
Status begin_split(AnyNode& nodes, const Arguments& arguments) {
  const std::string database = "/v1/databases/" + percent_encode(arguments.database);
  auto there = nodes.ask("GET", database);
  if (!there) return there.status();
  JADE_RETURN_IF_ERROR(check_response(*there));
  auto reply =
      nodes.ask_once("POST", database + "/shards/" + std::to_string(arguments.shard) + "/split");
  Status status = reply ? check_response(*reply) : reply.status();
  if (!may_be_asked_of_another(status.code())) return status;
  return Status(status.code(), status.message() +
                                   "; it may have been begun all the same: see `jade status` "
                                   "before this is done again");
}

Status split(const Arguments& arguments) {
  AnyNode nodes(arguments.url);
  JADE_RETURN_IF_ERROR(begin_split(nodes, arguments));
  std::printf("shard %llu: splitting\n", static_cast<unsigned long long>(arguments.shard));
  std::fflush(stdout);
  if (!arguments.wait) return {};
  JADE_RETURN_IF_ERROR(await_split(nodes, arguments.shard));
  std::printf("shard %llu: split\n", static_cast<unsigned long long>(arguments.shard));
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
  add_url_option(*command, arguments->url, "A node of the cluster");
  command->add_flag("--wait", arguments->wait, "Return when the split is over");
  command->callback([arguments, &exit_code] {
    Status status = split(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "jade shard split: %s\n", status.message().c_str());
    exit_code = 1;
  });
}

}  // namespace jade
