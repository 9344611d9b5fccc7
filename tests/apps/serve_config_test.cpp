#include "apps/serve/serve_config.h"

#include <doctest/doctest.h>

#include <string>

namespace jade {
namespace {

SettingValues parsed(const std::string& toml) {
  auto values = parse_config_file(toml, "jade.toml");
  REQUIRE_MESSAGE(values.ok(), values.status().to_string());
  return *values;
}

std::string file_error(const std::string& toml) {
  auto values = parse_config_file(toml, "jade.toml");
  REQUIRE_FALSE(values.ok());
  CHECK(values.status().code() == Code::invalid_argument);
  return values.status().message();
}

std::string flag_error(const std::string& key, const std::string& value) {
  auto config = resolve_config({}, {}, {{key, value}});
  REQUIRE_FALSE(config.ok());
  return config.status().message();
}

}  // namespace

TEST_CASE("flags win over the environment, that over the file, that over defaults") {
  SettingValues file = parsed("listen = \"10.0.0.1:1\"\nname = \"from-file\"\ncache_mib = 7\n");
  SettingValues environment = {{"listen", "10.0.0.2:2"}, {"name", "from-environment"}};
  SettingValues flags = {{"listen", "10.0.0.3:3"}};
  auto config = resolve_config(file, environment, flags);
  REQUIRE(config.ok());
  CHECK(config->listen == "10.0.0.3:3");
  CHECK(config->name == "from-environment");
  CHECK(config->cache_mib == 7);
  CHECK(config->data == "./jade-data");
}

TEST_CASE("every setting has its flag, variable and help, and survives a round trip") {
  ServeConfig config;
  for (const ServeSetting& setting : serve_settings()) {
    CHECK(setting.flag().starts_with("--"));
    CHECK(setting.flag().find('_') == std::string::npos);
    CHECK(setting.environment().starts_with("JADE_"));
    CHECK_FALSE(setting.help.empty());
    CHECK_FALSE(setting.value_name.empty());
    if (setting.is_integer) REQUIRE(setting.set(config, "9").ok());
  }
  config.data = "a \"quoted\" \\ directory\n";
  config.log_format = "json";
  auto read_back = resolve_config(parsed(to_toml(config)), {}, {});
  REQUIRE_MESSAGE(read_back.ok(), read_back.status().to_string());
  CHECK(to_toml(*read_back) == to_toml(config));
  CHECK(read_back->data == config.data);
  CHECK(read_back->shutdown_timeout_ms == 9);
}

TEST_CASE("variables are found by name, and only those of settings") {
  auto lookup = [](const char* name) -> const char* {
    if (std::string(name) == "JADE_LOG_LEVEL") return "debug";
    if (std::string(name) == "JADE_DATA") return "/srv/jade";
    return nullptr;
  };
  CHECK(settings_of_environment(lookup) ==
        SettingValues{{"data", "/srv/jade"}, {"log_level", "debug"}});
}

TEST_CASE("a wrong file is refused with its line and key") {
  CHECK(file_error("data = \"x\"\n\nlisten_to = \"y\"\n")
            .starts_with("jade.toml:3: unknown key \"listen_to\"; known are data, listen,"));
  CHECK(file_error("name = \"a\"\ncache_mib = \"64\"\n") ==
        "jade.toml:2: cache_mib must be a whole number");
  CHECK(file_error("cache_mib = 1.5\n") == "jade.toml:1: cache_mib must be a whole number");
  CHECK(file_error("\ndata = 3\n") == "jade.toml:2: data must be a string in quotes");
  CHECK(file_error("[serve]\nlisten = \"x:1\"\n").starts_with("jade.toml:1: unknown key"));
  CHECK(file_error("data = \"x\"\ndata = \"y\"\n").starts_with("jade.toml:2: "));
  CHECK(file_error("data = \n").starts_with("jade.toml:1: "));
  CHECK(file_error(std::string("data = \"\xFF\"\n")).starts_with("jade.toml:1: "));
}

TEST_CASE("a wrong value is refused with its source and what would be right") {
  CHECK(flag_error("log_level", "loud") ==
        "--log-level: log_level is \"loud\"; it must be one of debug, info, warning, error");
  CHECK(flag_error("cache_mib", "0") == "--cache-mib: cache_mib is 0; it must be 1 to 1048576");
  for (std::string value : {"", "-1", "1k", "99999999999", " 1", "0x10"}) {
    CHECK(flag_error("cache_mib", value).find("is no whole number") != std::string::npos);
  }
  auto of_environment = resolve_config({}, {{"listen", "nowhere"}}, {});
  REQUIRE_FALSE(of_environment.ok());
  CHECK(of_environment.status().message().starts_with("environment variable JADE_LISTEN: "));
  CHECK(file_error("name = \"a\"\nlog_format = \"xml\"\n") ==
        "jade.toml:2: log_format is \"xml\"; it must be one of text, json");
  CHECK(file_error("\n\ncache_mib = -1") ==
        "jade.toml:3: cache_mib: \"-1\" is no whole number from 0 to 4294967295");
  CHECK(file_error("http_threads = 0") == "jade.toml:1: http_threads is 0; it must be 1 to 1024");
}

TEST_CASE("listen addresses") {
  auto v4 = parse_listen_address("127.0.0.1:8080");
  REQUIRE(v4.ok());
  CHECK(v4->host == "127.0.0.1");
  CHECK(v4->port == 8080);
  auto v6 = parse_listen_address("[::1]:0");
  REQUIRE(v6.ok());
  CHECK(v6->host == "::1");
  CHECK(v6->port == 0);
  CHECK(parse_listen_address("localhost:80").ok());
  for (std::string wrong : {"", ":", ":80", "host", "host:", "host:65536", "host:-1", "host:8o",
                            "::1:80", "[]:80", "[::1]"}) {
    CHECK_FALSE(parse_listen_address(wrong).ok());
  }
}

}  // namespace jade
