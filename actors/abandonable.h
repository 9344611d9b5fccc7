// Work that waits its turn at another actor, and may be given up until then.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "storage/status.h"

namespace jade {

// Any thread may call it. What the work holds, such as an open store, is let go of when it has
// been done, or at once when it is given up before it has begun.
class Abandonable {
 public:
  explicit Abandonable(std::function<Status()> work) : work_(std::move(work)) {}

  // Once. unavailable where it was given up.
  Status run() {
    std::function<Status()> work = take();
    return work ? work() : unavailable("given up before it began");
  }
  void abandon() { take(); }

 private:
  std::function<Status()> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(work_, nullptr);
  }

  std::mutex mutex_;
  std::function<Status()> work_;
};

// Of one owner, which may give up all that has not begun.
class AbandonableWork {
 public:
  // To be done by another.
  std::function<Status()> add(std::function<Status()> work) {
    std::erase_if(waiting_, [](const auto& one) { return one.expired(); });
    auto added = std::make_shared<Abandonable>(std::move(work));
    waiting_.push_back(added);
    return [added] { return added->run(); };
  }
  void abandon() {
    for (const auto& one : std::exchange(waiting_, {})) {
      if (auto left = one.lock()) left->abandon();
    }
  }

 private:
  std::vector<std::weak_ptr<Abandonable>> waiting_;
};

}  // namespace jade
