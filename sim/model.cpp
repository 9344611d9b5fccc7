#include "sim/model.h"

#include <algorithm>

namespace jade::sim {
namespace {

std::string text_of(Version version) {
  return version.exists ? "version " + std::to_string(version.number) : "nothing";
}

}  // namespace

void Model::acknowledge(uint64_t id, uint64_t number) {
  auto& versions = undecided_[id];
  auto found = std::find_if(versions.begin(), versions.end(),
                            [&](const Version& v) { return v.number == number; });
  if (found == versions.end()) return;
  certain_[id] = *found;
  versions.erase(late_writes_ ? found : versions.begin(), found + 1);
}

void Model::discard(uint64_t id, uint64_t number) {
  std::erase_if(undecided_[id], [&](const Version& v) { return v.number == number; });
}

std::string Model::observe(uint64_t id, Version seen) {
  Version& certain = certain_[id];
  auto& versions = undecided_[id];
  auto same = [&](const Version& v) {
    return v.exists == seen.exists && (!v.exists || v.number == seen.number);
  };
  // Nothing was there before, so a deletion that is under way may still be.
  if (late_writes_ && !settling_ && !seen.exists && same(certain)) return "";
  auto found = std::find_if(versions.rbegin(), versions.rend(), same);
  if (found != versions.rend()) {
    // Of several undecided deletions the last is as good as any.
    certain = *found;
    bool only_this = late_writes_ && !settling_;
    versions.erase(only_this ? std::prev(found.base()) : versions.begin(), found.base());
    if (late_writes_ && settling_) versions.clear();
    return "";
  }
  if (same(certain)) {
    // What was undecided had every chance to happen before this read.
    if (!late_writes_ || settling_) versions.clear();
    return "";
  }
  std::string expected = text_of(certain);
  for (const Version& version : versions) expected += " or " + text_of(version);
  return "id " + std::to_string(id) + " shows " + text_of(seen) + "; expected " + expected;
}

std::vector<uint64_t> Model::staying() const {
  std::vector<uint64_t> out;
  for (const auto& [id, version] : certain_) {
    auto found = undecided_.find(id);
    bool stays =
        version.exists && (found == undecided_.end() ||
                           std::all_of(found->second.begin(), found->second.end(),
                                       [](const Version& undecided) { return undecided.exists; }));
    if (stays) out.push_back(id);
  }
  return out;
}

size_t Model::live() const {
  return static_cast<size_t>(std::count_if(certain_.begin(), certain_.end(),
                                           [](const auto& e) { return e.second.exists; }));
}

}  // namespace jade::sim
