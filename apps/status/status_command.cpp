#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>

#include "apps/commands.h"
#include "apps/node/any_node.h"
#include "apps/search/table.h"
#include "apps/status/cluster_report.h"
#include "net/http_client.h"

namespace jade {
namespace {

constexpr const char* footer = R"(
Examples:
  jade status
  jade status --url http://127.0.0.1:8081,http://127.0.0.1:8082
  jade status --json | jq .nodes)";

struct StatusArguments {
  std::string url = "http://127.0.0.1:8080";
  bool json = false;
};

Result<std::string> ask(const std::string& url) {
  HttpClientOptions options;
  options.request_timeout_ms = 30'000;  // a person waits
  auto response = ask_any_node(url, options, "GET", "/v1/cluster");
  if (!response) return response.status();
  if (!response->ok() && parse_media_type(response->content_type) != MediaType::json) {
    return corruption("the answer is not that of a jade node: HTTP status " +
                      std::to_string(response->status));
  }
  JADE_RETURN_IF_ERROR(check_response(*response));
  return response->body;
}

Status run(const StatusArguments& arguments) {
  auto reply = ask(arguments.url);
  if (!reply) return reply.status();
  // What goes into a file or a pipe is not cut.
  size_t width = isatty(STDOUT_FILENO) ? terminal_width() : std::numeric_limits<size_t>::max();
  auto report = report_of_cluster(*reply, width);
  if (!report) return report.status();
  std::string out = arguments.json ? *reply + "\n" : *report;
  std::fwrite(out.data(), 1, out.size(), stdout);
  return {};
}

// Another's answer may be of many lines.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7F) c = ' ';
  }
  return text;
}

}  // namespace

void add_status_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("status", "Show the nodes, shards and tasks of a cluster");
  command->footer(footer);
  auto arguments = std::make_shared<StatusArguments>();
  add_url_option(*command, arguments->url, "Node to ask, any of the cluster");
  command->add_flag("--json", arguments->json, "Print the answer as it comes");
  command->callback([arguments, &exit_code] {
    Status status = run(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "jade status: %s: %s\n", arguments->url.c_str(),
                 one_line(status.message()).c_str());
    exit_code = 1;
  });
}

}  // namespace jade
