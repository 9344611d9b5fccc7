#include "sim/model.h"

#include <doctest/doctest.h>

namespace jade::sim {
namespace {

constexpr uint64_t id = 7;

Version version(uint64_t number) { return {number, true}; }
Version deleted(uint64_t number) { return {number, false}; }
const Version nothing{0, false};

}  // namespace

TEST_CASE("what was acknowledged must be seen, and nothing else") {
  Model model;
  CHECK(model.observe(id, nothing).empty());
  model.begin(id, version(1));
  model.acknowledge(id, 1);
  CHECK(model.decided(id));
  CHECK(model.observe(id, version(1)).empty());
  CHECK(model.observe(id, nothing) == "id 7 shows nothing; expected version 1");
  CHECK(model.observe(id, version(2)) == "id 7 shows version 2; expected version 1");
  CHECK(model.observe(id, version(1)).empty());
}

TEST_CASE("a write without an answer may be seen or not; the first read decides") {
  Model seen, unseen;
  for (Model* model : {&seen, &unseen}) {
    model->begin(id, version(1));
    model->acknowledge(id, 1);
    model->begin(id, version(2));
    CHECK(!model->decided(id));
  }
  CHECK(seen.observe(id, version(2)).empty());
  CHECK(seen.decided(id));
  CHECK(seen.observe(id, version(1)) == "id 7 shows version 1; expected version 2");
  CHECK(unseen.observe(id, version(1)).empty());
  CHECK(unseen.decided(id));
  CHECK(unseen.observe(id, version(2)) == "id 7 shows version 2; expected version 1");
}

TEST_CASE("a later undecided write rules out all before it") {
  Model model;
  for (uint64_t number : {1, 2, 3}) model.begin(id, version(number));
  CHECK(model.observe(id, version(4)) ==
        "id 7 shows version 4; expected nothing or version 1 or version 2 or version 3");
  CHECK(model.observe(id, version(2)).empty());
  CHECK(!model.decided(id));
  CHECK(!model.observe(id, version(1)).empty());
  CHECK(!model.observe(id, nothing).empty());
  CHECK(model.observe(id, version(3)).empty());
  CHECK(!model.observe(id, version(2)).empty());
}

TEST_CASE("an acknowledgement settles all earlier writes") {
  Model model;
  for (uint64_t number : {1, 2, 3}) model.begin(id, version(number));
  model.acknowledge(id, 2);
  CHECK(!model.observe(id, version(1)).empty());
  CHECK(model.observe(id, version(2)).empty());
  // An answer that comes after the version was seen, or for none, changes nothing.
  model.acknowledge(id, 2);
  model.acknowledge(id, 99);
  CHECK(model.observe(id, version(2)).empty());
}

TEST_CASE("deletions are versions that show nothing") {
  Model model;
  model.begin(id, version(1));
  model.acknowledge(id, 1);
  model.begin(id, deleted(2));
  CHECK(model.observe(id, nothing).empty());
  CHECK(!model.observe(id, version(1)).empty());
  model.begin(id, version(3));
  model.acknowledge(id, 3);
  model.begin(id, deleted(4));
  model.acknowledge(id, 4);
  CHECK(model.observe(id, version(3)) == "id 7 shows version 3; expected nothing");
  CHECK(model.live() == 0);
}

TEST_CASE("a deletion that is late may happen after nothing was seen") {
  Model model(true);
  model.begin(id, deleted(1));  // given up
  CHECK(model.observe(id, nothing).empty());
  model.begin(id, version(2));
  model.acknowledge(id, 2);
  CHECK(model.observe(id, nothing).empty());
  // It has happened now.
  CHECK(!model.observe(id, version(2)).empty());
  model.begin(id, version(3));
  model.acknowledge(id, 3);
  CHECK(!model.observe(id, nothing).empty());
  // None is late once all is settled.
  model.begin(id, deleted(4));
  model.begin(id, deleted(5));
  model.settle();
  CHECK(model.observe(id, nothing).empty());
  CHECK(model.decided(id));
}

TEST_CASE("ids do not affect each other, and the live ones are counted") {
  Model model;
  for (uint64_t i = 0; i < 5; ++i) {
    model.begin(i, version(i + 1));
    model.acknowledge(i, i + 1);
  }
  model.begin(2, deleted(9));
  CHECK(model.live() == 5);
  model.acknowledge(2, 9);
  CHECK(model.live() == 4);
  CHECK(model.observe(3, version(4)).empty());
  CHECK(!model.observe(3, version(3)).empty());
  CHECK(model.certain().size() == 5);
}

}  // namespace jade::sim
