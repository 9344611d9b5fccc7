#include "apps/import/importer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <mutex>

#include "actors/jade.h"
#include "net/http_server.h"
#include "storage/bytes.h"
#include "tests/apps/scratch_dir.h"

namespace jade {
namespace {

// A whole server, and a database "db" of two dimensions on it.
struct Fixture {
  ScratchDir dir;
  std::unique_ptr<Node> node;
  std::unique_ptr<HttpServer> server;
  ImportOptions options;
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::vector<std::string> complaints;
  ImportProgress last;

  Fixture() {
    NodeOptions node_options;
    node_options.data_dir = dir.path("data");
    node_options.log = [](LogLevel, std::string_view, std::string_view) {};
    auto opened = Node::open(node_options);
    REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
    node = *std::move(opened);
    HttpServerOptions server_options;
    server_options.port = 0;
    auto started = HttpServer::start(server_options, node->api());
    REQUIRE_MESSAGE(started.ok(), started.status().to_string());
    server = *std::move(started);
    DatabaseSpec spec;
    spec.name = "db";
    spec.dimension = 2;
    spec.metric = Metric::l2;
    REQUIRE(node->create_database(spec).ok());
    options.url = "http://127.0.0.1:" + std::to_string(server->port());
    options.database = "db";
    options.batch_rows = 7;
  }
  ~Fixture() {
    server.reset();
    node.reset();
  }

  Result<ImportOutcome> run(VectorReader& reader) {
    return run_import(
        reader, options, stop, [this](const ImportProgress& progress) { last = progress; },
        [this](const std::string& complaint) {
          std::lock_guard lock(mutex);
          complaints.push_back(complaint);
        });
  }
  Result<ImportOutcome> run(const std::string& path) {
    auto reader = open_vectors(path, std::nullopt);
    REQUIRE_MESSAGE(reader.ok(), reader.status().to_string());
    return run(**reader);
  }

  uint64_t count() {
    auto info = node->describe_database("db");
    REQUIRE(info.ok());
    return info->vectors;
  }
  std::vector<float> values_of(VectorId id) {
    GetRequest request;
    request.database = "db";
    request.id = std::move(id);
    auto found = node->get(request);
    REQUIRE_MESSAGE(found.ok(), found.status().to_string());
    return found->values;
  }
};

// Rows (i, -i).
std::string fbin(uint32_t rows, uint32_t dimension = 2) {
  std::string out;
  append_u32(out, rows);
  append_u32(out, dimension);
  for (uint32_t i = 0; i < rows; ++i) {
    for (uint32_t j = 0; j < dimension; ++j) {
      float value = (j % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(i);
      out.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  return out;
}

// Asks for the end while a certain piece is being read.
class StoppingReader final : public VectorReader {
 public:
  StoppingReader(std::unique_ptr<VectorReader> target, int pieces, std::atomic<bool>& stop)
      : target_(std::move(target)), left_(pieces), stop_(stop) {}

  FileFormat format() const override { return target_->format(); }
  ElementType element_type() const override { return target_->element_type(); }
  uint32_t dimension() const override { return target_->dimension(); }
  std::optional<uint64_t> rows() const override { return target_->rows(); }
  Result<RowPiece> read(size_t rows_max, size_t bytes_max) override {
    if (--left_ == 0) stop_ = true;
    return target_->read(rows_max, bytes_max);
  }
  Status skip(uint64_t rows) override { return target_->skip(rows); }
  uint64_t bytes_read() const override { return target_->bytes_read(); }

 private:
  std::unique_ptr<VectorReader> target_;
  int left_;
  std::atomic<bool>& stop_;
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "rows of a binary file get their numbers, as binary and as JSON") {
  std::string path = dir.write("a.fbin", fbin(100));
  for (bool json : {false, true}) {
    CAPTURE(json);
    options.json = json;
    options.connections = json ? 1 : 3;
    auto outcome = run(path);
    REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
    CHECK(outcome->rows == 100);
    CHECK(outcome->bad_rows == 0);
    CHECK(outcome->rows_done == 100);
    CHECK(!outcome->interrupted);
    CHECK(last.rows == 100);
    CHECK(last.bytes == 8 + 100 * 8);
    CHECK(count() == 100);
    for (uint64_t row : {0, 1, 57, 99}) {
      auto value = static_cast<float>(row);
      CHECK(values_of(row) == std::vector<float>{value, -value});
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "bytes and half floats become floats, sent as they are or as JSON") {
  std::string u8(8, '\0');
  u8[0] = u8[4] = 2;
  u8 += "\x01\xff\x10\x20";
  std::string path = dir.write("a.u8bin", u8);
  const std::string about = "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2), }\n";
  std::string npy("\x93NUMPY\x01\0", 8);
  append_u32(npy, static_cast<uint32_t>(about.size()));
  npy.resize(10);  // the length has two bytes in this version
  std::string halves = dir.write("a.npy", npy + about + std::string("\x00\x3c\x00\xc0", 4));
  for (bool json : {false, true}) {
    options.json = json;
    REQUIRE(run(path).ok());
    CHECK(values_of(uint64_t{0}) == std::vector<float>{1, 255});
    CHECK(values_of(uint64_t{1}) == std::vector<float>{16, 32});
    REQUIRE(run(halves).ok());
    CHECK(values_of(uint64_t{0}) == std::vector<float>{1, -2});
  }
}

TEST_CASE_FIXTURE(Fixture, "a range of rows is imported under the numbers they have") {
  options.first_row = 30;
  options.rows_max = 25;
  auto outcome = run(dir.write("a.fbin", fbin(100)));
  REQUIRE(outcome.ok());
  CHECK(outcome->rows == 25);
  CHECK(outcome->rows_done == 55);
  CHECK(count() == 25);
  CHECK(values_of(uint64_t{30}) == std::vector<float>{30, -30});
  CHECK(values_of(uint64_t{54}) == std::vector<float>{54, -54});
  options.first_row = 101;
  CHECK(!run(dir.path("a.fbin")).ok());
}

TEST_CASE_FIXTURE(Fixture, "lines keep their ids, and get their number where they have none") {
  auto outcome = run(dir.write("a.ndjson",
                               "{\"id\":\"x\",\"values\":[1,2]}\n\n"
                               "{\"values\":[3,4],\"metadata\":{\"a\":1}}\n"
                               "{\"id\":77,\"values\":[5,6]}\n"));
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(outcome->rows == 3);
  CHECK(count() == 3);
  CHECK(values_of(std::string("x")) == std::vector<float>{1, 2});
  CHECK(values_of(uint64_t{1}) == std::vector<float>{3, 4});
  CHECK(values_of(uint64_t{77}) == std::vector<float>{5, 6});
}

TEST_CASE_FIXTURE(Fixture,
                  "lines have vectors by name where the database does, and files one of them") {
  DatabaseSpec spec;
  spec.name = "named";
  spec.named_vectors = {{"a", 2, Metric::l2}, {"b", 1, Metric::l2}};
  REQUIRE(node->create_database(spec).ok());
  options.database = "named";
  auto outcome = run(dir.write("a.ndjson",
                               "{\"id\":1,\"values\":{\"a\":[1,2],\"b\":[3]}}\n"
                               "{\"id\":2,\"values\":{\"b\":[4]}}\n"));
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(outcome->rows == 2);
  GetRequest request;
  request.database = "named";
  request.id = uint64_t{2};
  auto found = node->get(request);
  REQUIRE(found.ok());
  REQUIRE(found->named.size() == 1);
  CHECK(found->named[0].name == "b");
  CHECK(found->named[0].values == std::vector<float>{4});
  outcome = run(dir.write("a.fbin", fbin(3)));
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().message().find("give them by name") != std::string::npos);
  for (bool json : {false, true}) {
    CAPTURE(json);
    options.json = json;
    options.vector_name = "a";
    outcome = run(dir.write("a.fbin", fbin(20)));
    REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
    CHECK(outcome->rows == 20);
    for (uint64_t id : {2, 19}) {
      request.id = id;
      found = node->get(request);
      REQUIRE(found.ok());
      REQUIRE(found->named.size() == 1);  // that of the record which was there is gone
      CHECK(found->named[0].name == "a");
      CHECK(found->named[0].values.size() == 2);
    }
    options.vector_name = "b";
    outcome = run(dir.write("a.fbin", fbin(3)));
    REQUIRE(!outcome.ok());
    CHECK(outcome.status().message().find("vector \"b\" of database \"named\" has dimension 1") !=
          std::string::npos);
  }
  options.database = "db";
  outcome = run(dir.write("a.fbin", fbin(3)));
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().message().find("one vector without a name") != std::string::npos);
  outcome = run(dir.write("a.ndjson", "{\"id\":1,\"values\":[1,2]}\n"));
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().message().find("name their vectors themselves") != std::string::npos);
}

namespace {

// Lines 4, 9, 14, ... are bad, each in another way.
std::string lines_with_bad_ones(int lines) {
  const char* bad[] = {"{\"values\":[1,",
                       "[1,2]",
                       "{\"values\":[1,2,3]}",
                       "{\"id\":\"\",\"values\":[1,2]}",
                       "{\"values\":[1,2],\"metadata\":7}",
                       "{\"values\":[1,\"x\"]}"};
  std::string out;
  for (int line = 1; line <= lines; ++line) {
    out += line % 5 == 4 ? bad[line / 5 % 6] : "{\"values\":[1,2]}";
    out += "\n";
  }
  return out;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "the first bad line ends the import and is named") {
  options.connections = 1;
  auto outcome = run(dir.write("a.ndjson", lines_with_bad_ones(8)));
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().code() == Code::invalid_argument);
  CHECK_MESSAGE(outcome.status().message().find("line 4: is not JSON") == 0,
                outcome.status().message());
  // So does one that only the server refuses.
  outcome = run(dir.write("b.ndjson", "{\"values\":[1,2]}\n\n{\"values\":[1,2,3]}\n"));
  REQUIRE(!outcome.ok());
  CHECK_MESSAGE(outcome.status().message().find("line 3: ") == 0, outcome.status().message());
  CHECK(complaints.empty());
}

TEST_CASE_FIXTURE(Fixture, "bad lines are counted and named, and all the others are loaded") {
  options.count_bad_rows = true;
  auto outcome = run(dir.write("a.ndjson", lines_with_bad_ones(60)));
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(outcome->rows == 48);
  CHECK(outcome->bad_rows == 12);
  CHECK(outcome->rows_done == 60);
  CHECK(count() == 48);
  REQUIRE(complaints.size() == 12);
  for (int line = 4; line <= 60; line += 5) {
    CAPTURE(line);
    std::string prefix = "line " + std::to_string(line) + ": ";
    CHECK(std::count_if(complaints.begin(), complaints.end(), [&](const std::string& complaint) {
            return complaint.find(prefix) == 0;
          }) == 1);
  }
}

TEST_CASE_FIXTURE(Fixture, "after a stop the import goes on where it was, and all is loaded") {
  std::string path = dir.write("a.fbin", fbin(200));
  uint64_t rows = 0;
  int runs = 0;
  for (bool more = true; more; ++runs) {
    REQUIRE(runs < 30);
    stop = false;
    StoppingReader reader(*open_vectors(path, std::nullopt), 5, stop);
    auto outcome = run(reader);
    REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
    CHECK(outcome->rows_done == options.first_row + outcome->rows);
    // Pieces read before the stop are not thrown away; the one being read is.
    if (outcome->interrupted) CHECK(outcome->rows <= 28);
    rows += outcome->rows;
    options.first_row = outcome->rows_done;
    more = outcome->interrupted;
  }
  CHECK(runs > 5);
  CHECK(rows == 200);
  CHECK(count() == 200);
  for (uint64_t row = 0; row < 200; ++row) {
    auto value = static_cast<float>(row);
    REQUIRE(values_of(row) == std::vector<float>{value, -value});
  }
}

TEST_CASE_FIXTURE(Fixture, "what can never succeed is refused at once, with the reason") {
  auto outcome = run(dir.write("a.fbin", fbin(20, 3)));
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().code() == Code::invalid_argument);
  CHECK_MESSAGE(outcome.status().message().find("dimension") != std::string::npos,
                outcome.status().message());
  CHECK(count() == 0);
  options.database = "other";
  outcome = run(dir.write("b.fbin", fbin(20)));
  CHECK(outcome.status().code() == Code::not_found);
}

TEST_CASE_FIXTURE(Fixture, "a file that is damaged further on fails, naming the row") {
  options.connections = 1;
  std::string bytes;
  for (int i = 0; i < 50; ++i) {
    append_u32(bytes, i == 40 ? 1 : 2);
    bytes.append(8, '\0');
  }
  auto outcome = run(dir.write("a.fvecs", bytes));
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().message().find("row 40 has dimension 1, the first has 2") !=
        std::string::npos);
  CHECK(count() <= 40);
}

TEST_CASE_FIXTURE(Fixture, "what is no NDJSON is refused at its first line, or row by row") {
  options.connections = 1;
  for (const std::string& bytes :
       {fbin(20), std::string("1.5,2.5\n3.5,4.5\n"), std::string("\x93NUMPY\x01\0", 8),
        std::string("[1,2]\n"), std::string("\xef\xbb\xbf{\"values\":[1,2]}\n")}) {
    auto outcome = run(dir.write("a.ndjson", bytes));
    REQUIRE(!outcome.ok());
    CHECK(outcome.status().code() == Code::invalid_argument);
    CHECK_MESSAGE(outcome.status().message().find("line 1: is not ") == 0,
                  outcome.status().message());
  }
  // Cut within its last line.
  options.count_bad_rows = true;
  auto outcome = run(dir.write("a.ndjson", "{\"values\":[1,2]}\n{\"values\":[3,"));
  REQUIRE(outcome.ok());
  CHECK(outcome->rows == 1);
  CHECK(outcome->bad_rows == 1);
  REQUIRE(complaints.size() == 1);
  CHECK_MESSAGE(complaints[0].find("line 2: is not JSON") == 0, complaints[0]);
  CHECK(count() == 1);
}

TEST_CASE_FIXTURE(Fixture, "a server that is away is given up after the retries") {
  server.reset();
  options.retries_max = 0;
  options.connections = 1;
  auto outcome = run(dir.write("a.fbin", fbin(20)));
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().message().find("gave up after 0 retries") == 0);
}

TEST_CASE("records that exist are changed from several files, and others are counted") {
  Fixture f;
  DatabaseSpec spec;
  spec.name = "pair";
  spec.named_vectors = {{"a", 2, Metric::l2}, {"b", 3, Metric::l2}};
  REQUIRE(f.node->create_database(spec).ok());
  f.options.database = "pair";
  f.options.vector_name = "a";
  REQUIRE(f.run(f.dir.write("a.fbin", fbin(50)))->rows == 50);
  f.options.update = true;
  f.options.vector_name = "b";
  auto outcome = f.run(f.dir.write("b.fbin", fbin(60, 3)));
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(outcome->rows == 60);
  CHECK(outcome->missing == 10);
  CHECK(f.last.missing == 10);
  f.options.vector_name.clear();
  std::string lines;
  for (int i = 0; i < 20; ++i) {
    lines += "{\"id\":" + std::to_string(3 * i) + ",\"metadata\":{\"n\":" + std::to_string(i) +
             "}" + (i == 4 ? ",\"values\":{\"a\":null}" : "") + "}\n";
  }
  outcome = f.run(f.dir.write("lines.ndjson", lines));
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(outcome->missing == 3);
  CHECK(f.node->describe_database("pair")->vectors == 50);
  for (uint64_t id = 0; id < 50; ++id) {
    CAPTURE(id);
    auto found = f.node->get({"pair", VectorId(id)});
    REQUIRE(found.ok());
    const auto x = static_cast<float>(id);
    REQUIRE(found->named.size() == (id == 12 ? 1 : 2));
    if (id != 12) CHECK(found->named[0].values == std::vector<float>{x, -x});
    CHECK(found->named.back().values == std::vector<float>{x, -x, x});
    CHECK(found->metadata == (id % 3 == 0 ? "{\"n\":" + std::to_string(id / 3) + "}" : ""));
  }
  // What a record cannot take is told of its line; of others, with --on-error count.
  lines = "{\"id\":1,\"metadata\":{\"m\":1}}\n{\"id\":12,\"values\":{\"b\":null}}\n";
  auto path = f.dir.write("bad.ndjson", lines);
  outcome = f.run(path);
  REQUIRE(!outcome.ok());
  CHECK_MESSAGE(outcome.status().message().find("line 2: ") == 0, outcome.status().message());
  f.options.count_bad_rows = true;
  outcome = f.run(path);
  REQUIRE(outcome.ok());
  CHECK(outcome->rows == 1);
  CHECK(outcome->bad_rows == 1);
}

}  // namespace jade
