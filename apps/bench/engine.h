// One way to search, to be measured beside others on the same rows and queries.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/data/vector_reader.h"
#include "index/metric.h"

namespace jade {

// One thread. Under cosine the rows and queries it is given are normalised.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string name() const = 0;
  // `base` outlives the engine.
  virtual void build(const Matrix& base, Metric metric, const IndexOptions& options) = 0;
  virtual void set_ef(uint32_t ef) = 0;
  // Row numbers of the k nearest, best first.
  virtual void search(const float* query, uint32_t k, std::vector<int64_t>& out) = 0;
};

// Our index alone: a sealed segment, without actors, disk or network.
// `quantization`: instead of that of the options it is built with.
std::unique_ptr<Engine> make_jade_index(Quantization quantization);
// hnswlib, compiled for the widest instructions of this processor.
std::unique_ptr<Engine> make_hnswlib();
// IndexHNSWFlat of the FAISS that this program is linked with.
std::unique_ptr<Engine> make_faiss();

}  // namespace jade
