// Nodes of different releases meet: they are told so, and nothing else happens.
#include <doctest/doctest.h>
#include <leveldb/env.h>

#include <filesystem>
#include <future>

#include "actors/node.h"
#include "tests/actors/scripted_peer.h"

namespace jade {
namespace {

// A node, and the cluster of one that it founds, on a directory that goes with it.
struct LoneNode {
  std::filesystem::path dir;
  test::ScriptedConfig config;
  caf::actor_system system{config};
  std::unique_ptr<NodeRuntime> node;

  LoneNode() {
    std::string name = (std::filesystem::temp_directory_path() / "jade-version-XXXXXX").string();
    dir = mkdtemp(name.data());
    NodeSeams seams;
    seams.env = leveldb::Env::Default();
    seams.log = [](LogLevel, std::string_view, std::string_view) {};
    NodeConfig options;
    options.data_dir = (dir / "data").string();
    auto started = NodeRuntime::start(system, seams, options);
    REQUIRE_MESSAGE(started.ok(), started.status().to_string());
    node = std::move(*started);
  }
  ~LoneNode() {
    std::promise<void> stopped;
    node->stop([&] { stopped.set_value(); });
    stopped.get_future().wait();
    node.reset();
    std::filesystem::remove_all(dir);
  }

  // How another node's request to this one ends.
  template <class Reply, class Request>
  Status ask(const Request& request) {
    caf::scoped_actor self(system);
    Status status;
    self->request(node->peer(), std::chrono::seconds(60), request)
        .receive([](const Reply&) {}, [&](const caf::error& error) { status = to_status(error); });
    return status;
  }
};

std::string hex(const std::vector<char>& bytes) {
  std::string out;
  for (char byte : bytes) {
    char text[3];
    std::snprintf(text, sizeof text, "%02x", static_cast<unsigned char>(byte));
    out += text;
  }
  return out;
}

template <class Message>
std::string on_the_wire(Message message) {
  test::ScriptedConfig config;
  caf::actor_system system(config);
  std::vector<char> bytes;
  caf::binary_serializer sink(system, bytes);
  REQUIRE(!sink(message));
  return hex(bytes);
}

}  // namespace

TEST_CASE("a node of another version is told so when it says hello, and when it wants to join") {
  LoneNode lone;
  std::string ours = std::to_string(cluster_protocol);
  for (uint32_t theirs : {cluster_protocol - 1, cluster_protocol + 1}) {
    std::string version = std::to_string(theirs);
    Status status = lone.ask<HelloReply>(Hello{"", 5, theirs});
    CHECK(status.code() == Code::failed_precondition);
    CHECK(status.message() == "it speaks version " + ours +
                                  " of the protocol between nodes, and this node version " +
                                  version + "; run the same release on both");
    JoinCluster join;
    join.route.group = metadata_group;
    join.node = 5;
    join.name = "other";
    join.address = "127.0.0.1:1";
    join.protocol = theirs;
    status = lone.ask<JoinedCluster>(join);
    CHECK(status.code() == Code::failed_precondition);
    CHECK(status.message() == "this cluster speaks version " + ours +
                                  " of the protocol between nodes, and node \"other\" version " +
                                  version + "; run the same release on all");
  }
  CHECK(lone.ask<HelloReply>(Hello{"", 5}).ok());
  // It has not become a member.
  std::promise<Result<ClusterInfo>> asked;
  lone.node->api().cluster([&](Result<ClusterInfo> info) { asked.set_value(std::move(info)); });
  auto cluster = asked.get_future().get();
  REQUIRE(cluster.ok());
  for (const NodeInfo& member : cluster->nodes) CHECK(member.name != "other");
}

TEST_CASE("what carries the version looks the same in all versions") {
  // As version 2 wrote them: a change here means that older nodes are not told why.
  CHECK(on_the_wire(Hello{"ab", 5, 2}) ==
        "026162"
        "0000000000000005"
        "00000002");
  JoinCluster join{{1, 7, 2, 3}, "ab", 5, "n", "h:1", "h:2", 3, 2};
  join.route.budget_ms = 9;
  CHECK(on_the_wire(join) ==
        "0000000000000001"
        "0000000000000007"
        "0203"
        "026162"
        "0000000000000005"
        "016e"
        "03683a31"
        "03683a32"
        "03"
        "00000002");
}

}  // namespace jade
