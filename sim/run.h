// What all parts of a run have in common: its random numbers, its virtual time, and what
// comes of it: the trace, the report and the log.
//
// Each number that is drawn, and each moment at which it is, belongs to the history of the
// seed: with the same calls in the same order a run is the same.
#pragma once

#include <cstdint>
#include <string>

#include "actors/random.h"
#include "sim/options.h"
#include "sim/report.h"

namespace jade::sim {

constexpr uint64_t ms = 1'000'000;  // in nanoseconds, as all times here
constexpr uint64_t never = UINT64_MAX;

class Run {
 public:
  // Of the options, which must live as long, it knows the seed and who listens.
  explicit Run(const SimulationOptions& options);

  // Uniform in [0, below).
  uint64_t draw(uint64_t below) { return next_random(random_) % below; }

  uint64_t now_ns() const { return now_ns_; }
  // Time never goes back.
  void advance_to(uint64_t then_ns);

  // Makes it part of the trace.
  void note(uint64_t what) { trace_ = (trace_ ^ what) * 0x100000001b3u; }
  uint64_t trace() const { return trace_; }

  // A line of the log, of what a machine does or what happens to it. It ends with the failure:
  // what comes after, as all processes end, explains nothing.
  void say(size_t machine, const std::string& what) const;

  // A check does not hold. The first that does not is what the report says.
  void fail(const std::string& why);
  bool ok() const { return report_.failure.empty(); }

  // For all parts to count in.
  SimulationReport& report() { return report_; }

 private:
  const SimulationOptions& options_;
  uint64_t random_;
  uint64_t now_ns_ = 1000 * ms;
  uint64_t trace_ = 0;
  SimulationReport report_;
};

}  // namespace jade::sim
