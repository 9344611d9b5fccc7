// Sealed segments for tests.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "index/segment_builder.h"
#include "index/segment_io.h"
#include "index/shard_view.h"

namespace jade {

// All rows of a segment that live.
inline BuildInput whole(std::shared_ptr<const Segment> segment,
                        std::shared_ptr<const Bitmap> dead = nullptr) {
  uint32_t rows = segment->rows();
  return {std::move(segment), std::move(dead), rows};
}

// All rows of a segment, as a search sees it.
inline SegmentView view_of(std::shared_ptr<const Segment> segment,
                           std::shared_ptr<const Bitmap> dead) {
  SegmentView out;
  out.dead_count = dead ? dead->count() : 0;
  out.visible = segment->rows();
  out.segment = std::move(segment);
  out.dead = std::move(dead);
  return out;
}

// Of one segment and one query.
inline std::vector<Hit> hits_of(const SegmentView& view, const std::vector<float>& query,
                                const SearchOptions& options,
                                SegmentExplanation* explained = nullptr) {
  std::vector<SegmentExplanation> explanations;
  auto found = search_all({&view, 1}, view.segment->metric(), view.segment->dimension(), query,
                          options, &explanations);
  REQUIRE(found.ok());
  if (explained != nullptr) *explained = explanations.front();
  return found->front();
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
