#include "index/growing_segment.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace jade {
namespace {

constexpr uint32_t block_rows_max = 4096;
constexpr size_t block_bytes_max = 1 << 20;
constexpr size_t text_bytes = 64 << 10;
// Put into lists before searches hear of them.
constexpr uint32_t listed_at_once = 512;

}  // namespace

GrowingSegment::GrowingSegment(uint32_t dimension, Metric metric, Datatype datatype,
                               uint32_t listed_from, uint32_t listed_rows_min)
    : Segment(dimension, metric, datatype),
      listed_from_(std::max(listed_from, listed_rows_min)),
      worth_listing_(std::max(1u, listed_rows_min / 2)),
      metadata_(*this, worth_listing_) {
  size_t fitting = block_bytes_max / std::max<size_t>(format().row_bytes(), 1) / first_block_rows;
  size_t most = block_rows_max / first_block_rows;
  doublings_ = static_cast<uint32_t>(std::bit_width(std::clamp<size_t>(fitting, 1, most)) - 1);
}

GrowingSegment::~GrowingSegment() = default;

GrowingSegment::Place GrowingSegment::place(uint32_t offset) const {
  // The doubling blocks hold 64, 128, ... rows, 64 × (2^doublings - 1) together.
  uint32_t unit = offset / first_block_rows + 1;
  uint32_t full = uint32_t{1} << doublings_;
  if (unit < full) {
    auto block = static_cast<uint32_t>(std::bit_width(unit) - 1);
    return {block, offset - first_block_rows * ((uint32_t{1} << block) - 1)};
  }
  uint32_t beyond = offset - first_block_rows * (full - 1);
  uint32_t block_rows = first_block_rows * full;
  return {doublings_ + size_t{beyond / block_rows}, beyond % block_rows};
}

void GrowingSegment::append(uint64_t row_number, std::string_view id_key, const float* values,
                            std::string_view metadata) {
  if (format().datatype() == Datatype::float32) {
    return append(row_number, id_key, reinterpret_cast<const char*>(values), metadata);
  }
  std::vector<char> stored(format().row_bytes());
  store_values(format().datatype(), values, dimension(), stored.data());
  append(row_number, id_key, stored.data(), metadata);
}

void GrowingSegment::append(uint64_t row_number, std::string_view id_key, const char* stored,
                            std::string_view metadata) {
  uint32_t offset = count_.load(std::memory_order_relaxed);
  Place where = place(offset);
  JADE_ASSERT(offset == 0 || row_number > about(offset - 1).number);
  JADE_ASSERT(where.block / group_blocks < groups_.size());
  auto& group = groups_[where.block / group_blocks];
  if (!group) group = std::make_unique<Group>();
  Block& block = (*group)[where.block % group_blocks];
  if (!block.rows) {
    size_t rows = size_t{first_block_rows} << std::min<size_t>(where.block, doublings_);
    block.vectors.reset(new char[rows * format().row_bytes()]);
    if (format().scaled()) block.scales.reset(new float[rows]);
    block.rows.reset(new Row[rows]);
  }
  char* vector = block.vectors.get() + where.at * format().row_bytes();
  std::memcpy(vector, stored, format().row_bytes());
  if (format().scaled()) {
    block.scales[where.at] = format().scale(vector);
  } else if (metric() == Metric::cosine) {
    normalise(reinterpret_cast<float*>(vector), dimension());
  }

  char* text = take_text(id_key.size() + metadata.size());
  std::copy(id_key.begin(), id_key.end(), text);
  std::copy(metadata.begin(), metadata.end(), text + id_key.size());
  block.rows[where.at] = {row_number, text, static_cast<uint32_t>(id_key.size()),
                          static_cast<uint32_t>(metadata.size())};
  count_.store(offset + 1, std::memory_order_release);
}

bool GrowingSegment::wants_lists() const {
  const uint32_t count = rows();
  return count >= listed_from_ && count >= listed() + worth_listing_ && !unlistable_;
}

void GrowingSegment::extend(const std::atomic<bool>* ended) {
  auto is_ended = [&] { return ended != nullptr && *ended; };
  while (wants_extending() && !is_ended()) {
    extend_lists(ended);
    if (wants_metadata() && !is_ended()) metadata_.extend(rows());
  }
}

std::optional<Selection> GrowingSegment::select(const Filter& filter) const {
  filtered_ = true;
  if (metadata_.indexed() == 0) return std::nullopt;
  return metadata_.select(filter);
}

void GrowingSegment::extend_lists(const std::atomic<bool>* ended) {
  if (!wants_lists()) return;
  if (!lists_) lists_ = std::make_unique<GrowingLists>(*this);
  for (uint32_t done = listed(); done < rows();) {
    if (ended != nullptr && *ended) return;
    const uint32_t next = std::min(rows(), done + listed_at_once);
    if (!lists_->add(done, next)) {
      unlistable_ = true;
      return listed_.store(0, std::memory_order_release);
    }
    listed_.store(done = next, std::memory_order_release);
  }
}

char* GrowingSegment::take_text(size_t size) {
  if (size > text_left_) {
    // Small at first, as blocks are; a long text gets memory of its own size.
    size_t taken =
        std::max(size, std::min(text_bytes, size_t{1024} << std::min<size_t>(texts_.size(), 6)));
    texts_.emplace_back(new char[taken]);
    text_next_ = texts_.back().get();
    text_left_ = taken;
  }
  char* out = text_next_;
  text_next_ += size;
  text_left_ -= size;
  return out;
}

const GrowingSegment::Row& GrowingSegment::about(uint32_t offset) const {
  Place where = place(offset);
  return block(where.block).rows[where.at];
}

uint64_t GrowingSegment::row_number(uint32_t offset) const { return about(offset).number; }

std::string_view GrowingSegment::id_view(uint32_t offset) const {
  const Row& found = about(offset);
  return {found.text, found.id_size};
}

const char* GrowingSegment::row(uint32_t offset) const {
  Place where = place(offset);
  return block(where.block).vectors.get() + where.at * format().row_bytes();
}

float GrowingSegment::scale(uint32_t offset) const {
  if (!format().scaled()) return 1;
  Place where = place(offset);
  return block(where.block).scales[where.at];
}

std::string_view GrowingSegment::metadata(uint32_t offset) const {
  const Row& found = about(offset);
  return {found.text + found.id_size, found.metadata_size};
}

std::optional<uint32_t> GrowingSegment::find(uint64_t wanted) const {
  uint32_t low = 0, end = rows();
  for (uint32_t high = end; low < high;) {
    uint32_t middle = low + (high - low) / 2;
    if (row_number(middle) < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low < end && row_number(low) == wanted) return low;
  return std::nullopt;
}

}  // namespace jade
