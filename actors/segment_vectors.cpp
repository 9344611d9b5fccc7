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
              float* out) const override {
    return file_->read(first, count, row_numbers, reinterpret_cast<char*>(out));
  }
  void will_read(uint32_t row) const override { file_->will_read(row); }
  bool damaged() const override { return file_->damaged(); }

 private:
  std::shared_ptr<const RowFile> file_;
};

class FileWriter final : public VectorWriter {
 public:
  FileWriter(std::shared_ptr<SegmentStore> store, std::unique_ptr<RowFile::Writer> writer,
             uint64_t id, uint32_t dimension)
      : store_(std::move(store)), writer_(std::move(writer)), id_(id), dimension_(dimension) {}

  Status append(uint64_t row_number, const float* values) override {
    ++rows_;
    return writer_->append(row_number,
                           {reinterpret_cast<const char*>(values), dimension_ * sizeof(float)});
  }
  Result<std::shared_ptr<const StoredVectors>> finish() override {
    JADE_RETURN_IF_ERROR(writer_->finish());
    return open_vectors(*store_, id_, dimension_, rows_);
  }

 private:
  std::shared_ptr<SegmentStore> store_;
  std::unique_ptr<RowFile::Writer> writer_;
  uint64_t id_;
  uint32_t dimension_;
  uint32_t rows_ = 0;
};

}  // namespace

Result<std::unique_ptr<VectorWriter>> store_vectors(std::shared_ptr<SegmentStore> store,
                                                    uint64_t id, uint32_t dimension) {
  auto rows = store->create_rows(id, dimension * sizeof(float));
  if (!rows.ok()) return rows.status();
  return std::unique_ptr<VectorWriter>(
      std::make_unique<FileWriter>(std::move(store), std::move(*rows), id, dimension));
}

Result<std::shared_ptr<const StoredVectors>> open_vectors(const SegmentStore& store, uint64_t id,
                                                          uint32_t dimension, uint32_t rows) {
  auto file = store.open_rows(id, dimension * sizeof(float), rows);
  if (!file.ok()) return file.status();
  return std::shared_ptr<const StoredVectors>(std::make_shared<FileVectors>(std::move(*file)));
}

}  // namespace jade
