#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "apps/commands.h"
#include "apps/up/up.h"

namespace jade {
namespace {

constexpr const char* footer = R"(
The first start founds a cluster in the directory; later ones start the same nodes again,
and more of them where --nodes is larger; fewer are refused. Their URLs are printed on standard output when
all are ready; the log of all goes to standard error, each line with its node's name. A
node that dies is started again. SIGTERM and SIGINT stop all cleanly; a second one stops
them at once. Other settings of the nodes: the JADE_ variables of `jade serve`.

Examples:
  jade up --nodes 3
  jade up --nodes 5 --data /tmp/cluster --port 8100 --cluster-port 9100)";

}  // namespace

void add_up_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("up", "Run a whole cluster on this machine");
  command->footer(footer);
  auto options = std::make_shared<UpOptions>();
  command->add_option("--nodes", options->nodes, "Number of nodes, 1 to 9")->capture_default_str();
  command->add_option("--data", options->data, "Directory of the nodes' data directories")
      ->type_name("DIR")
      ->capture_default_str();
  command
      ->add_option("--port", options->port,
                   "HTTP port of the first node, on 127.0.0.1; each other has the next")
      ->capture_default_str();
  command->add_option(
      "--cluster-port", options->cluster_port,
      "Port of the first node for other nodes; each other has the next. Default: that "
      "of the last start, or 9080");
  command->add_flag("--in-process", options->in_process,
                    "All nodes in this process instead of one process each");
  command->callback([options, &exit_code] {
    Status status = up(*options);
    if (status.ok()) return;
    std::fprintf(stderr, "jade up: %s\n", status.message().c_str());
    exit_code = 1;
  });
}

}  // namespace jade
