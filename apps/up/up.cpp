#include "apps/up/up.h"

#include <filesystem>
#include <fstream>

#include "net/listen_socket.h"

namespace jade {
namespace {

namespace fs = std::filesystem;

constexpr unsigned nodes_max = 9;
constexpr const char* host = "127.0.0.1";
constexpr uint16_t first_cluster_port = 9080;

std::string name_of(unsigned node) { return "node-" + std::to_string(node); }
uint16_t port_of(uint16_t first, unsigned node) { return static_cast<uint16_t>(first + node - 1); }
std::string address_of(uint16_t first, unsigned node) {
  return std::string(host) + ":" + std::to_string(port_of(first, node));
}
std::string directory_of(const UpOptions& options, unsigned node) {
  return (fs::path(options.data) / name_of(node)).string();
}

Status check_port(const char* option, uint16_t first, unsigned nodes) {
  if (first >= 1 && first + nodes - 1 <= UINT16_MAX) return {};
  return invalid_argument(std::string(option) + " is " + std::to_string(first) +
                          "; it must be 1 to " + std::to_string(UINT16_MAX - nodes + 1) +
                          ", as each node takes the next one");
}

// Whom a new directory becomes a member of, as `join` of `jade serve`.
std::string members_to_join(const UpOptions& options, const std::set<unsigned>& existing,
                            unsigned node) {
  // The first node founds the cluster. Should its directory be missing while there are
  // others, it was lost: another cluster beside theirs would help nobody.
  bool founds = node == 1 && (existing.empty() || existing.contains(1));
  if (founds) return "";
  std::string members;
  for (unsigned other : existing.empty() ? std::set<unsigned>{1} : existing) {
    if (other == node) continue;
    members += (members.empty() ? "" : ",") + address_of(options.cluster_port, other);
  }
  return members;
}

std::set<unsigned> existing_nodes(const UpOptions& options) {
  std::set<unsigned> existing;
  for (unsigned node = 1; node <= nodes_max; ++node) {
    if (fs::exists(directory_of(options, node))) existing.insert(node);
  }
  return existing;
}

// A node would find out as well, but only in its log and after others have started.
Status check_ports_free(const UpOptions& options) {
  for (unsigned node = 1; node <= options.nodes; ++node) {
    auto api = ListenSocket::bind(host, port_of(options.port, node));
    if (!api) return api.status().with_context(name_of(node) + ", --port");
    auto cluster = ListenSocket::bind(host, port_of(options.cluster_port, node));
    if (!cluster) return cluster.status().with_context(name_of(node) + ", --cluster-port");
  }
  return {};
}

std::string port_file(const UpOptions& options) {
  return (fs::path(options.data) / "cluster-port").string();
}

// Nodes remember each other by their cluster addresses: started on others they would
// wait for each other in vain. 0: not known.
uint16_t remembered_cluster_port(const UpOptions& options) {
  uint16_t port = 0;
  std::ifstream(port_file(options)) >> port;
  return port;
}

Result<uint16_t> cluster_port_of(const UpOptions& options) {
  uint16_t before = remembered_cluster_port(options);
  if (options.cluster_port == 0) return before != 0 ? before : first_cluster_port;
  if (before == 0 || before == options.cluster_port) return options.cluster_port;
  return invalid_argument("--cluster-port is " + std::to_string(options.cluster_port) +
                          ", but the nodes in " + options.data + " know each other by " +
                          std::to_string(before) + " and what follows; leave it out");
}

// The first node's directory as well: from its presence the next start knows that it is
// the one that founds, however early this one is ended.
Status make_directories(const UpOptions& options) {
  std::error_code error;
  fs::create_directories(directory_of(options, 1), error);
  if (error) return invalid_argument("--data " + options.data + ": " + error.message());
  std::ofstream file(port_file(options));
  if (file << options.cluster_port << std::endl) return {};
  return invalid_argument("--data " + options.data + ": " + port_file(options) +
                          " cannot be written");
}

}  // namespace

Status UpOptions::validate() const {
  if (nodes < 1 || nodes > nodes_max) {
    return invalid_argument("--nodes is " + std::to_string(nodes) + "; it must be 1 to " +
                            std::to_string(nodes_max));
  }
  if (data.empty()) return invalid_argument("--data is empty; it must name a directory");
  JADE_RETURN_IF_ERROR(check_port("--port", port, nodes));
  JADE_RETURN_IF_ERROR(check_port("--cluster-port", cluster_port, nodes));
  if (port < cluster_port + nodes && cluster_port < port + nodes) {
    return invalid_argument("--port " + std::to_string(port) + " and --cluster-port " +
                            std::to_string(cluster_port) + " overlap: " + std::to_string(nodes) +
                            " nodes take as many ports from each on");
  }
  return {};
}

std::vector<PlannedNode> plan_nodes(const UpOptions& options, const std::set<unsigned>& existing) {
  std::vector<PlannedNode> nodes;
  for (unsigned node = 1; node <= options.nodes; ++node) {
    PlannedNode planned;
    planned.name = name_of(node);
    planned.url = "http://" + address_of(options.port, node);
    planned.settings = {{"data", directory_of(options, node)},
                        {"name", planned.name},
                        {"listen", address_of(options.port, node)},
                        {"cluster_listen", address_of(options.cluster_port, node)}};
    std::string join = members_to_join(options, existing, node);
    if (!join.empty()) planned.settings["join"] = join;
    nodes.push_back(std::move(planned));
  }
  return nodes;
}

Status check_all_start(const UpOptions& options, const std::set<unsigned>& existing) {
  std::string left;
  for (unsigned node : existing) {
    if (node > options.nodes) left += (left.empty() ? "" : ", ") + name_of(node);
  }
  if (left.empty()) return {};
  unsigned last = *existing.rbegin();
  return invalid_argument("--nodes is " + std::to_string(options.nodes) + ", but " + options.data +
                          " has the data of " + left + " as well, which would not be there; give " +
                          "--nodes " + std::to_string(last) +
                          ". A node that is to leave for good: " +
                          "`jade node drain`, `jade node remove`, then take its directory away");
}

Status up(UpOptions options) {
  auto cluster_port = cluster_port_of(options);
  if (!cluster_port) return cluster_port.status();
  options.cluster_port = *cluster_port;
  JADE_RETURN_IF_ERROR(options.validate());
  std::set<unsigned> existing = existing_nodes(options);
  JADE_RETURN_IF_ERROR(check_all_start(options, existing));
  JADE_RETURN_IF_ERROR(check_ports_free(options));
  JADE_RETURN_IF_ERROR(make_directories(options));
  std::vector<PlannedNode> nodes = plan_nodes(options, existing);
  return options.in_process ? run_in_process(nodes) : run_processes(nodes);
}

}  // namespace jade
