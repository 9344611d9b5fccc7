// How far an import has come, so that it can go on after an interruption.
#pragma once

#include <cstdint>
#include <string>

#include "storage/status.h"

namespace jade {

// A small file in $XDG_STATE_HOME/jade (or ~/.local/state/jade) that says what is
// imported where: another file, a changed file, another database or a damaged state
// starts anew, which costs time only.
class ImportState {
 public:
  // "-" (standard input) has no state: rows() is 0 and saving does nothing.
  // `skip`: rows that were left out at the start; they do not count as done.
  ImportState(const std::string& url, const std::string& database, const std::string& file,
              uint64_t skip);

  // All rows below were acknowledged.
  uint64_t rows() const;
  Status save(uint64_t rows) const;
  void forget() const;
  bool exists_for_file() const { return !path_.empty(); }

 private:
  std::string key_;   // what is imported where
  std::string path_;  // empty: none
};

}  // namespace jade
