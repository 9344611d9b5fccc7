#include "apps/up/log_merger.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace jade {
namespace {

constexpr size_t line_bytes_max = 64 << 10;

// Those that can be read on both dark and light ground.
constexpr std::array colours = {"\x1B[36m", "\x1B[32m", "\x1B[35m", "\x1B[33m", "\x1B[34m"};
constexpr const char* uncoloured = "\x1B[0m";

std::string prefix_of(const std::string& name, size_t width, const char* colour) {
  std::string text = name + std::string(width - name.size(), ' ') + " |";
  if (colour) text = colour + text + uncoloured;
  return text + " ";
}

}  // namespace

LogMerger::LogMerger(const std::vector<std::string>& names, bool coloured, Write write)
    : write_(std::move(write)) {
  size_t width = 0;
  for (const std::string& name : names) width = std::max(width, name.size());
  for (const std::string& name : names) {
    const char* colour = coloured ? colours[sources_.size() % colours.size()] : nullptr;
    sources_.push_back({prefix_of(name, width, colour), {}});
  }
}

void LogMerger::add(size_t index, std::string_view bytes) {
  std::lock_guard lock(mutex_);
  Source& source = sources_[index];
  std::string lines;
  while (!bytes.empty()) {
    size_t end = bytes.find('\n');
    bool ends = end != std::string_view::npos;
    source.unfinished += bytes.substr(0, end);
    bytes.remove_prefix(ends ? end + 1 : bytes.size());
    if (!ends && source.unfinished.size() < line_bytes_max) break;
    lines += source.prefix + source.unfinished + "\n";
    source.unfinished.clear();
  }
  if (!lines.empty()) write_(lines);
}

void LogMerger::finish(size_t index) {
  std::lock_guard lock(mutex_);
  Source& source = sources_[index];
  if (source.unfinished.empty()) return;
  write_(source.prefix + source.unfinished + "\n");
  source.unfinished.clear();
}

void write_to_stderr(std::string_view text) {
  while (!text.empty()) {
    ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace jade
