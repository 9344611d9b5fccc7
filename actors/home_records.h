// Where ids live in a database that is sharded by vector.
//
// There each shard has two parts to play. As *home* it has the record of every id whose
// hash belongs to it: it decides about writes of that id, and answers for it by id. As
// *cell* it has the rows whose vectors are nearest to its centre, for searches; they may
// be of any home. A write is an entry in the log of its id's home. What it changes in
// cells is kept there as a *change* until the home's leader has forwarded it
// (actors/vector_home.h): first the new cell takes the row, then others give it up.
// Whoever leads carries on with the changes that it finds.
//
// This is the home's part of a shard's state machine: plain functions, called for
// committed entries in their order. Versions number the changes of a home.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "storage/shard_store.h"

namespace jade {

class HomeRecords {
 public:
  // Both outlive it. `meta` is part of the shard's state, kept with each entry.
  HomeRecords(ShardStore& store, CellsMeta& meta) : store_(store), meta_(meta) {}

  // Reads which changes are on their way.
  Status load();

  // Before each entry: what the one before wrote is in the store by now.
  void begin_entry() { entry_.clear(); }
  // Nothing where the id does not exist. As of the entry before.
  Result<std::optional<HomeRecord>> get(std::string_view id) const { return store_.find_home(id); }
  // The vector of an id, which belongs to `row.cell`.
  Status put(const RowView& row, ShardStore::Batch& batch);
  // Whether there was one; with `version`, only while it has this version.
  Result<bool> erase(const std::string& id, std::optional<uint64_t> version,
                     ShardStore::Batch& batch);
  Status reroute(const RerouteCommand& command, ShardStore::Batch& batch);
  void forwarded(uint64_t through, ShardStore::Batch& batch);

  uint64_t last_version() const { return meta_.next_version - 1; }
  // The last change of an id that is on its way; 0: none is.
  uint64_t change_of(const std::string& id) const {
    auto found = change_of_.find(id);
    return found == change_of_.end() ? 0 : found->second;
  }
  // The oldest change that is on its way; 0: none is.
  uint64_t first_change() const { return changes_.empty() ? 0 : changes_.front().first; }
  size_t changes() const { return changes_.size(); }

 private:
  struct Known {
    uint64_t version = 0;
    uint64_t cell = 0;  // 0: the id does not exist
    uint64_t valued = 0;
  };
  // As of the entry at hand.
  Result<Known> find(std::string_view id) const;
  void change(RowView row, uint64_t from, ShardStore::Batch& batch);
  void remember(uint64_t version, std::string id);

  ShardStore& store_;
  CellsMeta& meta_;
  std::deque<std::pair<uint64_t, std::string>> changes_;  // version and id
  std::unordered_map<std::string, uint64_t> change_of_;   // the last of each id
  std::unordered_map<std::string, Known> entry_;
};

// Some of the changes of a home, in the order of their versions, and what they ask of
// cells. Of several changes of an id the last counts.
struct ForwardBatch {
  uint64_t through = 0;  // the last version; 0: there are none
  std::vector<HomeRecord> changes;
  std::map<uint64_t, std::vector<const HomeRecord*>> take;     // by cell
  std::map<uint64_t, std::vector<const HomeRecord*>> give_up;  // smaller versions of these
};

// The changes after version `after`, of about `bytes_max` bytes but at least one.
Result<ForwardBatch> next_forward_batch(const ShardStore& store, uint64_t after, size_t bytes_max);

}  // namespace jade
