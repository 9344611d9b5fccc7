// The workers of a node: threads that sleep until somebody has work to share.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "index/workers.h"

namespace jade {

class WorkerPool final : public Workers {
 public:
  // `threads`, 1 and more: how many work at once, with those that call run(), who are always
  // let. So one fewer is started. `on_start` runs first on each of these (to lower its
  // priority); may be empty.
  explicit WorkerPool(uint32_t threads, std::function<void()> on_start = nullptr);
  // Ends the threads and waits for them. Nobody is in run() by then, and it is none of them.
  ~WorkerPool() override;
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  uint32_t count() const override { return count_; }
  void run(size_t n, size_t step, const Work& work) override;

 private:
  struct Shared;  // work of one caller

  // So many of the threads, or all.
  void wake(size_t wanted);
  void help(const std::function<void()>& on_start);
  // Of those with ranges that nobody has begun, the one that the fewest are working on; null:
  // none, or enough threads work. With the mutex.
  Shared* to_join();

  const uint32_t count_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Shared*> shared_;
  uint32_t working_ = 0;  // callers and helpers
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace jade
