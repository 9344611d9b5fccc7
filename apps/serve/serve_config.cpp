#include "apps/serve/serve_config.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

namespace jade {
namespace {

ServeSetting text_setting(std::string key, std::string value_name, std::string help,
                          std::string ServeConfig::*field) {
  ServeSetting setting;
  setting.key = std::move(key);
  setting.help = std::move(help);
  setting.value_name = std::move(value_name);
  setting.set = [field](ServeConfig& config, std::string_view text) {
    config.*field = text;
    return Status();
  };
  setting.get = [field](const ServeConfig& config) { return config.*field; };
  return setting;
}

ServeSetting number_setting(std::string key, std::string value_name, std::string help,
                            uint32_t ServeConfig::*field) {
  ServeSetting setting;
  setting.key = std::move(key);
  setting.help = std::move(help);
  setting.value_name = std::move(value_name);
  setting.is_integer = true;
  setting.set = [field](ServeConfig& config, std::string_view text) {
    const char* end = text.data() + text.size();
    auto [stop, error] = std::from_chars(text.data(), end, config.*field);
    if (error != std::errc() || stop != end) {
      return invalid_argument("\"" + std::string(text) + "\" is no whole number from 0 to " +
                              std::to_string(UINT32_MAX));
    }
    return Status();
  };
  setting.get = [field](const ServeConfig& config) { return std::to_string(config.*field); };
  return setting;
}

std::vector<ServeSetting> make_settings() {
  using C = ServeConfig;
  return {
      text_setting("data", "DIR", "Data directory; created when missing, locked while open",
                   &C::data),
      text_setting("listen", "HOST:PORT", "Address of the HTTP API; port 0 takes any free port",
                   &C::listen),
      text_setting("name", "NAME",
                   "Name of this node in its cluster, which its directory keeps; default: node-1, or "
                   "its cluster address",
                   &C::name),
      text_setting("cluster_listen", "HOST:PORT",
                   "Address for other nodes; without it a cluster of one, without TLS on loopback",
                   &C::cluster_listen),
      text_setting("cluster_address", "HOST:PORT",
                   "Address at which other nodes reach this one; default: cluster_listen",
                   &C::cluster_address),
      text_setting("cluster_cert", "FILE",
                   "Certificate of this node for TLS between nodes; `jade certs` makes it",
                   &C::cluster_cert),
      text_setting("cluster_key", "FILE", "Private key of cluster_cert", &C::cluster_key),
      text_setting("cluster_ca", "FILE",
                   "Certificate of the authority that signs those of all nodes", &C::cluster_ca),
      text_setting("join", "HOST:PORT,...",
                   "Cluster addresses of members: become one of them; without it a new directory "
                   "founds a cluster",
                   &C::join),
      text_setting("roles", "ROLE,...",
                   "What the node is there for: master (may vote and lead), worker (holds "
                   "replicas), gateway (answers clients)",
                   &C::roles),
      number_setting("replace_after_s", "S",
                     "Time that a node may be silent before its replicas are placed elsewhere; "
                     "0: for ever",
                     &C::replace_after_s),
      text_setting("log_level", "LEVEL", "debug, info, warning or error", &C::log_level),
      text_setting("log_format", "FORMAT", "text, or json: one object a line", &C::log_format),
      number_setting("worker_threads", "N", "Threads for requests and searches; 0: one a core",
                     &C::worker_threads),
      number_setting("builder_threads", "N",
                     "Threads that build indexes in the background, at low priority; 0: one a core",
                     &C::builder_threads),
      number_setting("http_threads", "N", "Threads that read and write HTTP", &C::http_threads),
      number_setting("cache_mib", "MIB", "Block cache of the storage", &C::cache_mib),
      number_setting("inflight_mib_max", "MIB",
                     "Writes accepted but not yet acknowledged; over it clients get 429",
                     &C::inflight_mib_max),
      number_setting("body_mib_max", "MIB", "Largest request body; over it clients get 413",
                     &C::body_mib_max),
      number_setting("connections_max", "N", "Open client connections", &C::connections_max),
      number_setting("read_timeout_ms", "MS",
                     "Time for a client to send a request; a large body gets more by its size",
                     &C::read_timeout_ms),
      number_setting("write_timeout_ms", "MS",
                     "Time for a client to take its answer; a large one gets more by its size",
                     &C::write_timeout_ms),
      number_setting("idle_timeout_ms", "MS", "Time until an idle connection is closed",
                     &C::idle_timeout_ms),
      number_setting("shutdown_timeout_ms", "MS",
                     "Time for requests in flight to finish after SIGTERM",
                     &C::shutdown_timeout_ms),
  };
}

const ServeSetting* find_setting(std::string_view key) {
  for (const auto& setting : serve_settings()) {
    if (setting.key == key) return &setting;
  }
  return nullptr;
}

std::string known_keys() {
  std::string keys;
  for (const auto& setting : serve_settings()) {
    keys += (keys.empty() ? "" : ", ") + setting.key;
  }
  return keys;
}

std::string place(const std::string& file, const toml::source_region& source) {
  return file + ":" + std::to_string(source.begin.line);
}

Status check_range(std::string_view key, uint32_t value, uint32_t low, uint32_t high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(std::string(key) + " is " + std::to_string(value) + "; it must be " +
                          std::to_string(low) + " to " + std::to_string(high));
}

Status check_choice(std::string_view key, std::string_view value,
                    std::initializer_list<std::string_view> choices) {
  std::string listed;
  for (auto choice : choices) {
    if (value == choice) return {};
    listed += (listed.empty() ? "" : ", ") + std::string(choice);
  }
  return invalid_argument(std::string(key) + " is \"" + std::string(value) +
                          "\"; it must be one of " + listed);
}

// A TOML basic string.
std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    char escape[8];
    std::snprintf(escape, sizeof escape, "\\u%04X", byte);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7F) {
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

Result<SettingValues> read_config_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path)) {
    return Status(Code::not_found, "configuration file " + path + " cannot be read");
  }
  std::string text(std::istreambuf_iterator<char>(in), {});
  return parse_config_file(text, path);
}

}  // namespace

std::string ServeSetting::flag() const {
  std::string flag = "--" + key;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string ServeSetting::environment() const {
  std::string name = "JADE_";
  for (char c : key) name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

const std::vector<ServeSetting>& serve_settings() {
  static const std::vector<ServeSetting> settings = make_settings();
  return settings;
}

Status ServeConfig::validate() const {
  if (data.empty()) return invalid_argument("data is empty; it must name a directory");
  if (auto address = parse_listen_address(listen); !address) return address.status();
  JADE_RETURN_IF_ERROR(check_choice("log_level", log_level, {"debug", "info", "warning", "error"}));
  JADE_RETURN_IF_ERROR(check_choice("log_format", log_format, {"text", "json"}));
  if (role_names().empty()) {
    return invalid_argument("roles is empty; name some of master, worker and gateway");
  }
  for (const std::string& role : role_names()) {
    JADE_RETURN_IF_ERROR(check_choice("roles", role, {"master", "worker", "gateway"}));
  }
  JADE_RETURN_IF_ERROR(check_range("worker_threads", worker_threads, 0, 1024));
  JADE_RETURN_IF_ERROR(check_range("builder_threads", builder_threads, 0, 1024));
  JADE_RETURN_IF_ERROR(check_range("http_threads", http_threads, 1, 1024));
  JADE_RETURN_IF_ERROR(check_range("cache_mib", cache_mib, 1, 1u << 20));
  JADE_RETURN_IF_ERROR(check_range("inflight_mib_max", inflight_mib_max, 1, 1u << 20));
  JADE_RETURN_IF_ERROR(check_range("body_mib_max", body_mib_max, 1, 4096));
  JADE_RETURN_IF_ERROR(check_range("connections_max", connections_max, 1, 1u << 20));
  JADE_RETURN_IF_ERROR(check_range("read_timeout_ms", read_timeout_ms, 1, 3600000));
  JADE_RETURN_IF_ERROR(check_range("write_timeout_ms", write_timeout_ms, 1, 3600000));
  JADE_RETURN_IF_ERROR(check_range("idle_timeout_ms", idle_timeout_ms, 1, 3600000));
  return check_range("shutdown_timeout_ms", shutdown_timeout_ms, 1, 3600000);
}

namespace {

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < list.size();) {
    size_t comma = std::min(list.find(',', begin), list.size());
    if (comma > begin) out.push_back(list.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return out;
}

}  // namespace

std::vector<std::string> ServeConfig::join_addresses() const { return split(join); }
std::vector<std::string> ServeConfig::role_names() const { return split(roles); }

Result<SettingValues> parse_config_file(std::string_view toml, const std::string& file) {
  toml::parse_result parsed = toml::parse(toml, file);
  if (!parsed) {
    return invalid_argument(place(file, parsed.error().source()) + ": " +
                            std::string(parsed.error().description()));
  }
  SettingValues values;
  for (auto&& [name, node] : parsed.table()) {
    std::string key(name.str());
    const ServeSetting* setting = find_setting(key);
    if (!setting) {
      return invalid_argument(place(file, name.source()) + ": unknown key \"" + key +
                              "\"; known are " + known_keys());
    }
    if (setting->is_integer && node.is_integer()) {
      values[key] = std::to_string(node.as_integer()->get());
    } else if (!setting->is_integer && node.is_string()) {
      values[key] = node.as_string()->get();
    } else {
      return invalid_argument(place(file, node.source()) + ": " + key + " must be " +
                              (setting->is_integer ? "a whole number" : "a string in quotes"));
    }
    // Here the line is known; what the settings together must be is checked later.
    ServeConfig alone;
    Status status = setting->set(alone, values[key]).with_context(key);
    if (status.ok()) status = alone.validate();
    if (!status.ok()) return status.with_context(place(file, node.source()));
  }
  return values;
}

SettingValues settings_of_environment(const std::function<const char*(const char*)>& lookup) {
  SettingValues values;
  for (const auto& setting : serve_settings()) {
    if (const char* value = lookup(setting.environment().c_str())) values[setting.key] = value;
  }
  return values;
}

Result<ServeConfig> resolve_config(const SettingValues& file, const SettingValues& environment,
                                   const SettingValues& flags) {
  ServeConfig config;
  auto apply = [&config](const SettingValues& values, auto&& source_of) -> Status {
    for (const auto& [key, value] : values) {
      const ServeSetting* setting = find_setting(key);
      JADE_ASSERT(setting != nullptr);
      JADE_RETURN_IF_ERROR(setting->set(config, value).with_context(source_of(*setting)));
      JADE_RETURN_IF_ERROR(config.validate().with_context(source_of(*setting)));
    }
    return {};
  };
  JADE_RETURN_IF_ERROR(
      apply(file, [](const ServeSetting& s) { return "configuration file, " + s.key; }));
  JADE_RETURN_IF_ERROR(apply(environment, [](const ServeSetting& s) {
    return "environment variable " + s.environment();
  }));
  JADE_RETURN_IF_ERROR(apply(flags, [](const ServeSetting& s) { return s.flag(); }));
  return config;
}

Result<ServeConfig> config_of_process(std::string file, const SettingValues& flags) {
  if (const char* variable = std::getenv("JADE_CONFIG"); file.empty() && variable) file = variable;
  SettingValues of_file;
  if (!file.empty()) {
    auto values = read_config_file(file);
    if (!values) return values.status();
    of_file = *values;
  }
  return resolve_config(
      of_file, settings_of_environment([](const char* name) { return std::getenv(name); }), flags);
}

std::string to_toml(const ServeConfig& config) {
  std::string out;
  for (const auto& setting : serve_settings()) {
    std::string value = setting.get(config);
    out += "# " + setting.help + "\n";
    out += setting.key + " = " + (setting.is_integer ? value : toml_string(value)) + "\n";
  }
  return out;
}

Result<ListenAddress> parse_listen_address(std::string_view text) {
  auto wrong = [text] {
    return invalid_argument("listen is \"" + std::string(text) +
                            "\"; it must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080");
  };
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return wrong();
  std::string_view host = text.substr(0, colon);
  std::string_view port_text = text.substr(colon + 1);
  bool bracketed = host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || (!bracketed && host.find(':') != std::string_view::npos)) return wrong();
  ListenAddress address;
  address.host = host;
  const char* end = port_text.data() + port_text.size();
  auto [stop, error] = std::from_chars(port_text.data(), end, address.port);
  if (error != std::errc() || stop != end) return wrong();
  return address;
}

}  // namespace jade
