#include "apps/bench/cluster_bench.h"

#include <poll.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "apps/bench/bench_directory.h"
#include "apps/bench/http_searcher.h"
#include "apps/bench/matrix_reader.h"
#include "apps/import/importer.h"
#include "apps/node/ask_node.h"
#include "apps/up/child_process.h"
#include "index/datatype.h"
#include "net/listen_socket.h"

namespace jade {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;

constexpr size_t cluster_nodes = 3;
constexpr auto ask_interval = milliseconds(50);
constexpr auto patience = std::chrono::seconds(60);

// A `jade serve` of its own, which ends with it.
class ServedProcess {
 public:
  static Result<ServedProcess> start(const std::vector<std::string>& settings) {
    std::vector<std::string> arguments = {"serve", "--listen=127.0.0.1:0", "--log-level=error"};
    arguments.insert(arguments.end(), settings.begin(), settings.end());
    auto child = ChildProcess::start(arguments);
    if (!child) return child.status();
    ServedProcess out(std::move(*child));
    JADE_RETURN_IF_ERROR(out.await_url());
    return out;
  }

  const std::string& url() const { return url_; }

 private:
  explicit ServedProcess(ChildProcess child) : child_(std::move(child)) {}

  // The first line of its output.
  Status await_url() {
    for (;;) {
      pollfd source{child_.output().get(), POLLIN, 0};
      ::poll(&source, 1, -1);
      bool open = child_.output().read_available(url_);
      if (size_t end = url_.find('\n'); end != std::string::npos) {
        url_.resize(end);
        return {};
      }
      if (open) continue;
      std::string log;
      child_.log().read_available(log);
      return unavailable("a node of the benchmark has ended: " + log);
    }
  }

  ChildProcess child_;
  std::string url_;
};

class ClusterBench {
 public:
  ClusterBench(const ClusterBenchOptions& options, const Workload& workload, Report& report)
      : options_(options), workload_(workload), report_(report) {}

  Status run() {
    JADE_RETURN_IF_ERROR(start_cluster());
    JADE_RETURN_IF_ERROR(compare_imports());
    return compare_searches();
  }

 private:
  Status start_cluster() {
    std::string first;
    for (size_t i = 1; i <= cluster_nodes; ++i) {
      // Free until now; all nodes have to know the ports of the others.
      auto free = ListenSocket::bind("127.0.0.1", 0);
      if (!free) return free.status();
      const std::string address = free->address();
      free = unavailable("closed");
      const std::string name = "n" + std::to_string(i);
      std::vector<std::string> settings = {"--data=" + (directory_.path() / name).string(),
                                           "--name=" + name, "--cluster-listen=" + address};
      if (i == 1) {
        first = address;
      } else {
        settings.push_back("--join=" + first);
      }
      auto node = ServedProcess::start(settings);
      if (!node) return node.status();
      nodes_.push_back(std::move(*node));
    }
    for (const ServedProcess& node : nodes_) {
      JADE_RETURN_IF_ERROR(await(node.url(), "/readyz", [](const json::value&) { return true; }));
    }
    return {};
  }

  // Asks until an answer is right.
  template <class Right>
  Status await(const std::string& url, const std::string& path, Right right) {
    auto client = HttpClient::connect(url);
    if (!client) return client.status();
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
      auto answer = ask_node(**client, "GET", path);
      if (answer.ok() && right(*answer)) return {};
      if (std::chrono::steady_clock::now() > end) {
        return answer.ok() ? unavailable(url + path + " is not what it should be in time")
                           : answer.status();
      }
      std::this_thread::sleep_for(ask_interval);
    }
  }

  Status change(const std::string& url, const char* method, const std::string& path,
                const std::string& body = {}) {
    auto client = HttpClient::connect(url);
    if (!client) return client.status();
    auto response = (*client)->request(method, path, body);
    return response.ok() ? check_response(*response) : response.status();
  }

  // A database of one shard with the base vectors in it: the rate at which these came.
  Result<double> import(const std::string& url, const std::string& database, uint32_t replicas) {
    const json::object create = {{"name", database},
                                 {"dimension", workload_.base.dimension},
                                 {"metric", to_string(workload_.metric)},
                                 {"datatype", to_string(options_.datatype)},
                                 {"shards", 1},
                                 {"replicas", replicas},
                                 {"index",
                                  {{"quantization", to_string(options_.index.quantization)},
                                   {"vectors", to_string(options_.index.vectors)}}}};
    JADE_RETURN_IF_ERROR(change(url, "POST", "/v1/databases", json::serialize(create)));
    MatrixReader reader(workload_.base);
    ImportOptions import;
    import.url = url;
    import.database = database;
    std::atomic<bool> stop{false};
    auto outcome = run_import(
        reader, import, stop, [](const ImportProgress&) {}, [](const std::string&) {});
    if (!outcome.ok()) return outcome.status();
    return static_cast<double>(outcome->rows) / outcome->seconds;
  }

  Status compare_imports() {
    auto alone =
        ServedProcess::start({"--data=" + (directory_.path() / "alone").string(), "--name=alone"});
    if (!alone) return alone.status();
    JADE_RETURN_IF_ERROR(await(alone->url(), "/readyz", [](const json::value&) { return true; }));
    report_.section("Imports into 3 nodes on this machine, durable, over HTTP, binary body");
    std::vector<double> one, three, ratios;
    for (uint32_t round = 0; round < options_.measure.rounds; ++round) {
      for (bool replicated : {false, true}) {
        const std::string& url = replicated ? nodes_[0].url() : alone->url();
        auto rate = import(url, "imported", replicated ? cluster_nodes : 1);
        if (!rate) return rate.status();
        (replicated ? three : one).push_back(*rate);
        JADE_RETURN_IF_ERROR(change(url, "DELETE", "/v1/databases/imported"));
      }
      ratios.push_back(three.back() / one.back());
    }
    report_.fact("one node, one replica", median(one), "vectors/s");
    report_.fact("3 nodes, 3 replicas", median(three), "vectors/s");
    report_.ratio("3 replicas / one", spread(ratios), "times");
    return {};
  }

  Status compare_searches() {
    const std::string& any = nodes_[0].url();
    if (auto rate = import(any, "searched", 1); !rate) return rate.status();
    JADE_RETURN_IF_ERROR(await_index(any));
    auto owner = find_owner(any);
    if (!owner) return owner.status();
    const std::string& other = nodes_[*owner == nodes_[0].url() ? 1 : 0].url();
    const std::string ef = "ef " + std::to_string(options_.index.ef_search);
    report_.section("Searches of one shard through its node and another, over HTTP, " + ef);
    for (uint32_t clients : options_.clients) {
      const std::string suffix = ", " + clients_text(clients);
      MeasureOptions measuring = options_.measure;
      measuring.clients = clients;
      measuring.ef = {options_.index.ef_search};
      auto through = [&](const std::string& url) {
        return [this, url] { return http_searcher(url, "searched", workload_); };
      };
      auto curves = measure(workload_,
                            {{"through the node that has it" + suffix, through(*owner)},
                             {"through another" + suffix, through(other)}},
                            measuring);
      for (const Curve& curve : curves) report_.curve(curve);
      report_.ratio("through another / through the one that has it" + suffix,
                    rate_ratio(curves[1].points[0], curves[0].points[0]), "times");
    }
    return {};
  }

  Status await_index(const std::string& url) {
    return await(url, "/v1/databases/searched", [](const json::value& database) {
      return json::value_to<std::string>(database.at("index_state")) == "ready";
    });
  }

  // The URL of the node that has the shard.
  Result<std::string> find_owner(const std::string& url) {
    auto client = HttpClient::connect(url);
    if (!client) return client.status();
    auto database = ask_node(**client, "GET", "/v1/databases/searched");
    if (!database) return database.status();
    auto cluster = ask_node(**client, "GET", "/v1/cluster");
    if (!cluster) return cluster.status();
    const json::value& leader = database->at("placement").at(0).at("leader");
    for (const json::value& node : cluster->at("nodes").as_array()) {
      if (node.at("id") != leader) continue;
      return "http://" + json::value_to<std::string>(node.at("address"));
    }
    return unavailable("no node leads the shard");
  }

  const ClusterBenchOptions& options_;
  const Workload& workload_;
  Report& report_;
  BenchDirectory directory_;
  std::vector<ServedProcess> nodes_;
};

}  // namespace

Status bench_cluster(const ClusterBenchOptions& options, const Workload& workload, Report& report) {
  return ClusterBench(options, workload, report).run();
}

}  // namespace jade
