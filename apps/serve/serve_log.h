// The log of a served node: one line an event, on standard error unless told otherwise.
//
//   text  time=2024-05-01T12:00:00.123Z level=info component=serve msg="ready" url=http://...
//   json  {"time":"2024-05-01T12:00:00.123Z","level":"info","component":"serve","msg":"ready",...}
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "actors/jade.h"

namespace spdlog {
class logger;
}

namespace jade {

// A named value of an event: {"port", "8080"}.
using LogField = std::pair<std::string_view, std::string>;

enum class LogFormat : uint8_t { text, json };

// What follows time and level in a line. Quotes, control characters and line
// breaks in values are escaped: no value can fake a line or a field.
std::string format_event(LogFormat format, std::string_view component, std::string_view message,
                         std::initializer_list<LogField> fields);

// Takes whole lines, each with its line break, one call at a time.
using LineSink = std::function<void(std::string_view line)>;

// All functions may be called from any thread.
class ServeLog {
 public:
  // `level` and `format` as in ServeConfig, and valid. Without a sink it is standard
  // error.
  ServeLog(std::string_view level, std::string_view format, LineSink sink = {});

  void write(LogLevel level, std::string_view component, std::string_view message,
             std::initializer_list<LogField> fields = {});

 private:
  LogFormat format_;
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace jade
