#include "sim/ledger.h"

#include <doctest/doctest.h>

namespace jade::sim {
namespace {

struct Told {
  SimulationOptions options;
  Run run{options};
  Records records{options, run};
  Ledger ledger{false, run, records};
};

}  // namespace

TEST_CASE("a record that was written whole has its version as mark, and updates change either") {
  Told told;
  told.ledger.begin_upsert(7, 1);
  told.ledger.acknowledge({{7, 1}});
  told.ledger.observe_state(7, {1, 1});
  told.ledger.begin_marking(7, 2);
  told.ledger.acknowledge_update({}, {{7, 2}}, {});
  told.ledger.observe_state(7, {1, 2});
  told.ledger.begin_revision(7, 3);
  told.ledger.acknowledge_update({{7, 3}}, {}, {});
  told.ledger.observe_state(7, {3, 2});
  CHECK(told.run.ok());
  CHECK(told.run.report().reads_checked == 3);
  told.ledger.observe_state(7, {3, 1});
  CHECK(told.run.report().failure.find("by marks, id 7") != std::string::npos);
}

TEST_CASE("an update that found nothing is a read of nothing") {
  Told told;
  told.ledger.begin_revision(7, 1);
  told.ledger.acknowledge_update({{7, 1}}, {}, {7});
  CHECK(told.run.ok());
  told.ledger.begin_upsert(7, 2);
  told.ledger.acknowledge({{7, 2}});
  told.ledger.begin_revision(7, 3);
  told.ledger.acknowledge_update({{7, 3}}, {}, {7});
  CHECK(!told.run.ok());
}

TEST_CASE("a read of the past shows what somebody has sent, acknowledged or not") {
  Told told;
  told.ledger.begin_upsert(7, 1);
  told.ledger.begin_revision(7, 2);
  told.ledger.begin_marking(7, 3);
  told.ledger.observe_past(7, {1, 1});
  told.ledger.observe_past(7, {2, 3});
  CHECK(told.run.ok());
  told.ledger.observe_past(7, {3, 3});
  CHECK(!told.run.ok());
}

TEST_CASE("what becomes of an id is open until its writes are acknowledged") {
  Told told;
  CHECK(told.ledger.decided(7));
  CHECK(!told.ledger.exists(7));
  told.ledger.begin_upsert(7, 1);
  CHECK(!told.ledger.decided(7));
  told.ledger.acknowledge({{7, 1}});
  CHECK(told.ledger.decided(7));
  CHECK(told.ledger.exists(7));
  told.ledger.begin_marking(7, 2);
  CHECK(!told.ledger.decided(7));
}

TEST_CASE("an id stays unless it is deleted, also where it is written again") {
  Told told;
  told.ledger.begin_upsert(7, 1);
  told.ledger.acknowledge({{7, 1}});
  using Staying = std::vector<std::pair<uint64_t, uint64_t>>;
  CHECK(told.ledger.staying() == Staying{{7, 0}});
  told.ledger.begin_delete(7, 2);
  CHECK(told.ledger.staying().empty());
  CHECK(!told.ledger.stayed(7, 0));
  told.ledger.acknowledge({{7, 2}});
  told.ledger.begin_upsert(7, 3);
  told.ledger.acknowledge({{7, 3}});
  CHECK(told.ledger.staying() == Staying{{7, 1}});
}

TEST_CASE("a record with the vectors of another version is one that nobody wrote") {
  Told told;
  told.ledger.begin_upsert(7, 1);
  told.ledger.acknowledge({{7, 1}});
  StoredVector found;
  found.metadata = metadata_of(7, 1, 1);
  CHECK(told.run.ok());
  told.ledger.observe(7, found);
  CHECK(!told.run.ok());
}

}  // namespace jade::sim
