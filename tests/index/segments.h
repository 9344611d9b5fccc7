// Sealed segments for tests.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "index/segment_builder.h"
#include "index/segment_io.h"

namespace jade {

// All rows of a segment that live.
inline BuildInput whole(std::shared_ptr<const Segment> segment,
                        std::shared_ptr<const Bitmap> dead = nullptr) {
  uint32_t rows = segment->rows();
  return {std::move(segment), std::move(dead), rows};
}

inline std::shared_ptr<const SealedSegment> built(const std::vector<BuildInput>& inputs,
                                                  const BuildOptions& options) {
  auto segment = build_segment(inputs, options);
  REQUIRE_MESSAGE(segment.ok(), segment.status().to_string());
  return *segment;
}

inline std::string bytes_of(const SealedSegment& segment) {
  std::string out;
  Status status = serialize(segment, [&](std::string_view piece) {
    out += piece;
    return Status();
  });
  REQUIRE_MESSAGE(status.ok(), status.to_string());
  return out;
}

}  // namespace jade
