#include "index/sealed_segment.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "index/growing_lists.h"
#include "index/hnsw_graph.h"
#include "index/ivf.h"
#include "index/metadata_index.h"

namespace jade {

void TextColumn::append(std::string_view text) {
  if (rows == 0) width = text.size();
  if (ends.empty() && text.size() != width) {
    ends.reserve(std::max<uint64_t>(rows + 1, 1024));
    for (uint64_t i = 1; i <= rows; ++i) ends.push_back(i * width);
    width = 0;
  }
  bytes += text;
  if (width != text.size() || !ends.empty()) ends.push_back(bytes.size());
  ++rows;
}

SealedSegment::SealedSegment(uint32_t dimension, Metric metric, const IndexOptions& options,
                             SegmentColumns columns)
    : Segment(dimension, metric, columns.datatype),
      options_(options),
      columns_(std::move(columns)) {
  const auto& numbers = columns_.row_numbers;
  if (columns_.stored) {
    JADE_ASSERT(columns_.stored->rows() == numbers.size() && columns_.graph && columns_.codes);
    JADE_ASSERT(columns_.vectors.empty());
  } else {
    JADE_ASSERT(columns_.vectors.size() == numbers.size() * format().row_bytes());
  }
  if (format().scaled() && !columns_.stored) {
    scales_.reserve(numbers.size());
    for (uint32_t i = 0; i < numbers.size(); ++i) scales_.push_back(format().scale(row(i)));
  }
  if (columns_.lists) coded_lists_ = GrowingLists::of(*this, *columns_.lists);
  JADE_ASSERT(columns_.ids.rows == numbers.size() && columns_.metadata.rows == numbers.size());
  if (std::is_sorted(numbers.begin(), numbers.end())) return;
  by_row_number_.resize(numbers.size());
  std::iota(by_row_number_.begin(), by_row_number_.end(), 0);
  std::sort(by_row_number_.begin(), by_row_number_.end(),
            [&](uint32_t a, uint32_t b) { return numbers[a] < numbers[b]; });
}

SealedSegment::~SealedSegment() = default;

std::optional<uint32_t> SealedSegment::find(uint64_t wanted) const {
  const auto& numbers = columns_.row_numbers;
  if (by_row_number_.empty()) {
    auto found = std::lower_bound(numbers.begin(), numbers.end(), wanted);
    if (found == numbers.end() || *found != wanted) return std::nullopt;
    return static_cast<uint32_t>(found - numbers.begin());
  }
  auto found = std::lower_bound(by_row_number_.begin(), by_row_number_.end(), wanted,
                                [&](uint32_t offset, uint64_t w) { return numbers[offset] < w; });
  if (found == by_row_number_.end() || numbers[*found] != wanted) return std::nullopt;
  return *found;
}

Status SealedSegment::read_row(uint32_t offset, char* out) const {
  if (!columns_.stored) return Segment::read_row(offset, out);
  return columns_.stored->read(offset, 1, &columns_.row_numbers[offset], out);
}

IndexKind SealedSegment::kind() const {
  if (columns_.graph) return IndexKind::hnsw;
  if (columns_.lists) return IndexKind::ivf;
  return IndexKind::flat;
}

std::optional<Selection> SealedSegment::select(const Filter& filter) const {
  return metadata_index().select(filter);
}

bool SealedSegment::lengths_differ() const {
  constexpr uint32_t looked_at = 1000;
  // Squares of lengths are as good as equal from this share on.
  constexpr float equal_squares = 0.98f;
  if (metric() != Metric::dot || rows() == 0) return false;
  if (stored() != nullptr) return true;
  std::call_once(lengths_once_, [&] {
    const Distance distance(Metric::dot, dimension());
    std::vector<float> values(dimension());
    float shortest = std::numeric_limits<float>::infinity(), longest = 0;
    const uint32_t some = std::min(rows(), looked_at);
    for (uint32_t i = 0; i < some; ++i) {
      format().to_floats(row(static_cast<uint32_t>(uint64_t{i} * rows() / some)), values.data());
      const float square = -distance(values.data(), values.data());
      shortest = std::min(shortest, square);
      longest = std::max(longest, square);
    }
    lengths_differ_ = shortest < equal_squares * longest;
  });
  return lengths_differ_;
}

const MetadataIndex& SealedSegment::metadata_index() const {
  std::call_once(metadata_index_once_, [this] {
    metadata_index_ = std::make_unique<const MetadataIndex>(columns_.metadata);
    metadata_index_bytes_ = metadata_index_->memory_bytes();
  });
  return *metadata_index_;
}

std::shared_ptr<const Calibration> SealedSegment::calibration() const {
  std::lock_guard lock(calibration_mutex_);
  return calibration_;
}

void SealedSegment::set_calibration(std::shared_ptr<const Calibration> calibration) const {
  std::lock_guard lock(calibration_mutex_);
  calibration_ = std::move(calibration);
}

size_t SealedSegment::memory_bytes() const {
  size_t bytes = columns_.vectors.size() + scales_.size() * sizeof(float) +
                 columns_.ids.bytes.size() + columns_.metadata.bytes.size() +
                 rows() * sizeof(uint64_t) +
                 (columns_.ids.ends.size() + columns_.metadata.ends.size()) * sizeof(uint64_t) +
                 by_row_number_.size() * sizeof(uint32_t) + metadata_index_bytes_;
  if (columns_.graph) bytes += columns_.graph->memory_bytes();
  if (columns_.codes) bytes += columns_.codes->memory_bytes();
  if (columns_.lists) bytes += columns_.lists->memory_bytes();
  if (coded_lists_) bytes += coded_lists_->now()->memory_bytes();
  return bytes;
}

}  // namespace jade
