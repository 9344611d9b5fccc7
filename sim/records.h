// What the clients write: databases, and records whose contents are pure functions of their id
// and version, so that any reader can check them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "actors/api.h"
#include "sim/run.h"

namespace jade::sim {

// Each of its ids is written by one client.
constexpr const char* own_database = "sim";
// A few vectors that all clients of a cluster write and read, for the order of things.
constexpr const char* shared_database = "shared";

// What the metadata of a version says, for filters: a number in [0, 10).
uint64_t bucket_of(uint64_t id, uint64_t version);
// `mark`: what changes apart from the rest. A record that is written whole has its version.
std::string metadata_of(uint64_t id, uint64_t version, uint64_t mark);
// Of those: what an update to a version changes, and one to a mark.
std::string revision_of(uint64_t id, uint64_t version);
std::string marking_of(uint64_t mark);

struct RecordState {
  uint64_t version = 0;
  uint64_t mark = 0;
};
// Which of them metadata tells. Nothing: nobody wrote this of that id.
std::optional<RecordState> state_of(uint64_t id, const std::string& metadata);

// The vector of a version.
std::vector<float> vector_of(uint64_t id, uint64_t version, uint32_t dimension);

// With the datatypes and metrics of a run.
class Records {
 public:
  Records(const SimulationOptions& options, Run& run);

  // Of both databases.
  DatabaseSpec own_spec() const;
  DatabaseSpec shared_spec() const;

  // Of the own database: one without a name, or two with names. The shared one has the first,
  // without a name.
  const std::vector<VectorSpec>& vectors() const { return vectors_; }
  // Every version has the first vector, and half of them have the second.
  static bool has_vector(uint64_t id, uint64_t version, size_t vector);
  // What a client sends, which can be stored, and what is read back.
  std::vector<float> sent(uint64_t id, uint64_t version, size_t vector = 0) const;
  std::vector<float> stored(uint64_t id, uint64_t version, size_t vector = 0) const;

  // Adds a whole record for the own database, or one for the shared one, to a write.
  void add(UpsertRequest& request, uint64_t id, uint64_t version) const;
  void add_shared(UpsertRequest& request, uint64_t id, uint64_t version) const;
  // Makes what is stored of an id a later version, but for its mark.
  VectorUpdate revision(uint64_t id, uint64_t version) const;
  // Whether the vectors of what was read from the own database are those of a version.
  bool holds(const StoredVector& found, uint64_t id, uint64_t version) const;

 private:
  bool named_;
  bool by_vector_;
  uint32_t shards_;
  uint32_t replicas_;
  std::vector<VectorSpec> vectors_;
};

}  // namespace jade::sim
