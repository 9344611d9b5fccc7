#include "apps/serve/serve_log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>

namespace jade {
namespace {

// As a JSON string; text values use the same escapes.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

// Bare where nothing in it could be misread.
std::string text_value(std::string_view text) {
  bool plain = !text.empty() && std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '\\' || c == '=' || c == 0x7F;
  });
  return plain ? std::string(text) : quoted(text);
}

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::err;
}

class FunctionSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FunctionSink(LineSink take) : take_(std::move(take)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    take_({line.data(), line.size()});
  }
  void flush_() override {}

  LineSink take_;
};

spdlog::sink_ptr make_sink(LineSink sink) {
  if (sink) return std::make_shared<FunctionSink>(std::move(sink));
  return std::make_shared<spdlog::sinks::stderr_sink_mt>();
}

}  // namespace

std::string format_event(LogFormat format, std::string_view component, std::string_view message,
                         std::initializer_list<LogField> fields) {
  bool json = format == LogFormat::json;
  std::string out = json ? "\"component\":" + quoted(component) + ",\"msg\":" + quoted(message)
                         : "component=" + text_value(component) + " msg=" + quoted(message);
  for (const auto& [key, value] : fields) {
    out += json ? "," + quoted(key) + ":" + quoted(value)
                : " " + std::string(key) + "=" + text_value(value);
  }
  return out;
}

ServeLog::ServeLog(std::string_view level, std::string_view format, LineSink sink)
    : format_(format == "json" ? LogFormat::json : LogFormat::text),
      logger_(std::make_shared<spdlog::logger>("jade", make_sink(std::move(sink)))) {
  constexpr const char* text_pattern = "time=%Y-%m-%dT%H:%M:%S.%eZ level=%l %v";
  constexpr const char* json_pattern = R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})";
  logger_->set_pattern(format_ == LogFormat::json ? json_pattern : text_pattern,
                       spdlog::pattern_time_type::utc);
  logger_->set_level(spdlog::level::from_str(std::string(level)));
  logger_->flush_on(spdlog::level::debug);
}

void ServeLog::write(LogLevel level, std::string_view component, std::string_view message,
                     std::initializer_list<LogField> fields) {
  if (!logger_->should_log(level_of(level))) return;
  std::string event = format_event(format_, component, message, fields);
  logger_->log(level_of(level), spdlog::string_view_t(event.data(), event.size()));
}

}  // namespace jade
