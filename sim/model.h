// What a database must hold, as far as its clients can know.
//
// Every id has one writer, which waits for each answer before it goes on. A write
// that was answered with success is certain. One that was answered with an error,
// or not at all, may or may not have happened; the next read decides. A read may
// show the last certain version or a later undecided one; once one is shown,
// everything older is gone for good.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace jade::sim {

struct Version {
  uint64_t number = 0;
  bool exists = false;  // false: deleted
};

class Model {
 public:
  // In a cluster a write that was given up may still be on its way, and happen
  // after later ones: it stays undecided until settle().
  explicit Model(bool late_writes = false) : late_writes_(late_writes) {}

  // Nothing is on its way any more: what the next read shows is certain.
  void settle() { settling_ = true; }
  void unsettle() { settling_ = false; }

  // The writer of `id` is about to make this its next version.
  void begin(uint64_t id, Version version) { undecided_[id].push_back(version); }
  // It was acknowledged.
  void acknowledge(uint64_t id, uint64_t number);
  // It has certainly not happened, and will not.
  void discard(uint64_t id, uint64_t number);
  // A read saw this (`exists` false: nothing). Empty, or what is wrong with it.
  std::string observe(uint64_t id, Version seen);

  // Certain state of all ids without undecided versions.
  const std::map<uint64_t, Version>& certain() const { return certain_; }
  bool decided(uint64_t id) const {
    auto found = undecided_.find(id);
    return found == undecided_.end() || found->second.empty();
  }
  size_t live() const;
  // Ids that exist whichever of their undecided versions have happened.
  std::vector<uint64_t> staying() const;

 private:
  bool late_writes_;
  bool settling_ = false;
  std::map<uint64_t, Version> certain_;
  std::map<uint64_t, std::vector<Version>> undecided_;
};

}  // namespace jade::sim
