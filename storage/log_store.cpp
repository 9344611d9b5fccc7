#include "storage/log_store.h"

#include <leveldb/iterator.h>

#include <algorithm>

#include "storage/checksum.h"

namespace jade {
namespace {

// Keys: group (BE64), then the kind, then for entries their index (BE64).
constexpr char hard_state_tag = 'h';
constexpr char snapshot_tag = 's';
constexpr char entry_tag = 'e';
// Of the node itself, under a group that does not exist.
constexpr char lives_tag = 'l';
constexpr uint64_t no_group = 0;
constexpr uint8_t format_version = 1;

std::string make_key(uint64_t group, char tag) {
  std::string key;
  append_big_endian(key, group);
  key.push_back(tag);
  return key;
}

std::string entry_key(uint64_t group, uint64_t index) {
  std::string key = make_key(group, entry_tag);
  append_big_endian(key, index);
  return key;
}

// The version, then the checksum and payload.
std::string seal(std::string_view key, std::string_view payload) {
  std::string out(1, static_cast<char>(format_version));
  append_checked(out, key, payload);
  return out;
}

Result<std::string_view> unseal(std::string_view key, std::string_view value,
                                const std::string& what) {
  if (value.size() < 1 + sizeof(uint32_t)) return corruption(what + " is cut short");
  auto version = static_cast<uint8_t>(value[0]);
  if (version != format_version) {
    return corruption(what + " has format version " + std::to_string(version) +
                      ", which this program does not know");
  }
  auto payload = check(key, value.substr(1));
  if (!payload) return corruption(what + " has a wrong checksum");
  return *payload;
}

std::string name_of(uint64_t group, const char* what) {
  return std::string(what) + " of Raft group " + std::to_string(group);
}

std::string encode_hard_state(const HardState& state) {
  std::string out;
  append_u64(out, state.term);
  append_u64(out, state.voted_for);
  return out;
}

std::string encode_lives(const std::vector<Life>& lives) {
  std::string out;
  append_u32(out, static_cast<uint32_t>(lives.size()));
  for (const Life& life : lives) {
    append_u64(out, life.id);
    append_u64(out, life.version);
  }
  return out;
}

Result<std::vector<Life>> decode_lives(std::string_view payload) {
  ByteReader reader(payload);
  std::vector<Life> out;
  auto count = reader.u32();
  for (uint32_t i = 0; count && i < *count; ++i) {
    auto id = reader.u64(), version = reader.u64();
    if (!id || !version) break;
    out.push_back({*id, *version});
  }
  if (!count || out.size() != *count)
    return corruption("the list of the node's lives is cut short");
  return out;
}

// Drops the oldest of each sort that are too many.
void forget_oldest(std::vector<Life>& lives) {
  size_t recorded = 0, unrecorded = 0;
  for (size_t i = lives.size(); i-- > 0;) {
    size_t& count = lives[i].version != 0 ? recorded : unrecorded;
    if (++count > lives_max) lives.erase(lives.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void put(leveldb::WriteBatch& batch, const std::string& key, std::string_view payload) {
  batch.Put(key, seal(key, payload));
}

}  // namespace

std::string encode(const RaftSnapshot& snapshot) {
  std::string out;
  append_u64(out, snapshot.index);
  append_u64(out, snapshot.term);
  append_u64(out, snapshot.configuration_index);
  append_u32(out, static_cast<uint32_t>(snapshot.configuration.size()));
  out += snapshot.configuration;
  out += snapshot.data;
  return out;
}

Result<RaftSnapshot> decode_snapshot(std::string_view payload, const std::string& what) {
  ByteReader reader(payload);
  RaftSnapshot out;
  auto index = reader.u64(), term = reader.u64(), configuration_index = reader.u64();
  auto size = reader.u32();
  auto configuration = size ? reader.bytes(*size) : std::nullopt;
  if (!index || !term || !configuration_index || !configuration) {
    return corruption(what + " is cut short");
  }
  out.index = *index;
  out.term = *term;
  out.configuration_index = *configuration_index;
  out.configuration = *configuration;
  out.data = reader.rest();
  return out;
}

Result<std::shared_ptr<LogStore>> LogStore::open(leveldb::Env* env, const std::string& dir,
                                                 Warn warn) {
  KvOptions options;
  options.write_buffer_bytes = 16u << 20;
  options.max_file_bytes = 16u << 20;
  options.warn = std::move(warn);
  auto kv = KvStore::open(env, dir, options);
  if (!kv.ok()) return kv.status();
  std::shared_ptr<LogStore> store(new LogStore(std::move(*kv)));
  std::lock_guard lock(store->mutex_);
  JADE_RETURN_IF_ERROR(store->load_extents());
  return store;
}

Result<HardState> LogStore::load_hard_state(uint64_t group) const {
  std::string key = make_key(group, hard_state_tag);
  auto value = kv_->get(key);
  if (!value.ok()) return value.status();
  if (!value->has_value()) return HardState();
  auto payload = unseal(key, **value, name_of(group, "the term"));
  if (!payload.ok()) return payload.status();
  ByteReader reader(*payload);
  auto term = reader.u64(), vote = reader.u64();
  if (!term || !vote) return corruption(name_of(group, "the term") + " is cut short");
  return HardState{*term, *vote};
}

LogStore::Extent LogStore::extent_of(uint64_t group) const {
  auto at = extents_.find(group);
  return at == extents_.end() ? Extent() : at->second;
}

Status LogStore::write(leveldb::WriteBatch& batch) {
  if (!unread_.ok()) return unread_;
  return kv_->write(batch, true);
}

Status LogStore::load_extents() {
  auto loaded = read_extents();
  unread_ = loaded.ok() ? Status() : loaded.status();
  if (loaded.ok()) extents_ = std::move(*loaded);
  return unread_;
}

Result<std::map<uint64_t, LogStore::Extent>> LogStore::read_extents() const {
  std::map<uint64_t, Extent> out;
  // One seek a group and kind, not a scan: the log may be long.
  auto at = kv_->iterate({}, false);
  at->SeekToFirst();
  while (at->Valid()) {
    std::string_view key = view_of(at->key());
    if (key.size() < 9) return corruption("the log holds a key of an unknown form");
    uint64_t group = load_big_endian(key);
    if (group == no_group) {
      if (key != make_key(no_group, lives_tag)) {
        return corruption("the log holds a key of an unknown form");
      }
      at->Next();
      continue;
    }
    Extent extent;
    at->Seek(entry_key(group, 0));
    bool any = at->Valid() && view_of(at->key()).size() == 17 &&
               view_of(at->key()).substr(0, 9) == make_key(group, entry_tag);
    if (any) {
      extent.first = load_big_endian(view_of(at->key()).substr(9));
      at->Seek(entry_key(group, UINT64_MAX));
      if (at->Valid()) {
        at->Prev();
      } else {
        at->SeekToLast();
      }
      if (!at->Valid()) break;  // damaged
      extent.end = load_big_endian(view_of(at->key()).substr(9)) + 1;
    } else {
      auto value = kv_->get(make_key(group, snapshot_tag));
      if (!value.ok()) return value.status();
      if (value->has_value()) {
        std::string what = name_of(group, "the snapshot");
        auto payload = unseal(make_key(group, snapshot_tag), **value, what);
        if (!payload.ok()) return payload.status();
        auto snapshot = decode_snapshot(*payload, what);
        if (!snapshot.ok()) return snapshot.status();
        extent.first = extent.end = snapshot->index + 1;
      }
    }
    out[group] = extent;
    if (group == UINT64_MAX) break;
    std::string next;
    append_big_endian(next, group + 1);
    at->Seek(next);
  }
  if (!at->status().ok()) return from_leveldb(at->status(), "reading " + kv_->dir());
  return out;
}

Status LogStore::append(std::span<const LogAppend> appends) {
  std::lock_guard lock(mutex_);
  leveldb::WriteBatch batch;
  std::map<uint64_t, Extent> changed;
  std::string payload;
  for (const LogAppend& append : appends) {
    if (append.state) {
      put(batch, make_key(append.group, hard_state_tag), encode_hard_state(*append.state));
      changed.try_emplace(append.group, extent_of(append.group));
    }
    if (append.entries.empty()) continue;
    auto earlier = changed.find(append.group);
    Extent extent = earlier == changed.end() ? extent_of(append.group) : earlier->second;
    if (append.first_index > extent.end || append.first_index < extent.first) {
      return Status(Code::failed_precondition, "entry " + std::to_string(append.first_index) +
                                                   " of Raft group " +
                                                   std::to_string(append.group) +
                                                   " does not continue its log, which ends at " +
                                                   std::to_string(extent.end - 1));
    }
    uint64_t index = append.first_index;
    for (const LogEntry& entry : append.entries) {
      payload.clear();
      append_u64(payload, entry.term);
      payload.push_back(static_cast<char>(entry.type));
      payload += entry.data;
      put(batch, entry_key(append.group, index++), payload);
    }
    for (uint64_t old = index; old < extent.end; ++old) batch.Delete(entry_key(append.group, old));
    extent.end = index;
    changed[append.group] = extent;
  }
  JADE_RETURN_IF_ERROR(write(batch));
  for (const auto& [group, extent] : changed) extents_[group] = extent;
  return {};
}

Status LogStore::put_snapshot(uint64_t group, const RaftSnapshot& snapshot, uint64_t trailing) {
  std::lock_guard lock(mutex_);
  const Extent extent = extent_of(group);
  uint64_t keep_from = snapshot.index > trailing ? snapshot.index - trailing + 1 : 1;
  // A log that ends before the snapshot is replaced by it altogether.
  if (extent.end <= snapshot.index) keep_from = snapshot.index + 1;
  const uint64_t first = std::max(extent.first, keep_from);
  return begin_after(group, snapshot, {first, std::max(extent.end, first)});
}

Status LogStore::install(uint64_t group, const RaftSnapshot& snapshot) {
  std::lock_guard lock(mutex_);
  const Extent extent = extent_of(group);
  if (snapshot.index + 1 < extent.first) {
    return Status(Code::failed_precondition,
                  "a snapshot of entry " + std::to_string(snapshot.index) +
                      " cannot be put before the log of Raft group " + std::to_string(group) +
                      ", which begins with entry " + std::to_string(extent.first));
  }
  const uint64_t first = snapshot.index + 1;
  // Right before the log both are the same, as what a log begins after was committed.
  bool same = first == extent.first;
  if (!same && first < extent.end) {
    auto term = load_term(group, snapshot.index);
    if (!term.ok()) return term.status();
    same = *term == snapshot.term;
  }
  return begin_after(group, snapshot, {first, same ? extent.end : first});
}

Status LogStore::begin_after(uint64_t group, const RaftSnapshot& snapshot, Extent kept) {
  leveldb::WriteBatch batch;
  put(batch, make_key(group, snapshot_tag), encode(snapshot));
  const Extent extent = extent_of(group);
  for (uint64_t index = extent.first; index < extent.end; ++index) {
    if (index < kept.first || index >= kept.end) batch.Delete(entry_key(group, index));
  }
  JADE_RETURN_IF_ERROR(write(batch));
  extents_[group] = kept;
  return {};
}

Result<uint64_t> LogStore::load_term(uint64_t group, uint64_t index) const {
  const std::string key = entry_key(group, index);
  const std::string what = name_of(group, ("entry " + std::to_string(index)).c_str());
  auto value = kv_->get(key);
  if (!value.ok()) return value.status();
  if (!value->has_value()) return corruption(what + " is missing");
  auto payload = unseal(key, **value, what);
  if (!payload.ok()) return payload.status();
  auto term = ByteReader(*payload).u64();
  if (!term) return corruption(what + " is cut short");
  return *term;
}

Result<LogStore::Loaded> LogStore::load(uint64_t group) const {
  Loaded out;
  auto at = kv_->iterate({}, false);
  std::string prefix;
  append_big_endian(prefix, group);
  uint64_t next = 0;
  for (at->Seek(prefix); at->Valid() && at->key().starts_with(prefix); at->Next()) {
    std::string_view key = view_of(at->key());
    if (key.size() < 9) return corruption("the log holds a key of an unknown form");
    char tag = key[8];
    if (tag == entry_tag && key.size() == 17) {
      uint64_t index = load_big_endian(key.substr(9));
      std::string what = name_of(group, ("entry " + std::to_string(index)).c_str());
      auto payload = unseal(key, view_of(at->value()), what);
      if (!payload.ok()) return payload.status();
      ByteReader reader(*payload);
      auto term = reader.u64();
      auto type = reader.u8();
      if (!term || !type) return corruption(what + " is cut short");
      if (out.entries.empty()) {
        out.first_index = next = index;
      } else if (index != next) {
        return corruption(name_of(group, ("entry " + std::to_string(next)).c_str()) +
                          " is missing");
      }
      ++next;
      out.entries.push_back({*term, *type, std::string(reader.rest())});
    } else if (tag == hard_state_tag) {
      auto hard_state = load_hard_state(group);
      if (!hard_state.ok()) return hard_state.status();
      out.state = *hard_state;
    } else if (tag == snapshot_tag) {
      std::string what = name_of(group, "the snapshot");
      auto payload = unseal(key, view_of(at->value()), what);
      if (!payload.ok()) return payload.status();
      auto snapshot = decode_snapshot(*payload, what);
      if (!snapshot.ok()) return snapshot.status();
      out.snapshot = std::move(*snapshot);
    } else {
      return corruption("the log holds a key of an unknown form");
    }
  }
  if (!at->status().ok()) return from_leveldb(at->status(), "reading " + kv_->dir());
  uint64_t base = out.snapshot ? out.snapshot->index + 1 : 1;
  if (out.entries.empty()) {
    out.first_index = base;
  } else if (out.first_index > base) {
    return corruption(name_of(group, ("entry " + std::to_string(base)).c_str()) + " is missing");
  }
  return out;
}

Status LogStore::mark_begun(uint64_t group) {
  std::lock_guard lock(mutex_);
  auto state = load_hard_state(group);
  if (!state.ok()) return state.status();
  if (state->term > 0) return {};
  leveldb::WriteBatch batch;
  put(batch, make_key(group, hard_state_tag), encode_hard_state({1, 0}));
  JADE_RETURN_IF_ERROR(write(batch));
  extents_[group] = extent_of(group);
  return {};
}

Status LogStore::remove_group(uint64_t group) {
  std::lock_guard lock(mutex_);
  leveldb::WriteBatch batch;
  std::string prefix;
  append_big_endian(prefix, group);
  auto at = kv_->iterate({}, false);
  for (at->Seek(prefix); at->Valid() && at->key().starts_with(prefix); at->Next()) {
    batch.Delete(at->key());
  }
  if (!at->status().ok()) return from_leveldb(at->status(), "reading " + kv_->dir());
  JADE_RETURN_IF_ERROR(write(batch));
  extents_.erase(group);
  return {};
}

Result<std::vector<uint64_t>> LogStore::groups() const {
  std::lock_guard lock(mutex_);
  std::vector<uint64_t> out;
  for (const auto& [group, extent] : extents_) out.push_back(group);
  return out;
}

Result<std::vector<Life>> LogStore::lives() const {
  std::string key = make_key(no_group, lives_tag);
  auto value = kv_->get(key);
  if (!value.ok()) return value.status();
  if (!value->has_value()) return std::vector<Life>();
  auto payload = unseal(key, **value, "the list of the node's lives");
  if (!payload.ok()) return payload.status();
  return decode_lives(*payload);
}

Status LogStore::put_lives(std::vector<Life> lives) {
  forget_oldest(lives);
  leveldb::WriteBatch batch;
  put(batch, make_key(no_group, lives_tag), encode_lives(lives));
  return write(batch);
}

Status LogStore::begin_life(uint64_t id) {
  std::lock_guard lock(mutex_);
  auto known = lives();
  if (!known.ok()) return known.status();
  JADE_ASSERT(id != 0 && !remembers(*known, {id, UINT64_MAX}));
  known->push_back({id, 0});
  return put_lives(std::move(*known));
}

Status LogStore::record_life(const Life& life) {
  std::lock_guard lock(mutex_);
  auto known = lives();
  if (!known.ok()) return known.status();
  auto at = std::find_if(known->begin(), known->end(),
                         [&](const Life& one) { return one.id == life.id; });
  if (at == known->end()) return not_found("this node has had no such life");
  at->version = life.version;
  return put_lives(std::move(*known));
}

Status LogStore::reopen() {
  // Nobody may append by the old extents: what failed may be stored all the same.
  std::lock_guard lock(mutex_);
  unread_ = kv_->reopen();
  if (!unread_.ok()) return unread_;
  return load_extents();
}

}  // namespace jade
