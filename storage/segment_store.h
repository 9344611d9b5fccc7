// Serialised segments of a shard replica as blobs, in a LevelDB of their own.
// Chunks are written once, in key order, so that LevelDB moves their files
// between levels rather than rewriting them. Byte formats: docs/formats.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "storage/kv.h"
#include "storage/row_file.h"

namespace jade {

class SegmentStore {
 public:
  // Removes what half-written blobs left behind. `env` outlives the store.
  static Result<std::shared_ptr<SegmentStore>> open(leveldb::Env* env, const std::string& dir,
                                                    std::shared_ptr<leveldb::Cache> cache,
                                                    Warn warn = {});

  // Writes one blob. It exists once finish() has returned ok, and is durable
  // then; otherwise it does not exist. After a failure only a new writer can
  // write it. One thread.
  class Writer {
   public:
    Status append(std::string_view bytes);
    Status finish();

   private:
    friend class SegmentStore;
    Writer(KvStore* kv, uint64_t id) : kv_(kv), id_(id) {}
    Status flush_chunk();

    KvStore* kv_;
    uint64_t id_;
    std::string chunk_;
    uint32_t chunks_ = 0;
    uint64_t bytes_ = 0;
    Status failed_;
  };
  // Replaces a blob of the same id. The store must outlive the writer. Where an
  // earlier write failed, reopens first: failed_precondition while there are
  // readers.
  Result<std::unique_ptr<Writer>> create(uint64_t id);

  // Reads one blob from its start. One thread.
  class Reader {
   public:
    uint64_t size() const { return size_; }
    // Up to n bytes; fewer only at the end. corruption names segment and chunk.
    Result<size_t> read(char* out, size_t n);

   private:
    friend class SegmentStore;
    Status next_chunk();

    std::unique_ptr<leveldb::Iterator> at_;
    uint64_t id_ = 0;
    uint64_t size_ = 0;
    uint64_t given_ = 0;
    uint32_t next_ = 0;
    bool started_ = false;
    std::string_view chunk_;
  };
  // not_found for an id without a finished blob.
  Result<std::unique_ptr<Reader>> read(uint64_t id) const;

  Result<std::vector<uint64_t>> list() const;
  // With its rows.
  Status remove(uint64_t id);
  // Gives the space back that earlier blobs of these ids took up. Reads what there is of
  // them, and of those between.
  void reclaim(const std::vector<uint64_t>& ids);

  // Rows beside the blob of the same id, to be written before it; where there is no blob
  // of that id when the store is opened they are removed.
  Result<std::unique_ptr<RowFile::Writer>> create_rows(uint64_t id, size_t row_bytes);
  Result<std::shared_ptr<const RowFile>> open_rows(uint64_t id, size_t row_bytes,
                                                   uint32_t rows) const;
  Status remove_rows(uint64_t id);

 private:
  SegmentStore(leveldb::Env* env, std::string dir, std::unique_ptr<KvStore> kv)
      : env_(env), rows_dir_(std::move(dir) + "/rows"), kv_(std::move(kv)) {}
  std::string rows_path(uint64_t id) const { return rows_dir_ + "/" + std::to_string(id); }
  Status remove_blob(uint64_t id);
  Status remove_chunks(uint64_t id);

  leveldb::Env* env_;
  std::string rows_dir_;
  std::unique_ptr<KvStore> kv_;
};

}  // namespace jade
