// The records of one shard replica, in a LevelDB of their own. Byte formats:
// docs/formats.md.
//
//   'm'             → the replica's ShardStateMeta
//   'i' id key      → the row of that id, and its version where rows have such
//   'r' row (BE64)  → the Record
//   'd' row (BE64)  → nothing: the row is dead, but a segment still holds it
//   'q' index (BE64) → the request that the log entry at `index` carried out
//
// and in a database that is sharded by vector (actors/home_records.h)
//
//   'h' id key         → the HomeRecord of an id that belongs to this shard
//   'o' version (BE64) → a change of one, on its way to the shards of the vectors
//
// Commits are not synced: the Raft log is the write-ahead log, and the state
// names the entry it has applied. After power loss the store is at some earlier
// entry, never in between and never with a hole (see storage/env.h).
#pragma once

#include <leveldb/write_batch.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "storage/kv.h"
#include "storage/record.h"

namespace jade {

// What is remembered of a request, so that it is carried out once however often it
// arrives.
struct Request {
  uint64_t index = 0;        // of its log entry
  uint64_t affected = 0;     // rows
  uint32_t fingerprint = 0;  // of the command: the same id with another one is refused
  std::string id;
  // Of an update that found some of its records and not others: by the places of rows among
  // those of their part, bit i % 8 of byte i / 8 of the others. Else "".
  std::string missing = {};
  // The group whose log carried it out, where this shard has it from there by a split. 0: its own.
  uint64_t group = 0;
};

class ShardStore {
 public:
  static Result<std::shared_ptr<ShardStore>> open(leveldb::Env* env, const std::string& dir,
                                                  std::shared_ptr<leveldb::Cache> cache,
                                                  Warn warn = {});

  // All or nothing, in the order of the calls.
  class Batch {
   public:
    void put(uint64_t row, std::string_view id, std::string_view values, std::string_view metadata,
             uint64_t version = 0);
    // The row is gone; if `id` still names it, call forget_id too.
    void erase_row(uint64_t row);
    void forget_id(std::string_view id);
    // Both, where no segment holds the row.
    void remove(uint64_t row, std::string_view id);
    void forget_tombstone(uint64_t row);
    void remember(const Request& request);
    void forget_request(uint64_t index);
    void set_state(const ShardStateMeta& state);
    // The record of an id, and the change that makes it so, which comes from group `from`
    // (0: the id is new). A row of cell 0 is a deletion: there is no record then.
    void put_home(const RowView& row, uint64_t from);
    void forget_change(uint64_t version);

   private:
    friend class ShardStore;
    leveldb::WriteBatch batch_;
  };

  // Needs the one writer; the rest may be called from any thread.
  Status commit(Batch& batch) { return kv_->write(batch.batch_, false); }
  // Makes all commits so far durable.
  Status sync() { return kv_->sync(); }

  // What set_state stored last; nothing in a new store.
  Result<std::optional<ShardStateMeta>> state() const;
  Result<std::optional<uint64_t>> find(std::string_view id, const Snapshot& at = {}) const;
  struct Place {
    uint64_t row = 0;
    uint64_t version = 0;
  };
  Result<std::optional<Place>> find_place(std::string_view id, const Snapshot& at = {}) const;
  // Of a row that an id or a segment names: corruption where it is damaged or missing.
  Result<Record> get(uint64_t row, const Snapshot& at = {}) const;

  // Calls `each` in order until it fails; its failure is the result.
  Status scan_rows(uint64_t begin, uint64_t end,
                   const std::function<Status(uint64_t row, Record record)>& each) const;
  // Ids after `after` ("": all); stops early when `each` returns false.
  Status scan_ids(std::string_view after, const Snapshot& at,
                  const std::function<bool(std::string_view id, uint64_t row)>& each) const;
  // The ids one by one, in their order, of a store that outlives this.
  class Ids {
   public:
    // False at the end, and after a failure, which status() tells.
    bool valid() const { return valid_; }
    std::string_view id() const { return id_; }
    uint64_t row() const { return row_; }
    void next();
    const Status& status() const { return status_; }

   private:
    friend class ShardStore;
    Ids(const ShardStore* store, std::unique_ptr<leveldb::Iterator> at)
        : store_(store), at_(std::move(at)) {}
    void read();

    const ShardStore* store_;
    std::unique_ptr<leveldb::Iterator> at_;
    bool valid_ = false;
    std::string_view id_;
    uint64_t row_ = 0;
    Status status_;
  };
  // From the first one after `after` ("": from the first of all).
  Ids ids(std::string_view after, const Snapshot& at) const;
  Status scan_tombstones(const std::function<void(uint64_t row)>& each) const;
  // In the order of their log entries.
  Status scan_requests(const std::function<void(Request request)>& each,
                       const Snapshot& at = {}) const;

  // Nothing for an id that does not belong here, or does not exist.
  Result<std::optional<HomeRecord>> find_home(std::string_view id, const Snapshot& at = {}) const;
  // The records of ids after `after` ("": all), in their order, until `each` returns false.
  Status scan_homes(std::string_view after, const Snapshot& at,
                    const std::function<bool(HomeRecord record)>& each) const;
  // Changes after version `after` that are on their way, in the order of their versions,
  // until `each` returns false.
  Status scan_changes(uint64_t after, const Snapshot& at,
                      const std::function<bool(HomeRecord change)>& each) const;

  // CRC32C over all (id, values, metadata) in the order of ids, and the HomeRecords: the
  // content that replicas must share, whatever their rows and segments.
  Result<uint32_t> digest(const Snapshot& at) const;

  Snapshot snapshot() const { return kv_->snapshot(); }

  // The first damage that any reading has met; ok: none.
  Status damage() const;

  // The whole store in pieces, for another replica: what follows the key `after`
  // ("": all), of about `bytes_max` bytes. An empty `last_key` says that nothing
  // follows this piece.
  struct Piece {
    std::string bytes;  // of each pair: u32 size of key, u32 of value, key, value
    std::string last_key;
  };
  // The row whose record has this key; nothing for other keys.
  static std::optional<uint64_t> row_of_key(std::string_view key);
  Result<Piece> export_piece(std::string_view after, const Snapshot& at, size_t bytes_max) const;
  // Puts what export_piece() gave elsewhere; unsynced. corruption: what came is not
  // what was stored there.
  Status import_piece(std::string_view bytes);

 private:
  explicit ShardStore(std::unique_ptr<KvStore> kv) : kv_(std::move(kv)) {}
  // Takes note of damage().
  Status noted(Status status) const;

  std::unique_ptr<KvStore> kv_;
  mutable std::mutex damage_mutex_;
  mutable Status damage_;
};

}  // namespace jade
