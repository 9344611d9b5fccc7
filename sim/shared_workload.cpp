#include "sim/shared_workload.h"

#include <map>
#include <utility>

namespace jade::sim {
namespace {

constexpr uint64_t keys = 5;

// The register of the mark of a vector; that of its version is its key.
uint64_t mark_of(uint64_t key) { return keys + key; }

}  // namespace

SharedWorkload::SharedWorkload(Run& run, Cluster& cluster, Clients& clients, const Records& records)
    : run_(run), cluster_(cluster), clients_(clients), records_(records) {}

void SharedWorkload::ask(uint32_t client, uint64_t dice) {
  auto unanswered = unanswered_.find(client);
  if (unanswered != unanswered_.end()) {
    auto again = std::move(unanswered->second);
    unanswered_.erase(unanswered);
    // Most clients ask again at once; some never do.
    if (run_.draw(4) > 0) {
      ++run_.report().writes_again;
      return again();
    }
  }
  uint64_t key = run_.draw(keys);
  if (dice < 28) return upsert(client, key);
  if (dice < 42) return update(client, key);
  if (dice < 50) return remove(client, key);
  if (dice < 65) return search(client);
  get(client, key);
}

void SharedWorkload::read(uint32_t client, uint64_t dice) {
  if (dice < 60) return get(client, run_.draw(keys));
  search(client);
}

void SharedWorkload::check_history() const {
  Finding finding = check_linearizable(history_);
  if (finding.verdict == Verdict::violated) run_.fail("not linearizable: " + finding.explanation);
  Finding past = check_sessions(history_);
  if (past.verdict == Verdict::violated) run_.fail("not a session: " + past.explanation);
  if (finding.verdict == Verdict::undecided) run_.fail("too hard to check: " + finding.explanation);
}

// ---- writes

void SharedWorkload::upsert(uint32_t client, uint64_t key) {
  uint64_t version = clients_.next_version();
  UpsertRequest request;
  request.database = shared_database;
  request.request_id = "shared-upsert-" + std::to_string(version);
  records_.add_shared(request, key, version);
  auto operation = history_.write(client, key, version, run_.now_ns());
  auto marking = history_.write(client, mark_of(key), version, run_.now_ns());
  send(client, request, {operation, marking});
}

void SharedWorkload::send(uint32_t client, const UpsertRequest& request, Both operations) {
  unanswered_[client] = [=, this] { send(client, request, operations); };
  clients_.api(client).upsert(request, written<UpsertReply>(client, operations));
}

void SharedWorkload::remove(uint32_t client, uint64_t key) {
  DeleteRequest request;
  request.database = shared_database;
  request.request_id = "shared-delete-" + std::to_string(clients_.next_version());
  request.ids.emplace_back(key);
  auto operation = history_.erase(client, key, run_.now_ns());
  auto marking = history_.erase(client, mark_of(key), run_.now_ns());
  send(client, request, {operation, marking});
}

void SharedWorkload::send(uint32_t client, const DeleteRequest& request, Both operations) {
  unanswered_[client] = [=, this] { send(client, request, operations); };
  clients_.api(client).remove(request, written<DeleteReply>(client, operations));
}

template <class Reply>
Api::Done<Reply> SharedWorkload::written(uint32_t client, Both operations) {
  return clients_.answered<Reply>(client, [=, this](Result<Reply>& reply) {
    if (!reply.ok()) return clients_.check_write_error(reply.status());
    unanswered_.erase(client);
    history_.complete(operations.version, run_.now_ns());
    history_.complete(operations.mark, run_.now_ns());
  });
}

void SharedWorkload::update(uint32_t client, uint64_t key) {
  const bool marks = run_.draw(2) == 0;
  const uint64_t number = clients_.next_version();
  UpdateRequest request;
  request.database = shared_database;
  request.request_id = "shared-update-" + std::to_string(number);
  VectorUpdate update{VectorId(key), marks ? marking_of(number) : revision_of(key, number)};
  if (!marks) update.values = records_.sent(key, number);
  request.vectors.push_back(std::move(update));
  auto written = history_.write(client, marks ? mark_of(key) : key, number, run_.now_ns());
  auto looked = history_.read(client, key, run_.now_ns());
  send(client, request, written, looked);
}

void SharedWorkload::send(uint32_t client, const UpdateRequest& request, History::Handle written,
                          History::Handle looked) {
  unanswered_[client] = [=, this] { send(client, request, written, looked); };
  clients_.api(client).update(
      request, clients_.answered<UpdateReply>(client, [=, this](Result<UpdateReply>& reply) {
        if (!reply.ok()) return clients_.check_write_error(reply.status());
        unanswered_.erase(client);
        if (reply->missing.empty()) {
          history_.complete(written, run_.now_ns());
        } else {
          history_.discard(written);
          history_.complete_read(looked, 0, run_.now_ns());
        }
      }));
}

// ---- reads

void SharedWorkload::get(uint32_t client, uint64_t key) {
  Both operations;
  operations.version = history_.read(client, key, run_.now_ns());
  operations.mark = history_.read(client, mark_of(key), run_.now_ns());
  clients_.api(client).get(
      {shared_database, VectorId(key)},
      clients_.answered<StoredVector>(client, [=, this](Result<StoredVector>& found) {
        if (found.status().code() == Code::not_found) return shows(operations, {});
        if (!found.ok()) return cluster_.check_error(found.status());
        auto state = state_of(key, found->metadata);
        if (!state || found->values != records_.stored(key, state->version)) {
          return run_.fail("a read gave what nobody wrote: " + found->metadata);
        }
        shows(operations, *state);
      }));
}

void SharedWorkload::shows(Both operations, RecordState state) {
  history_.complete_read(operations.version, state.version, run_.now_ns());
  history_.complete_read(operations.mark, state.mark, run_.now_ns());
}

// A search for everything reads all of them at once.
void SharedWorkload::search(uint32_t client) {
  SearchRequest request;
  request.database = shared_database;
  request.vector = records_.sent(run_.draw(1000), 1);
  request.k = Limits::k_max;
  request.exact = true;
  constexpr Consistency kinds[] = {Consistency::session, Consistency::strong, Consistency::session,
                                   Consistency::eventual};
  request.consistency = kinds[run_.draw(std::size(kinds))];
  const bool eventual = request.consistency == Consistency::eventual;
  const auto promise = eventual ? Operation::Promise::eventual : Operation::Promise::linearizable;
  const bool partial = request.partial = run_.draw(2) == 0;
  std::map<uint64_t, History::Handle> operations;  // by register
  for (uint64_t one = 0; one < 2 * keys; ++one) {
    operations.emplace(one, history_.read(client, one, run_.now_ns(), promise));
  }
  clients_.api(client).search(
      std::move(request),
      clients_.answered<SearchReply>(client, [=, this](Result<SearchReply>& reply) {
        if (!reply.ok()) return cluster_.check_error(reply.status());
        ++run_.report().searches_checked;
        run_.report().eventual_searched += eventual;
        const bool whole = reply->missing_shards.empty();
        if (!whole && !partial) return run_.fail("a search that is to be whole lacks shards");
        run_.report().lacking_shards += whole ? 0 : 1;
        std::map<uint64_t, uint64_t> found;  // by register; 0: it is not there
        for (const SearchHit& hit : reply->results) {
          uint64_t key = hit.id.integer();
          auto state = state_of(key, hit.metadata);
          if (!state) return run_.fail("a search gave metadata that nobody wrote: " + hit.metadata);
          found[key] = state->version;
          found[mark_of(key)] = state->mark;
        }
        for (auto [one, operation] : operations) {
          // In a shard that is missing may be whatever was not found.
          if (!whole && found[one] == 0) continue;
          history_.complete_read(operation, found[one], run_.now_ns());
        }
      }));
}

}  // namespace jade::sim
