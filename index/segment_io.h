// Sealed segments as bytes.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "index/sealed_segment.h"

namespace jade {

// Calls `sink` with piece after piece; its first failure is returned.
Status serialize(const SealedSegment& segment, const std::function<Status(std::string_view)>& sink);

// `source` fills up to n bytes, fewer only at the end, of `size` in all. Nothing
// is trusted: corruption when the bytes are not those of a segment, before memory
// is taken for what they cannot hold. What is returned can be searched safely.
Result<std::shared_ptr<const SealedSegment>> deserialize(
    uint64_t size, const std::function<Result<size_t>(char*, size_t)>& source);

}  // namespace jade
