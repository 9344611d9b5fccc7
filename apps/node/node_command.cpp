#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "apps/commands.h"
#include "apps/node/ask_node.h"
#include "apps/node/cluster_view.h"
#include "net/url.h"

namespace jade {
namespace {

namespace json = boost::json;

constexpr const char* footer = R"(
Draining moves all replicas of a node to the others, while everything is served as
before. A node that is empty can be removed, and be switched off for good; so can one
that is lost, once its replicas have been placed elsewhere. Where fewer than three others
are left, it still votes on the catalog until it is removed: do not switch it off before.

Examples:
  jade node drain node-2 --wait && jade node remove node-2
  jade node activate node-2      takes a drain back)";

// How often a drain that is waited for is looked at.
constexpr auto poll_interval = std::chrono::milliseconds(500);
// Who does not know of it by then was told that it was taken back.
constexpr auto known_within = std::chrono::seconds(10);

struct Arguments {
  std::string url = "http://127.0.0.1:8080";
  std::string node;
  bool wait = false;
};

struct NodeState {
  std::string name;
  std::string state;
  int64_t replicas = 0;
  bool votes = false;
};

Result<NodeState> read_node(const json::object& fields) {
  const json::value* name = fields.if_contains("name");
  const json::value* state = fields.if_contains("state");
  const json::value* replicas = fields.if_contains("replicas");
  bool whole =
      name && name->is_string() && state && state->is_string() && replicas && replicas->is_int64();
  if (!whole) return corruption("the answer is not that of a jade node");
  const json::value* votes = fields.if_contains("votes");
  return NodeState{std::string(name->as_string()), std::string(state->as_string()),
                   replicas->as_int64(), votes && votes->is_bool() && votes->as_bool()};
}

Result<NodeState> read_reply(const HttpResponse& response) {
  auto reply = read_answer(response);
  return reply.ok() ? read_node(reply->get_object()) : reply.status();
}

void say(const NodeState& node) {
  std::printf("%s: %s, %lld replicas\n", node.name.c_str(), node.state.c_str(),
              static_cast<long long>(node.replicas));
  std::fflush(stdout);
}

void warn_of_vote(const NodeState& node) {
  if (!node.votes) return;
  std::printf("%s: still votes on the catalog; remove it before it is switched off\n",
              node.name.c_str());
  std::fflush(stdout);
}

// Until it holds nothing; says whenever that is one replica nearer.
Status await_drained(AnyNode& nodes, NodeState node) {
  uint64_t version = 0;
  bool known = false;  // to who was asked last, or somebody before
  const auto began = std::chrono::steady_clock::now();
  for (bool first = true; node.state == "draining"; first = false) {
    // At first at once, of who has carried the drain out: others may not know of it yet, and behind
    // a load balancer it may be one of them.
    if (!first) std::this_thread::sleep_for(poll_interval);
    auto view = ask_cluster(nodes, version);
    if (!view) return view.status();
    JADE_RETURN_IF_ERROR(view->outdated);
    if (view->version < version) continue;
    version = view->version;
    const json::object* found = find_node(*view, node.name);
    if (found == nullptr)
      return not_found("the cluster has no node \"" + node.name + "\" any more");
    auto now = read_node(*found);
    if (!now) return now.status();
    known = known || now->state != "active";
    if (!known && std::chrono::steady_clock::now() < began + known_within) continue;
    if (now->replicas != node.replicas || now->state != node.state) say(*now);
    node = *now;
  }
  if (node.state == "drained") {
    warn_of_vote(node);
    return {};
  }
  return Status(Code::failed_precondition, "the drain of \"" + node.name + "\" was taken back");
}

// By its id, which no other node ever gets: so a change whose answer was lost may be asked for
// again, of another node, even where the first has carried it out.
Status change(const Arguments& arguments, std::string_view action) {
  AnyNode nodes(arguments.url);
  auto view = ask_cluster(nodes);
  if (!view) return view.status();
  JADE_RETURN_IF_ERROR(view->outdated);
  const json::object* found = find_node(*view, arguments.node);
  const json::value* id = found == nullptr ? nullptr : found->if_contains("id");
  if (id == nullptr) return not_found("the cluster has no node \"" + arguments.node + "\"");
  std::string path = "/v1/cluster/nodes/" + percent_encode(json::serialize(*id));
  auto reply = action == "remove" ? nodes.ask("DELETE", path)
                                  : nodes.ask("POST", path + "/" + std::string(action));
  if (!reply) return reply.status();
  auto node = read_reply(*reply);
  if (action == "remove" && (node.ok() || node.status().code() == Code::not_found)) {
    auto removed = read_node(*found);
    std::printf("%s: removed\n", removed ? removed->name.c_str() : arguments.node.c_str());
    return {};
  }
  if (!node) return node.status();
  say(*node);
  return arguments.wait ? await_drained(nodes, *node) : Status();
}

void add_action(CLI::App& node, const std::string& action, const std::string& help,
                std::shared_ptr<Arguments> arguments, int& exit_code) {
  CLI::App* command = node.add_subcommand(action, help);
  command->add_option("node", arguments->node, "Name or id of the node")->required();
  add_url_option(*command, arguments->url, "A node of the cluster");
  if (action == "drain") {
    command->add_flag("--wait", arguments->wait, "Return when the node is empty");
  }
  command->callback([arguments, action, &exit_code] {
    Status status = change(*arguments, action);
    if (status.ok()) return;
    std::fprintf(stderr, "jade node %s: %s\n", action.c_str(), status.message().c_str());
    exit_code = 1;
  });
}

}  // namespace

void add_node_command(CLI::App& app, int& exit_code) {
  CLI::App* node = app.add_subcommand("node", "Drain, take back or remove a node of a cluster");
  node->footer(footer);
  node->require_subcommand(1);
  auto arguments = std::make_shared<Arguments>();
  add_action(*node, "drain", "Move all replicas of a node to the others", arguments, exit_code);
  add_action(*node, "activate", "Take a drain back", arguments, exit_code);
  add_action(*node, "remove", "Remove an empty node from the cluster for good", arguments,
             exit_code);
}

}  // namespace jade
