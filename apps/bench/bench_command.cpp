#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>

#include "apps/bench/engine.h"
#include "apps/bench/filter_bench.h"
#include "apps/bench/make_data.h"
#include "apps/bench/measure.h"
#include "apps/bench/node_bench.h"
#include "apps/bench/report.h"
#include "apps/commands.h"

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
efConstruction, as ratios at equal recall. What is compared is measured in turn, in
several rounds; of each ratio the median is given, and the least and the largest of a
round. At last searches with filters beside those without, by how many rows match and
where they are, with made-up metadata. Without --truth the exact neighbours are computed first.

Examples:
  jade bench --base base.fvecs --queries query.fvecs --truth truth.ivecs --metric l2
  jade bench --base base.npy --queries queries.npy --metric cosine --rows 20000 --json -
  jade bench make --rows 100000 --dimension 128 --intrinsic 16 --out made.fbin)";

struct Arguments {
  WorkloadOptions workload;
  std::string json_file;
  uint32_t clients = 0, repetitions = 3;
  std::vector<std::string> quantization = {"sq8"};
  std::vector<uint32_t> ef = {10, 16, 24, 32, 64, 128, 256};
  bool skip_peers = false, skip_node = false, skip_filters = false;
  MakeOptions make;
};

void bench_peers(const MeasureOptions& measuring, const std::vector<Quantization>& kinds,
                 const Workload& workload, Report& report) {
  const IndexOptions index;
  report.section("Libraries on one thread, M " + std::to_string(index.m) + ", efConstruction " +
                 std::to_string(index.ef_construction));
  std::vector<std::unique_ptr<Engine>> engines;
  for (Quantization kind : kinds) engines.push_back(make_jade_index(kind));
  engines.push_back(make_hnswlib());
  engines.push_back(make_faiss());
  std::vector<double> build_seconds;
  std::vector<Contestant> contestants;
  for (auto& owned : engines) {
    Engine& engine = *owned;
    auto begin = Clock::now();
    engine.build(workload.base, workload.metric, index);
    build_seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    report.fact(engine.name() + ": build", build_seconds.back(), "s");
    contestants.push_back({engine.name(), [&engine, &workload] {
                             return Searcher([&](size_t query, uint32_t ef) {
                               std::vector<int64_t> found;
                               engine.set_ef(std::max(ef, workload.k));
                               engine.search(workload.queries.row(query), workload.k, found);
                               return found;
                             });
                           }});
  }
  auto curves = measure(workload, contestants, measuring);
  for (const Curve& curve : curves) report.curve(curve);
  for (double wanted : {0.95, 0.99}) {
    for (size_t ours = 0; ours < kinds.size(); ++ours) {
      for (size_t i = kinds.size(); i < curves.size(); ++i) {
        char recall[16];
        std::snprintf(recall, sizeof recall, "%.2f", wanted);
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
  std::vector<Quantization> kinds;
  for (const std::string& name : arguments.quantization) {
    auto kind = parse_quantization(name);
    if (!kind.ok()) return kind.status();
    if (std::find(kinds.begin(), kinds.end(), *kind) == kinds.end()) kinds.push_back(*kind);
  }
  NodeBenchOptions node;
  node.index.quantization = kinds.front();
  node.measure = measuring;
  node.clients = arguments.clients;
  if (node.clients == 0) {
    node.clients = static_cast<uint32_t>(std::max(1l, sysconf(_SC_NPROCESSORS_ONLN)));
  }
  if (options.computes_truth()) std::fprintf(stderr, "computing exact neighbours\n");
  auto workload = load_workload(options);
  if (!workload.ok()) return workload.status();
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
  if (!arguments.skip_peers) bench_peers(measuring, kinds, *workload, report);
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
      ->add_option(
          "--quantization", arguments->quantization,
          "What graphs are walked by: sq8, sq4, rabitq or none; of several, the node has the first")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--clients", arguments->clients, "Clients at once; one a core if not given")
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--repetitions", arguments->repetitions,
                   "Rounds of all measurements; the median counts")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--json", arguments->json_file,
                      "Write the figures to a file, or - for standard output");
  command->add_flag("--skip-peers", arguments->skip_peers, "Without the libraries");
  command->add_flag("--skip-node", arguments->skip_node, "Without the node");
  command->add_flag("--skip-filters", arguments->skip_filters, "Without filtered searches");

  CLI::App* make = command->add_subcommand("make", "Make vectors of a known intrinsic dimension");
  make->add_option("--rows", arguments->make.rows)
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  make->add_option("--dimension", arguments->make.dimension)->capture_default_str();
  make->add_option("--intrinsic", arguments->make.intrinsic, "Dimensions that matter")
      ->capture_default_str();
  make->add_option("--seed", arguments->make.seed)->capture_default_str();
  make->add_option("--out", arguments->make.out, "An .fbin file")->required();

  command->callback([arguments, make, &exit_code] {
    Status status = make->parsed() ? make_data(arguments->make) : run_bench(*arguments);
    if (!status.ok()) std::fprintf(stderr, "jade bench: %s\n", status.message().c_str());
    exit_code = status.ok() ? 0 : 1;
  });
}

}  // namespace jade
