// Whole nodes and what comes and goes between them, a test at a time.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "actors/node.h"
#include "actors/random.h"
#include "sim/node.h"

namespace jade::sim {

constexpr uint64_t ms = 1'000'000;
constexpr uint64_t patience_ns = 60'000 * ms;

using Nodes = std::vector<size_t>;

// Some machines, and a database of one shard with a replica on each, or on fewer of them. Some of
// them are to miss the split: so many that the others are just a majority.
struct Machines {
  static constexpr uint64_t rows = 60;

  uint64_t now_ns = 1'000'000'000 * ms;  // far from 0, as clocks of machines are
  uint64_t random;
  SimNetwork network;
  std::vector<std::unique_ptr<SimNode>> nodes;
  Nodes late, others;
  Nodes paused;  // which do nothing, and do not know it

  // `replicas`: 0: as many as machines.
  Machines(uint64_t seed, size_t size, Nodes late_ones, uint32_t replicas = 0)
      : random(seed), network(seed, LatencyRange{}), late(std::move(late_ones)) {
    for (size_t i = 0; i < size; ++i) {
      NodeConfig config;
      config.node_id = i + 1;
      config.name = "node-" + std::to_string(i + 1);
      config.cluster_address = config.name + ":1";
      if (i > 0) config.join.push_back("node-1:1");
      auto connecting = [this, i](const std::string& host, uint16_t port) {
        for (size_t to = 0; to < nodes.size(); ++to) {
          const std::string& address = nodes[to]->config().cluster_address;
          bool meant = address.starts_with(host + ":") && to != i && nodes[to]->running();
          if (meant) network.connect(nodes[to]->system(), nodes[i]->system(), host, port);
        }
      };
      nodes.push_back(std::make_unique<SimNode>(
          mix(seed, i), [this] { return now_ns; }, config, &network, connecting));
      start(i);
    }
    for (size_t i = 0; i < size; ++i) {
      await_ready(i);
      if (std::count(late.begin(), late.end(), i) == 0) others.push_back(i);
    }
    // Any majority can change the catalog. Of an even number of machines one does not vote.
    const auto voters = static_cast<long>(size - (size + 1) % 2);
    REQUIRE(await<ClusterInfo>(
        front(), [](Api& api, auto done) { api.cluster(done); },
        [voters](const ClusterInfo& info) {
          auto votes = [](const NodeInfo& node) { return node.votes; };
          return std::count_if(info.nodes.begin(), info.nodes.end(), votes) == voters;
        }));
    DatabaseSpec spec;
    spec.name = "d";
    spec.dimension = 2;
    spec.replicas = replicas == 0 ? static_cast<uint32_t>(size) : replicas;
    REQUIRE(
        ask<DatabaseInfo>(front(), [&](Api& api, auto done) { api.create_database(spec, done); }));
    REQUIRE(write(front(), 0, rows));
  }
  ~Machines() {
    for (auto& node : nodes) node->crash();
  }

  // Who is asked.
  size_t front() const { return others.front(); }

  void start(size_t node) {
    Status started = nodes[node]->start();
    REQUIRE_MESSAGE(started.ok(), started.to_string());
    nodes[node]->disk().drain();
  }

  Nodes active() const {
    Nodes out;
    for (size_t i = 0; i < nodes.size(); ++i) {
      bool is_paused = std::count(paused.begin(), paused.end(), i) > 0;
      if (nodes[i]->running() && !is_paused) out.push_back(i);
    }
    return out;
  }

  // One turn of an actor of any node, or one thing of the network. False: nothing can run.
  bool step() {
    std::vector<SimNode*> ready;
    for (size_t i : active()) {
      if (nodes[i]->system().runnable() > 0) ready.push_back(nodes[i].get());
    }
    if (!ready.empty()) {
      SimNode& node = *ready[next_random(random) % ready.size()];
      node.system().run(next_random(random) % node.system().runnable());
      node.disk().drain();
      return true;
    }
    for (size_t i : active()) {
      bool ran = nodes[i]->system().run_broker();
      nodes[i]->disk().drain();
      if (ran) return true;
    }
    return network.deliver(now_ns);
  }

  bool run_until(const std::function<bool()>& done, uint64_t limit_ns = patience_ns) {
    uint64_t stop_ns = now_ns + limit_ns;
    while (!done()) {
      if (step()) continue;
      if (now_ns >= stop_ns) return false;
      uint64_t next_ns = network.next_arrival_ns(now_ns).value_or(stop_ns);
      for (size_t i : active()) {
        next_ns = std::min(next_ns, nodes[i]->system().next_timeout_ns().value_or(stop_ns));
      }
      now_ns = std::min(stop_ns, std::max(next_ns, now_ns + 1));
      for (size_t i : active()) nodes[i]->system().advance_to(now_ns);
    }
    return true;
  }

  // Of a node that runs.
  template <class T>
  Result<T> answer_of(size_t node, const std::function<void(Api&, Api::Done<T>)>& call) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    call(nodes[node]->api(), [answer](Result<T> result) { answer->emplace(std::move(result)); });
    if (!run_until([&] { return answer->has_value(); })) return unavailable("there was no answer");
    return std::move(**answer);
  }

  // The same; nothing where it gives no answer, or an error.
  template <class T>
  std::optional<T> ask(size_t node, const std::function<void(Api&, Api::Done<T>)>& call) {
    auto answer = answer_of<T>(node, call);
    if (!answer.ok()) return std::nullopt;
    return std::move(*answer);
  }

  // Rows with the ids from `begin` on.
  static UpsertRequest rows_of(const std::string& database, uint64_t begin, uint64_t count) {
    UpsertRequest request;
    request.database = database;
    request.dimension = 2;
    for (uint64_t id = begin; id < begin + count; ++id) {
      request.ids.emplace_back(id);
      float values[2] = {static_cast<float>(id), 1};
      request.values.append(reinterpret_cast<const char*>(values), sizeof values);
    }
    return request;
  }
  bool write(size_t node, uint64_t begin, uint64_t count) {
    const UpsertRequest request = rows_of("d", begin, count);
    return ask<UpsertReply>(node, [&](Api& api, auto done) { api.upsert(request, done); })
        .has_value();
  }

  // The same, again and again until there is an answer that is good.
  template <class T>
  bool await(size_t node, const std::function<void(Api&, Api::Done<T>)>& call,
             const std::function<bool(const T&)>& good) {
    for (uint64_t stop_ns = now_ns + patience_ns; now_ns < stop_ns;) {
      std::optional<T> answer = ask<T>(node, call);
      if (answer && good(*answer)) return true;
      run_until([] { return false; }, ms);
    }
    return false;
  }

  void await_ready(size_t node) {
    REQUIRE(await<std::string>(
        node, [](Api& api, auto done) { api.ready(done); },
        [](const std::string&) { return true; }));
  }

  ShardInfo shard(size_t index) {
    ShardInfo out;
    REQUIRE(await<DatabaseInfo>(
        front(), [](Api& api, auto done) { api.describe_database("d", done); },
        [&](const DatabaseInfo& info) {
          if (info.placement.size() <= index) return false;
          out = info.placement[index];
          return out.leader != 0;
        }));
    return out;
  }

  // Late ones and the others do not hear each other.
  void cut_off(bool cut) {
    for (size_t node : late) {
      for (size_t other : others) {
        network.block(nodes[node]->system(), nodes[other]->system(), cut);
        network.block(nodes[other]->system(), nodes[node]->system(), cut);
      }
    }
  }

  void split() {
    const uint64_t parent = shard(0).shard;
    // Also where those who led are late: then it may be done twice.
    REQUIRE(await<DatabaseInfo>(
        front(),
        [&](Api& api, auto done) {
          api.split_shard({"d", parent}, done);
        },
        [](const DatabaseInfo&) { return true; }));
  }

  void await_split() {
    REQUIRE(await<ClusterInfo>(
        front(), [](Api& api, auto done) { api.cluster(done); },
        [](const ClusterInfo& info) { return info.tasks.empty(); }));
  }

  // The rest goes on without it, and lacks nothing.
  void lose_last() {
    const size_t lost = others.back();
    nodes[lost]->crash();
    CHECK(await<DatabaseInfo>(
        front(), [](Api& api, auto done) { api.describe_database("d", done); },
        [&](const DatabaseInfo& info) {
          bool lead = info.placement.size() >= 2;
          for (const ShardInfo& shard : info.placement) {
            lead = lead && shard.leader != 0 && shard.leader != lost + 1;
          }
          return lead && info.vectors == rows;
        }));
  }
};

}  // namespace jade::sim
