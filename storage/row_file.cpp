#include "storage/row_file.h"

#include <algorithm>
#include <cstring>

#include "storage/bytes.h"
#include "storage/crc32c.h"
#include "storage/env.h"

namespace jade {
namespace {

constexpr size_t write_bytes = 1u << 20;
// Read at once: few enough to stay in the cache.
constexpr size_t read_bytes = 256u << 10;
constexpr size_t checksum_bytes = sizeof(uint32_t);

uint32_t checksum_of(uint64_t row_number, std::string_view row) {
  std::string key;
  append_big_endian(key, row_number);
  return crc32c(row, crc32c(key));
}

}  // namespace

Result<std::unique_ptr<RowFile::Writer>> RowFile::create(leveldb::Env* env, const std::string& path,
                                                         size_t row_bytes) {
  // A new file, as the old one may be open.
  env->RemoveFile(path);
  leveldb::WritableFile* file = nullptr;
  leveldb::Status made = env->NewWritableFile(path, &file);
  if (!made.ok()) return from_leveldb(made, "creating " + path);
  std::unique_ptr<Writer> writer(new Writer());
  writer->file_.reset(file);
  writer->path_ = path;
  writer->row_bytes_ = row_bytes;
  return writer;
}

Status RowFile::Writer::append(uint64_t row_number, std::string_view row) {
  JADE_ASSERT(row.size() == row_bytes_);
  append_u32(buffer_, checksum_of(row_number, row));
  buffer_ += row;
  return buffer_.size() >= write_bytes ? flush() : failed_;
}

Status RowFile::Writer::flush() {
  if (!failed_.ok()) return failed_;
  failed_ = from_leveldb(file_->Append(buffer_), "writing " + path_);
  buffer_.clear();
  return failed_;
}

Status RowFile::Writer::finish() {
  JADE_RETURN_IF_ERROR(flush());
  leveldb::Status done = file_->Sync();
  if (done.ok()) done = file_->Close();
  failed_ = from_leveldb(done, "writing " + path_);
  return failed_;
}

Result<std::shared_ptr<const RowFile>> RowFile::open(leveldb::Env* env, const std::string& path,
                                                     size_t row_bytes, uint32_t rows) {
  uint64_t size = 0;
  if (!env->GetFileSize(path, &size).ok()) return corruption(path + " is missing");
  if (size != uint64_t{rows} * (checksum_bytes + row_bytes)) {
    return corruption(path + " has " + std::to_string(size) + " bytes, which are not " +
                      std::to_string(rows) + " rows");
  }
  leveldb::RandomAccessFile* file = nullptr;
  leveldb::Status opened = env->NewRandomAccessFile(path, &file);
  if (!opened.ok()) return from_leveldb(opened, "opening " + path);
  std::shared_ptr<RowFile> out(new RowFile());
  out->file_.reset(file);
  out->path_ = path;
  out->row_bytes_ = row_bytes;
  out->rows_ = rows;
  return std::shared_ptr<const RowFile>(std::move(out));
}

Status RowFile::read(uint32_t first, uint32_t count, const uint64_t* row_numbers, char* out) const {
  JADE_ASSERT(first <= rows_ && count <= rows_ - first);
  const auto part =
      static_cast<uint32_t>(std::max<size_t>(1, read_bytes / (checksum_bytes + row_bytes_)));
  for (uint32_t done = 0; done < count;) {
    uint32_t n = std::min(part, count - done);
    for (int attempt = 0;; ++attempt) {
      auto whole = try_read(first + done, n, row_numbers + done, out + done * row_bytes_);
      if (!whole.ok()) return whole.status();
      if (*whole) break;
      if (attempt == 0) continue;
      damaged_ = true;
      return corruption("a row of " + path_ + " has a wrong checksum");
    }
    done += n;
  }
  return {};
}

Result<bool> RowFile::try_read(uint32_t first, uint32_t count, const uint64_t* row_numbers,
                               char* out) const {
  thread_local std::string scratch;
  const size_t each = checksum_bytes + row_bytes_;
  scratch.resize(count * each);
  leveldb::Slice got;
  leveldb::Status status =
      file_->Read(uint64_t{first} * each, scratch.size(), &got, scratch.data());
  if (!status.ok()) return from_leveldb(status, "reading " + path_);
  if (got.size() != count * each) return false;
  for (uint32_t i = 0; i < count; ++i) {
    std::string_view row(got.data() + i * each + checksum_bytes, row_bytes_);
    uint32_t stored;
    std::memcpy(&stored, got.data() + i * each, sizeof stored);
    if (stored != checksum_of(row_numbers[i], row)) return false;
    std::memcpy(out + i * row_bytes_, row.data(), row_bytes_);
  }
  return true;
}

void RowFile::will_read(uint32_t row) const {
  if (const auto* file = dynamic_cast<const HintedFile*>(file_.get())) {
    file->will_read(uint64_t{row} * (checksum_bytes + row_bytes_), checksum_bytes + row_bytes_);
  }
}

}  // namespace jade
