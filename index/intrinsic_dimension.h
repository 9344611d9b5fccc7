// How fast rows become more with the distance from one of them.
#pragma once

#include "index/hnsw_graph.h"
#include "index/scalar_codes.h"
#include "index/workers.h"

namespace jade {

// What can be kept of it.
constexpr double intrinsic_dimension_max = 4095;

// Of rows that would fill as many dimensions evenly: within r times the distance of a row's
// k-th neighbour are about k r^m rows. From the distances of near neighbours of a sample of the
// rows, found by walks: as Levina and Bickel, "Maximum likelihood estimation of intrinsic
// dimension", 2004, with two neighbours only. 0 where that cannot be told: of few rows, or where
// neighbours are nearer than codes can tell. At least 1 otherwise, in sixteenths. The same for
// the same graph and codes, whatever `workers` (null: none).
float intrinsic_dimension(const HnswGraph& graph, const ScalarCodes& codes, Workers* workers);

}  // namespace jade
