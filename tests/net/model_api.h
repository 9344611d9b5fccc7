// A small database by brute force, to hold the server and its codecs against.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>

#include "actors/api.h"

namespace jade::test {

// Answers on a thread of its own, as a node does, or at once on the caller's.
class ModelApi : public Api {
 public:
  explicit ModelApi(bool threaded = true) {
    if (threaded) thread_ = std::thread([this] { run(); });
  }
  ~ModelApi() override {
    {
      std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  // While held, no call is answered.
  void hold(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  // Blocks until n calls wait for their answer.
  void wait_for_calls(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return tasks_.size() >= n; });
  }
  // Forgets the waiting calls without an answer.
  void drop_calls() {
    std::deque<std::function<void()>> dropped;
    std::lock_guard lock(mutex_);
    dropped.swap(tasks_);
  }

  void create_database(DatabaseSpec spec, Done<DatabaseInfo> done) override {
    answer<DatabaseInfo>(done, [this, spec]() -> Result<DatabaseInfo> {
      JADE_RETURN_IF_ERROR(spec.index.validate());
      if (databases_.count(spec.name)) {
        return Status(Code::already_exists, "database " + spec.name + " exists");
      }
      databases_[spec.name].spec = spec;
      return info(databases_[spec.name]);
    });
  }
  void list_databases(Done<std::vector<DatabaseInfo>> done) override {
    answer<std::vector<DatabaseInfo>>(
        done, [this]() -> Result<std::vector<DatabaseInfo>> { return infos(); });
  }
  void describe_database(std::string name, Done<DatabaseInfo> done) override {
    with<DatabaseInfo>(name, done, [this](Database& db) { return info(db); });
  }
  void drop_database(std::string name, Done<DatabaseInfo> done) override {
    with<DatabaseInfo>(name, done, [this, name](Database& db) {
      auto last = info(db);
      databases_.erase(name);
      return last;
    });
  }
  void alter_database(AlterDatabaseRequest r, Done<DatabaseInfo> done) override {
    with<DatabaseInfo>(r.name, done, [this, r](Database& db) {
      db.spec.replicas = r.replicas.value_or(db.spec.replicas);
      if (r.index) db.spec.index = r.index->applied_to(db.spec.index);
      return info(db);
    });
  }
  void split_shard(SplitShardRequest r, Done<DatabaseInfo> done) override {
    with<DatabaseInfo>(r.database, done, [this](Database& db) {
      ++db.spec.shards;
      return info(db);
    });
  }
  void recall(RecallRequest r, Done<RecallReply> done) override {
    with<RecallReply>(r.database, done, [r](Database& db) {
      return RecallReply{0.5, std::min<uint64_t>(r.sample, db.rows.size())};
    });
  }
  void upsert(UpsertRequest r, Done<UpsertReply> done) override {
    with<UpsertReply>(r.database, done, [r](Database& db) -> Result<UpsertReply> {
      if (r.dimension != db.spec.dimension) {
        return invalid_argument("the vectors have " + std::to_string(r.dimension) +
                                " values; the database has " + std::to_string(db.spec.dimension));
      }
      std::map<VectorId, Row> rows;
      for (size_t i = 0; i < r.ids.size(); ++i) {
        Row row;
        row.values.resize(r.dimension);
        std::memcpy(row.values.data(), r.values.data() + i * r.dimension * 4, r.dimension * 4);
        if (!r.metadata.empty()) row.metadata = r.metadata[i];
        rows[r.ids[i]] = row;
      }
      UpsertReply reply{rows.size(), "t1"};
      for (auto& [id, row] : rows) db.rows[id] = row;
      return reply;
    });
  }
  // Of one vector without a name, and of metadata: replaced, not merged.
  void update(UpdateRequest r, Done<UpdateReply> done) override {
    with<UpdateReply>(r.database, done, [r](Database& db) -> Result<UpdateReply> {
      UpdateReply reply{0, {}, {}, "t3"};
      for (const VectorUpdate& update : r.vectors) {
        if (!update.values.empty() && update.values.size() != db.spec.dimension) {
          return invalid_argument(r.named_by_client ? "values is wrong" : "vectors[0] is wrong");
        }
        auto found = db.rows.find(update.id);
        if (found == db.rows.end()) {
          reply.missing.push_back(update.id);
          continue;
        }
        ++reply.updated;
        if (!update.values.empty()) found->second.values = update.values;
        if (!update.metadata.empty()) found->second.metadata = update.metadata;
      }
      return reply;
    });
  }
  void remove(DeleteRequest r, Done<DeleteReply> done) override {
    with<DeleteReply>(r.database, done, [r](Database& db) -> Result<DeleteReply> {
      uint64_t n = 0;
      for (const auto& id : r.ids) n += db.rows.erase(id);
      if (!r.filter.empty()) {
        n = db.rows.size();
        db.rows.clear();
      }
      return DeleteReply{n, "t2"};
    });
  }
  void get(GetRequest r, Done<StoredVector> done) override {
    with<StoredVector>(r.database, done, [r](Database& db) -> Result<StoredVector> {
      auto found = db.rows.find(r.id);
      if (found == db.rows.end()) return not_found("no vector " + r.id.to_string());
      return StoredVector{r.id, found->second.values, found->second.metadata};
    });
  }
  void list(ListRequest r, Done<ListReply> done) override {
    with<ListReply>(r.database, done, [r](Database& db) -> Result<ListReply> {
      ListReply reply;
      auto it = r.after ? db.rows.upper_bound(*r.after) : db.rows.begin();
      for (; it != db.rows.end() && reply.vectors.size() < r.limit; ++it) {
        reply.vectors.push_back({it->first, it->second.values, it->second.metadata});
      }
      if (it != db.rows.end()) reply.next = reply.vectors.back().id;
      return reply;
    });
  }
  void search(SearchRequest r, Done<SearchReply> done) override {
    with<SearchReply>(r.database, done, [r](Database& db) { return nearest(db, r); });
  }
  void search_batch(SearchBatchRequest r, Done<SearchBatchReply> done) override {
    with<SearchBatchReply>(r.database, done, [r](Database& db) -> Result<SearchBatchReply> {
      SearchBatchReply reply;
      for (const auto& one : r.searches) {
        auto found = nearest(db, one);
        if (!found) return found.status();
        reply.results.push_back(*found);
      }
      return reply;
    });
  }
  void cluster(Done<ClusterInfo> done) override {
    answer<ClusterInfo>(done, [this]() -> Result<ClusterInfo> {
      ClusterInfo cluster;
      cluster.cluster_id = "c1";
      cluster.master = 1;
      cluster.catalog_version = 7;
      NodeInfo node;
      node.id = 1;
      node.name = "n1";
      node.address = "127.0.0.1:1";
      node.roles = {"master", "worker"};
      node.state = "active";
      cluster.nodes = {node};
      cluster.databases = infos();
      return cluster;
    });
  }
  void change_node(ChangeNodeRequest r, Done<NodeInfo> done) override {
    answer<NodeInfo>(done, [r]() -> Result<NodeInfo> {
      if (r.node != "node-1") return not_found("no node " + r.node);
      NodeInfo node;
      node.name = r.node;
      node.state = r.change == NodeChange::drain ? "draining" : "active";
      return node;
    });
  }
  void ready(Done<std::string> done) override {
    answer<std::string>(done, [this]() -> Result<std::string> {
      if (!is_ready) return unavailable("shard 3 is loading");
      return std::string("all shards serve");
    });
  }

  std::atomic<bool> is_ready{true};

 private:
  struct Row {
    std::vector<float> values;
    std::string metadata;
  };
  struct Database {
    DatabaseSpec spec;
    std::map<VectorId, Row> rows;
  };

  static Result<SearchReply> nearest(const Database& db, const SearchRequest& r) {
    if (r.vector.size() != db.spec.dimension) return invalid_argument("wrong dimension");
    SearchReply reply;
    for (const auto& [id, row] : db.rows) {
      float sum = 0;
      for (size_t i = 0; i < r.vector.size(); ++i) {
        float d = row.values[i] - r.vector[i];
        sum += d * d;
      }
      SearchHit hit{id, std::sqrt(sum), "", {}};
      if (r.include_metadata) hit.metadata = row.metadata;
      if (r.include_values) hit.values = row.values;
      if (!r.score_threshold || hit.score <= *r.score_threshold) reply.results.push_back(hit);
    }
    std::sort(reply.results.begin(), reply.results.end(), [](const auto& a, const auto& b) {
      return std::tie(a.score, a.id) < std::tie(b.score, b.id);
    });
    if (reply.results.size() > r.k) reply.results.resize(r.k);
    return reply;
  }

  DatabaseInfo info(const Database& db) {
    uint64_t n = db.rows.size();
    return {db.spec,
            n,
            n,
            "ready",
            db.spec.sharding == Sharding::vector ? "untrained" : "",
            {{5, 0, {1}, 1, n, n, 9, {{1, "growing", IndexKind::flat, n, 0}}, {}, 0.975}}};
  }
  std::vector<DatabaseInfo> infos() {
    std::vector<DatabaseInfo> all;
    for (auto& [name, db] : databases_) all.push_back(info(db));
    return all;
  }

  template <class T, class F>
  void answer(Done<T> done, F f) {
    post([done, f] { done(f()); });
  }
  template <class T, class F>
  void with(std::string name, Done<T> done, F f) {
    answer<T>(done, [this, name, f]() -> Result<T> {
      auto found = databases_.find(name);
      if (found == databases_.end()) return not_found("no database " + name);
      return f(found->second);
    });
  }

  void post(std::function<void()> task) {
    if (!thread_.joinable()) return task();
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    changed_.notify_all();
  }
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return done_ || (!held_ && !tasks_.empty()); });
      if (done_) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
    }
  }

  std::map<std::string, Database> databases_;  // of the answering thread
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool held_ = false;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace jade::test
