// Makes one sealed segment, with its index, of the live rows of others.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "index/bitmap.h"
#include "index/sealed_segment.h"
#include "index/workers.h"

namespace jade {

struct BuildInput {
  std::shared_ptr<const Segment> segment;
  std::shared_ptr<const Bitmap> dead;  // null: none
  uint32_t visible = 0;                // rows below it take part
};

struct BuildOptions {
  Metric metric = Metric::cosine;
  uint32_t dimension = 0;
  Datatype datatype = Datatype::float32;
  IndexOptions index;
  uint64_t seed = 0;
  Workers* workers = nullptr;  // share the work; null: the calling thread does it alone
  const std::atomic<bool>* cancel = nullptr;  // true: give up; may be null
  // Asked for where index.vectors is disk, at most once. Null: they stay in memory.
  std::function<Result<std::unique_ptr<VectorWriter>>()> store_vectors = nullptr;
};

// With fewer rows an exact scan is as fast as any index.
inline constexpr uint32_t indexed_rows_min = 1000;
// With smaller vectors in all, index.kind `automatic` makes none: a core reads them in less
// than half a millisecond, and misses nothing.
inline constexpr uint64_t auto_flat_bytes = 4u << 20;

// Where the largest input is a sealed HNSW of the same options, little of it dead,
// its graph is copied and only the rows of the others are added. Its dead rows stay
// then, to be walked through: mark them dead in the result, by find().
//
// Equal inputs and seeds give segments that serialise to equal bytes, however many workers there
// are, on all processors with AVX2. Those without may link rows differently that codes cannot tell
// apart, which are compared by their values. Runs in the calling thread; graphs,
// lists and codes, which take nearly all of the time, also in those of options.workers.
//
// Vectors go to store_vectors one by one, and are read again in their order: besides what
// the segment keeps, memory is needed for codes of 7 bits (a byte a dimension of each row)
// and a few MiB; before that, to put rows in order (index/row_order.h), about 100 bytes a row. They
// stay in memory where there are fewer than indexed_rows_min rows, or no codes can tell the rows
// apart; stored() of what is built tells.
//
// unavailable: cancelled. invalid_argument: an input of another shape. Else what reading an
// input's vectors or writing them failed with.
Result<std::shared_ptr<const SealedSegment>> build_segment(const std::vector<BuildInput>& inputs,
                                                           const BuildOptions& options);

}  // namespace jade
