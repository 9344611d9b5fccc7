// A segment that no longer changes, with or without an index.
#pragma once

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "index/segment.h"

namespace jade {

struct HnswGraph;      // index/hnsw_graph.h
struct InvertedLists;  // index/ivf.h

// Memory for floats, on cache lines, not initialised.
class FloatArray {
 public:
  FloatArray() = default;
  explicit FloatArray(size_t size)
      : data_(static_cast<float*>(::operator new(size * sizeof(float), alignment))), size_(size) {}

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Free {
    void operator()(float* data) const { ::operator delete(data, alignment); }
  };
  std::unique_ptr<float, Free> data_;
  size_t size_ = 0;
};

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
  FloatArray vectors;                 // n × dimension
  std::vector<uint64_t> row_numbers;  // unique, not always ascending
  TextColumn ids;                     // key forms
  TextColumn metadata;
  // At most one of them.
  std::unique_ptr<HnswGraph> graph;
  std::unique_ptr<InvertedLists> lists;
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
  const float* vector(uint32_t offset) const override {
    return columns_.vectors.data() + size_t{offset} * dimension();
  }
  std::string_view metadata(uint32_t offset) const override { return columns_.metadata[offset]; }
  std::optional<uint32_t> find(uint64_t row_number) const override;
  IndexKind kind() const override;

  const IndexOptions& options() const { return options_; }
  const SegmentColumns& columns() const { return columns_; }
  const HnswGraph* graph() const { return columns_.graph.get(); }
  const InvertedLists* lists() const { return columns_.lists.get(); }
  // Of vectors, ids, metadata and index.
  size_t memory_bytes() const;

 private:
  IndexOptions options_;
  SegmentColumns columns_;
  std::vector<uint32_t> by_row_number_;  // offsets by row number; empty: as they are
};

}  // namespace jade
