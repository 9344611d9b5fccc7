#include "actors/scheduler.h"

#include <sys/resource.h>
#include <sys/syscall.h>
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

// Nice value of the workers of those that work long.
constexpr int long_nice = 10;

// Of another thread's time: a search needs four turns on its way, with one message each.
// What came meanwhile may take longer, and is for a worker.
constexpr size_t brief_turns_max = 16;
constexpr size_t brief_messages_max = 1;

bool is_of(caf::resumable* job, bool (*kind)(std::string_view name)) {
  return job->subtype() == caf::resumable::scheduled_actor &&
         kind(static_cast<caf::scheduled_actor*>(job)->name());
}

bool calls_back(std::string_view name) { return name == "client"; }

bool works_long(caf::resumable* job) { return is_of(job, jade::works_long); }

void lower_priority() {
  // Of this thread only: on Linux every thread has a nice value of its own. Where it is
  // refused, all goes on, at the same priority.
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), long_nice);
}

// Which worker runs what next. There are two lanes: half of the workers run what works long,
// the others all else. Jobs of a lane wait in one queue, but for one job of each worker: that
// which it has made runnable last, and runs next. A worker with nothing to do takes those
// too, of its lane, before it sleeps.
class RunQueue : public caf::policy::unprofiled {
 public:
  using Job = caf::resumable;

  struct Lane {
    std::mutex mutex;
    std::condition_variable runnable;
    std::deque<Job*> queue;
    size_t sleeping = 0;  // less those that are woken already
  };

  struct coordinator_data {
    explicit coordinator_data(caf::scheduler::abstract_coordinator*) {}

    Lane quick, slow;
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
    put(works_long(job) ? d(self).slow : d(self).quick, job);
  }

  template <class Worker>
  void external_enqueue(Worker* self, Job* job) {
    put(lane_of(self), job);
  }

  template <class Worker>
  void internal_enqueue(Worker* self, Job* job) {
    if (works_long(job) != is_slow(self)) return central_enqueue(self->parent(), job);
    // What was to be next has waited since then, while this worker went on: that is for
    // another.
    Job* waiting = d(self).next.exchange(job);
    if (waiting != nullptr) put(lane_of(self), waiting);
  }

  template <class Worker>
  void resume_job_later(Worker* self, Job* job) {
    put(lane_of(self), job);
  }

  template <class Worker>
  Job* dequeue(Worker* self) {
    worker_data& own = d(self);
    if (!std::exchange(own.begun, true) && is_slow(self)) lower_priority();
    Lane& lane = lane_of(self);
    // Actors that answer each other must not keep those in the queue waiting.
    if (++own.in_a_row < in_a_row_max) {
      if (Job* job = own.next.exchange(nullptr)) return job;
    }
    own.in_a_row = 0;
    {
      std::lock_guard lock(lane.mutex);
      if (Job* job = pop(lane)) return job;
    }
    const size_t workers = self->parent()->num_workers() / 2;
    const size_t first = is_slow(self) ? workers : 0;
    for (size_t i = 0; i < workers; ++i) {
      size_t other = first + (self->id() + i) % workers;
      if (Job* job = d(self->parent()->worker_by_id(other)).next.exchange(nullptr)) return job;
    }
    std::unique_lock lock(lane.mutex);
    for (;;) {
      if (Job* job = pop(lane)) return job;
      ++lane.sleeping;
      lane.runnable.wait(lock);
    }
  }

  template <class Worker, class Function>
  void foreach_resumable(Worker* self, Function run) {
    if (Job* job = d(self).next.exchange(nullptr)) run(job);
  }

  template <class Coordinator, class Function>
  void foreach_central_resumable(Coordinator* self, Function run) {
    for (Lane* lane : {&d(self).quick, &d(self).slow}) {
      for (;;) {
        Job* job = nullptr;
        {
          std::lock_guard lock(lane->mutex);
          job = pop(*lane);
        }
        if (job == nullptr) break;
        run(job);
      }
    }
  }

 private:
  static constexpr int in_a_row_max = 32;

  // The first half of them is quick.
  template <class Worker>
  static bool is_slow(Worker* self) {
    return self->id() >= self->parent()->num_workers() / 2;
  }
  template <class Worker>
  Lane& lane_of(Worker* self) {
    return is_slow(self) ? d(self->parent()).slow : d(self->parent()).quick;
  }

  static void put(Lane& lane, Job* job) {
    bool wake = false;
    {
      std::lock_guard lock(lane.mutex);
      lane.queue.push_back(job);
      wake = lane.sleeping > 0;
      if (wake) --lane.sleeping;
    }
    // Not under the lock, or the first that it meets is the lock.
    if (wake) lane.runnable.notify_one();
  }

  static Job* pop(Lane& lane) {
    if (lane.queue.empty()) return nullptr;
    Job* job = lane.queue.front();
    lane.queue.pop_front();
    return job;
  }
};

class NodeCoordinator : public caf::scheduler::coordinator<RunQueue> {
 public:
  using coordinator<RunQueue>::coordinator;

 protected:
  void init(caf::actor_system_config& config) override {
    coordinator<RunQueue>::init(config);
    num_workers_ *= 2;  // for each lane
  }
};

}  // namespace

bool works_long(std::string_view name) { return name == "shard" || name == "ingest"; }

bool works_briefly(std::string_view name) {
  return calls_back(name) || name == "gateway" || name == "query" || name == "peer";
}

BriefTurns::BriefTurns(caf::actor_system& system, Thread thread)
    : execution_unit(&system),
      thread_(thread),
      lends_(dynamic_cast<NodeCoordinator*>(&system.scheduler()) != nullptr) {}

void BriefTurns::exec_later(caf::resumable* job) {
  const bool answers = thread_ == Thread::of_caller && turns_ > 0 && is_of(job, calls_back);
  if (lends_ && !answers && is_of(job, works_briefly)) return jobs_.push_back(job);
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
