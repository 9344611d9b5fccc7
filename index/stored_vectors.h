// Vectors that are not kept in memory.
#pragma once

#include <cstdint>
#include <memory>

#include "storage/status.h"

namespace jade {

// Vectors of rows, all of so many bytes (index/row_format.h), each known by its place and its
// row number. Immutable; any thread may read.
class StoredVectors {
 public:
  virtual ~StoredVectors() = default;

  virtual uint32_t rows() const = 0;
  // `count` rows from the one at `first` on; `row_numbers`: theirs, so that another row is
  // not taken for one of them. `out`: count × bytes of a row. corruption, io_error.
  virtual Status read(uint32_t first, uint32_t count, const uint64_t* row_numbers,
                      char* out) const = 0;
  // That this row is to be read soon.
  virtual void will_read(uint32_t row) const = 0;
  // Some of them cannot be read: the segment is to be built anew.
  virtual bool damaged() const = 0;
};

// Takes the vectors of a segment that is being built, row after row. One thread.
class VectorWriter {
 public:
  virtual ~VectorWriter() = default;

  // `row`: as many bytes as a row has.
  virtual Status append(uint64_t row_number, const char* row) = 0;
  // They are on disk, and can be read.
  virtual Result<std::shared_ptr<const StoredVectors>> finish() = 0;
};

}  // namespace jade
