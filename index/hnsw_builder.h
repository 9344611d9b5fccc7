// Links rows into a graph.
#pragma once

#include <atomic>

#include "index/euclidean_rows.h"
#include "index/hnsw_graph.h"
#include "index/scalar_codes.h"
#include "index/workers.h"

namespace jade {

// Links rows graph.rows() .. rows.rows()-1 in, comparing them by `codes` where there are any;
// without, the rows are in memory. Equal graphs, rows and seeds give equal graphs, however many
// `workers` (null: the calling thread alone) there are; without codes, where the kernels are
// the same. Each worker takes 2 bytes a row for the time of it. False when `cancel` (may be
// null) became true, within about as long as it takes to link a row: the graph is unusable
// then.
//
// Rows are linked batch by batch, as in Dobson et al., "Scalable and deterministic parallel
// graph-based approximate nearest neighbor search", PPoPP 2024: the rows of a batch look for
// their neighbours in the graph as it was before, and among those of the batch that come
// before them; then each row that they chose takes all their links at once.
//
// Under dot, where rows are not equally long, half of a row's links go to the nearest, by the
// distances of EuclideanRows, and half to those of the others with which its product is largest.
// By the nearest alone hardly a way leads to the longest rows, which most queries look for; by
// products alone (Morozov and Babenko, "Non-metric similarity graphs for maximum inner product
// search", NeurIPS 2018) none to short ones, nor between regions. Both are in Liu et al.,
// "Understanding and improving proximity graph based maximum inner product search", AAAI 2020,
// in two graphs.
//
// Of rows that are equal, one is linked so, and leads to the others (index/row_copies.h): with
// more copies than links, those of each would all go to the others, and no way lead out.
bool add_rows(HnswGraph& graph, const EuclideanRows& rows, const ScalarCodes* codes, uint64_t seed,
              Workers* workers, const std::atomic<bool>* cancel);

}  // namespace jade
