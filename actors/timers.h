// What an actor does later, unless it is taken back before.
//
// CAF 0.17 keeps a timer for every request that is bounded in time until that time is over,
// also if the answer came long ago: a node that is asked 10,000 times a second, with 30 s
// for each, has 300,000 of them, and wakes its actors for each. An actor with a Timers has
// one of CAF's, for whatever is due first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "actors/deadline.h"
#include "actors/messages.h"
#include "actors/retry.h"

namespace jade {

// Of an actor that calls run_due() itself, at each tick.
class Timers {
 public:
  using Key = std::pair<uint64_t, uint64_t>;  // when (ms of the actor's clock), and which

  // Those of one moment run in the order in which they were added.
  Key add(uint64_t due_ms, std::function<void()> run) {
    Key key(due_ms, next_++);
    waiting_.emplace(key, std::move(run));
    return key;
  }
  // One that has run, or is to run now, is none of them any more.
  void cancel(const Key& key) { waiting_.erase(key); }

  void run_due(uint64_t now_ms) {
    while (!waiting_.empty() && waiting_.begin()->first.first <= now_ms) {
      auto due = waiting_.extract(waiting_.begin());
      due.mapped()();
    }
  }

  uint64_t next_due_ms() const {
    return waiting_.empty() ? UINT64_MAX : waiting_.begin()->first.first;
  }

 private:
  std::map<Key, std::function<void()>> waiting_;
  uint64_t next_ = 0;
};

// Of an actor that takes Later: what is due runs by itself.
template <class SelfPointer>
class ArmedTimers {
 public:
  // Of the state of `self`.
  explicit ArmedTimers(SelfPointer self) : self_(self) {}

  Timers::Key add(uint64_t due_ms, std::function<void()> run) {
    Timers::Key key = timers_.add(due_ms, std::move(run));
    arm();
    return key;
  }
  void cancel(const Timers::Key& key) { timers_.cancel(key); }

 private:
  void arm() {
    uint64_t due_ms = timers_.next_due_ms();
    if (due_ms >= armed_ms_) return;
    armed_ms_ = due_ms;
    run_later(self_, time_left(due_ms, now_ms(self_)), [this] {
      armed_ms_ = UINT64_MAX;
      timers_.run_due(now_ms(self_));
      arm();
    });
  }

  SelfPointer self_;
  Timers timers_;
  uint64_t armed_ms_ = UINT64_MAX;  // when CAF's timer is due; UINT64_MAX: there is none
};

// Asks, and calls done(reply) or failed(error): with sec::request_timeout where no answer
// has come by `deadline_ms`. `timers`: of either kind, of the state of `self`.
template <class Reply, class Self, class Handle, class Request, class Done, class Failed,
          class AnyTimers>
void ask_until(Self* self, AnyTimers& timers, const Handle& whom, uint64_t deadline_ms,
               Request&& request, Done done, Failed failed) {
  auto sent = self->request(whom, caf::infinite, std::forward<Request>(request));
  // As CAF's own timers do: the handlers below are forgotten with it.
  auto over = [self, answer = sent.id()] {
    self->eq_impl(answer, nullptr, nullptr, caf::make_error(caf::sec::request_timeout));
  };
  Timers::Key key = timers.add(deadline_ms, over);
  sent.then(
      [&timers, key, done = std::move(done)](Reply& reply) mutable {
        timers.cancel(key);
        done(reply);
      },
      [&timers, key, failed = std::move(failed)](const caf::error& error) mutable {
        timers.cancel(key);
        failed(error);
      });
}

}  // namespace jade
