// Says when a node is ready, and until then why it is not.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "actors/api.h"

namespace jade {

// What is worth a line of the reasons why a node is not ready, which is asked again and again.
class ReadyTeller {
 public:
  // The reasons of a start that goes well are not worth a word.
  static constexpr uint64_t first_ms = 3'000;
  // At most one line in so long, however the reasons change, and the same one again after
  // repeat_ms.
  static constexpr uint64_t interval_ms = 5'000;
  static constexpr uint64_t repeat_ms = 300'000;

  // Whether to say `why`, so many milliseconds after the start, which only grow.
  bool is_due(uint64_t now_ms, const std::string& why);

 private:
  std::string said_;
  uint64_t said_ms_ = 0;
};

class ReadyLog {
 public:
  // Called on a thread of its own: `ready` once, and before that `waiting` with the reason, as
  // ReadyTeller says. The api outlives the log.
  ReadyLog(Api& api, std::function<void()> ready, std::function<void(const std::string&)> waiting);
  // Waits for an answer that is under way.
  ~ReadyLog();
  ReadyLog(const ReadyLog&) = delete;
  ReadyLog& operator=(const ReadyLog&) = delete;

 private:
  void run();
  Status ask();

  Api& api_;
  std::function<void()> ready_;
  std::function<void(const std::string&)> waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace jade
