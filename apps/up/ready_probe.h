// Asks nodes whether they are ready until they are.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace jade {

class ReadyProbe {
 public:
  // `on_ready` is called once for each watch() of a node whose /readyz says so, on a
  // thread of the probe's.
  explicit ReadyProbe(std::function<void(size_t node)> on_ready);
  // Waits for an answer that is under way, at most for as long as a request may take.
  ~ReadyProbe();
  ReadyProbe(const ReadyProbe&) = delete;
  ReadyProbe& operator=(const ReadyProbe&) = delete;

  void watch(size_t node, const std::string& url);
  void forget(size_t node);

 private:
  void run();

  std::function<void(size_t)> on_ready_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<size_t, std::string> watched_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace jade
