#include "actors/vector_home.h"

#include <algorithm>
#include <cstring>

#include "actors/gather.h"
#include "actors/random.h"
#include "actors/retry.h"
#include "actors/shard.h"
#include "index/datatype.h"
#include "index/vector_router.h"

namespace jade {
namespace {

// Of the rows of a batch: it becomes one log entry of each cell.
constexpr size_t batch_bytes = 256u << 10;
// Longer than a cell's replicas need to elect a leader.
constexpr auto forward_timeout = std::chrono::seconds(10);
// Changes that a sweep leaves room for, so that writes do not wait behind it for long.
constexpr size_t swept_changes_max = 1024;
constexpr size_t swept_rows_max = 512;
// k-means gains nothing from more.
constexpr uint64_t sample_per_centre = 1024;
constexpr uint64_t vectors_per_centre_min = 64;
// Until the map shows a router that was trained.
constexpr uint64_t train_interval_ms = 5000;

std::vector<float> floats_of(const DatabaseSpec& spec, const std::string& stored) {
  std::vector<float> out(stored.size() / element_bytes(spec.datatype));
  load_values(spec.datatype, stored.data(), out.size(), out.data());
  return out;
}

ForwardCommand command_for(const std::vector<const HomeRecord*>& changes, bool take) {
  ForwardCommand out;
  for (const HomeRecord* change : changes) {
    if (take) {
      out.take.push_back(
          {change->id, change->values, change->metadata, change->cell, change->version});
    } else {
      out.give_up.push_back({change->id, change->version});
    }
  }
  return out;
}

// Vectors of a home that a router would have elsewhere.
struct Misplaced {
  RerouteCommand command;
  std::string last;  // id, up to which records were read
  bool all = false;  // there are no more
};

// Blocks.
Status find_misplaced(const ShardSnapshot& view, const DatabaseEntry& database,
                      const std::string& after, Misplaced& out) {
  const DatabaseSpec& spec = database.spec;
  VectorRouter router(spec.metric, spec.dimension, database.next_router->centres);
  out.command.router = database.next_router->version;
  out.all = true;
  return view.store->scan_homes(after, view.records, [&](HomeRecord record) {
    uint64_t cell = database.shards[router.part_of(floats_of(spec, record.values).data())].group;
    out.last = record.id;
    if (cell == record.cell) return true;
    out.command.ids.push_back(std::move(record.id));
    out.command.versions.push_back(record.valued);
    out.command.cells.push_back(cell);
    out.all = out.command.ids.size() < swept_rows_max;
    return out.all;
  });
}

// Blocks. `vectors`: how many records there are, about.
Status train_by(const ShardSnapshot& view, const DatabaseSpec& spec, uint64_t vectors,
                uint64_t seed, std::string& centres) {
  const uint64_t step = std::max<uint64_t>(1, vectors / (sample_per_centre * spec.shards));
  std::vector<float> sample;
  uint64_t position = 0;
  Status scanned = view.store->scan_homes("", view.records, [&](HomeRecord record) {
    if (position++ % step != 0) return true;
    std::vector<float> values = floats_of(spec, record.values);
    sample.insert(sample.end(), values.begin(), values.end());
    return true;
  });
  JADE_RETURN_IF_ERROR(scanned);
  // Deleted meanwhile.
  if (sample.size() < size_t{spec.shards} * spec.dimension) return {};
  centres = *train_router(std::move(sample), spec.dimension, spec.metric, spec.shards, seed);
  return {};
}

}  // namespace

struct VectorHome::Batch {
  uint64_t term = 0;
  ForwardBatch changes;
  AppliedIndexes reached;  // cells that have taken rows
};

bool VectorHome::leads_in(uint64_t term) const {
  return !shard_.stopping && !shard_.failed && shard_.raft && shard_.raft->serves() &&
         shard_.raft->core()->term() == term;
}

void VectorHome::know(std::shared_ptr<const DatabaseEntry> database) {
  auto version = [](const std::shared_ptr<const DatabaseEntry>& entry) {
    return entry && entry->router ? entry->router->version : 0;
  };
  if (version(database) != version(database_)) train_at_ms_ = 0;
  database_ = std::move(database);
}

void VectorHome::advance() {
  if (!shard_.raft || !shard_.raft->serves() || !shard_.announced) {
    if (!shard_.raft || !shard_.raft->is_leader()) {
      abandon(unavailable("the shard has another leader by now; try again"));
    }
    return;
  }
  uint64_t term = shard_.raft->core()->term();
  if (term != term_) {
    // What the leader before has sent, and not noted as arrived, is sent again.
    term_ = term;
    sequence_ = 0;
    through_ = 0;
    swept_router_ = 0;
    reached_.clear();
  }
  release();
  forward();
  route();
}

void VectorHome::await(uint64_t version, std::function<void(Result<AppliedIndexes>)> done) {
  waiting_.emplace(version, std::move(done));
  advance();
}

void VectorHome::abandon(const Status& status) {
  for (auto& [version, done] : std::exchange(waiting_, {})) done(status);
}

void VectorHome::release() {
  const HomeRecords& homes = *shard_.replica->homes();
  uint64_t arrived = homes.first_change() == 0 ? homes.last_version() : homes.first_change() - 1;
  arrived = std::max(arrived, through_);
  while (!waiting_.empty() && waiting_.begin()->first <= arrived) {
    auto done = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    done(reached_);
  }
}

void VectorHome::forward() {
  const HomeRecords& homes = *shard_.replica->homes();
  if (forwarding_ || homes.first_change() == 0 || homes.last_version() <= through_) return;
  if (now_ms(shard_.self) < retry_ms_) return;
  auto batch = std::make_shared<Batch>();
  auto changes = next_forward_batch(shard_.replica->store(), through_, batch_bytes);
  if (!changes.ok()) return shard_.fail(changes.status());
  if (changes->through == 0) return;
  batch->term = term_;
  batch->changes = std::move(*changes);
  forwarding_ = true;
  send(std::move(batch), true);
}

void VectorHome::send(std::shared_ptr<Batch> batch, bool take) {
  const auto& cells = take ? batch->changes.take : batch->changes.give_up;
  std::vector<std::pair<peer_actor, ShardWrite>> calls;
  for (const auto& [cell, changes] : cells) {
    ForwardCommand command = command_for(changes, take);
    command.home = shard_.group;
    command.term = batch->term;
    command.sequence = ++sequence_;
    command.dimension = shard_.replica->format().stored_dimension();
    command.datatype = shard_.replica->format().stored_datatype();
    if (!take) command.after = batch->reached;
    calls.emplace_back(shard_.peer, ShardWrite{{cell}, encode(command), true});
  }
  gather<ShardWritten>(shard_.self, now_ms(shard_.self) + to_ms(forward_timeout), std::move(calls),
                       [this, batch, take](std::vector<Result<ShardWritten>>& answers) {
                         bool ok = leads_in(batch->term);
                         for (const auto& answer : answers) {
                           ok = ok && answer.ok();
                           if (!ok) break;
                           note_applied(batch->reached, {{answer->group, answer->index}});
                         }
                         if (ok && take) return send(batch, false);
                         forwarding_ = false;
                         if (ok) {
                           arrived(*batch);
                         } else {
                           retry_ms_ = now_ms(shard_.self) + to_ms(retry_interval);
                         }
                         advance();
                       });
}

void VectorHome::arrived(const Batch& batch) {
  through_ = batch.changes.through;
  note_applied(reached_, batch.reached);
  release();
  // Nobody waits for this: another leader would send the batch again.
  shard_.raft->propose(encode(ForwardedCommand{through_}), [](Result<uint64_t>) {});
  shard_.after_event();
}

void VectorHome::propose(bool& flag, std::string command) {
  flag = true;
  shard_.raft->propose(command, [this, &flag](Result<uint64_t>) { flag = false; });
  shard_.after_event();
}

void VectorHome::route() {
  if (!database_ || routing_) return;
  const RouterRecord* next = database_->next_router.get();
  if (next == nullptr) return train();
  const CellsMeta& cells = shard_.replica->cells();
  auto said = [this](const std::vector<uint64_t>& groups) {
    return std::find(groups.begin(), groups.end(), shard_.group) != groups.end();
  };
  auto report = [&](RouteStep step) {
    shard_.report(RouteRecord{database_->spec.name, shard_.group, step, next->version, "", 0});
  };
  if (cells.announced < next->version) {
    return propose(routing_, encode(RouteCommand{next->version, RouteStep::announce}));
  }
  if (!said(next->announced)) return report(RouteStep::announce);
  if (!database_->is_moving()) return;
  if (cells.followed < next->version) {
    return propose(routing_, encode(RouteCommand{next->version, RouteStep::follow}));
  }
  if (cells.done < next->version) return sweep();
  if (!said(next->done)) report(RouteStep::done);
}

void VectorHome::sweep() {
  const HomeRecords& homes = *shard_.replica->homes();
  uint64_t version = database_->next_router->version;
  if (swept_router_ != version) {
    swept_router_ = version;
    swept_.clear();
    swept_all_ = false;
  }
  if (sweeping_) return;
  if (swept_all_) {
    bool arrived = homes.first_change() == 0 || homes.first_change() > swept_version_;
    if (arrived) propose(routing_, encode(RouteCommand{version, RouteStep::done}));
    return;
  }
  if (homes.changes() > swept_changes_max) return;
  sweeping_ = true;
  auto found = std::make_shared<Misplaced>();
  auto find = [view = shard_.replica->snapshot(), database = database_, after = swept_, found] {
    return find_misplaced(*view, *database, after, *found);
  };
  shard_.self->request(shard_.context->copier, caf::infinite, BlockingTask{find})
      .then(
          [this, found, term = term_](const TaskDone& done) {
            sweeping_ = false;
            bool current = leads_in(term) && swept_router_ == found->command.router;
            if (!current || !done.status.ok()) return;  // the next tick tries again
            bool moves = !found->command.ids.empty();
            swept_ = found->last.empty() ? swept_ : found->last;
            auto over = [this, all = found->all] {
              swept_all_ = all;
              swept_version_ = shard_.replica->homes()->last_version();
            };
            if (!moves) {
              over();
              return advance();
            }
            sweeping_ = true;
            shard_.raft->propose(encode(found->command),
                                 [this, over, term](Result<uint64_t> index) {
                                   sweeping_ = false;
                                   // Of an unknown outcome: all over again, at the next tick,
                                   // as it fails at once while the leadership is handed over.
                                   if (!index.ok()) return void(swept_router_ = 0);
                                   if (leads_in(term)) over();
                                   advance();
                                 });
            shard_.after_event();
          },
          [this](const caf::error&) { sweeping_ = false; });
}

void VectorHome::train() {
  const DatabaseSpec& spec = database_->spec;
  if (training_ || database_->shards.front().group != shard_.group || spec.shards < 2) return;
  const NodeConfig& config = shard_.context->config;
  uint64_t vectors = shard_.replica->cells().vectors;
  uint64_t enough = config.router_vectors_min > 0 ? config.router_vectors_min
                                                  : vectors_per_centre_min * spec.shards;
  enough = std::max<uint64_t>(enough, spec.shards);
  // Ids are shared out by hash: the other homes have about as many.
  const RouterRecord* router = database_->router.get();
  if (router != nullptr) {
    enough = std::max(enough, router->vectors / spec.shards * config.router_growth);
  }
  uint64_t now = now_ms(shard_.self);
  if (vectors < enough || now < train_at_ms_) return;
  train_at_ms_ = now + train_interval_ms;
  training_ = true;
  auto centres = std::make_shared<std::string>();
  uint64_t seed = mix(shard_.group, shard_.replica->applied_index());
  auto work = [view = shard_.replica->snapshot(), database = database_, vectors, seed, centres] {
    return train_by(*view, database->spec, vectors, seed, *centres);
  };
  shard_.self->request(shard_.context->copier, caf::infinite, BlockingTask{work})
      .then(
          [this, centres, vectors, database = database_](const TaskDone& done) {
            training_ = false;
            if (!done.status.ok() || centres->empty() || !shard_.raft) return;
            uint64_t before = database->router ? database->router->version : 0;
            shard_.report(RouteRecord{database->spec.name, shard_.group, RouteStep::announce,
                                      before, std::move(*centres),
                                      vectors * database->spec.shards});
          },
          [this](const caf::error&) { training_ = false; });
}

}  // namespace jade
