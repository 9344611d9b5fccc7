// The logs of all Raft groups of a node, in one LevelDB: one synced write can
// make entries of many groups durable. Byte formats: docs/formats.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "storage/kv.h"
#include "storage/life.h"

namespace jade {

struct LogEntry {
  uint64_t term = 0;
  uint8_t type = 0;  // opaque here
  std::string data;
};

struct HardState {
  uint64_t term = 0;
  uint64_t voted_for = 0;  // 0: nobody in this term

  friend bool operator==(const HardState&, const HardState&) = default;
};

// Entries of one group with indexes first_index, first_index + 1, ..., and what
// else must be durable with them.
struct LogAppend {
  uint64_t group = 0;
  uint64_t first_index = 0;  // without entries: unused
  std::vector<LogEntry> entries;
  std::optional<HardState> state;
};

struct RaftSnapshot {
  uint64_t index = 0;
  uint64_t term = 0;
  uint64_t configuration_index = 0;
  std::string configuration;
  std::string data;
};

std::string encode(const RaftSnapshot& snapshot);
// `what` it is, for the message of a corruption.
Result<RaftSnapshot> decode_snapshot(std::string_view bytes, const std::string& what);

// All functions may be called from any thread; those that write are durable on
// return, or have changed nothing that load() would show.
class LogStore {
 public:
  static Result<std::shared_ptr<LogStore>> open(leveldb::Env* env, const std::string& dir,
                                                Warn warn = {});

  // All appends in one write with one sync. Entries of the group at or after
  // first_index that exist already are replaced. An append that would leave a
  // gap is failed_precondition.
  Status append(std::span<const LogAppend> appends);
  // Stores the snapshot and removes the entries it replaces but the last
  // `trailing` ones.
  Status put_snapshot(uint64_t group, const RaftSnapshot& snapshot, uint64_t trailing);
  // Puts another member's snapshot in the place of the log up to there, keeping the hard state.
  // What follows stays if the log has the same entry there, as it may have been acknowledged;
  // otherwise it never was, and goes (Ongaro and Ousterhout, "In search of an understandable
  // consensus algorithm", 2014, section 7). failed_precondition where the log begins later.
  Status install(uint64_t group, const RaftSnapshot& snapshot);

  struct Loaded {
    HardState state;
    std::optional<RaftSnapshot> snapshot;
    uint64_t first_index = 1;  // of `entries`
    std::vector<LogEntry> entries;
  };
  // corruption where a checksum does not hold or an entry is missing.
  Result<Loaded> load(uint64_t group) const;

  // From now on load() shows a term of at least 1: the group is not new, whatever
  // else it lacks.
  Status mark_begun(uint64_t group);

  Status remove_group(uint64_t group);
  Result<std::vector<uint64_t>> groups() const;

  // The lives of the node whose log this is, oldest first; of each sort the latest
  // lives_max (storage/life.h).
  Result<std::vector<Life>> lives() const;
  // One more, which is the last from now on. The id must be new.
  Status begin_life(uint64_t id);
  // The catalog recorded this life. not_found: it is none of this node's.
  Status record_life(const Life& life);

  // After a failed write: cut off what it left and take up writing again.
  Status reopen();

 private:
  // Entries that exist: [first, end). Empty when equal.
  struct Extent {
    uint64_t first = 1;
    uint64_t end = 1;
  };

  explicit LogStore(std::unique_ptr<KvStore> kv) : kv_(std::move(kv)) {}
  // With mutex_ held. Until it succeeds, nothing is written.
  Status load_extents();
  Result<std::map<uint64_t, Extent>> read_extents() const;
  Extent extent_of(uint64_t group) const;
  // Stores the snapshot and removes the entries that are not kept.
  Status begin_after(uint64_t group, const RaftSnapshot& snapshot, Extent kept);
  Result<uint64_t> load_term(uint64_t group, uint64_t index) const;
  Result<HardState> load_hard_state(uint64_t group) const;
  Status write(leveldb::WriteBatch& batch);
  Status put_lives(std::vector<Life> lives);

  std::unique_ptr<KvStore> kv_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Extent> extents_;  // of the groups that have anything stored
  Status unread_;                       // why extents_ may not be what is stored
};

}  // namespace jade
