#include "actors/raft_host.h"

#include <doctest/doctest.h>

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tests/storage/raw_store.h"

namespace jade {
namespace {

constexpr uint64_t group = 5;

// A state machine that is the list of its commands, and a driver whose disk works
// when it is told to.
struct Machine final : RaftDriver {
  uint64_t now_ms = 0;
  std::vector<std::pair<uint64_t, std::string>> applied;
  std::deque<std::pair<uint64_t, LogAppend>> appends;
  std::optional<std::pair<RaftSnapshot, uint64_t>> snapshot;
  std::string refuse;  // a command that cannot be applied
  int restores = 0;
  int snapshots = 0;

  uint64_t raft_now_ms() override { return now_ms; }
  void raft_append(uint64_t request, LogAppend entries) override {
    appends.emplace_back(request, std::move(entries));
  }
  Status raft_apply(uint64_t index, uint64_t, std::string_view command) override {
    if (command == refuse) return Status(Code::io_error, "no");
    applied.emplace_back(index, command);
    return {};
  }
  std::string raft_state() override {
    std::string out;
    for (const auto& [index, command] : applied) out += std::to_string(index) + command + "\n";
    return out;
  }
  Status raft_restore(std::string_view state) override {
    ++restores;
    applied.clear();
    while (!state.empty()) {
      size_t digits = state.find_first_not_of("0123456789"), end = state.find('\n');
      applied.emplace_back(std::stoull(std::string(state.substr(0, digits))),
                           state.substr(digits, end - digits));
      state.remove_prefix(end + 1);
    }
    return {};
  }
  void raft_store_snapshot(RaftSnapshot stored, uint64_t trailing) override {
    REQUIRE(!snapshot);
    snapshot.emplace(std::move(stored), trailing);
    ++snapshots;
  }
  // Alone in its group.
  void raft_send(RaftMessage) override { FAIL("nobody to send to"); }
  void raft_state_offered(RaftOffer) override { FAIL("nobody to offer it"); }
  void raft_elected(uint64_t term) override { elected.push_back(term); }
  std::vector<uint64_t> elected;  // in which terms
};

struct Fixture {
  std::unique_ptr<leveldb::Env> env = memory_env();
  std::shared_ptr<LogStore> log = open_log();
  Machine machine;
  std::unique_ptr<RaftHost> host;
  RaftHost::Options options;

  // What was proposed, and its outcome.
  struct Proposal {
    std::string command;
    std::optional<Result<uint64_t>> outcome;
  };
  std::deque<Proposal> proposals;

  Fixture() {
    options.group = group;
    options.node = 1;
    options.founders = {{1, true, {}}};
  }

  std::shared_ptr<LogStore> open_log() {
    auto opened = LogStore::open(env.get(), "/log");
    REQUIRE(opened.ok());
    return *opened;
  }

  Status try_start() {
    host = std::make_unique<RaftHost>(options, *log, machine);
    return host->start();
  }
  // Up to being the leader.
  void start() {
    Status started = try_start();
    REQUIRE_MESSAGE(started.ok(), started.to_string());
    for (int i = 0; i < 100 && !host->serves(); ++i) {
      work();
      tick();
    }
    REQUIRE(host->serves());
  }
  // The process ends and begins: a machine in memory begins empty, a durable one
  // with what it had.
  void restart() {
    host.reset();
    machine.appends.clear();
    machine.snapshot.reset();
    if (options.durable_state) {
      options.applied_index = machine.applied.empty() ? 0 : machine.applied.back().first;
    } else {
      machine.applied.clear();
    }
    log.reset();
    log = open_log();
    start();
  }

  void tick() {
    machine.now_ms += options.tick_ms;
    host->tick();
  }
  bool work_once() {
    if (!machine.appends.empty()) {
      auto [request, entries] = std::move(machine.appends.front());
      machine.appends.pop_front();
      host->appended(request, log->append({&entries, 1}));
      return true;
    }
    if (!machine.snapshot) return false;
    auto [stored, trailing] = *std::move(machine.snapshot);
    machine.snapshot.reset();
    host->snapshot_stored(log->put_snapshot(group, stored, trailing));
    return true;
  }
  void work() {
    while (work_once()) {
    }
  }

  void propose(const std::string& command) {
    Proposal& proposal = proposals.emplace_back(Proposal{command, {}});
    host->propose(command, [&proposal](Result<uint64_t> outcome) {
      CHECK(!proposal.outcome);
      proposal.outcome = std::move(outcome);
    });
  }
  void propose_and_work(int first, int last) {
    for (int i = first; i <= last; ++i) {
      propose("c" + std::to_string(i));
      work();
    }
  }
  std::string raw_state() const {
    auto loaded = log->load(group);
    REQUIRE(loaded.ok());
    std::string out =
        std::to_string(loaded->state.term) + " " + std::to_string(loaded->state.voted_for);
    for (const LogEntry& entry : loaded->entries) out += " " + entry.data;
    return out;
  }
  size_t acknowledged() const {
    size_t n = 0;
    for (const Proposal& proposal : proposals) n += proposal.outcome && proposal.outcome->ok();
    return n;
  }
  // The machine has applied exactly these, at rising indexes.
  void check_applied(int first, int last) const {
    REQUIRE(machine.applied.size() == static_cast<size_t>(last - first + 1));
    for (size_t i = 0; i < machine.applied.size(); ++i) {
      CHECK(machine.applied[i].second == "c" + std::to_string(first + static_cast<int>(i)));
      if (i > 0) CHECK(machine.applied[i].first > machine.applied[i - 1].first);
    }
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "commands are applied in order once they are durable, not before") {
  start();
  CHECK(host->is_leader());
  for (int i = 1; i <= 20; ++i) propose("c" + std::to_string(i));
  CHECK(machine.applied.empty());
  CHECK(acknowledged() == 0);
  size_t before = 0;
  while (work_once()) {
    // Each durable append only lets more be applied.
    CHECK(machine.applied.size() >= before);
    before = machine.applied.size();
  }
  check_applied(1, 20);
  CHECK(acknowledged() == 20);
  for (size_t i = 0; i < 20; ++i) CHECK(proposals[i].outcome->value() == machine.applied[i].first);
  CHECK(host->last_applied() == machine.applied.back().first);
  CHECK(host->last_index() == host->last_applied());
}

TEST_CASE_FIXTURE(Fixture, "each election is told once, with a term of its own") {
  start();
  propose("a");
  work();
  REQUIRE(machine.elected.size() == 1);
  restart();
  REQUIRE(machine.elected.size() == 2);
  CHECK(machine.elected[0] < machine.elected[1]);
}

TEST_CASE_FIXTURE(Fixture, "what was acknowledged survives any number of restarts") {
  start();
  uint64_t term = host->term();
  for (int life = 0; life < 5; ++life) {
    propose_and_work(life * 10 + 1, life * 10 + 10);
    auto before = machine.applied;
    restart();
    CHECK(machine.applied == before);
    CHECK(host->term() >= term);
    term = host->term();
  }
  check_applied(1, 50);
  CHECK(acknowledged() == 50);
}

TEST_CASE_FIXTURE(Fixture, "a durable machine is not given again what it has applied") {
  options.durable_state = true;
  start();
  propose_and_work(1, 10);
  restart();
  check_applied(1, 10);
  propose_and_work(11, 15);
  // It fell back by a few entries, as after power loss: those come again.
  machine.applied.resize(12);
  restart();
  check_applied(1, 15);
}

TEST_CASE_FIXTURE(Fixture, "a log that does not go with the state is corruption") {
  options.durable_state = true;
  options.applied_index = 3;
  CHECK(try_start().code() == Code::corruption);
  host.reset();
  options.applied_index = 0;
  start();
  propose_and_work(1, 5);
  host.reset();
  options.applied_index = 1000;
  Status ahead = try_start();
  CHECK(ahead.code() == Code::corruption);
  CHECK(ahead.message().find("the state is at entry 1000, but its log ends at") == 0);
  host.reset();
  RaftSnapshot snapshot;
  snapshot.index = 6;
  snapshot.term = 1;
  REQUIRE(log->put_snapshot(group, snapshot, 0).ok());
  options.applied_index = 2;
  Status behind = try_start();
  CHECK(behind.code() == Code::corruption);
  CHECK(behind.message() == "the state is at entry 2, but the log has dropped the entries up to 6");
}

TEST_CASE_FIXTURE(Fixture, "snapshots drop the log, and a new host begins from the last") {
  options.snapshot_entries = 10;
  start();
  propose_and_work(1, 95);
  CHECK(machine.snapshots >= 5);
  auto loaded = log->load(group);
  REQUIRE(loaded.ok());
  REQUIRE(loaded->snapshot);
  CHECK(loaded->entries.size() < 20);
  CHECK(loaded->first_index > 70);
  restart();
  CHECK(machine.restores == 1);
  check_applied(1, 95);
  propose_and_work(96, 120);
  restart();
  check_applied(1, 120);
}

TEST_CASE_FIXTURE(Fixture, "large entries bring a snapshot forward") {
  options.snapshot_entries = 100'000;
  options.snapshot_bytes = 10'000;
  start();
  for (int i = 0; i < 10; ++i) {
    propose(std::string(3000, 'x'));
    work();
  }
  CHECK(machine.snapshots >= 2);
  CHECK(machine.snapshots <= 4);
}

TEST_CASE_FIXTURE(Fixture, "a snapshot that could not be stored is tried again later") {
  options.snapshot_entries = 10;
  start();
  int failures = 0;
  for (int i = 1; i <= 60; ++i) {
    propose("c" + std::to_string(i));
    while (!machine.appends.empty() || machine.snapshot) {
      if (machine.snapshot && failures < 2) {
        ++failures;
        machine.snapshot.reset();
        host->snapshot_stored(Status(Code::disk_full, "full"));
      } else {
        work_once();
      }
    }
  }
  CHECK(failures == 2);
  CHECK(!host->failed());
  check_applied(1, 60);
  CHECK(log->load(group)->snapshot);
}

TEST_CASE_FIXTURE(Fixture, "a failed append ends the host; a new one goes on from the disk") {
  start();
  propose_and_work(1, 5);
  // The second of three appends under way fails; the third never happens.
  for (int i = 6; i <= 8; ++i) propose("c" + std::to_string(i));
  REQUIRE(machine.appends.size() == 3);
  work_once();
  host->appended(machine.appends.front().first, Status(Code::disk_full, "no space"));
  CHECK(host->failed());
  CHECK(host->failure().code() == Code::disk_full);
  CHECK(!host->serves());
  // Refused from now on, with the reason; a late answer changes nothing.
  propose("late");
  REQUIRE(proposals.back().outcome);
  CHECK(proposals.back().outcome->status().code() == Code::disk_full);
  std::optional<Status> read;
  host->read([&](Result<uint64_t> outcome) { read = outcome.status(); });
  REQUIRE(read);
  CHECK(read->code() == Code::disk_full);
  for (int i = 0; i < 50; ++i) tick();
  CHECK(host->failed());
  restart();
  // Each caller had an answer, and what was acknowledged is there.
  for (const Proposal& proposal : proposals) CHECK(proposal.outcome);
  check_applied(1, 6);
  CHECK(acknowledged() == 6);
  proposals.clear();
  propose("c7");
  work();
  check_applied(1, 7);
  CHECK(acknowledged() == 1);
}

TEST_CASE_FIXTURE(Fixture, "a command that cannot be applied ends the host with its index") {
  start();
  propose_and_work(1, 3);
  machine.refuse = "bad";
  propose("bad");
  propose("c5");
  work();
  CHECK(host->failed());
  uint64_t index = machine.applied.back().first + 1;
  CHECK(host->failure().to_string() ==
        "io_error: applying log entry " + std::to_string(index) + ": no");
  check_applied(1, 3);
  CHECK(acknowledged() == 3);
  host.reset();
  for (const Proposal& proposal : proposals) CHECK(proposal.outcome);
}

TEST_CASE_FIXTURE(Fixture, "a read comes after all that was acknowledged") {
  start();
  propose("c1");
  work();
  REQUIRE(acknowledged() == 1);
  propose("c2");
  std::optional<uint64_t> seen;
  host->read([&](Result<uint64_t> outcome) {
    REQUIRE(outcome.ok());
    seen = machine.applied.size();
  });
  // Alone, nobody has to be asked; c2 is under way.
  CHECK(seen == 1);
  work();
}

TEST_CASE_FIXTURE(Fixture, "where the log is empty and it founded nothing, a member waits") {
  options.founders.clear();
  REQUIRE(try_start().ok());
  for (int i = 0; i < 100; ++i) tick();
  CHECK(machine.appends.empty());
  CHECK(!host->is_leader());
}

TEST_CASE_FIXTURE(Fixture, "a group that has begun elsewhere is not founded again") {
  REQUIRE(log->mark_begun(group).ok());
  REQUIRE(try_start().ok());
  for (int i = 0; i < 100; ++i) tick();
  CHECK(machine.appends.empty());
  CHECK(!host->is_leader());
}

TEST_CASE_FIXTURE(Fixture, "closing answers all that is pending and touches no disk") {
  start();
  propose_and_work(1, 2);
  propose("c3");
  auto before = raw_state();
  host->close();
  REQUIRE(proposals.back().outcome);
  CHECK(proposals.back().outcome->status().code() == Code::unavailable);
  CHECK(raw_state() == before);
  CHECK(!host->is_leader());
  propose("c4");
  CHECK(proposals.back().outcome->status().code() == Code::unavailable);
  host->tick();
  host->close();
  restart();
  check_applied(1, 2);
}

TEST_CASE_FIXTURE(Fixture, "two groups share a log and know nothing of each other") {
  start();
  Machine other_machine;
  RaftHost::Options other_options = options;
  other_options.group = group + 1;
  RaftHost other(other_options, *log, other_machine);
  REQUIRE(other.start().ok());
  int done = 0;
  propose("c1");
  while (!other_machine.appends.empty() || !machine.appends.empty()) {
    std::vector<LogAppend> both;
    std::vector<uint64_t> mine, others;
    for (auto& [request, entries] : machine.appends) {
      mine.push_back(request);
      both.push_back(std::move(entries));
    }
    for (auto& [request, entries] : other_machine.appends) {
      others.push_back(request);
      both.push_back(std::move(entries));
    }
    machine.appends.clear();
    other_machine.appends.clear();
    REQUIRE(log->append(both).ok());
    for (uint64_t request : mine) host->appended(request, {});
    for (uint64_t request : others) other.appended(request, {});
    if (other.serves() && done == 0) {
      ++done;
      other.propose("other", [&done](Result<uint64_t> outcome) { done += outcome.ok(); });
    }
  }
  CHECK(done == 2);
  check_applied(1, 1);
  REQUIRE(other_machine.applied.size() == 1);
  CHECK(other_machine.applied[0].second == "other");
}

}  // namespace jade
