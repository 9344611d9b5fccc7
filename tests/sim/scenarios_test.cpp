// The scenarios that are kept: each is read, and can be run.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "apps/sim/scenario.h"

namespace jade {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> scenarios() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(fs::path(JADE_SOURCE_DIR) / "sim/scenarios")) {
    out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

TEST_CASE("each scenario is read, says how long it takes, and passes for some seconds") {
  CHECK(scenarios().size() > 10);
  for (const fs::path& path : scenarios()) {
    CAPTURE(path.filename().string());
    REQUIRE(path.extension() == ".toml");
    sim::SimulationOptions options;
    double seconds = 0;
    Status read = read_scenario(path.string(), options, seconds);
    REQUIRE_MESSAGE(read.ok(), read.to_string());
    CHECK(seconds > 0);
    options.simulated_ms = 5000;
    sim::SimulationReport report = sim::simulate(options);
    REQUIRE_MESSAGE(report.failure.empty(), report.failure);
    CHECK(report.checkpoints > 0);
  }
}

TEST_CASE("a key or a fault that does not exist is no scenario") {
  const fs::path path = fs::temp_directory_path() / "jade_scenario_test.toml";
  for (const char* text : {"noodles = 3", "faults = [\"crsh\"]", "nodes = 0"}) {
    CAPTURE(text);
    std::ofstream(path) << text << "\n";
    sim::SimulationOptions options;
    double seconds = 0;
    CHECK(read_scenario(path.string(), options, seconds).code() == Code::invalid_argument);
  }
  fs::remove(path);
}

}  // namespace jade
