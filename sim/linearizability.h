// Whether what clients saw of a key-value store can be explained by one copy of it
// that does one operation at a time.
//
// A history is linearizable (Herlihy and Wing, 1990) if every operation can be
// given a moment between its invocation and its answer such that all answers are
// those of a single register per key that is used in the order of these moments.
// That holds for a store if and only if it holds for each key alone (locality).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace jade::sim {

struct Operation {
  enum class Kind { write, erase, read };
  // What a read was promised; writes are always linearizable.
  enum class Promise {
    linearizable,
    session,  // nothing older than what this client has written or seen before
    eventual  // something that was written
  };
  static constexpr uint64_t never = std::numeric_limits<uint64_t>::max();

  uint64_t client = 0;
  uint64_t key = 0;
  Kind kind = Kind::read;
  Promise promise = Promise::linearizable;
  uint64_t value = 0;  // the version written or read; 0: absent
  // For people.
  uint64_t invoked_ns = 0;
  uint64_t returned_ns = 0;
  // For the checks: places in the order of all events of the history. An operation
  // without an answer may take effect at any time after its invocation, or never.
  uint64_t invoked = 0;
  uint64_t returned = never;

  bool answered() const { return returned != never; }
};

// What the clients did, in the order in which it is told: an operation that is
// invoked after another was completed counts as later, also if both happened at
// the same time of the simulator's clock.
class History {
 public:
  using Handle = size_t;

  // A version is not 0. Usually no two writes of a key have the same; the checks
  // are right if they do, but may take long.
  Handle write(uint64_t client, uint64_t key, uint64_t version, uint64_t now_ns);
  Handle erase(uint64_t client, uint64_t key, uint64_t now_ns);
  Handle read(uint64_t client, uint64_t key, uint64_t now_ns,
              Operation::Promise promise = Operation::Promise::linearizable);

  // A write or erase was acknowledged; a read showed this version (0: nothing).
  void complete(Handle handle, uint64_t now_ns);
  void complete_read(Handle handle, uint64_t version, uint64_t now_ns);
  // There was no answer, or an error that leaves open what happened. Operations that
  // are still open when the history is checked count as such too.
  void fail_unknown(Handle handle) { close(handle); }
  // It certainly did not and will not happen: it leaves no trace.
  void discard(Handle handle);

  const Operation& operation(Handle handle) const { return records_.at(handle).operation; }
  // Without those discarded, in the order of their invocations.
  std::vector<Operation> operations() const;

 private:
  struct Record {
    Operation operation;
    bool open = true;
    bool discarded = false;
  };

  Handle invoke(Operation operation, uint64_t now_ns);
  Operation& close(Handle handle);  // throws std::logic_error if it is not open

  std::vector<Record> records_;
  uint64_t events_ = 0;
};

enum class Verdict {
  holds,
  violated,
  undecided  // the limit of work was reached first
};

struct Finding {
  Verdict verdict = Verdict::holds;
  std::string explanation;  // of all but `holds`, in several lines
};

// Far more than what is practical needs, and reached within about a second. It bounds
// the memory too: a step keeps at most a word.
constexpr uint64_t default_step_limit = 50'000'000;

// All writes and the reads with Promise::linearizable. The explanation of a violation
// is the shortest beginning of the history of one key that cannot be explained, or
// the end of that if it is long. `step_limit` is for each key and each beginning tried.
Finding check_linearizable(const History& history, uint64_t step_limit = default_step_limit);

// What a session, or its token, remembers.
enum class Remembers { writes, writes_and_reads };

// The weaker reads: (a) whatever any read shows was written by an operation that was
// invoked before the read returned; (b) a session read shows nothing older than the
// acknowledged writes, and the reads with promise `session`, that the same client had
// completed on that key before. One write is older than another only if it was
// acknowledged before the other was invoked: what this finds is wrong in every case,
// provided the writes are linearizable, which is for check_linearizable to say.
Finding check_sessions(const History& history, Remembers remembers = Remembers::writes_and_reads);

}  // namespace jade::sim
