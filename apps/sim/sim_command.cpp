#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/sim/scenario.h"
#include "sim/simulation.h"

namespace jade {
namespace {

constexpr const char* footer = R"(
Runs a production node, or a whole cluster of them, on virtual time, simulated disks
and network and a random schedule, under a random workload and random faults, and
checks that no acknowledged write is lost, that exact searches equal brute force,
that k results come whenever k rows match, that replicas are equal and that restarts
change nothing. The same seed gives the same run.

Exit codes: 0 all seeds passed; 1 a check failed, with the command that replays it.

Examples:
  jade sim --seed 1 --seeds 100
  jade sim --nodes 3 --seconds 60
  jade sim --scenario sim/scenarios/membership.toml --seeds 10
  jade sim --seed 4711 --without power_loss,pause --seconds 60)";

struct Arguments {
  sim::SimulationOptions options;
  std::string scenario;  // file; "": none
  std::vector<std::string> without;
  uint64_t seeds = 1;
  double seconds = 20;
  bool twice = false;
  bool log = false;
};

constexpr size_t last_lines_max = 60;

using Count = unsigned long long;

void print(const sim::SimulationReport& report, double real_seconds) {
  double simulated = static_cast<double>(report.simulated_ns) / 1e9;
  std::printf(
      "seed %llu  trace %016llx  %s  %.1f s simulated, %.0f per real second  %llu writes (%llu "
      "failed)  %llu reads  %llu searches (%llu eventual, %llu without all shards)  %llu "
      "checkpoints ",
      static_cast<Count>(report.seed), static_cast<Count>(report.trace_hash),
      report.failure.empty() ? "ok" : "FAILED", simulated, simulated / real_seconds,
      static_cast<Count>(report.writes_acknowledged), static_cast<Count>(report.writes_failed),
      static_cast<Count>(report.reads_checked), static_cast<Count>(report.searches_checked),
      static_cast<Count>(report.eventual_searched), static_cast<Count>(report.lacking_shards),
      static_cast<Count>(report.checkpoints));
  for (const auto& [fault, times] : report.faults) {
    std::printf(" %s %llu", sim::name_of(fault), static_cast<Count>(times));
  }
  if (report.bytes_sent > 0) {
    std::printf("  %.1f MB between nodes", static_cast<double>(report.bytes_sent) / 1e6);
  }
  std::printf("\n");
  std::fflush(stdout);
}

// The command that runs one seed of these options again.
std::string replay_command(const Arguments& arguments, uint64_t seed) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%g", arguments.seconds);
  std::string command = "jade sim --seed " + std::to_string(seed) + " --seconds " + seconds;
  if (!arguments.scenario.empty()) command += " --scenario " + arguments.scenario;
  const sim::SimulationOptions& options = arguments.options;
  if (options.nodes > 1) {
    command +=
        " --nodes " + std::to_string(options.nodes) + " --spares " + std::to_string(options.spares);
  }
  for (size_t i = 0; i < arguments.without.size(); ++i) {
    command += (i == 0 ? " --without " : ",") + arguments.without[i];
  }
  return command;
}

// Of a seed that has failed. It is run again for that, as keeping the log of all would take time.
void print_last_lines(const sim::SimulationOptions& options) {
  std::printf("  the end of its log:\n");
  for (const std::string& line : sim::last_lines(options, last_lines_max)) {
    std::printf("    %s\n", line.c_str());
  }
}

Status exclude(Arguments& arguments) {
  for (const std::string& name : arguments.without) {
    auto fault = sim::fault_of(name);
    if (!fault) return invalid_argument("--without: " + unknown_fault(name).message());
    arguments.options.faults.erase(*fault);
  }
  return {};
}

int run(Arguments& arguments) {
  sim::SimulationOptions& options = arguments.options;
  options.simulated_ms = static_cast<uint64_t>(arguments.seconds * 1000);
  if (Status status = exclude(arguments); !status.ok()) {
    std::fprintf(stderr, "jade sim: %s\n", status.message().c_str());
    return 2;
  }
  if (arguments.log) {
    options.log = [](const std::string& line) { std::printf("  %s\n", line.c_str()); };
  }
  uint64_t first = options.seed;
  int failed = 0;
  for (uint64_t seed = first; seed < first + arguments.seeds; ++seed) {
    options.seed = seed;
    auto begin = std::chrono::steady_clock::now();
    sim::SimulationReport report = sim::simulate(options);
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    print(report, took.count());
    if (report.failure.empty() && arguments.twice &&
        sim::simulate(options).trace_hash != report.trace_hash) {
      report.failure = "the same seed gave another trace";
    }
    if (!report.failure.empty()) {
      ++failed;
      if (!arguments.log) print_last_lines(options);
      std::printf("  %s\n  replay: %s --log\n", report.failure.c_str(),
                  replay_command(arguments, seed).c_str());
    }
  }
  if (arguments.seeds > 1) {
    std::printf("%llu seeds, %d failed\n", static_cast<unsigned long long>(arguments.seeds),
                failed);
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_sim_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("sim", "Simulate a node or a cluster under faults and check it");
  command->footer(footer);
  command
      ->add_option_function<std::string>(
          "--scenario",
          [arguments](const std::string& path) {
            arguments->scenario = path;
            Status status = read_scenario(path, arguments->options, arguments->seconds);
            if (!status.ok()) throw CLI::ValidationError("--scenario", status.message());
          },
          "TOML file with settings of the run; options win over it")
      ->type_name("FILE")
      ->trigger_on_parse();
  command->add_option("--seed", arguments->options.seed, "The first seed")->capture_default_str();
  command->add_option("--seeds", arguments->seeds, "How many, one after another")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 40))
      ->capture_default_str();
  command->add_option("--seconds", arguments->seconds, "Simulated seconds of each seed")
      ->check(CLI::Range(0.1, 1e6))
      ->capture_default_str();
  command->add_option("--nodes", arguments->options.nodes, "Machines of the cluster")
      ->check(CLI::Range(1, 9))
      ->capture_default_str();
  command->add_option("--spares", arguments->options.spares, "Machines that may join it")
      ->check(CLI::Range(0, 3))
      ->capture_default_str();
  command->add_option("--without", arguments->without, "What must not happen: " + fault_list())
      ->delimiter(',')
      ->type_name("FAULT,...");
  command->add_flag("--log", arguments->log, "Print what happens and what the nodes say");
  command->add_flag("--twice", arguments->twice, "Run each seed twice and compare the traces");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace jade
