#include "actors/shard.h"

#include <algorithm>

#include "actors/deadline.h"
#include "actors/errors.h"
#include "actors/raft_membership.h"
#include "actors/random.h"
#include "actors/shard_split.h"
#include "index/calibration.h"

namespace jade {
namespace {

// Writes that stop for so long let small leftovers be sealed and folded, ...
constexpr uint64_t brief_pause_ms = 2000;
// ... and for so long, as they do not between two of a client that goes on, space be given back.
constexpr uint64_t lasting_pause_ms = 60'000;
// Of a search that says nothing else.
constexpr uint32_t default_k = 10;
// How often a shard whose log failed looks whether it can be written again.
constexpr uint64_t resume_interval_ms = 1000;
// A copy of the state that nobody asked for so long is given up.
constexpr uint64_t transfer_idle_ms = 30'000;
constexpr uint64_t build_pause_min_ms = 1000;
constexpr uint64_t build_pause_max_ms = 60'000;
constexpr uint64_t calibration_pause_ms = 60'000;
// How long another leads before it hands over to the one that should.
constexpr uint64_t prefer_after_ms = 5000;
constexpr uint64_t report_interval_ms = 1000;
constexpr auto report_timeout = std::chrono::seconds(5);
// With sharding by vector: as many as some cells that cannot be reached may hold up.
constexpr size_t changes_max = 100'000;

}  // namespace

shard_state::~shard_state() {
  *ended = true;
  if (front) context->fronts->remove(group, front);
  if (raft) raft->close();
  if (replica) replica->cancel_builds();
  queued.abandon();
}

uint64_t shard_state::raft_now_ms() { return now_ms(self); }

void shard_state::raft_append(uint64_t number, LogAppend append) {
  self->request(context->log_writer, caf::infinite, AppendLog{number, std::move(append)})
      .then(
          [this, current = life](const LogAppended& done) {
            if (current != life || !raft) return;
            if (!done.status.ok()) return suspend(done.status);
            raft->appended(done.request, done.status);
            after_event();
          },
          [this, current = life](const caf::error& error) {
            if (current == life && raft) suspend(to_status(error));
          });
}

Status shard_state::raft_apply(uint64_t index, uint64_t term, std::string_view command) {
  JADE_RETURN_IF_ERROR(replica->apply(index, term, command));
  // Before anybody hears that it has been.
  refresh_front();
  return {};
}

void shard_state::raft_send(RaftMessage message) {
  // The other may lead as soon as it has this.
  if (message.kind == RaftMessage::Kind::campaign_now) refresh_front();
  self->send(peer, SendRaft{message.to, {group, context->config.node_id, message.encode()}});
}

void shard_state::raft_state_offered(RaftOffer offer) {
  if (std::exchange(behind, true)) return;
  context->say(LogLevel::warning, "shard",
               "shard " + std::to_string(group) + " is too far behind node " +
                   std::to_string(offer.from) + " for its log; taking a copy of the state");
  self->send(node, ShardBehind{group});
}

void shard_state::raft_store_snapshot(RaftSnapshot snapshot, uint64_t trailing) {
  // First the state, then the promise that the log up to it is not needed. Raft
  // counts entries that never reach the state machine (barriers, configurations).
  if (Status status = replica->pass(snapshot.index, snapshot.term); !status.ok()) {
    // Acted upon once the host is out of this call, by after_event().
    return raft->fail(status);
  }
  auto store = [log = context->log, sync = replica->syncer(), group = group,
                snapshot = std::move(snapshot), trailing] {
    JADE_RETURN_IF_ERROR(sync());
    return log->put_snapshot(group, snapshot, trailing);
  };
  self->request(context->syncer, caf::infinite, BlockingTask{store})
      .then(
          [this, current = life](const TaskDone& done) {
            if (current != life || !raft) return;
            if (!done.status.ok()) {
              context->say(LogLevel::warning, "shard",
                           "snapshot of shard " + std::to_string(group) +
                               " failed: " + done.status.to_string());
            }
            raft->snapshot_stored(done.status);
            after_event();
          },
          [](const caf::error&) {});  // the syncer ends with the node only
}

Status shard_state::start() {
  RaftHost::Options options;
  options.group = group;
  options.node = context->config.node_id;
  for (uint64_t member : placement.nodes) {
    if (may_found) options.founders.push_back({member, true, {}});
  }
  options.first_leader = placement.nodes.front();
  options.durable_state = true;
  options.applied_index = replica->applied_index();
  options.tick_ms = context->config.raft_tick_ms;
  options.election_timeout_ms = context->config.raft_election_timeout_ms;
  options.snapshot_entries = context->config.raft_snapshot_entries;
  options.snapshot_bytes = context->config.raft_snapshot_bytes;
  options.retained_bytes = context->config.raft_retained_bytes;
  options.seed = mix(context->seams.seed, group + (++life << 32));
  raft = std::make_unique<RaftHost>(options, *context->log, *this);
  return raft->start();
}

void shard_state::suspend(const Status& status) {
  if (suspended.code() != status.code()) {
    context->say(LogLevel::error, "shard",
                 "shard " + std::to_string(group) + " takes no writes: " + status.to_string());
  }
  suspended = status;
  resume_at_ms = now_ms(self) + resume_interval_ms;
  std::unique_ptr<RaftHost> failing = std::move(raft);
  refresh_front();
  maintenance_proposed = false;
  failing->fail(status);
  failing->close();
}

void shard_state::resume() {
  resume_at_ms = UINT64_MAX;  // one attempt at a time
  self->request(context->log_writer, caf::infinite, DrainLog{}).then([this](const LogAppended&) {
    if (stopping || failed || raft) return;
    Status status = context->log->reopen();
    if (status.ok()) status = start();
    if (!status.ok()) {
      raft.reset();
      resume_at_ms = now_ms(self) + resume_interval_ms;
      if (status.code() == Code::corruption) fail(status);
      return;
    }
    context->say(LogLevel::info, "shard", "shard " + std::to_string(group) + " takes writes again");
    suspended = Status();
    after_event();
  });
}

void shard_state::fail(const Status& status) {
  if (failed || stopping) return;
  failed = true;
  refresh_front();
  release_writes();
  if (raft) raft->close();  // answers what waits
  if (vector_home) vector_home->abandon(unavailable("the shard has failed; try again"));
  self->send(node, ShardFailed{group, status});
  self->quit(to_error(status));
}

void shard_state::after_event() {
  if (failed || stopping || !raft) return;
  if (raft->failed()) return fail(raft->failure());
  if (!announced && raft->current()) {
    announced = true;
    self->send(node, ShardServes{group});
    calibrate_for_defaults();
  }
  if (announced) {
    plan_maintenance();
    start_listing();
  }
  refresh_front();
}

void shard_state::refresh_front() {
  if (!announced || stopping || failed || !raft || !front->wanted(now_ms(self))) {
    return front->withdraw();
  }
  front->publish({replica->snapshot(), raft->leads_until_ms(), replica->last_child(),
                  replica->cells().announced, replica->cells().done});
}

void shard_state::plan_maintenance() {
  start_build();
  if (!raft->serves()) return;
  if (maintenance_proposed) return;
  using Pause = ShardReplica::Pause;
  const uint64_t silent_ms = now_ms(self) - last_write_ms;
  const Pause pause = silent_ms >= lasting_pause_ms ? Pause::lasting
                      : silent_ms >= brief_pause_ms ? Pause::brief
                                                    : Pause::none;
  // So that it is known what searches find, though nobody asks for a recall. Vectors on disk
  // would all be read for it.
  if (pause != Pause::none && !building && replica->index().vectors == VectorPlace::memory) {
    calibrate(default_k);
  }
  auto command = replica->plan_maintenance(!building, pause);
  if (!command) return;
  maintenance_proposed = true;
  raft->propose(*command, [this](Result<uint64_t>) { maintenance_proposed = false; });
}

auto shard_state::ask_builder(std::function<Status()> work) {
  const auto& builders = context->builders;
  return self->request(builders[group % builders.size()], caf::infinite,
                       BlockingTask{queued.add(std::move(work))});
}

void shard_state::start_build() {
  if (building || now_ms(self) < build_at_ms) return;
  auto job = replica->next_build();
  if (!job) return;
  building = true;
  ask_builder(std::exchange(job->run, nullptr))
      .then(
          [this, job = *job](const TaskDone& done) {
            building = false;
            if (stopping || failed) return;
            std::function<Status()> cleanup;
            Status status = replica->finish_build(job, done.status, &cleanup);
            if (!status.ok()) return fail(status);
            if (!done.status.ok()) return build_failed(done.status);
            build_pause_ms = 0;
            calibrate_for_defaults();
            // What stays is removed at the next start.
            auto tidy = [cleanup, give_back = context->seams.give_memory_back] {
              Status tidied = cleanup ? cleanup() : Status();
              if (give_back) give_back();
              return tidied;
            };
            ask_builder(tidy).then([](const TaskDone&) {});
            after_event();
          },
          [this](const caf::error& error) {
            building = false;
            build_failed(to_status(error));
          });
}

void shard_state::start_listing() {
  if (listing || !front->wanted(now_ms(self))) return;
  auto segments = replica->extensible();
  if (segments.empty()) return;
  listing = true;
  auto extend = [segments = std::move(segments), ended = ended] {
    for (const auto& segment : segments) segment->extend(ended.get());
    return Status();
  };
  self->request(context->lister, caf::infinite, BlockingTask{extend})
      .then(
          [this](const TaskDone&) {
            listing = false;
            release_writes();
            if (!stopping && !failed) start_listing();
          },
          [](const caf::error&) {});  // it ends with the node only
}

void shard_state::release_writes() {
  for (const auto& go_on : std::exchange(held_writes, {})) go_on();
}

bool shard_state::lists_lag() const { return listing && replica->lists_lag(); }

void shard_state::calibrate(uint32_t k) {
  if (calibrating || stopping || failed || now_ms(self) < calibrate_at_ms) return;
  std::vector<SegmentView> wanted;
  for (const auto& segments : replica->snapshot()->segments) {
    for (const SegmentView& view : segments) {
      if (wants_calibration(view, k)) wanted.push_back(view);
    }
  }
  if (wanted.empty()) return;
  calibrating = true;
  auto measure = [wanted = std::move(wanted), k, ended = ended, workers = context->workers] {
    Stopper stop([&] { return ended->load(); });
    Status first;
    for (const SegmentView& view : wanted) {
      Status status = jade::calibrate(view, k, &stop, workers.get());
      if (first.ok()) first = std::move(status);
    }
    return first;
  };
  ask_builder(measure).then([this](const TaskDone& done) { calibrated(done.status); },
                            [this](const caf::error& error) { calibrated(to_status(error)); });
}

void shard_state::calibrated(const Status& status) {
  calibrating = false;
  if (status.ok() || stopping || failed) return;
  // Until then, what cannot be read is built anew.
  calibrate_at_ms = now_ms(self) + calibration_pause_ms;
  context->say(LogLevel::warning, "shard",
               "what searches of shard " + std::to_string(group) +
                   " find could not be measured, trying again in " +
                   std::to_string(calibration_pause_ms / 1000) + " s: " + status.to_string());
}

void shard_state::calibrate_for_defaults() {
  if (replica->index().min_recall > 0) calibrate(default_k);
}

void shard_state::build_failed(const Status& status) {
  build_pause_ms = std::clamp(2 * build_pause_ms, build_pause_min_ms, build_pause_max_ms);
  build_at_ms = now_ms(self) + build_pause_ms;
  context->say(LogLevel::warning, "shard",
               "an index of shard " + std::to_string(group) +
                   " could not be built, trying again in " + std::to_string(build_pause_ms / 1000) +
                   " s: " + status.to_string());
}

void shard_state::propose(std::string command, std::function<void(Result<ShardWritten>)> done) {
  if (!announced) return done(unavailable("the shard is starting; try again"));
  if (stopping) return done(unavailable("the shard is closing"));
  if (!raft) return done(suspended);
  last_write_ms = now_ms(self);
  raft->propose(command, [this, done = std::move(done)](Result<uint64_t> index) {
    // Called right after the entry was applied, so count and outcome are its own.
    if (!index.ok()) return done(index.status());
    if (Status outcome = replica->last_outcome(); !outcome.ok()) return done(outcome);
    auto [first_group, first_index] = replica->last_entry();
    done(ShardWritten{group, *index, replica->last_affected(), replica->last_missing(), first_group,
                      first_index});
  });
  after_event();
}

void shard_state::write(std::string command, std::function<void(Result<ShardWritten>)> done) {
  if (!vector_home) return propose(std::move(command), std::move(done));
  if (replica->homes()->changes() > changes_max) {
    return done(Status(Code::unavailable,
                       "shard " + std::to_string(group) + " has " + std::to_string(changes_max) +
                           " changes that have not arrived in other shards yet; try again"));
  }
  propose(std::move(command), [this, done = std::move(done)](Result<ShardWritten> written) {
    if (!written.ok()) return done(written);
    // An earlier one, where this repeats a request.
    uint64_t version = replica->homes()->last_version();
    vector_home->await(version, [done, own = *written](Result<AppliedIndexes> reached) mutable {
      if (!reached.ok()) return done(reached.status());
      own.reached = std::move(*reached);
      done(std::move(own));
    });
  });
}

const searcher_actor& shard_state::pick_searcher() {
  const auto& pool = context->searchers;
  return pool[next_searcher++ % pool.size()];
}

Status shard_state::check_open() const {
  // Another has it, or will have.
  if (stopping) return Status(alone() ? Code::unavailable : Code::moved, "the shard is closing");
  if (announced) return {};
  // Where no other replica can answer, it is this one that is to be asked again: soon it is there,
  // as when it came from a split.
  return Status(follows() ? Code::unavailable : Code::moved, "the shard is starting; try again");
}

// Deletes rows, in commands of bounded size, one after another.
struct RowEraser : std::enable_shared_from_this<RowEraser> {
  shard_state* shard = nullptr;
  MatchedRows matched;
  bool trim = false;
  uint64_t deadline_ms = 0;
  std::function<void(Result<ShardWritten>)> done;
  size_t next = 0;
  ShardWritten total;

  static constexpr size_t rows_per_command = 4096;

  void go_on() {
    const auto& rows = *matched.rows;
    if (next >= rows.size()) {
      if (total.index == 0) total.index = shard->replica->applied_index();
      return done(total);
    }
    if (deadline_ms != 0 && now_ms(shard->self) >= deadline_ms) {
      return done(out_of_time("when " + std::to_string(next) + " of " +
                              std::to_string(rows.size()) +
                              " vectors that match had been deleted; ask again for the rest"));
    }
    size_t end = std::min(rows.size(), next + rows_per_command);
    DeleteCommand command;
    command.trim = trim;
    for (; next < end; ++next) {
      command.ids.push_back(rows[next].first);
      // Only this version of the vector: a newer one may not match.
      command.rows.push_back(rows[next].second);
    }
    // Trimming has no client.
    auto next_one = [self = shared_from_this()](Result<ShardWritten> written) {
      if (!written.ok()) return self->done(written.status());
      self->total.index = written->index;
      self->total.affected += written->affected;
      note_applied(self->total.reached, written->reached);
      self->go_on();
    };
    trim ? shard->propose(encode(command), next_one) : shard->write(encode(command), next_one);
  }
};

void shard_state::erase_rows(MatchedRows rows, bool trim, uint64_t deadline_ms,
                             std::function<void(Result<ShardWritten>)> done) {
  auto eraser = std::make_shared<RowEraser>();
  eraser->shard = this;
  eraser->matched = std::move(rows);
  eraser->trim = trim;
  eraser->deadline_ms = deadline_ms;
  eraser->done = std::move(done);
  eraser->total.group = group;
  eraser->go_on();
}

namespace {

using shard_pointer = shard_actor::stateful_pointer<shard_state>;

// From here on it has the time of this node; false where none is left.
template <class Request>
bool in_time(shard_pointer self, Request& request) {
  take_up(request.route, now_ms(self));
  return !is_over(request.route, now_ms(self));
}

Status out_of_time_at(const shard_state& shard, const char* where) {
  return out_of_time(where + std::string(" shard ") + std::to_string(shard.group));
}

// Sends the request to the replica that leads, to be answered by it.
template <class Reply, class Request>
caf::result<Reply> pass_to_leader(shard_pointer self, Request& request) {
  shard_state& shard = self->state;
  uint64_t leader = shard.raft ? shard.raft->leader() : shard.another(request.route.waits);
  request.route.node = leader == 0 ? Route::nobody : leader;
  return self->delegate(shard.peer, std::move(request));
}

// The same of what any replica may answer: one that has not caught up yet may have nothing.
template <class Reply, class Request>
caf::result<Reply> pass_to_another(shard_pointer self, Request& request) {
  request.route.node = Route::another;
  return self->delegate(self->state.peer, std::move(request));
}

// Whether the asker does not know of a split that has happened here.
template <class Request>
bool is_outdated(const Request& request, const ShardReplica& replica) {
  return request.last_child < replica.last_child();
}
bool is_outdated(const ShardGet& request, const ShardReplica& replica) {
  return !replica.owns(request.id);
}
// Or of a new router.
bool is_outdated(const ShardSearch& request, const ShardReplica& replica) {
  return request.last_child < replica.last_child() ||
         (request.router != 0 && request.router < replica.cells().announced);
}

// Deletes what matches a filter: again, as long as some of what matched had changed before it was
// deleted. What changed still matches, or matched no longer; only the first is to be deleted.
struct MatchEraser : std::enable_shared_from_this<MatchEraser> {
  shard_pointer self = nullptr;
  caf::typed_response_promise<ShardWritten> promise;
  ShardDeleteMatching request;
  ShardWritten total;

  void go_on() {
    shard_state& shard = self->state;
    if (shard.stopping) return fail(unavailable("the node is shutting down"));
    if (!shard.raft) return fail(shard.suspended);
    // What is looked at must hold all that was acknowledged.
    shard.raft->read([next = shared_from_this()](Result<uint64_t> index) {
      index.ok() ? next->match() : next->fail(index.status());
    });
  }

 private:
  void match() {
    shard_state& shard = self->state;
    if (is_outdated(request, *shard.replica)) return fail(shard.replica->moved());
    self->request(shard.pick_searcher(), caf::infinite,
                  MatchTask{shard.replica->snapshot(), request.filter, request.route.deadline_ms})
        .then(
            [next = shared_from_this()](MatchedRows& matched) { next->erase(std::move(matched)); },
            [next = shared_from_this()](const caf::error& error) { next->promise.deliver(error); });
  }
  void erase(MatchedRows matched) {
    const uint64_t count = matched.rows->size();
    self->state.erase_rows(std::move(matched), false, request.route.deadline_ms,
                           [next = shared_from_this(), count](Result<ShardWritten> written) {
                             if (!written.ok()) return next->fail(written.status());
                             const uint64_t affected = written->affected;
                             written->affected += next->total.affected;
                             note_applied(written->reached, next->total.reached);
                             next->total = std::move(*written);
                             affected < count ? next->go_on() : next->finish();
                           });
  }
  void finish() { promise.deliver(std::move(total)); }
  void fail(const Status& status) { promise.deliver(to_error(status)); }
};

// Whether it knows of one that this replica has not come to yet.
template <class Request>
bool is_ahead(const Request& request, const ShardReplica& replica) {
  return request.last_child > replica.last_child();
}
bool is_ahead(const ShardGet&, const ShardReplica&) { return false; }
bool is_ahead(const ShardSearch& request, const ShardReplica& replica) {
  return request.last_child > replica.last_child() || request.router > replica.cells().done;
}

// With sharding by vector: up to which version changes must have arrived before an answer
// may show them, so that searches afterwards do as well.
template <class Request>
uint64_t shown_change(const Request&, const HomeRecords&) {
  return 0;
}
uint64_t shown_change(const ShardGet& request, const HomeRecords& homes) {
  return homes.change_of(request.id);
}
uint64_t shown_change(const ShardList&, const HomeRecords& homes) {
  return homes.first_change() == 0 ? 0 : homes.last_version();
}

// Answers from the state of this replica, where that is as new as asked for.
// `task(Request&&)` is what a searcher does.
template <class Reply, class Request, class MakeTask>
caf::result<Reply> read(shard_pointer self, Request& request, uint64_t applied_min, MakeTask task) {
  shard_state& shard = self->state;
  if (!in_time(self, request)) return to_error(out_of_time_at(shard, "before it came to"));
  // One that has not caught up yet can still pass it on.
  if (!shard.announced && shard.follows()) {
    return request.consistency == Consistency::eventual ? pass_to_another<Reply>(self, request)
                                                        : pass_to_leader<Reply>(self, request);
  }
  if (Status status = shard.check_open(); !status.ok()) return to_error(status);
  bool token = request.consistency == Consistency::session && applied_min > 0;
  bool here = request.consistency == Consistency::eventual ||
              (token && shard.replica->applied_index() >= applied_min) ||
              // Nobody else can have written since the log failed.
              (!shard.raft && shard.alone() && request.consistency == Consistency::session);
  if (here && is_outdated(request, *shard.replica)) return to_error(shard.replica->moved());
  if (here && !is_ahead(request, *shard.replica)) {
    return self->delegate(shard.pick_searcher(), task(std::move(request)));
  }
  if (shard.follows()) return pass_to_leader<Reply>(self, request);
  if (!shard.raft) return to_error(shard.suspended);
  if (token) {
    return to_error(unavailable("shard " + std::to_string(shard.group) + " has applied entry " +
                                std::to_string(shard.replica->applied_index()) +
                                ", but the token asks for " + std::to_string(applied_min) +
                                "; try again"));
  }
  auto promise = self->template make_response_promise<Reply>();
  auto held = std::make_shared<Request>(std::move(request));
  shard.front->want(now_ms(self));
  shard.raft->read([self, promise, held, task](Result<uint64_t> index) mutable {
    if (is_over(held->route, now_ms(self))) {
      return (void)promise.deliver(
          to_error(out_of_time_at(self->state, "before the latest writes were known to")));
    }
    const HomeRecords* homes = self->state.replica->homes();
    uint64_t change = index.ok() && homes != nullptr ? shown_change(*held, *homes) : 0;
    if (index.ok() && is_outdated(*held, *self->state.replica)) {
      promise.deliver(to_error(self->state.replica->moved()));
    } else if (change != 0) {
      // By the state of now: what is written until then may take longer to arrive.
      self->state.vector_home->await(change, [self, promise, work = task(std::move(*held))](
                                                 const Result<AppliedIndexes>& arrived) mutable {
        if (!arrived.ok()) return (void)promise.deliver(to_error(arrived.status()));
        promise.delegate(self->state.pick_searcher(), std::move(work));
      });
    } else if (index.ok()) {
      promise.delegate(self->state.pick_searcher(), task(std::move(*held)));
    } else if (index.status().code() == Code::unavailable && !self->state.stopping) {
      // It leads no more: whoever does answers, as soon as there is one.
      held->route.node = Route::nobody;
      promise.delegate(self->state.peer, std::move(*held));
    } else {
      promise.deliver(to_error(index.status()));
    }
  });
  shard.after_event();
  return promise;
}

}  // namespace

caf::result<StateChunk> shard_state::fetch(shard_pointer actor, FetchState& request) {
  auto found = transfers.find(request.transfer);
  if (found == transfers.end() && follows() && (!raft || raft->leader() != 0)) {
    return pass_to_leader<StateChunk>(actor, request);
  }
  if (stopping) return to_error(unavailable("the shard is closing"));
  if (!raft) return to_error(suspended);
  if (request.transfer == 0) {
    const RaftCore& core = *raft->core();
    // What Raft has applied since for itself counts, or a log that ends with it could not be
    // replaced before the next write.
    if (const uint64_t index = raft->last_applied(); index > replica->applied_index()) {
      if (Status status = replica->pass(index, core.term_at(index)); !status.ok()) {
        fail(status);
        return to_error(status);
      }
    }
    StateChunk chunk;
    chunk.index = replica->applied_index();
    // What was applied was committed. What the asking replica has acknowledged beyond it stays in
    // its log, so that anybody's state does who has come as far as that begins.
    // Nothing was, by one that has only what founded the group and what is not known to be
    // committed; others that were founders and began late need it all the same, to vote.
    const bool founding = chunk.index == 0 && core.first_index() == 1 && core.last_index() > 0;
    bool known = founding || (chunk.index > 0 && chunk.index >= core.first_index() - 1);
    if (!known || chunk.index < request.log_base) {
      return to_error(
          unavailable("the state is older than the log that would go on from it; try again"));
    }
    chunk.term = core.term_at(chunk.index);
    // That of the founders is their first entry, but holds before it.
    const auto& [configuration_index, configuration] =
        core.configuration_at(std::max<uint64_t>(1, chunk.index));
    chunk.configuration_index = std::min(configuration_index, chunk.index);
    chunk.configuration = configuration.encode();
    chunk.transfer = mix(context->seams.seed, now_ms(self) + ++life_of_transfers) | 1;
    found =
        transfers.emplace(chunk.transfer, Transfer{replica->snapshot(), chunk, 0, request.from, 0})
            .first;
    raft->hold_log(true);
  }
  if (found == transfers.end()) {
    return to_error(not_found("this copy of the state was given up; begin another"));
  }
  found->second.used_ms = now_ms(self);
  found->second.progress = replica->share_before(request.after);
  return actor->delegate(pick_searcher(), ExportTask{found->second.view, std::move(request.after),
                                                     found->second.chunk});
}

void shard_state::hand_over() {
  if (!raft || !raft->serves()) return;
  // Whoever has most of the log needs no election timeout to find out.
  const RaftCore& core = *raft->core();
  uint64_t best = 0, match = 0;
  for (const auto& [member, progress] : core.progress()) {
    if (!core.configuration().is_voter(member) || progress.match <= match) continue;
    best = member;
    match = progress.match;
  }
  if (best == 0) return;
  if (Status status = raft->transfer(best); !status.ok()) {
    context->say(LogLevel::warning, "shard",
                 "the leadership could not be handed over: " + status.to_string());
  }
}

void shard_state::place() {
  if (placing || !raft->serves() || placement.version < replica->placed()) return;
  placing = true;
  raft->propose(encode(PlacedCommand{placement.version}),
                [this](Result<uint64_t>) { placing = false; });
  after_event();
}

void shard_state::reconcile_members() {
  if (!raft || !raft->serves() || !announced) {
    leading_since_ms = 0;
    return;
  }
  uint64_t now = now_ms(self);
  if (leading_since_ms == 0) {
    leading_since_ms = now;
    prefer_ms = now + prefer_after_ms;
  }
  const RaftCore& core = *raft->core();
  // By an older placement than has been followed already, a node could be made a
  // member that has given up its replica since.
  if (core.changing() || changing || placing || placement.version < replica->placed()) return;
  std::map<uint64_t, MemberTarget> target;
  for (uint64_t member : target_of(placement)) target[member];
  uint64_t heard_since = now - std::min<uint64_t>(now, context->config.raft_election_timeout_ms);
  MembershipStep step = next_step(core, context->config.node_id, target, heard_since);
  bool moving = !placement.leaving.empty() || !placement.joining.empty();
  if ((step.kind != MembershipStep::Kind::none || moving) &&
      placement.version > replica->placed()) {
    return place();
  }
  switch (step.kind) {
    case MembershipStep::Kind::wait: return;
    case MembershipStep::Kind::change:
      changing = true;
      raft->change(step.next, [this](Result<uint64_t>) { changing = false; });
      return after_event();
    case MembershipStep::Kind::hand_over:
      // It goes on by itself, or the next tick asks again.
      (void)raft->transfer(step.to);
      return after_event();
    case MembershipStep::Kind::none: break;
  }
  if (!placement.founded) return report(FoundRecord{{group}});
  if (!moving) return prefer_first();
  ShardRecord settled = placement;
  settled.nodes = target_of(placement);
  settled.leaving.clear();
  settled.joining.clear();
  settled.reason = static_cast<uint8_t>(MoveReason::none);
  report(settled);
}

caf::result<SplitFound> shard_state::find_split(const GetSplit& request) {
  uint64_t child = request.child;
  const SplitState& split = replica->split();
  if (split.child == child && !split.trimming) {
    return SplitFound{
        std::make_shared<const SplitSource>(SplitSource{group, replica->snapshot(), split})};
  }
  if (request.early && placement.child == child && replica->last_child() < child) {
    SplitState to_come;
    to_come.child = child;
    to_come.at = placement.child_begin;
    to_come.end = replica->hash_end();
    return SplitFound{
        std::make_shared<const SplitSource>(SplitSource{group, replica->snapshot(), to_come})};
  }
  if (replica->last_child() >= child) return to_error(not_found("the split is over"));
  return to_error(unavailable("the split is still in the log"));
}

void shard_state::prepared(uint64_t child) {
  if (prepared_child == child) return;
  prepared_child = child;
  // The others began to copy when this one did, and may be slower.
  split_from_ms = now_ms(self) + (now_ms(self) - split_asked_ms) / 2;
}

void shard_state::advance_split() {
  if (placement.child == 0 || splitting || !raft || !raft->serves() || !announced) return;
  bool divided = replica->last_child() >= placement.child;
  if (!divided) {
    // The shorter what is left to copy then, the shorter nobody has those ids.
    if (prepared_child != placement.child || now_ms(self) < split_from_ms) return;
    // Its members are those that the child will have.
    if (raft->core()->changing() || changing || placing) return;
    splitting = true;
    raft->propose(encode(SplitCommand{placement.child, placement.child_begin}),
                  [this](Result<uint64_t>) { splitting = false; });
    return after_event();
  }
  if (!placement.divided) return report(SplitRecord{group, SplitStep::cut_over, {}});
  if (replica->split().child != placement.child) {
    return report(SplitRecord{group, SplitStep::end, {}});
  }
  if (replica->split().trimming) return trim();
  // Whoever leads the child was elected by a majority that has its first state on disk.
  splitting = true;
  ShardDescribe question{{placement.child}, true};
  self->request(peer, report_timeout, question)
      .then(
          [this](const ShardInfo& child) {
            splitting = false;
            if (child.leader != 0 && child.shard == placement.child) trim();
          },
          [this](const caf::error&) { splitting = false; });
}

void shard_state::trim() {
  if (splitting || stopping || failed || !raft || !raft->serves()) return;
  splitting = true;
  self->request(pick_searcher(), caf::infinite, TrimTask{replica->snapshot()})
      .then(
          [this](MatchedRows& rows) {
            if (rows.rows->empty()) {
              return propose(encode(SplitEndCommand{placement.child}),
                             [this](Result<ShardWritten> done) { trimmed(done.status()); });
            }
            erase_rows(std::move(rows), true, 0,
                       [this](Result<ShardWritten> done) { trimmed(done.status()); });
          },
          [this](const caf::error& error) { trimmed(to_status(error)); });
}

void shard_state::trimmed(const Status& status) {
  splitting = false;
  // What is left the next tick sees to, or another leader.
  if (status.ok() || status.code() == Code::unavailable) return;
  context->say(LogLevel::warning, "shard",
               "the rows of shard " + std::to_string(group) +
                   " that another has now could not be deleted: " + status.to_string());
}

void shard_state::prefer_first() {
  uint64_t first = placement.nodes.front();
  uint64_t now = now_ms(self);
  if (first == context->config.node_id || now < prefer_ms) return;
  const RaftCore& core = *raft->core();
  auto found = core.progress().find(first);
  bool alive = found != core.progress().end() &&
               now < found->second.heard_ms + context->config.raft_election_timeout_ms;
  if (!alive || !is_near(core, first)) return;
  prefer_ms = now + prefer_after_ms;  // not again at once, should it not succeed
  (void)raft->transfer(first);
  after_event();
}

uint64_t shard_state::another(size_t turn) const {
  std::vector<uint64_t> others = others_of(placement, context->config.node_id);
  return others.empty() ? 0 : others[turn % others.size()];
}

void shard_state::report(const CatalogCommand& command) {
  uint64_t now = now_ms(self);
  if (now < report_ms) return;
  report_ms = now + report_interval_ms;
  // Said again until the map shows it; refused where it is out of date.
  self->request(peer, report_timeout, ChangeCatalog{{metadata_group}, encode(command)})
      .then([](const CatalogApplied&) {}, [](const caf::error&) {});
}

ShardInfo shard_state::describe() const {
  ShardInfo info = replica->describe();
  info.leader = raft ? raft->leader() : 0;
  if (!raft && !suspended.ok()) {
    info.problems.push_back({context->config.node_id, "takes no writes: " + suspended.to_string()});
  }
  if (damaged) {
    info.problems.push_back({context->config.node_id,
                             "its records are damaged: " + replica->store().damage().to_string()});
  }
  if (!raft || !raft->is_leader()) return info;
  const RaftCore& core = *raft->core();
  for (const RaftMember& member : core.configuration().members) {
    ReplicaInfo replica_info;
    replica_info.node = member.node;
    replica_info.voter = member.voter;
    replica_info.log_index = core.last_index();
    if (auto found = core.progress().find(member.node); found != core.progress().end()) {
      const auto& progress = found->second;
      replica_info.log_index = progress.match;
      replica_info.heard = progress.match > 0 || progress.heard_ms != progress.since_ms;
    }
    for (const auto& [id, transfer] : transfers) {
      if (transfer.to == member.node) replica_info.copied = transfer.progress;
    }
    info.replicas.push_back(replica_info);
  }
  return info;
}

void shard_state::look_for_damage() {
  const Status damage = replica->store().damage();
  if (damage.ok()) return;
  if (!std::exchange(damaged, true)) {
    context->say(
        LogLevel::error, "shard",
        "the records of shard " + std::to_string(group) + " are damaged, " +
            (alone() ? "and no other node has them: " : "and will be copied from another node: ") +
            damage.to_string());
  }
  if (!raft || alone()) return;
  // As long as no other leads, what is whole here is better than nothing.
  if (!raft->is_leader()) {
    if (raft->leader() != 0) fail(damage);
  } else if (now_ms(self) >= prefer_ms) {
    prefer_ms = now_ms(self) + prefer_after_ms;
    hand_over();
    after_event();
  }
}

void shard_state::expire_transfers() {
  if (transfers.empty()) return;
  std::erase_if(transfers, [this](const auto& entry) {
    return now_ms(self) >= entry.second.used_ms + transfer_idle_ms;
  });
  if (raft && transfers.empty()) raft->hold_log(false);
}

shard_actor::behavior_type shard(shard_pointer self, NodeContextPtr context, node_actor node,
                                 peer_actor peer, ShardPlacement placement, bool may_found,
                                 std::shared_ptr<std::unique_ptr<ShardReplica>> replica) {
  shard_state& state = self->state;
  state.context = std::move(context);
  state.node = std::move(node);
  state.peer = std::move(peer);
  state.group = placement.group;
  state.placement = std::move(placement);
  state.may_found = may_found;
  state.replica = std::move(*replica);
  state.front = state.context->fronts->add(state.group);
  if (state.replica->homes() != nullptr) state.vector_home = std::make_unique<VectorHome>(state);
  state.split_asked_ms = now_ms(self);  // of one that had been asked for before
  if (Status status = state.start(); !status.ok()) {
    state.fail(status);
  } else {
    state.after_event();
  }
  auto interval = std::chrono::milliseconds(state.context->config.raft_tick_ms);
  self->delayed_send(self, interval, Tick{});
  return {
      [self](ShardWrite& write) -> caf::result<ShardWritten> {
        shard_state& shard = self->state;
        if (!in_time(self, write)) return to_error(out_of_time_at(shard, "before it came to"));
        if (shard.follows()) return pass_to_leader<ShardWritten>(self, write);
        if (Status status = shard.check_open(); !status.ok()) return to_error(status);
        if (write.command.size() > RaftHost::command_bytes_max) {
          return to_error(Status(Code::too_large,
                                 "a write of " + std::to_string(write.command.size()) +
                                     " bytes came to shard " + std::to_string(shard.group) +
                                     "; at most " + std::to_string(RaftHost::command_bytes_max) +
                                     " are allowed"));
        }
        if (write.route.receipt) {
          Status may = shard.replica->check_asked(write.command);
          if (!may.ok()) return to_error(may);
        }
        auto promise = self->make_response_promise<ShardWritten>();
        auto done = [promise](Result<ShardWritten> written) mutable {
          if (!written.ok()) {
            promise.deliver(to_error(written.status()));
          } else {
            promise.deliver(std::move(*written));
          }
        };
        auto carry_out = [self, write = std::move(write), done]() mutable {
          if (is_over(write.route, now_ms(self))) {
            return done(out_of_time_at(self->state, "before it was written by"));
          }
          write.forwarded ? self->state.propose(std::move(write.command), done)
                          : self->state.write(std::move(write.command), done);
        };
        if (shard.lists_lag()) {
          shard.held_writes.emplace_back(std::move(carry_out));
        } else {
          carry_out();
        }
        return promise;
      },
      [self](ShardSearch& search) {
        return read<ShardHits>(self, search, search.applied_min, [self](ShardSearch&& asked) {
          shard_state& shard = self->state;
          auto view = shard.replica->snapshot();
          if (!asked.exact && min_recall_of(asked, view->index) > 0) shard.calibrate(asked.k);
          return SearchTask{std::move(view), std::move(asked)};
        });
      },
      [self](ShardGet& get) {
        return read<ShardVectors>(self, get, get.applied_min, [self](ShardGet&& asked) {
          return GetTask{self->state.replica->snapshot(), std::move(asked)};
        });
      },
      [self](ShardList& list) {
        return read<ShardVectors>(self, list, list.applied_min, [self](ShardList&& asked) {
          return ListTask{self->state.replica->snapshot(), std::move(asked)};
        });
      },
      [self](ShardRecall& recall) {
        return read<ShardRecallCount>(self, recall, 0, [self](ShardRecall&& asked) {
          shard_state& shard = self->state;
          auto view = shard.replica->snapshot();
          if (min_recall_of(asked, view->index) > 0) shard.calibrate(asked.k);
          return RecallTask{std::move(view), std::move(asked)};
        });
      },
      [self](ShardSample& request) -> caf::result<ShardVectors> {
        shard_state& shard = self->state;
        if (!in_time(self, request)) return to_error(out_of_time_at(shard, "before it came to"));
        if (!shard.announced && shard.follows()) return pass_to_leader<ShardVectors>(self, request);
        if (Status status = shard.check_open(); !status.ok()) return to_error(status);
        return self->delegate(
            shard.pick_searcher(),
            SampleTask{shard.replica->snapshot(), request.count, request.route.deadline_ms});
      },
      [self](ShardDeleteMatching& request) -> caf::result<ShardWritten> {
        shard_state& shard = self->state;
        if (!in_time(self, request)) return to_error(out_of_time_at(shard, "before it came to"));
        if (shard.follows()) return pass_to_leader<ShardWritten>(self, request);
        if (Status status = shard.check_open(); !status.ok()) return to_error(status);
        if (!shard.raft) return to_error(shard.suspended);
        auto eraser = std::make_shared<MatchEraser>();
        eraser->self = self;
        eraser->promise = self->make_response_promise<ShardWritten>();
        eraser->request = std::move(request);
        eraser->total.group = shard.group;
        eraser->go_on();
        return eraser->promise;
      },
      [self](FetchState& request) { return self->state.fetch(self, request); },
      [self](RaftWire& wire) {
        shard_state& shard = self->state;
        if (shard.stopping || shard.failed || !shard.raft) return;
        auto message = RaftMessage::decode(wire.bytes);
        if (!message.ok()) {
          return shard.context->say(
              LogLevel::warning, "shard",
              "from node " + std::to_string(wire.from) + ": " + message.status().message());
        }
        shard.raft->receive(*message);
        shard.after_event();
      },
      [self](ShardDescribe& request) -> caf::result<ShardInfo> {
        shard_state& shard = self->state;
        if (!in_time(self, request)) return to_error(out_of_time_at(shard, "before it came to"));
        // A replica that is still being made knows nothing yet.
        const bool asks_leader = request.by_leader && !(shard.raft && shard.raft->is_leader());
        if (asks_leader || (!shard.announced && shard.follows())) {
          return pass_to_leader<ShardInfo>(self, request);
        }
        return shard.describe();
      },
      [self](Placed& placed) {
        if (placed.placement.child != self->state.placement.child) {
          self->state.split_asked_ms = now_ms(self);
        }
        self->state.placement = std::move(placed.placement);
        self->state.report_ms = 0;
        if (self->state.replica) {
          self->state.replica->set_index(placed.index);
          self->state.refresh_front();
          self->state.calibrate_for_defaults();
        }
        if (self->state.vector_home) {
          self->state.vector_home->know(std::move(placed.database));
          self->state.vector_home->advance();
        }
      },
      [self](const GetSplit& get) { return self->state.find_split(get); },
      [self](ChildPrepared prepared) { self->state.prepared(prepared.child); },
      [self](ShardDigestRequest) {
        shard_state& shard = self->state;
        return self->delegate(shard.pick_searcher(), DigestTask{shard.replica->snapshot(),
                                                                shard.replica->decided_segments()});
      },
      [self](Stop) -> caf::result<Stopped> {
        shard_state& shard = self->state;
        shard.stopping = true;
        shard.release_writes();
        shard.refresh_front();
        shard.hand_over();
        if (shard.raft) shard.raft->close();
        if (shard.vector_home) {
          shard.vector_home->abandon(unavailable("the shard is closing; try again"));
        }
        shard.replica->cancel_builds();
        shard.queued.abandon();
        *shard.ended = true;
        // A clean stop leaves nothing to replay.
        auto promise = self->make_response_promise<Stopped>();
        auto finish = [self, promise]() mutable {
          // Whoever waits for it may remove the files.
          self->state.transfers.clear();
          self->state.replica.reset();
          promise.deliver(Stopped{});
          self->quit();
        };
        self->request(shard.context->syncer, caf::infinite, BlockingTask{shard.replica->syncer()})
            .then([finish](const TaskDone&) mutable { finish(); },
                  [finish](const caf::error&) mutable { finish(); });
        return promise;
      },
      [self, interval](Tick) {
        shard_state& shard = self->state;
        if (shard.stopping || shard.failed) return;
        shard.expire_transfers();
        shard.look_for_damage();
        if (shard.failed) return;
        if (shard.raft) {
          shard.raft->tick();
          shard.reconcile_members();
          shard.advance_split();
          if (shard.vector_home) shard.vector_home->advance();
          shard.after_event();
        } else if (now_ms(self) >= shard.resume_at_ms) {
          shard.resume();
        }
        self->delayed_send(self, interval, Tick{});
      },
  };
}

}  // namespace jade
