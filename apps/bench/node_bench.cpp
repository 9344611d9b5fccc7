#include "apps/bench/node_bench.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "actors/jade.h"
#include "apps/bench/bench_directory.h"
#include "apps/bench/http_searcher.h"
#include "apps/bench/matrix_reader.h"
#include "apps/bench/memory.h"
#include "apps/import/importer.h"
#include "net/http_server.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Of all files of a directory.
uint64_t disk_bytes(const std::filesystem::path& directory) {
  uint64_t bytes = 0;
  std::error_code gone;  // while it is read
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, gone)) {
    const uint64_t size = entry.is_regular_file(gone) ? entry.file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

class NodeBench {
 public:
  NodeBench(const NodeBenchOptions& options, const Workload& workload, Report& report)
      : options_(options), workload_(workload), report_(report) {}

  Status run() {
    JADE_RETURN_IF_ERROR(open());
    report_.section("Ingest, durable, over HTTP");
    JADE_RETURN_IF_ERROR(ingest("json", true));
    const Footprint empty = footprint();
    JADE_RETURN_IF_ERROR(ingest("vectors", false));
    auto begin = Clock::now();
    JADE_RETURN_IF_ERROR(node_->wait_until_indexed("vectors"));
    report_.fact("until all is indexed", seconds_since(begin), "s");
    const Footprint imported = footprint();
    report_.fact("memory per vector", per_vector(imported.memory - empty.memory), "bytes");
    report_.fact("on disk per vector", per_vector(imported.disk - empty.disk), "bytes");
    JADE_RETURN_IF_ERROR(restart());
    search();
    JADE_RETURN_IF_ERROR(search_while_importing());
    JADE_RETURN_IF_ERROR(compare_with_fresh(empty, imported));
    server_->stop(1000);
    JADE_RETURN_IF_ERROR(node_->close());
    return ingest_in_process();
  }

 private:
  // Of the process, and of the node's files.
  struct Footprint {
    double memory, disk;  // bytes
  };
  Footprint footprint() const {
    return {static_cast<double>(resident_bytes()),
            static_cast<double>(disk_bytes(scratch_.path() / "data"))};
  }
  double per_vector(double bytes) const { return bytes / static_cast<double>(workload_.base.rows); }

  Status open() {
    NodeOptions options;
    options.data_dir = (scratch_.path() / "data").string();
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

  DatabaseSpec spec_of(const std::string& database) const {
    DatabaseSpec spec;
    spec.name = database;
    spec.dimension = workload_.base.dimension;
    spec.metric = workload_.metric;
    spec.datatype = options_.datatype;
    spec.index = options_.index;
    return spec;
  }

  // Over HTTP, all or the first so many. Returns vectors/s.
  Result<double> write(const std::string& database, bool json_body, uint64_t rows_max) {
    MatrixReader reader(workload_.base);
    ImportOptions import;
    import.url = url_;
    import.database = database;
    import.json = json_body;
    import.rows_max = std::min<uint64_t>(workload_.base.rows, rows_max);
    const std::atomic<bool> stop{false};
    auto outcome = run_import(
        reader, import, stop, [](const ImportProgress&) {}, [](const std::string&) {});
    if (!outcome.ok()) return outcome.status();
    return static_cast<double>(outcome->rows) / outcome->seconds;
  }

  Status ingest(const std::string& database, bool json_body) {
    auto created = node_->create_database(spec_of(database));
    if (!created.ok()) return created.status();
    // JSON is for the rate only; its copy of the data goes again.
    auto written = write(database, json_body, json_body ? 30000 : UINT64_MAX);
    if (!written.ok()) return written.status();
    const double rate = *written;
    report_.fact(json_body ? "JSON body" : "binary body", rate, "vectors/s");
    if (!json_body) {
      http_ingest_ = rate;
      return {};
    }
    auto dropped = node_->drop_database(database);
    return dropped.ok() ? Status() : dropped.status();
  }

  // Into another node, so that its memory and files are not those that are measured;
  // as many and as large requests at once as over HTTP.
  Status ingest_in_process() {
    BenchDirectory scratch;
    NodeOptions options;
    options.data_dir = (scratch.path() / "data").string();
    auto node = Node::open(options);
    if (!node.ok()) return node.status();
    auto created = (*node)->create_database(spec_of("vectors"));
    if (!created.ok()) return created.status();
    MatrixReader reader(workload_.base);
    const ImportOptions import;
    std::mutex mutex;
    Status failure;
    auto send_all = [&] {
      for (;;) {
        RowPiece piece;
        {
          std::lock_guard lock(mutex);
          auto read = reader.read(import.batch_rows, import.batch_bytes);
          if (!failure.ok() || !read.ok() || read->rows == 0) return;
          piece = std::move(*read);
        }
        UpsertRequest request;
        request.database = "vectors";
        request.dimension = workload_.base.dimension;
        for (size_t i = 0; i < piece.rows; ++i) request.ids.emplace_back(piece.first_row + i);
        request.values = std::move(piece.values);
        auto reply = (*node)->upsert(std::move(request));
        std::lock_guard lock(mutex);
        if (!reply.ok() && failure.ok()) failure = reply.status();
      }
    };
    auto begin = Clock::now();
    std::vector<std::thread> senders;
    for (uint32_t i = 0; i < import.connections; ++i) senders.emplace_back(send_all);
    for (std::thread& sender : senders) sender.join();
    double rate = static_cast<double>(workload_.base.rows) / seconds_since(begin);
    JADE_RETURN_IF_ERROR(failure);
    report_.section("Ingest, durable, in process");
    report_.fact("in process", rate, "vectors/s");
    report_.fact("binary body over HTTP / in process", http_ingest_ / rate, "times");
    return (*node)->close();
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

  // All rows are written once more while clients search without pause.
  Status search_while_importing() {
    const std::string suffix = ", " + clients_text(options_.clients);
    report_.section("Searches over HTTP beside an import, default ef" + suffix);
    std::mutex mutex;
    std::vector<double> latencies;  // of all searches since they were taken last, in ms
    std::atomic<bool> stop{false};
    // Each client until `most` searches, or the stop.
    auto start = [&](uint64_t most) {
      std::vector<std::thread> clients;
      for (uint32_t i = 0; i < options_.clients; ++i) {
        clients.emplace_back([this, i, most, &mutex, &latencies, &stop] {
          Searcher search = over_http("vectors");
          for (uint64_t n = 0; n < most && !stop; ++n) {
            auto begin = Clock::now();
            search((i + n) % workload_.queries.rows, options_.index.ef_search);
            const double ms = 1000 * seconds_since(begin);
            std::lock_guard lock(mutex);
            latencies.push_back(ms);
          }
        });
      }
      return clients;
    };
    auto join = [](std::vector<std::thread> clients) {
      for (std::thread& client : clients) client.join();
    };
    struct Pace {
      double rate = 0;              // searches/s
      double p99 = 0, largest = 0;  // ms
    };
    // That of searches while `work` goes on.
    auto pace_beside = [&](const auto& work) {
      auto take = [&] {
        std::lock_guard lock(mutex);
        return std::exchange(latencies, {});
      };
      take();
      auto begin = Clock::now();
      work();
      const double seconds = seconds_since(begin);
      auto taken = take();
      if (taken.empty()) return Pace();
      std::sort(taken.begin(), taken.end());
      return Pace{static_cast<double>(taken.size()) / seconds, percentile(taken, 99), taken.back()};
    };
    join(start(options_.measure.searches_min));  // to warm up
    const Pace idle = pace_beside([&] { join(start(5 * options_.measure.searches_min)); });
    auto clients = start(UINT64_MAX);
    Status status;
    double import_rate = 0;
    const Pace importing = pace_beside([&] {
      auto written = write("vectors", false, UINT64_MAX);
      status = written.status();
      if (written.ok()) import_rate = *written;
    });
    auto begin = Clock::now();
    const Pace indexing = pace_beside([&] {
      if (status.ok()) status = node_->wait_until_indexed("vectors");
    });
    const double indexing_seconds = seconds_since(begin);
    stop = true;
    join(std::move(clients));
    JADE_RETURN_IF_ERROR(status);
    auto latency = [&](const Pace& pace, const std::string& when) {
      report_.fact("p99 " + when, pace.p99, "ms");
      report_.fact("the longest " + when, pace.largest, "ms");
    };
    report_.fact("searches with nothing else to do", idle.rate, "searches/s");
    latency(idle, "with nothing else to do");
    report_.fact("of these, while vectors are imported", importing.rate / idle.rate, "times");
    latency(importing, "while vectors are imported");
    report_.fact("import meanwhile", import_rate, "vectors/s");
    report_.fact("of these, until all is indexed", indexing.rate / idle.rate, "times");
    latency(indexing, "until all is indexed");
    report_.fact("which takes, beside searches", indexing_seconds, "s");
    return {};
  }

  // Writes all once more, and measures them beside an import that nothing came after.
  Status compare_with_fresh(const Footprint& empty, const Footprint& imported) {
    report_.section("After every vector was written twice more, beside a fresh import");
    auto written = write("vectors", false, UINT64_MAX);
    if (!written.ok()) return written.status();
    JADE_RETURN_IF_ERROR(node_->wait_until_indexed("vectors"));
    const Footprint now = footprint();
    auto created = node_->create_database(spec_of("fresh"));
    if (!created.ok()) return created.status();
    written = write("fresh", false, UINT64_MAX);
    if (!written.ok()) return written.status();
    JADE_RETURN_IF_ERROR(node_->wait_until_indexed("fresh"));
    MeasureOptions measuring = options_.measure;
    measuring.clients = options_.clients;
    const std::string suffix = ", " + clients_text(options_.clients);
    auto curves = measure(workload_,
                          {{"written twice more" + suffix, [this] { return over_http("vectors"); }},
                           {"fresh" + suffix, [this] { return over_http("fresh"); }}},
                          measuring);
    for (const Curve& curve : curves) report_.curve(curve);
    for (size_t i = 0; i < measuring.ef.size(); ++i) {
      const std::string key = "written twice more / fresh, ef " + std::to_string(measuring.ef[i]);
      report_.ratio(key, rate_ratio(curves[0].points[i], curves[1].points[i]),
                    "times the queries/s");
    }
    // In the same process, whose block cache is as full by then: of the first import it was empty.
    auto dropped = node_->drop_database("vectors");
    if (!dropped.ok()) return dropped.status();
    const Footprint fresh = footprint();
    auto compare = [&](const std::string& what, double Footprint::*of) {
      const double more = now.*of - empty.*of;
      report_.fact(what + " / fresh", more / (fresh.*of - empty.*of), "times");
      report_.fact(what + " / that after the first import", more / (imported.*of - empty.*of),
                   "times");
    };
    compare("memory, written twice more", &Footprint::memory);
    compare("on disk, written twice more", &Footprint::disk);
    dropped = node_->drop_database("fresh");
    return dropped.ok() ? Status() : dropped.status();
  }

  Searcher over_http(const std::string& database) {
    return http_searcher(url_, database, workload_);
  }

  void search() {
    auto in_process = [this] {
      return Searcher([this](size_t query, uint32_t ef) {
        SearchRequest request = bench_request(workload_.k, ef);
        request.database = "vectors";
        const float* row = workload_.queries.row(query);
        request.vector.assign(row, row + workload_.queries.dimension);
        auto reply = node_->search(std::move(request));
        JADE_ASSERT(reply.ok());
        return ids_of(*reply);
      });
    };
    std::vector<uint32_t> clients = {1};
    if (options_.clients > 1) clients.push_back(options_.clients);
    for (uint32_t n : clients) {
      std::string suffix = ", " + clients_text(n);
      report_.section("Searches" + suffix);
      MeasureOptions measuring = options_.measure;
      measuring.clients = n;
      auto curves = measure(workload_,
                            {{"node in process" + suffix, in_process},
                             {"node over HTTP" + suffix, [this] { return over_http("vectors"); }}},
                            measuring);
      for (const Curve& curve : curves) report_.curve(curve);
      for (size_t i = 0; i < measuring.ef.size(); ++i) {
        if (measuring.ef[i] != options_.index.ef_search) continue;
        report_.ratio("HTTP / in process, default ef" + suffix,
                      rate_ratio(curves[1].points[i], curves[0].points[i]), "times");
      }
    }
  }

  const NodeBenchOptions& options_;
  const Workload& workload_;
  Report& report_;
  BenchDirectory scratch_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<HttpServer> server_;
  std::string url_;
  double http_ingest_ = 0;  // vectors/s
};

}  // namespace

Status bench_node(const NodeBenchOptions& options, const Workload& workload, Report& report) {
  return NodeBench(options, workload, report).run();
}

}  // namespace jade
