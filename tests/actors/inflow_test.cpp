#include "actors/inflow.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "actors/scheduler.h"

using namespace jade;

namespace {

constexpr size_t mib = 1u << 20;

struct Line {
  int told = 0;
  std::shared_ptr<Inflow> inflow = std::make_shared<Inflow>([this] { ++told; });

  ReceiptPtr receive(size_t bytes) {
    return {std::make_shared<Receipt>(inflow, bytes - Inflow::message_bytes)};
  }
};

}  // namespace

TEST_CASE("reading pauses above the bound, and goes on once at half of it") {
  Line line;
  std::vector<ReceiptPtr> waiting;
  for (size_t i = 0; i < Inflow::waiting_bytes_max / mib; ++i) {
    waiting.push_back(line.receive(mib));
    CHECK_FALSE(line.inflow->pause());
  }
  waiting.push_back(line.receive(mib));
  CHECK(line.inflow->pause());
  while (line.inflow->waiting_bytes() > Inflow::waiting_bytes_max / 2) {
    CHECK(line.told == 0);
    waiting.pop_back();
  }
  CHECK(line.told == 1);
  waiting.clear();
  CHECK(line.told == 1);
  CHECK(line.inflow->waiting_bytes() == 0);
}

TEST_CASE("what is taken does not keep from reading, and is refused above its bound") {
  Line line;
  std::vector<ReceiptPtr> taken;
  for (size_t i = 0; i < Inflow::taken_bytes_max / mib; ++i) {
    taken.push_back(line.receive(mib));
    CHECK(taken.back()->take().ok());
    CHECK_FALSE(line.inflow->pause());
  }
  CHECK(line.inflow->waiting_bytes() == 0);
  CHECK(line.inflow->taken_bytes() == Inflow::taken_bytes_max);
  ReceiptPtr more = line.receive(mib);
  CHECK(more->take().code() == Code::resource_exhausted);
  CHECK(line.inflow->waiting_bytes() == mib);
  CHECK(taken.back()->take().ok());  // counts once
  taken.pop_back();
  CHECK(more->take().ok());
  CHECK(line.inflow->taken_bytes() == Inflow::taken_bytes_max);
  more = {};
  taken.clear();
  CHECK(line.inflow->taken_bytes() == 0);
  // One that is longer than all may be is taken alone.
  ReceiptPtr longest = line.receive(Inflow::taken_bytes_max + mib);
  CHECK(longest->take().ok());
  CHECK(line.receive(mib)->take().code() == Code::resource_exhausted);
}

TEST_CASE("whoever pauses is told to go on, whatever others do meanwhile") {
  std::atomic<int> told = 0;
  auto inflow = std::make_shared<Inflow>([&] { ++told; });
  for (int round = 0; round < 2000; ++round) {
    auto first = std::make_shared<Receipt>(inflow, Inflow::waiting_bytes_max);
    auto second = std::make_shared<Receipt>(inflow, mib);
    told = 0;
    std::thread worker([&] {
      first = nullptr;
      second = nullptr;
    });
    bool paused = inflow->pause();
    worker.join();
    REQUIRE(told == (paused ? 1 : 0));
  }
}

TEST_CASE("a message keeps its receipt until an actor has worked on it") {
  caf::actor_system_config config;
  use_node_scheduler(config);
  caf::actor_system system(config);
  Line line;
  ReceiptPtr seen;
  auto actor = system.spawn([&](caf::event_based_actor* self) -> caf::behavior {
    return {[self, &seen](std::string& text) {
      seen = receipt_of_current(*self);
      return std::move(text);
    }};
  });
  caf::scoped_actor self(system);
  auto send = [&](bool counted) {
    auto element =
        caf::make_mailbox_element(caf::actor_cast<caf::strong_actor_ptr>(self),
                                  caf::make_message_id(), {}, caf::make_message(std::string("a")));
    if (counted) element = with_receipt(std::move(element), line.receive(mib));
    caf::actor_cast<caf::strong_actor_ptr>(actor)->enqueue(std::move(element), nullptr);
    bool answered = false;
    self->receive([&](const std::string& text) { answered = text == "a"; },
                  caf::after(std::chrono::seconds(120)) >> [] {});
    CHECK(answered);
  };
  send(true);
  CHECK(seen);
  CHECK(line.inflow->waiting_bytes() == mib);
  send(false);
  CHECK_FALSE(seen);
  // The actor has come to what followed.
  CHECK(line.inflow->waiting_bytes() == 0);
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}
