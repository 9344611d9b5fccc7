// The right to answer one request, once, from any thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "net/http_message.h"

namespace jade {

// A handle that may be copied; the first answer counts. When all copies are gone
// without one, the client is told 503 rather than left waiting.
class Responder {
 public:
  using Deliver = std::function<void(HttpResponse)>;

  explicit Responder(Deliver deliver) : state_(std::make_shared<State>(std::move(deliver))) {}

  void operator()(HttpResponse response) const { state_->answer(std::move(response)); }

 private:
  struct State {
    explicit State(Deliver d) : deliver(std::move(d)) {}
    ~State();  // in handlers.cpp, which knows the form of errors
    void answer(HttpResponse response) {
      if (!answered.exchange(true)) deliver(std::move(response));
    }
    std::atomic<bool> answered{false};
    Deliver deliver;
  };
  std::shared_ptr<State> state_;
};

}  // namespace jade
