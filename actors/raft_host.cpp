#include "actors/raft_host.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace jade {

struct RaftHost::Impl {
  Options options;
  LogStore& log;
  RaftDriver& driver;

  std::optional<RaftCore> core;  // from start() to close()
  Status failure;
  bool pumping = false;
  uint64_t led_term = 0;  // the last in which this member led
  uint64_t applied = 0;

  RaftSnapshot snapshot;  // the last one that is durable; index 0: none
  std::optional<RaftSnapshot> storing;
  uint64_t keep_from = 0;  // once `storing` is durable
  size_t bytes_since_snapshot = 0;
  bool held = false;

  struct Waiting {
    uint64_t term;
    Proposed done;
  };
  std::map<uint64_t, Waiting> proposals;      // by index
  std::map<uint64_t, Proposed> reads;         // by ticket
  std::multimap<uint64_t, Proposed> read_at;  // confirmed, by the index to be applied

  Impl(Options o, LogStore& l, RaftDriver& d) : options(std::move(o)), log(l), driver(d) {}

  Status load();
  // Carries out what the core wants, until it wants nothing.
  void pump();
  bool carry_out(RaftEffects effects);
  bool apply_next();
  void answer_reads();
  void take_snapshot();
  uint64_t first_kept(uint64_t snapshot_index) const;
  void await(Result<uint64_t> index, Proposed done);
  void fail_waiting(const Status& status);
  Status refusal() const { return failure.ok() ? unavailable("the shard is closing") : failure; }
};

Status RaftHost::Impl::load() {
  auto loaded = log.load(options.group);
  if (!loaded.ok()) return loaded.status();
  bool empty = !loaded->snapshot && loaded->entries.empty();
  if (empty && options.applied_index > 0) {
    return corruption("the state is at entry " + std::to_string(options.applied_index) +
                      ", but its log is empty");
  }
  // With a term but no entry it has begun elsewhere, and its leader will send all.
  bool fresh = empty && loaded->state == HardState();
  if (fresh && !options.founders.empty()) {
    // Every founder writes the same first entry.
    RaftConfiguration configuration;
    for (const RaftMember& founder : options.founders) {
      configuration.set(founder.node, true, founder.address);
    }
    LogAppend first;
    first.group = options.group;
    first.first_index = 1;
    first.entries = {{1, static_cast<uint8_t>(RaftEntryType::change), configuration.encode()}};
    first.state = HardState{1, 0};
    Status written = log.append({&first, 1});
    if (!written.ok()) return written.with_context("writing the first configuration");
    loaded = log.load(options.group);
    if (!loaded.ok()) return loaded.status();
  }
  applied = options.durable_state ? options.applied_index : 0;
  if (loaded->snapshot) {
    snapshot = *loaded->snapshot;
    if (!options.durable_state) {
      JADE_RETURN_IF_ERROR(driver.raft_restore(snapshot.data));
      applied = snapshot.index;
    } else if (snapshot.index > applied) {
      return corruption("the state is at entry " + std::to_string(applied) +
                        ", but the log has dropped the entries up to " +
                        std::to_string(snapshot.index));
    }
  }
  RaftCore::Options core_options;
  core_options.node = options.node;
  core_options.seed = options.seed;
  core_options.election_timeout_ms = options.election_timeout_ms;
  core_options.heartbeat_ms = options.tick_ms;
  core_options.first_leader = options.first_leader;
  if (!options.founders.empty()) core_options.first_leader = options.founders.front().node;
  auto started = RaftCore::start(core_options, std::move(*loaded), applied, driver.raft_now_ms());
  if (!started.ok()) return started.status();
  core.emplace(std::move(*started));
  for (uint64_t index = std::max(applied + 1, core->first_index()); index <= core->last_index();
       ++index) {
    bytes_since_snapshot += core->entry(index).data.size();
  }
  return {};
}

void RaftHost::Impl::pump() {
  if (pumping) return;  // by way of a callback: the loop below goes on
  pumping = true;
  while (core && failure.ok()) {
    if (!core->broken().ok()) {
      failure = core->broken();
      break;
    }
    if (core->is_leader() && std::exchange(led_term, core->term()) != core->term()) {
      driver.raft_elected(led_term);
    }
    bool more = carry_out(core->take());
    more = (core && apply_next()) || more;
    if (!more) break;
  }
  pumping = false;
  if (!core || !failure.ok()) return;
  if (!core->is_leader()) {
    fail_waiting(
        unavailable("the leader changed; the write may or may not have been done, try again"));
  }
  take_snapshot();
}

bool RaftHost::Impl::carry_out(RaftEffects effects) {
  bool any = effects.save || !effects.messages.empty() || !effects.reads.empty() || effects.offer;
  if (effects.save) {
    LogAppend append;
    append.group = options.group;
    append.first_index = effects.save->first_index;
    append.entries = std::move(effects.save->entries);
    append.state = effects.save->state;
    for (const LogEntry& entry : append.entries) bytes_since_snapshot += entry.data.size();
    driver.raft_append(effects.save->number, std::move(append));
  }
  for (RaftMessage& message : effects.messages) {
    if (message.kind == RaftMessage::Kind::offer_state) {
      // The core knows where its log begins; the state is at the last snapshot.
      message.state = snapshot;
      message.index = snapshot.index;
      message.log_term = snapshot.term;
    }
    driver.raft_send(std::move(message));
  }
  for (const RaftRead& read : effects.reads) {
    auto found = reads.find(read.ticket);
    if (found == reads.end()) continue;
    Proposed done = std::move(found->second);
    reads.erase(found);
    if (read.index) {
      read_at.emplace(*read.index, std::move(done));
    } else {
      done(unavailable("the leader changed; try again"));
    }
  }
  answer_reads();
  if (effects.offer) driver.raft_state_offered(std::move(*effects.offer));
  return any;
}

void RaftHost::Impl::answer_reads() {
  while (!read_at.empty() && read_at.begin()->first <= applied) {
    Proposed done = std::move(read_at.begin()->second);
    read_at.erase(read_at.begin());
    done(applied);
  }
}

bool RaftHost::Impl::apply_next() {
  if (applied >= core->apply_limit()) return false;
  uint64_t index = applied + 1;
  const LogEntry& entry = core->entry(index);
  uint64_t term = entry.term;
  if (entry.type == static_cast<uint8_t>(RaftEntryType::command)) {
    Status status = driver.raft_apply(index, term, entry.data);
    if (!status.ok()) {
      failure = status.with_context("applying log entry " + std::to_string(index));
      return false;
    }
  }
  applied = index;
  core->applied(index);
  if (auto found = proposals.find(index); found != proposals.end()) {
    Waiting waiting = std::move(found->second);
    proposals.erase(found);
    if (waiting.term == term) {
      waiting.done(index);
    } else {
      waiting.done(unavailable("another leader's entry took its place; try again"));
    }
  }
  answer_reads();
  return true;
}

uint64_t RaftHost::Impl::first_kept(uint64_t snapshot_index) const {
  uint64_t first = snapshot_index + 1;
  if (core->configuration().members.size() < 2) return first;
  size_t bytes = 0;
  while (first > core->first_index()) {
    bytes += core->entry(first - 1).data.size();
    if (bytes > options.retained_bytes) break;
    --first;
  }
  return first;
}

void RaftHost::Impl::take_snapshot() {
  if (storing || applied <= snapshot.index) return;
  if (held && bytes_since_snapshot < options.held_bytes_max) return;
  bool due = applied - snapshot.index >= options.snapshot_entries ||
             bytes_since_snapshot >= options.snapshot_bytes;
  if (!due) return;
  RaftSnapshot next;
  next.index = applied;
  next.term = core->term_at(applied);
  const auto& [configuration_index, configuration] = core->configuration_at(applied);
  next.configuration_index = configuration_index;
  next.configuration = configuration.encode();
  next.data = driver.raft_state();
  keep_from = first_kept(applied);
  bytes_since_snapshot = 0;
  storing = next;
  driver.raft_store_snapshot(std::move(next), applied + 1 - keep_from);
}

void RaftHost::Impl::await(Result<uint64_t> index, Proposed done) {
  if (index.ok()) {
    proposals.emplace(*index, Waiting{core->term(), std::move(done)});
  } else {
    done(index.status());
  }
  pump();
}

void RaftHost::Impl::fail_waiting(const Status& status) {
  auto failed_proposals = std::exchange(proposals, {});
  auto failed_reads = std::exchange(reads, {});
  auto failed_read_at = std::exchange(read_at, {});
  for (auto& [index, waiting] : failed_proposals) waiting.done(status);
  for (auto& [ticket, done] : failed_reads) done(status);
  for (auto& [index, done] : failed_read_at) done(status);
}

RaftHost::RaftHost(Options options, LogStore& log, RaftDriver& driver)
    : impl_(std::make_unique<Impl>(std::move(options), log, driver)) {}

RaftHost::~RaftHost() { close(); }

Status RaftHost::start() {
  JADE_RETURN_IF_ERROR(impl_->load());
  impl_->pump();
  return impl_->failure;
}

void RaftHost::tick() {
  if (!impl_->core) return;
  impl_->core->tick(impl_->driver.raft_now_ms());
  impl_->pump();
}

void RaftHost::receive(const RaftMessage& message) {
  if (!impl_->core) return;
  impl_->core->step(message, impl_->driver.raft_now_ms());
  impl_->pump();
}

void RaftHost::appended(uint64_t number, const Status& status) {
  if (!impl_->core) return;
  if (!status.ok()) return fail(status);
  impl_->core->saved(number, impl_->driver.raft_now_ms());
  impl_->pump();
}

void RaftHost::snapshot_stored(const Status& status) {
  Impl& impl = *impl_;
  if (!impl.core || !impl.storing) return;
  auto stored = std::exchange(impl.storing, std::nullopt);
  if (!status.ok()) return;  // the log is only longer than it need be
  impl.core->compact(impl.keep_from - 1);
  impl.snapshot = std::move(*stored);
  impl.pump();
}

void RaftHost::propose(std::string_view command, Proposed done) {
  Impl& impl = *impl_;
  JADE_ASSERT(command.size() <= command_bytes_max);
  if (!impl.core || !impl.failure.ok()) return done(impl.refusal());
  impl.await(
      impl.core->propose(RaftEntryType::command, std::string(command), impl.driver.raft_now_ms()),
      std::move(done));
}

void RaftHost::change(const RaftConfiguration& next, Proposed done) {
  Impl& impl = *impl_;
  if (!impl.core || !impl.failure.ok()) return done(impl.refusal());
  impl.await(impl.core->change(next, impl.driver.raft_now_ms()), std::move(done));
}

void RaftHost::read(Proposed done) {
  Impl& impl = *impl_;
  if (!impl.core || !impl.failure.ok()) return done(impl.refusal());
  auto ticket = impl.core->read(impl.driver.raft_now_ms());
  if (!ticket.ok()) return done(ticket.status());
  impl.reads.emplace(*ticket, std::move(done));
  impl.pump();
}

Status RaftHost::transfer(uint64_t node) {
  Impl& impl = *impl_;
  if (!impl.core || !impl.failure.ok()) return impl.refusal();
  Status status = impl.core->transfer(node, impl.driver.raft_now_ms());
  impl.pump();
  return status;
}

void RaftHost::hold_log(bool held) { impl_->held = held; }

bool RaftHost::is_leader() const { return impl_->core && impl_->core->is_leader(); }
bool RaftHost::serves() const {
  return impl_->core && impl_->failure.ok() && impl_->core->leads() &&
         impl_->applied >= impl_->core->term_start();
}
uint64_t RaftHost::leads_until_ms() const { return serves() ? impl_->core->lease_until_ms() : 0; }
bool RaftHost::current() const {
  return impl_->core && impl_->failure.ok() && impl_->core->current();
}
uint64_t RaftHost::leader() const { return impl_->core ? impl_->core->leader() : 0; }
uint64_t RaftHost::term() const { return impl_->core ? impl_->core->term() : 0; }
uint64_t RaftHost::last_applied() const { return impl_->applied; }
uint64_t RaftHost::last_index() const { return impl_->core ? impl_->core->last_index() : 0; }
const RaftCore* RaftHost::core() const { return impl_->core ? &*impl_->core : nullptr; }
bool RaftHost::failed() const { return !impl_->failure.ok(); }
const Status& RaftHost::failure() const { return impl_->failure; }

void RaftHost::fail(const Status& status) {
  if (impl_->failure.ok()) impl_->failure = status;
}

void RaftHost::close() {
  Impl& impl = *impl_;
  if (!impl.core) return;
  impl.core.reset();
  impl.fail_waiting(impl.refusal());
}

}  // namespace jade
