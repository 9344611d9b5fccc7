#include "index/matches.h"

#include <utility>

namespace jade {
namespace {

// Undecided rows looked at to find out how many match; as many are decided at once.
constexpr uint32_t sample_rows = 256;

void limit(Bitmap& rows, const SegmentView& view) {
  rows.keep_below(view.visible);
  if (view.dead) rows.remove(*view.dead);
}

}  // namespace

Matches::Matches(const SegmentView& view, Selection rows, const Filter& filter)
    : segment_(*view.segment), filter_(filter), rows_(std::move(rows)) {
  limit(rows_.sure, view);
  count_ = rows_.sure.count();
  if (!rows_.maybe) return;
  limit(*rows_.maybe, view);
  Bitmap undecided = *rows_.maybe;
  undecided.remove(rows_.sure);
  const uint64_t open = undecided.count();
  if (open <= sample_rows) {
    undecided.visit([&](size_t row) {
      if (read(row)) rows_.sure.set(row);
    });
    rows_.maybe.reset();
    count_ = rows_.sure.count();
    return;
  }
  undecided_ = open;
  // Evenly spaced, so that the same search is planned alike.
  uint32_t looked = 0, matched = 0;
  for (size_t i = 0; i < sample_rows; ++i) {
    size_t row = undecided.next(i * view.visible / sample_rows);
    if (row == undecided.size()) break;
    ++looked;
    matched += read(row) ? 1 : 0;
  }
  count_ += static_cast<uint64_t>(static_cast<double>(open) * (matched + 0.5) / (looked + 0.5));
}

}  // namespace jade
