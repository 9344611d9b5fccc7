// Small databases that come and go beside those that stay: created, written to, read and dropped,
// whatever else happens to the cluster.
//
// Each name is used by one client, which waits for each answer, but now and then by several that
// create it and drop it at the same moment. Once it has no answer, or an error,
// to whether the database is to exist, nothing is certain of that name until everything rests.
// Until all nodes know of a database, those that do not may say that there is none; and where there
// was another of its name before, may still show that.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sim/cluster.h"
#include "sim/records.h"

namespace jade::sim {

class PassingDatabases {
 public:
  // `options` must live as long.
  PassingDatabases(const SimulationOptions& options, Run& run, Cluster& cluster,
                   const Records& records);
  PassingDatabases(const PassingDatabases&) = delete;
  PassingDatabases& operator=(const PassingDatabases&) = delete;

  // When it has something to do, where a node runs.
  uint64_t next_ns() const;
  void act_if_due();
  // Waits for no answer.
  bool idle() const { return unanswered_.empty(); }
  // With all at rest: what is certain is compared with what there is, and what is not is dropped.
  void settle();

 private:
  enum class Known { absent, there, unsure };
  struct Database {
    std::string name;
    Known known = Known::absent;
    uint64_t life = 0;                    // how often it was to be created; what its records say
    bool known_everywhere = true;         // that there is one, or none
    bool first = true;                    // no other of its name may be shown
    std::pair<size_t, uint64_t> creator;  // machine and process that have it in their catalog
    std::map<uint64_t, bool> sent;        // ids of this life; and whether they must be there
    uint64_t ready_ns = 0;
  };
  struct Unanswered {
    size_t database = 0;
    size_t machine = 0;
    bool decides = false;  // whether the database exists
  };

  void act(size_t database);
  void create(size_t database, size_t machine);
  void drop(size_t database, size_t machine);
  // Several of both at once.
  void contend(size_t database);
  void write(size_t database, size_t machine, bool counts);
  void get(size_t database, size_t machine);
  void list(size_t database, size_t machine);
  // Wraps the answer of the machine that is asked; none comes of a process that has died.
  template <class T>
  Api::Done<T> answered(size_t database, size_t machine, bool decides,
                        std::function<void(Result<T>&)> check);
  void process_ended(size_t machine);
  // Whether what this process shows must be the database as it is.
  bool shows(const Database& database, std::pair<size_t, uint64_t> process) const;
  std::pair<size_t, uint64_t> process_of(size_t machine) const;
  // `exists`: every node knew of it when this was asked.
  void check_error(const Database& database, const Status& status, bool exists);
  void check_record(const Database& database, const StoredVector& found, bool shows);
  void check_all(const Database& database, const std::vector<StoredVector>& found);
  void settle(Database& database);
  void fail(const Database& database, const std::string& why) const;

  Run& run_;
  Cluster& cluster_;
  const Records& records_;
  std::vector<Database> databases_;
  std::map<uint64_t, Unanswered> unanswered_;  // by number
  uint64_t requests_ = 0;
};

}  // namespace jade::sim
