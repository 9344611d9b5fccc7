#include "actors/scheduler.h"

#include <atomic>
#include <caf/actor_system.hpp>
#include <caf/policy/unprofiled.hpp>
#include <caf/scheduler/coordinator.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>

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

}  // namespace

void use_node_scheduler(caf::actor_system_config& config) {
  config.module_factories.push_back([](caf::actor_system& system) -> caf::actor_system::module* {
    return new caf::scheduler::coordinator<RunQueue>(system);
  });
}

}  // namespace jade
