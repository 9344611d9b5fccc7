#include "index/segment_builder.h"

#include <algorithm>
#include <cstring>

#include "index/hnsw_builder.h"
#include "index/ivf.h"
#include "index/scalar_codes.h"

namespace jade {
namespace {

Status cancelled() { return unavailable("cancelled"); }

bool is_cancelled(const BuildOptions& options) {
  return options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed);
}

bool is_dead(const BuildInput& input, uint32_t row) {
  return input.dead && row < input.dead->size() && input.dead->test(row);
}

uint32_t live_rows(const BuildInput& input) {
  uint32_t live = input.visible;
  for (uint32_t row = 0; input.dead && row < input.visible; ++row) live -= is_dead(input, row);
  return live;
}

// The graph of an input that is worth extending; null when none is.
const SealedSegment* graph_to_extend(const BuildInput& largest, uint32_t live, uint64_t total_live,
                                     const BuildOptions& options) {
  const auto* sealed = dynamic_cast<const SealedSegment*>(largest.segment.get());
  if (options.index.kind != IndexKind::hnsw || sealed == nullptr || sealed->graph() == nullptr ||
      largest.visible != sealed->rows() || sealed->options().m != options.index.m ||
      sealed->options().ef_construction != options.index.ef_construction) {
    return nullptr;
  }
  // A segment that is rebuilt alone is to lose its dead rows.
  uint64_t dead = largest.visible - live;
  bool alone = total_live == live;
  return dead * 5 < largest.visible && (!alone || dead == 0) ? sealed : nullptr;
}

class Rows {
 public:
  Rows(uint64_t rows, uint32_t dimension) : dimension_(dimension) {
    columns_.vectors = LargeArray<float>(rows * dimension);
    columns_.row_numbers.reserve(rows);
  }

  // Every visible row; the live ones only where `live_only`. False: cancelled.
  bool add(const BuildInput& input, bool live_only, const BuildOptions& options) {
    const Segment& segment = *input.segment;
    for (uint32_t row = 0; row < input.visible; ++row) {
      if (row % 4096 == 0 && is_cancelled(options)) return false;
      if (live_only && is_dead(input, row)) continue;
      size_t at = columns_.row_numbers.size();
      std::memcpy(columns_.vectors.data() + at * dimension_, segment.vector(row),
                  dimension_ * sizeof(float));
      columns_.row_numbers.push_back(segment.row_number(row));
      columns_.ids.append(segment.id_view(row));
      columns_.metadata.append(segment.metadata(row));
    }
    return true;
  }
  SegmentColumns& columns() { return columns_; }

 private:
  uint32_t dimension_;
  SegmentColumns columns_;
};

}  // namespace

Result<std::shared_ptr<const SealedSegment>> build_segment(const std::vector<BuildInput>& inputs,
                                                           const BuildOptions& options) {
  uint64_t live = 0;
  uint32_t largest_live = 0;
  const BuildInput* largest = nullptr;
  for (const BuildInput& input : inputs) {
    if (input.segment->dimension() != options.dimension ||
        input.segment->metric() != options.metric || input.visible > input.segment->rows()) {
      return invalid_argument("a segment to merge has another dimension, metric or size");
    }
    if (is_cancelled(options)) return cancelled();
    uint32_t input_live = live_rows(input);
    live += input_live;
    if (largest == nullptr || input.visible > largest->visible) {
      largest = &input;
      largest_live = input_live;
    }
  }
  bool indexed = live >= indexed_rows_min && options.index.kind != IndexKind::flat;
  const SealedSegment* base =
      indexed ? graph_to_extend(*largest, largest_live, live, options) : nullptr;
  uint64_t rows = base != nullptr ? live - largest_live + largest->visible : live;
  if (rows > INT32_MAX) return invalid_argument("a segment holds at most 2^31 - 1 rows");

  Rows gathered(rows, options.dimension);
  // Rows of a graph keep their places.
  if (base != nullptr && !gathered.add(*largest, false, options)) return cancelled();
  for (const BuildInput& input : inputs) {
    if (base != nullptr && &input == largest) continue;
    if (!gathered.add(input, true, options)) return cancelled();
  }

  SegmentColumns& columns = gathered.columns();
  auto n = static_cast<uint32_t>(rows);
  if (indexed && options.index.kind == IndexKind::hnsw) {
    columns.graph = base != nullptr ? std::make_unique<HnswGraph>(*base->graph())
                                    : std::make_unique<HnswGraph>(options.index.m,
                                                                  options.index.ef_construction);
    EuclideanRows points(columns.vectors.data(), n, Distance(options.metric, options.dimension));
    // The same graph, whatever it is to be walked by.
    auto codes = ScalarCodes::of(points, options.metric);
    if (!add_rows(*columns.graph, points, codes.get(), options.seed, options.cancel)) {
      return cancelled();
    }
    if (options.index.quantization == Quantization::sq8) {
      columns.codes = std::move(codes);
    } else {
      codes.reset();
      columns.codes = RowCodes::of(options.index.quantization, points, options.metric);
    }
  } else if (indexed) {
    auto lists = build_lists(columns.vectors.data(), n, options.dimension, options.index.nlist,
                             options.seed, options.cancel);
    if (!lists) return cancelled();
    columns.lists = std::make_unique<InvertedLists>(std::move(*lists));
  }
  auto built = std::make_shared<const SealedSegment>(options.dimension, options.metric,
                                                     options.index, std::move(columns));
  // Here, so that no search has to wait for it.
  built->metadata_index();
  return built;
}

}  // namespace jade
