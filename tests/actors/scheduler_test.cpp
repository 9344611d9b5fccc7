#include "actors/scheduler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <caf/all.hpp>
#include <chrono>
#include <ctime>
#include <future>
#include <set>
#include <thread>
#include <vector>

using namespace jade;

namespace {

struct Threads : caf::actor_system_config {
  explicit Threads(size_t threads) {
    set("scheduler.max-threads", threads);
    set("logger.verbosity", caf::atom("quiet"));
    use_node_scheduler(*this);
  }
};

// Adds what comes to a sum, and hands on what is one less.
caf::behavior relay(caf::event_based_actor* self, std::shared_ptr<std::vector<caf::actor>> all,
                    std::shared_ptr<std::atomic<uint64_t>> sum,
                    std::shared_ptr<std::promise<void>> done, uint64_t expected) {
  return {[=](uint64_t n) {
    if (n > 0) self->send((*all)[n % all->size()], n - 1);
    if (n > 0 && sum->fetch_add(n) + n == expected) done->set_value();
  }};
}

caf::behavior silent(caf::event_based_actor* self) {
  return {[=](int) { return self->make_response_promise<int>(); }};
}

}  // namespace

TEST_CASE("every message of many actors is handled once, by any number of threads") {
  for (size_t threads : {1, 2, 4}) {
    CAPTURE(threads);
    constexpr uint64_t chains = 64, length = 500;
    auto all = std::make_shared<std::vector<caf::actor>>();
    auto sum = std::make_shared<std::atomic<uint64_t>>(0);
    auto done = std::make_shared<std::promise<void>>();
    {
      Threads config(threads);
      caf::actor_system system(config);
      std::vector<caf::actor> actors;
      for (int i = 0; i < 37; ++i) {
        actors.push_back(system.spawn(relay, all, sum, done, chains * (length * (length + 1) / 2)));
      }
      *all = actors;
      for (uint64_t i = 0; i < chains; ++i) caf::anon_send(actors[i % 37], length);
      done->get_future().wait();
      all->clear();
    }
    CHECK(*sum == chains * (length * (length + 1) / 2));
  }
}

TEST_CASE("actors that answer each other without end keep no thread to themselves") {
  Threads config(1);
  caf::actor_system system(config);
  auto echo = [](caf::event_based_actor* self) -> caf::behavior {
    return {[=](int n) { self->send(caf::actor_cast<caf::actor>(self->current_sender()), n); }};
  };
  caf::actor left = system.spawn(echo), right = system.spawn(echo);
  caf::send_as(left, right, 1);
  std::promise<int> heard;
  caf::actor third = system.spawn([&](caf::event_based_actor*) -> caf::behavior {
    return {[&](int n) { heard.set_value(n); }};
  });
  caf::anon_send(third, 7);
  CHECK(heard.get_future().get() == 7);
  caf::anon_send_exit(left, caf::exit_reason::kill);
  caf::anon_send_exit(right, caf::exit_reason::kill);
}

TEST_CASE("what a thread put off while it goes on is done by another") {
  Threads config(2);
  caf::actor_system system(config);
  std::promise<void> first;
  auto heard = std::make_shared<std::future<void>>(first.get_future());
  caf::actor one = system.spawn(
      [&](caf::event_based_actor*) -> caf::behavior { return {[&](int) { first.set_value(); }}; });
  caf::actor two =
      system.spawn([](caf::event_based_actor*) -> caf::behavior { return {[](int) {}}; });
  std::promise<void> over;
  // Works, in its own thread, until the first it wrote to has had its turn.
  caf::actor busy = system.spawn([&](caf::event_based_actor* self) -> caf::behavior {
    return {[&, self](int) {
      self->send(one, 1);
      self->send(two, 2);
      heard->wait();
      over.set_value();
    }};
  });
  caf::anon_send(busy, 1);
  over.get_future().wait();
}

namespace {

// Of names that work long.
struct write_state {
  static inline const char* name = "shard";
};
struct search_state {
  static inline const char* name = "long_searcher";
};

}  // namespace

TEST_CASE("actors that work long keep none of other kinds waiting") {
  REQUIRE(lane_of(write_state::name) == Lane::writes);
  REQUIRE(lane_of(search_state::name) == Lane::searches);
  Threads config(2);
  // They outlive the system, some of whose actors may only begin as it ends.
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<int> writing{0}, searching{0};
  caf::actor_system system(config);
  auto work = [released](std::atomic<int>& count) -> caf::behavior {
    return {[&count, released](int) {
      ++count;
      released.wait();
    }};
  };
  auto write = [&](caf::stateful_actor<write_state>*) { return work(writing); };
  auto search = [&](caf::stateful_actor<search_state>*) { return work(searching); };
  auto echo = [](caf::event_based_actor*) -> caf::behavior { return {[](int n) { return n; }}; };
  // More than there are threads of any kind.
  std::vector<caf::actor> workers;
  for (int i = 0; i < 8; ++i) workers.push_back(system.spawn(write));
  for (int i = 0; i < 8; ++i) workers.push_back(system.spawn(search));
  for (const caf::actor& worker : workers) caf::anon_send(worker, 1);
  while (writing < 2 || searching < 2) std::this_thread::yield();
  caf::scoped_actor self(system);
  auto quick = system.spawn(echo);
  self->request(quick, caf::infinite, 5)
      .receive([](int n) { CHECK(n == 5); }, [](const caf::error&) { CHECK(false); });
  CHECK(writing == 2);
  CHECK(searching == 2);
  release.set_value();
  workers.clear();
}

TEST_CASE("the clock counts since the machine was started, suspended or not") {
  Threads config(2);
  caf::actor_system system(config);
  auto boot_time = [] {
    timespec time{};
    clock_gettime(CLOCK_BOOTTIME, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  };
  const auto before = boot_time();
  const auto now = system.clock().now().time_since_epoch();
  CHECK(now >= before);
  CHECK(now <= boot_time());
}

TEST_CASE("time limits are kept in their order, whichever was set first") {
  Threads config(2);
  caf::actor_system system(config);
  std::promise<std::vector<int>> done;
  auto order = std::make_shared<std::vector<int>>();
  caf::actor nobody = system.spawn(silent);
  caf::actor asker = system.spawn([&](caf::event_based_actor* self) -> caf::behavior {
    // Each is due before that which the clock waits for.
    for (int ms : {60, 40, 20}) {
      self->request(nobody, std::chrono::milliseconds(ms), 0)
          .then([](int) {},
                [=, &done](const caf::error& error) {
                  CHECK(error == caf::sec::request_timeout);
                  order->push_back(ms);
                  if (order->size() == 3) done.set_value(*order);
                });
    }
    return {[](int) {}};
  });
  CHECK(done.get_future().get() == std::vector<int>{20, 40, 60});
  caf::anon_send_exit(nobody, caf::exit_reason::kill);
}

TEST_CASE("a system ends while messages are on their way and limits are open") {
  for (int round = 0; round < 20; ++round) {
    Threads config(3);
    caf::actor_system system(config);
    caf::actor nobody = system.spawn(silent);
    for (int i = 0; i < 10; ++i) {
      caf::actor asker = system.spawn([=](caf::event_based_actor* self) -> caf::behavior {
        self->request(nobody, std::chrono::minutes(60), 0)
            .then([](int) {}, [](const caf::error&) {});
        self->delayed_send(self, std::chrono::minutes(60), 1);
        return {
            [=](int n) { self->quit(n == 2 ? caf::exit_reason::normal : caf::exit_reason::kill); }};
      });
      caf::anon_send(asker, 2);
    }
    caf::anon_send_exit(nobody, caf::exit_reason::kill);
  }
}

namespace {

struct query_state {
  static inline const char* name = "query";
};
struct client_state {
  static inline const char* name = "client";
};

using ThreadIds = std::vector<std::thread::id>;

// Hands on what it gets, one less, and says in which thread it did so.
template <class State>
caf::behavior brief(caf::stateful_actor<State>* self, std::shared_ptr<std::vector<caf::actor>> all,
                    std::shared_ptr<ThreadIds> threads, std::shared_ptr<std::promise<void>> over) {
  return {[=](int left) {
    threads->push_back(std::this_thread::get_id());
    if (left == 0) return over->set_value();
    self->send((*all)[static_cast<size_t>(left) % all->size()], left - 1);
  }};
}

// The threads in which a chain of so many messages between actors of these kinds was worked on,
// where this one lends itself.
template <class First, class Second>
ThreadIds threads_of_chain(int length, BriefTurns::Thread thread) {
  auto all = std::make_shared<std::vector<caf::actor>>();
  auto threads = std::make_shared<ThreadIds>();
  auto over = std::make_shared<std::promise<void>>();
  Threads config(2);
  caf::actor_system system(config);
  caf::actor first = system.spawn<caf::lazy_init>(brief<First>, all, threads, over);
  caf::actor second = system.spawn<caf::lazy_init>(brief<Second>, all, threads, over);
  *all = {first, second};
  {
    BriefTurns turns(system, thread);
    auto message = caf::make_mailbox_element(nullptr, caf::make_message_id(), {}, length);
    auto& to = (*all)[static_cast<size_t>(length + 1) % 2];
    caf::actor_cast<caf::abstract_actor*>(to)->enqueue(std::move(message), &turns);
  }
  over->get_future().wait();
  all->clear();
  return *threads;
}

}  // namespace

TEST_CASE("actors that work briefly do so in the thread that has asked") {
  using Thread = BriefTurns::Thread;
  const auto here = std::this_thread::get_id();
  CHECK(threads_of_chain<query_state, query_state>(5, Thread::of_node) == ThreadIds(6, here));

  // Another is not one of them.
  auto mixed = threads_of_chain<query_state, write_state>(1, Thread::of_node);
  REQUIRE(mixed.size() == 2);
  CHECK(mixed[0] == here);
  CHECK(mixed[1] != here);
}

TEST_CASE("a thread lends itself for a number of turns") {
  auto threads = threads_of_chain<query_state, query_state>(500, BriefTurns::Thread::of_node);
  REQUIRE(threads.size() == 501);
  const auto here = std::this_thread::get_id();
  CHECK(threads.front() == here);
  CHECK(threads.back() != here);
  CHECK(std::count(threads.begin(), threads.end(), here) < 50);
}

TEST_CASE("who calls is never called back before its call has returned") {
  const auto here = std::this_thread::get_id();
  for (auto thread : {BriefTurns::Thread::of_node, BriefTurns::Thread::of_caller}) {
    CAPTURE(static_cast<int>(thread));
    // From a client to a query and back.
    auto threads = threads_of_chain<client_state, query_state>(3, thread);
    REQUIRE(threads.size() == 4);
    CHECK(threads[0] == here);
    CHECK(threads[1] == here);
    CHECK((threads[2] == here) == (thread == BriefTurns::Thread::of_node));
  }
}
