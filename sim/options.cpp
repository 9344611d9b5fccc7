#include "sim/options.h"

namespace jade::sim {
namespace {

constexpr const char* fault_names[fault_count] = {
    "crash",     "power_loss", "crash_at_sync", "disk_full", "read_corruption", "partition",
    "slow_link", "disconnect", "pause",         "drift",     "blackout",        "election",
    "lost_disk", "old_disk",   "bit_rot",       "join",      "drain",           "remove",
    "replicas",  "split",      "reindex",       "drop"};

}  // namespace

const char* name_of(Fault fault) { return fault_names[static_cast<size_t>(fault)]; }

std::optional<Fault> fault_of(std::string_view name) {
  for (size_t i = 0; i < fault_count; ++i) {
    if (name == fault_names[i]) return static_cast<Fault>(i);
  }
  return std::nullopt;
}

std::set<Fault> all_faults() {
  std::set<Fault> out;
  for (size_t i = 0; i < fault_count; ++i) out.insert(static_cast<Fault>(i));
  return out;
}

}  // namespace jade::sim
