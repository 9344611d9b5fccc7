#include "apps/serve/serve_log.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

namespace jade {

TEST_CASE("events read as key=value text") {
  CHECK(format_event(LogFormat::text, "serve", "ready", {{"url", "http://[::1]:80"}}) ==
        "component=serve msg=\"ready\" url=http://[::1]:80");
  CHECK(format_event(LogFormat::text, "serve", "stopping", {{"why", "a b"}, {"none", ""}}) ==
        "component=serve msg=\"stopping\" why=\"a b\" none=\"\"");
}

TEST_CASE("a sink gets whole lines of the level that is wanted") {
  std::vector<std::string> lines;
  ServeLog log("info", "text", [&](std::string_view line) { lines.emplace_back(line); });
  log.write(LogLevel::debug, "serve", "hidden");
  log.write(LogLevel::warning, "serve", "seen", {{"a", "b"}});
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].starts_with("time="));
  CHECK(lines[0].ends_with(" level=warning component=serve msg=\"seen\" a=b\n"));
}

TEST_CASE("events are JSON objects whatever is in them") {
  std::string nasty = "quote \" back \\ line\nbell\a tab\t end\x7F";
  std::string event = format_event(LogFormat::json, "http", nasty, {{"path", "C:\\x"}});
  boost::json::value parsed = boost::json::parse("{" + event + "}");
  CHECK(parsed.at("component").as_string() == "http");
  CHECK(parsed.at("msg").as_string() == nasty);
  CHECK(parsed.at("path").as_string() == "C:\\x");
}

TEST_CASE("a value cannot fake a line or a field") {
  std::string event = format_event(LogFormat::text, "http", "x\nlevel=error",
                                   {{"id", "1\" admin=yes"}, {"name", "a=b"}, {"tab", "\t"}});
  CHECK(event ==
        "component=http msg=\"x\\nlevel=error\" id=\"1\\\" admin=yes\" name=\"a=b\" "
        "tab=\"\\u0009\"");
}

}  // namespace jade
