// Rows of one size in a file of their own, to be read one by one at random. Each has a
// checksum over its row number and itself, so that a row at another's place is damage too.
// Byte format: docs/formats.md.
#pragma once

#include <leveldb/env.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "storage/status.h"

namespace jade {

// Immutable; any thread may read. Stays readable where the file is removed meanwhile.
class RowFile {
 public:
  // One thread. The file is whole and durable once finish() has returned ok.
  class Writer {
   public:
    // `row`: as many bytes as rows have.
    Status append(uint64_t row_number, std::string_view row);
    Status finish();

   private:
    friend class RowFile;
    Status flush();

    std::unique_ptr<leveldb::WritableFile> file_;
    std::string path_;
    size_t row_bytes_ = 0;
    std::string buffer_;
    Status failed_;
  };
  // Takes the place of a file of that name; who has that open keeps it.
  static Result<std::unique_ptr<Writer>> create(leveldb::Env* env, const std::string& path,
                                                size_t row_bytes);

  // corruption where the file is missing or has another size than so many rows.
  static Result<std::shared_ptr<const RowFile>> open(leveldb::Env* env, const std::string& path,
                                                     size_t row_bytes, uint32_t rows);

  uint32_t rows() const { return rows_; }
  // `count` rows from the one at `first` on, one after another; `row_numbers`: theirs.
  // A checksum that does not hold is read again, once, and then corruption.
  Status read(uint32_t first, uint32_t count, const uint64_t* row_numbers, char* out) const;
  // That this row is to be read soon.
  void will_read(uint32_t row) const;
  // A row has been found to be so. It stays true.
  bool damaged() const { return damaged_; }

 private:
  RowFile() = default;
  // Whether what was read is what was written.
  Result<bool> try_read(uint32_t first, uint32_t count, const uint64_t* row_numbers,
                        char* out) const;

  std::unique_ptr<leveldb::RandomAccessFile> file_;
  std::string path_;
  size_t row_bytes_ = 0;
  uint32_t rows_ = 0;
  mutable std::atomic<bool> damaged_{false};
};

}  // namespace jade
