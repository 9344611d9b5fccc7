#include "actors/master.h"

#include "actors/errors.h"
#include "actors/random.h"

namespace jade {
namespace {

constexpr size_t voters_max = 5;

}  // namespace

master_state::~master_state() {
  if (raft) raft->close();
}

uint64_t master_state::raft_now_ms() { return now_ms(self); }

void master_state::raft_append(uint64_t number, LogAppend append) {
  self->request(context->log_writer, caf::infinite, AppendLog{number, std::move(append)})
      .then(
          [this, current = life](const LogAppended& done) {
            if (current != life || !raft) return;
            raft->appended(done.request, done.status);
            after_event();
          },
          [this, number, current = life](const caf::error& error) {
            if (current != life || !raft) return;
            raft->appended(number, to_status(error));
            after_event();
          });
}

Status master_state::raft_apply(uint64_t index, uint64_t, std::string_view command) {
  outcome = catalog.apply(index, command);
  return outcome.code() == Code::corruption ? outcome : Status();
}

void master_state::raft_send(RaftMessage message) {
  self->send(peer,
             SendRaft{message.to, {metadata_group, context->config.node_id, message.encode()}});
}

// Acted upon once the host is out of this call, by after_event().
void master_state::raft_state_offered(RaftOffer offer) { offered = std::move(offer.state); }

void master_state::raft_store_snapshot(RaftSnapshot snapshot, uint64_t trailing) {
  auto store = [log = context->log, snapshot = std::move(snapshot), trailing] {
    return log->put_snapshot(metadata_group, snapshot, trailing);
  };
  self->request(context->syncer, caf::infinite, BlockingTask{store})
      .then(
          [this, current = life](const TaskDone& done) {
            if (current != life || !raft) return;
            raft->snapshot_stored(done.status);
            after_event();
          },
          [](const caf::error&) {});  // the syncer ends with the node only
}

Status master_state::start() {
  RaftHost::Options options;
  options.group = metadata_group;
  options.node = context->config.node_id;
  options.tick_ms = context->config.raft_tick_ms;
  options.election_timeout_ms = context->config.raft_election_timeout_ms;
  // Whoever is to join another cluster founds none.
  if (context->config.join.empty()) {
    options.founders = {{context->config.node_id, true, context->config.cluster_address}};
  }
  options.snapshot_entries = std::min(256u, context->config.raft_snapshot_entries);
  options.retained_bytes = context->config.raft_retained_bytes;
  options.seed = mix(context->seams.seed, metadata_group + (++life << 32));
  catalog = Catalog();
  caught_up = false;
  members_known = false;
  started_ms = now_ms(self);
  raft = std::make_unique<RaftHost>(options, *context->log, *this);
  Status status = raft->start();
  if (status.ok()) after_event();
  return status;
}

void master_state::restart() {
  self->request(context->log_writer, caf::infinite, DrainLog{})
      .then([this, current = life](const LogAppended&) {
        if (stopping || current != life) return;
        Status status = context->log->reopen();
        if (status.ok() && offered) status = context->log->replace(metadata_group, *offered);
        if (status.ok()) offered.reset();
        if (status.ok()) status = start();
        if (!status.ok()) raft.reset();  // the next tick tries again
      });
}

void master_state::after_event() {
  if (stopping || !raft) return;
  if (raft->failed()) {
    context->say(LogLevel::error, "master", "starting anew: " + raft->failure().to_string());
    raft->close();
    raft.reset();
    return;
  }
  if (offered) {
    raft->close();
    raft.reset();  // the next tick takes it up
    return;
  }
  publish();
}

void master_state::publish() {
  const auto& [index, configuration] = raft->core()->configuration_at(raft->last_index());
  if (!members_known || index != members_index) {
    members_known = true;
    members_index = index;
    self->send(peer, MembersChanged{configuration.members});
  }
  caught_up = caught_up || raft->current();
  // An old map would start shards that have been dropped since; but better an old
  // one than none, where the others cannot be reached.
  bool waited = now_ms(self) >= started_ms + 3 * context->config.raft_election_timeout_ms;
  if (!caught_up && (!waited || catalog.version() == 0)) return;
  uint64_t version = std::max<uint64_t>(catalog.version(), 1);
  if (version > published || (caught_up && !published_current)) {
    published = version;
    published_current = caught_up;
    self->send(node, MapChanged{catalog.map(), caught_up});
  }
}

void master_state::reconcile_members() {
  if (!raft || !raft->serves() || raft->core()->changing()) return;
  const RaftCore& core = *raft->core();
  RaftConfiguration next = core.configuration();
  ClusterMapPtr map = catalog.map();
  auto change = [&] {
    raft->change(next, [this](Result<uint64_t> changed) {
      if (changed.ok()) return;
      context->say(LogLevel::warning, "master",
                   "a change of members did not take place: " + changed.status().to_string());
    });
  };
  for (const auto& [id, entry] : map->nodes) {
    const RaftMember* member = next.find(id);
    if (member != nullptr && member->address == entry.address) continue;
    next.set(id, member != nullptr && member->voter, entry.address);
    return change();
  }
  // An odd number: one more vote than that guards against no further loss.
  size_t wanted = std::min<size_t>(voters_max, (map->nodes.size() - 1) / 2 * 2 + 1);
  if (map->nodes.empty() || next.voters() >= wanted) return;
  uint64_t now = now_ms(self);
  for (const auto& [id, progress] : core.progress()) {
    bool near = progress.match + 16 >= core.last_index();
    bool alive = now < progress.heard_ms + context->config.raft_election_timeout_ms;
    const RaftMember* member = next.find(id);
    if (member == nullptr || member->voter || !near || !alive) continue;
    next.set(id, true, member->address);
    return change();
  }
}

void master_state::propose(const std::string& command, std::function<void(Result<uint64_t>)> done) {
  if (!raft) return done(unavailable("the catalog is not available; try again"));
  raft->propose(command, [this, done = std::move(done)](Result<uint64_t> index) {
    // Called right after the entry was applied, so `outcome` is its own.
    if (!index.ok()) return done(index.status());
    if (!outcome.ok()) return done(outcome);
    done(*index);
  });
  after_event();
}

namespace {

// To the master, wherever it is.
template <class Reply, class Request>
caf::result<Reply> pass_to_leader(master_state& state, Request& request) {
  uint64_t leader = state.raft ? state.raft->leader() : 0;
  // A leader that does not serve yet waits for itself.
  bool somebody = leader != 0 && leader != state.context->config.node_id;
  request.route.node = somebody ? leader : Route::nobody;
  return state.stateful->delegate(state.peer, std::move(request));
}

}  // namespace

caf::result<CatalogApplied> master_state::change(ChangeCatalog& request) {
  if (!raft || !raft->serves()) return pass_to_leader<CatalogApplied>(*this, request);
  auto complete = complete_command(request.command, *catalog.map());
  if (!complete.ok()) return to_error(complete.status());
  auto promise = stateful->make_response_promise<CatalogApplied>();
  propose(*complete, [this, promise](Result<uint64_t> index) mutable {
    if (!index.ok()) return (void)promise.deliver(to_error(index.status()));
    promise.deliver(CatalogApplied{catalog.version()});
  });
  return promise;
}

caf::result<JoinedCluster> master_state::join(JoinCluster& request) {
  if (!raft || !raft->serves()) return pass_to_leader<JoinedCluster>(*this, request);
  std::string cluster_id = context->membership->cluster_id();
  if (!request.cluster_id.empty() && request.cluster_id != cluster_id) {
    return to_error(Status(Code::failed_precondition,
                           "node \"" + request.name + "\" belongs to cluster " +
                               request.cluster_id + "; this is cluster " + cluster_id));
  }
  auto promise = stateful->make_response_promise<JoinedCluster>();
  propose(join_command({request.node, request.name, request.address, request.api_address}),
          [promise, cluster_id](Result<uint64_t> index) mutable {
            if (!index.ok()) return (void)promise.deliver(to_error(index.status()));
            promise.deliver(JoinedCluster{cluster_id});
          });
  return promise;
}

master_actor::behavior_type master(master_actor::stateful_pointer<master_state> self,
                                   NodeContextPtr context, node_actor node, peer_actor peer) {
  master_state& state = self->state;
  state.context = std::move(context);
  state.stateful = self;
  state.node = std::move(node);
  state.peer = std::move(peer);
  if (Status status = state.start(); !status.ok()) {
    state.context->say(LogLevel::error, "master", "cannot start: " + status.to_string());
    state.raft.reset();
  }
  auto interval = std::chrono::milliseconds(state.context->config.raft_tick_ms);
  self->delayed_send(self, interval, Tick{});
  return {
      [self](CreateDatabase& create) -> caf::result<CatalogApplied> {
        if (Status status = validate(create.spec); !status.ok()) return to_error(status);
        std::vector<ShardPlacement> unplaced(create.spec.shards);
        ChangeCatalog change{{metadata_group}, create_command(create.spec, unplaced)};
        return self->state.change(change);
      },
      [self](DropDatabase& drop) {
        ChangeCatalog change{{metadata_group}, drop_command(drop.name)};
        return self->state.change(change);
      },
      [self](ChangeCatalog& change) { return self->state.change(change); },
      [self](JoinCluster& request) { return self->state.join(request); },
      [self](RaftWire& wire) {
        master_state& master = self->state;
        if (master.stopping || !master.raft) return;
        auto message = RaftMessage::decode(wire.bytes);
        if (!message.ok()) {
          return master.context->say(
              LogLevel::warning, "master",
              "from node " + std::to_string(wire.from) + ": " + message.status().message());
        }
        master.raft->receive(*message);
        master.after_event();
      },
      [self](DescribeMaster) {
        const master_state& master = self->state;
        return MasterInfo{master.raft ? master.raft->leader() : 0, master.catalog.version()};
      },
      [self](Stop) {
        self->state.stopping = true;
        if (self->state.raft) self->state.raft->close();
        self->quit();
        return Stopped{};
      },
      [self, interval](Tick) {
        if (self->state.stopping) return;
        if (self->state.raft) {
          self->state.raft->tick();
          self->state.reconcile_members();
          self->state.after_event();
        } else {
          self->state.restart();
        }
        self->delayed_send(self, interval, Tick{});
      },
  };
}

}  // namespace jade
