#include "index/growing_metadata.h"

#include <utility>

#include "index/metadata_index.h"
#include "index/sealed_segment.h"

namespace jade {
namespace {

TextColumn metadata_of(const Segment& segment, uint32_t begin, uint32_t end) {
  TextColumn out;
  for (uint32_t row = begin; row < end; ++row) out.append(segment.metadata(row));
  return out;
}

}  // namespace

struct GrowingMetadata::Part {
  Part(const Segment& segment, uint32_t first, uint32_t last)
      : begin(first), end(last), metadata(metadata_of(segment, first, last)), index(metadata) {}

  const uint32_t begin;
  const uint32_t end;
  const TextColumn metadata;
  const MetadataIndex index;
};

GrowingMetadata::GrowingMetadata(const Segment& segment, uint32_t step)
    : segment_(segment), step_(step), parts_(std::make_shared<const Parts>()) {
  JADE_ASSERT(step > 0);
}

GrowingMetadata::~GrowingMetadata() = default;

std::shared_ptr<const GrowingMetadata::Parts> GrowingMetadata::now() const {
  std::lock_guard lock(mutex_);
  return parts_;
}

uint32_t GrowingMetadata::level(uint32_t rows) const {
  uint32_t out = 0;
  for (uint64_t size = step_; size * parts_max <= rows; size *= parts_max) ++out;
  return out;
}

void GrowingMetadata::extend(uint32_t rows) {
  if (!wants_extending(rows)) return;
  auto parts = std::make_shared<Parts>(*now());
  uint32_t begin = indexed();
  const uint32_t end = begin + (rows - begin) / step_ * step_;
  // Parts are the smaller the later they come.
  for (bool grown = true; grown;) {
    grown = false;
    const uint32_t of_new = level(end - begin);
    auto take_last = [&] {
      begin = parts->back()->begin;
      parts->pop_back();
      grown = true;
    };
    auto level_of = [&](size_t i) { return level((*parts)[i]->end - (*parts)[i]->begin); };
    while (!parts->empty() && level_of(parts->size() - 1) < of_new) take_last();
    size_t equal = 0;
    while (equal < parts->size() && level_of(parts->size() - 1 - equal) == of_new) ++equal;
    if (equal + 1 < parts_max) continue;
    for (; equal > 0; --equal) take_last();
  }
  parts->push_back(std::make_shared<const Part>(segment_, begin, end));
  {
    std::lock_guard lock(mutex_);
    parts_ = std::move(parts);
  }
  indexed_.store(end, std::memory_order_release);
}

Selection GrowingMetadata::select(const Filter& filter) const {
  // In this order: rows come, and parts with them, meanwhile.
  const auto parts = now();
  const uint32_t rows = segment_.rows();
  Selection out{Bitmap(rows), Bitmap(rows)};
  uint32_t end = 0;
  bool all = true;
  for (const auto& part : *parts) {
    Selection found = part->index.select(filter);
    out.sure.add_at(part->begin, found.sure);
    out.maybe->add_at(part->begin, found.widest());
    all = all && !found.maybe;
    end = part->end;
  }
  JADE_ASSERT(end <= rows);
  if (all && end == rows) {
    out.maybe.reset();
  } else {
    out.maybe->add_range(end, rows);
  }
  return out;
}

}  // namespace jade
