#include "actors/scheduler.h"

#include <atomic>
#include <caf/actor_system.hpp>
#include <caf/policy/unprofiled.hpp>
#include <caf/scheduler/coordinator.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace jade {
namespace {

// Which worker runs what next. Jobs wait in one queue, but for one job of each worker: that
// which it has made runnable last, and runs next. A worker with nothing to do takes those
// too before it sleeps.
class RunQueue : public caf::policy::unprofiled {
 public:
  using Job = caf::resumable;

  struct coordinator_data {
    explicit coordinator_data(caf::scheduler::abstract_coordinator*) {}

    std::mutex mutex;
    std::condition_variable runnable;
    std::deque<Job*> queue;
    size_t sleeping = 0;  // less those that are woken already
  };

  struct worker_data {
    explicit worker_data(caf::scheduler::abstract_coordinator*) {}
    // Made before anything runs.
    worker_data(const worker_data&) {}

    std::atomic<Job*> next{nullptr};
    int in_a_row = 0;  // jobs that came from `next`; of its own thread
  };

  template <class Coordinator>
  void central_enqueue(Coordinator* self, Job* job) {
    coordinator_data& shared = d(self);
    bool wake = false;
    {
      std::lock_guard lock(shared.mutex);
      shared.queue.push_back(job);
      wake = shared.sleeping > 0;
      if (wake) --shared.sleeping;
    }
    // Not under the lock, or the first that it meets is the lock.
    if (wake) shared.runnable.notify_one();
  }

  template <class Worker>
  void external_enqueue(Worker* self, Job* job) {
    central_enqueue(self->parent(), job);
  }

  template <class Worker>
  void internal_enqueue(Worker* self, Job* job) {
    // What was to be next has waited since then, while this worker went on: that is for
    // another.
    Job* waiting = d(self).next.exchange(job);
    if (waiting != nullptr) central_enqueue(self->parent(), waiting);
  }

  template <class Worker>
  void resume_job_later(Worker* self, Job* job) {
    central_enqueue(self->parent(), job);
  }

  template <class Worker>
  Job* dequeue(Worker* self) {
    worker_data& own = d(self);
    coordinator_data& shared = d(self->parent());
    // Actors that answer each other must not keep those in the queue waiting.
    if (++own.in_a_row < in_a_row_max) {
      if (Job* job = own.next.exchange(nullptr)) return job;
    }
    own.in_a_row = 0;
    {
      std::lock_guard lock(shared.mutex);
      if (Job* job = pop(shared)) return job;
    }
    for (size_t i = 0; i < self->parent()->num_workers(); ++i) {
      size_t other = (self->id() + i) % self->parent()->num_workers();
      if (Job* job = d(self->parent()->worker_by_id(other)).next.exchange(nullptr)) return job;
    }
    std::unique_lock lock(shared.mutex);
    for (;;) {
      if (Job* job = pop(shared)) return job;
      ++shared.sleeping;
      shared.runnable.wait(lock);
    }
  }

  template <class Worker, class Function>
  void foreach_resumable(Worker* self, Function run) {
    if (Job* job = d(self).next.exchange(nullptr)) run(job);
  }

  template <class Coordinator, class Function>
  void foreach_central_resumable(Coordinator* self, Function run) {
    for (;;) {
      Job* job = nullptr;
      {
        std::lock_guard lock(d(self).mutex);
        job = pop(d(self));
      }
      if (job == nullptr) return;
      run(job);
    }
  }

 private:
  static constexpr int in_a_row_max = 32;

  static Job* pop(coordinator_data& shared) {
    if (shared.queue.empty()) return nullptr;
    Job* job = shared.queue.front();
    shared.queue.pop_front();
    return job;
  }
};

// CAF's clock puts what is asked of it in a queue, and wakes its thread each time.
class Clock : public caf::detail::thread_safe_actor_clock {
  using Simple = caf::detail::simple_actor_clock;

 public:
  void set_ordinary_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                            uint64_t id) override {
    change([&] { Simple::set_ordinary_timeout(t, self, type, id); });
  }
  void set_multi_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                         uint64_t id) override {
    change([&] { Simple::set_multi_timeout(t, self, type, id); });
  }
  void set_request_timeout(time_point t, caf::abstract_actor* self, caf::message_id id) override {
    change([&] { Simple::set_request_timeout(t, self, id); });
  }
  void schedule_message(time_point t, caf::strong_actor_ptr receiver,
                        caf::mailbox_element_ptr content) override {
    change([&] { Simple::schedule_message(t, std::move(receiver), std::move(content)); });
  }
  void schedule_message(time_point t, caf::group target, caf::strong_actor_ptr sender,
                        caf::message content) override {
    change([&] {
      Simple::schedule_message(t, std::move(target), std::move(sender), std::move(content));
    });
  }
  void cancel_ordinary_timeout(caf::abstract_actor* self, caf::atom_value type) override {
    change([&] { Simple::cancel_ordinary_timeout(self, type); });
  }
  void cancel_request_timeout(caf::abstract_actor* self, caf::message_id id) override {
    change([&] { Simple::cancel_request_timeout(self, id); });
  }
  void cancel_timeouts(caf::abstract_actor* self) override {
    change([&] { Simple::cancel_timeouts(self); });
  }
  void cancel_all() override {
    // What is dropped may be the last that holds an actor, whose end may come here again.
    schedule_map dropped;
    change([&] {
      actor_lookup_.clear();
      dropped.swap(schedule_);
    });
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (!stopped_) {
      if (auto due = take_due(); !due.empty()) {
        lock.unlock();
        for (auto& what : due) ship(*what);
        due.clear();
        lock.lock();
      } else if (schedule_.empty()) {
        wakes_at_ = time_point::max();
        earlier_.wait(lock);
      } else {
        wakes_at_ = schedule_.begin()->first;
        earlier_.wait_until(lock, wakes_at_);
      }
      wakes_at_ = time_point::min();  // awake
    }
  }

  void stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    earlier_.notify_one();
  }

 private:
  template <class Change>
  void change(Change change) {
    bool earlier = false;
    {
      std::lock_guard lock(mutex_);
      change();
      earlier = !schedule_.empty() && schedule_.begin()->first < wakes_at_;
    }
    if (earlier) earlier_.notify_one();
  }

  std::vector<unique_delayed_event_ptr> take_due() {
    std::vector<unique_delayed_event_ptr> due;
    for (time_point now = this->now(); !schedule_.empty();) {
      auto first = schedule_.begin();
      if (first->first > now) break;
      if (first->second->backlink != actor_lookup_.end()) {
        actor_lookup_.erase(first->second->backlink);
      }
      due.push_back(std::move(first->second));
      schedule_.erase(first);
    }
    return due;
  }

  std::mutex mutex_;
  std::condition_variable earlier_;
  time_point wakes_at_ = time_point::min();
  bool stopped_ = false;
};

class NodeScheduler : public caf::scheduler::coordinator<RunQueue> {
 public:
  using coordinator::coordinator;

  Clock& clock() noexcept override { return clock_; }

 protected:
  void start() override {
    thread_ = std::thread([this] {
      caf::detail::set_thread_name("jade.clock");
      system().thread_started();
      clock_.run();
      system().thread_terminates();
    });
    coordinator::start();
  }

  void stop() override {
    coordinator::stop();
    clock_.stop();
    thread_.join();
  }

 private:
  Clock clock_;
  std::thread thread_;
};

}  // namespace

void use_node_scheduler(caf::actor_system_config& config) {
  config.module_factories.push_back([](caf::actor_system& system) -> caf::actor_system::module* {
    return new NodeScheduler(system);
  });
}

}  // namespace jade
