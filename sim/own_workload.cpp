#include "sim/own_workload.h"

#include <map>
#include <set>
#include <utility>

namespace jade::sim {

OwnWorkload::OwnWorkload(const SimulationOptions& options, Run& run, Cluster& cluster,
                         Clients& clients, const Records& records, Ledger& ledger)
    : options_(options),
      run_(run),
      cluster_(cluster),
      clients_(clients),
      records_(records),
      ledger_(ledger),
      acknowledged_(options.clients),
      unanswered_(options.clients) {}

void OwnWorkload::ask(uint32_t client, uint64_t dice) {
  // Most clients ask again at once; some never do.
  if (auto again = std::exchange(unanswered_[client], {}); again && run_.draw(4) > 0) {
    ++run_.report().writes_again;
    return again();
  }
  if (acknowledged_[client].upsert && run_.draw(12) == 0) return repeat(client);
  if (!acknowledged_[client].latest.empty() && run_.draw(4) == 0) return search(client);
  if (dice < 33) return upsert(client);
  if (dice < 48) return update(client);
  if (dice < 60) return remove(client);
  if (dice < 85) return get(client);
  if (dice < 95) return search(client);
  search_everything(client);
}

// id % clients is its writer.
uint64_t OwnWorkload::pick_id(uint32_t client) {
  return run_.draw(options_.ids_per_client) * options_.clients + client;
}

// ---- writes

void OwnWorkload::forget_unanswered() {
  for (auto& again : unanswered_) again = {};
}

OwnWorkload::Sent OwnWorkload::sent(const Ledger::Numbers& revised,
                                    const Ledger::Numbers& marked) const {
  Sent out{revised, marked, true, {}};
  for (const Ledger::Numbers& numbers : {revised, marked}) {
    for (auto [id, number] : numbers) {
      out.alone = out.alone && ledger_.decided(id);
      if (!ledger_.exists(id)) out.missing.insert(id);
    }
  }
  return out;
}

void OwnWorkload::begin(uint32_t client, const Sent& sent, std::function<void()> again) {
  unanswered_[client] = sent.alone ? std::move(again) : nullptr;
}

void OwnWorkload::upsert(uint32_t client) {
  acknowledged_[client].latest.clear();
  UpsertRequest request;
  request.database = own_database;
  Ledger::Numbers written;
  uint64_t rows = 1 + run_.draw(12), version = 0;
  for (uint64_t i = 0; i < rows; ++i) {
    uint64_t id = pick_id(client);
    if (written.count(id) > 0) continue;
    version = clients_.next_version();
    written[id] = version;
    records_.add(request, id, version);
  }
  request.request_id = "upsert-" + std::to_string(version);
  const Sent sent = this->sent(written, {});
  for (auto [id, at] : written) ledger_.begin_upsert(id, at);
  send(client, request, sent);
}

void OwnWorkload::send(uint32_t client, const UpsertRequest& request, const Sent& sent) {
  begin(client, sent, [=, this] { send(client, request, sent); });
  clients_.api(client).upsert(
      request, clients_.answered<UpsertReply>(client, [=, this](Result<UpsertReply>& reply) {
        if (!reply.ok()) return clients_.check_write_error(reply.status());
        unanswered_[client] = {};
        ++run_.report().writes_acknowledged;
        if (reply->upserted != request.ids.size()) {
          return run_.fail("an upsert of " + std::to_string(request.ids.size()) + " ids counts " +
                           std::to_string(reply->upserted));
        }
        ledger_.acknowledge(sent.revised);
        acknowledged_[client].upsert = std::make_shared<const UpsertRequest>(request);
        for (auto [id, at] : sent.revised) acknowledged_[client].latest.push_back(id);
        acknowledged_[client].token = reply->token;
      }));
}

// Some records get another version, with the vectors of that and without others; some another
// mark. Whatever else they have stays.
void OwnWorkload::update(uint32_t client) {
  acknowledged_[client].latest.clear();
  UpdateRequest request;
  request.database = own_database;
  Ledger::Numbers revised, marked;
  uint64_t rows = 1 + run_.draw(8), number = 0;
  for (uint64_t i = 0; i < rows; ++i) {
    uint64_t id = pick_id(client);
    if (revised.count(id) + marked.count(id) > 0) continue;
    const bool marks = run_.draw(2) == 0;
    number = clients_.next_version();
    if (marks) {
      marked[id] = number;
      request.vectors.emplace_back().id = VectorId(id);
      request.vectors.back().metadata = marking_of(number);
    } else {
      revised[id] = number;
      request.vectors.push_back(records_.revision(id, number));
    }
  }
  request.request_id = "update-" + std::to_string(number);
  const Sent sent = this->sent(revised, marked);
  for (auto [id, version] : revised) ledger_.begin_revision(id, version);
  for (auto [id, mark] : marked) ledger_.begin_marking(id, mark);
  send(client, request, sent);
}

void OwnWorkload::send(uint32_t client, const UpdateRequest& request, const Sent& sent) {
  begin(client, sent, [=, this] { send(client, request, sent); });
  clients_.api(client).update(
      request, clients_.answered<UpdateReply>(client, [=, this](Result<UpdateReply>& reply) {
        if (!reply.ok()) return clients_.check_write_error(reply.status());
        unanswered_[client] = {};
        ++run_.report().writes_acknowledged;
        run_.report().missing_updated += reply->missing.size();
        if (reply->updated + reply->missing.size() != request.vectors.size()) {
          return run_.fail("an update of " + std::to_string(request.vectors.size()) +
                           " ids counts " + std::to_string(reply->updated) + " and " +
                           std::to_string(reply->missing.size()) + " missing");
        }
        std::set<uint64_t> missing;
        for (const VectorId& id : reply->missing) missing.insert(id.integer());
        if (sent.alone && missing != sent.missing) {
          return run_.fail("an update finds that " + std::to_string(missing.size()) +
                           " ids are missing; of those that it was for, " +
                           std::to_string(sent.missing.size()) + " were");
        }
        ledger_.acknowledge_update(sent.revised, sent.marked, missing);
        acknowledged_[client].update = std::make_shared<const UpdateRequest>(request);
        acknowledged_[client].updated = *reply;
      }));
}

// A client that did not get its answer, or a proxy, asks again, perhaps late. It
// changes nothing.
void OwnWorkload::repeat(uint32_t client) {
  if (acknowledged_[client].update && run_.draw(2) == 0) return repeat_update(client);
  if (acknowledged_[client].removal && run_.draw(2) == 0) return repeat_remove(client);
  clients_.api(client).upsert(
      *acknowledged_[client].upsert,
      clients_.answered<UpsertReply>(client, [this](Result<UpsertReply>& reply) {
        if (!reply.ok()) cluster_.check_error(reply.status());
      }));
}

void OwnWorkload::repeat_update(uint32_t client) {
  UpdateReply first = acknowledged_[client].updated;
  clients_.api(client).update(
      *acknowledged_[client].update,
      clients_.answered<UpdateReply>(client, [this, first](Result<UpdateReply>& reply) {
        if (!reply.ok()) return cluster_.check_error(reply.status());
        if (reply->updated != first.updated || reply->missing != first.missing) {
          run_.fail("an update that was sent again has another answer: " +
                    std::to_string(reply->updated) + " updated, and before " +
                    std::to_string(first.updated));
        }
      }));
}

void OwnWorkload::repeat_remove(uint32_t client) {
  const uint64_t first = acknowledged_[client].deleted;
  clients_.api(client).remove(
      *acknowledged_[client].removal,
      clients_.answered<DeleteReply>(client, [this, first](Result<DeleteReply>& reply) {
        if (!reply.ok()) return cluster_.check_error(reply.status());
        if (reply->deleted != first) {
          run_.fail("a deletion that was sent again has another answer: " +
                    std::to_string(reply->deleted) + " deleted, and before " +
                    std::to_string(first));
        }
      }));
}

void OwnWorkload::remove(uint32_t client) {
  acknowledged_[client].latest.clear();
  DeleteRequest request;
  request.database = own_database;
  Ledger::Numbers written;
  uint64_t version = 0;
  for (uint64_t i = 0; i < 1 + run_.draw(4); ++i) {
    uint64_t id = pick_id(client);
    if (written.count(id) > 0) continue;
    written[id] = version = clients_.next_version();
    request.ids.emplace_back(id);
  }
  request.request_id = "delete-" + std::to_string(version);
  const Sent sent = this->sent(written, {});
  for (auto [id, at] : written) ledger_.begin_delete(id, at);
  send(client, request, sent);
}

void OwnWorkload::send(uint32_t client, const DeleteRequest& request, const Sent& sent) {
  begin(client, sent, [=, this] { send(client, request, sent); });
  clients_.api(client).remove(
      request, clients_.answered<DeleteReply>(client, [=, this](Result<DeleteReply>& reply) {
        if (!reply.ok()) return clients_.check_write_error(reply.status());
        unanswered_[client] = {};
        ++run_.report().writes_acknowledged;
        const uint64_t most = request.ids.size();
        const uint64_t least = sent.alone ? most - sent.missing.size() : 0;
        if (reply->deleted < least || reply->deleted > (sent.alone ? least : most)) {
          return run_.fail("a deletion of " + std::to_string(most) + " ids, of which " +
                           std::to_string(sent.missing.size()) + " may be missing, counts " +
                           std::to_string(reply->deleted));
        }
        ledger_.acknowledge(sent.revised);
        // An older one now and then, of before a split.
        if (acknowledged_[client].removal && run_.draw(3) > 0) return;
        acknowledged_[client].removal = std::make_shared<const DeleteRequest>(request);
        acknowledged_[client].deleted = reply->deleted;
      }));
}

// ---- reads

void OwnWorkload::get(uint32_t client) {
  uint64_t id = pick_id(client);
  clients_.api(client).get(
      {own_database, VectorId(id)},
      clients_.answered<StoredVector>(client, [this, id](Result<StoredVector>& found) {
        if (found.ok()) {
          ledger_.observe(id, *found);
        } else if (found.status().code() == Code::not_found) {
          ledger_.observe_nothing(id);
        } else {
          cluster_.check_error(found.status());
        }
      }));
}

// Searches while others write: what comes back must be well formed and allowed.
void OwnWorkload::search(uint32_t client) {
  Sought sought;
  sought.client = client;
  sought.vector = run_.draw(records_.vectors().size());
  SearchRequest request;
  request.database = own_database;
  request.vector_name = records_.vectors()[sought.vector].name;
  request.vector = records_.sent(run_.draw(1000), 1, sought.vector);
  request.k = sought.k = static_cast<uint32_t>(1 + run_.draw(20));
  request.exact = run_.draw(2) == 0;
  if (run_.draw(3) == 0) request.consistency = Consistency::strong;
  uint64_t bucket = run_.draw(10);
  bool filtered = run_.draw(2) == 0;
  if (filtered) request.filter = "{\"bucket\":" + std::to_string(bucket) + "}";
  const Acknowledged& last = acknowledged_[client];
  const bool token = !last.latest.empty() && run_.draw(2) == 0;
  if (token) {
    sought.id = seek(last.latest[run_.draw(last.latest.size())], sought.vector, request);
  } else if (run_.draw(2) == 0) {
    sought.id = seek_own(client, sought.vector, request);
  }
  if (token && sought.id) {
    request.consistency = Consistency::session;
    request.token = last.token;
  }
  if (!token && run_.draw(5) == 0) {
    request.consistency = Consistency::eventual;
    // It may not be there yet.
    sought.id.reset();
  }
  const bool eventual = request.consistency == Consistency::eventual;
  request.partial = sought.partial = run_.draw(2) == 0;
  if (!request.filter.empty()) sought.bucket = bucket;
  // While a vector moves, one of its shards may show it as it was. A replica that is as new as
  // the token says may be older than what was seen elsewhere.
  sought.settled = (!options_.by_vector || request.exact) && request.token.empty() && !eventual;
  clients_.api(client).search(
      std::move(request),
      clients_.answered<SearchReply>(client, [this, sought, eventual](Result<SearchReply>& reply) {
        if (!reply.ok()) return cluster_.check_error(reply.status());
        ++run_.report().searches_checked;
        run_.report().lacking_searched += sought.vector > 0;
        run_.report().eventual_searched += eventual;
        check_hits(sought, *reply);
      }));
}

// Makes the search one for a vector that the client has written itself, which must be
// found: no other is as near. Nothing: there is none that it is sure of.
std::optional<uint64_t> OwnWorkload::seek_own(uint32_t client, size_t vector,
                                              SearchRequest& request) {
  return seek(pick_id(client), vector, request);
}

std::optional<uint64_t> OwnWorkload::seek(uint64_t id, size_t vector, SearchRequest& request) {
  const Model& model = ledger_.versions();
  auto certain = model.certain().find(id);
  bool there = certain != model.certain().end() && certain->second.exists;
  // By their product others may be nearer.
  bool nearest = records_.vectors()[vector].metric != Metric::dot;
  if (!there || !model.decided(id) || !nearest) return std::nullopt;
  if (!Records::has_vector(id, certain->second.number, vector)) return std::nullopt;
  request.vector = records_.sent(id, certain->second.number, vector);
  request.filter.clear();
  // By vector, the nearest shard alone has it, and its few rows are all compared.
  request.exact = !options_.by_vector || run_.draw(2) == 0;
  return id;
}

bool OwnWorkload::is_whole(const SearchReply& reply, bool partial) {
  const bool whole = reply.missing_shards.empty();
  if (!whole && !partial) run_.fail("a search that is to be whole lacks shards");
  run_.report().lacking_shards += whole ? 0 : 1;
  return whole;
}

void OwnWorkload::check_hits(const Sought& sought, const SearchReply& reply) {
  const std::vector<SearchHit>& hits = reply.results;
  const bool whole = is_whole(reply, sought.partial);
  if (hits.size() > sought.k) run_.fail("a search gave more than k results");
  std::set<uint64_t> ids;
  for (const SearchHit& hit : hits) ids.insert(hit.id.integer());
  if (ids.size() < hits.size()) run_.fail("a search gave one id twice");
  if (whole && sought.id && ids.count(*sought.id) == 0) {
    run_.fail("a search for the vector of id " + std::to_string(*sought.id) + " did not find it");
  }
  for (const SearchHit& hit : hits) check_hit(sought, hit);
}

void OwnWorkload::check_hit(const Sought& sought, const SearchHit& hit) {
  uint64_t id = hit.id.integer();
  auto state = state_of(id, hit.metadata);
  if (!state) return run_.fail("a search gave metadata that nobody wrote: " + hit.metadata);
  if (!Records::has_vector(id, state->version, sought.vector)) {
    run_.fail("a search by a vector gave id " + std::to_string(id) + ", which lacks it");
  }
  if (sought.bucket && bucket_of(id, state->version) != *sought.bucket) {
    run_.fail("a filtered search gave id " + std::to_string(id) + ", which does not match");
  }
  ledger_.observe_past(id, *state);
  // Its own ids stand still while a client waits.
  if (sought.settled && id % options_.clients == sought.client) ledger_.observe_state(id, *state);
}

// What exists all the time is found, whoever is just writing it anew, and wherever it is moving.
void OwnWorkload::search_everything(uint32_t client) {
  SearchRequest request;
  request.database = own_database;
  request.vector_name = records_.vectors()[0].name;  // which all have
  request.vector = records_.sent(run_.draw(1000), 1);
  request.k = Limits::k_max;
  // As k is more than there are, no index may leave one out. By vector, others ask few shards.
  request.exact = options_.by_vector || run_.draw(2) == 0;
  if (run_.draw(2) == 0) request.consistency = Consistency::strong;
  const bool partial = request.partial = run_.draw(2) == 0;
  clients_.api(client).search(
      std::move(request),
      clients_.answered<SearchReply>(
          client, [this, partial, staying = ledger_.staying()](Result<SearchReply>& reply) {
            if (!reply.ok()) return cluster_.check_error(reply.status());
            ++run_.report().searches_checked;
            if (!is_whole(*reply, partial)) return;
            std::set<uint64_t> found;
            for (const SearchHit& hit : reply->results) found.insert(hit.id.integer());
            for (auto [id, deletions] : staying) {
              if (ledger_.stayed(id, deletions) && found.count(id) == 0) {
                return run_.fail("a search for everything did not find id " + std::to_string(id));
              }
            }
          }));
}

}  // namespace jade::sim
