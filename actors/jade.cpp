#include "actors/jade.h"

#include <arpa/inet.h>
#include <leveldb/env.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <chrono>
#include <condition_variable>
#include <future>
#include <iostream>
#include <mutex>
#include <random>
#include <thread>

#include "actors/catalog.h"
#include "actors/cluster_middleman.h"
#include "actors/errors.h"
#include "actors/node.h"
#include "actors/peer.h"
#include "actors/scheduler.h"
#include "actors/shard_files.h"
#include "storage/env.h"

namespace jade {
namespace {

// The system of a node of its own process: real threads, real time.
struct SystemConfig : caf::actor_system_config {
  SystemConfig(uint32_t threads, bool cluster) {
    if (cluster) ConnectionLoop::configure(*this);
    jade::add_message_types(*this);
    set("scheduler.max-threads", static_cast<size_t>(threads));
    use_node_scheduler(*this);
    // Messages are read where they arrive. They are blobs for the most part, and waking a
    // thread that reads them costs more.
    set("middleman.workers", size_t{0});
    set("logger.verbosity", caf::atom("quiet"));
  }
};

void to_stderr(LogLevel level, std::string_view component, std::string_view message) {
  if (level < LogLevel::warning) return;
  std::string line = level == LogLevel::error ? "error " : "warning ";
  line.append(component).append(": ").append(message).append("\n");
  std::cerr << line;
}

void lower_priority(int nice) {
  // Of this thread only: on Linux every thread has a nice value of its own.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), nice);
}

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Calls an operation of the Api and waits for its answer.
template <class T, class Call>
Result<T> wait_for(Call call) {
  auto promise = std::make_shared<std::promise<Result<T>>>();
  auto future = promise->get_future();
  call([promise](Result<T> result) { promise->set_value(std::move(result)); });
  return future.get();
}

}  // namespace

namespace {

constexpr int warn_before_days = 30;

bool is_loopback(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  return host == "localhost" || host == "::1";
}

bool is_wildcard(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

TlsFiles tls_files(const NodeOptions& options) {
  return {options.cluster_cert, options.cluster_key, options.cluster_ca};
}

// CAF's protocol believes what it is sent: who speaks it must be known to be a node.
Status check_reachable_by_nodes_only(const std::string& setting, const std::string& address,
                                     bool tls) {
  auto target = parse_address(address);
  if (!target.ok()) return target.status().with_context(setting);
  if (tls || is_loopback(target->first)) return {};
  return invalid_argument(
      setting + " is \"" + address +
      "\"; without TLS only loopback addresses such as 127.0.0.1:7100 are possible. Give "
      "cluster_cert, cluster_key and cluster_ca; `jade certs` makes the files");
}

Status check_cluster_address(const NodeOptions& options, bool tls) {
  const std::string& listen = options.cluster_listen;
  const std::string& address = options.cluster_address;
  JADE_RETURN_IF_ERROR(check_reachable_by_nodes_only("cluster_listen", listen, tls));
  if (address.empty()) {
    if (!is_wildcard(parse_address(listen)->first)) return {};
    return invalid_argument("cluster_listen is \"" + listen +
                            "\", which no other node can connect to; give cluster_address as well");
  }
  JADE_RETURN_IF_ERROR(check_reachable_by_nodes_only("cluster_address", address, tls));
  if (!is_wildcard(parse_address(address)->first)) return {};
  return invalid_argument("cluster_address is \"" + address +
                          "\"; name the address at which other nodes reach this one");
}

Status check_tls(const TlsFiles& files) {
  for (auto [name, path] :
       {std::pair("cluster_cert", &files.certificate), std::pair("cluster_key", &files.key),
        std::pair("cluster_ca", &files.ca)}) {
    if (!path->empty()) continue;
    return invalid_argument(std::string(name) +
                            " is missing; cluster_cert, cluster_key and cluster_ca go together");
  }
  return ClusterTls::load(files).status();
}

// Whatever concerns other nodes.
Status check_cluster(const NodeOptions& options) {
  bool tls = tls_files(options).any();
  if (options.cluster_listen.empty()) {
    for (auto [name, given] : {std::pair("join", !options.join.empty()),
                               std::pair("cluster_address", !options.cluster_address.empty()),
                               std::pair("cluster_cert", tls)}) {
      if (!given) continue;
      return invalid_argument(std::string(name) +
                              " is given, but cluster_listen is not; the others must be able "
                              "to reach this node");
    }
    return {};
  }
  if (tls) JADE_RETURN_IF_ERROR(check_tls(tls_files(options)));
  JADE_RETURN_IF_ERROR(check_cluster_address(options, tls));
  for (const std::string& member : options.join) {
    JADE_RETURN_IF_ERROR(check_reachable_by_nodes_only("join", member, tls));
  }
  return {};
}

Status check_roles(const NodeOptions& options) {
  uint8_t set = 0;
  for (const std::string& role : options.roles) {
    auto parsed = parse_role(role);
    if (!parsed) {
      return invalid_argument("roles names \"" + role + "\"; they are master, worker and gateway");
    }
    set |= static_cast<uint8_t>(*parsed);
  }
  bool founds = options.join.empty() && !options.roles.empty();
  if (founds && (set & static_cast<uint8_t>(NodeRole::master)) == 0) {
    return invalid_argument(
        "roles lacks master, but without join this node founds a cluster; who founds one must be "
        "able to be its master");
  }
  if (options.cluster_listen.empty() && set != 0 && set != all_roles) {
    return invalid_argument("roles is given, but a cluster of one needs all of them");
  }
  return {};
}

}  // namespace

Status NodeOptions::validate() const {
  if (data_dir.empty()) return invalid_argument("data_dir is empty; name a directory");
  bool is_address = name == cluster_address || name == cluster_listen;
  if (!name.empty() && !is_address && !is_name(name)) {
    return invalid_argument(
        "name is \"" + name.substr(0, 200) +
        "\"; it must be 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' and "
        "'-', the first a letter or digit. A node that has a name already keeps it "
        "where none is given");
  }
  JADE_RETURN_IF_ERROR(check_cluster(*this));
  JADE_RETURN_IF_ERROR(check_roles(*this));
  if (worker_threads > 1024) return invalid_argument("worker_threads must be at most 1024");
  if (builder_threads > 1024) return invalid_argument("builder_threads must be at most 1024");
  if (cache_bytes < (1u << 20)) return invalid_argument("cache_bytes must be at least 1 MiB");
  if (inflight_bytes_max < (1u << 20)) {
    return invalid_argument("inflight_bytes_max must be at least 1 MiB");
  }
  return {};
}

struct Node::Impl {
  // In the order of their making; destroyed in reverse.
  std::unique_ptr<SystemConfig> config;
  std::unique_ptr<caf::actor_system> system;
  std::unique_ptr<ClusterMiddleman> middleman;  // null: it is alone
  std::unique_ptr<NodeRuntime> runtime;

  std::mutex mutex;  // of what follows
  std::condition_variable changed;
  size_t asking = 0;     // threads that use `runtime`
  bool closing = false;  // calls are refused
  bool closed = false;

  Status open_middleman(const NodeOptions& options, const LogSink& log);
  Status publish(const std::string& listen);
  // ask(api, done), and what done() is called with.
  template <class Reply, class Ask>
  Result<Reply> call(Ask ask);
};

namespace {

// A thread that has made a system or spawned in one holds its logger from then on, and a system
// ends only when nobody does: whoever closes a node would wait for the thread that opened it.
struct LetGoOfSystem {
  ~LetGoOfSystem() { caf::logger::set_current_actor_system(nullptr); }
};

Status is_closed() { return unavailable("the node is closed"); }

}  // namespace

template <class Reply, class Ask>
Result<Reply> Node::Impl::call(Ask ask) {
  {
    std::lock_guard lock(mutex);
    if (closing) return is_closed();
    ++asking;
  }
  return wait_for<Reply>([&](auto done) {
    ask(runtime->api(), std::move(done));
    // From now on it is answered whatever becomes of the node.
    std::lock_guard lock(mutex);
    if (--asking == 0) changed.notify_all();
  });
}

Status Node::Impl::open_middleman(const NodeOptions& options, const LogSink& log) {
  std::shared_ptr<const ClusterTls> tls;
  if (tls_files(options).any()) {
    auto loaded = ClusterTls::load(tls_files(options));
    if (!loaded.ok()) return loaded.status();
    tls = std::move(*loaded);
    LogLevel level = tls->days_left() < warn_before_days ? LogLevel::warning : LogLevel::info;
    log(level, "cluster", "certificate of " + tls->describe());
  }
  middleman =
      std::make_unique<ClusterMiddleman>(*system, std::move(tls), log, ClusterMiddleman::Bounds());
  return {};
}

Status Node::Impl::publish(const std::string& listen) {
  auto [host, port] = *parse_address(listen);
  auto peer = caf::actor_cast<caf::actor>(runtime->peer());
  Status status = middleman->publish(peer, host, port).status();
  if (status.ok()) return {};
  return unavailable("cluster address " + listen + " cannot be listened on; is it in use? (" +
                     status.message() + ")");
}

Node::Node() : impl_(std::make_unique<Impl>()) {}

Result<std::unique_ptr<Node>> Node::open(NodeOptions options) {
  JADE_RETURN_IF_ERROR(options.validate());
  uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  uint32_t workers = options.worker_threads > 0 ? options.worker_threads : std::max(2u, cores);
  LetGoOfSystem at_end;
  std::unique_ptr<Node> node(new Node());
  Impl& impl = *node->impl_;
  impl.config = std::make_unique<SystemConfig>(workers, !options.cluster_listen.empty());
  impl.system = std::make_unique<caf::actor_system>(*impl.config);

  NodeSeams seams;
  // As it is: each store wraps it for itself (storage/env.h), so that what failed
  // in one is forgotten when that one is reopened.
  seams.env = file_system();
  seams.seed = random_seed();
  seams.lower_priority = lower_priority;
  seams.give_memory_back = [] { malloc_trim(0); };
  const LogSink log = options.log ? options.log : to_stderr;
  seams.log = log;
  NodeConfig config;
  config.data_dir = options.data_dir;
  config.name = options.name;
  config.address = options.address;
  config.searchers = workers;
  config.builders = options.builder_threads > 0 ? options.builder_threads : cores;
  config.cache_bytes = options.cache_bytes;
  config.inflight_bytes_max = options.inflight_bytes_max;
  config.cluster_address =
      options.cluster_address.empty() ? options.cluster_listen : options.cluster_address;
  if (!config.cluster_address.empty()) config.default_name = config.cluster_address;
  config.join = options.join;
  for (const std::string& role : options.roles) {
    config.roles |= static_cast<uint8_t>(*parse_role(role));
  }
  config.replicas_max = open_files_max() / 2 / files_per_replica;
  config.replace_after_ms = uint64_t{options.replace_after_s} * 1000;
  bool cluster = !options.cluster_listen.empty();
  if (cluster) {
    JADE_RETURN_IF_ERROR(impl.open_middleman(options, log));
    seams.connector = impl.middleman->connector();
  }
  auto runtime = NodeRuntime::start(*impl.system, std::move(seams), config);
  if (!runtime.ok()) return runtime.status();
  impl.runtime = std::move(*runtime);
  if (cluster) {
    JADE_RETURN_IF_ERROR(impl.publish(options.cluster_listen));
    return node;
  }

  // Serving, or knowing why not.
  auto settled = std::make_shared<std::promise<Status>>();
  auto future = settled->get_future();
  impl.system->spawn([supervisor = impl.runtime->node(), settled](caf::event_based_actor* self) {
    self->request(supervisor, caf::infinite, AwaitVersion{0, {}})
        .then([settled](const CatalogApplied&) { settled->set_value(Status()); },
              [settled](const caf::error& error) { settled->set_value(to_status(error)); });
  });
  while (future.wait_for(std::chrono::seconds(10)) != std::future_status::ready) {
    auto ready = wait_for<std::string>([&](auto done) { node->api().ready(std::move(done)); });
    if (ready.ok()) continue;
    log(LogLevel::warning, "node", "not ready yet: " + ready.status().message());
  }
  if (Status status = future.get(); !status.ok()) return status;
  return node;
}

Node::~Node() { (void)close(); }

Status Node::close() {
  Impl& impl = *impl_;
  std::unique_lock lock(impl.mutex);
  if (std::exchange(impl.closing, true)) {
    impl.changed.wait(lock, [&] { return impl.closed; });
    return {};
  }
  impl.changed.notify_all();
  lock.unlock();
  if (impl.runtime) {
    std::promise<void> stopped;
    impl.runtime->stop([&stopped] { stopped.set_value(); });
    stopped.get_future().wait();
  }
  lock.lock();
  impl.changed.wait(lock, [&] { return impl.asking == 0; });
  lock.unlock();
  impl.runtime.reset();  // which answers what is left
  impl.middleman.reset();
  impl.system.reset();
  lock.lock();
  impl.closed = true;
  impl.changed.notify_all();
  return {};
}

Api& Node::api() { return impl_->runtime->api(); }

boost::asio::io_context* Node::loop() {
  return impl_->middleman ? &impl_->middleman->loop() : nullptr;
}

Result<DatabaseInfo> Node::create_database(DatabaseSpec spec) {
  return impl_->call<DatabaseInfo>(
      [&](Api& api, auto done) { api.create_database(std::move(spec), std::move(done)); });
}
Result<std::vector<DatabaseInfo>> Node::list_databases() {
  return impl_->call<std::vector<DatabaseInfo>>(
      [&](Api& api, auto done) { api.list_databases(std::move(done)); });
}
Result<DatabaseInfo> Node::describe_database(std::string name) {
  return impl_->call<DatabaseInfo>(
      [&](Api& api, auto done) { api.describe_database(std::move(name), std::move(done)); });
}
Result<DatabaseInfo> Node::drop_database(std::string name) {
  return impl_->call<DatabaseInfo>(
      [&](Api& api, auto done) { api.drop_database(std::move(name), std::move(done)); });
}
Result<DatabaseInfo> Node::split_shard(SplitShardRequest request) {
  return impl_->call<DatabaseInfo>(
      [&](Api& api, auto done) { api.split_shard(std::move(request), std::move(done)); });
}
Result<UpsertReply> Node::upsert(UpsertRequest request) {
  return impl_->call<UpsertReply>(
      [&](Api& api, auto done) { api.upsert(std::move(request), std::move(done)); });
}
Result<UpdateReply> Node::update(UpdateRequest request) {
  return impl_->call<UpdateReply>(
      [&](Api& api, auto done) { api.update(std::move(request), std::move(done)); });
}
Result<DeleteReply> Node::remove(DeleteRequest request) {
  return impl_->call<DeleteReply>(
      [&](Api& api, auto done) { api.remove(std::move(request), std::move(done)); });
}
Result<StoredVector> Node::get(GetRequest request) {
  return impl_->call<StoredVector>(
      [&](Api& api, auto done) { api.get(std::move(request), std::move(done)); });
}
Result<ListReply> Node::list(ListRequest request) {
  return impl_->call<ListReply>(
      [&](Api& api, auto done) { api.list(std::move(request), std::move(done)); });
}
Result<RecallReply> Node::recall(RecallRequest request) {
  return impl_->call<RecallReply>(
      [&](Api& api, auto done) { api.recall(std::move(request), std::move(done)); });
}

Result<SearchReply> Node::search(SearchRequest request) {
  return impl_->call<SearchReply>(
      [&](Api& api, auto done) { api.search(std::move(request), std::move(done)); });
}
Result<SearchBatchReply> Node::search_batch(SearchBatchRequest request) {
  return impl_->call<SearchBatchReply>(
      [&](Api& api, auto done) { api.search_batch(std::move(request), std::move(done)); });
}

Status Node::wait_until_indexed(const std::string& database) {
  constexpr std::chrono::milliseconds pause(50);
  while (true) {
    auto info = describe_database(database);
    if (!info.ok()) return info.status();
    if (info->index_state == "ready") return {};
    std::unique_lock lock(impl_->mutex);
    if (impl_->changed.wait_for(lock, pause, [this] { return impl_->closing; })) {
      return is_closed();
    }
  }
}

}  // namespace jade
