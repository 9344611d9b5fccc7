#include "actors/connection_loop.h"

#include <doctest/doctest.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <caf/all.hpp>
#include <caf/io/middleman.hpp>
#include <future>
#include <thread>
#include <vector>

#include "actors/scheduler.h"

namespace jade {
namespace {

struct Config : caf::actor_system_config {
  Config() {
    ConnectionLoop::configure(*this);
    set("scheduler.max-threads", size_t{1});
    use_node_scheduler(*this);
    set("logger.verbosity", caf::atom("quiet"));
  }
};

// What a broker is to who runs it.
struct Job : caf::io::network::multiplexer::runnable {
  explicit Job(std::function<void()> f) : run(std::move(f)) {}
  resume_result resume(caf::execution_unit*, size_t) override {
    run();
    return done;
  }
  std::function<void()> run;
};

struct Loops {
  Config config;
  caf::actor_system system{config};
  caf::io::network::multiplexer& multiplexer = system.middleman().backend();
  std::unique_ptr<ConnectionLoop> loop = std::make_unique<ConnectionLoop>(system);

  // Each of the ways into the loop.
  void post(size_t way, std::function<void()> f) {
    if (way % 3 == 0) return boost::asio::post(loop->io(), std::move(f));
    if (way % 3 == 1) return loop->unit().exec_later(new Job(std::move(f)));
    multiplexer.post(std::move(f));
  }
};

}  // namespace

TEST_CASE("clients, brokers and CAF's own have one thread, whoever asks") {
  Loops loops;
  std::promise<std::thread::id> id;
  loops.post(0, [&] { id.set_value(std::this_thread::get_id()); });
  const std::thread::id own = id.get_future().get();
  CHECK(own != std::this_thread::get_id());
  CHECK(loops.multiplexer.thread_id() == own);

  constexpr size_t threads = 3, of_each = 300, steps = 4;
  std::atomic<size_t> elsewhere{0};
  std::atomic<size_t> left{threads * of_each};
  std::promise<void> finished;
  // From within the loop into it, by all ways in turn.
  std::function<void(size_t, size_t)> step = [&](size_t way, size_t more) {
    if (std::this_thread::get_id() != own) ++elsewhere;
    if (more > 0) return loops.post(way + more, [&step, way, more] { step(way, more - 1); });
    if (--left == 0) finished.set_value();
  };
  std::vector<std::thread> askers;
  for (size_t t = 0; t < threads; ++t) {
    askers.emplace_back([&, t] {
      for (size_t i = 0; i < of_each; ++i) loops.post(t + i, [&, t, i] { step(t + i, steps); });
    });
  }
  for (std::thread& asker : askers) asker.join();
  finished.get_future().wait();
  CHECK(elsewhere == 0);
}

TEST_CASE("an actor of the loop can be asked, and CAF ends after it") {
  for (int round = 0; round < 5; ++round) {
    Loops loops;
    auto broker = loops.system.middleman().spawn_broker(
        [](caf::io::broker*) -> caf::behavior { return {[](int x) { return x + 1; }}; });
    caf::scoped_actor self(loops.system);
    int answer = 0;
    self->request(broker, caf::infinite, 41)
        .receive([&](int x) { answer = x; }, [](const caf::error&) {});
    CHECK(answer == 42);
    self->send_exit(broker, caf::exit_reason::kill);
    self->wait_for(broker);
    // Nobody waits for these: CAF lets go of them.
    for (size_t way = 0; way < 9; ++way) loops.post(way, [] {});
    loops.loop.reset();
  }
}

}  // namespace jade
