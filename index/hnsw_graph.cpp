#include "index/hnsw_graph.h"

#include <cmath>
#include <string>

namespace jade {

void HnswGraph::reserve(uint32_t rows) {
  levels_.reserve(rows);
  upper_starts_.reserve(rows);
  base_.reserve(size_t{rows} * 2 * m_);
}

void HnswGraph::add_row(uint32_t levels) {
  JADE_ASSERT(levels >= 1 && levels <= UINT8_MAX);
  upper_starts_.push_back(static_cast<uint32_t>(upper_.size() / m_));
  levels_.push_back(static_cast<uint8_t>(levels));
  base_.resize(base_.size() + 2 * size_t{m_}, -1);
  upper_.resize(upper_.size() + (levels - 1) * size_t{m_}, -1);
}

size_t HnswGraph::memory_bytes() const {
  return link_slots() * sizeof(int32_t) + rows() * (sizeof(levels_[0]) + sizeof(upper_starts_[0]));
}

Status HnswGraph::check() const {
  auto bad = [](const char* what) { return corruption(std::string("a graph's ") + what); };
  // Read past what ends a row's links or not, none may lead out of the graph.
  for (int32_t next : base_) {
    if (next < -1 || next >= static_cast<int64_t>(rows())) return bad("link leads nowhere");
  }
  for (uint32_t row = 0; row < rows(); ++row) {
    for (uint32_t level = 1; level < levels_[row]; ++level) {
      for (int32_t next : links(row, level)) {
        if (next < -1 || next >= static_cast<int64_t>(rows())) return bad("link leads nowhere");
        // Its target would have no links there to go on by.
        if (next >= 0 && levels_[static_cast<size_t>(next)] <= level) {
          return bad("link leads to a row that is not on its level");
        }
      }
    }
  }
  if (rows() == 0) return entry_point == -1 ? Status() : bad("entry point is impossible");
  if (entry_point < 0 || static_cast<uint32_t>(entry_point) >= rows() || level_max < 0 ||
      level_max >= levels_[static_cast<size_t>(entry_point)]) {
    return bad("entry point is impossible");
  }
  return {};
}

std::vector<double> level_probabilities(uint32_t m) {
  double scale = 1 / std::log(m);
  std::vector<double> out;
  for (int level = 0;; ++level) {
    double p = std::exp(-level / scale) * (1 - std::exp(-1 / scale));
    if (p < 1e-9) return out;
    out.push_back(p);
  }
}

}  // namespace jade
