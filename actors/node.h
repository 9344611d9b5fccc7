// A node: all its actors, started over the seams that the simulator replaces.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "actors/client.h"
#include "actors/log.h"
#include "actors/messages.h"
#include "actors/shard_front.h"
#include "index/workers.h"

namespace leveldb {
class Env;
class Cache;
}  // namespace leveldb

namespace jade {

class DataDirectory;

// What a node is given instead of taking it from the operating system. Clock and
// network are those of the actor system.
struct NodeSeams {
  leveldb::Env* env = nullptr;  // outlives the node
  uint64_t seed = 0;            // of all randomness in the node
  // Blocking actors get threads of their own (false in the simulator, where
  // everything runs in one).
  bool detach_blocking = true;
  // How long what a builder does next is to seem to take, in milliseconds, where builders have
  // no threads. Empty: no time.
  std::function<uint64_t()> build_ms;
  // Gives the calling thread a lower priority, as a nice value; may be empty.
  std::function<void(int nice)> lower_priority;
  std::function<void()> give_memory_back;  // of what was freed, after builds; may be empty
  LogSink log;                             // must be callable
  // Connects to the cluster ports of other nodes, as CAF's middleman does. Null: a
  // cluster of one.
  caf::actor connector;
  // Told of each attempt beforehand; for the simulated network.
  std::function<void(const std::string& host, uint16_t port)> before_connect;
  // Told in which term of which Raft group this node was elected. Null: nobody watches.
  std::function<void(uint64_t group, uint64_t term)> elected;

  void tell_elected(uint64_t group, uint64_t term) const {
    if (elected) elected(group, term);
  }
};

struct NodeConfig {
  std::string data_dir;
  // "": what the directory's node was called last, `default_name` for a new one. Another name than
  // that is refused.
  std::string name;
  std::string default_name = "node-1";
  std::string address;  // as others may reach its API; for display
  // HOST:PORT at which other nodes reach this one. Empty: a cluster of one.
  std::string cluster_address;
  // Cluster addresses of members: become one of their cluster. Empty: found one.
  // For a directory that is a member already it changes nothing.
  std::vector<std::string> join;
  uint64_t node_id = 0;  // of a new directory; 0: draw one
  uint8_t roles = 0;     // a set of NodeRole; 0: all
  // How long a node may be silent before its replicas are placed elsewhere; 0: for
  // ever. Each node's own, which counts while it is the master.
  uint64_t replace_after_ms = 300'000;
  // How often it begins another life (storage/life.h) while it runs, so that an older copy
  // of its disk is noticed that was made since its start; 0: never.
  uint64_t renew_life_ms = 300'000;
  uint32_t searchers = 2;
  // How many threads build indexes at once, all of them also one index, where blocking
  // actors have threads of their own.
  uint32_t builders = 1;
  uint32_t clients = 2;
  // Databases are not created for whose shards a node would have more replicas, as their files
  // could not all be open; 0: they are.
  size_t replicas_max = 0;
  size_t cache_bytes = 64u << 20;
  size_t inflight_bytes_max = 256u << 20;
  uint32_t raft_tick_ms = 100;
  uint32_t raft_election_timeout_ms = 1000;
  uint32_t raft_snapshot_entries = 4096;
  size_t raft_snapshot_bytes = 32u << 20;
  size_t raft_retained_bytes = 32u << 20;  // of the log, for replicas that lag
  // Rows after which the growing segment is sealed although builders are busy,
  // and rows that are worth an index when they are not. 0: by dimension.
  uint32_t seal_rows_max = 0;
  uint32_t seal_rows_min = 0;
  // Rows from which on what has no index yet is searched by lists (index/growing_lists.h). 0:
  // by the type of the index.
  uint32_t listed_rows_min = 0;
  // With sharding by vector: so many vectors of one home are enough to train a router (0:
  // by the number of shards), and it is trained anew when they are so many times as many.
  uint32_t router_vectors_min = 0;
  uint32_t router_growth = 8;
};

// The cluster that this node is a member of. May be used from any thread.
class Membership {
 public:
  // `persist` makes an adopted id durable; it blocks.
  Membership(std::string cluster_id, std::function<Status(const std::string&)> persist)
      : cluster_id_(std::move(cluster_id)), persist_(std::move(persist)) {}

  // "": not a member yet.
  std::string cluster_id() const {
    std::lock_guard lock(mutex_);
    return cluster_id_;
  }
  Status adopt(const std::string& cluster_id) {
    JADE_RETURN_IF_ERROR(persist_(cluster_id));
    std::lock_guard lock(mutex_);
    cluster_id_ = cluster_id;
    return {};
  }

 private:
  mutable std::mutex mutex_;
  std::string cluster_id_;
  std::function<Status(const std::string&)> persist_;
};

// Everything that the actors of a node share; immutable after start.
struct NodeContext {
  NodeSeams seams;
  NodeConfig config;
  std::shared_ptr<Membership> membership;
  std::shared_ptr<LogStore> log;
  std::vector<Life> lives;               // of this node when it started; the last is this start
  std::map<uint64_t, Life> known_lives;  // of all nodes, by what its own log had then
  std::shared_ptr<leveldb::Cache> cache;
  log_writer_actor log_writer;
  blocking_actor syncer;  // short blocking work
  blocking_actor opener;  // opens and removes shard directories
  blocking_actor copier;  // copies what is to be split off: not behind index builds
  blocking_actor lister;  // puts rows that wait for an index into lists
  std::vector<blocking_actor> builders;
  std::shared_ptr<Workers> workers;  // share in what builders do; null: none
  std::vector<searcher_actor> searchers;
  std::vector<searcher_actor> long_searchers;  // for these
  std::shared_ptr<ShardFronts> fronts = std::make_shared<ShardFronts>();

  void say(LogLevel level, std::string_view component, std::string_view message) const {
    seams.log(level, component, message);
  }
};
using NodeContextPtr = std::shared_ptr<const NodeContext>;

// A number for another life than these; `random` is the state of a generator.
uint64_t new_life(const std::vector<Life>& lives, uint64_t& random);

class NodeRuntime {
 public:
  // Opens the data directory and starts the actors. Serving begins when ready()
  // of the Api succeeds. The system must outlive the runtime.
  static Result<std::unique_ptr<NodeRuntime>> start(caf::actor_system& system, NodeSeams seams,
                                                    NodeConfig config);
  // The actors must have stopped (stop()), or are killed where they are.
  ~NodeRuntime();

  Api& api() { return *api_; }
  const gateway_actor& gateway() const { return gateway_; }
  const node_actor& node() const { return node_; }
  // To be published at the cluster port.
  const peer_actor& peer() const { return peer_; }
  const NodeContext& context() const { return *context_; }

  // The digest of one shard's contents, asked of its actor through the node.
  void digest(uint64_t group, Api::Done<ShardDigest> done);

  // Finishes what is in flight, makes it durable and ends all actors; then calls
  // done. The data directory is released when the runtime is destroyed.
  void stop(std::function<void()> done);

  // Ends all actors at once, losing what a crash would lose. For the simulator.
  void kill();

 private:
  NodeRuntime() = default;

  caf::actor_system* system_ = nullptr;
  std::unique_ptr<DataDirectory> directory_;
  NodeContextPtr context_;
  node_actor node_;
  peer_actor peer_;
  master_actor master_;
  ingest_actor ingest_;
  query_actor query_;
  gateway_actor gateway_;
  std::unique_ptr<ApiClient> api_;
};

}  // namespace jade
