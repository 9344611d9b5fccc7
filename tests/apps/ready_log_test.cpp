#include "apps/serve/ready_log.h"

#include <doctest/doctest.h>

#include <future>

#include "tests/net/model_api.h"

namespace jade {

TEST_CASE("why a node is not ready is said when it lasts, and when it becomes another reason") {
  ReadyTeller teller;
  CHECK(!teller.is_due(0, "a"));
  CHECK(!teller.is_due(ReadyTeller::first_ms - 1, "a"));
  CHECK(teller.is_due(ReadyTeller::first_ms, "a"));
  uint64_t said = ReadyTeller::first_ms;
  CHECK(!teller.is_due(said + ReadyTeller::interval_ms, "a"));
  CHECK(!teller.is_due(said + ReadyTeller::interval_ms - 1, "b"));
  CHECK(teller.is_due(said + ReadyTeller::interval_ms, "b"));
  said += ReadyTeller::interval_ms;
  CHECK(!teller.is_due(said + ReadyTeller::repeat_ms - 1, "b"));
  CHECK(teller.is_due(said + ReadyTeller::repeat_ms, "b"));
}

TEST_CASE("a node is said to be ready once it is, and not before") {
  test::ModelApi api;
  api.is_ready = false;
  std::promise<void> ready;
  std::atomic<bool> was_ready{false};
  {
    ReadyLog log(
        api,
        [&] {
          CHECK(was_ready);
          ready.set_value();
        },
        [](const std::string&) {});
    was_ready = true;
    api.is_ready = true;
    ready.get_future().wait();
  }
}

TEST_CASE("a node that is never ready can be stopped") {
  test::ModelApi api;
  api.is_ready = false;
  ReadyLog log(
      api, [] { FAIL_CHECK("it is not"); }, [](const std::string&) {});
}

}  // namespace jade
