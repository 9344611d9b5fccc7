#include "actors/raft_host.h"

extern "C" {
#include <raft.h>  // does not do this itself
}

#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

namespace jade {
namespace {

int to_raft_error(const Status& status) {
  if (status.ok()) return 0;
  switch (status.code()) {
    case Code::disk_full: return RAFT_NOSPACE;
    case Code::corruption: return RAFT_CORRUPT;
    default: return RAFT_IOERR;
  }
}

Status from_raft_error(int error, const char* what) {
  std::string message = std::string(what) + ": " + raft_strerror(error);
  switch (error) {
    case RAFT_NOSPACE: return Status(Code::disk_full, std::move(message));
    case RAFT_CORRUPT:
    case RAFT_MALFORMED: return corruption(std::move(message));
    case RAFT_NOMEM: return Status(Code::resource_exhausted, std::move(message));
    default: return unavailable(std::move(message));
  }
}

raft_buffer copy_to_buffer(std::string_view bytes) {
  // libraft frees with raft_free and wants a non-null base; its own encoding
  // pads to eight bytes, ours keeps the true length.
  raft_buffer buffer{raft_malloc(bytes.empty() ? 1 : bytes.size()), bytes.size()};
  JADE_ASSERT(buffer.base != nullptr);
  std::memcpy(buffer.base, bytes.data(), bytes.size());
  return buffer;
}

// libraft leaves the padding of what it encodes as it was in memory. Zeroed memory
// makes the bytes on disk depend on nothing but what was asked.
void use_zeroed_memory() {
  static raft_heap heap{
      nullptr,
      [](void*, size_t size) { return std::calloc(1, size); },
      [](void*, void* memory) { std::free(memory); },
      [](void*, size_t n, size_t size) { return std::calloc(n, size); },
      [](void*, void* memory, size_t size) { return std::realloc(memory, size); },
      [](void*, size_t alignment, size_t size) { return std::aligned_alloc(alignment, size); },
      [](void*, size_t, void* memory) { std::free(memory); },
  };
  static const bool once = (raft_heap_set(&heap), true);
  (void)once;
}

std::string_view view_of(const raft_buffer& buffer) {
  return {static_cast<const char*>(buffer.base), buffer.len};
}

}  // namespace

struct RaftHost::Impl {
  Options options;
  LogStore& log;
  RaftDriver& driver;

  raft core{};
  raft_io io{};
  raft_fsm fsm{};
  bool initialised = false;
  bool closed = false;
  bool started = false;
  bool was_leader = false;
  bool caught_up = false;  // as leader of this term
  uint64_t caught_up_term = 0;
  Status failure;
  std::optional<LogStore::Loaded> loaded;  // read before libraft asks for it
  raft_io_tick_cb tick_cb = nullptr;
  raft_io_close_cb close_cb = nullptr;

  uint64_t next_request = 1;
  std::map<uint64_t, raft_io_append*> appends;
  raft_io_snapshot_put* snapshot_put = nullptr;
  size_t bytes_since_snapshot = 0;

  struct Pending {
    Impl* impl;
    Proposed done;
    struct ::raft_apply apply {};
    struct ::raft_barrier barrier {};
  };

  Impl(Options o, LogStore& l, RaftDriver& d) : options(o), log(l), driver(d) {}

  static Impl& of(raft_io* io) { return *static_cast<Impl*>(io->impl); }
  static Impl& of(raft_fsm* fsm) { return *static_cast<Impl*>(fsm->data); }

  void wire_io();
  void wire_fsm();
  int load(raft_term* term, raft_id* voted_for, raft_snapshot** snapshot, raft_index* start_index,
           raft_entry** entries, size_t* n_entries);
  int append(raft_io_append* request, const raft_entry* entries, unsigned n, raft_io_append_cb cb);
  int put_snapshot(unsigned trailing, raft_io_snapshot_put* request, const raft_snapshot* snapshot,
                   raft_io_snapshot_put_cb cb);
  int apply(const raft_buffer& buffer);
  void barrier(Proposed done);
  void after_event();
};

void RaftHost::Impl::wire_io() {
  io.version = 1;  // no async_work: our snapshots are a few bytes
  io.impl = this;
  io.init = [](raft_io*, raft_id, const char*) { return 0; };
  io.close = [](raft_io* self, raft_io_close_cb cb) { of(self).close_cb = cb; };
  io.load = [](raft_io* self, raft_term* term, raft_id* voted, raft_snapshot** snapshot,
               raft_index* start, raft_entry** entries,
               size_t* n) { return of(self).load(term, voted, snapshot, start, entries, n); };
  io.start = [](raft_io* self, unsigned, raft_io_tick_cb tick, raft_io_recv_cb) {
    of(self).tick_cb = tick;
    return 0;
  };
  io.bootstrap = [](raft_io* self, const raft_configuration* configuration) {
    Impl& impl = of(self);
    raft_buffer encoded;
    if (int rv = raft_configuration_encode(configuration, &encoded); rv != 0) return rv;
    LogAppend first{impl.options.group, 1, {{1, RAFT_CHANGE, std::string(view_of(encoded))}}};
    raft_free(encoded.base);
    Status status = impl.log.set_term(impl.options.group, 1);
    if (status.ok()) status = impl.log.append({&first, 1});
    if (!status.ok()) impl.failure = status;
    return to_raft_error(status);
  };
  io.recover = [](raft_io*, const raft_configuration*) { return RAFT_INVALID; };
  io.set_term = [](raft_io* self, raft_term term) {
    return to_raft_error(of(self).log.set_term(of(self).options.group, term));
  };
  io.set_vote = [](raft_io* self, raft_id node) {
    return to_raft_error(of(self).log.set_vote(of(self).options.group, node));
  };
  io.send = [](raft_io*, raft_io_send*, const raft_message*, raft_io_send_cb) {
    return RAFT_NOCONNECTION;
  };
  io.append = [](raft_io* self, raft_io_append* request, const raft_entry* entries, unsigned n,
                 raft_io_append_cb cb) { return of(self).append(request, entries, n, cb); };
  io.truncate = [](raft_io* self, raft_index index) {
    return to_raft_error(of(self).log.truncate(of(self).options.group, index));
  };
  io.snapshot_put = [](raft_io* self, unsigned trailing, raft_io_snapshot_put* request,
                       const raft_snapshot* snapshot, raft_io_snapshot_put_cb cb) {
    return of(self).put_snapshot(trailing, request, snapshot, cb);
  };
  // Asked for only when a follower needs a snapshot; there are no followers yet.
  io.snapshot_get = [](raft_io*, raft_io_snapshot_get*, raft_io_snapshot_get_cb) {
    return RAFT_NOTFOUND;
  };
  io.time = [](raft_io* self) -> raft_time { return of(self).driver.raft_now_ms(); };
  io.random = [](raft_io* self, int low, int high) {
    return of(self).driver.raft_random(low, high);
  };
}

void RaftHost::Impl::wire_fsm() {
  fsm.version = 1;
  fsm.data = this;
  fsm.apply = [](raft_fsm* self, const raft_buffer* buffer, void** result) {
    *result = nullptr;
    return of(self).apply(*buffer);
  };
  fsm.snapshot = [](raft_fsm* self, raft_buffer* buffers[], unsigned* n) {
    *buffers = static_cast<raft_buffer*>(raft_malloc(sizeof(raft_buffer)));
    if (*buffers == nullptr) return RAFT_NOMEM;
    (*buffers)[0] = copy_to_buffer(of(self).driver.raft_state());
    *n = 1;
    return 0;
  };
  fsm.restore = [](raft_fsm* self, raft_buffer* buffer) {
    Status status = of(self).driver.raft_restore(view_of(*buffer));
    // libraft keeps the buffer when restoring fails.
    if (status.ok()) raft_free(buffer->base);
    if (!status.ok()) of(self).failure = status;
    return to_raft_error(status);
  };
}

int RaftHost::Impl::load(raft_term* term, raft_id* voted_for, raft_snapshot** snapshot,
                         raft_index* start_index, raft_entry** entries, size_t* n_entries) {
  JADE_ASSERT(loaded.has_value());
  auto taken = std::exchange(loaded, std::nullopt);
  *term = taken->term;
  *voted_for = taken->voted_for;
  *snapshot = nullptr;
  *start_index = taken->first_index;
  *entries = nullptr;
  *n_entries = taken->entries.size();

  if (taken->snapshot) {
    const RaftSnapshot& stored = *taken->snapshot;
    if (options.durable_state && stored.index > options.applied_index) {
      failure =
          corruption("the state is at entry " + std::to_string(options.applied_index) +
                     ", but the log has dropped the entries up to " + std::to_string(stored.index));
      return RAFT_CORRUPT;
    }
    auto* out = static_cast<raft_snapshot*>(raft_calloc(1, sizeof(raft_snapshot)));
    out->index = stored.index;
    out->term = stored.term;
    out->configuration_index = stored.configuration_index;
    raft_configuration_init(&out->configuration);
    // All groups have one voter, this node; `configuration` is kept for the day
    // when they have more.
    int rv = raft_configuration_add(&out->configuration, options.node,
                                    std::to_string(options.node).c_str(), RAFT_VOTER);
    JADE_ASSERT(rv == 0);
    out->bufs = static_cast<raft_buffer*>(raft_malloc(sizeof(raft_buffer)));
    out->bufs[0] = copy_to_buffer(stored.data);
    out->n_bufs = 1;
    *snapshot = out;
  }
  if (*n_entries > 0) {
    *entries = static_cast<raft_entry*>(raft_calloc(*n_entries, sizeof(raft_entry)));
    for (size_t i = 0; i < *n_entries; ++i) {
      const LogEntry& entry = taken->entries[i];
      (*entries)[i].term = entry.term;
      (*entries)[i].type = entry.type;
      (*entries)[i].buf = copy_to_buffer(entry.data);
    }
  }
  return 0;
}

int RaftHost::Impl::append(raft_io_append* request, const raft_entry* entries, unsigned n,
                           raft_io_append_cb cb) {
  request->cb = cb;
  // libraft hands over the entries that follow what it gave us before, or, after
  // truncate(), those that follow the cut; it does not say the index.
  LogAppend out;
  out.group = options.group;
  out.first_index = raft_last_index(&core) - n + 1;
  out.entries.reserve(n);
  for (unsigned i = 0; i < n; ++i) {
    bytes_since_snapshot += entries[i].buf.len;
    out.entries.push_back({entries[i].term, static_cast<uint8_t>(entries[i].type),
                           std::string(view_of(entries[i].buf))});
  }
  uint64_t number = next_request++;
  appends[number] = request;
  driver.raft_append(number, std::move(out));
  return 0;
}

int RaftHost::Impl::put_snapshot(unsigned trailing, raft_io_snapshot_put* request,
                                 const raft_snapshot* snapshot, raft_io_snapshot_put_cb cb) {
  JADE_ASSERT(snapshot_put == nullptr);
  raft_buffer configuration;
  if (int rv = raft_configuration_encode(&snapshot->configuration, &configuration); rv != 0) {
    return rv;
  }
  RaftSnapshot out;
  out.index = snapshot->index;
  out.term = snapshot->term;
  out.configuration_index = snapshot->configuration_index;
  out.configuration = std::string(view_of(configuration));
  raft_free(configuration.base);
  for (unsigned i = 0; i < snapshot->n_bufs; ++i) out.data += view_of(snapshot->bufs[i]);
  request->cb = cb;
  snapshot_put = request;
  bytes_since_snapshot = 0;
  raft_set_snapshot_threshold(&core, options.snapshot_entries);
  driver.raft_store_snapshot(std::move(out), trailing);
  return 0;
}

int RaftHost::Impl::apply(const raft_buffer& buffer) {
  if (!failure.ok()) return RAFT_IOERR;
  // libraft advances last_applied after this call returns.
  uint64_t index = core.last_applied + 1;
  if (index <= options.applied_index) return 0;
  Status status = driver.raft_apply(index, core.current_term, view_of(buffer));
  if (status.ok()) return 0;
  failure = status.with_context("applying log entry " + std::to_string(index));
  return to_raft_error(status);
}

void RaftHost::Impl::barrier(Proposed done) {
  auto pending = new Pending{this, std::move(done)};
  pending->barrier.data = pending;
  int rv = ::raft_barrier(&core, &pending->barrier, [](struct raft_barrier* request, int status) {
    std::unique_ptr<Pending> owner(static_cast<Pending*>(request->data));
    if (status == 0) {
      owner->done(request->index);
    } else {
      owner->done(from_raft_error(status, "barrier"));
    }
  });
  if (rv == 0) return;
  pending->done(from_raft_error(rv, "barrier"));
  delete pending;
}

// libraft has no callback for "you became the leader", so look after each event.
void RaftHost::Impl::after_event() {
  if (closed || !started) return;
  bool leader = raft_state(&core) == RAFT_LEADER;
  if (!leader) {
    was_leader = false;
    caught_up = false;
    return;
  }
  if (!was_leader || caught_up_term != core.current_term) {
    was_leader = true;
    caught_up = false;
    caught_up_term = core.current_term;
    barrier([this, term = core.current_term](Result<uint64_t> result) {
      if (result.ok() && caught_up_term == term) caught_up = true;
      // Refused or lost: try again at the next event.
      if (!result.ok()) was_leader = false;
    });
  }
  // The threshold counts entries; entries differ in size by four orders.
  if (bytes_since_snapshot >= options.snapshot_bytes) raft_set_snapshot_threshold(&core, 1);
}

RaftHost::RaftHost(Options options, LogStore& log, RaftDriver& driver)
    : impl_(std::make_unique<Impl>(options, log, driver)) {}

RaftHost::~RaftHost() { close(); }

Status RaftHost::start() {
  Impl& impl = *impl_;
  use_zeroed_memory();
  impl.wire_io();
  impl.wire_fsm();
  std::string address = std::to_string(impl.options.node);
  if (int rv = raft_init(&impl.core, &impl.io, &impl.fsm, impl.options.node, address.c_str());
      rv != 0) {
    return from_raft_error(rv, "starting Raft");
  }
  impl.initialised = true;
  raft_set_election_timeout(&impl.core, impl.options.election_timeout_ms);
  raft_set_heartbeat_timeout(&impl.core, impl.options.tick_ms);
  raft_set_snapshot_threshold(&impl.core, impl.options.snapshot_entries);
  raft_set_snapshot_trailing(&impl.core, impl.options.trailing_entries);
  raft_set_pre_vote(&impl.core, true);

  auto loaded = impl.log.load(impl.options.group);
  if (!loaded.ok()) return loaded.status();
  if (!loaded->snapshot && loaded->entries.empty()) {
    if (impl.options.applied_index > 0) {
      return corruption("the state is at entry " + std::to_string(impl.options.applied_index) +
                        ", but its log is empty");
    }
    raft_configuration configuration;
    raft_configuration_init(&configuration);
    int rv = raft_configuration_add(&configuration, impl.options.node, address.c_str(), RAFT_VOTER);
    if (rv == 0) rv = raft_bootstrap(&impl.core, &configuration);
    raft_configuration_close(&configuration);
    if (rv != 0) {
      return impl.failure.ok() ? from_raft_error(rv, "writing the first configuration")
                               : impl.failure;
    }
    loaded = impl.log.load(impl.options.group);
    if (!loaded.ok()) return loaded.status();
  }
  impl.loaded = std::move(*loaded);
  impl.started = true;
  if (int rv = raft_start(&impl.core); rv != 0) {
    impl.started = false;
    return impl.failure.ok() ? from_raft_error(rv, "starting Raft") : impl.failure;
  }
  if (raft_last_index(&impl.core) < impl.options.applied_index) {
    return corruption("the state is at entry " + std::to_string(impl.options.applied_index) +
                      ", but its log ends at " + std::to_string(raft_last_index(&impl.core)));
  }
  impl.after_event();
  return impl.failure;
}

void RaftHost::tick() {
  if (!impl_->closed && impl_->tick_cb != nullptr) impl_->tick_cb(&impl_->io);
  impl_->after_event();
}

void RaftHost::appended(uint64_t request, const Status& status) {
  auto found = impl_->appends.find(request);
  if (impl_->closed || found == impl_->appends.end()) return;
  if (!status.ok()) {
    // Not for libraft: with several appends under way it truncates its log at the
    // first that fails and then follows references that are gone. The group
    // starts anew from what is on disk instead.
    if (impl_->failure.ok()) impl_->failure = status;
    return;
  }
  raft_io_append* append = found->second;
  impl_->appends.erase(found);
  append->cb(append, to_raft_error(status));
  impl_->after_event();
}

void RaftHost::snapshot_stored(const Status& status) {
  raft_io_snapshot_put* put = impl_->snapshot_put;
  if (impl_->closed || put == nullptr) return;
  impl_->snapshot_put = nullptr;
  put->cb(put, to_raft_error(status));
  impl_->after_event();
}

void RaftHost::propose(std::string_view command, Proposed done) {
  Impl& impl = *impl_;
  JADE_ASSERT(command.size() <= command_bytes_max);
  if (impl.closed || !impl.failure.ok()) {
    done(impl.failure.ok() ? unavailable("the shard is closing") : impl.failure);
    return;
  }
  raft_buffer buffer = copy_to_buffer(command);
  auto pending = new Impl::Pending{&impl, std::move(done)};
  pending->apply.data = pending;
  int rv = raft_apply(
      &impl.core, &pending->apply, &buffer, 1, [](struct raft_apply* request, int status, void*) {
        std::unique_ptr<Impl::Pending> owner(static_cast<Impl::Pending*>(request->data));
        if (status == 0) {
          owner->done(request->index);
        } else if (!owner->impl->failure.ok()) {
          owner->done(owner->impl->failure);
        } else {
          owner->done(from_raft_error(status, "writing to the log"));
        }
      });
  if (rv != 0) {
    raft_free(buffer.base);
    pending->done(rv == RAFT_NOTLEADER
                      ? unavailable("this replica is not the leader at the moment; try again")
                      : from_raft_error(rv, "writing to the log"));
    delete pending;
  }
  impl.after_event();
}

void RaftHost::barrier(Proposed done) {
  Impl& impl = *impl_;
  if (impl.closed || !impl.failure.ok()) {
    done(impl.failure.ok() ? unavailable("the shard is closing") : impl.failure);
    return;
  }
  impl.barrier(std::move(done));
}

bool RaftHost::is_leader() const {
  return impl_->started && !impl_->closed && impl_->core.state == RAFT_LEADER;
}
bool RaftHost::serves() const { return is_leader() && impl_->caught_up && impl_->failure.ok(); }
uint64_t RaftHost::term() const { return impl_->core.current_term; }
uint64_t RaftHost::last_applied() const { return impl_->core.last_applied; }
uint64_t RaftHost::last_index() const { return raft_last_index(&impl_->core); }
bool RaftHost::failed() const { return !impl_->failure.ok(); }
const Status& RaftHost::failure() const { return impl_->failure; }

void RaftHost::fail(const Status& status) {
  if (impl_->failure.ok()) impl_->failure = status;
}

void RaftHost::close() {
  Impl& impl = *impl_;
  if (!impl.initialised || impl.closed) return;
  impl.closed = true;
  raft_close(&impl.core, nullptr);
  // libraft wants its requests back before it goes. It no longer leads, so it
  // makes nothing of their success; told that they were cancelled, it would
  // truncate its log (see appended()).
  auto appends = std::move(impl.appends);
  impl.appends.clear();
  for (auto& [number, request] : appends) request->cb(request, 0);
  if (impl.snapshot_put != nullptr) {
    impl.snapshot_put->cb(impl.snapshot_put, RAFT_CANCELED);
    impl.snapshot_put = nullptr;
  }
  if (impl.close_cb != nullptr) impl.close_cb(&impl.io);
}

}  // namespace jade
