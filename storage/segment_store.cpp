#include "storage/segment_store.h"

#include <leveldb/iterator.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "storage/checksum.h"

namespace jade {
namespace {

constexpr char chunk_tag = 's';
constexpr char footer_tag = 'f';
constexpr size_t chunk_bytes = 1u << 20;
constexpr uint8_t format_version = 1;

std::string make_key(char tag, uint64_t id) {
  std::string key(1, tag);
  append_big_endian(key, id);
  return key;
}

std::string chunk_key(uint64_t id, uint32_t chunk) {
  std::string key = make_key(chunk_tag, id);
  append_big_endian32(key, chunk);
  return key;
}

}  // namespace

Result<std::shared_ptr<SegmentStore>> SegmentStore::open(leveldb::Env* env, const std::string& dir,
                                                         std::shared_ptr<leveldb::Cache> cache,
                                                         Warn warn) {
  KvOptions options;
  options.write_buffer_bytes = 8u << 20;
  options.max_file_bytes = 32u << 20;
  options.cache = std::move(cache);
  options.warn = std::move(warn);
  auto kv = KvStore::open(env, dir, options);
  if (!kv.ok()) return kv.status();
  std::shared_ptr<SegmentStore> store(new SegmentStore(env, dir, std::move(*kv)));
  auto finished = store->list();
  if (!finished.ok()) return finished.status();
  std::set<uint64_t> keep(finished->begin(), finished->end());
  // One seek a blob.
  auto at = store->kv_->iterate({}, false);
  std::string start(1, chunk_tag);
  std::vector<uint64_t> torn;
  for (at->Seek(start);
       at->Valid() && view_of(at->key()).size() == 13 && at->key()[0] == chunk_tag;) {
    uint64_t id = load_big_endian(view_of(at->key()).substr(1));
    if (keep.count(id) == 0) torn.push_back(id);
    at->Seek(chunk_key(id, UINT32_MAX));
  }
  if (!at->status().ok()) return from_leveldb(at->status(), "reading " + dir);
  for (uint64_t id : torn) JADE_RETURN_IF_ERROR(store->remove_chunks(id));
  std::vector<std::string> names;
  env->GetChildren(store->rows_dir_, &names);  // none where no rows were ever written
  for (const std::string& name : names) {
    bool known = std::any_of(keep.begin(), keep.end(),
                             [&](uint64_t id) { return std::to_string(id) == name; });
    if (!known && name != "." && name != "..") env->RemoveFile(store->rows_dir_ + "/" + name);
  }
  return store;
}

Result<std::unique_ptr<SegmentStore::Writer>> SegmentStore::create(uint64_t id) {
  // A write that failed earlier (a full disk) must not stop later builds.
  leveldb::WriteBatch nothing;
  if (!kv_->write(nothing, false).ok()) JADE_RETURN_IF_ERROR(kv_->reopen());
  JADE_RETURN_IF_ERROR(remove_blob(id));
  return std::unique_ptr<Writer>(new Writer(kv_.get(), id));
}

Status SegmentStore::Writer::append(std::string_view bytes) {
  if (!failed_.ok()) return failed_;
  while (!bytes.empty()) {
    size_t part = std::min(bytes.size(), chunk_bytes - chunk_.size());
    chunk_ += bytes.substr(0, part);
    bytes.remove_prefix(part);
    if (chunk_.size() == chunk_bytes) JADE_RETURN_IF_ERROR(flush_chunk());
  }
  return {};
}

Status SegmentStore::Writer::flush_chunk() {
  if (!failed_.ok() || chunk_.empty()) return failed_;
  leveldb::WriteBatch batch;
  std::string key = chunk_key(id_, chunks_);
  batch.Put(key, checked(key, chunk_));
  bytes_ += chunk_.size();
  ++chunks_;
  chunk_.clear();
  failed_ = kv_->write(batch, false);
  return failed_;
}

Status SegmentStore::Writer::finish() {
  JADE_RETURN_IF_ERROR(flush_chunk());
  std::string footer;
  footer.push_back(static_cast<char>(format_version));
  append_u64(footer, bytes_);
  append_u32(footer, chunks_);
  leveldb::WriteBatch batch;
  std::string key = make_key(footer_tag, id_);
  batch.Put(key, checked(key, footer));
  // Syncs all chunks before it too: see DurableEnv.
  return kv_->write(batch, true);
}

Result<std::unique_ptr<SegmentStore::Reader>> SegmentStore::read(uint64_t id) const {
  std::string name = "segment " + std::to_string(id);
  std::string key = make_key(footer_tag, id);
  auto value = kv_->get(key);
  if (!value.ok()) return value.status();
  if (!value->has_value()) return not_found(name + " does not exist");
  auto footer = check(key, **value);
  if (!footer) return corruption("the footer of " + name + " has a wrong checksum");
  ByteReader fields(*footer);
  auto version = fields.u8();
  auto size = fields.u64();
  auto chunks = fields.u32();
  if (!version || !size || !chunks) return corruption("the footer of " + name + " is cut short");
  if (*version != format_version) {
    return corruption(name + " has format version " + std::to_string(*version) +
                      ", which this program does not know");
  }
  std::unique_ptr<Reader> reader(new Reader());
  reader->at_ = kv_->iterate({}, false);
  reader->id_ = id;
  reader->size_ = *size;
  return reader;
}

Status SegmentStore::Reader::next_chunk() {
  std::string key = chunk_key(id_, next_);
  std::string name = "chunk " + std::to_string(next_) + " of segment " + std::to_string(id_);
  if (started_) {
    at_->Next();
  } else {
    at_->Seek(key);
    started_ = true;
  }
  if (!at_->status().ok()) return from_leveldb(at_->status(), "reading " + name);
  if (!at_->Valid() || view_of(at_->key()) != key) return corruption(name + " is missing");
  auto payload = check(key, view_of(at_->value()));
  if (!payload || payload->empty()) return corruption(name + " has a wrong checksum");
  ++next_;
  chunk_ = *payload;
  return {};
}

Result<size_t> SegmentStore::Reader::read(char* out, size_t n) {
  size_t done = 0;
  while (done < n && given_ < size_) {
    if (chunk_.empty()) {
      if (Status status = next_chunk(); !status.ok()) return status;
    }
    size_t part = std::min(n - done, chunk_.size());
    if (part > size_ - given_) {
      return corruption("segment " + std::to_string(id_) + " is longer than its footer says");
    }
    std::memcpy(out + done, chunk_.data(), part);
    chunk_.remove_prefix(part);
    done += part;
    given_ += part;
  }
  return done;
}

Result<std::vector<uint64_t>> SegmentStore::list() const {
  std::vector<uint64_t> out;
  auto at = kv_->iterate({}, false);
  std::string start(1, footer_tag);
  for (at->Seek(start); at->Valid() && at->key().size() == 9 && at->key()[0] == footer_tag;
       at->Next()) {
    out.push_back(load_big_endian(view_of(at->key()).substr(1)));
  }
  if (!at->status().ok()) return from_leveldb(at->status(), "reading segments");
  return out;
}

Status SegmentStore::remove_chunks(uint64_t id) {
  leveldb::WriteBatch batch;
  std::string prefix = make_key(chunk_tag, id);
  auto at = kv_->iterate({}, false);
  for (at->Seek(prefix); at->Valid() && at->key().starts_with(prefix); at->Next()) {
    batch.Delete(at->key());
  }
  if (!at->status().ok()) return from_leveldb(at->status(), "reading segments");
  return kv_->write(batch, false);
}

void SegmentStore::reclaim(const std::vector<uint64_t>& ids) {
  if (ids.empty()) return;
  auto [first, last] = std::minmax_element(ids.begin(), ids.end());
  kv_->compact(make_key(chunk_tag, *first), make_key(chunk_tag, *last + 1));
}

Status SegmentStore::remove(uint64_t id) {
  JADE_RETURN_IF_ERROR(remove_blob(id));
  return remove_rows(id);
}

Result<std::unique_ptr<RowFile::Writer>> SegmentStore::create_rows(uint64_t id, size_t row_bytes) {
  env_->CreateDir(rows_dir_);  // fails where there is one
  return RowFile::create(env_, rows_path(id), row_bytes);
}

Result<std::shared_ptr<const RowFile>> SegmentStore::open_rows(uint64_t id, size_t row_bytes,
                                                               uint32_t rows) const {
  return RowFile::open(env_, rows_path(id), row_bytes, rows);
}

Status SegmentStore::remove_rows(uint64_t id) {
  if (!env_->FileExists(rows_path(id))) return {};
  return from_leveldb(env_->RemoveFile(rows_path(id)), "removing " + rows_path(id));
}

Status SegmentStore::remove_blob(uint64_t id) {
  // The footer goes first: what a crash leaves then is a half-written blob.
  leveldb::WriteBatch batch;
  batch.Delete(make_key(footer_tag, id));
  JADE_RETURN_IF_ERROR(kv_->write(batch, false));
  return remove_chunks(id);
}

}  // namespace jade
