#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

#include "actors/jade.h"
#include "apps/bench/measure.h"
#include "apps/commands.h"
#include "apps/import/importer.h"
#include "index/scoring.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace jade {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* footer = R"(
Loads the base vectors into a node of its own (in a temporary directory), over HTTP
on this machine, and measures: the rate of durable ingest, the time until all is
indexed, memory, start-up, and searches in process (the embedded node) and over HTTP.
Beside it, in the same run and on one thread, our index alone, hnswlib (compiled for
this processor) and FAISS's own HNSW, with the same M and efConstruction, as ratios
at equal recall. Without --truth the exact neighbours are computed first.

Examples:
  jade bench --base base.fvecs --queries query.fvecs --truth truth.ivecs --metric l2
  jade bench --base base.npy --queries queries.npy --metric cosine --rows 20000 --json -
  jade bench make --rows 100000 --dimension 128 --intrinsic 16 --out made.fbin)";

struct Arguments {
  std::string base, queries, truth, metric = "l2", json_file;
  size_t rows = SIZE_MAX, queries_max = 1000;
  uint32_t k = 10, clients = 0, repetitions = 3;
  std::vector<uint32_t> ef = {10, 16, 24, 32, 64, 128, 256};
  bool skip_peers = false, skip_node = false;
  IndexOptions index;

  size_t make_rows = 100000, intrinsic = 16;
  uint32_t dimension = 128;
  uint64_t seed = 1;
  std::string out;
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Resident memory of this process.
size_t memory_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Lines for people, and the same facts for programs.
class Report {
 public:
  void section(const std::string& title) { say("\n%s\n", title.c_str()); }
  void fact(const char* key, double value, const char* unit) {
    say("  %-34s %12.1f %s\n", key, value, unit);
    facts_[key] = value;
  }
  void points(const std::string& engine, const std::vector<Point>& points) {
    say("  %s\n      ef   recall     queries/s     p50 us   p95 us   p99 us\n", engine.c_str());
    json::array array;
    for (const Point& p : points) {
      say("  %6u   %.4f  %12.0f   %8.0f %8.0f %8.0f\n", p.ef, p.recall, p.queries_per_second,
          p.p50_us, p.p95_us, p.p99_us);
      array.push_back({{"ef", p.ef},
                       {"recall", p.recall},
                       {"queries_per_second", p.queries_per_second},
                       {"p50_us", p.p50_us},
                       {"p95_us", p.p95_us},
                       {"p99_us", p.p99_us}});
    }
    facts_[engine] = std::move(array);
  }
  void text(const std::string& line) { say("  %s\n", line.c_str()); }
  const json::object& facts() const { return facts_; }

 private:
  template <class... Args>
  void say(const char* format, Args... args) {
    std::fprintf(stderr, format, args...);
  }
  json::object facts_;
};

Result<Workload> load(const Arguments& arguments) {
  Workload out;
  auto metric = parse_metric(arguments.metric);
  if (!metric.ok()) return metric.status();
  out.metric = *metric;
  out.k = arguments.k;
  auto base = load_matrix(arguments.base, arguments.rows);
  if (!base.ok()) return base.status();
  auto queries = load_matrix(arguments.queries, arguments.queries_max);
  if (!queries.ok()) return queries.status();
  if (base->dimension != queries->dimension) {
    return invalid_argument("the base has dimension " + std::to_string(base->dimension) +
                            ", the queries " + std::to_string(queries->dimension));
  }
  if (base->rows < arguments.k) return invalid_argument("the base has fewer than k rows");
  if (queries->rows == 0) return invalid_argument("there are no queries");
  out.base = std::move(*base);
  out.queries = std::move(*queries);
  if (out.metric == Metric::cosine) {
    for (Matrix* matrix : {&out.base, &out.queries}) {
      for (size_t i = 0; i < matrix->rows; ++i) {
        normalise(matrix->values.data() + i * matrix->dimension, matrix->dimension);
      }
    }
  }
  bool part = arguments.rows < SIZE_MAX;
  if (arguments.truth.empty() || part) {
    std::fprintf(stderr, "computing exact neighbours\n");
    out.truth = brute_force(out.base, out.queries, out.metric, arguments.k);
    return out;
  }
  auto truth = load_neighbours(arguments.truth);
  if (!truth.ok()) return truth.status();
  if (truth->rows < out.queries.rows || truth->columns < arguments.k) {
    return invalid_argument(
        "--truth has fewer rows than there are queries, or fewer than k columns");
  }
  for (int32_t id : truth->ids) {
    if (id < 0 || static_cast<size_t>(id) >= out.base.rows) {
      return invalid_argument("--truth names row " + std::to_string(id) + ", which the base lacks");
    }
  }
  out.truth = std::move(*truth);
  return out;
}

// A directory that goes with it.
struct Scratch {
  fs::path path;
  Scratch() {
    std::string name = (fs::temp_directory_path() / "jade-bench-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code error;
    fs::remove_all(path, error);
  }
};

// Reads rows from memory, as `jade import` reads them from a file.
class MatrixReader final : public VectorReader {
 public:
  explicit MatrixReader(const Matrix& matrix) : matrix_(matrix) {}
  FileFormat format() const override { return FileFormat::fbin; }
  ElementType element_type() const override { return ElementType::f32; }
  uint32_t dimension() const override { return matrix_.dimension; }
  std::optional<uint64_t> rows() const override { return matrix_.rows; }
  uint64_t bytes_read() const override { return next_ * matrix_.dimension * 4; }
  Status skip(uint64_t rows) override {
    next_ += rows;
    return {};
  }
  Result<RowPiece> read(size_t rows_max, size_t bytes_max) override {
    RowPiece piece;
    piece.first_row = next_;
    piece.rows =
        std::min({rows_max, bytes_max / (matrix_.dimension * 4) + 1, matrix_.rows - next_});
    piece.values.assign(reinterpret_cast<const char*>(matrix_.row(next_)),
                        piece.rows * matrix_.dimension * 4);
    next_ += piece.rows;
    return piece;
  }

 private:
  const Matrix& matrix_;
  size_t next_ = 0;
};

class NodeBench {
 public:
  NodeBench(const Arguments& arguments, const Workload& workload, Report& report)
      : arguments_(arguments), workload_(workload), report_(report) {}

  Status run() {
    JADE_RETURN_IF_ERROR(open());
    report_.section("Ingest, durable, over HTTP");
    JADE_RETURN_IF_ERROR(ingest("json", true));
    size_t before = memory_bytes();
    JADE_RETURN_IF_ERROR(ingest("vectors", false));
    auto begin = Clock::now();
    JADE_RETURN_IF_ERROR(node_->wait_until_indexed("vectors"));
    report_.fact("until all is indexed", seconds_since(begin), "s");
    size_t memory = memory_bytes() - std::min(before, memory_bytes());
    report_.fact("memory per vector",
                 static_cast<double>(memory) / static_cast<double>(workload_.base.rows), "bytes");
    JADE_RETURN_IF_ERROR(restart());
    search();
    server_->stop(1000);
    return node_->close();
  }

 private:
  Status open() {
    NodeOptions options;
    options.data_dir = (scratch_.path / "data").string();
    auto node = Node::open(options);
    if (!node.ok()) return node.status();
    node_ = std::move(*node);
    HttpServerOptions http;
    http.host = "127.0.0.1";
    http.port = 0;
    auto server = HttpServer::start(http, node_->api());
    if (!server.ok()) return server.status();
    server_ = std::move(*server);
    url_ = "http://127.0.0.1:" + std::to_string(server_->port());
    return {};
  }

  Status ingest(const std::string& database, bool json_body) {
    DatabaseSpec spec;
    spec.name = database;
    spec.dimension = workload_.base.dimension;
    spec.metric = workload_.metric;
    spec.index = arguments_.index;
    auto created = node_->create_database(spec);
    if (!created.ok()) return created.status();
    MatrixReader reader(workload_.base);
    ImportOptions options;
    options.url = url_;
    options.database = database;
    options.json = json_body;
    // JSON is for the rate only; its copy of the data goes again.
    if (json_body) options.rows_max = std::min<size_t>(workload_.base.rows, 30000);
    std::atomic<bool> stop{false};
    auto outcome = run_import(
        reader, options, stop, [](const ImportProgress&) {}, [](const std::string&) {});
    if (!outcome.ok()) return outcome.status();
    report_.fact(json_body ? "JSON body" : "binary body",
                 static_cast<double>(outcome->rows) / outcome->seconds, "vectors/s");
    if (!json_body) return {};
    auto dropped = node_->drop_database(database);
    return dropped.ok() ? Status() : dropped.status();
  }

  Status restart() {
    server_->stop(1000);
    JADE_RETURN_IF_ERROR(node_->close());
    server_.reset();
    node_.reset();
    auto begin = Clock::now();
    JADE_RETURN_IF_ERROR(open());
    report_.fact("start of the node, to ready", seconds_since(begin), "s");
    return {};
  }

  void search() {
    uint32_t cores = std::max(1u, arguments_.clients);
    auto in_process = [this] {
      return Searcher([this](size_t query, uint32_t ef) {
        SearchRequest request = request_for(ef);
        request.database = "vectors";
        const float* row = workload_.queries.row(query);
        request.vector.assign(row, row + workload_.queries.dimension);
        auto reply = node_->search(std::move(request));
        JADE_ASSERT(reply.ok());
        return ids_of(*reply);
      });
    };
    auto over_http = [this] {
      auto connected = HttpClient::connect(url_);
      JADE_ASSERT(connected.ok());
      auto client = std::shared_ptr<HttpClient>(std::move(*connected));
      return Searcher([this, client](size_t query, uint32_t ef) {
        std::string body = encode_search(request_for(ef), workload_.queries.row(query), 1,
                                         workload_.queries.dimension);
        auto response = client->request("POST", "/v1/databases/vectors/search", body,
                                        content_type_binary, content_type_binary);
        JADE_ASSERT(response.ok() && response->ok());
        auto reply = decode_search_reply(response->body);
        JADE_ASSERT(reply.ok());
        return ids_of(reply->results.front());
      });
    };
    std::vector<uint32_t> clients = {1};
    if (cores > 1) clients.push_back(cores);
    for (uint32_t n : clients) {
      report_.section("Searches, " + std::to_string(n) + (n == 1 ? " client" : " clients"));
      std::vector<Point> embedded, http;
      for (uint32_t ef : arguments_.ef) {
        embedded.push_back(measure(workload_, in_process, ef, n, arguments_.repetitions));
        http.push_back(measure(workload_, over_http, ef, n, arguments_.repetitions));
      }
      std::string suffix = ", " + std::to_string(n) + (n == 1 ? " client" : " clients");
      report_.points("node in process" + suffix, embedded);
      report_.points("node over HTTP" + suffix, http);
      for (size_t i = 0; i < embedded.size(); ++i) {
        if (embedded[i].ef != arguments_.index.ef_search) continue;
        report_.fact(("HTTP / in process, default ef" + suffix).c_str(),
                     http[i].queries_per_second / embedded[i].queries_per_second, "");
      }
    }
  }

  SearchRequest request_for(uint32_t ef) const {
    SearchRequest request;
    request.k = workload_.k;
    request.ef_search = ef;
    request.include_metadata = false;
    return request;
  }

  static std::vector<int64_t> ids_of(const SearchReply& reply) {
    std::vector<int64_t> out;
    for (const SearchHit& hit : reply.results)
      out.push_back(static_cast<int64_t>(hit.id.integer()));
    return out;
  }

  const Arguments& arguments_;
  const Workload& workload_;
  Report& report_;
  Scratch scratch_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<HttpServer> server_;
  std::string url_;
};

void bench_peers(const Arguments& arguments, const Workload& workload, Report& report) {
  report.section("Libraries on one thread, M " + std::to_string(arguments.index.m) +
                 ", efConstruction " + std::to_string(arguments.index.ef_construction));
  std::vector<std::unique_ptr<Engine>> engines;
  engines.push_back(make_jade_index());
  engines.push_back(make_hnswlib());
  engines.push_back(make_faiss());
  std::vector<double> build_seconds;
  for (auto& engine : engines) {
    auto begin = Clock::now();
    engine->build(workload.base, workload.metric, arguments.index);
    build_seconds.push_back(seconds_since(begin));
    report.fact((engine->name() + ": build").c_str(), build_seconds.back(), "s");
  }
  std::vector<std::vector<Point>> points(engines.size());
  // In turn, width by width, so that a slow moment hits all alike.
  for (uint32_t ef : arguments.ef) {
    for (size_t i = 0; i < engines.size(); ++i) {
      Engine& engine = *engines[i];
      auto connect = [&] {
        return Searcher([&](size_t query, uint32_t width) {
          std::vector<int64_t> found;
          engine.set_ef(std::max(width, workload.k));
          engine.search(workload.queries.row(query), workload.k, found);
          return found;
        });
      };
      points[i].push_back(measure(workload, connect, ef, 1, arguments.repetitions));
    }
  }
  for (size_t i = 0; i < engines.size(); ++i) report.points(engines[i]->name(), points[i]);
  for (double wanted : {0.95, 0.99}) {
    double ours = rate_at_recall(points[0], wanted);
    for (size_t i = 1; i < engines.size(); ++i) {
      double theirs = rate_at_recall(points[i], wanted);
      char key[96];
      std::snprintf(key, sizeof key, "jade / %s at %.2f", engines[i]->name().c_str(), wanted);
      if (ours > 0 && theirs > 0) {
        report.fact(key, ours / theirs, "times the queries/s");
      } else {
        report.text(std::string(key) + ": not between the measured --ef");
      }
    }
  }
  for (size_t i = 1; i < engines.size(); ++i) {
    report.fact(("build: " + engines[i]->name() + " / jade").c_str(),
                build_seconds[i] / build_seconds[0], "times as long");
  }
}

Status run_bench(Arguments& arguments) {
  if (arguments.clients == 0) {
    arguments.clients = static_cast<uint32_t>(std::max(1l, sysconf(_SC_NPROCESSORS_ONLN)));
  }
  auto workload = load(arguments);
  if (!workload.ok()) return workload.status();
  Report report;
  report.section(std::to_string(workload->base.rows) + " vectors of dimension " +
                 std::to_string(workload->base.dimension) + ", " +
                 std::to_string(workload->queries.rows) + " queries, " + arguments.metric +
                 ", recall@" + std::to_string(arguments.k));
  if (!arguments.skip_node) JADE_RETURN_IF_ERROR(NodeBench(arguments, *workload, report).run());
  if (!arguments.skip_peers) bench_peers(arguments, *workload, report);
  if (arguments.json_file.empty()) return {};
  std::string text = json::serialize(report.facts()) + "\n";
  if (arguments.json_file == "-") {
    std::fputs(text.c_str(), stdout);
    return {};
  }
  std::ofstream out(arguments.json_file);
  out << text;
  out.close();
  if (out) return {};
  return Status(Code::io_error, arguments.json_file + " cannot be written");
}

// Gaussian points in `intrinsic` dimensions around centres, turned into `dimension`
// ones by a random linear map, with a little noise everywhere.
Status make_data(const Arguments& arguments) {
  size_t intrinsic = arguments.intrinsic;
  uint32_t dimension = arguments.dimension;
  if (intrinsic < 1 || intrinsic > dimension || dimension > dimension_max) {
    return invalid_argument("--intrinsic must be 1 to --dimension, which must be at most " +
                            std::to_string(dimension_max));
  }
  std::mt19937_64 random(arguments.seed);
  std::normal_distribution<float> normal;
  std::vector<float> map(intrinsic * dimension), centres(256 * intrinsic), point(intrinsic);
  for (float& value : map) value = normal(random) / std::sqrt(static_cast<float>(intrinsic));
  for (float& value : centres) value = 2 * normal(random);
  std::ofstream out(arguments.out, std::ios::binary);
  auto put = [&](const void* data, size_t size) {
    out.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  };
  auto rows = static_cast<uint32_t>(arguments.make_rows);
  put(&rows, 4);
  put(&dimension, 4);
  std::vector<float> row(dimension);
  for (uint32_t i = 0; i < rows; ++i) {
    size_t centre = random() % 256;
    for (size_t j = 0; j < intrinsic; ++j)
      point[j] = centres[centre * intrinsic + j] + normal(random);
    for (uint32_t d = 0; d < dimension; ++d) {
      float value = 0.05f * normal(random);
      for (size_t j = 0; j < intrinsic; ++j) value += map[j * dimension + d] * point[j];
      row[d] = value;
    }
    put(row.data(), row.size() * 4);
  }
  out.close();
  if (out) return {};
  return Status(Code::io_error, arguments.out + " cannot be written");
}

}  // namespace

void add_bench_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("bench", "Measure the database, beside named peers");
  command->footer(footer);
  command->add_option("--base", arguments->base, "Vectors to store (see jade import --help)");
  command->add_option("--queries", arguments->queries, "Vectors to search for");
  command->add_option("--truth", arguments->truth, "Their exact neighbours: .ibin or .ivecs");
  command->add_option("--metric", arguments->metric, "cosine, l2 or dot")->capture_default_str();
  command->add_option("--rows", arguments->rows, "Use only the first rows of the base")
      ->check(CLI::PositiveNumber);
  command->add_option("--max-queries", arguments->queries_max, "Use only the first queries")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--k", arguments->k, "Neighbours to find")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--ef", arguments->ef, "Beam widths to measure, ascending")
      ->delimiter(',')
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--clients", arguments->clients, "Clients at once; one a core if not given")
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--repetitions", arguments->repetitions,
                   "Of each measurement; the median counts")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--json", arguments->json_file,
                      "Write the figures to a file, or - for standard output");
  command->add_flag("--skip-peers", arguments->skip_peers, "Only the node");
  command->add_flag("--skip-node", arguments->skip_node, "Only the libraries");

  CLI::App* make = command->add_subcommand("make", "Make vectors of a known intrinsic dimension");
  make->add_option("--rows", arguments->make_rows)
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  make->add_option("--dimension", arguments->dimension)->capture_default_str();
  make->add_option("--intrinsic", arguments->intrinsic, "Dimensions that matter")
      ->capture_default_str();
  make->add_option("--seed", arguments->seed)->capture_default_str();
  make->add_option("--out", arguments->out, "An .fbin file")->required();

  command->callback([arguments, make, &exit_code] {
    Status status;
    if (make->parsed()) {
      status = make_data(*arguments);
    } else if (arguments->base.empty() || arguments->queries.empty()) {
      status = invalid_argument("--base and --queries are needed");
    } else {
      status = run_bench(*arguments);
    }
    if (!status.ok()) std::fprintf(stderr, "jade bench: %s\n", status.message().c_str());
    exit_code = status.ok() ? 0 : 1;
  });
}

}  // namespace jade
