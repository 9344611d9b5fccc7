#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "apps/certs/certificates.h"
#include "apps/commands.h"

namespace jade {
namespace {

constexpr const char* footer = R"(
Example, three nodes on machines of their own:
  jade certs --dir certs --node n1=10.0.0.1 --node n2=10.0.0.2 --node n3=10.0.0.3
Copy ca.crt and a node's own .crt and .key to its machine. ca.key stays where it is,
or goes to a safe place: whoever has it can make nodes for this cluster.)";

struct CertsArguments {
  std::string dir;
  std::vector<std::string> nodes;
  uint32_t days = node_days;
};

std::string serve_line(const MadeCertificates& made, const MadeCertificate& node,
                       const std::string& host, const std::string& join) {
  std::string line = "  jade serve --name " + node.name + " --cluster-listen " + host + ":7100" +
                     " --cluster-cert " + node.certificate + " --cluster-key " + node.key +
                     " --cluster-ca " + made.ca;
  return join.empty() ? line : line + " --join " + join + ":7100";
}

std::string host_of(const NodeToCertify& node) {
  if (node.hosts.empty()) return node.name;
  const std::string& host = node.hosts.front();
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

void print(const MadeCertificates& made, const std::vector<NodeToCertify>& nodes) {
  if (made.ca_is_new) {
    std::printf("made %s, %s (keep the key safe)\n", made.ca.c_str(), made.ca_key.c_str());
  }
  for (const MadeCertificate& node : made.nodes) {
    std::printf("made %s, %s\n", node.certificate.c_str(), node.key.c_str());
  }
  std::printf("Start the nodes, the first one of a new cluster without --join:\n");
  std::string first = made.ca_is_new ? "" : "ADDRESS-OF-A-MEMBER";
  for (size_t i = 0; i < nodes.size(); ++i) {
    std::string host = host_of(nodes[i]);
    std::printf("%s\n", serve_line(made, made.nodes[i], host, first).c_str());
    if (first.empty()) first = host;
  }
}

Status run(const CertsArguments& arguments) {
  std::vector<NodeToCertify> nodes;
  for (const std::string& text : arguments.nodes) {
    auto node = parse_node(text);
    if (!node) return node.status();
    nodes.push_back(std::move(*node));
  }
  auto made = make_certificates(arguments.dir, nodes, arguments.days);
  if (!made) return made.status();
  print(*made, nodes);
  return {};
}

}  // namespace

void add_certs_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("certs", "Make certificates for TLS between the nodes of a cluster");
  command->footer(footer);
  auto arguments = std::make_shared<CertsArguments>();
  command->add_option("--dir", arguments->dir, "Where they go; its ca.key signs, or is made")
      ->type_name("DIR")
      ->required();
  command
      ->add_option("--node", arguments->nodes,
                   "A node, with the names and addresses of its machine; may be repeated")
      ->type_name("NAME[=HOST,...]")
      ->allow_extra_args(false)
      ->required();
  command->add_option("--days", arguments->days, "How long the certificates of nodes are valid")
      ->type_name("N")
      ->check(CLI::Range(1u, node_days_max))
      ->capture_default_str();
  command->callback([arguments, &exit_code] {
    Status status = run(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "jade certs: %s\n", status.message().c_str());
    exit_code = 1;
  });
}

}  // namespace jade
