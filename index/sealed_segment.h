// A segment that no longer changes, with or without an index.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "index/large_array.h"
#include "index/row_codes.h"
#include "index/segment.h"
#include "index/stored_vectors.h"

namespace jade {

struct Calibration;    // index/calibration.h
class GrowingLists;    // index/growing_lists.h
class HnswGraph;       // index/hnsw_graph.h
struct InvertedLists;  // index/ivf.h
class MetadataIndex;   // index/metadata_index.h

// Texts, one after another. Where all are equally long, their ends are not kept.
struct TextColumn {
  std::string bytes;
  std::vector<uint64_t> ends;  // empty: all are `width` long
  uint64_t width = 0;
  uint64_t rows = 0;

  void append(std::string_view text);
  std::string_view operator[](uint64_t i) const {
    uint64_t begin = ends.empty() ? i * width : i == 0 ? 0 : ends[i - 1];
    uint64_t end = ends.empty() ? begin + width : ends[i];
    return {bytes.data() + begin, end - begin};
  }
};

// What a sealed segment is made of: columns of n rows.
struct SegmentColumns {
  Datatype datatype = Datatype::float32;
  LargeArray<char> vectors;  // n × RowFormat::row_bytes(); none where they are stored
  std::shared_ptr<const StoredVectors> stored;  // with codes only; null: they are in memory
  std::vector<uint64_t> row_numbers;            // unique, not always ascending
  TextColumn ids;                               // key forms
  TextColumn metadata;
  // At most one of graph and lists.
  std::unique_ptr<HnswGraph> graph;
  std::unique_ptr<const RowCodes> codes;  // of a graph's rows; null: it is walked by values
  std::unique_ptr<InvertedLists> lists;
  float intrinsic_dimension = 0;  // of a graph's rows; 0: not known
};

class SealedSegment final : public Segment {
 public:
  // `options`: with which it was built.
  SealedSegment(uint32_t dimension, Metric metric, const IndexOptions& options,
                SegmentColumns columns);
  ~SealedSegment() override;

  uint32_t rows() const override { return static_cast<uint32_t>(columns_.row_numbers.size()); }
  uint64_t row_number(uint32_t offset) const override { return columns_.row_numbers[offset]; }
  std::string_view id_view(uint32_t offset) const override { return columns_.ids[offset]; }
  const char* row(uint32_t offset) const override {
    JADE_ASSERT(columns_.stored == nullptr);
    return columns_.vectors.data() + offset * format().row_bytes();
  }
  float scale(uint32_t offset) const override { return scales_.empty() ? 1 : scales_[offset]; }
  Status read_row(uint32_t offset, char* out) const override;
  std::string_view metadata(uint32_t offset) const override { return columns_.metadata[offset]; }
  std::optional<uint32_t> find(uint64_t row_number) const override;
  IndexKind kind() const override;
  std::optional<Selection> select(const Filter& filter) const override;

  const IndexOptions& options() const { return options_; }
  const SegmentColumns& columns() const { return columns_; }
  // Whether, under dot, some rows are near to more queries than others because they are longer.
  // Looks at some of them when it is first asked for; where they are on disk, takes it to be so.
  bool lengths_differ() const;
  // Of rows in memory; null where all are 1.
  const float* scales() const { return scales_.empty() ? nullptr : scales_.data(); }
  const HnswGraph* graph() const { return columns_.graph.get(); }
  const RowCodes* codes() const { return columns_.codes.get(); }
  // Null where vectors are in memory.
  const StoredVectors* stored() const { return columns_.stored.get(); }
  const InvertedLists* lists() const { return columns_.lists.get(); }
  // The rows of these in codes; null also where codes cannot express them.
  const GrowingLists* coded_lists() const { return coded_lists_.get(); }
  // Built when it is first asked for, while others that ask wait: most segments that
  // are opened are searched without a filter.
  const MetadataIndex& metadata_index() const;
  // What its searches find; null where it was not measured yet. Any thread may read and set.
  std::shared_ptr<const Calibration> calibration() const;
  void set_calibration(std::shared_ptr<const Calibration> calibration) const;
  // Of vectors, ids, metadata and the indexes there are.
  size_t memory_bytes() const;

 private:
  IndexOptions options_;
  SegmentColumns columns_;
  std::unique_ptr<const GrowingLists> coded_lists_;
  std::vector<float> scales_;            // of rows in memory, where the format has them
  std::vector<uint32_t> by_row_number_;  // offsets by row number; empty: as they are
  mutable std::once_flag metadata_index_once_;
  mutable std::unique_ptr<const MetadataIndex> metadata_index_;
  mutable std::atomic<size_t> metadata_index_bytes_{0};
  mutable std::once_flag lengths_once_;
  mutable bool lengths_differ_ = false;
  mutable std::mutex calibration_mutex_;
  mutable std::shared_ptr<const Calibration> calibration_;
};

}  // namespace jade
