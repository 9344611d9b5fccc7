#include "sim/linearizability.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

#include "actors/random.h"

namespace jade::sim {
namespace {

using Kind = Operation::Kind;
using Promise = Operation::Promise;
constexpr uint64_t absent = 0;

bool writes(const Operation& operation) { return operation.kind != Kind::read; }

// --- The search ---

// One key's history is searched as Wing and Gong do ("Testing and verifying concurrent
// objects", 1993): calls and returns are in one list in the order of time; any call
// before the first return may be the next to take effect, and is then lifted out of
// the list with its return; a dead end is undone by putting it back. Sets of lifted
// operations that were found to be hopeless are remembered, as by Lowe ("Testing for
// linearizability", 2017).
//
// That would take exponential time for a register as soon as a number of writes are
// never answered. These rules make it nearly linear, and lose nothing:
//
// 1. A read of the current state that may be next is taken at once: it changes
//    nothing for the others. The next choice is thus always of a write, whatever the
//    state is. (Hence the state, which Lowe remembers too, need not be.) A write and
//    the reads taken after it are a block.
// 2. A write without an answer is taken only if a read can follow at once: otherwise
//    it might as well never happen.
// 3. After the last write of a value no read of that value may remain.
// 4. If such a last block is possible it is taken, and nothing else is tried: in
//    any other order of the rest this block stands as a whole as well, before a
//    write or the end, so it can be moved from there to the front.
// 5. Of several writes of one value only the first to return is tried: it could
//    change places with the one that another order has first.
//
// With rule 4, which is why registers are easy if all written values differ (Gibbons
// and Korach, "Testing shared memories", 1997), a choice is left only between several
// values that are each written more than once. Absence is one such value; so there is
// no choice at all unless a history repeats versions.
class Search {
 public:
  Search(const std::vector<Operation>& operations, uint64_t step_limit);

  Verdict run();

 private:
  struct Link {
    size_t previous = 0;
    size_t next = 0;
  };
  struct Item {
    bool writes = false;
    bool answered = false;
    size_t value = 0;   // of values_
    size_t call = 0;    // of links_
    size_t answer = 0;  // its return
  };
  struct Value {
    size_t writes_left = 0;
    size_t reads_left = 0;
  };
  enum class Block { impossible, possible, last };
  struct Choice {
    size_t lifted = 0;  // how many were, before it
    std::vector<size_t> untried;
  };
  struct Hash {
    size_t operator()(const std::vector<uint64_t>& set) const {
      uint64_t hash = 0;
      for (uint64_t word : set) hash = mix(word, hash);
      return static_cast<size_t>(hash);
    }
  };

  void remove(size_t link) {
    links_[links_[link].previous].next = links_[link].next;
    links_[links_[link].next].previous = links_[link].previous;
  }
  void restore(size_t link) {
    links_[links_[link].previous].next = link;
    links_[links_[link].next].previous = link;
  }
  void lift(size_t item);
  void unlift_to(size_t count);
  size_t take_reads(size_t value);
  Block take_block(size_t item);
  std::vector<size_t> candidates();

  // Link 0 closes the ring; of any other, item_of_ says whose it is.
  std::vector<Link> links_;
  std::vector<size_t> item_of_;
  std::vector<Item> items_;
  std::vector<Value> values_;
  size_t initial_value_ = 0;
  size_t answers_left_ = 0;
  std::vector<size_t> lifted_;
  std::vector<uint64_t> lifted_set_;
  std::unordered_set<std::vector<uint64_t>, Hash> hopeless_;
  uint64_t steps_ = 0;
  uint64_t step_limit_;
};

Search::Search(const std::vector<Operation>& operations, uint64_t step_limit)
    : step_limit_(step_limit) {
  std::unordered_map<uint64_t, size_t> numbers;
  auto number_of = [&](uint64_t value) {
    auto [found, is_new] = numbers.emplace(value, values_.size());
    if (is_new) values_.emplace_back();
    return found->second;
  };
  initial_value_ = number_of(absent);

  struct Event {
    uint64_t when;
    size_t item;
    bool is_return;
  };
  std::vector<Event> events;
  for (const Operation& operation : operations) {
    if (!writes(operation) && !operation.answered()) continue;
    Item item;
    item.writes = writes(operation);
    item.answered = operation.answered();
    item.value = number_of(operation.value);
    ++(item.writes ? values_[item.value].writes_left : values_[item.value].reads_left);
    if (item.answered) ++answers_left_;
    events.push_back({operation.invoked, items_.size(), false});
    if (item.answered) events.push_back({operation.returned, items_.size(), true});
    items_.push_back(item);
  }
  std::sort(events.begin(), events.end(),
            [](const Event& a, const Event& b) { return a.when < b.when; });

  links_.resize(1);
  item_of_.resize(1);
  for (const Event& event : events) {
    Item& item = items_[event.item];
    // Rule 2, ahead of time: nothing can follow it.
    if (!item.answered && values_[item.value].reads_left == 0) {
      --values_[item.value].writes_left;
      continue;
    }
    size_t link = links_.size();
    (event.is_return ? item.answer : item.call) = link;
    links_.push_back({links_[0].previous, 0});
    restore(link);
    item_of_.push_back(event.item);
  }
  lifted_set_.resize((items_.size() + 63) / 64);
}

void Search::lift(size_t index) {
  ++steps_;
  const Item& item = items_[index];
  if (item.answered) {
    remove(item.answer);
    --answers_left_;
  }
  remove(item.call);
  --(item.writes ? values_[item.value].writes_left : values_[item.value].reads_left);
  lifted_.push_back(index);
  lifted_set_[index / 64] |= uint64_t{1} << index % 64;
}

void Search::unlift_to(size_t count) {
  while (lifted_.size() > count) {
    size_t index = lifted_.back();
    lifted_.pop_back();
    lifted_set_[index / 64] &= ~(uint64_t{1} << index % 64);
    const Item& item = items_[index];
    ++(item.writes ? values_[item.value].writes_left : values_[item.value].reads_left);
    restore(item.call);
    if (item.answered) {
      ++answers_left_;
      restore(item.answer);
    }
  }
}

// Rule 1. One pass is enough: to lift a read can only admit what is behind it.
size_t Search::take_reads(size_t value) {
  size_t taken = 0;
  for (size_t link = links_[0].next; link != 0 && values_[value].reads_left > 0;) {
    ++steps_;
    size_t index = item_of_[link];
    const Item& item = items_[index];
    if (link != item.call) break;
    if (!item.writes && item.value == value) {
      lift(index);
      ++taken;
    }
    // Also right for a call just lifted: its return was removed before it.
    link = links_[link].next;
  }
  return taken;
}

Search::Block Search::take_block(size_t index) {
  const Item& item = items_[index];
  lift(index);
  size_t reads = take_reads(item.value);
  if (!item.answered && reads == 0) return Block::impossible;
  const Value& value = values_[item.value];
  if (value.writes_left > 0) return Block::possible;
  return value.reads_left > 0 ? Block::impossible : Block::last;
}

// The writes that may be next: by rule 5, one of each value.
std::vector<size_t> Search::candidates() {
  std::vector<size_t> found;
  for (size_t link = links_[0].next; link != 0; link = links_[link].next) {
    ++steps_;
    const Item& item = items_[item_of_[link]];
    if (link != item.call) break;
    if (!item.writes) continue;
    auto same = std::find_if(found.begin(), found.end(),
                             [&](size_t other) { return items_[other].value == item.value; });
    steps_ += found.size();
    if (same == found.end()) {
      found.push_back(item_of_[link]);
    } else if (item.answered && (!items_[*same].answered || item.answer < items_[*same].answer)) {
      *same = item_of_[link];
    }
  }
  return found;
}

Verdict Search::run() {
  std::vector<Choice> choices;
  take_reads(initial_value_);
  while (answers_left_ > 0) {
    Choice choice{lifted_.size(), {}};
    bool forced = false;
    for (size_t candidate : candidates()) {
      Block block = take_block(candidate);
      if (steps_ > step_limit_) return Verdict::undecided;
      forced = block == Block::last;
      if (forced) break;
      unlift_to(choice.lifted);
      if (block == Block::possible) choice.untried.push_back(candidate);
    }
    if (forced) continue;
    // Where there is nothing to choose there is no need to come back.
    if (choice.untried.size() > 1 || !choices.empty()) {
      steps_ += lifted_set_.size();
      if (!hopeless_.insert(lifted_set_).second) choice.untried.clear();
    }
    choices.push_back(std::move(choice));
    while (!choices.empty() && choices.back().untried.empty()) choices.pop_back();
    if (choices.empty()) return Verdict::violated;
    unlift_to(choices.back().lifted);
    take_block(choices.back().untried.back());
    choices.back().untried.pop_back();
    if (choices.back().untried.empty()) choices.pop_back();
  }
  return Verdict::holds;
}

// --- Explanations ---

std::string milliseconds(uint64_t ns) {
  std::string fraction = std::to_string(ns / 1000 % 1000);
  return std::to_string(ns / 1'000'000) + "." + std::string(3 - fraction.size(), '0') + fraction;
}

std::string text_of(uint64_t value) {
  return value == absent ? "nothing" : "version " + std::to_string(value);
}

std::string line_of(const Operation& operation) {
  std::string line = milliseconds(operation.invoked_ns) + " to " +
                     (operation.answered() ? milliseconds(operation.returned_ns) : "?") +
                     " ms  client " + std::to_string(operation.client) + "  ";
  switch (operation.kind) {
    case Kind::write: line += "write " + text_of(operation.value); break;
    case Kind::erase: line += "erase"; break;
    case Kind::read: line += "read " + text_of(operation.value); break;
  }
  if (!operation.answered()) line += ", outcome unknown";
  return line;
}

// The operations of one key, by invocation, of which the one at `wrong` was answered
// as it must not be: what led up to it, and what wrote the versions that matter.
std::string explain(const std::vector<Operation>& operations, size_t wrong, const std::string& what,
                    const std::set<uint64_t>& versions) {
  constexpr size_t shown = 12;
  const Operation& answer = operations[wrong];
  std::string text = "key " + std::to_string(answer.key) + ": " + what;
  std::vector<size_t> before;  // what led up to it
  for (size_t i = 0; i < operations.size(); ++i) {
    const Operation& other = operations[i];
    uint64_t matters_from = writes(other) ? other.invoked : other.returned;
    if (matters_from <= answer.returned) before.push_back(i);
  }
  std::set<size_t> lines(before.end() - static_cast<long>(std::min(before.size(), shown)),
                         before.end());
  lines.insert(wrong);
  for (size_t i = 0; i < operations.size(); ++i) {
    const Operation& other = operations[i];
    if (other.kind == Kind::write && versions.contains(other.value)) lines.insert(i);
  }
  size_t left_out = 0;
  for (size_t i : before) left_out += !lines.contains(i);
  if (left_out > 0) text += " (" + std::to_string(left_out) + " before that are left out)";
  for (size_t i : lines) text += (i == wrong ? "\n> " : "\n  ") + line_of(operations[i]);
  return text;
}

// --- What both checks need ---

std::map<uint64_t, std::vector<Operation>> by_key(const History& history) {
  std::map<uint64_t, std::vector<Operation>> keys;
  for (const Operation& operation : history.operations()) {
    if (writes(operation) || operation.answered()) keys[operation.key].push_back(operation);
  }
  return keys;
}

// When the writes of one value happened, as far as it is certain.
struct Written {
  uint64_t first_invoked = Operation::never;
  uint64_t last_returned = 0;
};

std::unordered_map<uint64_t, Written> written_values(const std::vector<Operation>& operations) {
  std::unordered_map<uint64_t, Written> values;
  values[absent].first_invoked = 0;  // before all that happens
  for (const Operation& operation : operations) {
    if (!writes(operation)) continue;
    Written& written = values[operation.value];
    written.first_invoked = std::min(written.first_invoked, operation.invoked);
    written.last_returned = std::max(written.last_returned, operation.returned);
  }
  return values;
}

// A read of what was not yet written when it returned.
std::optional<Finding> unwritten_read(const std::vector<Operation>& operations,
                                      const std::unordered_map<uint64_t, Written>& values) {
  for (size_t i = 0; i < operations.size(); ++i) {
    const Operation& read = operations[i];
    if (writes(read)) continue;
    auto found = values.find(read.value);
    if (found != values.end() && found->second.first_invoked < read.returned) continue;
    std::string what = text_of(read.value) + " was read but " +
                       (found == values.end() ? "never written" : "written only later");
    return Finding{Verdict::violated, explain(operations, i, what, {read.value})};
  }
  return std::nullopt;
}

// What had happened when the event `last` had: later answers are not known yet.
std::vector<Operation> beginning(const std::vector<Operation>& operations, uint64_t last) {
  std::vector<Operation> begun;
  for (Operation operation : operations) {
    if (operation.invoked > last) break;
    if (operation.returned > last) operation.returned = Operation::never;
    begun.push_back(operation);
  }
  return begun;
}

// A beginning of a linearizable history is linearizable; so the shortest that is not
// is found by halving.
std::string explain_violation(const std::vector<Operation>& operations, uint64_t step_limit) {
  std::vector<size_t> answered;
  for (size_t i = 0; i < operations.size(); ++i) {
    if (operations[i].answered()) answered.push_back(i);
  }
  std::sort(answered.begin(), answered.end(),
            [&](size_t a, size_t b) { return operations[a].returned < operations[b].returned; });
  // Where the search gives up, a longer beginning serves as well.
  auto first = std::partition_point(answered.begin(), answered.end() - 1, [&](size_t i) {
    Search search(beginning(operations, operations[i].returned), step_limit);
    return search.run() != Verdict::violated;
  });
  const Operation& answer = operations[*first];
  std::set<uint64_t> versions;
  if (!writes(answer)) versions.insert(answer.value);
  return explain(operations, *first,
                 "no order of its operations gives these answers, up to the one marked", versions);
}

}  // namespace

// --- Histories ---

History::Handle History::invoke(Operation operation, uint64_t now_ns) {
  operation.invoked_ns = now_ns;
  operation.invoked = ++events_;
  records_.push_back({operation});
  return records_.size() - 1;
}

History::Handle History::write(uint64_t client, uint64_t key, uint64_t version, uint64_t now_ns) {
  if (version == absent) throw std::invalid_argument("version 0 stands for absence");
  return invoke({.client = client, .key = key, .kind = Kind::write, .value = version}, now_ns);
}

History::Handle History::erase(uint64_t client, uint64_t key, uint64_t now_ns) {
  return invoke({.client = client, .key = key, .kind = Kind::erase, .value = absent}, now_ns);
}

History::Handle History::read(uint64_t client, uint64_t key, uint64_t now_ns, Promise promise) {
  return invoke({.client = client, .key = key, .kind = Kind::read, .promise = promise}, now_ns);
}

Operation& History::close(Handle handle) {
  Record& record = records_.at(handle);
  if (!record.open) throw std::logic_error("an operation ends once");
  record.open = false;
  return record.operation;
}

void History::complete(Handle handle, uint64_t now_ns) {
  if (!writes(records_.at(handle).operation)) throw std::logic_error("a read shows something");
  Operation& operation = close(handle);
  operation.returned_ns = now_ns;
  operation.returned = ++events_;
}

void History::complete_read(Handle handle, uint64_t version, uint64_t now_ns) {
  if (writes(records_.at(handle).operation)) throw std::logic_error("a write shows nothing");
  Operation& operation = close(handle);
  operation.value = version;
  operation.returned_ns = now_ns;
  operation.returned = ++events_;
}

void History::discard(Handle handle) {
  close(handle);
  records_[handle].discarded = true;
}

std::vector<Operation> History::operations() const {
  std::vector<Operation> all;
  for (const Record& record : records_) {
    if (!record.discarded) all.push_back(record.operation);
  }
  return all;
}

// --- The checks ---

Finding check_linearizable(const History& history, uint64_t step_limit) {
  Finding finding;
  for (auto& [key, operations] : by_key(history)) {
    std::vector<Operation> strong;
    for (const Operation& operation : operations) {
      if (writes(operation) || operation.promise == Promise::linearizable)
        strong.push_back(operation);
    }
    if (auto wrong = unwritten_read(strong, written_values(strong))) return *wrong;
    Verdict verdict = Search(strong, step_limit).run();
    if (verdict == Verdict::violated) return {verdict, explain_violation(strong, step_limit)};
    if (verdict == Verdict::undecided && finding.verdict == Verdict::holds) {
      // Another key may yet be certain.
      finding = {verdict, "key " + std::to_string(key) + ": undecided after " +
                              std::to_string(step_limit) + " steps"};
    }
  }
  return finding;
}

Finding check_sessions(const History& history, Remembers remembers) {
  for (const auto& [key, operations] : by_key(history)) {
    auto values = written_values(operations);
    if (auto wrong = unwritten_read(operations, values)) return *wrong;

    struct Event {
      uint64_t when;
      size_t operation;
    };
    std::vector<Event> events;
    for (size_t i = 0; i < operations.size(); ++i) {
      events.push_back({operations[i].invoked, i});
      if (operations[i].answered()) events.push_back({operations[i].returned, i});
    }
    std::sort(events.begin(), events.end(),
              [](const Event& a, const Event& b) { return a.when < b.when; });

    // The last write that a client is certain of: it took effect after `after`.
    struct Known {
      uint64_t after = 0;
      size_t from = 0;  // the operation that it knows it from
    };
    std::unordered_map<uint64_t, Known> known;             // by client
    std::unordered_map<size_t, Known> known_when_invoked;  // by read
    for (const Event& event : events) {
      const Operation& operation = operations[event.operation];
      bool session_read = !writes(operation) && operation.promise == Promise::session;
      if (event.when == operation.invoked) {
        if (session_read) known_when_invoked[event.operation] = known[operation.client];
        continue;
      }
      if (session_read) {
        Known least = known_when_invoked[event.operation];
        if (values[operation.value].last_returned < least.after) {
          const Operation& from = operations[least.from];
          std::string what = text_of(operation.value) + " was read by client " +
                             std::to_string(operation.client) + ", older than what it had " +
                             (writes(from) ? "written" : "read") + " (" + text_of(from.value) + ")";
          return {Verdict::violated,
                  explain(operations, event.operation, what, {operation.value, from.value})};
        }
      }
      if (!writes(operation) && (!session_read || remembers == Remembers::writes)) continue;
      Known now{writes(operation) ? operation.invoked : values[operation.value].first_invoked,
                event.operation};
      Known& before = known[operation.client];
      if (now.after > before.after) before = now;
    }
  }
  return {};
}

}  // namespace jade::sim
