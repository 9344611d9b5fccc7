#include "index/worker_pool.h"

#include <atomic>
#include <exception>

#include "storage/status.h"

namespace jade {

struct WorkerPool::Shared {
  Shared(size_t items, size_t range, const Work& of) : n(items), step(range), work(of) {}

  bool has_more() const { return next.load(std::memory_order_relaxed) < n; }
  // Range after range, until all have been begun.
  void work_on(uint32_t worker) {
    for (size_t begin; (begin = next.fetch_add(step, std::memory_order_relaxed)) < n;) {
      work(worker, begin, std::min(n, begin + step));
    }
  }
  // Nothing more is to be begun.
  void leave_out_the_rest() { next.store(n, std::memory_order_relaxed); }

  const size_t n;
  const size_t step;
  const Work& work;
  std::atomic<size_t> next{0};
  // With the mutex of the pool.
  uint32_t joined = 0;   // ever: numbers of workers
  uint32_t helping = 0;  // now
  std::exception_ptr failure;
  std::condition_variable left;
};

WorkerPool::WorkerPool(uint32_t threads, std::function<void()> on_start) : count_(threads) {
  JADE_ASSERT(threads >= 1);
  for (uint32_t i = 1; i < threads; ++i)
    threads_.emplace_back([this, on_start] { help(on_start); });
}

WorkerPool::~WorkerPool() {
  {
    std::lock_guard lock(mutex_);
    JADE_ASSERT(shared_.empty());
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::run(size_t n, size_t step, const Work& work) {
  JADE_ASSERT(step >= 1);
  if (count_ == 1 || n <= step) return run_ranges(nullptr, n, step, work);
  Shared shared(n, step, work);
  std::unique_lock lock(mutex_);
  auto place = shared_.insert(shared_.end(), &shared);
  ++working_;
  lock.unlock();
  wake((n - 1) / step);  // one range is the caller's own
  std::exception_ptr failure;
  try {
    shared.work_on(0);
  } catch (...) {
    failure = std::current_exception();
    shared.leave_out_the_rest();
  }
  lock.lock();
  shared_.erase(place);
  shared.left.wait(lock, [&] { return shared.helping == 0; });
  --working_;
  if (failure == nullptr) failure = shared.failure;
  const bool others_wait = !shared_.empty();
  lock.unlock();
  if (others_wait) wake(1);  // instead of this thread
  if (failure != nullptr) std::rethrow_exception(failure);
}

void WorkerPool::wake(size_t wanted) {
  if (wanted >= threads_.size()) return wake_.notify_all();
  for (size_t i = 0; i < wanted; ++i) wake_.notify_one();
}

WorkerPool::Shared* WorkerPool::to_join() {
  if (working_ >= count_) return nullptr;
  Shared* best = nullptr;
  for (Shared* shared : shared_) {
    if (!shared->has_more() || shared->joined + 1 >= count_) continue;
    if (best == nullptr || shared->helping < best->helping) best = shared;
  }
  return best;
}

void WorkerPool::help(const std::function<void()>& on_start) {
  if (on_start) on_start();
  std::unique_lock lock(mutex_);
  while (true) {
    Shared* shared = nullptr;
    wake_.wait(lock, [&] { return stopping_ || (shared = to_join()) != nullptr; });
    if (stopping_) return;
    const uint32_t worker = ++shared->joined;
    ++shared->helping;
    ++working_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      shared->work_on(worker);
    } catch (...) {
      failure = std::current_exception();
      shared->leave_out_the_rest();
    }
    lock.lock();
    --working_;
    if (failure != nullptr) shared->failure = failure;
    if (--shared->helping == 0) shared->left.notify_one();
  }
}

}  // namespace jade
