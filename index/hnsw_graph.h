// A graph for approximate search: Malkov and Yashunin, "Efficient and robust
// approximate nearest neighbor search using Hierarchical Navigable Small World
// graphs", 2018. index/hnsw_builder.h makes it, index/hnsw_search.h walks it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "index/large_array.h"
#include "storage/status.h"

namespace jade {

// Rows 0 .. rows()-1 and their links. Level 0, where walks spend their time, is an
// array of its own.
class HnswGraph {
 public:
  // m and ef_construction of IndexOptions.
  HnswGraph(uint32_t m, uint32_t ef_construction) : m_(m), ef_construction_(ef_construction) {}

  uint32_t m() const { return m_; }
  uint32_t ef_construction() const { return ef_construction_; }
  uint32_t rows() const { return static_cast<uint32_t>(levels_.size()); }
  // On how many levels a row is, from 1.
  uint32_t levels(uint32_t row) const { return levels_[row]; }
  // Makes room for so many rows.
  void reserve(uint32_t rows);
  // Adds a row that is on so many levels, 1 to 255, without links.
  void add_row(uint32_t levels);

  // Of a row on a level that it is on, m or on level 0 twice as many; the first that is
  // negative ends them.
  std::span<const int32_t> links(uint32_t row, uint32_t level) const {
    if (level == 0) return {base_.data() + size_t{row} * 2 * m_, size_t{2} * m_};
    return {upper_.data() + (size_t{upper_starts_[row]} + level - 1) * m_, m_};
  }
  std::span<int32_t> links(uint32_t row, uint32_t level) {
    auto found = std::as_const(*this).links(row, level);
    return {const_cast<int32_t*>(found.data()), found.size()};
  }
  // Of all rows on all levels, used or not.
  uint64_t link_slots() const { return base_.size() + upper_.size(); }
  void prefetch_links(uint32_t row) const {
    const char* at = reinterpret_cast<const char*>(base_.data() + size_t{row} * 2 * m_);
    for (size_t i = 0; i < 2 * m_ * sizeof(int32_t); i += 64) __builtin_prefetch(at + i);
  }

  // Where walks begin: a row, -1 without rows, and the highest level that it is on.
  int32_t entry_point = -1;
  int32_t level_max = -1;

  size_t memory_bytes() const;
  // corruption unless no walk can leave the arrays: for graphs read from disk.
  Status check() const;

 private:
  uint32_t m_;
  uint32_t ef_construction_;
  std::vector<uint8_t> levels_;
  LargeArray<int32_t> base_;            // rows × 2 m
  std::vector<uint32_t> upper_starts_;  // of each row, in upper_, in units of m
  std::vector<int32_t> upper_;
};

// How likely a row is on 1, 2, ... levels: as many as a row can be on.
std::vector<double> level_probabilities(uint32_t m);

}  // namespace jade
