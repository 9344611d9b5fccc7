#include "sim/linearizability.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>

namespace jade::sim {
namespace {

using Kind = Operation::Kind;
using Promise = Operation::Promise;

constexpr uint64_t ms = 1'000'000;

// A history of key 7, an event a word and a millisecond: "aw1" client a starts to
// write version 1, "ax" to erase, "ar" to read (as "es" in a session, "ee" eventually);
// "a!" its write is acknowledged, "a=1" its read shows version 1, "a?" the outcome is
// unknown, "a-" it did not happen.
History history_of(const std::string& text) {
  History history;
  std::map<char, History::Handle> running;
  std::istringstream words(text);
  uint64_t now = 0;
  for (std::string word; words >> word; now += ms) {
    uint64_t client = static_cast<uint64_t>(word[0] - 'a' + 1);
    uint64_t number = word.size() > 2 ? std::stoull(word.substr(2)) : 0;
    History::Handle& handle = running[word[0]];
    switch (word[1]) {
      case 'w': handle = history.write(client, 7, number, now); break;
      case 'x': handle = history.erase(client, 7, now); break;
      case 'r': handle = history.read(client, 7, now); break;
      case 's': handle = history.read(client, 7, now, Promise::session); break;
      case 'e': handle = history.read(client, 7, now, Promise::eventual); break;
      case '!': history.complete(handle, now); break;
      case '=': history.complete_read(handle, number, now); break;
      case '?': history.fail_unknown(handle); break;
      case '-': history.discard(handle); break;
      default: FAIL(word);
    }
  }
  return history;
}

bool linearizable(const std::string& text) {
  Finding finding = check_linearizable(history_of(text));
  CHECK(finding.verdict != Verdict::undecided);
  CHECK(finding.explanation.empty() == (finding.verdict == Verdict::holds));
  return finding.verdict == Verdict::holds;
}

bool keeps_sessions(const std::string& text, Remembers remembers = Remembers::writes_and_reads) {
  return check_sessions(history_of(text), remembers).verdict == Verdict::holds;
}

// Literally what linearizability says, for one key: some permutation keeps the order
// of what did not overlap and gives each read the value of the last write before it.
// What has no answer may come last, where it does not matter.
bool linearizable_by_permutations(std::vector<Operation> operations) {
  std::erase_if(operations,
                [](const Operation& o) { return o.kind == Kind::read && !o.answered(); });
  std::vector<size_t> order(operations.size());
  std::iota(order.begin(), order.end(), size_t{0});
  do {
    uint64_t state = 0;
    uint64_t latest_call = 0;
    bool good = true;
    for (size_t i : order) {
      const Operation& o = operations[i];
      latest_call = std::max(latest_call, o.invoked);
      good = o.returned > latest_call && (o.kind != Kind::read || o.value == state);
      if (!good) break;
      if (o.kind != Kind::read) state = o.value;
    }
    if (good) return true;
  } while (std::next_permutation(order.begin(), order.end()));
  return false;
}

// The same for somewhat longer histories: which sets of operations can have taken
// effect with which state.
bool linearizable_by_subsets(std::vector<Operation> operations) {
  std::erase_if(operations,
                [](const Operation& o) { return o.kind == Kind::read && !o.answered(); });
  size_t all = (size_t{1} << operations.size()) - 1;
  std::vector<std::set<uint64_t>> states(all + 1);
  states[0].insert(0);
  for (size_t done = 0; done <= all; ++done) {
    if (states[done].empty()) continue;
    uint64_t first_return = Operation::never;
    for (size_t i = 0; i < operations.size(); ++i) {
      if (!(done >> i & 1)) first_return = std::min(first_return, operations[i].returned);
    }
    if (first_return == Operation::never) return true;
    for (size_t i = 0; i < operations.size(); ++i) {
      const Operation& o = operations[i];
      if ((done >> i & 1) || o.invoked > first_return) continue;
      auto& next = states[done | size_t{1} << i];
      if (o.kind != Kind::read) {
        next.insert(o.value);
      } else if (states[done].contains(o.value)) {
        next.insert(o.value);
      }
    }
  }
  return false;
}

struct Shape {
  size_t operations = 0;
  size_t clients = 0;
  bool repeats = false;  // versions
  int lies = 0;          // percent of the reads that show some version at random
};

// A history of one key whose operations take effect at a random moment, or not at
// all if their outcome is unknown to their client; but for the lies.
History random_history(std::mt19937_64& random, const Shape& shape) {
  auto below = [&](uint64_t n) { return random() % n; };
  struct Running {
    History::Handle handle = 0;
    Kind kind = Kind::read;
    uint64_t value = 0;
    bool done = false;
  };
  History history;
  std::vector<std::optional<Running>> clients(shape.clients);
  std::vector<Running> lost;  // may still happen
  uint64_t state = 0;
  uint64_t versions = 0;
  size_t started = 0;
  auto happen = [&](Running& running) {
    if (running.done) return;
    running.done = true;
    if (running.kind == Kind::read) {
      running.value = state;
    } else {
      state = running.value;
    }
  };
  auto busy = [&](const auto& client) { return client.has_value(); };
  while (started < shape.operations || std::any_of(clients.begin(), clients.end(), busy)) {
    if (!lost.empty() && below(8) == 0) happen(lost[below(lost.size())]);
    size_t client = below(shape.clients);
    auto& running = clients[client];
    if (!running) {
      if (started == shape.operations || below(2) == 0) continue;
      ++started;
      running.emplace();
      uint64_t choice = below(10);
      if (choice < 5) {
        running->handle = history.read(client, 7, 0);
      } else if (choice < 9) {
        running->kind = Kind::write;
        running->value = shape.repeats ? 1 + below(3) : ++versions;
        versions = std::max(versions, running->value);
        running->handle = history.write(client, 7, running->value, 0);
      } else {
        running->kind = Kind::erase;
        running->handle = history.erase(client, 7, 0);
      }
    } else if (below(2) == 0) {
      happen(*running);
    } else if (below(10) == 0) {
      history.fail_unknown(running->handle);
      if (running->kind != Kind::read) lost.push_back(*running);
      running.reset();
    } else if (below(2) == 0) {
      happen(*running);
      if (running->kind != Kind::read) {
        history.complete(running->handle, 0);
      } else {
        bool lies = below(100) < static_cast<uint64_t>(shape.lies);
        history.complete_read(running->handle, lies ? below(versions + 1) : running->value, 0);
      }
      running.reset();
    }
  }
  return history;
}

void compare(const Shape& shape, uint64_t seed, int cases,
             const std::function<bool(std::vector<Operation>)>& oracle) {
  std::mt19937_64 random(seed);
  int good = 0;
  for (int i = 0; i < cases; ++i) {
    Shape one = shape;
    one.operations -= random() % (shape.operations / 3);
    History history = random_history(random, one);
    bool expected = oracle(history.operations());
    Finding finding = check_linearizable(history);
    if (finding.verdict != (expected ? Verdict::holds : Verdict::violated)) {
      FAIL_CHECK("case ", i, " of seed ", seed, " should ",
                 std::string(expected ? "hold" : "be violated"), "\n", finding.explanation);
      return;
    }
    good += expected;
  }
  CHECK(good > cases / 5);
  CHECK(good < cases - cases / 5);
}

// --- A register per key that is used by many clients ---

struct Load {
  uint64_t seed = 1;
  size_t operations = 10'000;
  uint64_t keys = 100;
  uint64_t clients = 10;
  uint64_t unknown_percent = 5;
  bool lie = false;  // one read in the second half shows what was overwritten before
};

// What a read at this moment, invoked at `invoked`, must not show: a version that was
// overwritten before by a write that began after it was acknowledged.
std::optional<uint64_t> stale_version(const std::vector<Operation>& operations, uint64_t key,
                                      uint64_t invoked) {
  for (const Operation& old : operations) {
    if (old.key != key || old.kind != Kind::write) continue;
    for (const Operation& newer : operations) {
      if (newer.key == key && newer.kind != Kind::read && old.returned < newer.invoked &&
          newer.returned < invoked)
        return old.value;
    }
  }
  return std::nullopt;
}

History simulate(const Load& load) {
  std::mt19937_64 random(load.seed);
  auto below = [&](uint64_t n) { return random() % n; };
  History history;
  std::map<uint64_t, uint64_t> state;
  uint64_t versions = 0;
  size_t started = 0;
  bool lied = false;
  std::multimap<uint64_t, std::function<void(uint64_t)>> agenda;
  std::function<void(uint64_t, uint64_t)> start = [&](uint64_t client, uint64_t now) {
    if (started++ >= load.operations) return;
    uint64_t key = below(load.keys);
    uint64_t choice = below(10);
    uint64_t happens = now + below(10 * ms);
    uint64_t returns = happens + below(10 * ms);
    uint64_t pause = below(ms);
    bool unknown = below(100) < load.unknown_percent;
    // A request that its client has given up may arrive much later, or never.
    if (unknown) happens = now + (below(3) == 0 ? below(2000 * ms) : below(20 * ms));
    bool lost = unknown && below(3) == 0;
    History::Handle handle;
    auto seen = std::make_shared<uint64_t>(0);
    if (choice < 5) {
      handle = history.read(client, key, now);
      agenda.emplace(happens, [&state, key, seen](uint64_t) { *seen = state[key]; });
    } else {
      uint64_t version = choice < 9 ? ++versions : 0;
      handle =
          version == 0 ? history.erase(client, key, now) : history.write(client, key, version, now);
      if (!lost)
        agenda.emplace(happens, [&state, key, version](uint64_t) { state[key] = version; });
    }
    uint64_t invoked = history.operation(handle).invoked;
    agenda.emplace(returns, [=, &load, &history, &lied, &start, &started, &agenda](uint64_t then) {
      if (unknown) {
        history.fail_unknown(handle);
      } else if (choice >= 5) {
        history.complete(handle, then);
      } else {
        uint64_t shown = *seen;
        if (load.lie && !lied && started > load.operations / 2) {
          if (auto stale = stale_version(history.operations(), key, invoked)) {
            shown = *stale;
            lied = true;
          }
        }
        history.complete_read(handle, shown, then);
      }
      agenda.emplace(then + pause, [&start, client](uint64_t later) { start(client, later); });
    });
  };
  for (uint64_t client = 0; client < load.clients; ++client) start(client, 0);
  while (!agenda.empty()) {
    auto event = agenda.extract(agenda.begin());
    event.mapped()(event.key());
  }
  CHECK(lied == load.lie);
  return history;
}

}  // namespace

TEST_CASE("what one register can show is linearizable") {
  CHECK(linearizable(""));
  CHECK(linearizable("ar a=0"));
  CHECK(linearizable("aw1 a! br b=1"));
  // A read that overlaps a write shows it or not.
  CHECK(linearizable("aw1 br b=0 a!"));
  CHECK(linearizable("aw1 br b=1 a!"));
  CHECK(linearizable("br aw1 a! b=0"));
  // Writes that overlap take effect in either order, and reads that overlap too.
  CHECK(linearizable("aw1 bw2 a! b! cr c=1 cr c=1"));
  CHECK(linearizable("aw1 bw2 a! b! cr c=2"));
  CHECK(linearizable("aw1 br cr c=1 b=0 a!"));
  // The queue of Herlihy and Wing as a register: each overlaps the next.
  CHECK(linearizable("aw1 bw2 a! cr b! aw3 c=2 br a! b=2 br b=3"));
  // An operation that runs all the time.
  CHECK(linearizable("dw9 aw1 a! br b=1 aw2 a! br b=2 br b=9 d!"));
}

TEST_CASE("stale reads, lost updates and reads from the future are not") {
  CHECK(!linearizable("ar a=1"));
  CHECK(!linearizable("aw1 a! br b=0"));
  CHECK(!linearizable("aw1 a! aw2 a! br b=1"));
  CHECK(!linearizable("br b=1 aw1 a!"));
  // The update of b, begun after that of a, is lost.
  CHECK(!linearizable("aw1 a! bw2 b! cr c=1 cr c=1"));
  // Two clients see two writes in different orders.
  CHECK(!linearizable("aw1 bw2 a! b! cr c=1 cr c=2"));
  CHECK(!linearizable("aw1 bw2 cr c=1 dr d=2 cr c=1 a! b!"));
  // One has seen a write that is still running; nobody may miss it after that.
  CHECK(!linearizable("aw1 br b=1 cr c=0 a!"));
}

TEST_CASE("a write with an unknown outcome may show up later, or never, but not go back") {
  CHECK(linearizable("aw1 a! aw2 a? br b=1 br b=1"));
  CHECK(linearizable("aw1 a! aw2 a? br b=1 br b=2 br b=2"));
  CHECK(linearizable("aw1 a! aw2 a? aw3 a! br b=3 br b=2"));
  CHECK(linearizable("aw1 aw2 br b=2 br b=1"));  // never closed: as unknown
  CHECK(!linearizable("aw1 a! aw2 a? br b=2 br b=1"));
  CHECK(!linearizable("aw1 a! aw2 a? aw3 a! br b=2 br b=3"));
  CHECK(!linearizable("aw1 a! aw2 a? aw3 a! br b=3 br b=2 br b=3"));
  CHECK(!linearizable("br b=2 aw2 a?"));
  // A read without an answer says nothing; what did not happen must not show.
  CHECK(linearizable("aw1 a! br b? br b=1"));
  CHECK(linearizable("aw1 a! aw2 a- br b=1"));
  CHECK(!linearizable("aw1 a! aw2 a- br b=2"));
}

TEST_CASE("erased is a state that can come again") {
  CHECK(linearizable("aw1 a! ax a! br b=0"));
  CHECK(linearizable("ax a! br b=0 aw1 a! br b=1 ax a! br b=0"));
  CHECK(linearizable("aw1 a! ax bw2 a! b! br b=0 cr c=0"));
  CHECK(linearizable("aw1 a! ax bw2 a! b! br b=2 cr c=2"));
  CHECK(linearizable("aw1 a! ax a? br b=1 br b=0"));
  CHECK(linearizable("aw1 a! ax a? br b=0 aw2 a! br b=2"));
  CHECK(linearizable("aw1 a! ax a? ax a? br b=0 aw2 a! br b=2 br b=0"));
  CHECK(!linearizable("aw1 a! ax a! br b=1"));
  CHECK(!linearizable("aw1 a! ax a? br b=0 br b=1"));
  CHECK(!linearizable("aw1 a! ax a? br b=0 aw2 a! br b=2 br b=0"));
  CHECK(!linearizable("aw1 a! ax bw2 a! b! br b=2 cr c=0"));
}

TEST_CASE("keys do not affect each other") {
  for (uint64_t wrong_key : {0, 3, 5}) {
    History history;
    for (uint64_t key = 0; key < 5; ++key) history.complete(history.write(1, key, 10 + key, 0), 1);
    for (uint64_t key = 0; key < 5; ++key) {
      history.complete_read(history.read(2, key, 2), key == wrong_key ? 0 : 10 + key, 3);
    }
    Finding finding = check_linearizable(history);
    CHECK((finding.verdict == Verdict::holds) == (wrong_key == 5));
    if (wrong_key < 5) {
      CHECK(finding.explanation.starts_with("key " + std::to_string(wrong_key) + ": "));
    }
  }
}

TEST_CASE("a violation is shown with what led up to it and nothing after it") {
  Finding finding =
      check_linearizable(history_of("aw1 a! bw2 ar b! cw3 a=2 bw4 c? ar a=1 ar b! a=4"));
  CHECK(finding.verdict == Verdict::violated);
  CHECK(finding.explanation ==
        "key 7: no order of its operations gives these answers, up to the one marked\n"
        "  0.000 to 1.000 ms  client 1  write version 1\n"
        "  2.000 to 4.000 ms  client 2  write version 2\n"
        "  3.000 to 6.000 ms  client 1  read version 2\n"
        "  5.000 to ? ms  client 3  write version 3, outcome unknown\n"
        "  7.000 to 12.000 ms  client 2  write version 4\n"
        "> 9.000 to 10.000 ms  client 1  read version 1");
  // An answer that came later is not to blame yet.
  CHECK(check_linearizable(history_of("aw1 a! br cr c=1 b=0 cr c=0")).explanation ==
        "key 7: no order of its operations gives these answers, up to the one marked\n"
        "  0.000 to 1.000 ms  client 1  write version 1\n"
        "> 2.000 to 5.000 ms  client 2  read nothing\n"
        "  3.000 to 4.000 ms  client 3  read version 1");
  CHECK(check_linearizable(history_of("ar a=5")).explanation ==
        "key 7: version 5 was read but never written\n"
        "> 0.000 to 1.000 ms  client 1  read version 5");
  CHECK(check_linearizable(history_of("ar a=5 bw5 b!")).explanation ==
        "key 7: version 5 was read but written only later\n"
        "> 0.000 to 1.000 ms  client 1  read version 5\n"
        "  2.000 to 3.000 ms  client 2  write version 5");

  std::string text = "aw1 a! aw2 a! ";
  for (int i = 0; i < 40; ++i) text += "br b=2 ";
  std::string explanation = check_linearizable(history_of(text + "cr c=1 br b=2")).explanation;
  CHECK(
      explanation.starts_with("key 7: no order of its operations gives these answers, up to the "
                              "one marked (30 before that are left out)\n"
                              "  0.000 to 1.000 ms  client 1  write version 1\n"
                              "  62.000 to 63.000 ms  client 2  read version 2\n"));
  CHECK(explanation.ends_with("\n> 84.000 to 85.000 ms  client 3  read version 1"));
}

TEST_CASE("small histories are judged as trying all permutations does") {
  for (size_t clients : {2, 3, 4}) {
    compare({.operations = 7, .clients = clients, .lies = 100}, clients, 10'000,
            linearizable_by_permutations);
    compare({.operations = 7, .clients = clients, .repeats = true, .lies = 100}, clients, 10'000,
            linearizable_by_permutations);
  }
  // The two oracles agree.
  std::mt19937_64 random(4);
  for (int i = 0; i < 1000; ++i) {
    Shape shape{.operations = 6, .clients = 3, .repeats = i % 2 == 0, .lies = 30};
    auto operations = random_history(random, shape).operations();
    CHECK(linearizable_by_permutations(operations) == linearizable_by_subsets(operations));
  }
}

TEST_CASE("longer histories, also of repeated versions, are judged as trying all sets does") {
  for (size_t clients : {3, 5}) {
    compare({.operations = 13, .clients = clients, .lies = 40}, clients, 4000,
            linearizable_by_subsets);
    compare({.operations = 13, .clients = clients, .repeats = true, .lies = 50}, clients, 4000,
            linearizable_by_subsets);
  }
}

TEST_CASE("a long history of correct registers holds; one stale read in it is found") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    Finding finding = check_linearizable(simulate({.seed = seed, .operations = 10'000}));
    INFO(finding.explanation);
    CHECK(finding.verdict == Verdict::holds);
    finding = check_linearizable(simulate({.seed = seed, .operations = 10'000, .lie = true}));
    CHECK(finding.verdict == Verdict::violated);
    CHECK(std::count(finding.explanation.begin(), finding.explanation.end(), '\n') < 20);
  }
}

TEST_CASE("one key, many clients and many unknown outcomes do not make it slow") {
  Load load{.seed = 3, .operations = 10'000, .keys = 1, .clients = 20, .unknown_percent = 30};
  Finding finding = check_linearizable(simulate(load));
  INFO(finding.explanation);
  CHECK(finding.verdict == Verdict::holds);
  load.lie = true;
  CHECK(check_linearizable(simulate(load)).verdict == Verdict::violated);
}

TEST_CASE("writes that may never have happened are tried only where a read shows them") {
  History history;
  for (uint64_t i = 0; i < 18; ++i) history.write(i, 7, 1 + i % 6, 0);
  auto show = [&](uint64_t version) { history.complete_read(history.read(30, 7, 1), version, 2); };
  for (uint64_t i = 0; i < 18; ++i) show(1 + i % 6);
  CHECK(check_linearizable(history, 5000).verdict == Verdict::holds);
  show(1);  // a fourth time
  CHECK(check_linearizable(history, 5000).verdict == Verdict::violated);
}

TEST_CASE("past its limit of work the check says so, and knows what another key tells") {
  // Six versions that are each written three times, all at once, and then reads that
  // show each of them: only the first can be right. There are some thousand sets of
  // writes to begin with, and millions of orders to reach them.
  History history;
  std::vector<History::Handle> writes;
  for (uint64_t i = 0; i < 18; ++i) writes.push_back(history.write(i, 7, 1 + i % 6, 0));
  for (History::Handle write : writes) history.complete(write, 1);
  for (uint64_t i = 1; i <= 6; ++i) history.complete_read(history.read(30, 7, 2), i, 3);
  Finding finding = check_linearizable(history);
  CHECK(finding.verdict == Verdict::violated);

  finding = check_linearizable(history, 10);
  CHECK(finding.verdict == Verdict::undecided);
  CHECK(finding.explanation == "key 7: undecided after 10 steps");

  History::Handle write = history.write(1, 8, 1, 6);
  history.complete(write, 7);
  CHECK(check_linearizable(history, 10).verdict == Verdict::undecided);
  history.complete_read(history.read(1, 8, 8), 0, 9);
  CHECK(check_linearizable(history, 10).verdict == Verdict::violated);
}

TEST_CASE("an operation ends once, in its own way") {
  History history;
  CHECK_THROWS_AS(history.write(1, 7, 0, 0), std::invalid_argument);
  History::Handle write = history.write(1, 7, 1, 0);
  History::Handle read = history.read(1, 7, 0);
  CHECK_THROWS_AS(history.complete_read(write, 1, 1), std::logic_error);
  CHECK_THROWS_AS(history.complete(read, 1), std::logic_error);
  history.complete(write, 1);
  CHECK_THROWS_AS(history.discard(write), std::logic_error);
  history.fail_unknown(read);
  CHECK_THROWS_AS(history.complete_read(read, 1, 1), std::logic_error);
  REQUIRE(history.operations().size() == 2);
  CHECK(history.operations()[0].answered());
  CHECK(!history.operations()[1].answered());
}

TEST_CASE("weaker reads may be stale, and leave the linearizable ones alone") {
  CHECK(linearizable("aw1 a! be b=0 bs b=0"));
  CHECK(linearizable("aw1 a! ax a? be b=0 br b=1"));
  CHECK(keeps_sessions("aw1 a! aw2 a! be b=1 be b=2 be b=0 be b=1"));
  CHECK(keeps_sessions("aw1 a! ae a=0"));
  // But they show what was written, and not before.
  CHECK(keeps_sessions("aw1 be b=1 a?"));
  CHECK(!keeps_sessions("be b=1"));
  CHECK(!keeps_sessions("be b=1 aw1 a!"));
  CHECK(!keeps_sessions("aw1 a- be b=1"));
}

TEST_CASE("a session sees its own writes") {
  CHECK(keeps_sessions("aw1 a! as a=1"));
  CHECK(keeps_sessions("aw1 a! bs b=0"));
  CHECK(!keeps_sessions("aw1 a! as a=0"));
  CHECK(!keeps_sessions("aw1 a! aw2 a! as a=1"));
  CHECK(!keeps_sessions("aw1 a! ax a! as a=1"));
  CHECK(!keeps_sessions("bw1 b! aw2 a! as a=1"));
  // What another may have written after it is as good.
  CHECK(keeps_sessions("aw1 bw2 a! b! as a=2"));
  CHECK(keeps_sessions("aw1 a! bw2 as a=2 b!"));
  CHECK(keeps_sessions("aw1 a! bx as a=0 b?"));
  CHECK(keeps_sessions("bx b? aw1 a! as a=0"));
  CHECK(!keeps_sessions("bx b! aw1 a! as a=0"));
  // Only what was acknowledged when the read began must be seen.
  CHECK(keeps_sessions("aw1 a! aw2 a? as a=1"));
  CHECK(keeps_sessions("aw1 a! aw2 a? as a=2"));
  CHECK(check_sessions(history_of("aw1 a! aw2 a! as a=1")).explanation ==
        "key 7: version 1 was read by client 1, older than what it had written (version 2)\n"
        "  0.000 to 1.000 ms  client 1  write version 1\n"
        "  2.000 to 3.000 ms  client 1  write version 2\n"
        "> 4.000 to 5.000 ms  client 1  read version 1");

  // A client that does two things at a time.
  History history;
  History::Handle read = history.read(1, 7, 0, Promise::session);
  history.complete(history.write(1, 7, 1, 1), 2);
  history.complete_read(read, 0, 3);
  CHECK(check_sessions(history).verdict == Verdict::holds);
}

TEST_CASE("a session does not go back behind what it has read") {
  const std::string back = "aw1 a! aw2 a! bs b=2 bs b=1";
  CHECK(!keeps_sessions(back));
  CHECK(keeps_sessions(back, Remembers::writes));
  CHECK(keeps_sessions("aw1 a! aw2 a! bs b=1 bs b=2"));
  CHECK(keeps_sessions("aw1 a! aw2 a! bs b=2 cs c=1"));
  CHECK(keeps_sessions("aw1 a! aw2 a! be b=2 bs b=1"));
  CHECK(!keeps_sessions("aw1 a! bs b=1 bs b=0"));
  // Which of two writes at the same time is older is not known, nor when one happens
  // whose outcome is not.
  CHECK(keeps_sessions("aw1 cw2 a! c! bs b=2 bs b=1"));
  CHECK(keeps_sessions("aw1 a? aw2 a! bs b=2 bs b=1"));
}

}  // namespace jade::sim
