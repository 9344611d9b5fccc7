#include "apps/up/ready_probe.h"

#include <chrono>

#include "net/http_client.h"

namespace jade {
namespace {

constexpr auto interval = std::chrono::milliseconds(100);

bool is_ready(const std::string& url) {
  HttpClientOptions options;
  options.connect_timeout_ms = 1'000;
  options.request_timeout_ms = 2'000;
  auto client = HttpClient::connect(url, options);
  if (!client) return false;
  auto response = (*client)->request("GET", "/readyz");
  return response && response->ok();
}

}  // namespace

ReadyProbe::ReadyProbe(std::function<void(size_t node)> on_ready)
    : on_ready_(std::move(on_ready)), thread_([this] { run(); }) {}

ReadyProbe::~ReadyProbe() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ReadyProbe::watch(size_t node, const std::string& url) {
  std::lock_guard lock(mutex_);
  watched_[node] = url;
  changed_.notify_all();
}

void ReadyProbe::forget(size_t node) {
  std::lock_guard lock(mutex_);
  watched_.erase(node);
}

void ReadyProbe::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait(lock, [this] { return stopping_ || !watched_.empty(); });
    auto asked = watched_;
    for (const auto& [node, url] : asked) {
      lock.unlock();
      bool ready = is_ready(url);
      lock.lock();
      if (stopping_) return;
      // It may have been forgotten meanwhile.
      if (!ready || watched_.erase(node) == 0) continue;
      lock.unlock();
      on_ready_(node);
      lock.lock();
    }
    changed_.wait_for(lock, interval, [this] { return stopping_; });
  }
}

}  // namespace jade
