#include "sim/simulation.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>

#include "actors/errors.h"
#include "actors/random.h"
#include "index/scoring.h"
#include "sim/model.h"
#include "sim/node.h"

namespace jade::sim {
namespace {

constexpr uint64_t ms = 1'000'000;
constexpr uint64_t none = UINT64_MAX;
// After faults have ended the node must serve again within this.
constexpr uint64_t recovery_ns_max = 30'000 * ms;
constexpr const char* database = "sim";

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        random_(mix(options.seed, 0x51u)),
        node_(
            options.seed, [this] { return now_ns_; }, config()) {
    report_.seed = options.seed;
    clients_.resize(options.clients);
  }

  // Unanswered requests call back when their node ends: while all of this lives.
  ~Simulation() { node_.crash(); }

  SimulationReport run() {
    start_node();
    if (ok()) create_database();
    next_fault_ns_ = now_ns_ + fault_delay();
    next_checkpoint_ns_ = now_ns_ + checkpoint_delay();
    uint64_t end_ns = options_.simulated_ms * ms;
    while (ok() && now_ns_ < end_ns) {
      if (now_ns_ >= next_fault_ns_) strike();
      if (fault_over_ns_ != none && now_ns_ >= fault_over_ns_) end_fault();
      if (ok() && !node_.running() && now_ns_ >= restart_ns_) start_node();
      if (ok() && now_ns_ >= next_checkpoint_ns_ && fault_over_ns_ == none && node_.running()) {
        checkpoint();
        next_checkpoint_ns_ = now_ns_ + checkpoint_delay();
      }
      if (ok()) drive_clients();
      if (ok()) step_or_wait();
    }
    if (ok()) {
      end_fault();
      checkpoint();
    }
    report_.simulated_ns = now_ns_;
    report_.trace_hash = mix(trace_, node_.disk().trace_hash());
    return report_;
  }

 private:
  struct Client {
    bool busy = false;
    uint64_t ready_ns = 0;
    uint64_t generation = 0;  // of the process that was asked
  };

  NodeConfig config() const {
    NodeConfig config;
    config.searchers = 2;
    config.builders = 2;
    config.clients = 2;
    config.cache_bytes = 1u << 20;
    config.seal_rows_min = options_.seal_rows_min;
    config.seal_rows_max = options_.seal_rows_max;
    config.raft_snapshot_entries = options_.snapshot_entries;
    return config;
  }

  bool ok() const { return report_.failure.empty(); }
  void fail(const std::string& why) {
    if (!ok()) return;
    report_.failure = "at " + std::to_string(now_ns_ / ms) + " ms, step " +
                      std::to_string(report_.steps) + ": " + why;
  }
  uint64_t draw(uint64_t below) { return next_random(random_) % below; }
  uint64_t fault_delay() {
    if (options_.fault_interval_ms == 0) return none / 2;
    return (1 + draw(2 * options_.fault_interval_ms)) * ms;
  }
  uint64_t checkpoint_delay() { return (1000 + draw(2000)) * ms; }
  void note(uint64_t what) { trace_ = (trace_ ^ what) * 0x100000001b3u; }

  // ---- time ------------------------------------------------------------------

  // One actor's turn, chosen by the seed. False: nothing can run now.
  bool step() {
    if (!node_.running()) return false;
    SimSystem& system = node_.system();
    size_t choices = system.runnable();
    bool stepped = choices > 0;
    if (stepped) {
      uint64_t actor = system.run(draw(choices));
      note(actor * 31 + choices);
      ++report_.steps;
    } else {
      stepped = system.run_broker();
    }
    node_.disk().drain();
    return stepped;
  }

  void advance_to(uint64_t then_ns) {
    now_ns_ = std::max(now_ns_, then_ns);
    note(now_ns_);
    if (node_.running()) node_.system().advance_to(now_ns_);
  }

  uint64_t next_event_ns() {
    uint64_t next = std::min(next_fault_ns_, fault_over_ns_);
    if (!node_.running()) return std::min(next, restart_ns_);
    // Put off while a fault lasts.
    if (fault_over_ns_ == none) next = std::min(next, next_checkpoint_ns_);
    if (auto due = node_.system().next_timeout_ns()) next = std::min(next, *due);
    for (const Client& client : clients_) {
      if (!client.busy) next = std::min(next, client.ready_ns);
    }
    return next;
  }

  void step_or_wait() {
    // A fault may strike between any two turns.
    bool between = node_.running() && options_.fault_interval_ms > 0 && draw(200'000) == 0;
    if (between) strike();
    if (step()) return;
    advance_to(std::max(next_event_ns(), now_ns_ + 1));
  }

  // Runs the node, but no client, until `done` or the time is up.
  bool run_until(const std::function<bool()>& done, uint64_t limit_ns) {
    uint64_t stop_ns = now_ns_ + limit_ns;
    while (!done()) {
      if (step()) continue;
      if (now_ns_ >= stop_ns) return false;
      auto due = node_.running() ? node_.system().next_timeout_ns() : std::nullopt;
      advance_to(std::min(stop_ns, std::max(due.value_or(stop_ns), now_ns_ + 1)));
    }
    return true;
  }

  // Asks and waits; for when no faults are about.
  template <class T>
  Result<T> ask(const std::function<void(Api&, Api::Done<T>)>& call) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    call(node_.api(), [answer](Result<T> result) { answer->emplace(std::move(result)); });
    if (!run_until([&] { return answer->has_value(); }, recovery_ns_max)) {
      return Status(Code::deadline_exceeded, "the node did not answer");
    }
    return std::move(**answer);
  }

  // ---- the node's life ---------------------------------------------------------

  void start_node() {
    Status started = node_.start();
    node_.disk().drain();
    if (started.ok()) return;
    if (fault_over_ns_ == none) {
      return fail("the node does not start on a healthy disk: " + started.to_string());
    }
    restart_ns_ = now_ns_ + 200 * ms;
  }

  void create_database() {
    DatabaseSpec spec;
    spec.name = database;
    spec.dimension = options_.dimension;
    spec.metric = static_cast<Metric>(draw(3));
    spec.shards = options_.shards;
    metric_ = spec.metric;
    if (!await_ready()) return;
    auto created = ask<DatabaseInfo>([&](Api& api, auto done) { api.create_database(spec, done); });
    if (!created.ok()) fail("creating the database: " + created.status().to_string());
  }

  bool await_ready() {
    uint64_t stop_ns = now_ns_ + recovery_ns_max;
    std::string last;
    while (now_ns_ < stop_ns) {
      auto ready = ask<std::string>([](Api& api, auto done) { api.ready(done); });
      if (ready.ok()) return true;
      last = ready.status().to_string();
      run_until([] { return false; }, 100 * ms);
    }
    fail("the node does not become ready: " + last);
    return false;
  }

  void end_process(bool power) {
    note(power ? 2 : 1);
    if (power) {
      ++report_.power_losses;
      node_.lose_power();
    } else {
      ++report_.crashes;
      node_.crash();
    }
    // Whatever was asked is unanswered for good.
    for (Client& client : clients_) {
      client.busy = false;
      client.ready_ns = now_ns_ + draw(50) * ms;
    }
    restart_ns_ = now_ns_ + draw(500) * ms;
  }

  void strike() {
    next_fault_ns_ = now_ns_ + fault_delay();
    if (!node_.running() || fault_over_ns_ != none) return;
    std::vector<int> kinds;
    if (options_.crashes) kinds.push_back(0);
    if (options_.power_loss) kinds.push_back(1);
    if (options_.disk_full) kinds.push_back(2);
    if (options_.read_corruption) kinds.push_back(3);
    if (kinds.empty()) return;
    switch (kinds[draw(kinds.size())]) {
      case 0: return end_process(false);
      case 1: return end_process(true);
      case 2:
        ++report_.full_disks;
        node_.disk().set_capacity(node_.disk().used_bytes() + draw(20'000));
        break;
      case 3:
        ++report_.corrupt_periods;
        node_.disk().set_faults({.read_corruption = 0.05});
        break;
    }
    note(3);
    fault_over_ns_ = now_ns_ + (100 + draw(1000)) * ms;
  }

  void end_fault() {
    node_.disk().set_capacity(none);
    node_.disk().set_faults({});
    if (fault_over_ns_ == none) {
      if (!node_.running()) start_node();
      return;
    }
    fault_over_ns_ = none;
    // What was read in a bad moment may be believed until the process ends; an
    // operator restarts a node whose disk was replaced.
    if (node_.running()) end_process(false);
    restart_ns_ = now_ns_;
    start_node();
  }

  // ---- clients -------------------------------------------------------------------

  void drive_clients() {
    if (!node_.running()) return;
    for (uint32_t i = 0; i < clients_.size(); ++i) {
      Client& client = clients_[i];
      if (client.busy || client.ready_ns > now_ns_) continue;
      client.busy = true;
      client.generation = node_.starts();
      uint64_t dice = draw(100);
      if (dice < 45) {
        begin_upsert(i);
      } else if (dice < 60) {
        begin_delete(i);
      } else if (dice < 85) {
        begin_get(i);
      } else {
        begin_search(i);
      }
    }
  }

  // Wraps an answer: ignores those of a process that has died.
  template <class T>
  Api::Done<T> answered(uint32_t index, std::function<void(Result<T>&)> check) {
    uint64_t generation = clients_[index].generation;
    return [this, index, generation, check](Result<T> result) {
      Client& client = clients_[index];
      if (!client.busy || client.generation != generation || node_.starts() != generation) return;
      client.busy = false;
      client.ready_ns = now_ns_ + (1 + draw(20)) * ms;
      check(result);
    };
  }

  // Ids are the clients' own: id % clients is its writer.
  uint64_t pick_id(uint32_t client) {
    return draw(options_.ids_per_client) * options_.clients + client;
  }

  void begin_upsert(uint32_t client) {
    UpsertRequest request;
    request.database = database;
    request.dimension = options_.dimension;
    std::map<uint64_t, uint64_t> written;  // id → version
    uint64_t rows = 1 + draw(12);
    for (uint64_t i = 0; i < rows; ++i) {
      uint64_t id = pick_id(client);
      if (written.count(id) > 0) continue;
      uint64_t version = ++versions_;
      written[id] = version;
      model_.begin(id, {version, true});
      request.ids.emplace_back(id);
      request.metadata.push_back(metadata_of(id, version));
      auto values = vector_of(id, version, options_.dimension);
      request.values.append(reinterpret_cast<const char*>(values.data()), values.size() * 4);
    }
    node_.api().upsert(std::move(request),
                       answered<UpsertReply>(client, [this, written](Result<UpsertReply>& reply) {
                         if (!reply.ok()) return check_write_error(reply.status());
                         ++report_.writes_acknowledged;
                         for (auto [id, version] : written) model_.acknowledge(id, version);
                       }));
  }

  void begin_delete(uint32_t client) {
    DeleteRequest request;
    request.database = database;
    std::map<uint64_t, uint64_t> written;
    for (uint64_t i = 0; i < 1 + draw(4); ++i) {
      uint64_t id = pick_id(client);
      if (written.count(id) > 0) continue;
      written[id] = ++versions_;
      model_.begin(id, {written[id], false});
      request.ids.emplace_back(id);
    }
    node_.api().remove(std::move(request),
                       answered<DeleteReply>(client, [this, written](Result<DeleteReply>& reply) {
                         if (!reply.ok()) return check_write_error(reply.status());
                         ++report_.writes_acknowledged;
                         for (auto [id, version] : written) model_.acknowledge(id, version);
                       }));
  }

  void begin_get(uint32_t client) {
    uint64_t id = pick_id(client);
    node_.api().get({database, VectorId(id)},
                    answered<StoredVector>(client, [this, id](Result<StoredVector>& found) {
                      if (found.ok()) {
                        observe(id, *found);
                      } else if (found.status().code() == Code::not_found) {
                        observe_nothing(id);
                      } else {
                        check_error(found.status());
                      }
                    }));
  }

  // Searches while others write: what comes back must be well formed and allowed.
  void begin_search(uint32_t client) {
    SearchRequest request;
    request.database = database;
    request.vector = vector_of(draw(1000), 1, options_.dimension);
    request.k = static_cast<uint32_t>(1 + draw(20));
    request.exact = draw(2) == 0;
    if (draw(3) == 0) request.consistency = Consistency::strong;
    uint64_t bucket = draw(10);
    bool filtered = draw(2) == 0;
    if (filtered) request.filter = "{\"bucket\":" + std::to_string(bucket) + "}";
    uint32_t k = request.k;
    node_.api().search(
        std::move(request), answered<SearchReply>(client, [this, client, k, filtered,
                                                           bucket](Result<SearchReply>& reply) {
          if (!reply.ok()) return check_error(reply.status());
          ++report_.searches_checked;
          if (reply->results.size() > k) fail("a search gave more than k results");
          for (const SearchHit& hit : reply->results) {
            auto version = version_of(hit.metadata);
            if (!version) return fail("a search gave metadata that nobody wrote: " + hit.metadata);
            uint64_t id = hit.id.integer();
            if (filtered && bucket_of(id, *version) != bucket) {
              fail("a filtered search gave id " + std::to_string(id) + ", which does not match");
            }
            // Its own ids stand still while a client waits.
            if (id % options_.clients == client) observe_version(id, *version);
          }
        }));
  }

  void check_error(const Status& status) {
    switch (status.code()) {
      case Code::unavailable:
      case Code::deadline_exceeded:
      case Code::disk_full:
      case Code::io_error: return;
      case Code::corruption:
        if (node_.disk().flipped_bits() == 0) fail("unprovoked: " + status.to_string());
        return;
      default: fail("an unexpected error: " + status.to_string());
    }
  }

  void check_write_error(const Status& status) {
    ++report_.writes_failed;
    check_error(status);
  }

  static std::optional<uint64_t> version_of(const std::string& metadata) {
    constexpr std::string_view start = "{\"version\":";
    if (metadata.compare(0, start.size(), start) != 0) return std::nullopt;
    return std::strtoull(metadata.c_str() + start.size(), nullptr, 10);
  }

  void observe_version(uint64_t id, uint64_t version) {
    ++report_.reads_checked;
    std::string wrong = model_.observe(id, {version, true});
    if (!wrong.empty()) fail(wrong);
  }

  void observe_nothing(uint64_t id) {
    ++report_.reads_checked;
    std::string wrong = model_.observe(id, {0, false});
    if (!wrong.empty()) fail(wrong);
  }

  void observe(uint64_t id, const StoredVector& found) {
    auto version = version_of(found.metadata);
    if (!version || metadata_of(id, *version) != found.metadata ||
        found.values != vector_of(id, *version, options_.dimension)) {
      return fail("id " + std::to_string(id) + " holds what nobody wrote: " + found.metadata);
    }
    observe_version(id, *version);
  }

  // ---- checkpoints -----------------------------------------------------------------

  // With clients at rest everything can be compared with the model.
  void checkpoint() {
    ++report_.checkpoints;
    if (!node_.running()) start_node();
    if (!ok()) return;
    auto idle = [this] {
      return std::none_of(clients_.begin(), clients_.end(), [](const Client& c) { return c.busy; });
    };
    if (!run_until(idle, 60'000 * ms)) return fail("a request was never answered");
    if (!await_ready()) return;
    compare_contents();
    if (ok()) compare_searches();
    if (ok() && draw(2) == 0) compare_replay();
    // Not a burst of everything that was due meanwhile.
    next_fault_ns_ = std::max(next_fault_ns_, now_ns_ + ms);
  }

  void compare_contents() {
    std::map<uint64_t, StoredVector> listed;
    ListRequest request;
    request.database = database;
    request.limit = 37;
    request.include_values = true;
    for (;;) {
      auto page = ask<ListReply>([&](Api& api, auto done) { api.list(request, done); });
      if (!page.ok()) return fail("listing: " + page.status().to_string());
      for (StoredVector& vector : page->vectors) {
        uint64_t id = vector.id.integer();
        if (!listed.emplace(id, std::move(vector)).second) {
          return fail("id " + std::to_string(id) + " is listed twice");
        }
      }
      if (!page->next) break;
      request.after = page->next;
    }
    uint64_t ids = uint64_t{options_.ids_per_client} * options_.clients;
    for (uint64_t id = 0; id < ids && ok(); ++id) {
      auto found = listed.find(id);
      if (found == listed.end()) {
        observe_nothing(id);
      } else {
        observe(id, found->second);
      }
    }
    auto info =
        ask<DatabaseInfo>([](Api& api, auto done) { api.describe_database(database, done); });
    if (!info.ok()) return fail("describing: " + info.status().to_string());
    if (ok() && info->vectors != model_.live()) {
      fail("the database counts " + std::to_string(info->vectors) + " vectors; there are " +
           std::to_string(model_.live()));
    }
  }

  struct Expected {
    float distance;
    uint64_t id;
  };

  // Brute force, in another way than the engine's: all rows, sorted.
  std::vector<Expected> brute_force(const std::vector<float>& query, int bucket) const {
    std::vector<float> q = query;
    if (metric_ == Metric::cosine) normalise(q.data(), q.size());
    std::vector<Expected> all;
    for (const auto& [id, version] : model_.certain()) {
      if (!version.exists) continue;
      if (bucket >= 0 && bucket_of(id, version.number) != static_cast<uint64_t>(bucket)) continue;
      auto row = vector_of(id, version.number, options_.dimension);
      if (metric_ == Metric::cosine) normalise(row.data(), row.size());
      double sum = 0;
      for (size_t j = 0; j < row.size(); ++j) {
        double difference = static_cast<double>(q[j]) - row[j];
        sum += metric_ == Metric::l2 ? difference * difference : static_cast<double>(q[j]) * row[j];
      }
      if (metric_ != Metric::l2) sum = (metric_ == Metric::cosine ? 1 : 0) - sum;
      all.push_back({static_cast<float>(sum), id});
    }
    std::sort(all.begin(), all.end(), [](const Expected& a, const Expected& b) {
      return a.distance != b.distance ? a.distance < b.distance : a.id < b.id;
    });
    return all;
  }

  void compare_searches() {
    for (int i = 0; i < 6 && ok(); ++i) {
      SearchRequest request;
      request.database = database;
      request.vector = vector_of(draw(1000), 3, options_.dimension);
      request.k = static_cast<uint32_t>(1 + draw(40));
      request.exact = i % 2 == 0;
      int bucket = i % 3 == 0 ? -1 : static_cast<int>(draw(10));
      if (bucket >= 0) request.filter = "{\"bucket\":{\"$eq\":" + std::to_string(bucket) + "}}";
      auto reply = ask<SearchReply>([&](Api& api, auto done) { api.search(request, done); });
      if (!reply.ok()) return fail("searching: " + reply.status().to_string());
      auto expected = brute_force(request.vector, bucket);
      size_t size = std::min<size_t>(expected.size(), request.k);
      if (reply->results.size() != size) {
        return fail("a search for " + std::to_string(request.k) + " gave " +
                    std::to_string(reply->results.size()) + " results; " +
                    std::to_string(expected.size()) + " rows match");
      }
      for (size_t j = 0; request.exact && j < size; ++j) {
        float distance = distance_from_score(metric_, reply->results[j].score);
        if (std::abs(distance - expected[j].distance) > 1e-4f) {
          return fail("result " + std::to_string(j) + " of an exact search is at distance " +
                      std::to_string(distance) + ", brute force says " +
                      std::to_string(expected[j].distance));
        }
      }
      ++report_.searches_checked;
    }
  }

  std::optional<std::vector<uint64_t>> digests() {
    auto info =
        ask<DatabaseInfo>([](Api& api, auto done) { api.describe_database(database, done); });
    if (!info.ok()) {
      fail("describing: " + info.status().to_string());
      return std::nullopt;
    }
    std::vector<uint64_t> out;
    for (const ShardInfo& shard : info->placement) {
      auto digest = ask<ShardDigest>([&](Api&, auto done) { ask_digest(shard.shard, done); });
      if (!digest.ok()) {
        fail("digest: " + digest.status().to_string());
        return std::nullopt;
      }
      out.push_back(digest->digest);
    }
    return out;
  }

  void ask_digest(uint64_t group, Api::Done<ShardDigest> done) {
    node_.runtime().digest(group, std::move(done));
  }

  // A restart, and the log replayed on what was on disk, change nothing.
  void compare_replay() {
    auto before = digests();
    if (!before) return;
    end_process(draw(2) == 0);
    restart_ns_ = now_ns_;
    start_node();
    if (!ok() || !await_ready()) return;
    auto after = digests();
    if (after && *before != *after) fail("the contents differ after a restart without writes");
  }

  SimulationOptions options_;
  uint64_t random_;
  uint64_t now_ns_ = 1000 * ms;
  SimNode node_;
  Model model_;
  Metric metric_ = Metric::l2;
  std::vector<Client> clients_;
  uint64_t versions_ = 0;
  uint64_t next_fault_ns_ = none;
  uint64_t fault_over_ns_ = none;
  uint64_t next_checkpoint_ns_ = none;
  uint64_t restart_ns_ = 0;
  uint64_t trace_ = 0;
  SimulationReport report_;
};

}  // namespace

SimulationReport simulate(const SimulationOptions& options) { return Simulation(options).run(); }

}  // namespace jade::sim
