#include "actors/master.h"

#include "actors/errors.h"
#include "actors/random.h"

namespace jade {

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

void master_state::raft_send(RaftMessage) {}

void master_state::raft_state_offered(RaftOffer) {}

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
  options.founders = {context->config.node_id};
  options.snapshot_entries = 256;
  options.seed = mix(context->seams.seed, metadata_group + (++life << 32));
  catalog = Catalog();
  caught_up = false;
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
  caught_up = caught_up || raft->serves();
  // Not before all that was committed is applied: an old map would start shards
  // that have been dropped since.
  if (!caught_up) return;
  if (published == 0 || catalog.version() > published) {
    published = std::max<uint64_t>(catalog.version(), 1);
    self->send(node, MapChanged{catalog.map()});
  }
}

caf::result<CatalogApplied> master_state::propose(std::string command) {
  if (!raft) return to_error(unavailable("the catalog is not available; try again"));
  auto promise = self->make_response_promise<CatalogApplied>();
  raft->propose(command, [this, promise](Result<uint64_t> index) mutable {
    // Called right after the entry was applied, so `outcome` is its own.
    if (!index.ok()) {
      promise.deliver(to_error(index.status()));
    } else if (!outcome.ok()) {
      promise.deliver(to_error(outcome));
    } else {
      promise.deliver(CatalogApplied{catalog.version()});
    }
  });
  after_event();
  return promise;
}

master_actor::behavior_type master(master_actor::stateful_pointer<master_state> self,
                                   NodeContextPtr context, node_actor node) {
  master_state& state = self->state;
  state.context = std::move(context);
  state.node = std::move(node);
  if (Status status = state.start(); !status.ok()) {
    state.context->say(LogLevel::error, "master", "cannot start: " + status.to_string());
    state.raft.reset();
  }
  auto interval = std::chrono::milliseconds(state.context->config.raft_tick_ms);
  self->delayed_send(self, interval, Tick{});
  return {
      [self](CreateDatabase& create) -> caf::result<CatalogApplied> {
        master_state& master = self->state;
        if (Status status = validate(create.spec); !status.ok()) return to_error(status);
        return master.propose(create_command(create.spec, {master.context->config.node_id}));
      },
      [self](DropDatabase& drop) { return self->state.propose(drop_command(drop.name)); },
      [self](DescribeMaster) {
        const master_state& master = self->state;
        return MasterInfo{
            master.raft && master.raft->is_leader() ? master.context->config.node_id : 0,
            master.catalog.version()};
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
          self->state.after_event();
        } else {
          self->state.restart();
        }
        self->delayed_send(self, interval, Tick{});
      },
  };
}

}  // namespace jade
