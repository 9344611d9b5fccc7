// The logs of several nodes as one, line by line, each line with its node's name.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace jade {

// All functions may be called from any thread.
class LogMerger {
 public:
  // Takes whole lines, one call at a time.
  using Write = std::function<void(std::string_view lines)>;

  // Sources are known by their place in `names`.
  LogMerger(const std::vector<std::string>& names, bool coloured, Write write);

  // Bytes of a source as they come; a line is written once its end has come, or where
  // it is longer than any line should be.
  void add(size_t source, std::string_view bytes);
  // The source has ended: what it wrote of its last line is written as a line.
  void finish(size_t source);

 private:
  struct Source {
    std::string prefix;
    std::string unfinished;
  };

  std::mutex mutex_;
  std::vector<Source> sources_;
  Write write_;
};

// To standard error, for Write. Where nobody reads it any more, it is lost.
void write_to_stderr(std::string_view text);

}  // namespace jade
