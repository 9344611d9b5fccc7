#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>

#include "apps/bench/cluster_bench.h"
#include "apps/bench/engine.h"
#include "apps/bench/filter_bench.h"
#include "apps/bench/growth_bench.h"
#include "apps/bench/make_data.h"
#include "apps/bench/measure.h"
#include "apps/bench/memory.h"
#include "apps/bench/node_bench.h"
#include "apps/bench/report.h"
#include "apps/bench/scan_bench.h"
#include "apps/commands.h"
#include "index/worker_pool.h"

namespace jade {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr const char* footer = R"(
Loads the base vectors into a node of its own (in a temporary directory), over HTTP
on this machine, and measures: the rate of durable ingest, the time until all is
indexed, memory, start-up, and ingest and searches in process (the embedded node)
beside those over HTTP. Beside it, in the same run and on one thread, our index alone,
hnswlib (compiled for this processor) and FAISS's own HNSW, with the same M and
efConstruction, as ratios at equal recall; and how much faster all cores build our index.
What is compared is measured in turn, in several rounds; of each ratio the median is given,
and the least and the largest of a round. Then exact scans beside what the memory delivers,
and searches with filters beside those without, by how many rows match and where they are,
with made-up metadata. With --cluster, three nodes in processes of their own: imports into
three replicas beside those into one node, and searches through a node that has not got the
shard beside those through the one that has, with 1, 8 and 32 clients. Without --truth the
exact neighbours are computed first.

Examples:
  jade bench --base base.fvecs --queries query.fvecs --truth truth.ivecs --metric l2
  jade bench --base base.npy --queries queries.npy --metric cosine --rows 20000 --json -
  jade bench make --rows 100000 --dimension 128 --intrinsic 16 --out made.fbin)";

struct Arguments {
  WorkloadOptions workload;
  std::string json_file;
  uint32_t clients = 0, repetitions = 3;
  std::vector<std::string> quantization = {"sq8"}, vectors = {"memory"};
  std::vector<std::string> datatype = {"float32"};
  std::vector<uint32_t> ef = {10, 16, 24, 32, 64, 128, 256};
  bool skip_peers = false, only_ours = false, skip_faiss = false, ivf = false;
  bool skip_node = false, skip_filters = false, skip_scans = false, growth = false;
  bool cluster = false;
  MakeOptions make;
};

Result<std::vector<EngineKind>> kinds_of(const Arguments& arguments, Datatype datatype) {
  std::vector<EngineKind> out;
  for (const std::string& place : arguments.vectors) {
    auto vectors = parse_vector_place(place);
    if (!vectors.ok()) return vectors.status();
    for (const std::string& name : arguments.quantization) {
      auto quantization = parse_quantization(name);
      if (!quantization.ok()) return quantization.status();
      bool walkable = *vectors == VectorPlace::memory || *quantization != Quantization::none;
      if (walkable) out.push_back({*quantization, *vectors, datatype});
    }
  }
  if (out.empty()) return invalid_argument("--vectors disk needs a --quantization to walk by");
  return out;
}

Result<std::vector<EngineKind>> kinds_of(const Arguments& arguments) {
  std::vector<EngineKind> out;
  for (const std::string& name : arguments.datatype) {
    auto datatype = parse_datatype(name);
    if (!datatype.ok()) return datatype.status();
    auto kinds = kinds_of(arguments, *datatype);
    if (!kinds.ok()) return kinds.status();
    out.insert(out.end(), kinds->begin(), kinds->end());
    if (!arguments.ivf) continue;
    EngineKind lists{Quantization::none, VectorPlace::memory, *datatype};
    lists.index = IndexKind::ivf;
    out.push_back(lists);
  }
  return out;
}

Status check_datatypes(const std::vector<EngineKind>& kinds, const Workload& workload) {
  const auto& values = workload.base.values;
  for (const EngineKind& kind : kinds) {
    size_t at = 0;
    const char* wrong = refusal(kind.datatype, values.data(), values.size(), at);
    if (wrong == nullptr) continue;
    const uint32_t dimension = workload.base.dimension;
    return invalid_argument(
        "value " + std::to_string(at % dimension) + " of row " + std::to_string(at / dimension) +
        " of the base " + wrong +
        (workload.metric == Metric::cosine ? "; under cosine the base is normalised" : ""));
  }
  return {};
}

// Of datatypes, at equal recall, against float32 in the same run.
void report_datatypes(const std::vector<EngineKind>& kinds, const std::vector<Curve>& curves,
                      double wanted, const std::string& recall, Report& report) {
  for (size_t i = 0; i < kinds.size(); ++i) {
    for (size_t j = 0; j < kinds.size(); ++j) {
      if (kinds[i].datatype == Datatype::float32 || kinds[j].datatype != Datatype::float32 ||
          kinds[i].quantization != kinds[j].quantization || kinds[i].vectors != kinds[j].vectors ||
          kinds[i].index != kinds[j].index) {
        continue;
      }
      std::string key = curves[i].name + " / " + curves[j].name + " at " + recall;
      if (auto ratio = rate_ratio_at_recall(curves[i], curves[j], wanted)) {
        report.ratio(key, *ratio, "times the queries/s");
      } else {
        report.text(key + ": not between the measured --ef");
      }
    }
  }
}

// Searches at the first beam width that reaches a recall of 0.95, each after the kernel has
// forgotten all vectors.
void bench_cold(Engine& engine, const Curve& curve, const Workload& workload, Report& report) {
  if (!engine.forget_disk()) return;
  auto point = std::find_if(curve.points.begin(), curve.points.end(),
                            [](const Point& p) { return p.recall >= 0.95; });
  if (point == curve.points.end()) --point;
  engine.set_ef(std::max(point->ef, workload.k));
  std::vector<double> taken;
  std::vector<int64_t> found;
  for (size_t q = 0; q < workload.queries.rows; ++q) {
    engine.forget_disk();
    auto begin = Clock::now();
    engine.search(workload.queries.row(q), workload.k, found);
    taken.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  std::sort(taken.begin(), taken.end());
  std::string name = curve.name + ": nothing cached, ef " + std::to_string(point->ef);
  report.fact(name + ": p50", percentile(taken, 50), "us");
  report.fact(name + ": p99", percentile(taken, 99), "us");
}

// The same index once more, built by all cores, against how long one thread took.
void bench_cores(const EngineKind& kind, const std::string& name, double one_thread_seconds,
                 const Workload& workload, Report& report) {
  const auto cores = static_cast<uint32_t>(std::max(1l, sysconf(_SC_NPROCESSORS_ONLN)));
  WorkerPool pool(cores);
  EngineKind shared = kind;
  shared.workers = &pool;
  auto engine = make_jade_index(shared, std::make_shared<SharedGraph>());
  auto begin = Clock::now();
  engine->build(workload.base, workload.metric, IndexOptions());
  double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  report.fact(name + ": build on " + std::to_string(cores) + " cores", seconds, "s");
  report.fact(name + ": scales with " + std::to_string(cores) + " cores",
              one_thread_seconds / seconds, "times as fast as one thread");
}

// What a build took, for a million vectors. `peak`: of memory, with the rows that it was given.
void report_build(const std::string& name, double seconds, std::optional<size_t> peak,
                  const Workload& workload, Report& report) {
  const double millions = static_cast<double>(workload.base.rows) / 1e6;
  report.fact(name + ": build, a million vectors", seconds / millions, "s");
  if (!peak) return;
  const double mb = static_cast<double>(*peak) / 1e6;
  report.fact(name + ": build, memory at most, a million vectors", mb / millions, "MB");
}

void bench_peers(const MeasureOptions& measuring, const std::vector<EngineKind>& kinds,
                 const Arguments& arguments, const Workload& workload, Report& report) {
  const IndexOptions index;
  report.section("Libraries on one thread, M " + std::to_string(index.m) + ", efConstruction " +
                 std::to_string(index.ef_construction));
  std::vector<std::unique_ptr<Engine>> engines;
  auto graph = std::make_shared<SharedGraph>();
  for (const EngineKind& kind : kinds) engines.push_back(make_jade_index(kind, graph));
  if (!arguments.only_ours) {
    engines.push_back(make_hnswlib());
    if (!arguments.skip_faiss) engines.push_back(make_faiss());
  }
  std::vector<double> build_seconds;
  std::vector<Contestant> contestants;
  for (auto& owned : engines) {
    Engine& engine = *owned;
    PeakMemory memory;
    auto begin = Clock::now();
    engine.build(workload.base, workload.metric, index);
    build_seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    const auto peak = memory.bytes();
    const size_t i = contestants.size();
    bool shares = i > 0 && i < kinds.size() && kinds[i].datatype == kinds[i - 1].datatype &&
                  kinds[i].index == IndexKind::hnsw;
    report.fact(engine.name() + (shares ? ": codes for the same graph" : ": build"),
                build_seconds.back(), "s");
    if (!shares) report_build(engine.name(), build_seconds.back(), peak, workload, report);
    // Measured next to each other, as the machine may be busier later.
    if (i == 0) {
      bench_cores(kinds.front(), engine.name(), build_seconds.front(), workload, report);
    }
    if (engine.memory_bytes() > 0) {
      report.fact(
          engine.name() + ": memory",
          static_cast<double>(engine.memory_bytes()) / static_cast<double>(workload.base.rows),
          "bytes/vector");
    }
    if (engine.disk_bytes() > 0) {
      report.fact(
          engine.name() + ": on disk",
          static_cast<double>(engine.disk_bytes()) / static_cast<double>(workload.base.rows),
          "bytes/vector");
    }
    contestants.push_back(contestant_of(engine, workload));
  }
  auto curves = measure(workload, contestants, measuring);
  for (const Curve& curve : curves) report.curve(curve);
  for (size_t i = 0; i < kinds.size(); ++i) bench_cold(*engines[i], curves[i], workload, report);
  for (double wanted : {0.95, 0.99}) {
    char recall[16];
    std::snprintf(recall, sizeof recall, "%.2f", wanted);
    report_datatypes(kinds, curves, wanted, recall, report);
    for (size_t ours = 0; ours < kinds.size(); ++ours) {
      for (size_t i = kinds.size(); i < curves.size(); ++i) {
        std::string key = curves[ours].name + " / " + curves[i].name + " at " + recall;
        if (auto ratio = rate_ratio_at_recall(curves[ours], curves[i], wanted)) {
          report.ratio(key, *ratio, "times the queries/s");
        } else {
          report.text(key + ": not between the measured --ef");
        }
      }
    }
  }
  for (size_t i = kinds.size(); i < curves.size(); ++i) {
    report.fact("build: " + curves[i].name + " / " + curves[0].name,
                build_seconds[i] / build_seconds[0], "times as long");
  }
}

Status run_bench(const Arguments& arguments) {
  const WorkloadOptions& options = arguments.workload;
  if (options.base.empty() || options.queries.empty()) {
    return invalid_argument("--base and --queries are needed");
  }
  MeasureOptions measuring;
  measuring.ef = arguments.ef;
  std::sort(measuring.ef.begin(), measuring.ef.end());
  measuring.ef.erase(std::unique(measuring.ef.begin(), measuring.ef.end()), measuring.ef.end());
  measuring.rounds = arguments.repetitions;
  auto kinds = kinds_of(arguments);
  if (!kinds.ok()) return kinds.status();
  NodeBenchOptions node;
  node.index.quantization = kinds->front().quantization;
  node.index.vectors = kinds->front().vectors;
  node.datatype = kinds->front().datatype;
  node.measure = measuring;
  node.clients = arguments.clients;
  if (node.clients == 0) {
    node.clients = static_cast<uint32_t>(std::max(1l, sysconf(_SC_NPROCESSORS_ONLN)));
  }
  if (options.computes_truth()) std::fprintf(stderr, "computing exact neighbours\n");
  auto workload = load_workload(options);
  if (!workload.ok()) return workload.status();
  JADE_RETURN_IF_ERROR(check_datatypes(*kinds, *workload));
  Report report([](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); });
  report.section(std::to_string(workload->base.rows) + " vectors of dimension " +
                 std::to_string(workload->base.dimension) + ", " +
                 std::to_string(workload->queries.rows) + " queries, " + options.metric +
                 ", recall@" + std::to_string(options.k));
  report.note("workload", {{"rows", workload->base.rows},
                           {"dimension", workload->base.dimension},
                           {"queries", workload->queries.rows},
                           {"metric", options.metric},
                           {"k", options.k}});
  if (!arguments.skip_node) JADE_RETURN_IF_ERROR(bench_node(node, *workload, report));
  if (arguments.cluster) {
    ClusterBenchOptions cluster;
    cluster.index = node.index;
    cluster.datatype = node.datatype;
    cluster.measure = measuring;
    if (arguments.clients > 0) cluster.clients = {arguments.clients};
    JADE_RETURN_IF_ERROR(bench_cluster(cluster, *workload, report));
  }
  if (!arguments.skip_peers) {
    bench_peers(measuring, *kinds, arguments, *workload, report);
  }
  if (arguments.growth) bench_growth(kinds->front(), measuring, *workload, report);
  if (!arguments.skip_scans) {
    bench_scans({arguments.repetitions, kinds->front().datatype}, *workload, report);
  }
  if (!arguments.skip_filters) {
    FilterBenchOptions filters;
    filters.rounds = arguments.repetitions;
    bench_filters(filters, *workload, report);
  }
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

}  // namespace

void add_bench_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("bench", "Measure the database, beside named peers");
  command->footer(footer);
  command->add_option("--base", arguments->workload.base,
                      "Vectors to store (see jade import --help)");
  command->add_option("--queries", arguments->workload.queries, "Vectors to search for");
  command->add_option("--truth", arguments->workload.truth,
                      "Their exact neighbours: .ibin or .ivecs");
  command->add_option("--metric", arguments->workload.metric, "cosine, l2 or dot")
      ->capture_default_str();
  command->add_option("--rows", arguments->workload.rows, "Use only the first rows of the base")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--max-queries", arguments->workload.queries_max, "Use only the first queries")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--k", arguments->workload.k, "Neighbours to find")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--ef", arguments->ef, "Beam widths to measure")
      ->delimiter(',')
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command
      ->add_option("--quantization", arguments->quantization,
                   "What graphs are walked by: sq8, sq4, rabitq, pq or none; of several, the node "
                   "has the first")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--vectors", arguments->vectors,
                   "Where vectors are kept: memory or disk; the node has the first")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--datatype", arguments->datatype,
                   "As what vectors are stored: float32, float16 or uint8; the node has the first")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--clients", arguments->clients,
                   "Clients at once; if not given one a core, and of --cluster 1, 8 and 32")
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--repetitions", arguments->repetitions,
                   "Rounds of all measurements; the median counts")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--json", arguments->json_file,
                      "Write the figures to a file, or - for standard output");
  command->add_flag("--skip-peers", arguments->skip_peers, "Without the libraries");
  command->add_flag("--ivf", arguments->ivf,
                    "Of ours, inverted lists too, of which so many as --ef says are visited");
  command->add_flag("--only-ours", arguments->only_ours, "Of the libraries, our index alone");
  command->add_flag("--skip-faiss", arguments->skip_faiss,
                    "Of the libraries, not FAISS: it builds longest");
  command->add_flag("--skip-node", arguments->skip_node, "Without the node");
  command->add_flag("--skip-filters", arguments->skip_filters, "Without filtered searches");
  command->add_flag("--skip-scans", arguments->skip_scans, "Without exact scans");
  command->add_flag("--growth", arguments->growth,
                    "Also our index of a hundredth of the rows and more, to see how it slows down");

  command->add_flag("--cluster", arguments->cluster,
                    "Also imports into 3 nodes, and searches through a node without the shard");

  CLI::App* make = command->add_subcommand("make", "Make vectors of a known intrinsic dimension");
  make->add_option("--rows", arguments->make.rows)
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  make->add_option("--dimension", arguments->make.dimension)->capture_default_str();
  make->add_option("--intrinsic", arguments->make.intrinsic, "Dimensions that matter")
      ->capture_default_str();
  make->add_option("--seed", arguments->make.seed)->capture_default_str();
  make->add_option(
          "--skip", arguments->make.skip,
          "Leave out the first rows: of the same seed, for queries that are not in the base")
      ->capture_default_str();
  make->add_option("--out", arguments->make.out, "An .fbin file")->required();

  command->callback([arguments, make, &exit_code] {
    Status status = make->parsed() ? make_data(arguments->make) : run_bench(*arguments);
    if (!status.ok()) std::fprintf(stderr, "jade bench: %s\n", status.message().c_str());
    exit_code = status.ok() ? 0 : 1;
  });
}

}  // namespace jade
