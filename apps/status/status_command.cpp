#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>

#include "apps/commands.h"
#include "apps/node/cluster_view.h"
#include "apps/search/table.h"
#include "apps/status/cluster_report.h"

namespace jade {
namespace {

constexpr const char* footer = R"(
Of several nodes the first is shown that knows its cluster's master. Where there is none but nodes
that take no part in the cluster any more, what such a node knew last is shown, with exit code 1.

Examples:
  jade status
  jade status --url http://127.0.0.1:8081,http://127.0.0.1:8082
  jade status --json | jq .nodes)";

struct StatusArguments {
  std::string url = "http://127.0.0.1:8080";
  bool json = false;
};

Status run(const StatusArguments& arguments) {
  HttpClientOptions options;
  options.request_timeout_ms = 30'000;  // a person waits
  AnyNode nodes(arguments.url, options);
  auto view = ask_cluster(nodes);
  if (!view) return view.status();
  // What goes into a file or a pipe is not cut.
  size_t width = isatty(STDOUT_FILENO) ? terminal_width() : std::numeric_limits<size_t>::max();
  auto report = report_of_cluster(view->body, width);
  if (!report) return report.status();
  std::string out = arguments.json ? view->body + "\n" : *report;
  std::fwrite(out.data(), 1, out.size(), stdout);
  std::fflush(stdout);
  if (view->outdated.ok()) return {};
  return Status(
      view->outdated.code(),
      "shown is what was known last, and may be long out of date: " + view->outdated.message());
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
