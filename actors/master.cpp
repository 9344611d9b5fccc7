#include "actors/master.h"

#include "actors/errors.h"
#include "actors/raft_membership.h"
#include "actors/random.h"

namespace jade {
namespace {

// A node that was heard of since is alive.
constexpr uint64_t alive_ms = 3000;
// Nodes answer every heartbeat, which are a third of that apart.
constexpr uint64_t answers_ms = 300;
// So many election timeouts after a leader was last heard of there is none: those who do not vote
// hold no elections, and would know the old one for ever.
constexpr uint64_t leader_timeouts = 3;
// For so long a removal waits for its node to lose its vote.
constexpr uint64_t removal_ms_max = 10'000;
// The same trouble is told to the log so often.
constexpr uint64_t tell_interval_ms = 10'000;

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
        if (status.ok() && offered) status = context->log->install(metadata_group, *offered);
        if (status.ok()) offered.reset();
        if (status.ok()) status = start();
        if (!status.ok()) raft.reset();  // the next tick tries again
      });
}

void master_state::after_event() {
  if (stopping || !raft) return;
  if (raft->failed()) {
    failure = raft->failure().to_string();
    // At every tick, as long as the log cannot be written.
    if (failure != std::exchange(told_failure, failure) || now_ms(self) >= tell_ms) {
      context->say(LogLevel::error, "master", "starting anew: " + failure);
      tell_ms = now_ms(self) + tell_interval_ms;
    }
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

void master_state::lead() {
  settle_creations();
  if (!raft || !raft->serves()) {
    serving_since_ms = 0;
    return settle_removals();
  }
  if (serving_since_ms == 0) serving_since_ms = now_ms(self);
  led_ms = now_ms(self);
  settle_removals();
  reconcile_members();
  plan();
}

NodeHealth master_state::health() const {
  NodeHealth out;
  const RaftCore& core = *raft->core();
  uint64_t now = now_ms(self), replace_after = context->config.replace_after_ms;
  for (const auto& [id, entry] : catalog.state().nodes) {
    // Who has just begun to lead knows nothing of the time before.
    uint64_t heard = serving_since_ms;
    if (auto found = core.progress().find(id); found != core.progress().end()) {
      heard = std::max(heard, found->second.heard_ms);
    }
    if (id == context->config.node_id) heard = now;
    if (now < heard + alive_ms) out.alive.insert(id);
    if (replace_after > 0 && now >= heard + replace_after) out.lost.insert(id);
  }
  return out;
}

MasterInfo master_state::describe() {
  MasterInfo info;
  info.version = catalog.version();
  if (led_ms) info.leaderless_ms = now_ms(self) - *led_ms;
  if (!raft || raft->core() == nullptr) return info;
  for (const RaftMember& member : raft->core()->configuration().members) {
    if (member.voter) info.voters.insert(member.node);
  }
  const uint64_t now = now_ms(self), leader = raft->leader();
  const uint64_t timeout = leader_timeouts * context->config.raft_election_timeout_ms;
  bool heard = leader == context->config.node_id || (led_ms && now < *led_ms + timeout);
  if (heard) info.leader = leader;
  if (info.leader != 0) info.leaderless_ms.reset();
  return info;
}

void master_state::tell_trouble() {
  if (caught_up && raft) failure.clear();
  CatalogTrouble now;
  now.failed = !failure.empty();
  if (now.failed) {
    now.why = "the catalog of this node cannot be kept: " + failure;
  } else if (raft && caught_up && describe().leader == 0) {
    now.why = "no master has been heard of for a while";
  }
  if (now.why == trouble) return;
  trouble = now.why;
  self->send(node, std::move(now));
}

void master_state::reconcile_members() {
  if (changing || raft->core()->changing()) return;
  const RaftCore& core = *raft->core();
  const ClusterMap& map = catalog.state();
  if (map.nodes.empty()) return;
  NodeHealth known = health();
  std::set<uint64_t> voters, candidates;
  for (const RaftMember& member : core.configuration().members) {
    if (member.voter) voters.insert(member.node);
    if (known.alive.count(member.node) > 0 && is_near(core, member.node)) {
      candidates.insert(member.node);
    }
  }
  std::set<uint64_t> leaving;
  for (const auto& [leaver, removal] : removals) leaving.insert(leaver);
  std::set<uint64_t> wanted = plan_voters(map, known, voters, candidates, leaving);
  std::map<uint64_t, MemberTarget> target;
  for (const auto& [id, entry] : map.nodes) target[id] = {wanted.count(id) > 0, entry.address};
  uint64_t now = now_ms(self);
  uint64_t heard_since = now - std::min<uint64_t>(now, context->config.raft_election_timeout_ms);
  MembershipStep step = next_step(core, context->config.node_id, target, heard_since);
  if (step.kind == MembershipStep::Kind::hand_over) {
    (void)raft->transfer(step.to);  // the next tick asks again
  } else if (step.kind == MembershipStep::Kind::change) {
    changing = true;
    raft->change(step.next, [this](Result<uint64_t> changed) {
      changing = false;
      if (changed.ok() || changed.status().code() == Code::unavailable) return;
      context->say(LogLevel::warning, "master",
                   "a change of members did not take place: " + changed.status().to_string());
    });
  }
}

void master_state::plan() {
  if (planned) return;
  auto move = plan_move(catalog.state(), health());
  if (!move) return;
  planned = true;
  propose(encode(CatalogCommand(*move)), [this](Result<uint64_t>) { planned = false; });
}

Status master_state::check_removal(uint64_t leaver) const {
  const RaftConfiguration& members = raft->core()->configuration();
  if (!members.is_voter(leaver)) return {};
  NodeHealth known = health();
  size_t voters = 0, alive = 0;
  for (const RaftMember& member : members.members) {
    if (!member.voter || member.node == leaver) continue;
    ++voters;
    alive += known.alive.count(member.node);
  }
  if (voters > 0 && alive > voters / 2) return {};
  if (voters == 0) {
    return Status(Code::failed_precondition,
                  "this is the only node that votes on the catalog; add others first");
  }
  return Status(Code::failed_precondition,
                "without this node only " + std::to_string(alive) + " of the " +
                    std::to_string(voters) +
                    " nodes that vote on the catalog could be reached, which is no majority; "
                    "start the others first");
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

void master_state::propose(const std::string& command,
                           caf::typed_response_promise<CatalogApplied> promise) {
  propose(command, [this, promise](Result<uint64_t> index) mutable {
    if (!index.ok()) return (void)promise.deliver(to_error(index.status()));
    promise.deliver(CatalogApplied{catalog.version()});
  });
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

caf::result<CatalogApplied> master_state::remove(const RemoveRecord& remove,
                                                 ChangeCatalog& request) {
  if (Status may = check_removal(remove.node); !may.ok()) return to_error(may);
  // Nobody loses its vote for a removal that the catalog refuses.
  Catalog after = catalog;
  Status refused = after.apply(raft->last_index() + 1, request.command);
  if (!refused.ok()) return to_error(refused);
  if (!any_master(after.state()) && any_master(catalog.state())) {
    return to_error(Status(Code::failed_precondition,
                           "all others that can be master are drained; take that back for one of "
                           "them, or add another, first"));
  }
  if (removals.count(remove.node) > 0) {
    return to_error(Status(Code::failed_precondition, "the node is being removed already"));
  }
  auto promise = stateful->make_response_promise<CatalogApplied>();
  removals[remove.node] = {std::move(request), promise, now_ms(self) + removal_ms_max};
  settle_removal(remove.node);
  return promise;
}

void master_state::settle_removal(uint64_t leaver) {
  Removal& removal = removals.at(leaver);
  // Its vote would be given back before the catalog knows that it is gone.
  if (removal.proposed) return;
  auto refuse = [&](const Status& why) {
    removal.promise.deliver(to_error(why));
    removals.erase(leaver);
  };
  if (stopping) return refuse(unavailable("the master is stopping; try again"));
  if (!raft || !raft->serves()) {
    removal.request.route.node = Route::nobody;
    removal.promise.delegate(peer, std::move(removal.request));
    removals.erase(leaver);
  } else if (!raft->core()->changing() && !raft->core()->configuration().is_voter(leaver)) {
    removal.proposed = true;
    const std::string command = removal.request.command;
    propose(command, [this, leaver](Result<uint64_t> index) {
      auto settled = removals.extract(leaver).mapped();
      if (!index.ok()) return (void)settled.promise.deliver(to_error(index.status()));
      settled.promise.deliver(CatalogApplied{catalog.version()});
    });
  } else if (now_ms(self) >= removal.deadline_ms) {
    refuse(unavailable(
        "the node still votes on the catalog, as the others that are to vote cannot be reached or "
        "have not caught up; it was not removed, try again"));
  }
}

void master_state::settle_removals() {
  std::vector<uint64_t> leavers;
  for (const auto& [leaver, removal] : removals) leavers.push_back(leaver);
  for (uint64_t leaver : leavers) settle_removal(leaver);
}

caf::result<CatalogApplied> master_state::tell_version() {
  auto promise = stateful->make_response_promise<CatalogApplied>();
  raft->read([this, promise](const Result<uint64_t>& read) mutable {
    if (read.ok()) return (void)promise.deliver(CatalogApplied{catalog.version()});
    // It is no master any more.
    if (stopping || read.status().code() != Code::unavailable) {
      return (void)promise.deliver(to_error(read.status()));
    }
    promise.delegate(peer, ChangeCatalog{{metadata_group, Route::nobody}});
  });
  after_event();
  return promise;
}

caf::result<CatalogApplied> master_state::change(ChangeCatalog& request) {
  if (!raft || !raft->serves()) return pass_to_leader<CatalogApplied>(*this, request);
  if (request.command.empty()) return tell_version();
  auto command = decode_catalog_command(request.command);
  if (!command.ok()) return to_error(command.status());
  // Whether the name is free is the better complaint: where it is not now, the log has to say so,
  // and the catalog refuses what has no place.
  auto created = created_by(*command);
  if (created && catalog.state().find(created->name) == nullptr) {
    Creation creation{std::move(request), stateful->make_response_promise<CatalogApplied>(),
                      now_ms(self)};
    auto promise = creation.promise;
    if (!settle(creation)) creations.push_back(std::move(creation));
    return promise;
  }
  if (const auto* gone = std::get_if<RemoveRecord>(&*command)) return remove(*gone, request);
  const auto* drain = std::get_if<DrainRecord>(&*command);
  if (drain != nullptr && drain->draining) {
    if (Status may = check_removal(drain->node); !may.ok()) return to_error(may);
  }
  auto promise = stateful->make_response_promise<CatalogApplied>();
  propose(request.command, promise);
  return promise;
}

Result<std::optional<std::vector<ShardPlacement>>> master_state::place_asked(
    const DatabaseSpec& spec, uint64_t asked_ms) const {
  const uint64_t now = now_ms(self);
  NodeHealth heard;
  size_t workers = 0, workers_heard = 0;
  for (const auto& [id, entry] : catalog.state().nodes) {
    auto found = raft->core()->progress().find(id);
    const bool is_heard =
        id == context->config.node_id ||
        (found != raft->core()->progress().end() && found->second.heard_ms >= asked_ms);
    if (is_heard) heard.alive.insert(id);
    if (entry.draining || !has_role(entry, NodeRole::worker)) continue;
    ++workers;
    workers_heard += is_heard ? 1 : 0;
  }
  auto placed = place(spec, catalog.state(), heard);
  if (!placed.ok()) return placed.status();
  // Those that died a moment ago are told from the others by not answering any more.
  const bool enough = workers_heard == workers ||
                      (now >= asked_ms + answers_ms && workers_heard >= spec.replicas) ||
                      now >= asked_ms + alive_ms;
  if (!enough) return std::optional<std::vector<ShardPlacement>>();
  return std::optional(std::move(*placed));
}

bool master_state::settle(Creation& creation) {
  auto promise = creation.promise;
  if (stopping) {
    promise.deliver(to_error(unavailable("the master is stopping; try again")));
    return true;
  }
  if (!raft || !raft->serves()) {
    creation.request.route.node = Route::nobody;
    promise.delegate(peer, std::move(creation.request));
    return true;
  }
  const auto created = created_by(*decode_catalog_command(creation.request.command));
  auto placed = place_asked(*created, creation.asked_ms);
  if (!placed.ok()) {
    promise.deliver(to_error(placed.status()));
    return true;
  }
  if (!*placed) return false;
  propose(create_command(*created, **placed), promise);
  return true;
}

void master_state::settle_creations() {
  for (Creation& creation : std::exchange(creations, {})) {
    if (!settle(creation)) creations.push_back(std::move(creation));
  }
}

caf::result<JoinedCluster> master_state::join(JoinCluster& request) {
  if (!raft || !raft->serves()) return pass_to_leader<JoinedCluster>(*this, request);
  std::string cluster_id = context->membership->cluster_id();
  if (request.protocol != cluster_protocol) {
    return to_error(Status(Code::failed_precondition,
                           "this cluster speaks version " + std::to_string(cluster_protocol) +
                               " of the protocol between nodes, and node \"" + request.name +
                               "\" version " + std::to_string(request.protocol) +
                               "; run the same release on all"));
  }
  if (!request.cluster_id.empty() && request.cluster_id != cluster_id) {
    return to_error(Status(Code::failed_precondition,
                           "node \"" + request.name + "\" belongs to cluster " +
                               request.cluster_id + "; this is cluster " + cluster_id));
  }
  auto promise = stateful->make_response_promise<JoinedCluster>();
  propose(join_command({request.node, request.name, request.address, request.api_address, false,
                        request.roles}),
          [this, promise, cluster_id](Result<uint64_t> index) mutable {
            if (!index.ok()) return (void)promise.deliver(to_error(index.status()));
            JoinedCluster joined{cluster_id, {}};
            if (raft && raft->core()) joined.members = raft->core()->configuration().members;
            promise.deliver(std::move(joined));
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
      [self](AlterDatabase& alter) -> caf::result<CatalogApplied> {
        if (alter.replicas && alter.index) {
          return to_error(invalid_argument("replicas and index are changed one after the other"));
        }
        if (alter.replicas) {
          ReplicasRecord replicas{std::move(alter.name), *alter.replicas};
          ChangeCatalog change{{metadata_group}, encode(CatalogCommand(std::move(replicas)))};
          return self->state.change(change);
        }
        if (!alter.index) return to_error(invalid_argument("nothing is to be changed"));
        Status known = check_is_known(alter.index->applied_to(IndexOptions()));
        if (!known.ok()) return to_error(known);
        // Not in the catalog, whose log may have changes from before this was refused.
        if (const auto* database = self->state.catalog.state().find(alter.name)) {
          IndexKind type = alter.index->kind.value_or(database->spec.index.kind);
          if (Status fits = alter.index->check_type(type); !fits.ok()) return to_error(fits);
        }
        ChangeCatalog change{{metadata_group}, reindex_command(alter.name, *alter.index)};
        return self->state.change(change);
      },
      [self](SplitShard& split) {
        SplitRecord record{split.shard, SplitStep::begin, std::move(split.database)};
        ChangeCatalog change{{metadata_group}, encode(CatalogCommand(std::move(record)))};
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
        if (master.raft->leader() == wire.from) master.led_ms = now_ms(self);
        master.after_event();
      },
      [self](DescribeMaster) { return self->state.describe(); },
      [self](Stop) {
        self->state.stopping = true;
        self->state.settle_creations();
        self->state.settle_removals();
        if (self->state.raft) self->state.raft->close();
        self->quit();
        return Stopped{};
      },
      [self, interval](Tick) {
        if (self->state.stopping) return;
        if (self->state.raft) {
          self->state.raft->tick();
          self->state.lead();
          self->state.after_event();
        } else {
          self->state.restart();
        }
        self->state.tell_trouble();
        self->delayed_send(self, interval, Tick{});
      },
  };
}

}  // namespace jade
