#include "actors/segment_vectors.h"

#include <bit>

namespace jade {
namespace {

static_assert(std::endian::native == std::endian::little,
              "vectors are stored as they are in memory");

class FileVectors final : public StoredVectors {
 public:
  explicit FileVectors(std::shared_ptr<const RowFile> file) : file_(std::move(file)) {}

  uint32_t rows() const override { return file_->rows(); }
  Status read(uint32_t first, uint32_t count, const uint64_t* row_numbers,
              char* out) const override {
    return file_->read(first, count, row_numbers, out);
  }
  void will_read(uint32_t row) const override { file_->will_read(row); }
  bool damaged() const override { return file_->damaged(); }

 private:
  std::shared_ptr<const RowFile> file_;
};

class FileWriter final : public VectorWriter {
 public:
  FileWriter(std::shared_ptr<SegmentStore> store, std::unique_ptr<RowFile::Writer> writer,
             uint64_t id, size_t row_bytes)
      : store_(std::move(store)), writer_(std::move(writer)), id_(id), row_bytes_(row_bytes) {}

  Status append(uint64_t row_number, const char* row) override {
    ++rows_;
    return writer_->append(row_number, {row, row_bytes_});
  }
  Result<std::shared_ptr<const StoredVectors>> finish() override {
    JADE_RETURN_IF_ERROR(writer_->finish());
    return open_vectors(*store_, id_, row_bytes_, rows_);
  }

 private:
  std::shared_ptr<SegmentStore> store_;
  std::unique_ptr<RowFile::Writer> writer_;
  uint64_t id_;
  size_t row_bytes_;
  uint32_t rows_ = 0;
};

}  // namespace

Result<std::unique_ptr<VectorWriter>> store_vectors(std::shared_ptr<SegmentStore> store,
                                                    uint64_t id, size_t row_bytes) {
  auto rows = store->create_rows(id, row_bytes);
  if (!rows.ok()) return rows.status();
  return std::unique_ptr<VectorWriter>(
      std::make_unique<FileWriter>(std::move(store), std::move(*rows), id, row_bytes));
}

Result<std::shared_ptr<const StoredVectors>> open_vectors(const SegmentStore& store, uint64_t id,
                                                          size_t row_bytes, uint32_t rows) {
  auto file = store.open_rows(id, row_bytes, rows);
  if (!file.ok()) return file.status();
  return std::shared_ptr<const StoredVectors>(std::make_shared<FileVectors>(std::move(*file)));
}

}  // namespace jade
