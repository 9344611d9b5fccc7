// Vectors of segments on a disk, for tests.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "index/segment_builder.h"
#include "index/stored_vectors.h"

namespace jade {

// A disk in memory that fails when told to.
struct Disk {
  std::vector<uint64_t> numbers;
  std::vector<char> values;
  size_t reads = 0;
  size_t rows_read = 0;
  size_t fails_from = SIZE_MAX;  // the read that fails, and all after it
  bool full = false;
};

class DiskVectors final : public StoredVectors {
 public:
  DiskVectors(std::shared_ptr<Disk> disk, size_t row_bytes)
      : disk_(std::move(disk)), row_bytes_(row_bytes) {}

  uint32_t rows() const override { return static_cast<uint32_t>(disk_->numbers.size()); }
  Status read(uint32_t first, uint32_t count, const uint64_t* row_numbers,
              char* out) const override {
    if (disk_->reads++ >= disk_->fails_from) return corruption("a row is damaged");
    disk_->rows_read += count;
    for (uint32_t i = 0; i < count; ++i) REQUIRE(disk_->numbers[first + i] == row_numbers[i]);
    std::memcpy(out, disk_->values.data() + first * row_bytes_, count * row_bytes_);
    return {};
  }
  void will_read(uint32_t row) const override { REQUIRE(row < rows()); }
  bool damaged() const override { return disk_->reads > disk_->fails_from; }

 private:
  std::shared_ptr<Disk> disk_;
  size_t row_bytes_;
};

class DiskWriter final : public VectorWriter {
 public:
  DiskWriter(std::shared_ptr<Disk> disk, size_t row_bytes)
      : disk_(std::move(disk)), row_bytes_(row_bytes) {}

  Status append(uint64_t row_number, const char* row) override {
    if (disk_->full) return Status(Code::disk_full, "no room");
    disk_->numbers.push_back(row_number);
    disk_->values.insert(disk_->values.end(), row, row + row_bytes_);
    return {};
  }
  Result<std::shared_ptr<const StoredVectors>> finish() override {
    return std::shared_ptr<const StoredVectors>(std::make_shared<DiskVectors>(disk_, row_bytes_));
  }

 private:
  std::shared_ptr<Disk> disk_;
  size_t row_bytes_;
};

inline BuildOptions on_disk(BuildOptions options, std::shared_ptr<Disk> disk) {
  options.index.vectors = VectorPlace::disk;
  options.store_vectors = [disk, row_bytes = options.dimension * element_bytes(options.datatype)] {
    return Result<std::unique_ptr<VectorWriter>>(std::make_unique<DiskWriter>(disk, row_bytes));
  };
  return options;
}

}  // namespace jade
