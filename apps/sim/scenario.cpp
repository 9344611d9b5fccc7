#include "apps/sim/scenario.h"

#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>

#include "actors/api.h"

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

namespace jade {
namespace {

using Options = sim::SimulationOptions;
using Reader = std::function<Status(const toml::node&)>;

template <class T>
Reader number(T& field, int64_t low, int64_t high) {
  return [&field, low, high](const toml::node& value) -> Status {
    auto read = value.value_exact<int64_t>();
    if (!read || *read < low || *read > high) {
      return invalid_argument("must be a whole number from " + std::to_string(low) + " to " +
                              std::to_string(high));
    }
    field = static_cast<T>(*read);
    return {};
  };
}

Status read_faults(const toml::node& value, std::set<sim::Fault>& faults) {
  const toml::array* list = value.as_array();
  Status wrong = invalid_argument("must be a list of " + fault_list());
  if (list == nullptr) return wrong;
  faults.clear();
  for (const toml::node& item : *list) {
    auto name = item.value_exact<std::string>();
    if (!name) return wrong;
    auto fault = sim::fault_of(*name);
    if (!fault) return unknown_fault(*name);
    faults.insert(*fault);
  }
  return {};
}

std::map<std::string, Reader> readers(Options& options, double& seconds) {
  constexpr int64_t many = std::numeric_limits<int32_t>::max();
  std::map<std::string, Reader> out;
  out["nodes"] = number(options.nodes, 1, 9);
  out["replicas"] = number(options.replicas, 1, Limits::replicas_max);
  out["spares"] = number(options.spares, 0, 3);
  out["clients"] = number(options.clients, 1, 64);
  out["watchers"] = number(options.watchers, 0, 16);
  out["patience_ms"] = number(options.patience_ms, 0, many);
  out["ids_per_client"] = number(options.ids_per_client, 1, 100'000);
  out["dimension"] = number(options.dimension, 1, 4096);
  out["shards"] = number(options.shards, 1, 64);
  out["seal_rows_min"] = number(options.seal_rows_min, 1, many);
  out["seal_rows_max"] = number(options.seal_rows_max, 1, many);
  out["listed_rows_min"] = number(options.listed_rows_min, 0, many);
  out["snapshot_entries"] = number(options.snapshot_entries, 1, many);
  out["retained_bytes"] = number(options.retained_bytes, 0, many);
  out["replace_after_ms"] = number(options.replace_after_ms, 0, many);
  out["renew_life_ms"] = number(options.renew_life_ms, 0, many);
  out["fault_interval_ms"] = number(options.fault_interval_ms, 0, many);
  out["operator_interval_ms"] = number(options.operator_interval_ms, 0, many);
  out["faults"] = [&options](const toml::node& value) {
    return read_faults(value, options.faults);
  };
  out["sharding"] = [&options](const toml::node& value) -> Status {
    auto name = value.value_exact<std::string>();
    if (!name || (*name != "hash" && *name != "vector")) {
      return invalid_argument("must be \"hash\" or \"vector\"");
    }
    options.by_vector = *name == "vector";
    return {};
  };
  out["seconds"] = [&seconds](const toml::node& value) -> Status {
    auto read = value.value<double>();
    if (!read || *read < 0.1 || *read > 1e6) {
      return invalid_argument("must be a number from 0.1 to 1000000");
    }
    seconds = *read;
    return {};
  };
  return out;
}

}  // namespace

Status read_scenario(const std::string& path, Options& options, double& seconds) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return not_found("scenario " + path + " cannot be read");
  std::string text(std::istreambuf_iterator<char>(in), {});
  auto parsed = toml::parse(text, path);
  if (!parsed) {
    return invalid_argument(path + ":" + std::to_string(parsed.error().source().begin.line) + ": " +
                            std::string(parsed.error().description()));
  }
  Options read = options;
  double read_seconds = seconds;
  auto known = readers(read, read_seconds);
  for (const auto& [key, value] : parsed.table()) {
    std::string name(key.str());
    std::string where = path + ":" + std::to_string(value.source().begin.line) + ": " + name + " ";
    auto reader = known.find(name);
    if (reader == known.end()) {
      std::string all;
      for (const auto& [one, unused] : known) all += (all.empty() ? "" : ", ") + one;
      return invalid_argument(where + "is no setting; they are " + all);
    }
    Status status = reader->second(value);
    if (!status.ok()) return invalid_argument(where + status.message());
  }
  options = read;
  seconds = read_seconds;
  return {};
}

std::string fault_list() {
  std::string out;
  for (sim::Fault fault : sim::all_faults()) {
    out += (out.empty() ? "" : ", ") + std::string(sim::name_of(fault));
  }
  return out;
}

Status unknown_fault(const std::string& name) {
  return invalid_argument("\"" + name + "\" is none of " + fault_list());
}

}  // namespace jade
