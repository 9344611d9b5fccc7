#include "apps/serve/ready_log.h"

#include <chrono>
#include <future>
#include <memory>

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto ask_interval = std::chrono::milliseconds(100);

uint64_t ms_since(Clock::time_point start) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count());
}

}  // namespace

bool ReadyTeller::is_due(uint64_t now_ms, const std::string& why) {
  if (now_ms < first_ms) return false;
  uint64_t interval = why == said_ ? repeat_ms : interval_ms;
  if (!said_.empty() && now_ms < said_ms_ + interval) return false;
  said_ = why;
  said_ms_ = now_ms;
  return true;
}

ReadyLog::ReadyLog(Api& api, std::function<void()> ready,
                   std::function<void(const std::string&)> waiting)
    : api_(api),
      ready_(std::move(ready)),
      waiting_(std::move(waiting)),
      thread_([this] { run(); }) {}

ReadyLog::~ReadyLog() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Status ReadyLog::ask() {
  auto answer = std::make_shared<std::promise<Status>>();
  api_.ready([answer](Result<std::string> ready) {
    answer->set_value(ready.ok() ? Status() : ready.status());
  });
  return answer->get_future().get();
}

void ReadyLog::run() {
  const auto started = Clock::now();
  ReadyTeller teller;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    Status status = ask();
    if (status.ok()) return ready_();
    if (teller.is_due(ms_since(started), status.message())) waiting_(status.message());
    lock.lock();
    changed_.wait_for(lock, ask_interval, [this] { return stopping_; });
  }
}

}  // namespace jade
