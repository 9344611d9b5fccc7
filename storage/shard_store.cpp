#include "storage/shard_store.h"

#include <leveldb/iterator.h>

#include "storage/checksum.h"

namespace jade {
namespace {

constexpr char state_key[] = "m";
constexpr char id_tag = 'i';
constexpr char record_tag = 'r';
constexpr char tombstone_tag = 'd';
constexpr char request_tag = 'q';
// Marks, in a remembered request, that the group which carried it out is named.
constexpr uint64_t inherited_request = uint64_t{1} << 63;
constexpr char home_tag = 'h';
constexpr char change_tag = 'o';

std::string row_key(char tag, uint64_t row) {
  std::string key(1, tag);
  append_big_endian(key, row);
  return key;
}

std::string name_key(char tag, std::string_view id) {
  std::string key(1, tag);
  key += id;
  return key;
}

std::string id_key(std::string_view id) { return name_key(id_tag, id); }

Result<std::string_view> unseal(std::string_view key, std::string_view value, const char* what) {
  auto payload = check(key, value);
  if (!payload) return corruption(std::string(what) + " has a wrong checksum");
  return *payload;
}

std::string record_name(uint64_t row) { return "record " + std::to_string(row); }

Result<ShardStore::Place> decode_place(std::string_view key, std::string_view value) {
  auto payload = unseal(key, value, "the entry of an id");
  if (!payload.ok()) return payload.status();
  if (payload->size() != 8 && payload->size() != 16) {
    return corruption("the entry of an id has a wrong length");
  }
  uint64_t version = payload->size() == 16 ? load_big_endian(payload->substr(8)) : 0;
  return ShardStore::Place{load_big_endian(*payload), version};
}

Result<HomeRecord> decode_home(std::string_view key, std::string_view value) {
  auto payload = unseal(key, value, "the record of an id");
  if (!payload.ok()) return payload.status();
  return decode_home_record(*payload);
}

}  // namespace

Result<std::shared_ptr<ShardStore>> ShardStore::open(leveldb::Env* env, const std::string& dir,
                                                     std::shared_ptr<leveldb::Cache> cache,
                                                     Warn warn) {
  KvOptions options;
  // Rows arrive in key order, so large buffers and files are moved between
  // levels rather than rewritten.
  options.write_buffer_bytes = 16u << 20;
  options.max_file_bytes = 16u << 20;
  options.cache = std::move(cache);
  options.warn = std::move(warn);
  auto kv = KvStore::open(env, dir, options);
  if (!kv.ok()) return kv.status();
  return std::shared_ptr<ShardStore>(new ShardStore(std::move(*kv)));
}

void ShardStore::Batch::put(uint64_t row, std::string_view id, std::string_view values,
                            std::string_view metadata, uint64_t version) {
  std::string key = row_key(record_tag, row);
  batch_.Put(key, checked(key, encode_record(id, values, metadata)));
  std::string name = id_key(id);
  std::string place = key.substr(1);
  if (version > 0) append_big_endian(place, version);
  batch_.Put(name, checked(name, place));
}

void ShardStore::Batch::put_home(const RowView& row, uint64_t from) {
  std::string bytes = encode_home_record(row, from);
  std::string name = name_key(home_tag, row.id), change = row_key(change_tag, row.version);
  if (row.cell == 0) {
    batch_.Delete(name);
  } else {
    batch_.Put(name, checked(name, bytes));
  }
  batch_.Put(change, checked(change, bytes));
}

void ShardStore::Batch::forget_change(uint64_t version) {
  batch_.Delete(row_key(change_tag, version));
}

void ShardStore::Batch::erase_row(uint64_t row) {
  batch_.Delete(row_key(record_tag, row));
  batch_.Put(row_key(tombstone_tag, row), leveldb::Slice());
}

void ShardStore::Batch::forget_id(std::string_view id) { batch_.Delete(id_key(id)); }

void ShardStore::Batch::remove(uint64_t row, std::string_view id) {
  batch_.Delete(row_key(record_tag, row));
  forget_id(id);
}

void ShardStore::Batch::forget_tombstone(uint64_t row) {
  batch_.Delete(row_key(tombstone_tag, row));
}

void ShardStore::Batch::remember(const Request& request) {
  std::string key = row_key(request_tag, request.index), value;
  append_big_endian(value, request.affected);
  uint64_t inherited = request.group != 0 ? inherited_request : 0;
  append_big_endian(value,
                    inherited | uint64_t{request.missing.size()} << 32 | request.fingerprint);
  if (inherited != 0) append_big_endian(value, request.group);
  value += request.id;
  value += request.missing;
  batch_.Put(key, checked(key, value));
}

void ShardStore::Batch::forget_request(uint64_t index) {
  batch_.Delete(row_key(request_tag, index));
}

void ShardStore::Batch::set_state(const ShardStateMeta& state) {
  batch_.Put(state_key, checked(state_key, encode(state)));
}

Status ShardStore::noted(Status status) const {
  if (status.code() != Code::corruption) return status;
  std::lock_guard lock(damage_mutex_);
  if (damage_.ok()) damage_ = status;
  return status;
}

Status ShardStore::damage() const {
  std::lock_guard lock(damage_mutex_);
  return damage_;
}

Result<std::optional<ShardStateMeta>> ShardStore::state() const {
  auto value = kv_->get(state_key);
  if (!value.ok()) return noted(value.status());
  if (!value->has_value()) return std::optional<ShardStateMeta>();
  auto payload = unseal(state_key, **value, "the shard's state");
  if (!payload.ok()) return noted(payload.status());
  auto state = decode_shard_state(*payload);
  if (!state.ok()) return noted(state.status());
  return std::optional<ShardStateMeta>(std::move(*state));
}

Result<std::optional<ShardStore::Place>> ShardStore::find_place(std::string_view id,
                                                                const Snapshot& at) const {
  std::string key = id_key(id);
  auto value = kv_->get(key, at);
  if (!value.ok()) return noted(value.status());
  if (!value->has_value()) return std::optional<Place>();
  auto place = decode_place(key, **value);
  if (!place.ok()) return noted(place.status());
  return std::optional<Place>(*place);
}

Result<std::optional<uint64_t>> ShardStore::find(std::string_view id, const Snapshot& at) const {
  auto place = find_place(id, at);
  if (!place.ok()) return place.status();
  return place->has_value() ? std::optional<uint64_t>((*place)->row) : std::nullopt;
}

Result<std::optional<HomeRecord>> ShardStore::find_home(std::string_view id,
                                                        const Snapshot& at) const {
  std::string key = name_key(home_tag, id);
  auto value = kv_->get(key, at);
  if (!value.ok()) return noted(value.status());
  if (!value->has_value()) return std::optional<HomeRecord>();
  auto record = decode_home(key, **value);
  if (!record.ok()) return noted(record.status());
  return std::optional<HomeRecord>(std::move(*record));
}

Status ShardStore::scan_homes(std::string_view after, const Snapshot& at,
                              const std::function<bool(HomeRecord)>& each) const {
  std::string start = name_key(home_tag, after);
  auto it = kv_->iterate(at, true);
  it->Seek(start);
  if (!after.empty() && it->Valid() && view_of(it->key()) == start) it->Next();
  for (; it->Valid(); it->Next()) {
    std::string_view key = view_of(it->key());
    if (key.empty() || key[0] != home_tag) break;
    auto record = decode_home(key, view_of(it->value()));
    if (!record.ok()) return noted(record.status());
    if (record->id != key.substr(1)) return noted(corruption("the record of an id is another's"));
    if (!each(std::move(*record))) break;
  }
  return noted(from_leveldb(it->status(), "reading records"));
}

Status ShardStore::scan_changes(uint64_t after, const Snapshot& at,
                                const std::function<bool(HomeRecord)>& each) const {
  auto it = kv_->iterate(at, false);
  for (it->Seek(row_key(change_tag, after + 1)); it->Valid(); it->Next()) {
    std::string_view key = view_of(it->key());
    if (key.size() != 9 || key[0] != change_tag) break;
    auto change = decode_home(key, view_of(it->value()));
    if (!change.ok()) return noted(change.status());
    if (change->version != load_big_endian(key.substr(1))) {
      return noted(corruption("a change that is on its way has another's version"));
    }
    if (!each(std::move(*change))) break;
  }
  return noted(from_leveldb(it->status(), "reading changes"));
}

Result<Record> ShardStore::get(uint64_t row, const Snapshot& at) const {
  std::string key = row_key(record_tag, row);
  auto value = kv_->get(key, at);
  if (!value.ok()) return noted(value.status().with_context(record_name(row)));
  if (!value->has_value()) return noted(corruption(record_name(row) + " is missing"));
  auto payload = unseal(key, **value, record_name(row).c_str());
  if (!payload.ok()) return noted(payload.status());
  auto record = decode_record(*payload);
  if (!record.ok()) return noted(record.status());
  return record;
}

Status ShardStore::scan_rows(uint64_t begin, uint64_t end,
                             const std::function<Status(uint64_t, Record)>& each) const {
  auto at = kv_->iterate({}, false);
  for (at->Seek(row_key(record_tag, begin)); at->Valid(); at->Next()) {
    std::string_view key = view_of(at->key());
    if (key.size() != 9 || key[0] != record_tag) break;
    uint64_t row = load_big_endian(key.substr(1));
    if (row >= end) break;
    auto payload = unseal(key, view_of(at->value()), record_name(row).c_str());
    if (!payload.ok()) return noted(payload.status());
    auto record = decode_record(*payload);
    if (!record.ok()) return noted(record.status());
    JADE_RETURN_IF_ERROR(each(row, std::move(*record)));
  }
  return noted(from_leveldb(at->status(), "reading records"));
}

void ShardStore::Ids::next() {
  at_->Next();
  read();
}

void ShardStore::Ids::read() {
  valid_ = at_->Valid();
  std::string_view key = valid_ ? view_of(at_->key()) : std::string_view();
  valid_ = valid_ && !key.empty() && key[0] == id_tag;
  if (!valid_) {
    status_ = store_->noted(from_leveldb(at_->status(), "reading ids"));
    return;
  }
  auto place = decode_place(key, view_of(at_->value()));
  valid_ = place.ok();
  if (!valid_) {
    status_ = store_->noted(place.status());
    return;
  }
  id_ = key.substr(1);
  row_ = place->row;
}

ShardStore::Ids ShardStore::ids(std::string_view after, const Snapshot& at) const {
  Ids ids(this, kv_->iterate(at, true));
  std::string start = id_key(after);
  ids.at_->Seek(start);
  if (!after.empty() && ids.at_->Valid() && view_of(ids.at_->key()) == start) ids.at_->Next();
  ids.read();
  return ids;
}

Status ShardStore::scan_ids(std::string_view after, const Snapshot& at,
                            const std::function<bool(std::string_view, uint64_t)>& each) const {
  Ids all = ids(after, at);
  while (all.valid() && each(all.id(), all.row())) all.next();
  return all.status();
}

Status ShardStore::scan_tombstones(const std::function<void(uint64_t)>& each) const {
  auto it = kv_->iterate({}, false);
  std::string start(1, tombstone_tag);
  for (it->Seek(start); it->Valid(); it->Next()) {
    std::string_view key = view_of(it->key());
    if (key.size() != 9 || key[0] != tombstone_tag) break;
    each(load_big_endian(key.substr(1)));
  }
  return noted(from_leveldb(it->status(), "reading tombstones"));
}

Status ShardStore::scan_requests(const std::function<void(Request)>& each,
                                 const Snapshot& at) const {
  auto it = kv_->iterate(at, false);
  for (it->Seek(std::string(1, request_tag)); it->Valid(); it->Next()) {
    std::string_view key = view_of(it->key());
    if (key.size() != 9 || key[0] != request_tag) break;
    auto payload = unseal(key, view_of(it->value()), "a remembered request");
    if (!payload.ok()) return noted(payload.status());
    if (payload->size() < 16) return noted(corruption("a remembered request has a wrong length"));
    uint64_t sizes = load_big_endian(payload->substr(8));
    std::string_view rest = payload->substr(16);
    uint64_t group = 0;
    if ((sizes & inherited_request) != 0) {
      if (rest.size() < 8) return noted(corruption("a remembered request has a wrong length"));
      group = load_big_endian(rest);
      rest.remove_prefix(8);
    }
    uint64_t missing = (sizes & ~inherited_request) >> 32;
    if (missing > rest.size()) return noted(corruption("a remembered request has a wrong length"));
    each({load_big_endian(key.substr(1)), load_big_endian(*payload), static_cast<uint32_t>(sizes),
          std::string(rest.substr(0, rest.size() - missing)),
          std::string(rest.substr(rest.size() - missing)), group});
  }
  return noted(from_leveldb(it->status(), "reading remembered requests"));
}

Result<uint32_t> ShardStore::digest(const Snapshot& at) const {
  uint32_t crc = 0;
  Status failure;
  auto add = [&crc](std::string_view part) {
    uint64_t size = part.size();
    crc = crc32c({reinterpret_cast<const char*>(&size), sizeof size}, crc);
    crc = crc32c(part, crc);
  };
  Status scanned = scan_ids("", at, [&](std::string_view id, uint64_t row) {
    auto record = get(row, at);
    if (!record.ok()) {
      failure = record.status();
    } else if (record->id != id) {
      failure = noted(corruption(record_name(row) + " does not belong to the id that names it"));
    }
    if (!failure.ok()) return false;
    add(record->id);
    add(record->values);
    add(record->metadata);
    return true;
  });
  JADE_RETURN_IF_ERROR(scanned);
  if (!failure.ok()) return failure;
  scanned = scan_homes("", at, [&](const HomeRecord& record) {
    add(record.id);
    add(record.values);
    add(record.metadata);
    for (uint64_t number : {record.version, record.cell, record.valued}) {
      crc = crc32c({reinterpret_cast<const char*>(&number), sizeof number}, crc);
    }
    return true;
  });
  JADE_RETURN_IF_ERROR(scanned);
  return crc;
}

std::optional<uint64_t> ShardStore::row_of_key(std::string_view key) {
  if (key.size() != 9 || key[0] != record_tag) return std::nullopt;
  return load_big_endian(key.substr(1));
}

Result<ShardStore::Piece> ShardStore::export_piece(std::string_view after, const Snapshot& at,
                                                   size_t bytes_max) const {
  Piece out;
  auto it = kv_->iterate(at, false);
  if (after.empty()) {
    it->SeekToFirst();
  } else {
    it->Seek(std::string(after));
    if (it->Valid() && view_of(it->key()) == after) it->Next();
  }
  for (; it->Valid(); it->Next()) {
    if (out.bytes.size() >= bytes_max) return out;
    append_u32(out.bytes, static_cast<uint32_t>(it->key().size()));
    append_u32(out.bytes, static_cast<uint32_t>(it->value().size()));
    out.bytes.append(it->key().data(), it->key().size());
    out.bytes.append(it->value().data(), it->value().size());
    out.last_key.assign(it->key().data(), it->key().size());
  }
  if (!it->status().ok()) return noted(from_leveldb(it->status(), "reading the shard's records"));
  out.last_key.clear();
  return out;
}

Status ShardStore::import_piece(std::string_view bytes) {
  leveldb::WriteBatch batch;
  ByteReader reader(bytes);
  while (!reader.rest().empty()) {
    auto key_size = reader.u32(), value_size = reader.u32();
    if (!key_size || !value_size) return corruption("a piece of a shard is cut short");
    auto key = reader.bytes(*key_size);
    auto value = reader.bytes(*value_size);
    if (!key || !value || key->empty()) return corruption("a piece of a shard is cut short");
    if (key->front() != tombstone_tag && !check(*key, *value)) {
      return corruption("a piece of a shard has a wrong checksum");
    }
    batch.Put(leveldb::Slice(key->data(), key->size()),
              leveldb::Slice(value->data(), value->size()));
  }
  return kv_->write(batch, false);
}

}  // namespace jade
