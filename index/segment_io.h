// Sealed segments as bytes.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "index/sealed_segment.h"

namespace jade {

// Calls `sink` with piece after piece; its first failure is returned. Vectors that are not
// in memory are left out.
Status serialize(const SealedSegment& segment, const std::function<Status(std::string_view)>& sink);

// Opens the vectors of a segment of so many rows, and bytes of each.
using OpenVectors =
    std::function<Result<std::shared_ptr<const StoredVectors>>(size_t row_bytes, uint32_t rows)>;

// `source` fills up to n bytes, fewer only at the end, of `size` in all. Nothing
// is trusted: corruption when the bytes are not those of a segment, before memory
// is taken for what they cannot hold. What is returned can be searched safely.
// `open_vectors`: asked where vectors are not among the bytes; null: that is corruption.
Result<std::shared_ptr<const SealedSegment>> deserialize(
    uint64_t size, const std::function<Result<size_t>(char*, size_t)>& source,
    const OpenVectors& open_vectors = nullptr);

}  // namespace jade
