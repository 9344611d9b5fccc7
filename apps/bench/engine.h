// One way to search, to be measured beside others on the same rows and queries.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/bench/measure.h"
#include "apps/bench/workload.h"
#include "apps/data/vector_reader.h"
#include "index/metric.h"
#include "index/sealed_segment.h"

namespace jade {

// One thread, but for what EngineKind says. Under cosine the rows and queries it is given are
// normalised.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string name() const = 0;
  // `base` outlives the engine.
  virtual void build(const Matrix& base, Metric metric, const IndexOptions& options) = 0;
  virtual void set_ef(uint32_t ef) = 0;
  // Row numbers of the k nearest, best first.
  virtual void search(const float* query, uint32_t k, std::vector<int64_t>& out) = 0;
  // Of all that is searched; 0: unknown.
  virtual size_t memory_bytes() const { return 0; }
  // Of files; 0: unknown.
  virtual size_t disk_bytes() const { return 0; }
  // Has the kernel forget what it has read. False: nothing is on disk.
  virtual bool forget_disk() { return false; }
};

// A graph that several of our indexes share, as it does not depend on what it is walked by.
struct SharedGraph {
  // Of each datatype the first that was built.
  std::map<Datatype, std::shared_ptr<const SealedSegment>> segments;
};

// To be measured: searches for the workload's queries, at each beam width for k at least. Both
// outlive it. One client.
Contestant contestant_of(Engine& engine, const Workload& workload);

// What our index is measured with, besides the options that are the same for all.
struct EngineKind {
  Quantization quantization = Quantization::sq8;
  VectorPlace vectors = VectorPlace::memory;
  Datatype datatype = Datatype::float32;
  Workers* workers = nullptr;         // share in building; null: one thread
  IndexKind index = IndexKind::hnsw;  // or ivf, of which set_ef() says how many lists are visited
};

// Our index alone: a sealed segment, without actors or network; with VectorPlace::disk with
// a file of its vectors in a temporary directory. `kind`: instead of the options it is built
// with.
std::unique_ptr<Engine> make_jade_index(const EngineKind& kind,
                                        std::shared_ptr<SharedGraph> shared);
// hnswlib, compiled for the widest instructions of this processor.
std::unique_ptr<Engine> make_hnswlib();
// IndexHNSWFlat of the FAISS that this program is linked with.
std::unique_ptr<Engine> make_faiss();

}  // namespace jade
