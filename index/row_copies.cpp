#include "index/row_copies.h"

#include <algorithm>
#include <utility>

#include "index/cancel.h"

namespace jade {
namespace {

constexpr size_t rows_per_range = 1024;

}  // namespace

std::vector<RowCopies> find_copies(
    uint32_t rows, Workers* workers, const std::atomic<bool>* cancel,
    const std::function<std::string_view(uint32_t row, std::string& memory)>& bytes) {
  std::vector<std::pair<size_t, uint32_t>> hashes(rows);
  run_ranges(workers, hashes.size(), rows_per_range, [&](uint32_t, size_t begin, size_t end) {
    if (is_cancelled(cancel)) return;
    std::string memory;
    for (size_t i = begin; i < end; ++i) {
      const auto row = static_cast<uint32_t>(i);
      hashes[i] = {std::hash<std::string_view>()(bytes(row, memory)), row};
    }
  });
  if (is_cancelled(cancel)) return {};
  std::sort(hashes.begin(), hashes.end());
  std::vector<RowCopies> out;
  std::vector<RowCopies> same;  // of one hash: one, but for chance
  std::string memory_a, memory_b;
  for (size_t begin = 0, end; begin < hashes.size(); begin = end) {
    end = begin + 1;
    while (end < hashes.size() && hashes[end].first == hashes[begin].first) ++end;
    if (end == begin + 1) continue;
    same.clear();
    for (size_t i = begin; i < end; ++i) {
      const uint32_t row = hashes[i].second;
      auto found = std::find_if(same.begin(), same.end(), [&](const RowCopies& one) {
        return bytes(one.first, memory_a) == bytes(row, memory_b);
      });
      if (found == same.end()) {
        same.push_back({row, {}});
      } else {
        found->copies.push_back(row);
      }
    }
    for (RowCopies& one : same) {
      if (!one.copies.empty()) out.push_back(std::move(one));
    }
  }
  std::sort(out.begin(), out.end(),
            [](const RowCopies& a, const RowCopies& b) { return a.first < b.first; });
  return out;
}

}  // namespace jade
