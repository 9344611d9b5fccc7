#include "sim/passing_databases.h"

#include <algorithm>

namespace jade::sim {
namespace {

constexpr size_t databases_max = 2;

}  // namespace

PassingDatabases::PassingDatabases(const SimulationOptions& options, Run& run, Cluster& cluster,
                                   const Records& records)
    : run_(run), cluster_(cluster), records_(records) {
  cluster.when_ended([this](size_t machine, bool) { process_ended(machine); });
  if (options.faults.count(Fault::drop) == 0) return;
  for (size_t i = 0; i < databases_max; ++i) {
    Database& database = databases_.emplace_back();
    database.name = "passing-" + std::to_string(i + 1);
    database.ready_ns = run_.now_ns() + run_.draw(3000) * ms;
  }
}

uint64_t PassingDatabases::next_ns() const {
  uint64_t next = never;
  for (const Database& database : databases_) next = std::min(next, database.ready_ns);
  return next;
}

void PassingDatabases::act_if_due() {
  for (size_t i = 0; i < databases_.size(); ++i) {
    if (run_.now_ns() >= databases_[i].ready_ns) act(i);
  }
}

// All that was asked of it before was answered.
void PassingDatabases::act(size_t database) {
  Database& one = databases_[database];
  const size_t machine = cluster_.pick_member();
  one.ready_ns = run_.now_ns() + (1 + run_.draw(100)) * ms;
  if (!cluster_.running(machine)) return;
  one.ready_ns = never;
  const uint64_t dice = run_.draw(100);
  run_.note(80 + database);
  if (dice >= 97) return contend(database);
  if (one.known == Known::absent || (one.known == Known::unsure && dice < 3)) {
    return create(database, machine);
  }
  if (dice < 10) return drop(database, machine);
  if (dice < 65) return write(database, machine, true);
  if (dice < 85) return get(database, machine);
  list(database, machine);
}

template <class T>
Api::Done<T> PassingDatabases::answered(size_t database, size_t machine, bool decides,
                                        std::function<void(Result<T>&)> check) {
  const uint64_t request = ++requests_;
  unanswered_[request] = {database, machine, decides};
  return [this, request, database, check = std::move(check)](Result<T> result) {
    if (unanswered_.erase(request) == 0) return;
    const bool last = std::none_of(unanswered_.begin(), unanswered_.end(), [&](const auto& one) {
      return one.second.database == database;
    });
    Database& one = databases_[database];
    if (last) one.ready_ns = run_.now_ns() + (1 + run_.draw(100)) * ms;
    check(result);
  };
}

void PassingDatabases::process_ended(size_t machine) {
  for (auto& [request, one] : unanswered_) {
    if (one.machine != machine) continue;
    Database& database = databases_[one.database];
    database.ready_ns = run_.now_ns() + run_.draw(50) * ms;
    if (one.decides) database.known = Known::unsure;
  }
  std::erase_if(unanswered_, [machine](const auto& one) { return one.second.machine == machine; });
  for (const auto& [request, one] : unanswered_) databases_[one.database].ready_ns = never;
}

std::pair<size_t, uint64_t> PassingDatabases::process_of(size_t machine) const {
  return {machine, cluster_.node(machine).starts()};
}

bool PassingDatabases::shows(const Database& database, std::pair<size_t, uint64_t> process) const {
  if (database.known != Known::there) return false;
  return database.first || database.creator == process;
}

void PassingDatabases::fail(const Database& database, const std::string& why) const {
  run_.fail("database " + database.name + " (" + std::to_string(database.life) + ") " + why);
}

// ---- whether it exists

void PassingDatabases::create(size_t database, size_t machine) {
  Database& one = databases_[database];
  const bool certain = one.known == Known::absent;
  DatabaseSpec spec = records_.shared_spec();
  spec.name = one.name;
  spec.shards = static_cast<uint32_t>(1 + run_.draw(3));
  ++one.life;
  one.sent.clear();
  one.first = certain && one.known_everywhere;
  one.known_everywhere = false;
  one.known = Known::unsure;
  one.creator = process_of(machine);
  run_.say(machine, "is to create database " + one.name);
  cluster_.node(machine).api().create_database(
      spec, answered<DatabaseInfo>(
                database, machine, true, [this, database, certain](Result<DatabaseInfo>& created) {
                  Database& made = databases_[database];
                  if (created.ok()) {
                    if (certain) made.known = Known::there;
                    return;
                  }
                  // Too few nodes for it. That a request was carried out, and is passed on once
                  // more, shows as a name that is taken.
                  const Code code = created.status().code();
                  if (code == Code::failed_precondition && certain) made.known = Known::absent;
                  if (code == Code::failed_precondition || code == Code::already_exists) return;
                  check_error(made, created.status(), false);
                }));
}

// While others still write to it.
void PassingDatabases::drop(size_t database, size_t machine) {
  Database& one = databases_[database];
  const bool certain = one.known == Known::there;
  one.known = Known::unsure;
  one.known_everywhere = false;
  for (uint64_t writers = run_.draw(4); writers > 0; --writers) {
    const size_t other = cluster_.pick_member();
    if (cluster_.running(other)) write(database, other, false);
  }
  run_.say(machine, "is to drop database " + one.name);
  cluster_.node(machine).api().drop_database(
      one.name, answered<DatabaseInfo>(database, machine, true,
                                       [this, database, certain](Result<DatabaseInfo>& was) {
                                         Database& gone = databases_[database];
                                         if (!was.ok())
                                           return check_error(gone, was.status(), false);
                                         ++run_.report().faults[Fault::drop];
                                         if (certain) gone.known = Known::absent;
                                       }));
}

// Nobody can say what comes of it.
void PassingDatabases::contend(size_t database) {
  databases_[database].known = Known::unsure;
  for (uint64_t clients = 2 + run_.draw(3); clients > 0; --clients) {
    const size_t machine = cluster_.pick_member();
    if (!cluster_.running(machine)) continue;
    run_.draw(2) == 0 ? create(database, machine) : drop(database, machine);
  }
  // Of machines that run none was picked.
  const bool waits = std::any_of(unanswered_.begin(), unanswered_.end(),
                                 [&](const auto& one) { return one.second.database == database; });
  if (!waits) databases_[database].ready_ns = run_.now_ns() + ms;
}

// ---- what is in it

// `counts`: once it is acknowledged, it must be there.
void PassingDatabases::write(size_t database, size_t machine, bool counts) {
  Database& one = databases_[database];
  UpsertRequest request;
  request.database = one.name;
  std::vector<uint64_t> ids;
  for (uint64_t rows = 1 + run_.draw(6); rows > 0; --rows) {
    const uint64_t id = one.sent.size();
    records_.add_shared(request, id, one.life);
    one.sent[id] = false;
    ids.push_back(id);
  }
  const bool shown = counts && shows(one, process_of(machine));
  const bool exists = shown && one.known_everywhere;
  cluster_.node(machine).api().upsert(
      std::move(request),
      answered<UpsertReply>(database, machine, false,
                            [this, database, ids, shown, exists](Result<UpsertReply>& reply) {
                              Database& written = databases_[database];
                              if (!reply.ok()) return check_error(written, reply.status(), exists);
                              ++run_.report().passing_writes;
                              for (uint64_t id : ids) written.sent[id] = shown;
                            }));
}

void PassingDatabases::get(size_t database, size_t machine) {
  Database& one = databases_[database];
  if (one.sent.empty()) return list(database, machine);
  const uint64_t id = run_.draw(one.sent.size());
  const bool shown = shows(one, process_of(machine));
  const bool exists = shown && one.known_everywhere;
  cluster_.node(machine).api().get(
      {one.name, VectorId(id)},
      answered<StoredVector>(database, machine, false,
                             [this, database, id, shown, exists](Result<StoredVector>& found) {
                               const Database& read = databases_[database];
                               if (found.ok()) return check_record(read, *found, shown);
                               const Status& status = found.status();
                               const bool lacks = status.code() == Code::not_found &&
                                                  status.message().starts_with("id ");
                               if (!lacks) return check_error(read, status, exists);
                               if (shown && read.sent.at(id))
                                 fail(read, "lost id " + std::to_string(id));
                             }));
}

void PassingDatabases::list(size_t database, size_t machine) {
  const Database& one = databases_[database];
  ListRequest request;
  request.database = one.name;
  request.limit = Limits::page_limit_max;
  request.include_values = true;
  const bool shown = shows(one, process_of(machine));
  const bool exists = shown && one.known_everywhere;
  cluster_.node(machine).api().list(
      request, answered<ListReply>(database, machine, false,
                                   [this, database, shown, exists](Result<ListReply>& reply) {
                                     const Database& listed = databases_[database];
                                     if (!reply.ok())
                                       return check_error(listed, reply.status(), exists);
                                     if (shown) return check_all(listed, reply->vectors);
                                     for (const StoredVector& found : reply->vectors) {
                                       check_record(listed, found, false);
                                     }
                                   }));
}

void PassingDatabases::check_error(const Database& database, const Status& status, bool exists) {
  const bool unknown = status.code() == Code::not_found;
  if (!unknown) return cluster_.check_error(status);
  if (exists) fail(database, "is gone: " + status.to_string());
}

void PassingDatabases::check_record(const Database& database, const StoredVector& found,
                                    bool shows) {
  const uint64_t id = found.id.integer();
  auto state = state_of(id, found.metadata);
  bool written = state && state->version == state->mark && state->version <= database.life;
  if (!written || found.values != records_.stored(id, state->version)) {
    return fail(database, "shows what nobody wrote: " + found.metadata);
  }
  ++run_.report().reads_checked;
  if (!shows) return;
  if (state->version != database.life || database.sent.count(id) == 0) {
    fail(database, "shows what an earlier one of its name held: " + found.metadata);
  }
}

void PassingDatabases::check_all(const Database& database, const std::vector<StoredVector>& found) {
  std::set<uint64_t> ids;
  for (const StoredVector& one : found) {
    check_record(database, one, true);
    ids.insert(one.id.integer());
  }
  for (auto [id, must_be_there] : database.sent) {
    if (must_be_there && ids.count(id) == 0) fail(database, "lost id " + std::to_string(id));
  }
}

// ---- at rest

void PassingDatabases::settle() {
  for (Database& database : databases_) {
    if (run_.ok()) settle(database);
    database.ready_ns = run_.now_ns() + (1 + run_.draw(500)) * ms;
  }
}

void PassingDatabases::settle(Database& database) {
  ListRequest request;
  request.database = database.name;
  request.limit = Limits::page_limit_max;
  request.include_values = true;
  auto listed = cluster_.insist<ListReply>([&](Api& api, auto done) { api.list(request, done); });
  const Code code = listed.status().code();
  if (code != Code::ok && code != Code::not_found) {
    return fail(database, "cannot be listed: " + listed.status().to_string());
  }
  const bool exists = listed.ok();
  if (database.known == Known::there && !exists) return fail(database, "is gone");
  if (database.known == Known::absent && exists) return fail(database, "was dropped, and exists");
  if (database.known == Known::there) check_all(database, listed->vectors);
  if (database.known == Known::unsure && exists) {
    for (const StoredVector& found : listed->vectors) check_record(database, found, false);
    auto dropped = cluster_.insist<DatabaseInfo>(
        [&](Api& api, auto done) { api.drop_database(database.name, done); });
    if (!dropped.ok() && dropped.status().code() != Code::not_found) {
      return fail(database, "cannot be dropped: " + dropped.status().to_string());
    }
    ++run_.report().faults[Fault::drop];
    cluster_.run_for(2000 * ms);  // until all know
  }
  if (database.known == Known::unsure) database.known = Known::absent;
  database.known_everywhere = true;
  database.first = true;
}

}  // namespace jade::sim
