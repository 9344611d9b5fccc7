// Databases of every datatype in a node: what is stored, and what is found in it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "actors/ingest.h"
#include "actors/jade.h"
#include "index/datatype.h"

namespace jade {
namespace {

constexpr uint32_t dimension = 48;
constexpr Datatype datatypes[] = {Datatype::float32, Datatype::float16, Datatype::uint8};

struct ScratchNode {
  std::filesystem::path dir;
  std::unique_ptr<Node> node;

  ScratchNode() {
    std::string name = (std::filesystem::temp_directory_path() / "jade-node-XXXXXX").string();
    dir = mkdtemp(name.data());
    open();
  }
  ~ScratchNode() {
    node.reset();
    std::filesystem::remove_all(dir);
  }
  void open() {
    node.reset();
    NodeOptions options;
    options.data_dir = (dir / "data").string();
    options.log = [](LogLevel, std::string_view, std::string_view) {};
    auto opened = Node::open(options);
    REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
    node = std::move(*opened);
  }
};

// Vectors around a few middles, as a client sends them.
class Vectors {
 public:
  explicit Vectors(Datatype datatype) : datatype_(datatype) {}

  std::vector<float> draw() {
    std::normal_distribution<float> normal;
    std::vector<float> out(dimension);
    auto middle = static_cast<float>(random_() % 8);
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = 120 + 50 * std::sin(middle * static_cast<float>(i + 1)) + 25 * normal(random_);
      if (datatype_ == Datatype::uint8) out[i] = std::clamp(std::round(out[i]), 0.0f, 255.0f);
    }
    return out;
  }
  // As it is stored.
  std::vector<float> stored(const std::vector<float>& values) const {
    std::vector<char> bytes(values.size() * element_bytes(datatype_));
    std::vector<float> out(values.size());
    store_values(datatype_, values.data(), values.size(), bytes.data());
    load_values(datatype_, bytes.data(), out.size(), out.data());
    return out;
  }

 private:
  Datatype datatype_;
  std::mt19937 random_{1};
};

double score(Metric metric, const std::vector<float>& a, const std::vector<float>& b) {
  double l2 = 0, dot = 0, x2 = 0, y2 = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double x = a[i], y = b[i];
    l2 += (x - y) * (x - y);
    dot += x * y;
    x2 += x * x;
    y2 += y * y;
  }
  return metric == Metric::l2    ? std::sqrt(l2)
         : metric == Metric::dot ? dot
                                 : dot / std::sqrt(x2 * y2);
}

UpsertRequest upsert_of(const std::string& database, uint64_t first,
                        const std::vector<std::vector<float>>& rows) {
  UpsertRequest out;
  out.database = database;
  out.dimension = dimension;
  for (size_t i = 0; i < rows.size(); ++i) {
    out.ids.emplace_back(first + i);
    out.values.append(reinterpret_cast<const char*>(rows[i].data()), dimension * sizeof(float));
    out.metadata.push_back("{\"n\":" + std::to_string(i % 10) + "}");
  }
  return out;
}

// Of all files below whose path has `part` in it.
uint64_t bytes_below(const std::filesystem::path& dir, const std::string& part) {
  uint64_t sum = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file() && entry.path().string().find(part) != std::string::npos) {
      sum += entry.file_size();
    }
  }
  return sum;
}

DatabaseSpec spec_of(Datatype datatype, Metric metric) {
  DatabaseSpec spec;
  spec.name = "vectors";
  spec.dimension = dimension;
  spec.metric = metric;
  spec.datatype = datatype;
  return spec;
}

struct Case {
  Metric metric;
  IndexKind kind;
  Quantization quantization;
  VectorPlace place = VectorPlace::memory;
  Sharding sharding = Sharding::hash;
};

constexpr Case cases[] = {
    {Metric::l2, IndexKind::hnsw, Quantization::sq8},
    {Metric::cosine, IndexKind::hnsw, Quantization::none},
    {Metric::dot, IndexKind::hnsw, Quantization::rabitq, VectorPlace::disk},
    {Metric::cosine, IndexKind::hnsw, Quantization::sq8, VectorPlace::disk},
    {Metric::cosine, IndexKind::ivf, Quantization::sq8},
    {Metric::l2, IndexKind::hnsw, Quantization::sq4, VectorPlace::disk, Sharding::vector},
};

// A database, and the model of what is in it.
class Database {
 public:
  Database(const Case& one, Datatype datatype, std::string name)
      : spec_(spec_of(datatype, one.metric)), vectors_(datatype) {
    spec_.name = std::move(name);
    spec_.index.kind = one.kind;
    spec_.index.quantization = one.quantization;
    spec_.index.vectors = one.place;
    spec_.index.ef_construction = 60;
    spec_.sharding = one.sharding;
    if (one.sharding == Sharding::vector) spec_.shards = 2;
  }

  const DatabaseSpec& spec() const { return spec_; }

  void write(Node& node, size_t n) {
    std::vector<std::vector<float>> some(n);
    for (auto& row : some) row = vectors_.draw();
    auto written = node.upsert(upsert_of(spec_.name, rows_.size(), some));
    REQUIRE_MESSAGE(written.ok(), written.status().to_string());
    for (auto& row : some) rows_.push_back(vectors_.stored(row));
  }

  void check(Node& node) {
    CAPTURE(spec_.name);
    CHECK(node.describe_database(spec_.name)->spec.datatype == spec_.datatype);
    auto one = node.get({spec_.name, uint64_t{17}});
    REQUIRE(one.ok());
    CHECK(one->values == rows_[17]);
    size_t walked = 0;
    for (int q = 0; q < 10; ++q) {
      SearchRequest request;
      request.database = spec_.name;
      request.vector = vectors_.draw();
      if (q % 2 == 1) request.vector[0] += 0.25f;
      if (q % 5 == 0) request.filter = R"({"n":{"$lt":5}})";
      request.include_values = true;
      if (spec_.index.kind == IndexKind::ivf) request.nprobe = 60;
      auto best = best_scores(request);
      auto near = node.search(request);
      REQUIRE_MESSAGE(near.ok(), near.status().to_string());
      request.exact = true;
      auto exact = node.search(request);
      REQUIRE_MESSAGE(exact.ok(), exact.status().to_string());
      REQUIRE(exact->results.size() == 10);
      for (size_t i = 0; i < 10; ++i) {
        const SearchHit& hit = exact->results[i];
        CHECK(static_cast<double>(hit.score) == doctest::Approx(best[i]).epsilon(1e-5));
        CHECK(hit.values == rows_[hit.id.integer()]);
        for (const SearchHit& found : near->results) walked += found.id == hit.id ? 1 : 0;
      }
    }
    CHECK(walked >= 85);
  }

  size_t rows_on_disk(Node& node) const {
    size_t out = 0;
    auto info = node.describe_database(spec_.name);
    REQUIRE(info.ok());
    for (const ShardInfo& shard : info->placement) {
      for (const SegmentInfo& segment : shard.segments) {
        if (segment.vectors == VectorPlace::disk) out += segment.rows;
      }
    }
    return out;
  }

 private:
  // By brute force.
  std::vector<double> best_scores(const SearchRequest& request) const {
    std::vector<double> out;
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (!request.filter.empty() && i % 10 >= 5) continue;
      out.push_back(score(spec_.metric, request.vector, rows_[i]));
    }
    std::sort(out.begin(), out.end());
    if (spec_.metric != Metric::l2) std::reverse(out.begin(), out.end());
    return out;
  }

  DatabaseSpec spec_;
  Vectors vectors_;
  std::vector<std::vector<float>> rows_;
};

}  // namespace

TEST_CASE("Databases of every datatype find what is stored, growing, indexed and after a restart") {
  for (Datatype datatype : datatypes) {
    CAPTURE(to_string(datatype));
    ScratchNode test;
    // Side by side, as their indexes are then built at once.
    std::vector<Database> databases;
    for (const Case& one : cases) {
      databases.emplace_back(one, datatype, "db" + std::to_string(databases.size()));
      REQUIRE(test.node->create_database(databases.back().spec()).ok());
    }
    auto each = [&](auto use) {
      for (Database& database : databases) use(database);
    };
    each([&](Database& database) { database.write(*test.node, 300); });
    each([&](Database& database) { database.check(*test.node); });
    each([&](Database& database) { database.write(*test.node, 1000); });
    each([&](Database& database) { database.write(*test.node, 1000); });
    each([&](Database& database) {
      REQUIRE(test.node->wait_until_indexed(database.spec().name).to_string() == "ok");
    });
    each([&](Database& database) { database.check(*test.node); });
    test.open();
    size_t on_disk = 0;
    each([&](Database& database) {
      database.check(*test.node);
      size_t rows = database.rows_on_disk(*test.node);
      CHECK((rows > 0) == (database.spec().index.vectors == VectorPlace::disk));
      on_disk += rows;
    });
    // A checksum and the values of each row.
    CHECK(bytes_below(test.dir, "/rows/") == on_disk * (4 + dimension * element_bytes(datatype)));
    each([&](Database& database) { database.write(*test.node, 100); });
    each([&](Database& database) { database.check(*test.node); });
  }
}

TEST_CASE("Log and records take as many bytes as the datatype has") {
  std::vector<uint64_t> log, records;
  for (Datatype datatype : datatypes) {
    ScratchNode test;
    REQUIRE(test.node->create_database(spec_of(datatype, Metric::cosine)).ok());
    Vectors vectors(datatype);
    std::vector<std::vector<float>> rows(4000);
    for (auto& row : rows) row = vectors.draw();
    REQUIRE(test.node->upsert(upsert_of("vectors", 0, rows)).ok());
    test.node.reset();
    log.push_back(bytes_below(test.dir, "/log/"));
    records.push_back(bytes_below(test.dir, "/data/shards/"));
    test.open();
  }
  for (size_t i : {1u, 2u}) {
    // A tenth for what they take besides.
    uint64_t saved = 4000 * dimension * (4 - element_bytes(datatypes[i])) * 9 / 10;
    CHECK(log[0] >= log[i] + saved);
    CHECK(records[0] >= records[i] + saved);
  }
}

TEST_CASE("What is written becomes what is stored, once, before it is split among shards") {
  Vectors vectors(Datatype::float16);
  auto row = vectors.draw();
  UpsertRequest request = upsert_of("vectors", 0, {row});
  REQUIRE(prepare_upsert(spec_of(Datatype::float16, Metric::l2), request).ok());
  std::string expected(dimension * 2, '\0');
  store_values(Datatype::float16, row.data(), dimension, expected.data());
  CHECK(request.values == expected);

  // Refused ones stay as they are.
  row[5] = -1;
  request = upsert_of("vectors", 0, {vectors.stored(row), row});
  std::string before = request.values;
  Status refused = prepare_upsert(spec_of(Datatype::uint8, Metric::l2), request);
  CHECK(refused.code() == Code::invalid_argument);
  CHECK(refused.message().find("vectors[0].values[") == 0);
  CHECK(request.values == before);
}

}  // namespace jade
