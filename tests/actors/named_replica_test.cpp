// Replicas of shards whose records have several vectors, beside a model.
#include <doctest/doctest.h>
#include <leveldb/env.h>

#include <map>
#include <random>
#include <set>

#include "actors/shard_replica.h"
#include "index/filter.h"
#include "tests/storage/fault_env.h"

namespace jade {
namespace {

RecordFormat three_vectors() {
  return RecordFormat({{"title", RowFormat(Metric::cosine, 6, Datatype::float32)},
                       {"body", RowFormat(Metric::l2, 5, Datatype::uint8)},
                       {"tags", RowFormat(Metric::dot, 3, Datatype::float16)}});
}

// The vectors of one record; none where it lacks one.
using Vectors = std::vector<std::optional<std::vector<float>>>;

double distance_of(Metric metric, const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, aa = 0, bb = 0, squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
    squares += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  }
  if (metric == Metric::l2) return squares;
  return metric == Metric::dot ? -dot : 1 - dot / std::sqrt(aa * bb);
}

class Shard {
 public:
  explicit Shard(IndexOptions index = {}, RecordFormat format = three_vectors()) {
    options_.env = &env;
    options_.dir = "/node/shards/2";
    options_.group = 2;
    options_.format = std::move(format);
    options_.index = index;
    options_.seal_rows_min = 40;
    options_.seal_rows_max = 400;
    open();
  }

  const RecordFormat& format() const { return options_.format; }
  void open() {
    replica.reset();
    warnings.clear();
    auto opened = ShardReplica::open(options_, [this](std::string_view text) { warnings += text; });
    REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
    replica = std::move(*opened);
  }
  void apply(const std::string& command) {
    Status status = replica->apply(++index_, 1, command);
    REQUIRE_MESSAGE(status.ok(), status.to_string());
  }
  // What is due, as `command` says or as this replica does.
  std::optional<std::string> plan(bool quiet = true) const {
    using Pause = ShardReplica::Pause;
    return replica->plan_maintenance(true, quiet ? Pause::brief : Pause::none);
  }
  int build() {
    int count = 0;
    while (auto job = replica->next_build()) {
      Status built = job->run();
      REQUIRE_MESSAGE(built.ok(), built.to_string());
      finish(*job, built);
      ++count;
    }
    return count;
  }
  void finish(const BuildJob& job, const Status& built) {
    std::function<Status()> cleanup;
    REQUIRE(replica->finish_build(job, built, &cleanup).ok());
    if (cleanup) REQUIRE(cleanup().ok());
  }
  // A line for each segment of each vector, with its live rows.
  std::string segments() const {
    std::string out;
    for (const SegmentInfo& segment : replica->describe().segments) {
      out += std::to_string(segment.id) + ' ' + segment.vector + ' ' +
             std::to_string(segment.rows - segment.dead_rows) + '\n';
    }
    return out;
  }

  FaultEnv env;
  std::unique_ptr<ShardReplica> replica;
  std::string warnings;

 private:
  ShardReplica::Options options_;
  uint64_t index_ = 0;
};

// What a shard of this format must hold, and the commands that make it so.
class Model {
 public:
  Model(RecordFormat format, uint32_t seed) : format_(std::move(format)), random_(seed) {}

  std::string upsert(size_t rows, uint64_t ids) {
    UpsertCommand command;
    command.dimension = format_.stored_dimension();
    command.datatype = format_.stored_datatype();
    for (size_t i = 0; i < rows; ++i) {
      uint64_t id = random_() % ids;
      unsigned present = 1 + random_() % ((1u << format_.size()) - 1);
      Vectors vectors(format_.size());
      std::string stored(format_.row_bytes(), '\0');
      for (size_t v = 0; v < vectors.size(); ++v) {
        if ((present >> v & 1) == 0) continue;
        format_.put(stored.data(), v, draw(v).data());
        vectors[v] = format_.load(stored, v);
      }
      command.ids.push_back(VectorId(id).key());
      command.values += stored;
      command.metadata.push_back("{\"n\":" + std::to_string(id % 3) + "}");
      rows_[command.ids.back()] = {std::move(vectors), id % 3};
    }
    return encode(command);
  }
  std::string erase(size_t count, uint64_t ids) {
    DeleteCommand command;
    for (size_t i = 0; i < count; ++i) {
      command.ids.push_back(VectorId(uint64_t{random_() % ids}).key());
      rows_.erase(command.ids.back());
    }
    return encode(command);
  }

  // Searches of every vector, exact or by the index, with a filter and without, find what
  // brute force does, of exactly those rows that have it.
  void check(Shard& shard, bool exact = true) {
    auto view = shard.replica->snapshot();
    CHECK(shard.replica->describe().vectors == rows_.size());
    auto filter = parse_filter(R"({"n":1})");
    REQUIRE(filter.ok());
    for (size_t v = 0; v < format_.size(); ++v) {
      CAPTURE(format_.name(v));
      const RowFormat& of = format_.format(v);
      for (bool filtered : {false, true}) {
        std::vector<float> query = draw(v);
        std::map<std::string, double> all;
        std::vector<double> sorted;
        for (const auto& [id, row] : rows_) {
          if (!row.vectors[v] || (filtered && row.n != 1)) continue;
          all[id] = distance_of(of.metric(), query, *row.vectors[v]);
          sorted.push_back(all[id]);
        }
        std::sort(sorted.begin(), sorted.end());
        SearchOptions options;
        options.k = 10;
        options.exact = exact;
        if (filtered) options.filter = &*filter;
        auto found = search_all(view->segments[v], of.metric(), of.dimension(), query, options);
        REQUIRE_MESSAGE(found.ok(), found.status().to_string());
        const std::vector<Hit>& hits = found->front();
        REQUIRE(hits.size() == std::min<size_t>(10, all.size()));
        std::set<std::string> seen;
        for (size_t i = 0; i < hits.size(); ++i) {
          const Segment& segment = *view->segments[v][hits[i].segment].segment;
          std::string id = segment.id_key(hits[i].offset);
          REQUIRE(all.count(id) == 1);
          CHECK(seen.insert(id).second);
          CHECK(std::fabs(hits[i].distance - all[id]) < 1e-3 * (1 + std::fabs(all[id])));
          if (exact)
            CHECK(std::fabs(hits[i].distance - sorted[i]) < 1e-3 * (1 + std::fabs(sorted[i])));
        }
      }
    }
  }
  size_t size() const { return rows_.size(); }

 private:
  struct Row {
    Vectors vectors;
    uint64_t n = 0;
  };

  std::vector<float> draw(size_t v) {
    std::normal_distribution<float> normal;
    std::vector<float> out(format_.format(v).dimension());
    bool whole = format_.format(v).datatype() == Datatype::uint8;
    for (float& value : out) {
      value = whole ? static_cast<float>(random_() % 256) : normal(random_);
    }
    return out;
  }

  RecordFormat format_;
  std::mt19937 random_;
  std::map<std::string, Row> rows_;
};

}  // namespace

TEST_CASE("every vector of a record is searched beside a model, whatever happens to segments") {
  for (uint32_t seed = 0; seed < 6; ++seed) {
    CAPTURE(seed);
    Shard shard, other;  // the other is opened again and again, and builds late
    Model model(shard.format(), seed);
    std::mt19937 random(seed);
    for (int step = 0; step < 120; ++step) {
      CAPTURE(step);
      std::string command;
      uint32_t dice = random() % 10;
      if (dice < 5) {
        command = model.upsert(1 + random() % 60, 400);
      } else if (dice < 8) {
        command = model.erase(1 + random() % 60, 400);
      } else if (auto due = shard.plan(dice == 8)) {
        command = *due;
      } else {
        continue;
      }
      shard.apply(command);
      other.apply(command);
      if (random() % 3 == 0) shard.build();
      if (random() % 9 == 0) other.build();
      if (random() % 5 == 0) other.open();
      if (step % 10 != 0) continue;
      model.check(shard);
      model.check(other);
    }
    shard.build();
    other.build();
    CHECK(shard.warnings.empty());
    CHECK(shard.segments() == other.segments());
    auto digest = [](Shard& of) { return *of.replica->store().digest({}); };
    CHECK(digest(shard) == digest(other));
    model.check(shard);
    model.check(other);
    CHECK(!shard.replica->next_build().has_value());
  }
}

TEST_CASE("the vectors of a record are indexed by graphs, in memory or on disk, and opened again") {
  RecordFormat format({{"a", RowFormat(Metric::l2, 16, Datatype::float32)},
                       {"b", RowFormat(Metric::cosine, 24, Datatype::float16)}});
  for (VectorPlace place : {VectorPlace::memory, VectorPlace::disk}) {
    IndexOptions index;
    index.kind = IndexKind::hnsw;
    index.vectors = place;
    Shard shard(index, format);
    Model model(format, 7);
    auto maintain = [&] {
      shard.build();
      while (auto due = shard.plan()) {
        shard.apply(*due);
        shard.build();
      }
    };
    for (int i = 0; i < 20; ++i) shard.apply(model.upsert(200, 3000));
    maintain();
    auto info = shard.replica->describe();
    REQUIRE(info.segments.size() == 4);
    CHECK(info.indexed_vectors == model.size());
    for (size_t v = 0; v < 2; ++v) {
      CHECK(info.segments[v].id == info.segments[0].id);
      CHECK(info.segments[v].vector == format.name(v));
      CHECK(info.segments[v].kind == IndexKind::hnsw);
      CHECK(info.segments[v].vectors == place);
      std::string rows =
          "/node/shards/2/segments/rows/" + std::to_string(8 * info.segments[0].id + v);
      CHECK(shard.env.FileExists(rows) == (place == VectorPlace::disk));
    }
    model.check(shard);
    model.check(shard, false);
    shard.apply(model.erase(500, 3000));
    shard.apply(model.upsert(300, 3000));
    model.check(shard, false);
    maintain();
    model.check(shard);
    shard.open();
    CHECK(shard.warnings.empty());
    CHECK(shard.build() == 0);
    model.check(shard);
    model.check(shard, false);
    CHECK(shard.replica->describe().indexed_vectors == model.size());
    if (place == VectorPlace::memory) continue;
    // One of them damaged: told which, searched by its records, and built again.
    std::string rows = "/node/shards/2/segments/rows/" +
                       std::to_string(8 * shard.replica->describe().segments.front().id + 1);
    shard.replica.reset();
    REQUIRE(shard.env.RemoveFile(rows).ok());
    shard.open();
    CHECK(shard.warnings.find("vector \"b\"") != std::string::npos);
    CHECK(shard.warnings.find("vector \"a\"") == std::string::npos);
    model.check(shard);
    CHECK(shard.build() == 1);
    CHECK(shard.env.FileExists(rows));
    model.check(shard);
    shard.open();
    CHECK(shard.warnings.empty());
    model.check(shard);
  }
}

TEST_CASE("a seal does the same in a replica that was opened after all rows had died") {
  Shard shard, other;
  Model model(shard.format(), 1);
  auto apply = [&](const std::string& command) {
    shard.apply(command);
    other.apply(command);
  };
  apply(model.upsert(100, 20));
  apply(model.erase(2000, 20));
  REQUIRE(model.size() == 0);
  other.open();
  auto seal = shard.plan();
  REQUIRE(seal);
  apply(*seal);
  CHECK(shard.replica->describe().segments.back().id ==
        other.replica->describe().segments.back().id);
  // Sealed again, while nothing came since: not.
  apply(encode(SealCommand{shard.replica->describe().segments.back().id}));
  apply(model.upsert(50, 20));
  shard.build();
  other.build();
  while (auto due = shard.plan()) {
    apply(*due);
    shard.build();
    other.build();
  }
  CHECK(shard.segments() == other.segments());
  model.check(shard);
  model.check(other);
}

TEST_CASE("values that are not of a shard's format are damage, and change nothing") {
  Shard shard;
  UpsertCommand command;
  command.dimension = shard.format().stored_dimension();
  command.datatype = shard.format().stored_datatype();
  command.ids = {VectorId(uint64_t{1}).key()};
  command.values = std::string(shard.format().row_bytes(), '\0');
  command.metadata = {""};
  CHECK(shard.replica->apply(1, 1, encode(command)).code() == Code::corruption);
  shard.open();
  CHECK(shard.replica->describe().vectors == 0);
  command.values.back() = 8;  // of three vectors
  CHECK(shard.replica->apply(1, 1, encode(command)).code() == Code::corruption);
  shard.open();
  command.datatype = Datatype::float32;
  command.values = std::string(4 * shard.format().row_bytes(), '\1');
  CHECK(shard.replica->apply(1, 1, encode(command)).code() == Code::corruption);
}

}  // namespace jade
