#include "actors/home_records.h"

#include <set>

namespace jade {

Status HomeRecords::load() {
  return store_.scan_changes(0, {}, [this](HomeRecord change) {
    remember(change.version, std::move(change.id));
    return true;
  });
}

void HomeRecords::remember(uint64_t version, std::string id) {
  change_of_[id] = version;
  changes_.emplace_back(version, std::move(id));
}

Result<HomeRecords::Known> HomeRecords::find(std::string_view id) const {
  auto here = entry_.find(std::string(id));
  if (here != entry_.end()) return here->second;
  auto record = store_.find_home(id);
  if (!record.ok()) return record.status();
  if (!record->has_value()) return Known();
  return Known{(*record)->version, (*record)->cell, (*record)->valued};
}

void HomeRecords::change(RowView row, uint64_t from, ShardStore::Batch& batch) {
  row.version = meta_.next_version++;
  if (row.valued == 0) row.valued = row.version;
  batch.put_home(row, from);
  remember(row.version, std::string(row.id));
  entry_[std::string(row.id)] = {row.version, row.cell, row.valued};
}

Status HomeRecords::put(const RowView& row, ShardStore::Batch& batch) {
  if (row.cell == 0) return corruption("a vector in the log belongs to no shard");
  auto known = find(row.id);
  if (!known.ok()) return known.status();
  if (known->cell == 0) ++meta_.vectors;
  change(row, known->cell, batch);
  return {};
}

Result<bool> HomeRecords::erase(const std::string& id, std::optional<uint64_t> version,
                                ShardStore::Batch& batch) {
  auto known = find(id);
  if (!known.ok()) return known.status();
  if (known->cell == 0 || (version && *version != known->version)) return false;
  --meta_.vectors;
  RowView deleted;
  deleted.id = id;
  change(deleted, known->cell, batch);
  return true;
}

Status HomeRecords::reroute(const RerouteCommand& command, ShardStore::Batch& batch) {
  for (size_t i = 0; i < command.ids.size(); ++i) {
    auto known = find(command.ids[i]);
    if (!known.ok()) return known.status();
    if (known->cell == 0 || known->valued != command.versions[i]) continue;
    if (known->cell == command.cells[i] || command.cells[i] == 0) continue;
    auto record = store_.find_home(command.ids[i]);
    if (!record.ok()) return record.status();
    // No entry both brings ids into being and reroutes.
    JADE_ASSERT(record->has_value());
    change({(*record)->id, (*record)->values, (*record)->metadata, command.cells[i]}, known->cell,
           batch);
  }
  return {};
}

void HomeRecords::forwarded(uint64_t through, ShardStore::Batch& batch) {
  while (!changes_.empty() && changes_.front().first <= through) {
    const auto& [version, id] = changes_.front();
    batch.forget_change(version);
    auto last = change_of_.find(id);
    if (last->second == version) change_of_.erase(last);
    changes_.pop_front();
  }
}

Result<ForwardBatch> next_forward_batch(const ShardStore& store, uint64_t after, size_t bytes_max) {
  ForwardBatch out;
  size_t bytes = 0;
  Status scanned = store.scan_changes(after, {}, [&](HomeRecord change) {
    bytes += change.id.size() + change.values.size() + change.metadata.size() + 64;
    if (bytes > bytes_max && !out.changes.empty()) return false;
    out.changes.push_back(std::move(change));
    return true;
  });
  JADE_RETURN_IF_ERROR(scanned);
  if (out.changes.empty()) return out;
  out.through = out.changes.back().version;
  // An earlier attempt may have brought any of the changes to its cell.
  std::map<std::string_view, std::pair<const HomeRecord*, std::set<uint64_t>>> last;
  for (const HomeRecord& change : out.changes) {
    auto& [newest, cells] = last[change.id];
    newest = &change;
    cells.insert(change.from);
    cells.insert(change.cell);
  }
  for (const auto& [id, entry] : last) {
    const auto& [newest, cells] = entry;
    if (newest->cell != 0) out.take[newest->cell].push_back(newest);
    for (uint64_t cell : cells) {
      if (cell != 0 && cell != newest->cell) out.give_up[cell].push_back(newest);
    }
  }
  return out;
}

}  // namespace jade
