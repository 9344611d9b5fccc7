// The segment that new rows go to.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "index/growing_lists.h"
#include "index/growing_metadata.h"
#include "index/segment.h"

namespace jade {

// One thread appends while any number read: rows are published by their count,
// and memory is in blocks that never move.
class GrowingSegment final : public Segment {
 public:
  // From how many rows on it is given lists(): so many are compared one by one as fast. Half as
  // many are worth extending them.
  static constexpr uint32_t default_listed_rows_min = 512;
  static constexpr uint32_t never_listed = UINT32_MAX;

  // `listed_from`: rows from which on it is given lists(), at least `listed_rows_min`.
  GrowingSegment(uint32_t dimension, Metric metric, Datatype datatype = Datatype::float32,
                 uint32_t listed_from = never_listed,
                 uint32_t listed_rows_min = default_listed_rows_min);
  ~GrowingSegment() override;

  // `stored`: format().row_bytes(), values as they were given, which need not be aligned and
  // are copied. Row numbers ascend, with gaps.
  void append(uint64_t row_number, std::string_view id_key, const char* stored,
              std::string_view metadata);
  // The same of dimension() floats, rounded to what can be stored.
  void append(uint64_t row_number, std::string_view id_key, const float* values,
              std::string_view metadata);

  uint32_t rows() const override { return count_.load(std::memory_order_acquire); }
  uint64_t row_number(uint32_t offset) const override;
  std::string_view id_view(uint32_t offset) const override;
  const char* row(uint32_t offset) const override;
  float scale(uint32_t offset) const override;
  std::string_view metadata(uint32_t offset) const override;
  std::optional<uint32_t> find(uint64_t row_number) const override;
  // As far as the metadata of its rows is in an index, all others being undecided; nothing before
  // any is. From the first time on that it is asked for, extend() makes one.
  std::optional<Selection> select(const Filter& filter) const override;
  // Whether rows wait for lists(), and are enough to be worth it.
  bool wants_lists() const;
  // The same, or for the index of their metadata: whether extend() has something to do.
  bool wants_extending() const { return wants_lists() || wants_metadata(); }
  // Puts rows into lists and their metadata into an index, until few are left or `ended` (may be
  // null) becomes true. One thread at a time, which may be another than that which appends.
  void extend(const std::atomic<bool>* ended);
  // How many rows, the first ones, are in lists(); 0: there are none.
  uint32_t listed() const { return listed_.load(std::memory_order_acquire); }
  // Holds listed() rows and maybe later ones. Null before there were any.
  const GrowingLists* lists() const { return lists_.get(); }

 private:
  // What is known of a row besides its vector; `text` is the id, then metadata.
  struct Row {
    uint64_t number;
    const char* text;
    uint32_t id_size;
    uint32_t metadata_size;
  };
  struct Block {
    std::unique_ptr<char[]> vectors;
    std::unique_ptr<float[]> scales;  // null: all are 1
    std::unique_ptr<Row[]> rows;
  };
  struct Place {
    size_t block;
    uint32_t at;
  };
  bool wants_metadata() const { return filtered_ && metadata_.wants_extending(rows()); }
  void extend_lists(const std::atomic<bool>* ended);

  static constexpr uint32_t first_block_rows = 64;
  static constexpr size_t group_blocks = 1024;
  using Group = std::array<Block, group_blocks>;

  // Blocks double from the first to 64 << doublings_ rows and stay at that.
  Place place(uint32_t offset) const;
  const Block& block(size_t index) const {
    return (*groups_[index / group_blocks])[index % group_blocks];
  }
  const Row& about(uint32_t offset) const;
  char* take_text(size_t size);

  uint32_t doublings_;
  std::array<std::unique_ptr<Group>, 1024> groups_;
  // Of the appending thread only.
  std::vector<std::unique_ptr<char[]>> texts_;
  size_t text_left_ = 0;
  char* text_next_ = nullptr;

  std::atomic<uint32_t> count_{0};
  const uint32_t listed_from_;
  const uint32_t worth_listing_;
  std::atomic<bool> unlistable_{false};  // codes cannot express a row
  std::unique_ptr<GrowingLists> lists_;
  std::atomic<uint32_t> listed_{0};
  GrowingMetadata metadata_;
  mutable std::atomic<bool> filtered_{false};  // select() was called
};

}  // namespace jade
