#include "sim/ledger.h"

#include <string>

namespace jade::sim {

Ledger::Ledger(bool late_writes, Run& run, const Records& records)
    : run_(run), records_(records), versions_(late_writes), marks_(late_writes) {}

void Ledger::begin_upsert(uint64_t id, uint64_t version) {
  versions_.begin(id, {version, true});
  marks_.begin(id, {version, true});
  sent_versions_.emplace(id, version);
  sent_marks_.emplace(id, version);
}

void Ledger::begin_revision(uint64_t id, uint64_t version) {
  versions_.begin(id, {version, true});
  sent_versions_.emplace(id, version);
}

void Ledger::begin_marking(uint64_t id, uint64_t mark) {
  marks_.begin(id, {mark, true});
  sent_marks_.emplace(id, mark);
}

void Ledger::begin_delete(uint64_t id, uint64_t version) {
  versions_.begin(id, {version, false});
  marks_.begin(id, {version, false});
  ++deletions_[id];
}

void Ledger::acknowledge(const Numbers& written) {
  for (auto [id, version] : written) {
    versions_.acknowledge(id, version);
    marks_.acknowledge(id, version);
  }
}

void Ledger::acknowledge_update(const Numbers& revised, const Numbers& marked,
                                const std::set<uint64_t>& missing) {
  acknowledge(versions_, revised, missing);
  acknowledge(marks_, marked, missing);
}

void Ledger::acknowledge(Model& model, const Numbers& written, const std::set<uint64_t>& missing) {
  for (auto [id, number] : written) {
    if (missing.count(id) == 0) {
      model.acknowledge(id, number);
    } else {
      model.discard(id, number);
      observe_nothing(id);
    }
  }
}

void Ledger::observe(uint64_t id, const StoredVector& found) {
  auto state = state_of(id, found.metadata);
  if (!state || !records_.holds(found, id, state->version)) {
    return run_.fail("id " + std::to_string(id) + " holds what nobody wrote: " + found.metadata);
  }
  observe_state(id, *state);
}

void Ledger::observe_state(uint64_t id, RecordState state) {
  ++run_.report().reads_checked;
  std::string wrong = versions_.observe(id, {state.version, true});
  if (wrong.empty()) {
    wrong = marks_.observe(id, {state.mark, true});
    if (!wrong.empty()) wrong = "by marks, " + wrong;
  }
  if (!wrong.empty()) run_.fail(wrong);
}

void Ledger::observe_past(uint64_t id, RecordState state) {
  ++run_.report().reads_checked;
  if (sent_versions_.count({id, state.version}) + sent_marks_.count({id, state.mark}) == 2) return;
  run_.fail("id " + std::to_string(id) + " shows version " + std::to_string(state.version) +
            " and mark " + std::to_string(state.mark) + ", which nobody has written yet");
}

void Ledger::observe_nothing(uint64_t id) {
  ++run_.report().reads_checked;
  std::string wrong = versions_.observe(id, {0, false});
  if (wrong.empty()) wrong = marks_.observe(id, {0, false});
  if (!wrong.empty()) run_.fail(wrong);
}

std::vector<std::pair<uint64_t, uint64_t>> Ledger::staying() const {
  std::vector<std::pair<uint64_t, uint64_t>> out;
  for (uint64_t id : versions_.staying()) out.emplace_back(id, deletions_of(id));
  return out;
}

bool Ledger::exists(uint64_t id) const {
  auto certain = versions_.certain().find(id);
  return certain != versions_.certain().end() && certain->second.exists;
}

uint64_t Ledger::deletions_of(uint64_t id) const {
  auto found = deletions_.find(id);
  return found == deletions_.end() ? 0 : found->second;
}

void Ledger::settle() {
  versions_.settle();
  marks_.settle();
}

void Ledger::unsettle() {
  versions_.unsettle();
  marks_.unsettle();
}

}  // namespace jade::sim
