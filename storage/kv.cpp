#include "storage/kv.h"

#include <leveldb/filter_policy.h>
#include <leveldb/iterator.h>

#include "storage/wal_check.h"

namespace jade {

struct KvStore::Files {
  explicit Files(leveldb::Env* target) : env(target) {}

  DurableEnv env;
  std::unique_ptr<const leveldb::FilterPolicy> filter{leveldb::NewBloomFilterPolicy(10)};
  std::shared_ptr<leveldb::Cache> cache;
  std::unique_ptr<leveldb::DB> db;
};

Result<std::unique_ptr<KvStore>> KvStore::open(leveldb::Env* env, const std::string& dir,
                                               KvOptions options) {
  std::unique_ptr<KvStore> store(new KvStore());
  store->env_ = env;
  store->dir_ = dir;
  store->options_ = std::move(options);
  JADE_RETURN_IF_ERROR(store->open_files());
  return store;
}

Status KvStore::open_files() {
  auto checked = check_wal(env_, dir_);
  if (!checked.ok()) return checked.status();
  for (const WalCut& cut : *checked) {
    if (!options_.warn) break;
    options_.warn("cut " + std::to_string(cut.bytes) + " bytes off the torn end of " + cut.path);
  }
  auto files = std::make_shared<Files>(env_);
  files->cache = options_.cache;
  leveldb::Options options;
  options.env = &files->env;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.write_buffer_size = options_.write_buffer_bytes;
  options.max_file_size = options_.max_file_bytes;
  options.block_size = options_.block_bytes;
  options.block_cache = options_.cache.get();
  // Vectors do not compress; trying costs more than the rest saves.
  options.compression = leveldb::kNoCompression;
  options.filter_policy = files->filter.get();
  leveldb::DB* db = nullptr;
  leveldb::Status opened = leveldb::DB::Open(options, dir_, &db);
  if (!opened.ok()) return from_leveldb(opened, "opening " + dir_);
  files->db.reset(db);
  std::lock_guard lock(mutex_);
  files_ = std::move(files);
  broken_ = Status();
  return {};
}

std::shared_ptr<KvStore::Files> KvStore::files() const {
  std::lock_guard lock(mutex_);
  return files_;
}

Result<std::optional<std::string>> KvStore::get(std::string_view key, const Snapshot& at) const {
  auto open = files();
  if (!open) return Status(Code::io_error, dir_ + " is not open");
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  options.snapshot = at.get();
  std::string value;
  leveldb::Status status = open->db->Get(options, leveldb::Slice(key.data(), key.size()), &value);
  // LevelDB says "not found" of a file that vanished too, but then names it.
  if (status.ToString() == leveldb::Status::NotFound(leveldb::Slice()).ToString()) {
    return std::optional<std::string>();
  }
  if (!status.ok()) return from_leveldb(status, "reading " + dir_);
  return std::optional<std::string>(std::move(value));
}

Status KvStore::write(leveldb::WriteBatch& batch, bool sync) {
  std::shared_ptr<Files> open;
  {
    std::lock_guard lock(mutex_);
    if (!broken_.ok()) return broken_;
    open = files_;
  }
  if (!open) return Status(Code::io_error, dir_ + " is not open");
  leveldb::WriteOptions options;
  options.sync = sync;
  leveldb::Status written = open->db->Write(options, &batch);
  if (written.ok()) return {};
  Status status = from_leveldb(written, "writing " + dir_);
  std::lock_guard lock(mutex_);
  broken_ = status;
  return status;
}

Status KvStore::sync() {
  leveldb::WriteBatch nothing;
  return write(nothing, true);
}

void KvStore::compact(std::string_view begin, std::string_view end) {
  auto open = files();
  if (!open) return;
  // CompactRange looks how deep the files go before it writes out what is in memory, and would
  // pass over what that puts deeper: so that is written first, by a range that no key is in.
  leveldb::Slice nothing;
  open->db->CompactRange(&nothing, &nothing);
  leveldb::Slice from(begin.data(), begin.size()), to(end.data(), end.size());
  open->db->CompactRange(&from, &to);
}

Snapshot KvStore::snapshot() const {
  auto open = files();
  if (!open) return nullptr;
  const leveldb::Snapshot* taken = open->db->GetSnapshot();
  return Snapshot(taken, [open](const leveldb::Snapshot* s) { open->db->ReleaseSnapshot(s); });
}

std::unique_ptr<leveldb::Iterator> KvStore::iterate(const Snapshot& at, bool fill_cache) const {
  auto open = files();
  if (!open) {
    return std::unique_ptr<leveldb::Iterator>(
        leveldb::NewErrorIterator(leveldb::Status::IOError(dir_, "not open")));
  }
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = fill_cache;
  options.snapshot = at.get();
  std::unique_ptr<leveldb::Iterator> it(open->db->NewIterator(options));
  it->RegisterCleanup([](void* held, void*) { delete static_cast<std::shared_ptr<Files>*>(held); },
                      new std::shared_ptr<Files>(std::move(open)), nullptr);
  return it;
}

Status KvStore::reopen() {
  // Nobody else may check and mend a log that is open again already.
  std::lock_guard reopening(reopening_);
  {
    std::lock_guard lock(mutex_);
    if (files_ && broken_.ok()) return {};
    if (files_ && files_.use_count() > 1) {
      return Status(Code::failed_precondition, dir_ + " is in use and cannot be reopened");
    }
    files_.reset();
  }
  return open_files();
}

}  // namespace jade
