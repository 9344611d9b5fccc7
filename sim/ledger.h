// What reads of the own database may show: each id has one writer, which writes down here what
// it sends and what it learns of it.
//
// The version of a record and its mark are checked as if they were records of their own: an
// update changes either of them, and the other stays as it was.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "sim/model.h"
#include "sim/records.h"
#include "sim/run.h"

namespace jade::sim {

class Ledger {
 public:
  using Numbers = std::map<uint64_t, uint64_t>;  // id → version, or mark

  // `late_writes`: see Model.
  Ledger(bool late_writes, Run& run, const Records& records);

  // ---- for the writer: what is about to be sent

  void begin_upsert(uint64_t id, uint64_t version);
  void begin_delete(uint64_t id, uint64_t version);
  void begin_revision(uint64_t id, uint64_t version);
  void begin_marking(uint64_t id, uint64_t mark);

  // ---- and what was acknowledged

  // Of whole records: upserts, or deletes.
  void acknowledge(const Numbers& written);
  // Of an update, which found no record with the ids `missing`.
  void acknowledge_update(const Numbers& revised, const Numbers& marked,
                          const std::set<uint64_t>& missing);

  // ---- for readers; each fails the run where a read cannot show this

  void observe(uint64_t id, const StoredVector& found);
  void observe_state(uint64_t id, RecordState state);
  void observe_nothing(uint64_t id);
  // Of a read that may show what was: somebody must have sent this by now.
  void observe_past(uint64_t id, RecordState state);

  // Ids that exist whichever undecided writes have happened, and how often each was deleted.
  std::vector<std::pair<uint64_t, uint64_t>> staying() const;
  // It was not deleted meanwhile.
  bool stayed(uint64_t id, uint64_t deletions) const { return deletions_of(id) == deletions; }
  // Of records; what is certain of them, and what is not.
  const Model& versions() const { return versions_; }

  // All that was sent of it was acknowledged, or can no longer happen.
  bool decided(uint64_t id) const { return versions_.decided(id) && marks_.decided(id); }
  // Of one that is: it is there.
  bool exists(uint64_t id) const;

  // Between these, nothing is on its way: what the next read shows is certain.
  void settle();
  void unsettle();

 private:
  void acknowledge(Model& model, const Numbers& written, const std::set<uint64_t>& missing);
  uint64_t deletions_of(uint64_t id) const;

  Run& run_;
  const Records& records_;
  Model versions_;
  Model marks_;
  std::set<std::pair<uint64_t, uint64_t>> sent_versions_, sent_marks_;  // with their ids
  std::map<uint64_t, uint64_t> deletions_;                              // asked for, by id
};

}  // namespace jade::sim
