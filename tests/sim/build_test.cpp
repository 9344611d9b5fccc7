// How a shard goes on when its indexes cannot be built.
#include <doctest/doctest.h>

#include <map>
#include <optional>

#include "actors/node.h"
#include "sim/disk.h"
#include "sim/system.h"

namespace jade::sim {
namespace {

constexpr uint64_t ms = 1'000'000;

// A disk whose segment stores cannot be written when told so.
class SegmentFaults final : public leveldb::EnvWrapper {
 public:
  explicit SegmentFaults(leveldb::Env* disk) : leveldb::EnvWrapper(disk) {}

  bool fail = false;
  std::function<void()> on_failure;

  leveldb::Status NewWritableFile(const std::string& path, leveldb::WritableFile** out) override {
    leveldb::Status status = target()->NewWritableFile(path, out);
    bool log = path.find("/segments/") != std::string::npos && path.ends_with(".log");
    if (status.ok() && log) *out = new Log(*this, *out);
    return status;
  }

 private:
  class Log final : public leveldb::WritableFile {
   public:
    Log(SegmentFaults& faults, leveldb::WritableFile* target) : faults_(faults), target_(target) {}
    leveldb::Status Append(const leveldb::Slice& data) override {
      if (!faults_.fail) return target_->Append(data);
      faults_.on_failure();
      return leveldb::Status::IOError("append", "No space left on device");
    }
    leveldb::Status Close() override { return target_->Close(); }
    leveldb::Status Flush() override { return target_->Flush(); }
    leveldb::Status Sync() override { return target_->Sync(); }

   private:
    SegmentFaults& faults_;
    std::unique_ptr<leveldb::WritableFile> target_;
  };
};

struct BuildingNode {
  uint64_t now_ns = 1000 * ms;
  SimDisk disk{1, [this] { return now_ns / 1000; }};
  SegmentFaults env{&disk};
  std::map<uint64_t, std::string> warnings;  // by time in ms
  std::vector<uint64_t> failures;            // times in ms of writes that failed, each once
  uint64_t build_ms = 0;                     // that what the builder does next takes
  SimSystem system{now_ns};
  std::unique_ptr<NodeRuntime> runtime;
  uint64_t next_id = 0;

  BuildingNode() {
    env.on_failure = [this] {
      if (failures.empty() || failures.back() != now_ns / ms) failures.push_back(now_ns / ms);
    };
    NodeSeams seams;
    seams.env = &env;
    seams.seed = 1;
    seams.detach_blocking = false;
    seams.build_ms = [this] { return build_ms; };
    seams.log = [this](LogLevel level, std::string_view, std::string_view message) {
      if (level != LogLevel::warning) return;
      if (message.find("torn end") != std::string_view::npos) return;
      warnings[now_ns / ms] += message;
    };
    NodeConfig config;
    config.data_dir = "/data";
    config.seal_rows_min = 20;
    auto started = NodeRuntime::start(system.system(), std::move(seams), config);
    REQUIRE_MESSAGE(started.ok(), started.status().to_string());
    runtime = std::move(*started);
    REQUIRE(run_until(
        [&] { return ask<std::string>([](Api& api, auto done) { api.ready(done); }).ok(); }));
    create("d");
  }
  ~BuildingNode() {
    runtime->kill();
    while (system.runnable() > 0) system.run(0);
    runtime.reset();
    while (system.runnable() > 0) system.run(0);
    disk.drain();
  }

  void create(const std::string& name) {
    DatabaseSpec spec;
    spec.name = name;
    spec.dimension = 2;
    spec.metric = Metric::l2;
    auto created = ask<DatabaseInfo>([&](Api& api, auto done) { api.create_database(spec, done); });
    REQUIRE_MESSAGE(created.ok(), created.status().to_string());
  }

  // Until `done`, for no longer than ten minutes of virtual time.
  bool run_until(const std::function<bool()>& done, uint64_t limit_ms = 600'000) {
    uint64_t stop_ns = now_ns + limit_ms * ms;
    while (!done()) {
      if (system.runnable() > 0) {
        system.run(0);
      } else if (!system.run_broker()) {
        if (now_ns >= stop_ns) return false;
        now_ns = std::max(system.next_timeout_ns().value_or(stop_ns), now_ns + 1);
        system.advance_to(now_ns);
      }
      disk.drain();
    }
    return true;
  }

  template <class T>
  Result<T> ask(const std::function<void(Api&, Api::Done<T>)>& call) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    call(runtime->api(), [answer](Result<T> result) { answer->emplace(std::move(result)); });
    REQUIRE(run_until([&] { return answer->has_value(); }));
    return std::move(**answer);
  }

  // So many that they are worth an index.
  void upsert(const std::string& database = "d") {
    UpsertRequest request;
    request.database = database;
    request.dimension = 2;
    for (int i = 0; i < 30; ++i) {
      request.ids.emplace_back(next_id);
      float values[2] = {static_cast<float>(next_id++), 1};
      request.values.append(reinterpret_cast<const char*>(values), sizeof values);
    }
    auto written =
        ask<UpsertReply>([&](Api& api, auto done) { api.upsert(std::move(request), done); });
    REQUIRE_MESSAGE(written.ok(), written.status().to_string());
  }

  bool indexed() {
    auto info = ask<DatabaseInfo>([](Api& api, auto done) { api.describe_database("d", done); });
    return info.ok() && info->indexed_vectors == next_id;
  }
};

}  // namespace

TEST_CASE("an index that cannot be built is tried again after pauses that double, to a minute") {
  BuildingNode node;
  node.env.fail = true;
  node.upsert();
  REQUIRE(node.run_until([&] { return node.failures.size() == 9; }));
  constexpr uint64_t tick = 100;
  uint64_t pauses[] = {1, 2, 4, 8, 16, 32, 60, 60};
  for (size_t i = 0; i < std::size(pauses); ++i) {
    CAPTURE(i);
    uint64_t pause = node.failures[i + 1] - node.failures[i];
    CHECK(pause >= pauses[i] * 1000);
    CHECK(pause <= pauses[i] * 1000 + tick);
    // Said each time, with when it goes on.
    std::string warning = node.warnings[node.failures[i]];
    CAPTURE(warning);
    CHECK(warning.find("trying again in " + std::to_string(pauses[i]) + " s: disk_full") !=
          std::string::npos);
  }
  CHECK(node.warnings.size() <= 9);

  // Writes and searches know nothing of it.
  node.upsert();
  CHECK(!node.indexed());
  node.env.fail = false;
  REQUIRE(node.run_until([&] { return node.indexed(); }));
  CHECK(node.now_ns / ms - node.failures.back() <= 60'000 + 2 * tick);

  // A success starts the pauses anew.
  node.failures.clear();
  node.env.fail = true;
  node.upsert();
  REQUIRE(node.run_until([&] { return node.failures.size() == 3; }));
  CHECK(node.failures[1] - node.failures[0] <= 1000 + tick);
  CHECK(node.failures[2] - node.failures[1] <= 2000 + tick);
}

// The builder has the next shard's build in its queue, with what that has open.
TEST_CASE("a shard that is dropped leaves the disk though the builder builds another") {
  BuildingNode node;
  node.build_ms = 300'000;
  node.upsert();
  node.create("e");
  node.upsert("e");
  auto shards = [&] {
    std::vector<std::string> names;
    node.disk.GetChildren("/data/shards", &names);
    return names.size();
  };
  const size_t before = shards();
  auto dropped = node.ask<DatabaseInfo>([](Api& api, auto done) { api.drop_database("e", done); });
  REQUIRE_MESSAGE(dropped.ok(), dropped.status().to_string());
  CHECK(node.run_until([&] { return shards() == before - 1; }, 5000));
}

}  // namespace jade::sim
