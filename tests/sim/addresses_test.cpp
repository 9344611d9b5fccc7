// Nodes that have other addresses when they are started again.
#include <doctest/doctest.h>

#include "tests/sim/machines.h"

namespace jade::sim {
namespace {

// The machine is off; when it is started again, its node is at another address.
void move(Machines& machines, size_t node, const std::vector<std::string>& join) {
  SimNode& machine = *machines.nodes[node];
  NodeConfig config = machine.config();
  config.cluster_address = "moved-" + config.name + ":1";
  config.join = join;
  const SimDisk::Image image = machine.disk().image();
  machine.replace_disk(config);
  machine.put_disk_back(image);
}

void start_all(Machines& machines, const Nodes& order) {
  for (size_t i : order) machines.start(i);
  for (size_t i : order) machines.await_ready(i);
  for (size_t i : order) {
    CHECK(machines.await<DatabaseInfo>(
        i, [](Api& api, auto done) { api.describe_database("d", done); },
        [](const DatabaseInfo& info) { return info.vectors == Machines::rows; }));
  }
}

}  // namespace

TEST_CASE("nodes that have all moved find each other by the addresses to join by") {
  for (const Nodes& order : {Nodes{0, 1, 2}, Nodes{2, 1, 0}, Nodes{1, 0, 2}}) {
    CAPTURE(order.front());
    // All are told of all, or of one.
    for (bool of_all : {true, false}) {
      CAPTURE(of_all);
      Machines machines(order.front(), 3, {});
      for (auto& node : machines.nodes) node->crash();
      std::vector<std::string> join{"moved-node-1:1"};
      if (of_all) join.insert(join.end(), {"moved-node-2:1", "moved-node-3:1"});
      for (size_t i = 0; i < 3; ++i) move(machines, i, join);
      start_all(machines, order);
    }
  }
}

TEST_CASE("nodes that have moved hear of each other from one that has not") {
  for (const Nodes& moved : {Nodes{0, 1}, Nodes{0, 2}, Nodes{1, 2}}) {
    for (const Nodes& order : {Nodes{0, 1, 2}, Nodes{2, 1, 0}, Nodes{1, 2, 0}}) {
      CAPTURE(moved.front());
      CAPTURE(moved.back());
      CAPTURE(order.front());
      Machines machines(order.front(), 3, {});
      for (auto& node : machines.nodes) node->crash();
      for (size_t i : moved) move(machines, i, {});
      start_all(machines, order);
    }
  }
}

}  // namespace jade::sim
