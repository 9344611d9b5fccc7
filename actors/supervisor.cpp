#include "actors/supervisor.h"

#include <algorithm>

#include "actors/catalog.h"
#include "actors/cluster_view.h"
#include "actors/errors.h"
#include "actors/named_vectors.h"
#include "actors/shard.h"
#include "actors/shard_files.h"
#include "actors/shard_replica.h"
#include "actors/shard_split.h"

namespace jade {
namespace {

constexpr auto restart_interval = std::chrono::seconds(1);
// What a shard says of itself goes to all nodes every second.
constexpr size_t trouble_bytes_max = 200;
// The second copies what has changed during the first.
constexpr int prepare_passes = 2;
constexpr auto split_interval = std::chrono::milliseconds(50);
constexpr auto fetch_timeout = std::chrono::seconds(10);
constexpr auto change_timeout = std::chrono::seconds(30);

// The groups of which this node holds a replica.
std::set<uint64_t> groups_here(const ClusterMap& map, uint64_t node) {
  std::set<uint64_t> out;
  for (const auto& [name, entry] : map.databases) {
    for (const ShardPlacement& placement : entry.shards) {
      if (std::count(placement.nodes.begin(), placement.nodes.end(), node) > 0) {
        out.insert(placement.group);
      }
    }
  }
  return out;
}

Placed placed_of(const PublishedMap& map, uint64_t group) {
  const DatabaseEntry* owner = map.owner_of(group);
  JADE_ASSERT(owner != nullptr);
  Placed placed{*map.placement_of(group), owner->spec.index};
  if (owner->by_vector()) placed.database = std::make_shared<const DatabaseEntry>(*owner);
  return placed;
}

// Puts a piece of a shard's state into `copy`, the first into a new one, and with the last puts
// that in its place. Blocks.
Status put_piece(const NodeContext& context, uint64_t group, const StateChunk& piece,
                 std::shared_ptr<ShardStore>& copy) {
  if (!copy) {
    auto begun = begin_copy(context, group);
    if (!begun.ok()) return begun.status();
    copy = std::move(*begun);
  }
  JADE_RETURN_IF_ERROR(copy->import_piece(piece.bytes));
  if (!piece.last_key.empty()) return {};
  RaftSnapshot snapshot{piece.index, piece.term, piece.configuration_index, piece.configuration,
                        "shard"};
  return finish_copy(context, group, std::exchange(copy, nullptr), snapshot);
}

// Whether these say the same of the group to its actor.
bool is_placed_alike(const PublishedMap& before, const PublishedMap& now, uint64_t group) {
  const DatabaseEntry *old_owner = before.owner_of(group), *owner = now.owner_of(group);
  return old_owner != nullptr && !owner->by_vector() &&
         *before.placement_of(group) == *now.placement_of(group) &&
         old_owner->spec.index == owner->spec.index;
}

ShardReplica::Options replica_options(const NodeContext& context, const DatabaseSpec& spec,
                                      uint64_t group) {
  ShardReplica::Options options;
  options.env = context.seams.env;
  options.dir = shard_directory(context.config.data_dir, group);
  options.cache = context.cache;
  options.group = group;
  options.format = record_format(spec);
  options.index = spec.index;
  options.by_vector = spec.sharding == Sharding::vector;
  options.seal_rows_min = context.config.seal_rows_min;
  options.seal_rows_max = context.config.seal_rows_max;
  options.workers = context.workers;
  options.listed_rows_min = context.config.listed_rows_min;
  return options;
}

// It was given up.
bool is_ending(const HostedShard& shard) {
  return shard.state == HostedShard::State::stopping || shard.state == HostedShard::State::closing;
}

}  // namespace

supervisor_state::~supervisor_state() {
  for (const auto& [group, shard] : shards) {
    if (shard.actor) caf::anon_send_exit(shard.actor, caf::exit_reason::kill);
  }
}

void supervisor_state::adopt(ClusterMapPtr next, bool is_current) {
  // A replica that an old map does not name may hold what was acknowledged since.
  bool first = is_current && !current;
  current = current || is_current;
  const ClusterMapPtr before = std::exchange(map, std::move(next));
  std::set<uint64_t> wanted = groups_here(*map, context->config.node_id);
  if (first) {
    // What a crash left of dropped shards. Those that an older map had opened here are retired.
    std::set<uint64_t> keep = wanted;
    for (const auto& [group, shard] : shards) keep.insert(group);
    self->request(context->opener, caf::infinite,
                  BlockingTask{[context = context, keep, next = map->next_group] {
                    return remove_other_shards(*context, keep, next);
                  }})
        .then([this](const TaskDone& done) {
          if (done.status.ok()) return;
          // The next database would get their numbers, and their data.
          if (done.status.code() == Code::corruption) return refuse(done.status);
          context->say(LogLevel::warning, "node",
                       "dropped shards are still on disk: " + done.status.to_string());
        });
  }
  std::vector<uint64_t> gone;
  for (const auto& [group, shard] : shards) {
    if (current && wanted.count(group) == 0) gone.push_back(group);
  }
  for (uint64_t group : gone) retire(group);
  for (uint64_t group : wanted) {
    auto known = shards.find(group);
    if (known == shards.end()) {
      open(group);
    } else if (known->second.actor && known->second.state != HostedShard::State::stopping &&
               !is_placed_alike(*before, *map, group)) {
      self->send(known->second.actor, placed_of(*map, group));
    }
  }
  if (current) forget_children(wanted);
  prepare_children();
  changed();
}

void supervisor_state::prepare_children() {
  if (!current || stopping) return;
  for (const auto& [group, shard] : shards) {
    const ShardPlacement* placement = map->placement_of(group);
    bool due = placement != nullptr && placement->child != 0 && !placement->divided &&
               shard.state == HostedShard::State::serving;
    if (!due || preparing.count(placement->child) > 0) continue;
    if (prepared.count(placement->child) > 0) {
      // Its actor may be another since.
      self->send(shard.actor, ChildPrepared{placement->child});
    } else {
      prepare_child(group, placement->child, prepare_passes);
    }
  }
}

void supervisor_state::prepare_child(uint64_t parent, uint64_t child, int passes) {
  auto found = shards.find(parent);
  bool serves = found != shards.end() && found->second.state == HostedShard::State::serving;
  if (!serves || stopping) return preparation_ended(child);
  if (passes == 0) {
    prepared.insert(child);
    self->send(found->second.actor, ChildPrepared{child});
    return preparation_ended(child);
  }
  preparing[child];
  copied.insert(child);
  auto stop = [this, child](const caf::error&) { preparation_ended(child); };
  self->request(found->second.actor, fetch_timeout, GetSplit{child, true})
      .then(
          [=, this](const SplitFound& source) {
            auto copy = [context = context, source] {
              return jade::prepare_child(*context, *source.source);
            };
            self->request(context->copier, caf::infinite, BlockingTask{copy})
                .then(
                    [=, this](const TaskDone& done) {
                      Code said = std::exchange(prepare_failure, done.status.code());
                      if (done.status.ok()) return prepare_child(parent, child, passes - 1);
                      preparation_ended(child);  // the next tick tries again
                      if (said == done.status.code()) return;
                      context->say(LogLevel::warning, "node",
                                   "the rows of shard " + std::to_string(parent) +
                                       " that are to be split off could not be copied: " +
                                       done.status.to_string());
                    },
                    stop);
          },
          stop);
}

void supervisor_state::preparation_ended(uint64_t child) {
  auto next = std::move(preparing[child]);
  preparing.erase(child);
  if (next && !stopping) next();
}

bool supervisor_state::waits_for_copy(uint64_t group, std::function<void()> next) {
  auto found = preparing.find(group);
  if (found == preparing.end()) return false;
  found->second = std::move(next);
  return true;
}

void supervisor_state::forget_children(const std::set<uint64_t>& wanted) {
  std::set<uint64_t> children;
  for (const auto& [ignored, entry] : map->databases) {
    for (const ShardPlacement& placement : entry.shards) children.insert(placement.child);
  }
  std::vector<uint64_t> past;
  for (uint64_t child : copied) {
    if (children.count(child) == 0) past.push_back(child);
  }
  for (uint64_t child : past) {
    copied.erase(child);
    prepared.erase(child);
    if (wanted.count(child) == 0 && shards.count(child) == 0) remove(child);
  }
}

void supervisor_state::open(uint64_t group) {
  if (!refused.ok()) return;
  const DatabaseEntry* entry = map->owner_of(group);
  JADE_ASSERT(entry != nullptr);
  HostedShard& shard = shards[group];
  shard.state = HostedShard::State::opening;
  // By a map that was not seen while this node was away, the split may be over.
  auto again = [this, group] {
    auto found = shards.find(group);
    bool opens = found != shards.end() && found->second.state == HostedShard::State::opening;
    if (opens) open(group);
  };
  if (waits_for_copy(group, again)) return;
  // An earlier life of the shard may have appends on their way to the log; they
  // must not arrive after it has been read.
  self->request(context->log_writer, caf::infinite, DrainLog{})
      .then([this, group, spec = entry->spec](const LogAppended&) { open_drained(group, spec); },
            [this, group](const caf::error& error) { fail(group, to_status(error)); });
}

void supervisor_state::open_drained(uint64_t group, const DatabaseSpec& spec) {
  auto opened_replica = std::make_shared<std::unique_ptr<ShardReplica>>();
  auto begun = std::make_shared<bool>(false);  // there is a log
  auto spent = std::make_shared<bool>(false);
  auto options = replica_options(*context, spec, group);
  const ShardPlacement* known = map->placement_of(group);
  bool splits = known != nullptr && known->parent != 0;
  self->request(context->opener, caf::infinite,
                BlockingTask{[opened_replica, begun, spent, options, splits, context = context] {
                  JADE_RETURN_IF_ERROR(settle_copy(*context, options.group));
                  *spent = is_spent(*context, options.group);
                  if (*spent) return Status();
                  auto groups = context->log->groups();
                  if (!groups.ok()) return groups.status();
                  *begun = std::count(groups->begin(), groups->end(), options.group) > 0;
                  if (splits && !*begun) return Status();
                  auto replica = ShardReplica::open(
                      options, [log = context->seams.log](std::string_view message) {
                        log(LogLevel::warning, "shard", message);
                      });
                  if (!replica.ok()) return replica.status();
                  *opened_replica = std::move(*replica);
                  return Status();
                }})
      .then(
          [this, group, opened_replica, begun, spent](const TaskDone& done) {
            auto found = shards.find(group);
            if (found == shards.end() || found->second.state != HostedShard::State::opening) return;
            if (!done.status.ok()) return fail(group, done.status);
            const ShardPlacement* placement = map->placement_of(group);
            if (placement == nullptr) return retire(group);
            if (*spent) return replace(group);
            if (!*opened_replica) return make_child(group);
            // By an old map this node could begin a group anew that it was a member of
            // before. The current one tells, and then the shard is opened again.
            if (!*begun && !current) {
              shards.erase(found);
              return;
            }
            // A member whose part of a split was not made before that was over. It must not
            // vote without a log, and without its vote there may be no leader to send it one.
            if (!*begun && placement->founded && !is_joining(group) && has_peers(group)) {
              opened_replica->reset();
              return replace(group);
            }
            found->second.state = HostedShard::State::catching_up;
            found->second.actor = self->spawn(jade::shard, context, node_actor(self), peer,
                                              *placement, !placement->founded, opened_replica);
            self->monitor(found->second.actor);
            self->send(found->second.actor, placed_of(*map, group));
            changed();  // its Raft messages can be delivered from now on
          },
          [this, group](const caf::error& error) { fail(group, to_status(error)); });
}

void supervisor_state::make_child(uint64_t group) {
  auto found = shards.find(group);
  if (found == shards.end() || found->second.state != HostedShard::State::opening) return;
  const ShardPlacement* placement = map->placement_of(group);
  if (placement == nullptr) return retire(group);
  // As in open_drained(): by an old map this node could begin again what it has given up.
  if (!current) {
    shards.erase(found);
    return;
  }
  // Over, for the others: by now whoever has the rows may need this node's vote for a leader.
  if (placement->parent == 0) return replace(group);
  auto parent = shards.find(placement->parent);
  auto again = [this, group] { self->delayed_send(self, split_interval, MakeChild{group}); };
  bool busy = preparing.count(group) > 0;
  if (busy || parent == shards.end() || !parent->second.actor) return again();
  self->request(parent->second.actor, fetch_timeout, GetSplit{group})
      .then(
          [this, group, members = placement->nodes](const SplitFound& source) {
            child_made(group, [context = context, source, members] {
              return jade::make_child(*context, *source.source, members);
            });
          },
          [this, group, again](const caf::error& error) {
            if (to_status(error).code() != Code::not_found) return again();
            auto at = shards.find(group);
            if (at == shards.end() || at->second.state != HostedShard::State::opening) return;
            replace(group);
          });
}

void supervisor_state::child_made(uint64_t group, const std::function<Status()>& blocking) {
  self->request(context->opener, caf::infinite, BlockingTask{blocking})
      .then(
          [this, group](const TaskDone& done) {
            auto found = shards.find(group);
            if (found == shards.end() || found->second.state != HostedShard::State::opening) return;
            if (!done.status.ok()) return fail(group, done.status);
            open(group);
          },
          [this, group](const caf::error& error) { fail(group, to_status(error)); });
}

void supervisor_state::opened(uint64_t group) {
  auto found = shards.find(group);
  if (found == shards.end() || found->second.state != HostedShard::State::catching_up) return;
  found->second.state = HostedShard::State::serving;
  found->second.failure = Status();
  changed();
}

void supervisor_state::fail(uint64_t group, Status status) {
  auto found = shards.find(group);
  if (found == shards.end() || is_ending(found->second)) return;
  HostedShard& shard = found->second;
  // Said once: a shard whose disk stays full would fill the log too.
  if (shard.failure.code() != status.code()) {
    context->say(LogLevel::error, "node",
                 "shard " + std::to_string(group) + " failed: " + status.to_string());
  }
  shard.state = HostedShard::State::failed;
  shard.actor = nullptr;
  shard.failure = std::move(status);
  changed();
}

bool supervisor_state::has_peers(uint64_t group) const {
  const ShardPlacement* placement = map ? map->placement_of(group) : nullptr;
  return placement != nullptr && placement->nodes.size() > 1;
}

bool supervisor_state::is_joining(uint64_t group) const {
  const ShardPlacement* placement = map ? map->placement_of(group) : nullptr;
  if (placement == nullptr) return false;
  const auto& joining = placement->joining;
  return placement->parent != 0 ||
         std::count(joining.begin(), joining.end(), context->config.node_id) > 0;
}

void supervisor_state::replace(uint64_t group) {
  if (!refused.ok()) return;
  auto found = shards.find(group);
  if (found == shards.end() || is_ending(found->second)) return;
  HostedShard& shard = found->second;
  if (shard.asking) return;
  const bool goes_on = shard.state == HostedShard::State::replacing && shard.copy;
  shard.state = HostedShard::State::replacing;
  if (goes_on) {
    shard.asking = true;
    return fetch(group, shard.next_piece);
  }
  if (waits_for_copy(group, [this, group] { replace(group); })) return;
  shard.copy = nullptr;
  shard.asking = true;
  changed();
  auto begin = [this, group] {
    // No append of the replica is on its way any more once the log is drained.
    auto first = std::make_shared<FetchState>();
    first->route.group = group;
    // Whoever could not give it may never be able to, while another is.
    first->route.turn = shards[group].copies_begun++;
    first->from = context->config.node_id;
    self->request(context->log_writer, caf::infinite, DrainLog{})
        .then([this, group, first](const LogAppended&) {
          auto read = [context = context, group, first] {
            auto loaded = context->log->load(group);
            if (!loaded.ok()) return loaded.status();
            first->log_base = loaded->first_index - 1;
            return Status();
          };
          self->request(context->opener, caf::infinite, BlockingTask{read})
              .then([this, group, first](const TaskDone& done) {
                if (!done.status.ok()) {
                  shards[group].asking = false;
                  // What it has acknowledged cannot be known any more, so no copy may replace it.
                  shards[group].log_damaged = done.status.code() == Code::corruption;
                  return fail(group,
                              done.status.with_context(
                                  "the log of this replica is damaged; drain or replace the node"));
                }
                fetch(group, *first);
              });
        });
  };
  if (!shard.actor) return begin();
  auto stopped = std::exchange(shard.actor, nullptr);
  self->request(stopped, caf::infinite, Stop{})
      .then([begin](Stopped) { begin(); }, [begin](const caf::error&) { begin(); });
}

void supervisor_state::fetch(uint64_t group, FetchState request) {
  self->request(peer, fetch_timeout, request)
      .then([this, group, request](StateChunk& chunk) { fetched(group, request, chunk); },
            [this, group, request](const caf::error& error) {
              auto found = shards.find(group);
              if (found == shards.end()) return;
              HostedShard& shard = found->second;
              shard.asking = false;
              // The next tick asks for the same piece, or begins anew where whoever gave the others
              // cannot, or another leads by now.
              const Code code = to_status(error).code();
              const bool lost = code == Code::unavailable || code == Code::deadline_exceeded;
              if (!lost) shard.copy = nullptr;
              shard.next_piece = request;
            });
}

void supervisor_state::fetched(uint64_t group, const FetchState& request, StateChunk& chunk) {
  auto found = shards.find(group);
  if (found == shards.end() || found->second.state != HostedShard::State::replacing) return;
  auto next = std::make_shared<FetchState>(request);
  next->route = {};
  next->route.group = group;
  next->route.turn = request.route.turn;
  next->transfer = chunk.transfer;
  next->after = chunk.last_key;
  auto store = std::make_shared<std::shared_ptr<ShardStore>>(found->second.copy);
  found->second.copy = nullptr;  // comes back with the answer
  auto piece = std::make_shared<StateChunk>(std::move(chunk));
  auto put = [context = context, group, store, piece] {
    Status status = put_piece(*context, group, *piece, *store);
    if (status.code() != Code::disk_full) return status;
    store->reset();
    auto had = make_room(*context, group);
    if (had.ok() && !*had) return status;
    return status.with_context(had.ok() ? "its old state was removed to make room for the new"
                                        : "no room can be made: " + had.status().to_string());
  };
  self->request(context->opener, caf::infinite, BlockingTask{put})
      .then([this, group, store, next, piece](const TaskDone& done) {
        auto at = shards.find(group);
        if (at == shards.end() || at->second.state != HostedShard::State::replacing) return;
        at->second.asking = false;
        if (!done.status.ok()) {
          return context->say(
              LogLevel::warning, "node",
              "copying shard " + std::to_string(group) + ": " + done.status.to_string());
        }
        if (piece->last_key.empty()) {
          context->say(LogLevel::info, "node",
                       "shard " + std::to_string(group) + " is a copy of its leader's now");
          return open(group);
        }
        at->second.copy = *store;
        at->second.asking = true;
        fetch(group, *next);
      });
}

void supervisor_state::refuse(Status why) {
  if (stopping || !refused.ok()) return;
  refused = std::move(why);
  for (auto& [group, shard] : shards) {
    if (shard.actor) {
      self->request(shard.actor, caf::infinite, Stop{})
          .then([](Stopped) {}, [](const caf::error&) {});
    }
    shard.actor = nullptr;
    shard.copy = nullptr;
    shard.state = HostedShard::State::failed;
    shard.failure = unavailable(refused.message());
  }
  changed();
}

void supervisor_state::retire(uint64_t group) {
  HostedShard& shard = shards[group];
  bool running = shard.actor != nullptr;
  shard.state = HostedShard::State::stopping;
  if (!running) return remove(group);
  self->request(shard.actor, caf::infinite, Stop{})
      .then([this, group](Stopped) { remove(group); },
            [this, group](const caf::error&) { remove(group); });
}

void supervisor_state::remove(uint64_t group) {
  if (stopping) return;
  if (waits_for_copy(group, [this, group] { remove(group); })) return;
  // What the shard was writing to its log would no longer go on from anything, and with it all
  // that goes to the disk together with it would fail.
  self->request(context->log_writer, caf::infinite, DrainLog{})
      .then([this, group](const LogAppended&) { remove_drained(group); },
            [this, group](const caf::error&) { remove_drained(group); });
}

void supervisor_state::remove_drained(uint64_t group) {
  if (stopping) return;
  self->request(context->opener, caf::infinite, BlockingTask{[context = context, group] {
                  Status status = remove_shard(*context, group);
                  // Open still: tried again.
                  if (status.code() == Code::unavailable) return status;
                  if (context->seams.give_memory_back) context->seams.give_memory_back();
                  if (!status.ok()) {
                    // Tried again when the node starts.
                    context->say(LogLevel::warning, "node",
                                 "shard " + std::to_string(group) +
                                     " was dropped but is still on disk: " + status.to_string());
                  }
                  return status;
                }})
      .then([this, group](const TaskDone& done) {
        // It may have been given back meanwhile.
        auto found = shards.find(group);
        if (found != shards.end() && is_ending(found->second)) {
          if (done.status.code() == Code::unavailable) {
            // Until a later tick.
            found->second.actor = nullptr;
            using State = HostedShard::State;
            if (std::exchange(found->second.state, State::closing) != State::closing) changed();
            return;
          }
          shards.erase(found);
        }
        bool wanted = groups_here(*map, context->config.node_id).count(group) > 0;
        if (wanted && !stopping && shards.count(group) == 0) open(group);
        changed();
      });
}

void supervisor_state::changed() {
  if (!map && refused.ok()) return;
  auto handles = std::make_shared<std::map<uint64_t, shard_actor>>();
  auto replicas = std::make_shared<std::map<uint64_t, shard_actor>>();
  auto failures = std::make_shared<std::map<uint64_t, Status>>();
  for (const auto& [group, shard] : shards) {
    bool runs = shard.actor && shard.state != HostedShard::State::stopping;
    if (runs) replicas->emplace(group, shard.actor);
    if (shard.state == HostedShard::State::serving) handles->emplace(group, shard.actor);
    if (shard.state == HostedShard::State::failed) failures->emplace(group, shard.failure);
  }
  RoutesChanged routes{
      context->config.node_id, peer, map, handles, replicas, failures, refused, problems(),
      catalog_trouble.why};
  self->send(peer, routes);
  if (gateway) self->send(gateway, routes);
  was_ready = was_ready || readiness("").ok();
  auto still_waiting = std::move(waiting);
  waiting.clear();
  for (auto& [await, promise] : still_waiting) {
    if (!settled(await)) {
      waiting.emplace_back(await, promise);
      continue;
    }
    Status status = await.map_alone ? refused : readiness(await.database);
    if (!status.ok()) {
      promise.deliver(to_error(status));
    } else {
      promise.deliver(CatalogApplied{map->version});
    }
  }
}

bool supervisor_state::settled(const AwaitVersion& await) const {
  if (!refused.ok()) return true;
  if (!map || map->version < await.version) return false;
  if (await.map_alone) return true;
  if (map->nodes.count(context->config.node_id) == 0) return false;
  for (const auto& [group, shard] : shards) {
    const DatabaseEntry* entry = map->owner_of(group);
    if (shard.state == HostedShard::State::closing && entry == nullptr) continue;
    if (!await.database.empty() && entry != nullptr && entry->spec.name != await.database) continue;
    if (is_joining(group)) continue;
    if (shard.state != HostedShard::State::serving && shard.state != HostedShard::State::failed) {
      return false;
    }
  }
  return true;
}

Status supervisor_state::readiness(const std::string& database) const {
  if (stopping) return unavailable("the node is shutting down");
  if (!refused.ok()) return unavailable(refused.message());
  const std::string why = out_of_touch.empty() ? "" : ": " + out_of_touch;
  if (context->membership->cluster_id().empty()) {
    return unavailable("the node is not a member of its cluster yet" + why);
  }
  if (catalog_trouble.failed) return unavailable(catalog_trouble.why);
  if (!map) return unavailable("the catalog is still being read" + why);
  if (map->nodes.count(context->config.node_id) == 0) {
    return unavailable("the cluster does not know this node yet");
  }
  for (const auto& [group, shard] : shards) {
    if (shard.state == HostedShard::State::serving || is_joining(group)) continue;
    const DatabaseEntry* entry = map->owner_of(group);
    if (entry == nullptr || (!database.empty() && entry->spec.name != database)) continue;
    const bool starts =
        shard.state != HostedShard::State::failed && shard.state != HostedShard::State::replacing;
    if (starts && database.empty() && was_ready) continue;
    std::string what =
        "shard " + std::to_string(group) + " of database \"" + entry->spec.name + "\"";
    if (shard.state == HostedShard::State::failed) return shard.failure.with_context(what);
    if (shard.state == HostedShard::State::replacing) {
      return unavailable(what + " is being copied from another node");
    }
    return unavailable(what + " is starting");
  }
  return {};
}

caf::result<Stopped> supervisor_state::stop() {
  stopping = true;
  auto promise = self->make_response_promise<Stopped>();
  auto left = std::make_shared<size_t>(1);
  auto one_stopped = [this, left, promise]() mutable {
    if (--*left > 0) return;
    promise.deliver(Stopped{});
    self->quit();
  };
  auto stop_one = [&](const auto& actor) {
    ++*left;
    self->request(actor, caf::infinite, Stop{})
        .then([one_stopped](Stopped) mutable { one_stopped(); },
              [one_stopped](const caf::error&) mutable { one_stopped(); });
  };
  for (auto& [group, shard] : shards) {
    if (shard.actor && shard.state != HostedShard::State::stopping) stop_one(shard.actor);
    shard.state = HostedShard::State::stopping;
  }
  if (master) stop_one(master);
  changed();
  one_stopped();
  return promise;
}

caf::result<ClusterInfo> supervisor_state::describe() {
  if (!map) return to_error(readiness(""));
  auto promise = self->make_response_promise<ClusterInfo>();
  auto info = std::make_shared<ClusterInfo>();
  const uint64_t own = context->config.node_id;
  info->cluster_id = context->membership->cluster_id();
  info->catalog_version = map->version;
  info->answered_by = own;
  for (const auto& [id, node] : map->nodes) info->nodes.push_back(jade::describe_node(*map, node));
  // It does not know what the others do, and must not ask.
  if (!refused.ok()) {
    info->problem = refused.message();
    for (NodeInfo& node : info->nodes) {
      node.alive = node.alive_known = false;
      if (node.id == own) node.problem = refused.message();
    }
    promise.deliver(std::move(*info));
    return promise;
  }
  auto fail = [promise](const caf::error& error) mutable { promise.deliver(error); };
  auto with_peers = [this, info, promise, own, fail](PeerStates& peers) {
    peers.shards[own] = problems();
    auto states = std::make_shared<PeerStates>(std::move(peers));
    self->request(gateway, std::chrono::seconds(30), ListDatabases{})
        .then(
            [info, promise, own, states, known = map](DatabaseInfos& databases) mutable {
              info->databases = std::move(databases);
              describe_cluster(*known, own, *states, *info);
              promise.deliver(std::move(*info));
            },
            fail);
  };
  self->request(master, std::chrono::seconds(10), DescribeMaster{})
      .then(
          [this, info, fail, with_peers](const MasterInfo& leader) {
            info->master = leader.leader;
            info->catalog_age_ms = leader.leaderless_ms;
            for (NodeInfo& node : info->nodes) node.votes = leader.voters.count(node.id) > 0;
            self->request(peer, std::chrono::seconds(10), DescribePeers{}).then(with_peers, fail);
          },
          fail);
  return promise;
}

void supervisor_state::look_after(uint64_t group) {
  self->request(shards[group].actor, restart_interval, ShardDescribe{{group}})
      .then(
          [this, group](const ShardInfo& info) {
            auto found = shards.find(group);
            if (found == shards.end()) return;
            std::string trouble = info.problems.empty() ? "" : info.problems.front().problem;
            size_t end = std::min(trouble.size(), trouble_bytes_max);
            while (end < trouble.size() && (trouble[end] & 0xc0) == 0x80) --end;  // UTF-8
            trouble.resize(end);
            trouble_changed |= std::exchange(found->second.trouble, trouble) != trouble;
          },
          [](const caf::error&) {});  // it is asked again
}

std::map<uint64_t, std::string> supervisor_state::problems() const {
  std::map<uint64_t, std::string> out;
  for (const auto& [group, shard] : shards) {
    if (shard.state == HostedShard::State::failed) out[group] = shard.failure.to_string();
    if (shard.state == HostedShard::State::closing) {
      out[group] = "its replica of before is open until what has begun there ends";
    }
    if (shard.actor && !shard.trouble.empty()) out[group] = shard.trouble;
    if (shard.state != HostedShard::State::replacing) continue;
    out[group] = "it is being copied from another node";
    if (!shard.failure.ok()) out[group] += ", after " + shard.failure.to_string();
  }
  return out;
}

caf::result<NodeInfo> supervisor_state::change_node(const ChangeNodeRequest& request) {
  if (!map) return to_error(readiness(""));
  Status known = check_is_known("change", request.change, NodeChange::remove);
  if (!known.ok()) return to_error(known);
  auto found = std::find_if(map->nodes.begin(), map->nodes.end(), [&](const auto& node) {
    return node.second.name == request.node || std::to_string(node.first) == request.node;
  });
  if (found == map->nodes.end()) {
    return to_error(not_found("the cluster has no node \"" + request.node + "\""));
  }
  NodeEntry node = found->second;
  CatalogCommand command = request.change == NodeChange::remove
                               ? CatalogCommand(RemoveRecord{node.id})
                               : DrainRecord{node.id, request.change == NodeChange::drain};
  auto promise = self->make_response_promise<NodeInfo>();
  auto fail = [promise](const caf::error& error) mutable { promise.deliver(error); };
  auto answer = [=, this](const MasterInfo& leader) mutable {
    auto now = map->nodes.find(node.id);
    auto info = std::make_shared<NodeInfo>(
        jade::describe_node(*map, now == map->nodes.end() ? node : now->second));
    info->votes = leader.voters.count(node.id) > 0;
    self->request(peer, std::chrono::seconds(10), DescribePeers{})
        .then(
            [=, this](const PeerStates& peers) mutable {
              describe_life(context->config.node_id, peers, *info);
              promise.deliver(std::move(*info));
            },
            fail);
  };
  auto known_here = [=, this](const CatalogApplied&) {
    self->request(master, std::chrono::seconds(10), DescribeMaster{}).then(answer, fail);
  };
  self->request(master, change_timeout, ChangeCatalog{{metadata_group}, encode(command)})
      .then(
          [=, this](const CatalogApplied& applied) mutable {
            // Who is removed gets no newer map: it only learns that it is out.
            if (request.change == NodeChange::remove && node.id == context->config.node_id) {
              return (void)promise.deliver(jade::describe_node(*map, node));
            }
            self->request(node_actor(self), change_timeout, AwaitVersion{applied.version, {}})
                .then(known_here, fail);
          },
          fail);
  return promise;
}

node_actor::behavior_type supervisor(node_actor::stateful_pointer<supervisor_state> self,
                                     NodeContextPtr context, peer_actor peer) {
  self->state.self = self;
  self->state.peer = std::move(peer);
  self->state.context = std::move(context);
  self->set_down_handler([self](const caf::down_msg& down) {
    for (auto& [group, shard] : self->state.shards) {
      if (shard.actor && shard.actor.address() == down.source) {
        return self->state.fail(group, unavailable("the shard stopped unexpectedly"));
      }
    }
  });
  self->delayed_send(self, restart_interval, Tick{});
  return {
      [self](Wired& wired) {
        self->state.gateway = wired.gateway;
        self->state.master = wired.master;
        self->state.changed();
      },
      [self](MapChanged& message) {
        if (self->state.stopping) return;
        if (!self->state.refused.ok()) {
          self->state.map = std::move(message.map);  // to be shown
          return;
        }
        self->state.adopt(std::move(message.map), message.current);
      },
      [self](ShardFailed& failed) { self->state.fail(failed.group, std::move(failed.status)); },
      [self](NodeRefused& message) { self->state.refuse(std::move(message.why)); },
      [self](OutOfTouch& message) { self->state.out_of_touch = std::move(message.why); },
      [self](CatalogTrouble& message) {
        self->state.catalog_trouble = std::move(message);
        if (!self->state.stopping) self->state.changed();
      },
      [self](ShardServes serves) { self->state.opened(serves.group); },
      [self](ShardBehind behind) { self->state.replace(behind.group); },
      [self](MakeChild child) {
        if (!self->state.stopping) self->state.make_child(child.group);
      },
      [self](AwaitVersion& await) -> caf::result<CatalogApplied> {
        auto promise = self->make_response_promise<CatalogApplied>();
        self->state.waiting.emplace_back(std::move(await), promise);
        self->state.changed();
        return promise;
      },
      [self](CheckReady) -> caf::result<std::string> {
        if (Status status = self->state.readiness(""); !status.ok()) return to_error(status);
        return std::string("ready");
      },
      [self](DescribeCluster) { return self->state.describe(); },
      [self](ChangeNodeRequest& request) { return self->state.change_node(request); },
      [self](ShardDigestRequest request) -> caf::result<ShardDigest> {
        auto found = self->state.shards.find(request.group);
        if (found == self->state.shards.end() || !found->second.actor) {
          return to_error(unavailable("shard " + std::to_string(request.group) + " is not here"));
        }
        return self->delegate(found->second.actor, request);
      },
      [self](Stop) { return self->state.stop(); },
      [self](Tick) {
        supervisor_state& state = self->state;
        if (state.stopping || !state.refused.ok()) return;
        if (state.map) state.prepare_children();
        // Of all shards at once: on a full disk each has another every second.
        if (std::exchange(state.trouble_changed, false)) state.changed();
        for (auto& [group, shard] : state.shards) {
          if (shard.state == HostedShard::State::serving) state.look_after(group);
          if (shard.state == HostedShard::State::closing) state.remove(group);
          // A damaged replica is copied from another; alone, it stays as it is, for a
          // person to mend.
          bool failed = shard.state == HostedShard::State::failed;
          if (failed && shard.failure.code() != Code::corruption) {
            state.open(group);
          } else if ((failed && state.has_peers(group) && !shard.log_damaged) ||
                     shard.state == HostedShard::State::replacing) {
            state.replace(group);
          }
        }
        self->delayed_send(self, restart_interval, Tick{});
      },
  };
}

}  // namespace jade
