#include "actors/jade.h"

#include <leveldb/env.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <future>
#include <iostream>
#include <random>
#include <thread>

#include "actors/errors.h"
#include "actors/node.h"
#include "actors/peer.h"

namespace jade {
namespace {

// The system of a node of its own process: real threads, real time.
struct SystemConfig : caf::actor_system_config {
  SystemConfig(uint32_t threads, bool cluster) {
    if (cluster) load<caf::io::middleman>();
    jade::add_message_types(*this);
    set("scheduler.max-threads", static_cast<size_t>(threads));
    // One shared queue wakes a sleeping worker in half the time of stealing, and
    // a node has few cores and short jobs.
    set("scheduler.policy", caf::atom("sharing"));
    set("logger.verbosity", caf::atom("quiet"));
  }
};

void to_stderr(LogLevel level, std::string_view component, std::string_view message) {
  if (level < LogLevel::warning) return;
  std::string line = level == LogLevel::error ? "error " : "warning ";
  line.append(component).append(": ").append(message).append("\n");
  std::cerr << line;
}

void lower_priority() {
  // Of this thread only: on Linux every thread has a nice value of its own.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 19);
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

// CAF's protocol believes what it is sent.
bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

}  // namespace

Status NodeOptions::validate() const {
  if (data_dir.empty()) return invalid_argument("data_dir is empty; name a directory");
  if (name.empty() || name.size() > Limits::name_bytes_max) {
    return invalid_argument("name must have 1 to 128 characters");
  }
  if (!cluster_listen.empty()) {
    auto target = parse_address(cluster_listen);
    if (!target.ok()) return target.status().with_context("cluster_listen");
    if (!is_loopback(target->first)) {
      return invalid_argument("cluster_listen is \"" + cluster_listen +
                              "\"; only loopback addresses such as 127.0.0.1:7100 are possible, "
                              "as connections between nodes are not encrypted");
    }
  }
  for (const std::string& address_of_member : join) {
    if (cluster_listen.empty()) {
      return invalid_argument(
          "join is given, but cluster_listen is not; the others must be able "
          "to reach this node");
    }
    auto target = parse_address(address_of_member);
    if (!target.ok()) return target.status().with_context("join");
  }
  uint8_t set = 0;
  for (const std::string& role : roles) {
    auto parsed = parse_role(role);
    if (!parsed) {
      return invalid_argument("roles names \"" + role + "\"; they are master, worker and gateway");
    }
    set |= static_cast<uint8_t>(*parsed);
  }
  bool founds = join.empty() && !roles.empty();
  if (founds && (set & static_cast<uint8_t>(NodeRole::master)) == 0) {
    return invalid_argument(
        "roles lacks master, but without join this node founds a cluster; who founds one must be "
        "able to be its master");
  }
  if (cluster_listen.empty() && set != 0 && set != all_roles) {
    return invalid_argument("roles is given, but a cluster of one needs all of them");
  }
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
  std::unique_ptr<NodeRuntime> runtime;
};

Node::Node() : impl_(std::make_unique<Impl>()) {}

Result<std::unique_ptr<Node>> Node::open(NodeOptions options) {
  JADE_RETURN_IF_ERROR(options.validate());
  uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  uint32_t workers = options.worker_threads > 0 ? options.worker_threads : std::max(2u, cores);
  std::unique_ptr<Node> node(new Node());
  Impl& impl = *node->impl_;
  impl.config = std::make_unique<SystemConfig>(workers, !options.cluster_listen.empty());
  impl.system = std::make_unique<caf::actor_system>(*impl.config);

  NodeSeams seams;
  // As it is: each store wraps it for itself (storage/env.h), so that what failed
  // in one is forgotten when that one is reopened.
  seams.env = leveldb::Env::Default();
  seams.seed = random_seed();
  seams.on_builder_start = lower_priority;
  seams.log = options.log ? options.log : to_stderr;
  NodeConfig config;
  config.data_dir = options.data_dir;
  config.name = options.name;
  config.address = options.address;
  config.searchers = workers;
  config.builders = options.builder_threads > 0 ? options.builder_threads : std::max(1u, cores / 4);
  config.cache_bytes = options.cache_bytes;
  config.inflight_bytes_max = options.inflight_bytes_max;
  config.cluster_address = options.cluster_listen;
  config.join = options.join;
  for (const std::string& role : options.roles) {
    config.roles |= static_cast<uint8_t>(*parse_role(role));
  }
  config.replace_after_ms = uint64_t{options.replace_after_s} * 1000;
  bool cluster = !options.cluster_listen.empty();
  if (cluster) {
    seams.connector = caf::actor_cast<caf::actor>(impl.system->middleman().actor_handle());
  }
  auto runtime = NodeRuntime::start(*impl.system, std::move(seams), config);
  if (!runtime.ok()) return runtime.status();
  impl.runtime = std::move(*runtime);
  if (cluster) {
    auto listen = parse_address(options.cluster_listen);
    auto port = impl.system->middleman().publish(impl.runtime->peer(), listen->second,
                                                 listen->first.c_str(), true);
    if (!port) {
      return unavailable("cluster address " + options.cluster_listen +
                         " cannot be listened on; is it in use?");
    }
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
  if (Status status = future.get(); !status.ok()) return status;
  return node;
}

Node::~Node() { (void)close(); }

Status Node::close() {
  Impl& impl = *impl_;
  if (!impl.runtime) return {};
  std::promise<void> stopped;
  impl.runtime->stop([&stopped] { stopped.set_value(); });
  stopped.get_future().wait();
  impl.runtime.reset();
  impl.system.reset();
  return {};
}

Api& Node::api() { return impl_->runtime->api(); }

Result<DatabaseInfo> Node::create_database(DatabaseSpec spec) {
  return wait_for<DatabaseInfo>(
      [&](auto done) { api().create_database(std::move(spec), std::move(done)); });
}
Result<std::vector<DatabaseInfo>> Node::list_databases() {
  return wait_for<std::vector<DatabaseInfo>>(
      [&](auto done) { api().list_databases(std::move(done)); });
}
Result<DatabaseInfo> Node::describe_database(std::string name) {
  return wait_for<DatabaseInfo>(
      [&](auto done) { api().describe_database(std::move(name), std::move(done)); });
}
Result<DatabaseInfo> Node::drop_database(std::string name) {
  return wait_for<DatabaseInfo>(
      [&](auto done) { api().drop_database(std::move(name), std::move(done)); });
}
Result<UpsertReply> Node::upsert(UpsertRequest request) {
  return wait_for<UpsertReply>(
      [&](auto done) { api().upsert(std::move(request), std::move(done)); });
}
Result<DeleteReply> Node::remove(DeleteRequest request) {
  return wait_for<DeleteReply>(
      [&](auto done) { api().remove(std::move(request), std::move(done)); });
}
Result<StoredVector> Node::get(GetRequest request) {
  return wait_for<StoredVector>([&](auto done) { api().get(std::move(request), std::move(done)); });
}
Result<ListReply> Node::list(ListRequest request) {
  return wait_for<ListReply>([&](auto done) { api().list(std::move(request), std::move(done)); });
}
Result<SearchReply> Node::search(SearchRequest request) {
  return wait_for<SearchReply>(
      [&](auto done) { api().search(std::move(request), std::move(done)); });
}
Result<SearchBatchReply> Node::search_batch(SearchBatchRequest request) {
  return wait_for<SearchBatchReply>(
      [&](auto done) { api().search_batch(std::move(request), std::move(done)); });
}

Status Node::wait_until_indexed(const std::string& database) {
  // The actors' own clock wakes it: describe, and again after a while.
  struct Waiter {
    static caf::behavior run(caf::event_based_actor* self, gateway_actor gateway, std::string name,
                             std::shared_ptr<std::promise<Status>> done) {
      self->send(self, caf::tick_atom::value);
      return {[=](caf::tick_atom) {
        self->request(gateway, caf::infinite, DescribeDatabase{name})
            .then(
                [=](const DatabaseInfo& info) {
                  if (info.index_state == "ready") {
                    done->set_value(Status());
                    self->quit();
                  } else {
                    self->delayed_send(self, std::chrono::milliseconds(50), caf::tick_atom::value);
                  }
                },
                [=](const caf::error& error) {
                  done->set_value(to_status(error));
                  self->quit();
                });
      }};
    }
  };
  auto promise = std::make_shared<std::promise<Status>>();
  auto future = promise->get_future();
  impl_->system->spawn(Waiter::run, impl_->runtime->gateway(), database, promise);
  return future.get();
}

}  // namespace jade
