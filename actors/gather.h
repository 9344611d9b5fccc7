// Ask several actors and go on when all have answered, failed or run out of
// time. (CAF 0.17 has no fan-out request.)
#pragma once

#include <caf/all.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "actors/deadline.h"
#include "actors/errors.h"
#include "actors/random.h"

namespace jade {

// Takes `count` answers, as arrived(position, Result<Reply>); with the last of them it
// calls finish(std::vector<Result<Reply>>&), at once where there are none.
template <class Reply, class Finish>
auto collect(size_t count, Finish finish) {
  struct State {
    std::vector<Result<Reply>> answers;
    size_t missing;
    Finish finish;
  };
  auto state = std::make_shared<State>(
      State{std::vector<Result<Reply>>(count, unavailable("no answer")), count, std::move(finish)});
  if (count == 0) state->finish(state->answers);
  return [state](size_t position, Result<Reply> answer) {
    state->answers[position] = std::move(answer);
    if (--state->missing == 0) state->finish(state->answers);
  };
}

// Calls finish(std::vector<Result<Reply>>&) once, answers in the order of
// `calls`; at once where there are none. `finish` runs inside `self`. Where whoever was
// asked has ended, the answer is `moved`. The requests, which
// have a Route, may take until `deadline_ms` of the actor clock.
template <class Reply, class Self, class Handle, class Request, class Finish>
void gather(Self* self, uint64_t deadline_ms, std::vector<std::pair<Handle, Request>> calls,
            Finish finish) {
  auto arrived = collect<Reply>(calls.size(), std::move(finish));
  caf::timespan timeout = time_left(deadline_ms, now_ms(self));
  for (size_t i = 0; i < calls.size(); ++i) {
    calls[i].second.route.deadline_ms = deadline_ms;
    self->request(calls[i].first, timeout, std::move(calls[i].second))
        .then([arrived, i](Reply& reply) { arrived(i, std::move(reply)); },
              [arrived, i](const caf::error& error) { arrived(i, to_read_status(error)); });
  }
}

}  // namespace jade
