#include "index/segment_builder.h"

#include <algorithm>
#include <optional>
#include <span>

#include "index/cancel.h"
#include "index/hnsw_builder.h"
#include "index/intrinsic_dimension.h"
#include "index/ivf.h"
#include "index/row_copies.h"
#include "index/row_order.h"
#include "index/scalar_codes.h"

namespace jade {
namespace {

Status cancelled() { return unavailable("cancelled"); }

bool is_dead(const BuildInput& input, uint32_t row) {
  return input.dead && row < input.dead->size() && input.dead->test(row);
}

uint32_t live_rows(const BuildInput& input) {
  uint32_t live = input.visible;
  for (uint32_t row = 0; input.dead && row < input.visible; ++row) live -= is_dead(input, row);
  return live;
}

IndexKind kind_for(uint64_t rows, const BuildOptions& options) {
  if (rows < indexed_rows_min) return IndexKind::flat;
  if (options.index.kind != IndexKind::automatic) return options.index.kind;
  bool few = rows * options.dimension * element_bytes(options.datatype) < auto_flat_bytes;
  return few ? IndexKind::flat : IndexKind::hnsw;
}

// The graph of an input that is worth extending; null when none is.
const SealedSegment* graph_to_extend(const BuildInput& largest, uint32_t live, uint64_t total_live,
                                     const BuildOptions& options) {
  const auto* sealed = dynamic_cast<const SealedSegment*>(largest.segment.get());
  if (sealed == nullptr || sealed->graph() == nullptr || largest.visible != sealed->rows() ||
      sealed->options().m != options.index.m ||
      sealed->options().ef_construction != options.index.ef_construction) {
    return nullptr;
  }
  // A segment that is rebuilt alone is to lose its dead rows.
  uint64_t dead = largest.visible - live;
  bool alone = total_live == live;
  return dead * 5 < largest.visible && (!alone || dead == 0) ? sealed : nullptr;
}

// A row of an input.
struct Source {
  const Segment* segment;
  uint32_t row;
};

// Every visible row; the live ones only where `live_only`.
void append_rows(const BuildInput& input, bool live_only, std::vector<Source>& out) {
  for (uint32_t row = 0; row < input.visible; ++row) {
    if (!live_only || !is_dead(input, row)) out.push_back({input.segment.get(), row});
  }
}

bool is_in_memory(const BuildInput& input) {
  const auto* sealed = dynamic_cast<const SealedSegment*>(input.segment.get());
  return sealed == nullptr || sealed->stored() == nullptr;
}

// Puts rows in memory that are near each other together, and those that are equal to others
// behind all the rest: where many are equally far from a query, walks go to the first of them.
void put_near_together(std::span<Source> sources, const RowFormat& format,
                       const BuildOptions& options) {
  auto read = [&](uint32_t row, float* out) {
    const Source& from = sources[row];
    format.to_floats(from.segment->row(from.row), out);
  };
  const auto count = static_cast<uint32_t>(sources.size());
  auto order = nearness_order(count, format.dimension(), options.seed, options.workers,
                              options.cancel, read);
  auto bytes = [&](uint32_t row, std::string&) -> std::string_view {
    return {sources[row].segment->row(sources[row].row), format.row_bytes()};
  };
  std::vector<bool> is_copy(count);
  for (const RowCopies& same : find_copies(count, options.workers, options.cancel, bytes)) {
    for (uint32_t row : same.copies) is_copy[row] = true;
  }
  std::stable_partition(order.begin(), order.end(), [&](uint32_t row) { return !is_copy[row]; });
  std::vector<Source> ordered;
  ordered.reserve(order.size());
  for (uint32_t row : order) ordered.push_back(sources[row]);
  std::copy(ordered.begin(), ordered.end(), sources.begin());
}

// Gathers the columns; vectors in memory, or through `writer` where it is not null.
Result<SegmentColumns> gather(const std::vector<Source>& sources, const RowFormat& format,
                              VectorWriter* writer, const BuildOptions& options) {
  const size_t row_bytes = format.row_bytes();
  SegmentColumns columns;
  columns.datatype = format.datatype();
  if (writer == nullptr) columns.vectors = LargeArray<char>(sources.size() * row_bytes);
  columns.row_numbers.reserve(sources.size());
  std::vector<char> written(row_bytes);
  for (size_t i = 0; i < sources.size(); ++i) {
    if (i % 4096 == 0 && is_cancelled(options.cancel)) return cancelled();
    const auto [segment, row] = sources[i];
    char* out = writer == nullptr ? columns.vectors.data() + i * row_bytes : written.data();
    JADE_RETURN_IF_ERROR(segment->read_row(row, out));
    const uint64_t number = segment->row_number(row);
    if (writer != nullptr) JADE_RETURN_IF_ERROR(writer->append(number, out));
    columns.row_numbers.push_back(number);
    columns.ids.append(segment->id_view(row));
    columns.metadata.append(segment->metadata(row));
  }
  return columns;
}

RowFormat format_of(const BuildOptions& options) {
  return {options.metric, options.dimension, options.datatype};
}

// Takes stored vectors into memory.
Status fetch(SegmentColumns& columns, const BuildOptions& options) {
  auto n = static_cast<uint32_t>(columns.row_numbers.size());
  columns.vectors = LargeArray<char>(n * format_of(options).row_bytes());
  JADE_RETURN_IF_ERROR(
      columns.stored->read(0, n, columns.row_numbers.data(), columns.vectors.data()));
  columns.stored.reset();
  return {};
}

EuclideanRows points_of(const SegmentColumns& columns, const BuildOptions& options) {
  const RowFormat format = format_of(options);
  if (columns.stored) return {*columns.stored, columns.row_numbers.data(), format};
  return {columns.vectors.data(), static_cast<uint32_t>(columns.row_numbers.size()), format};
}

// `nprobe`: where 0, gets what was measured.
std::optional<InvertedLists> lists_of(const SegmentColumns& columns, uint32_t n,
                                      const BuildOptions& options, uint32_t& nprobe) {
  const RowFormat format = format_of(options);
  const auto* vectors = reinterpret_cast<const float*>(columns.vectors.data());
  LargeArray<float> floats;
  if (format.datatype() != Datatype::float32) {
    floats.resize(size_t{n} * options.dimension);
    for (uint32_t i = 0; i < n; ++i) {
      format.to_floats(columns.vectors.data() + i * format.row_bytes(),
                       floats.data() + size_t{i} * options.dimension);
    }
    vectors = floats.data();
  }
  auto lists = build_lists(vectors, n, options.dimension, options.index.nlist, options.seed,
                           options.workers, options.cancel);
  if (!lists || nprobe != 0) return lists;
  auto measured = measure_nprobe(*lists, vectors, n, options.dimension, options.metric,
                                 options.workers, options.cancel);
  if (!measured) return std::nullopt;
  nprobe = *measured;
  return lists;
}

// Links the rows from graph->rows() on, and makes the codes to walk by.
Status build_graph(SegmentColumns& columns, const BuildOptions& options) {
  auto points = points_of(columns, options);
  // The same graph, whatever it is to be walked by.
  auto codes = ScalarCodes::of(points, options.metric, options.workers);
  JADE_RETURN_IF_ERROR(points.status());
  if (codes == nullptr && columns.stored) {
    // To be linked by values, and walked by them unless there are other codes.
    JADE_RETURN_IF_ERROR(fetch(columns, options));
    points = points_of(columns, options);
  }
  if (!add_rows(*columns.graph, points, codes.get(), options.seed, options.workers,
                options.cancel)) {
    return cancelled();
  }
  // Under dot the nearest in the graph are others than the best.
  if (codes != nullptr && options.metric != Metric::dot) {
    columns.intrinsic_dimension = intrinsic_dimension(*columns.graph, *codes, options.workers);
  }
  if (options.index.quantization == Quantization::sq8) {
    columns.codes = std::move(codes);
  } else {
    codes.reset();
    columns.codes =
        RowCodes::of(options.index.quantization, points, options.metric, options.workers);
    JADE_RETURN_IF_ERROR(points.status());
    if (columns.codes == nullptr && columns.stored) return fetch(columns, options);
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const SealedSegment>> build_segment(const std::vector<BuildInput>& inputs,
                                                           const BuildOptions& options) {
  uint64_t live = 0;
  uint32_t largest_live = 0;
  const BuildInput* largest = nullptr;
  for (const BuildInput& input : inputs) {
    if (input.segment->format() != format_of(options) || input.visible > input.segment->rows()) {
      return invalid_argument("a segment to merge has another dimension, metric, datatype or size");
    }
    if (is_cancelled(options.cancel)) return cancelled();
    uint32_t input_live = live_rows(input);
    live += input_live;
    if (largest == nullptr || input.visible > largest->visible) {
      largest = &input;
      largest_live = input_live;
    }
  }
  const IndexKind kind = kind_for(live, options);
  const bool indexed = kind != IndexKind::flat, hnsw = kind == IndexKind::hnsw;
  const SealedSegment* base =
      hnsw ? graph_to_extend(*largest, largest_live, live, options) : nullptr;
  uint64_t rows = base != nullptr ? live - largest_live + largest->visible : live;
  if (rows > INT32_MAX) return invalid_argument("a segment holds at most 2^31 - 1 rows");

  std::unique_ptr<VectorWriter> writer;
  if (hnsw && options.index.vectors == VectorPlace::disk && options.store_vectors) {
    auto made = options.store_vectors();
    if (!made.ok()) return made.status();
    writer = std::move(*made);
  }
  std::vector<Source> sources;
  sources.reserve(rows);
  // Rows of a graph keep their places.
  if (base != nullptr) append_rows(*largest, false, sources);
  const size_t kept = sources.size();
  bool in_memory = true;
  for (const BuildInput& input : inputs) {
    if (base != nullptr && &input == largest) continue;
    append_rows(input, true, sources);
    in_memory = in_memory && is_in_memory(input);
  }
  // From disk they are best read in their order.
  if (hnsw && in_memory) {
    put_near_together(std::span(sources).subspan(kept), format_of(options), options);
  }
  auto gathered = gather(sources, format_of(options), writer.get(), options);
  if (!gathered.ok()) return gathered.status();
  SegmentColumns& columns = *gathered;
  std::vector<Source>().swap(sources);  // gives its memory back

  auto n = static_cast<uint32_t>(rows);
  if (writer) {
    auto stored = writer->finish();
    if (!stored.ok()) return stored.status();
    columns.stored = std::move(*stored);
  }
  IndexOptions index = options.index;
  if (hnsw) {
    columns.graph = base != nullptr ? std::make_unique<HnswGraph>(*base->graph())
                                    : std::make_unique<HnswGraph>(options.index.m,
                                                                  options.index.ef_construction);
    JADE_RETURN_IF_ERROR(build_graph(columns, options));
  } else if (indexed) {
    auto lists = lists_of(columns, n, options, index.nprobe);
    if (!lists) return cancelled();
    columns.lists = std::make_unique<InvertedLists>(std::move(*lists));
  }
  auto built = std::make_shared<const SealedSegment>(options.dimension, options.metric, index,
                                                     std::move(columns));
  // Here, so that no search has to wait for it.
  built->metadata_index();
  return built;
}

}  // namespace jade
