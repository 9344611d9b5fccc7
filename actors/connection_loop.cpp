#include "actors/connection_loop.h"

#include <fcntl.h>
#include <sched.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <caf/io/middleman.hpp>
#include <caf/io/network/default_multiplexer.hpp>
#include <chrono>
#include <future>
#include <thread>

namespace jade {
namespace {

namespace asio = boost::asio;
using Multiplexer = caf::io::network::default_multiplexer;

// CAF's loop can be run by others, but not waited for beside another loop: what it waits on is
// private, and so is what it has put off. An explicit instantiation may name what is private.
int waited_on(const Multiplexer& multiplexer);
bool has_put_off(const Multiplexer& multiplexer);
template <auto descriptor, auto put_off>
struct Opened {
  friend int waited_on(const Multiplexer& multiplexer) { return multiplexer.*descriptor; }
  friend bool has_put_off(const Multiplexer& multiplexer) {
    return !(multiplexer.*put_off).empty();
  }
};
template struct Opened<&Multiplexer::epollfd_, &Multiplexer::internally_posted_>;

using Clock = std::chrono::steady_clock;

// How long the thread looks for what comes next before it sleeps, where nodes talk: as long as a
// search and its way there and back.
constexpr auto awake_time = std::chrono::microseconds(200);
// Messages that follow each other faster are taken for such talk. Heartbeats do not.
constexpr auto talk_interval = std::chrono::milliseconds(1);

// Of CAF's loop, one after the other, before clients have one.
constexpr int turns_max = 16;

}  // namespace

// Asio's loop is the outer one; CAF's is run when what it waits on has something.
struct ConnectionLoop::Impl : caf::execution_unit {
  explicit Impl(caf::actor_system& system)
      : execution_unit(&system),
        multiplexer(dynamic_cast<Multiplexer&>(system.middleman().backend())),
        events(io, fcntl(waited_on(multiplexer), F_DUPFD_CLOEXEC, 0)) {}

  void exec_later(caf::resumable* job) override {
    // The reference goes with the job.
    asio::post(io, [this, held = caf::intrusive_ptr<caf::resumable>(job, false)]() mutable {
      multiplexer.resume(std::move(held));
      note_message();
      multiplexer.handle_internal_events();
    });
  }

  void await_events() {
    // Told at once where something is left.
    events.async_wait(asio::posix::stream_descriptor::wait_read,
                      [this](const boost::system::error_code& error) {
                        if (error) return;
                        multiplexer.try_run_once();
                        note_message();
                        await_events();
                      });
  }

  // To other nodes, or from them.
  void note_message() {
    const Clock::time_point now = Clock::now();
    if (now - last_message < talk_interval) awake_until = now + awake_time;
    last_message = now;
  }

  // Whether something came. Who sleeps is woken late, where nothing else runs: it may take longer
  // than the search that is waited for. Others go first.
  bool look_before_sleep() {
    while (Clock::now() < awake_until) {
      if (io.poll_one() > 0) return true;
      sched_yield();
    }
    return false;
  }

  void run() {
    multiplexer.try_run_once();
    await_events();
    while (!io.stopped()) {
      // What was given to CAF in this thread has woken nobody.
      for (int i = 0; i < turns_max && has_put_off(multiplexer); ++i) multiplexer.try_run_once();
      if (has_put_off(multiplexer)) {
        io.poll_one();
      } else if (!look_before_sleep()) {
        io.run_one();
      }
    }
  }

  Multiplexer& multiplexer;
  asio::io_context io{1};
  asio::posix::stream_descriptor events;
  asio::executor_work_guard<asio::io_context::executor_type> guard{io.get_executor()};
  std::thread thread;
  // Of the thread:
  Clock::time_point last_message;
  Clock::time_point awake_until;
};

void ConnectionLoop::configure(caf::actor_system_config& config) {
  config.load<caf::io::middleman>();
  config.set("middleman.manual-multiplexing", true);
}

ConnectionLoop::ConnectionLoop(caf::actor_system& system) : impl_(std::make_unique<Impl>(system)) {
  std::promise<void> begun;
  impl_->thread = std::thread([impl = impl_.get(), &begun] {
    // Before anybody else asks whether it is in this thread.
    impl->multiplexer.thread_id(std::this_thread::get_id());
    begun.set_value();
    impl->run();
  });
  begun.get_future().wait();
}

ConnectionLoop::~ConnectionLoop() {
  // What is left for CAF, it runs itself when the system ends.
  impl_->io.stop();
  impl_->thread.join();
  impl_->multiplexer.thread_id({});  // another thread may get the same
}

caf::execution_unit& ConnectionLoop::unit() { return *impl_; }

asio::io_context& ConnectionLoop::io() { return impl_->io; }

}  // namespace jade
