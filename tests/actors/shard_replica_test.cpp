#include "actors/shard_replica.h"

#include <doctest/doctest.h>
#include <leveldb/env.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <random>

#include "index/worker_pool.h"
#include "tests/storage/fault_env.h"

namespace jade {
namespace {

// A shard of a database that is sharded by vector, of dimension 1.
struct Cell {
  std::string dir = (std::filesystem::temp_directory_path() / "jade-replica-XXXXXX").string();
  std::unique_ptr<ShardReplica> replica;
  uint64_t index = 0;

  Cell() {
    REQUIRE(mkdtemp(dir.data()) != nullptr);
    std::filesystem::create_directory(dir + "/shards");
    open();
  }
  ~Cell() {
    replica.reset();
    std::filesystem::remove_all(dir);
  }
  void open() {
    replica.reset();
    ShardReplica::Options options;
    options.env = leveldb::Env::Default();
    options.dir = dir + "/shards/2";
    options.group = 2;
    options.format = RecordFormat(RowFormat(Metric::l2, 1, Datatype::float32));
    options.by_vector = true;
    auto opened = ShardReplica::open(options, [](std::string_view) {});
    REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
    replica = std::move(*opened);
  }
  template <class Command>
  Code apply(const Command& command) {
    Status status = replica->apply(++index, 1, encode(command));
    REQUIRE_MESSAGE(status.ok(), status.to_string());
    return replica->last_outcome().code();
  }
  Code take(uint64_t term, uint64_t sequence, const std::string& id, uint64_t version,
            const std::string& values = "1234", uint64_t home = 3) {
    ForwardCommand command;
    command.home = home;
    command.term = term;
    command.sequence = sequence;
    command.dimension = 1;
    command.take = {{id, values, "", 2, version}};
    return apply(command);
  }
  Code give_up(uint64_t term, uint64_t sequence, const std::string& id, uint64_t before) {
    ForwardCommand command;
    command.home = 3;
    command.term = term;
    command.sequence = sequence;
    command.give_up = {{id, before}};
    command.after = {{5, before}};
    return apply(command);
  }
  // The version of a row; 0: it is not there.
  uint64_t version_of(const std::string& id) {
    auto place = replica->store().find_place(id);
    REQUIRE(place.ok());
    return place->has_value() ? (*place)->version : 0;
  }
  uint64_t rows() const { return replica->describe().vectors; }
};

// A replica whose vectors are on a disk in memory, and what it must find.
class Disked {
 public:
  static constexpr uint32_t dimension = 24;

  explicit Disked(Metric metric) {
    options_.env = &env;
    options_.dir = "/node/shards/2";
    options_.group = 2;
    options_.format = RecordFormat(RowFormat(metric, dimension, Datatype::float32));
    options_.index.quantization = Quantization::rabitq;
    options_.index.vectors = VectorPlace::disk;
    options_.workers = workers;
    open();
  }

  void open() {
    replica.reset();
    warnings.clear();
    auto opened = ShardReplica::open(options_, [this](std::string_view text) { warnings += text; });
    REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
    replica = std::move(*opened);
    index_ = replica->applied_index();
  }
  void upsert(uint64_t first, uint64_t end) {
    UpsertCommand command{dimension, {}, "", {}};
    std::normal_distribution<float> normal;
    for (uint64_t id = first; id < end; ++id) {
      std::vector<float> values(dimension);
      for (float& value : values) value = normal(random_);
      command.ids.push_back(VectorId(id).key());
      command.values.append(reinterpret_cast<const char*>(values.data()), dimension * 4);
      command.metadata.push_back("");
      if (metric() == Metric::cosine) normalise(values.data(), dimension);
      rows_[VectorId(id).key()] = values;
    }
    apply(encode(command));
  }
  void erase(uint64_t id) {
    apply(encode(DeleteCommand{{VectorId(id).key()}, {}, false}));
    rows_.erase(VectorId(id).key());
  }
  // Seals and merges until nothing is left to do.
  void maintain() {
    build();
    while (auto command = replica->plan_maintenance(true, ShardReplica::Pause::brief)) {
      apply(*command);
      build();
    }
  }
  // How many were built.
  int build() {
    int count = 0;
    while (auto job = replica->next_build()) {
      Status built = job->run();
      REQUIRE_MESSAGE(built.ok(), built.to_string());
      std::function<Status()> cleanup;
      REQUIRE(replica->finish_build(*job, built, &cleanup).ok());
      if (cleanup) REQUIRE(cleanup().ok());
      ++count;
    }
    return count;
  }
  Result<std::vector<std::vector<Hit>>> search(const std::vector<float>& query, bool exact) {
    SearchOptions how;
    how.exact = exact;
    return search_all(replica->snapshot()->segments[0], metric(), dimension, query, how);
  }
  // Exactly what brute force finds, and nearly that by the graph.
  void check_searches() {
    std::normal_distribution<float> normal;
    Distance distance(metric(), dimension);
    int found = 0;
    for (int q = 0; q < 20; ++q) {
      std::vector<float> query(dimension);
      for (float& value : query) value = normal(random_);
      if (metric() == Metric::cosine) normalise(query.data(), dimension);
      std::vector<std::pair<float, std::string>> all;
      for (const auto& [id, values] : rows_)
        all.emplace_back(distance(query.data(), values.data()), id);
      std::partial_sort(all.begin(), all.begin() + 10, all.end());
      for (bool exact : {true, false}) {
        auto hits = search(query, exact);
        REQUIRE_MESSAGE(hits.ok(), hits.status().to_string());
        REQUIRE(hits->front().size() == 10);
        for (size_t i = 0; i < 10; ++i) {
          if (exact) CHECK(hits->front()[i].distance == doctest::Approx(all[i].first));
          found += !exact && hits->front()[i].distance <= all[9].first + 1e-6f ? 1 : 0;
        }
      }
    }
    CHECK(found > 185);
  }
  Metric metric() const { return options_.format.format(0).metric(); }
  SegmentInfo first_segment() const { return replica->describe().segments.front(); }
  std::string rows_path() const {
    return options_.dir + "/segments/rows/" + std::to_string(first_segment().id);
  }

  // Counts how often it was asked.
  struct CountedPool final : Workers {
    uint32_t count() const override { return pool.count(); }
    void run(size_t n, size_t step, const Work& work) override {
      ++asked;
      pool.run(n, step, work);
    }
    WorkerPool pool{3};
    std::atomic<int> asked = 0;
  };

  FaultEnv env;
  std::shared_ptr<CountedPool> workers = std::make_shared<CountedPool>();
  std::unique_ptr<ShardReplica> replica;
  std::string warnings;

  void apply(const std::string& command) { REQUIRE(replica->apply(++index_, 1, command).ok()); }

 private:
  ShardReplica::Options options_;
  uint64_t index_ = 0;
  std::mt19937 random_{5};
  std::map<std::string, std::vector<float>> rows_;
};

}  // namespace

TEST_CASE("a cell takes rows once, gives older ones up, and heeds nothing that comes late") {
  Cell cell;
  std::string a = VectorId(uint64_t{1}).key(), b = VectorId(uint64_t{2}).key();
  CHECK(cell.take(1, 1, a, 5) == Code::ok);
  CHECK(cell.version_of(a) == 5);
  // Sent again, by the same leader and by the next.
  CHECK(cell.take(1, 1, a, 5) == Code::failed_precondition);
  CHECK(cell.take(2, 1, a, 5) == Code::ok);
  CHECK(cell.rows() == 1);
  CHECK(cell.take(2, 2, a, 4, "old!") == Code::ok);
  CHECK(cell.version_of(a) == 5);
  CHECK(cell.give_up(2, 3, a, 5) == Code::ok);
  CHECK(cell.version_of(a) == 5);
  CHECK(cell.give_up(2, 4, a, 6) == Code::ok);
  CHECK(cell.version_of(a) == 0);
  CHECK(cell.rows() == 0);
  CHECK(cell.replica->snapshot()->after == std::map<uint64_t, uint64_t>{{5, 6}});
  // What a leader of before had sent.
  CHECK(cell.take(1, 9, a, 5) == Code::failed_precondition);
  CHECK(cell.version_of(a) == 0);
  // Each home counts for itself.
  CHECK(cell.take(1, 1, b, 1, "1234", 4) == Code::ok);
  cell.open();
  CHECK(cell.version_of(b) == 1);
  CHECK(cell.rows() == 1);
  CHECK(cell.take(1, 1, b, 2, "1234", 4) == Code::failed_precondition);
  CHECK(cell.replica->snapshot()->after == std::map<uint64_t, uint64_t>{{5, 6}});
}

TEST_CASE("a home follows routers, and takes writes by no older one, but answers repeated ones") {
  Cell cell;
  auto write = [&](uint64_t router, const std::string& request) {
    UpsertCommand command{1, {VectorId(uint64_t{1}).key()}, "1234", {""}, {2}, router};
    REQUIRE(cell.replica->apply(++cell.index, 1, encode(command, {request, 1})).ok());
    return cell.replica->last_outcome().code();
  };
  CHECK(write(0, "a") == Code::ok);
  CHECK(cell.replica->cells().vectors == 1);
  CHECK(cell.apply(RouteCommand{7, RouteStep::announce}) == Code::ok);
  CHECK(write(0, "b") == Code::ok);
  CHECK(cell.apply(RouteCommand{7, RouteStep::follow}) == Code::ok);
  CHECK(write(0, "c") == Code::moved);
  CHECK(write(6, "c") == Code::moved);
  CHECK(write(0, "a") == Code::ok);
  CHECK(cell.replica->last_affected() == 1);
  CHECK(cell.replica->homes()->last_version() == 2);
  CHECK(write(7, "c") == Code::ok);
  cell.open();
  CHECK(cell.replica->cells().announced == 7);
  CHECK(cell.replica->cells().followed == 7);
  CHECK(cell.replica->cells().done == 0);
  CHECK(write(6, "d") == Code::moved);
  CHECK(cell.replica->homes()->changes() == 3);
}

TEST_CASE("a shard that is not sharded by vector takes a forwarded row for damage") {
  Cell cell;
  cell.replica.reset();
  ShardReplica::Options options;
  options.env = leveldb::Env::Default();
  options.dir = cell.dir + "/shards/9";
  options.group = 9;
  options.format = RecordFormat(RowFormat(Metric::cosine, 1, Datatype::float32));
  auto replica = ShardReplica::open(options, [](std::string_view) {});
  REQUIRE(replica.ok());
  CHECK((*replica)->apply(1, 1, encode(ForwardedCommand{3})).code() == Code::corruption);
}

TEST_CASE("a command of another node is carried out, or refused before it is in the log") {
  for (bool by_vector : {false, true}) {
    CAPTURE(by_vector);
    Cell cell;
    ShardReplica::Options options;
    options.env = leveldb::Env::Default();
    options.dir = cell.dir + "/shards/9";
    options.group = 9;
    options.format = RecordFormat(RowFormat(Metric::l2, 1, Datatype::float32));
    options.by_vector = by_vector;
    auto opened = ShardReplica::open(options, [](std::string_view) {});
    REQUIRE(opened.ok());
    ShardReplica& replica = **opened;
    UpsertCommand upsert{
        1, {VectorId(uint64_t{1}).key(), VectorId("b").key()}, "12345678", {"", ""}};
    upsert.cells = by_vector ? std::vector<uint64_t>{9, 9} : std::vector<uint64_t>();
    UpdateCommand update;
    update.dimension = 1;
    update.metadata_bytes_max = 1000;
    update.rows = {{VectorId(uint64_t{1}).key(), R"({"a":1})", "1234", 0, 0, 9}};
    ForwardCommand forward;
    forward.home = 3;
    forward.dimension = 1;
    forward.term = forward.sequence = 1;
    forward.take = {{"a", "1234", "", 2, 1}};
    std::vector<std::string> commands = {encode(upsert, {"request", 7}), encode(update),
                                         encode(DeleteCommand{{"a", "b"}, {}, false}),
                                         encode(DeleteCommand{{"a"}, {3}, true})};
    if (by_vector) commands.push_back(encode(forward));
    uint64_t index = 0;
    for (const std::string& command : commands) {
      REQUIRE(replica.check_asked(command).to_string() == "ok");
      REQUIRE(replica.apply(++index, 1, command).to_string() == "ok");
    }
    for (const std::string& command :
         {encode(SealCommand{1}), encode(PlacedCommand{3}), encode(SplitCommand{4, 5}),
          encode(SplitEndCommand{4}), encode(ForwardedCommand{1}), encode(RouteCommand{}),
          encode(UpsertCommand{2, {"a"}, "12345678", {""}}), std::string(), std::string("x")}) {
      CHECK(replica.check_asked(command).code() == Code::invalid_argument);
    }
    if (!by_vector) CHECK(!replica.check_asked(encode(forward)).ok());
    std::mt19937_64 random(3);
    int taken = 0;
    for (int i = 0; i < 20'000; ++i) {
      std::string damaged = commands[random() % commands.size()];
      for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
        damaged[random() % damaged.size()] = static_cast<char>(random() % 4 == 0 ? random() : 0);
      }
      if (random() % 8 == 0) damaged.resize(random() % damaged.size());
      if (!replica.check_asked(damaged).ok()) continue;
      ++taken;
      REQUIRE(replica.apply(++index, 1, damaged).to_string() == "ok");
    }
    CHECK(taken > 100);
    CHECK(taken < 19'900);
  }
}

TEST_CASE("vectors on disk are searched, merged, and opened again") {
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    CAPTURE(to_string(metric));
    Disked shard(metric);
    shard.upsert(0, 3000);
    shard.check_searches();
    shard.maintain();
    CHECK(shard.workers->asked > 0);
    CHECK(shard.first_segment().state == "indexed");
    CHECK(shard.first_segment().quantization == Quantization::rabitq);
    CHECK(shard.first_segment().vectors == VectorPlace::disk);
    CHECK(shard.env.FileExists(shard.rows_path()));
    shard.check_searches();
    // What was searched goes on being so while it is merged away.
    auto before = shard.replica->snapshot();
    std::vector<float> query(Disked::dimension, 0.3f);
    auto found =
        *search_all(before->segments[0], metric, Disked::dimension, query, {.exact = true});
    std::string path = shard.rows_path();
    shard.upsert(2500, 4500);
    for (uint64_t id = 0; id < 300; ++id) shard.erase(id);
    shard.check_searches();
    shard.maintain();
    CHECK(!shard.env.FileExists(path));
    CHECK(shard.env.FileExists(shard.rows_path()));
    CHECK(*search_all(before->segments[0], metric, Disked::dimension, query, {.exact = true}) ==
          found);
    before.reset();
    shard.check_searches();
    shard.open();
    CHECK(shard.warnings.empty());
    CHECK(shard.build() == 0);
    CHECK(shard.first_segment().vectors == VectorPlace::disk);
    shard.check_searches();
  }
}

TEST_CASE("segments are built anew as their database is to be indexed, and serve meanwhile") {
  for (Metric metric : {Metric::l2, Metric::cosine, Metric::dot}) {
    CAPTURE(to_string(metric));
    Disked shard(metric);
    shard.upsert(0, 3000);
    shard.maintain();
    shard.upsert(3000, 3200);
    IndexOptions index = shard.replica->snapshot()->index;
    uint64_t id = shard.first_segment().id;
    auto becomes = [&](IndexKind kind, VectorPlace place, int builds) {
      CAPTURE(to_string(index.kind));
      shard.replica->set_index(index);
      ShardInfo info = shard.replica->describe();
      CHECK((info.indexed_vectors < info.vectors) == (builds > 0));
      shard.check_searches();  // by the old ones
      CHECK(shard.build() == builds);
      CHECK(shard.first_segment().kind == kind);
      CHECK(shard.first_segment().vectors == place);
      CHECK(shard.env.FileExists(shard.rows_path()) == (place == VectorPlace::disk));
      CHECK(shard.first_segment().id == id);
      shard.check_searches();
      CHECK(shard.build() == 0);
    };
    // Effort alone is for searches.
    index.ef_search = 500;
    becomes(IndexKind::hnsw, VectorPlace::disk, 0);
    index.quantization = Quantization::sq8;
    becomes(IndexKind::hnsw, VectorPlace::disk, 1);
    CHECK(shard.first_segment().quantization == Quantization::sq8);
    index.vectors = VectorPlace::memory;
    becomes(IndexKind::hnsw, VectorPlace::memory, 1);
    index.kind = IndexKind::ivf;
    index.nprobe = 200;
    becomes(IndexKind::ivf, VectorPlace::memory, 1);
    index.kind = IndexKind::automatic;  // as they are few
    becomes(IndexKind::flat, VectorPlace::memory, 1);
    index.kind = IndexKind::hnsw;
    index.vectors = VectorPlace::disk;
    index.m = 24;
    becomes(IndexKind::hnsw, VectorPlace::disk, 1);
    // What is opened as it was built before is built anew as well.
    shard.open();
    CHECK(shard.warnings.empty());
    shard.check_searches();
    CHECK(shard.build() == 1);  // its options say rabitq, and m 16
    CHECK(shard.first_segment().quantization == Quantization::rabitq);
    shard.check_searches();
  }
}

TEST_CASE(
    "a segment whose index is to be another is merged as any, and a build that ends late counts") {
  Disked shard(Metric::l2);
  shard.upsert(0, 2000);
  shard.maintain();
  IndexOptions index = shard.replica->snapshot()->index;
  index.kind = IndexKind::ivf;
  index.vectors = VectorPlace::memory;
  index.nprobe = 200;
  // A build that began before the change ends after it.
  for (uint64_t id = 0; id < 900; ++id) shard.erase(id);
  auto merge = shard.replica->plan_maintenance(true, ShardReplica::Pause::brief);
  REQUIRE(merge);
  shard.apply(*merge);
  auto job = shard.replica->next_build();
  REQUIRE(job);
  shard.replica->set_index(index);
  REQUIRE(job->run().ok());
  std::function<Status()> cleanup;
  REQUIRE(shard.replica->finish_build(*job, Status(), &cleanup).ok());
  if (cleanup) REQUIRE(cleanup().ok());
  CHECK(shard.first_segment().kind == IndexKind::hnsw);
  shard.check_searches();
  CHECK(shard.build() == 1);
  CHECK(shard.first_segment().kind == IndexKind::ivf);
  shard.check_searches();
}

TEST_CASE(
    "dead rows go with the segment at once where they are many, else once writes have stopped") {
  using Pause = ShardReplica::Pause;
  Disked shard(Metric::l2);
  shard.upsert(0, 2000);
  shard.maintain();
  auto rows = [&] { return shard.first_segment().rows; };
  REQUIRE(rows() == 2000);
  for (uint64_t id = 0; id < 100; ++id) shard.erase(id);
  CHECK_FALSE(shard.replica->plan_maintenance(true, Pause::lasting));
  shard.erase(100);
  CHECK_FALSE(shard.replica->plan_maintenance(true, Pause::brief));
  auto due = shard.replica->plan_maintenance(true, Pause::lasting);
  REQUIRE(due);
  shard.apply(*due);
  CHECK(shard.build() == 1);
  CHECK(rows() == 1899);
  CHECK_FALSE(shard.replica->plan_maintenance(true, Pause::lasting));
  for (uint64_t id = 101; id < 735; ++id) shard.erase(id);
  CHECK(shard.replica->plan_maintenance(true, Pause::none));
  shard.maintain();
  CHECK(rows() == 1265);
  shard.check_searches();
}

TEST_CASE("damaged vectors on disk are never answered with, and built again from the records") {
  Disked shard(Metric::l2);
  shard.upsert(0, 3000);
  shard.maintain();
  const std::vector<float> query(Disked::dimension, 0.1f);
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    std::string path = shard.rows_path();
    shard.replica.reset();
    shard.env.flip(path, 1234 * (Disked::dimension + 1) * 4 + 17);
    shard.open();
    CHECK(shard.warnings.empty());
    if (round == 0) {
      auto failed = shard.search(query, true);
      REQUIRE(!failed.ok());
      CHECK(failed.status().code() == Code::corruption);
      CHECK(shard.build() == 1);
    } else {
      // A merge meets it first.
      if (round == 2) shard.erase(5);
      shard.upsert(3000, 6000 + static_cast<uint64_t>(round) * 1000);
      shard.maintain();
    }
    CHECK(shard.first_segment().vectors == VectorPlace::disk);
    shard.check_searches();
    shard.open();
    CHECK(shard.build() == 0);
    shard.check_searches();
  }
  std::string path = shard.rows_path();
  shard.replica.reset();
  REQUIRE(shard.env.RemoveFile(path).ok());
  shard.open();
  CHECK(shard.warnings.find("will be rebuilt from its records") != std::string::npos);
  shard.check_searches();
  CHECK(shard.build() == 1);
  CHECK(shard.env.FileExists(path));
  shard.check_searches();
}

TEST_CASE("a damaged store of segments is made anew from the records") {
  Disked shard(Metric::l2);
  shard.upsert(0, 3000);
  shard.maintain();
  for (const std::string kind : {"CURRENT", "MANIFEST"}) {
    CAPTURE(kind);
    const std::string rows = shard.rows_path();
    shard.replica.reset();
    shard.env.flip(shard.env.only(rows.substr(0, rows.find("/rows/")), kind), 15);
    shard.open();
    CHECK(shard.warnings.find("are damaged and will be built from its records") !=
          std::string::npos);
    shard.check_searches();
    CHECK(shard.build() == 1);
    shard.open();
    CHECK(shard.warnings.empty());
    shard.check_searches();
  }
}

TEST_CASE("replicas take the same seals and merges, however late they build or were opened") {
  struct Replica {
    FaultEnv env;
    std::unique_ptr<ShardReplica> state;

    void open() {
      state.reset();
      ShardReplica::Options options;
      options.env = &env;
      options.dir = "/node/shards/2";
      options.group = 2;
      options.format = RecordFormat(RowFormat(Metric::l2, 1, Datatype::float32));
      options.seal_rows_min = 10;
      auto opened = ShardReplica::open(options, [](std::string_view) {});
      REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
      state = std::move(*opened);
    }
    void build() {
      while (auto job = state->next_build()) {
        std::function<Status()> cleanup;
        REQUIRE(job->run().ok());
        REQUIRE(state->finish_build(*job, Status(), &cleanup).ok());
        if (cleanup) REQUIRE(cleanup().ok());
      }
    }
    // What the log has decided, a line for each segment.
    std::string decided() const {
      std::string out;
      for (const SegmentMeta& segment : state->decided_segments()) {
        out += std::to_string(segment.id) + ' ' + std::to_string(segment.begin_row) + " to " +
               std::to_string(segment.end_row) + '\n';
      }
      return out;
    }
    // A line for each segment, with its live rows.
    std::string segments() const {
      std::string out;
      for (const SegmentInfo& segment : state->describe().segments) {
        out += std::to_string(segment.id) + ' ' + std::to_string(segment.rows - segment.dead_rows) +
               '\n';
      }
      return out;
    }
  };
  Replica leader, late;
  leader.open();
  late.open();
  uint64_t index = 0;
  auto apply = [&](const std::string& command) {
    ++index;
    for (Replica* replica : {&leader, &late}) {
      REQUIRE(replica->state->apply(index, 1, command).ok());
    }
  };
  auto upsert = [&](uint64_t first, uint64_t end) {
    UpsertCommand command;
    command.dimension = 1;
    for (uint64_t id = first; id < end; ++id) {
      command.ids.push_back(VectorId(id).key());
      command.values += std::string(4, '\0');
      command.metadata.push_back("");
    }
    apply(encode(command));
  };
  auto maintain = [&] {
    leader.build();
    while (auto due = leader.state->plan_maintenance(true, ShardReplica::Pause::brief)) {
      apply(*due);
      leader.build();
    }
  };
  // All of the first rows die, and only one of the replicas knows that there were any.
  upsert(0, 20);
  DeleteCommand erase;
  for (uint64_t id = 0; id < 20; ++id) erase.ids.push_back(VectorId(id).key());
  apply(encode(erase));
  late.open();
  for (uint64_t round = 0; round < 6; ++round) {
    maintain();
    CHECK(leader.decided() == late.decided());
    upsert(100 * round, 100 * round + 15);
  }
  maintain();
  // Nothing has been built there yet.
  CHECK(leader.decided() == late.decided());
  CHECK(leader.segments() != late.segments());
  late.build();
  CHECK(leader.segments() == late.segments());
  CHECK(leader.decided() == late.decided());
  late.open();
  CHECK(leader.segments() == late.segments());
}

TEST_CASE("a view is at the entry that the state is at, also when that changed nothing") {
  std::string dir = (std::filesystem::temp_directory_path() / "jade-replica-XXXXXX").string();
  REQUIRE(mkdtemp(dir.data()) != nullptr);
  ShardReplica::Options options;
  options.env = leveldb::Env::Default();
  options.dir = dir + "/shards/2";
  std::filesystem::create_directory(dir + "/shards");
  options.group = 2;
  options.format = RecordFormat(RowFormat(Metric::l2, 1, Datatype::float32));
  {
    auto replica = ShardReplica::open(options, [](std::string_view) {});
    REQUIRE_MESSAGE(replica.ok(), replica.status().to_string());
    UpsertCommand command{1, {VectorId(uint64_t{1}).key()}, std::string(4, '\0'), {""}};
    REQUIRE((*replica)->apply(1, 1, encode(command)).ok());
    CHECK((*replica)->snapshot()->applied_index == 1);
    REQUIRE((*replica)->pass(5, 1).ok());
    auto view = (*replica)->snapshot();
    CHECK(view->applied_index == 5);
    auto piece = view->store->export_piece("", view->records, 1u << 20);
    REQUIRE(piece.ok());
    auto copy = ShardStore::open(options.env, dir + "/copy", nullptr);
    REQUIRE(copy.ok());
    REQUIRE((*copy)->import_piece(piece->bytes).ok());
    auto state = (*copy)->state();
    REQUIRE(state.ok());
    CHECK((*state)->applied_index == 5);
  }
  std::filesystem::remove_all(dir);
}

}  // namespace jade
