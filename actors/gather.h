// Ask several actors and go on when all have answered, failed or run out of
// time. (CAF 0.17 has no fan-out request.)
#pragma once

#include <caf/all.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "actors/errors.h"

namespace jade {

// Calls finish(std::vector<Result<Reply>>&) once, answers in the order of
// `calls`; at once where there are none. `finish` runs inside `self`.
template <class Reply, class Self, class Handle, class Request, class Finish>
void gather(Self* self, caf::timespan timeout, std::vector<std::pair<Handle, Request>> calls,
            Finish finish) {
  struct State {
    std::vector<Result<Reply>> answers;
    size_t missing;
    Finish finish;
  };
  auto state = std::make_shared<State>(
      State{std::vector<Result<Reply>>(calls.size(), unavailable("no answer")), calls.size(),
            std::move(finish)});
  if (calls.empty()) return state->finish(state->answers);
  for (size_t i = 0; i < calls.size(); ++i) {
    auto arrived = [state, i](Result<Reply> answer) {
      state->answers[i] = std::move(answer);
      if (--state->missing == 0) state->finish(state->answers);
    };
    self->request(calls[i].first, timeout, std::move(calls[i].second))
        .then([arrived](Reply& reply) { arrived(std::move(reply)); },
              [arrived](const caf::error& error) { arrived(to_status(error)); });
  }
}

}  // namespace jade
