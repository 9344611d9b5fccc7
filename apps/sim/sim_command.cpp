#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>

#include "apps/commands.h"
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
  jade sim --seed 4711 --no-power-loss --seconds 60)";

struct Arguments {
  sim::SimulationOptions options;
  uint64_t seeds = 1;
  double seconds = 20;
  bool no_crashes = false;
  bool no_power_loss = false;
  bool no_disk_full = false;
  bool no_read_corruption = false;
  bool no_partitions = false;
  bool no_disconnects = false;
  bool no_pauses = false;
  bool twice = false;
  bool log = false;
};

void print(const sim::SimulationReport& report, double real_seconds) {
  double simulated = static_cast<double>(report.simulated_ns) / 1e9;
  std::printf(
      "seed %llu  trace %016llx  %s  %.1f s simulated, %.0f per real second  %llu writes (%llu "
      "failed)  %llu reads  %llu searches  %llu checkpoints  faults: %llu crashes, %llu power, "
      "%llu "
      "full, %llu corrupt",
      static_cast<unsigned long long>(report.seed),
      static_cast<unsigned long long>(report.trace_hash), report.failure.empty() ? "ok" : "FAILED",
      simulated, simulated / real_seconds,
      static_cast<unsigned long long>(report.writes_acknowledged),
      static_cast<unsigned long long>(report.writes_failed),
      static_cast<unsigned long long>(report.reads_checked),
      static_cast<unsigned long long>(report.searches_checked),
      static_cast<unsigned long long>(report.checkpoints),
      static_cast<unsigned long long>(report.crashes),
      static_cast<unsigned long long>(report.power_losses),
      static_cast<unsigned long long>(report.full_disks),
      static_cast<unsigned long long>(report.corrupt_periods));
  if (report.bytes_sent > 0) {
    std::printf(", %llu partitions, %llu disconnects, %llu pauses  %.1f MB between nodes",
                static_cast<unsigned long long>(report.partitions),
                static_cast<unsigned long long>(report.disconnects),
                static_cast<unsigned long long>(report.pauses),
                static_cast<double>(report.bytes_sent) / 1e6);
  }
  std::printf("\n");
  std::fflush(stdout);
}

// The command that runs one seed of these options again.
std::string replay_command(const Arguments& arguments, uint64_t seed) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%g", arguments.seconds);
  std::string command = "jade sim --seed " + std::to_string(seed) + " --seconds " + seconds;
  if (arguments.options.nodes > 1) {
    command += " --nodes " + std::to_string(arguments.options.nodes);
  }
  if (arguments.no_partitions) command += " --no-partitions";
  if (arguments.no_disconnects) command += " --no-disconnects";
  if (arguments.no_pauses) command += " --no-pauses";
  if (arguments.no_crashes) command += " --no-crashes";
  if (arguments.no_power_loss) command += " --no-power-loss";
  if (arguments.no_disk_full) command += " --no-disk-full";
  if (arguments.no_read_corruption) command += " --no-read-corruption";
  return command;
}

int run(Arguments& arguments) {
  sim::SimulationOptions& options = arguments.options;
  options.simulated_ms = static_cast<uint64_t>(arguments.seconds * 1000);
  options.crashes = !arguments.no_crashes;
  options.power_loss = !arguments.no_power_loss;
  options.disk_full = !arguments.no_disk_full;
  options.read_corruption = !arguments.no_read_corruption;
  options.partitions = !arguments.no_partitions;
  options.disconnects = !arguments.no_disconnects;
  options.pauses = !arguments.no_pauses;
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
  command->add_flag("--no-partitions", arguments->no_partitions, "No parts that are cut off");
  command->add_flag("--no-disconnects", arguments->no_disconnects, "No lost connections");
  command->add_flag("--no-pauses", arguments->no_pauses, "No paused processes");
  command->add_flag("--no-crashes", arguments->no_crashes, "No crashes of the process");
  command->add_flag("--no-power-loss", arguments->no_power_loss, "No power loss");
  command->add_flag("--no-disk-full", arguments->no_disk_full, "No full disks");
  command->add_flag("--no-read-corruption", arguments->no_read_corruption, "No flipped bits");
  command->add_flag("--log", arguments->log, "Print what happens and what the nodes say");
  command->add_flag("--twice", arguments->twice, "Run each seed twice and compare the traces");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace jade
