// What the leader of a shard does as home and as cell of a database that is sharded by
// vector (actors/home_records.h).
//
// Forwarding. Changes go to their cells in batches, one after another, in the order of
// their versions: first the new cells take the rows, and when all have done so, the others
// give theirs up. Then a log entry says that they have arrived, and whoever wrote them is
// answered. What a leader of before has sent, and what was sent twice, does no harm: each
// message carries the leader's term and a number, and a cell takes none that is not later
// than the last one of that home. Rows carry versions, so that doing it again changes
// nothing.
//
// Routing. A new router comes in three steps, so that no search is sent by an old one to
// shards that do not have what it looks for. The catalog names it, and searches ask all
// shards; each shard writes into its log that it refuses searches by older ones. When all
// have, writes go by the new one; each shard notes that it refuses writes by older ones,
// and then gives the vectors that it is home to and that belong elsewhere new cells. When
// all have, the new router is in force.
//
// The first shard's leader trains routers, by the vectors it is home to: a sample by hash.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/home_records.h"
#include "actors/messages.h"
#include "actors/token.h"

namespace jade {

struct shard_state;

class VectorHome {
 public:
  // Lives in the shard's actor and is used by it alone.
  explicit VectorHome(shard_state& shard) : shard_(shard) {}

  // As the cluster map has it now.
  void know(std::shared_ptr<const DatabaseEntry> database);
  // Does what is due. Called after everything that may have made it so, and by the tick.
  void advance();
  // Calls `done` when changes up to this version have arrived in their cells, with the log
  // entries of the cells that searches must have applied to see them; or with `unavailable`
  // when this replica leads no more.
  void await(uint64_t version, std::function<void(Result<AppliedIndexes>)> done);
  // Answers all who wait.
  void abandon(const Status& status);

 private:
  struct Batch;

  void forward();
  void send(std::shared_ptr<Batch> batch, bool take);
  void arrived(const Batch& batch);
  void release();
  void route();
  void sweep();
  void train();
  bool leads_in(uint64_t term) const;
  // One thing of its kind at a time.
  void propose(bool& flag, std::string command);

  shard_state& shard_;
  std::shared_ptr<const DatabaseEntry> database_;

  uint64_t term_ = 0;      // of the leadership that the following belong to
  uint64_t sequence_ = 0;  // of the last message to a cell
  uint64_t through_ = 0;   // changes up to this version have arrived
  bool forwarding_ = false;
  uint64_t retry_ms_ = 0;
  AppliedIndexes reached_;  // by cell, the last entry of this home
  std::multimap<uint64_t, std::function<void(Result<AppliedIndexes>)>> waiting_;  // by version

  bool routing_ = false;   // has proposed a step
  bool sweeping_ = false;  // reads records, or has proposed to reroute some
  bool training_ = false;
  uint64_t train_at_ms_ = 0;   // not again before
  uint64_t swept_router_ = 0;  // that the following belong to
  std::string swept_;          // ids up to here are where they belong
  bool swept_all_ = false;
  uint64_t swept_version_ = 0;  // with swept_all_: changes up to here must have arrived
};

}  // namespace jade
