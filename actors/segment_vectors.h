// Vectors of sealed segments on disk, as files of rows (storage/row_file.h).
#pragma once

#include <memory>

#include "index/stored_vectors.h"
#include "storage/segment_store.h"

namespace jade {

// Writes those of segment `id`, of which there is no file yet or one to be replaced.
Result<std::unique_ptr<VectorWriter>> store_vectors(std::shared_ptr<SegmentStore> store,
                                                    uint64_t id, size_t row_bytes);
// Opens those of segment `id`, of so many rows.
Result<std::shared_ptr<const StoredVectors>> open_vectors(const SegmentStore& store, uint64_t id,
                                                          size_t row_bytes, uint32_t rows);

}  // namespace jade
