// What `jade serve` runs with, and where each value came from.
//
// Precedence, highest first: flags, environment variables, the TOML file,
// defaults. The flag --log-level, the variable JADE_LOG_LEVEL and the TOML key
// log_level are the same setting; each name follows from the flag's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/status.h"

namespace jade {

struct ServeConfig {
  std::string data = "./jade-data";
  std::string listen = "127.0.0.1:8080";  // HOST:PORT, [IPV6]:PORT; port 0: any free one
  std::string name;                       // "": node-1, or in a cluster its address there
  std::string cluster_listen;             // HOST:PORT; "": a cluster of one
  std::string cluster_address;            // HOST:PORT; "": cluster_listen
  std::string cluster_cert;               // PEM files; "": no TLS between nodes
  std::string cluster_key;
  std::string cluster_ca;
  std::string join;  // HOST:PORT,...
  std::string roles = "master,worker,gateway";
  uint32_t replace_after_s = 300;   // 0: for ever
  std::string log_level = "info";   // debug, info, warning, error
  std::string log_format = "text";  // text: one line a person reads; json: one object a line
  uint32_t worker_threads = 0;      // 0: one a core
  uint32_t builder_threads = 0;     // 0: one a core
  uint32_t http_threads = 1;        // event loops; one carries tens of thousands of requests/s
  uint32_t cache_mib = 64;
  uint32_t inflight_mib_max = 256;
  uint32_t body_mib_max = 64;
  uint32_t connections_max = 4096;
  uint32_t read_timeout_ms = 10000;
  uint32_t write_timeout_ms = 10000;
  uint32_t idle_timeout_ms = 75000;
  uint32_t shutdown_timeout_ms = 30000;

  std::vector<std::string> join_addresses() const;
  std::vector<std::string> role_names() const;

  // Names the setting and the allowed range.
  Status validate() const;
};

// One setting: how it is called and how its text becomes a value.
struct ServeSetting {
  std::string key;   // "log_level"
  std::string help;  // one line
  // What a value of this setting is called in --help: "DIR", "N", "MIB".
  std::string value_name;
  bool is_integer = false;
  std::function<Status(ServeConfig&, std::string_view)> set;
  std::function<std::string(const ServeConfig&)> get;

  std::string flag() const;         // "--log-level"
  std::string environment() const;  // "JADE_LOG_LEVEL"
};

const std::vector<ServeSetting>& serve_settings();

// The values given, by key, of one source.
using SettingValues = std::map<std::string, std::string, std::less<>>;

// The settings of a TOML text. Unknown keys and wrong types are errors that name
// `file`, the line and the key.
Result<SettingValues> parse_config_file(std::string_view toml, const std::string& file);

// The variables JADE_* that are set; `lookup` is getenv. Variables that name no
// setting are left alone: they may be another program's.
SettingValues settings_of_environment(const std::function<const char*(const char*)>& lookup);

// Defaults, overridden by each source in turn. An error names the source
// ("environment variable JADE_LISTEN: ...").
Result<ServeConfig> resolve_config(const SettingValues& file, const SettingValues& environment,
                                   const SettingValues& flags);

// The same of this process: its environment, and `file` or, where that is empty, the
// file that JADE_CONFIG names, if any.
Result<ServeConfig> config_of_process(std::string file, const SettingValues& flags);

// TOML that parse_config_file() reads back as the same configuration.
std::string to_toml(const ServeConfig& config);

struct ListenAddress {
  std::string host;
  uint16_t port = 0;
};
Result<ListenAddress> parse_listen_address(std::string_view text);

}  // namespace jade
