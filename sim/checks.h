// What must be true of a cluster: of its leaders all along, and of what it holds with all
// clients at rest and no fault under way.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/records.h"

namespace jade::sim {

class Checks {
 public:
  // `ids`: as many, from 0 on, may be in the own database. From now on, of a Raft group at most
  // one member leads in a term, and nobody's log is written to wrongly.
  Checks(uint64_t ids, Run& run, Cluster& cluster, const Records& records, Ledger& ledger);
  Checks(const Checks&) = delete;
  Checks& operator=(const Checks&) = delete;

  // Each runs the cluster for a while, and fails the run where something is wrong. The ledger
  // must be settled.

  // Where records rot: reads all of all replicas from disk, until no damage is found any more.
  void await_mended();
  // No node has anything of shards that it is not to have.
  void compare_disks();
  // All records, and how many there are, are as the ledger says.
  void compare_contents();
  // Searches equal brute force.
  void compare_searches();
  // Replicas hold the same.
  void compare_replicas();
  // A restart, and the log replayed on what was on disk, change nothing.
  void compare_replay();

 private:
  using Digests = std::map<std::pair<uint64_t, uint64_t>, ShardDigest>;  // by group and node

  void check_said(size_t machine, std::string_view message);
  // Empty: nothing is left.
  std::string left_over(const ClusterInfo& info);
  void check_elected(size_t machine, uint64_t group, uint64_t term);
  // Nothing: the run has failed.
  std::optional<std::map<uint64_t, StoredVector>> list();
  std::optional<DatabaseInfo> describe();
  std::optional<DatabaseInfo> describe_whole();
  std::optional<Digests> digests();
  Result<ShardDigest> digest(size_t machine, uint64_t group);
  void compare_search(const SearchRequest& request, size_t vector, std::optional<uint64_t> bucket);

  uint64_t ids_;
  Run& run_;
  Cluster& cluster_;
  const Records& records_;
  Ledger& ledger_;
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> leaders_;  // by group and term
};

}  // namespace jade::sim
