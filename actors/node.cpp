#include "actors/node.h"

#include <leveldb/cache.h>
#include <leveldb/env.h>

#include "actors/blocking_worker.h"
#include "actors/catalog.h"
#include "actors/errors.h"
#include "actors/gateway.h"
#include "actors/ingest.h"
#include "actors/log_writer.h"
#include "actors/master.h"
#include "actors/peer.h"
#include "actors/query.h"
#include "actors/random.h"
#include "actors/searcher.h"
#include "actors/shard_files.h"
#include "actors/supervisor.h"
#include "index/worker_pool.h"
#include "storage/data_dir.h"

namespace jade {
namespace {

// Nice values of what is to keep searches waiting as little as may be.
constexpr int builder_nice = 19;
constexpr int lister_nice = 5;
// So many threads that build for each actor that does: what a build does alone, reading rows
// and writing segments, takes little of its time.
constexpr uint32_t threads_per_builder = 4;

blocking_actor spawn_blocking(caf::actor_system& system, bool detach,
                              std::function<void()> on_start) {
  return detach ? system.spawn<caf::detached>(blocking_worker, std::move(on_start))
                : system.spawn(blocking_worker, std::move(on_start));
}

// Gives the node the name that it has, or its first.
Status take_name(NodeConfig& config, const std::map<uint64_t, NodeEntry>& nodes) {
  auto known = nodes.find(config.node_id);
  if (known == nodes.end()) {
    if (config.name.empty()) config.name = config.default_name;
    return {};
  }
  const NodeEntry& was = known->second;
  // Called so as nobody had named it: by its address, which may have changed, or, alone, as all
  // are.
  const bool unnamed =
      was.name == was.address || (was.address.empty() && was.name == NodeConfig().default_name);
  if (config.name.empty()) config.name = was.name == was.address ? config.default_name : was.name;
  if (config.name == was.name || unnamed) return {};
  return Status(Code::failed_precondition,
                "data directory " + config.data_dir + " is that of node \"" + was.name +
                    "\", and the name given is \"" + config.name +
                    "\". Start it with that name, or without one; another node needs an empty "
                    "directory");
}

// `alone`: it reaches no other node.
Status check_company(const NodeConfig& config, const std::map<uint64_t, NodeEntry>& nodes,
                     bool alone) {
  if (!alone || nodes.size() < 2) return {};
  return Status(Code::failed_precondition,
                "data directory " + config.data_dir + " is that of a member of a cluster of " +
                    std::to_string(nodes.size()) +
                    " nodes. Start it with its cluster address (cluster_listen), at which they "
                    "reach each other, as at every start; to leave the cluster it is drained and "
                    "removed first");
}

// This start is another life of the node: on disk before anybody hears of it. `alone`: it reaches
// no other node.
Status begin_life(NodeContext& context, NodeConfig& config, leveldb::Env* env, uint64_t seed,
                  bool alone) {
  auto lives = context.log->lives();
  if (!lives.ok()) return lives.status();
  auto loaded = context.log->load(metadata_group);
  if (!loaded.ok()) return loaded.status();
  auto nodes = nodes_in(*loaded);
  if (!nodes.ok()) return nodes.status();
  const bool knows_nothing = !loaded->snapshot && loaded->entries.empty();
  if (knows_nothing && !shards_on_disk(env, config.data_dir).empty()) {
    return Status(Code::failed_precondition,
                  "data directory " + config.data_dir +
                      " has shards, but its log is empty: " + config.data_dir +
                      "/log was lost or damaged. Put it back; a member of a cluster whose shards "
                      "have replicas elsewhere is removed and joins with an empty directory");
  }
  JADE_RETURN_IF_ERROR(check_company(config, *nodes, alone));
  JADE_RETURN_IF_ERROR(take_name(config, *nodes));
  uint64_t random = mix(seed, 0x11feu);
  uint64_t id = new_life(*lives, random);
  JADE_RETURN_IF_ERROR(context.log->begin_life(id));
  lives->push_back({id, 0});
  context.lives = std::move(*lives);
  context.known_lives = lives_of(*nodes);
  return {};
}

}  // namespace

uint64_t new_life(const std::vector<Life>& lives, uint64_t& random) {
  uint64_t id = 0;
  while (id == 0 ||
         std::any_of(lives.begin(), lives.end(), [&](const Life& life) { return life.id == id; })) {
    id = next_random(random);
  }
  return id;
}

Result<std::unique_ptr<NodeRuntime>> NodeRuntime::start(caf::actor_system& system, NodeSeams seams,
                                                        NodeConfig config) {
  JADE_ASSERT(seams.env != nullptr && seams.log);
  std::unique_ptr<NodeRuntime> node(new NodeRuntime());
  node->system_ = &system;

  // A new directory gets an identity; an old one keeps its own. Whoever joins gets
  // its cluster's id from there.
  uint64_t id_state = mix(seams.seed, 0xc1u);
  DataDirectory::Identity fresh;
  for (int i = 0; i < 2 && config.join.empty(); ++i) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx",
                  static_cast<unsigned long long>(next_random(id_state)));
    fresh.cluster_id += text;
  }
  // Up to 2^53, which JSON numbers carry exactly in every language.
  fresh.node_id = config.node_id != 0 ? config.node_id : 1 + next_random(id_state) % (1ull << 53);
  auto directory = DataDirectory::open(seams.env, config.data_dir, fresh);
  if (!directory.ok()) return directory.status();
  node->directory_ = std::move(*directory);
  DataDirectory::Identity identity = node->directory_->identity();
  config.node_id = identity.node_id;
  if (!fresh.cluster_id.empty() && identity.cluster_id == fresh.cluster_id) {
    // Whoever has lost the directory of a member learns of it here first.
    seams.log(LogLevel::info, "node",
              "the data directory is new: this node founds cluster " + fresh.cluster_id);
  }

  auto context = std::make_shared<NodeContext>();
  context->membership = std::make_shared<Membership>(
      identity.cluster_id,
      [env = seams.env, path = config.data_dir, node_id = identity.node_id](const std::string& id) {
        return store_identity(env, path, {id, node_id});
      });
  auto log = LogStore::open(
      seams.env, config.data_dir + "/log",
      [log = seams.log](std::string_view message) { log(LogLevel::warning, "log", message); });
  if (!log.ok()) return log.status().with_context("opening the log");
  context->log = std::move(*log);
  if (Status begun = begin_life(*context, config, seams.env, seams.seed, !seams.connector);
      !begun.ok()) {
    bool refused = begun.code() == Code::failed_precondition;
    return refused ? begun : begun.with_context("reading and writing the log");
  }
  context->cache.reset(leveldb::NewLRUCache(config.cache_bytes));

  bool detach = seams.detach_blocking;
  context->log_writer = detach ? system.spawn<caf::detached>(log_writer, context->log)
                               : system.spawn(log_writer, context->log);
  context->syncer = spawn_blocking(system, detach, nullptr);
  context->opener = spawn_blocking(system, detach, nullptr);
  context->copier = spawn_blocking(system, detach, nullptr);
  auto with_nice = [&](int nice) -> std::function<void()> {
    if (!seams.lower_priority) return nullptr;
    return [lower = seams.lower_priority, nice] { lower(nice); };
  };
  context->lister = spawn_blocking(system, detach, with_nice(lister_nice));
  const uint32_t builders = std::max(1u, config.builders);
  if (detach && builders > 1) {
    context->workers = std::make_shared<WorkerPool>(builders, with_nice(builder_nice));
  }
  // In one thread they only take turns: as many as are configured, as it makes no difference.
  const uint32_t building = detach ? std::max(1u, builders / threads_per_builder) : builders;
  for (uint32_t i = 0; i < building; ++i) {
    context->builders.push_back(
        !detach && seams.build_ms
            ? caf::actor_cast<blocking_actor>(system.spawn(slow_blocking_worker, seams.build_ms))
            : spawn_blocking(system, detach, with_nice(builder_nice)));
  }
  const uint32_t searchers = std::max(1u, config.searchers);
  for (uint32_t i = 0; i < searchers; ++i) {
    context->long_searchers.push_back(system.spawn(long_searcher));
  }
  for (uint32_t i = 0; i < searchers; ++i) {
    context->searchers.push_back(system.spawn(searcher, context->long_searchers));
  }
  context->seams = std::move(seams);
  context->config = config;
  node->context_ = context;

  node->peer_ = system.spawn(jade::peer, NodeContextPtr(context));
  node->node_ = system.spawn(jade::supervisor, NodeContextPtr(context), node->peer_);
  node->master_ = system.spawn(jade::master, NodeContextPtr(context), node->node_, node->peer_);
  IngestOptions ingest_options;
  ingest_options.seed = mix(node->context_->seams.seed, 0x196e57u);
  node->ingest_ = system.spawn(ingest, ingest_options);
  QueryOptions query_options;
  query_options.fronts = node->context_->fronts;
  query_options.searchers = node->context_->searchers;
  auto asks_others = std::make_shared<std::atomic<bool>>(false);
  query_options.asks_others = asks_others;
  node->query_ = system.spawn(query, std::move(query_options));
  GatewayOptions gateway_options;
  gateway_options.inflight_bytes_max = config.inflight_bytes_max;
  gateway_options.replicas_max = config.replicas_max;
  node->gateway_ = system.spawn(jade::gateway, gateway_options, node->ingest_, node->query_,
                                node->master_, node->node_);
  Wired wired{node->gateway_, node->master_, node->node_};
  caf::anon_send(node->peer_, wired);
  caf::anon_send(node->node_, wired);
  node->api_ = std::make_unique<ApiClient>(system, node->gateway_, std::max(1u, config.clients),
                                           std::move(asks_others));
  return node;
}

NodeRuntime::~NodeRuntime() { kill(); }

void NodeRuntime::digest(uint64_t group, Api::Done<ShardDigest> done) {
  auto answer = std::make_shared<Api::Done<ShardDigest>>(std::move(done));
  system_->spawn([node = node_, group, answer](caf::event_based_actor* self) {
    self->request(node, std::chrono::seconds(30), ShardDigestRequest{group})
        .then([answer](const ShardDigest& digest) { (*answer)(digest); },
              [answer](const caf::error& error) { (*answer)(to_status(error)); });
  });
}

void NodeRuntime::stop(std::function<void()> done) {
  system_->spawn([node = node_, done = std::move(done)](caf::event_based_actor* self) {
    self->request(node, caf::infinite, Stop{})
        .then([done](Stopped) { done(); }, [done](const caf::error&) { done(); });
  });
}

void NodeRuntime::kill() {
  if (!context_) return;
  api_.reset();
  auto end = [](const auto& actor) {
    if (actor) caf::anon_send_exit(actor, caf::exit_reason::kill);
  };
  end(gateway_);
  end(ingest_);
  end(query_);
  end(peer_);
  end(master_);
  end(node_);
  end(context_->log_writer);
  end(context_->syncer);
  end(context_->opener);
  end(context_->copier);
  end(context_->lister);
  for (const auto& builder : context_->builders) end(builder);
  for (const auto& searcher : context_->searchers) end(searcher);
  for (const auto& searcher : context_->long_searchers) end(searcher);
  gateway_ = nullptr;
  ingest_ = nullptr;
  query_ = nullptr;
  master_ = nullptr;
  node_ = nullptr;
  peer_ = nullptr;
  context_.reset();
}

}  // namespace jade
