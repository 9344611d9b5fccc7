// Inverted lists for approximate search: rows are grouped around the centres that
// k-means (of FAISS) finds, and a search looks only into the nearest groups.
#pragma once

#include <atomic>
#include <optional>
#include <vector>

#include "index/segment.h"
#include "index/workers.h"

namespace jade {

struct InvertedLists {
  std::vector<float> centres;    // lists × dimension
  std::vector<uint32_t> starts;  // lists + 1: where each begins in `rows`
  std::vector<uint32_t> rows;    // offsets, by list

  uint32_t lists() const { return static_cast<uint32_t>(starts.size() - 1); }
  size_t memory_bytes() const {
    return centres.size() * sizeof(float) + (starts.size() + rows.size()) * sizeof(uint32_t);
  }
  // corruption unless they hold each of n rows: for lists read from disk.
  Status check(uint32_t n, uint32_t dimension) const;
};

// How many lists for n rows, by default.
uint32_t default_nlist(uint32_t n);
// How many of them a search visits at least, and where that was not measured, as in segments of
// old.
uint32_t default_nprobe(uint32_t nlist);

// Of `vectors` (n × dimension); nlist 0: by n. The same for the same seed and kernels, however
// many `workers` (null: the calling thread alone) there are. Nothing when `cancel` became true.
// `first_centres`: where k-means begins, nlist × dimension, nlist at most n; empty: at random
// vectors.
std::optional<InvertedLists> build_lists(const float* vectors, uint32_t n, uint32_t dimension,
                                         uint32_t nlist, uint64_t seed, Workers* workers,
                                         const std::atomic<bool>* cancel,
                                         std::vector<float> first_centres = {});

// How many lists a search has to visit to find about 0.95 of the 10 nearest, by some of the rows
// that the lists are of, and default_nprobe() at least: `vectors` as of build_lists(), compared by
// `metric`. The same whoever measures it. Compares each of the sample with every row. Nothing when
// `cancel` became true.
std::optional<uint32_t> measure_nprobe(const InvertedLists& lists, const float* vectors, uint32_t n,
                                       uint32_t dimension, Metric metric, Workers* workers,
                                       const std::atomic<bool>* cancel);

// The `nprobe` lists whose centres are nearest to `query`, nearest first.
std::vector<uint32_t> nearest_lists(const InvertedLists& lists, Metric metric, uint32_t dimension,
                                    const float* query, uint32_t nprobe);

}  // namespace jade
