#include "actors/scheduler.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <caf/actor_system.hpp>
#include <caf/policy/unprofiled.hpp>
#include <caf/scheduled_actor.hpp>
#include <caf/scheduler/coordinator.hpp>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace jade {
namespace {

constexpr size_t lanes = 3;
// Nice values of their workers.
constexpr int nice_of[lanes] = {0, 5, 10};

// Of another thread's time: a search needs four turns on its way, with one message each.
// What came meanwhile may take longer, and is for a worker.
constexpr size_t brief_turns_max = 16;
constexpr size_t brief_messages_max = 1;

// Of the actor; "": it is none.
std::string_view name_of(caf::resumable* job) {
  if (job->subtype() != caf::resumable::scheduled_actor) return "";
  return static_cast<caf::scheduled_actor*>(job)->name();
}

bool calls_back(std::string_view name) { return name == "client"; }

size_t lane_of_job(caf::resumable* job) { return static_cast<size_t>(lane_of(name_of(job))); }

void lower_priority(int nice) {
  // Of this thread only: on Linux every thread has a nice value of its own. Where it is
  // refused, all goes on, at the same priority.
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), nice);
}

// Which worker runs what next. Each lane has as many workers as the others. Jobs of a lane wait in
// one queue, but for one job of each worker: that which it has made runnable last, and runs next. A
// worker with nothing to do takes those too, of its lane, before it sleeps.
class RunQueue : public caf::policy::unprofiled {
 public:
  using Job = caf::resumable;

  struct Queue {
    std::mutex mutex;
    std::condition_variable runnable;
    std::deque<Job*> jobs;
    size_t sleeping = 0;  // less those that are woken already
  };

  struct coordinator_data {
    explicit coordinator_data(caf::scheduler::abstract_coordinator*) {}

    Queue of_lane[lanes];
  };

  struct worker_data {
    explicit worker_data(caf::scheduler::abstract_coordinator*) {}
    // Made before anything runs.
    worker_data(const worker_data&) {}

    std::atomic<Job*> next{nullptr};
    // Of its own thread:
    int in_a_row = 0;  // jobs that came from `next`
    bool begun = false;
  };

  template <class Coordinator>
  void central_enqueue(Coordinator* self, Job* job) {
    put(d(self).of_lane[lane_of_job(job)], job);
  }

  template <class Worker>
  void external_enqueue(Worker* self, Job* job) {
    put(queue_of(self), job);
  }

  template <class Worker>
  void internal_enqueue(Worker* self, Job* job) {
    if (lane_of_job(job) != lane_of(self)) return central_enqueue(self->parent(), job);
    // What was to be next has waited since then, while this worker went on: that is for
    // another.
    Job* waiting = d(self).next.exchange(job);
    if (waiting != nullptr) put(queue_of(self), waiting);
  }

  template <class Worker>
  void resume_job_later(Worker* self, Job* job) {
    put(queue_of(self), job);
  }

  template <class Worker>
  Job* dequeue(Worker* self) {
    worker_data& own = d(self);
    const size_t lane = lane_of(self);
    if (!std::exchange(own.begun, true) && nice_of[lane] > 0) lower_priority(nice_of[lane]);
    Queue& queue = queue_of(self);
    // Actors that answer each other must not keep those in the queue waiting.
    if (++own.in_a_row < in_a_row_max) {
      if (Job* job = own.next.exchange(nullptr)) return job;
    }
    own.in_a_row = 0;
    {
      std::lock_guard lock(queue.mutex);
      if (Job* job = pop(queue)) return job;
    }
    const size_t workers = self->parent()->num_workers() / lanes;
    const size_t first = lane * workers;
    for (size_t i = 0; i < workers; ++i) {
      size_t other = first + (self->id() + i) % workers;
      if (Job* job = d(self->parent()->worker_by_id(other)).next.exchange(nullptr)) return job;
    }
    std::unique_lock lock(queue.mutex);
    for (;;) {
      if (Job* job = pop(queue)) return job;
      ++queue.sleeping;
      queue.runnable.wait(lock);
    }
  }

  template <class Worker, class Function>
  void foreach_resumable(Worker* self, Function run) {
    if (Job* job = d(self).next.exchange(nullptr)) run(job);
  }

  template <class Coordinator, class Function>
  void foreach_central_resumable(Coordinator* self, Function run) {
    for (Queue& queue : d(self).of_lane) {
      for (;;) {
        Job* job = nullptr;
        {
          std::lock_guard lock(queue.mutex);
          job = pop(queue);
        }
        if (job == nullptr) break;
        run(job);
      }
    }
  }

 private:
  static constexpr int in_a_row_max = 32;

  // By their numbers: one lane after the other.
  template <class Worker>
  static size_t lane_of(Worker* self) {
    return self->id() / (self->parent()->num_workers() / lanes);
  }
  template <class Worker>
  Queue& queue_of(Worker* self) {
    return d(self->parent()).of_lane[lane_of(self)];
  }

  static void put(Queue& queue, Job* job) {
    bool wake = false;
    {
      std::lock_guard lock(queue.mutex);
      queue.jobs.push_back(job);
      wake = queue.sleeping > 0;
      if (wake) --queue.sleeping;
    }
    // Not under the lock, or the first that it meets is the lock.
    if (wake) queue.runnable.notify_one();
  }

  static Job* pop(Queue& queue) {
    if (queue.jobs.empty()) return nullptr;
    Job* job = queue.jobs.front();
    queue.jobs.pop_front();
    return job;
  }
};

// CAF's, but that now() goes on while the machine is suspended, so that a leader that was does not
// take its lease for a good one. Timers wait for as long as they would, awake.
class BootClock final : public caf::detail::thread_safe_actor_clock {
 public:
  using Timers = caf::detail::thread_safe_actor_clock;

  // `timers`: whose dispatch loop runs.
  explicit BootClock(Timers& timers) : timers_(timers) {}

  time_point now() const noexcept override {
    timespec time{};
    clock_gettime(CLOCK_BOOTTIME, &time);
    return time_point(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
  }

  void set_ordinary_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                            uint64_t id) override {
    timers_.set_ordinary_timeout(awake(t), self, type, id);
  }
  void set_request_timeout(time_point t, caf::abstract_actor* self, caf::message_id id) override {
    timers_.set_request_timeout(awake(t), self, id);
  }
  void set_multi_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                         uint64_t id) override {
    timers_.set_multi_timeout(awake(t), self, type, id);
  }
  void cancel_ordinary_timeout(caf::abstract_actor* self, caf::atom_value type) override {
    timers_.cancel_ordinary_timeout(self, type);
  }
  void cancel_request_timeout(caf::abstract_actor* self, caf::message_id id) override {
    timers_.cancel_request_timeout(self, id);
  }
  void cancel_timeouts(caf::abstract_actor* self) override { timers_.cancel_timeouts(self); }
  void schedule_message(time_point t, caf::strong_actor_ptr receiver,
                        caf::mailbox_element_ptr content) override {
    timers_.schedule_message(awake(t), std::move(receiver), std::move(content));
  }
  void schedule_message(time_point t, caf::group target, caf::strong_actor_ptr sender,
                        caf::message content) override {
    timers_.schedule_message(awake(t), std::move(target), std::move(sender), std::move(content));
  }
  void cancel_all() override { timers_.cancel_all(); }

 private:
  time_point awake(time_point t) const { return timers_.now() + (t - now()); }

  Timers& timers_;
};

class NodeCoordinator : public caf::scheduler::coordinator<RunQueue> {
 public:
  using coordinator<RunQueue>::coordinator;

  BootClock& clock() noexcept override { return clock_; }

 protected:
  void init(caf::actor_system_config& config) override {
    coordinator<RunQueue>::init(config);
    num_workers_ *= lanes;
  }

 private:
  BootClock clock_{coordinator<RunQueue>::clock()};
};

}  // namespace

Lane lane_of(std::string_view name) {
  if (name == "shard" || name == "ingest") return Lane::writes;
  return name == "long_searcher" ? Lane::searches : Lane::quick;
}

bool works_briefly(std::string_view name) {
  return calls_back(name) || name == "gateway" || name == "query" || name == "peer";
}

BriefTurns::BriefTurns(caf::actor_system& system, Thread thread)
    : execution_unit(&system),
      thread_(thread),
      lends_(dynamic_cast<NodeCoordinator*>(&system.scheduler()) != nullptr) {}

void BriefTurns::exec_later(caf::resumable* job) {
  const bool answers = thread_ == Thread::of_caller && turns_ > 0 && calls_back(name_of(job));
  if (lends_ && !answers && works_briefly(name_of(job))) return jobs_.push_back(job);
  system().scheduler().enqueue(job);
}

void BriefTurns::run() {
  for (; !jobs_.empty(); ++turns_) {
    caf::resumable* job = jobs_.front();
    jobs_.pop_front();
    if (turns_ >= brief_turns_max) {
      system().scheduler().enqueue(job);
      continue;
    }
    // As a worker of CAF's does: the reference goes with the job.
    if (job->resume(this, brief_messages_max) == caf::resumable::resume_later) {
      system().scheduler().enqueue(job);
    } else {
      intrusive_ptr_release(job);
    }
  }
}

void use_node_scheduler(caf::actor_system_config& config) {
  config.module_factories.push_back([](caf::actor_system& system) -> caf::actor_system::module* {
    return new NodeCoordinator(system);
  });
}

}  // namespace jade
