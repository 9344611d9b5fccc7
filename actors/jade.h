// JadeVectorDB in your own process: open a node on a directory, create a
// database, upsert, search, close. No CAF, FAISS or LevelDB type appears here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "actors/api.h"

namespace boost::asio {
class io_context;
}

namespace jade {

enum class LogLevel : uint8_t { debug, info, warning, error };

struct NodeOptions {
  std::string data_dir = "./jade-data";  // created when missing; locked while open
  // 1 to 128 characters as the names of databases have; also its cluster address, which it is by
  // default, or node-1 without one. A directory keeps its name: another is refused.
  std::string name;
  std::string address;  // where its API is reached; only shown
  // HOST:PORT for other nodes; empty: a cluster of one. What comes in there is
  // trusted, so without the certificate below only loopback addresses are taken.
  std::string cluster_listen;
  // HOST:PORT at which they reach it; empty: cluster_listen. Must be given where
  // that is an address of all interfaces, such as 0.0.0.0.
  std::string cluster_address;
  // PEM files for TLS between nodes, all three or none (`jade certs` makes them): this
  // node's certificate, its key, and the authority that signs those of all nodes.
  std::string cluster_cert, cluster_key, cluster_ca;
  // Cluster addresses of members: a new directory becomes one of their cluster.
  // Empty: it founds one. Changes nothing where the directory is a member already.
  std::vector<std::string> join;
  // What the node is there for: "master" (may vote on the catalog and be the master),
  // "worker" (holds replicas), "gateway" (answers clients; see
  // HttpServerOptions::gateway). Empty: all. Who founds a cluster must be a master.
  std::vector<std::string> roles;
  // How long another node may be silent before its replicas are placed elsewhere; 0:
  // for ever.
  uint32_t replace_after_s = 300;
  // Threads that run actors and searches. 0: one a core.
  uint32_t worker_threads = 0;
  // Threads that build indexes in the background, all of them also one index, at the lowest
  // priority, so that serving comes first. 0: one a core.
  uint32_t builder_threads = 0;
  // LevelDB block cache of the whole node.
  size_t cache_bytes = 64u << 20;
  // Bytes of writes accepted but not yet acknowledged; over it a write fails
  // with resource_exhausted instead of queueing without end.
  size_t inflight_bytes_max = 256u << 20;
  // Called from any thread; must not block. Empty: warnings and errors go to stderr.
  std::function<void(LogLevel, std::string_view component, std::string_view message)> log;

  // Reads the certificate.
  Status validate() const;
};

// A running node. All functions may be called from any thread but the one of a
// callback given to api(); each blocks until it has its answer. Calls during close() are answered
// or fail with unavailable, as all do after it.
class Node {
 public:
  // Fails, changing nothing, when the directory is locked by another process,
  // not writable, of another format version, or damaged. Alone, it returns once the
  // node serves; in a cluster at once, as that may depend on others: Api::ready()
  // tells.
  static Result<std::unique_ptr<Node>> open(NodeOptions options);

  // Closes if close() was not called.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  Result<DatabaseInfo> create_database(DatabaseSpec spec);
  Result<std::vector<DatabaseInfo>> list_databases();
  Result<DatabaseInfo> describe_database(std::string name);
  Result<DatabaseInfo> drop_database(std::string name);
  // Returns when it is decided; the shard then becomes two while both serve.
  Result<DatabaseInfo> split_shard(SplitShardRequest request);
  Result<UpsertReply> upsert(UpsertRequest request);
  // Changes parts of records that exist.
  Result<UpdateReply> update(UpdateRequest request);
  Result<DeleteReply> remove(DeleteRequest request);
  Result<StoredVector> get(GetRequest request);
  Result<ListReply> list(ListRequest request);
  Result<RecallReply> recall(RecallRequest request);
  Result<SearchReply> search(SearchRequest request);
  Result<SearchBatchReply> search_batch(SearchBatchRequest request);

  // Blocks until all vectors of the database are in their final indexes.
  Status wait_until_indexed(const std::string& database);

  // The same operations without blocking, for servers. Valid until close(), and not to be called
  // after that has begun.
  Api& api();

  // The loop of the thread that serves the connections with other nodes, for whoever serves
  // clients there as well (HttpServerOptions::loop), as passing requests on between threads takes
  // longer than handling them. Runs until close(). Null where the node is alone.
  boost::asio::io_context* loop();

  // Finishes what is in flight, makes it durable and releases the directory. If it is called more
  // than once, each call returns when that is done.
  Status close();

 private:
  Node();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace jade
