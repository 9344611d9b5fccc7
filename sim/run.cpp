#include "sim/run.h"

#include <algorithm>

namespace jade::sim {

Run::Run(const SimulationOptions& options) : options_(options), random_(mix(options.seed, 0x51u)) {
  report_.seed = options.seed;
}

void Run::advance_to(uint64_t then_ns) {
  now_ns_ = std::max(now_ns_, then_ns);
  note(now_ns_);
}

void Run::say(size_t machine, const std::string& what) const {
  if (!options_.log || !ok()) return;
  options_.log(std::to_string(now_ns_ / ms) + " ms  node " + std::to_string(machine + 1) + "  " +
               what);
}

void Run::fail(const std::string& why) {
  if (!ok()) return;
  report_.failure = "at " + std::to_string(now_ns_ / ms) + " ms, step " +
                    std::to_string(report_.steps) + ": " + why;
  if (options_.log) options_.log("failed " + report_.failure);
}

}  // namespace jade::sim
