// Which of several parts of space a vector is in: that of the nearest centre. The centres
// are found by k-means (of FAISS).
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/metric.h"
#include "index/scoring.h"

namespace jade {

class VectorRouter {
 public:
  // `centres`: parts × dimension float32, aligned as such; outlives the router.
  VectorRouter(Metric metric, uint32_t dimension, std::string_view centres);

  uint32_t parts() const { return parts_; }
  // The part that a vector (`dimension` floats) belongs to, of equally near ones the
  // first.
  uint32_t part_of(const float* vector) const;
  // The `count` parts that are likeliest to have the neighbours of `query`, best first.
  std::vector<uint32_t> parts_for(const float* query, uint32_t count) const;

 private:
  const float* centre(uint32_t part) const { return centres_ + size_t{part} * dimension_; }
  // Normalised under cosine.
  std::vector<float> prepared(const float* vector) const;

  Metric metric_;
  uint32_t dimension_;
  uint32_t parts_;
  const float* centres_;
};

// Centres for `vectors` (n × dimension, n > 0), as VectorRouter takes them. In the calling
// thread; the same for the same seed. Nothing when `cancel` became true.
std::optional<std::string> train_router(std::vector<float> vectors, uint32_t dimension,
                                        Metric metric, uint32_t parts, uint64_t seed,
                                        const std::atomic<bool>* cancel = nullptr);

}  // namespace jade
