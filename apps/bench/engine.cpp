#include "apps/bench/engine.h"

#include <faiss/IndexHNSW.h>
#include <fcntl.h>
#include <omp.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "actors/segment_vectors.h"
#include "apps/bench/bench_directory.h"
#include "index/growing_segment.h"
#include "index/kernels.h"
#include "index/segment_builder.h"
#include "index/segment_io.h"
#include "index/shard_view.h"
#include "storage/env.h"

namespace jade {

std::unique_ptr<Engine> make_hnswlib_base(std::string label);
std::unique_ptr<Engine> make_hnswlib_avx2(std::string label);
std::unique_ptr<Engine> make_hnswlib_avx512(std::string label);

namespace {

class JadeIndex final : public Engine {
 public:
  JadeIndex(const EngineKind& kind, std::shared_ptr<SharedGraph> shared)
      : kind_(kind), shared_(std::move(shared)) {}

  std::string name() const override {
    const bool lists = kind_.index == IndexKind::ivf;
    std::string out = "jade index (" + std::string(lists ? "ivf" : to_string(kind_.quantization));
    if (kind_.datatype != Datatype::float32) out += ", " + std::string(to_string(kind_.datatype));
    return out + (kind_.vectors == VectorPlace::disk ? ", disk)" : ")");
  }

  void build(const Matrix& base, Metric metric, const IndexOptions& options) override {
    metric_ = metric;
    dimension_ = base.dimension;
    auto& shared = shared_->segments[kind_.datatype];
    std::shared_ptr<const Segment> input = shared;
    if (input == nullptr) {
      auto rows = std::make_shared<GrowingSegment>(base.dimension, metric, kind_.datatype);
      for (size_t i = 0; i < base.rows; ++i) {
        rows->append(i + 1, VectorId(i).key(), base.row(i), "");
      }
      input = std::move(rows);
    }
    BuildOptions build;
    build.metric = metric;
    build.dimension = base.dimension;
    build.datatype = kind_.datatype;
    build.index = options;
    build.index.kind = kind_.index;
    build.index.quantization = kind_.quantization;
    build.index.vectors = kind_.vectors;
    build.seed = 1;
    build.workers = kind_.workers;
    if (kind_.vectors == VectorPlace::disk) open_store();
    build.store_vectors = [&] {
      return store_vectors(store_, 1, base.dimension * element_bytes(kind_.datatype));
    };
    auto sealed = build_segment({{input, nullptr, input->rows()}}, build);
    JADE_ASSERT(sealed.ok());
    if (shared == nullptr) shared = *sealed;
    view_ = {*sealed, nullptr, (*sealed)->rows(), 0};
  }

  void set_ef(uint32_t ef) override {
    (kind_.index == IndexKind::ivf ? options_.nprobe : options_.ef_search) = ef;
  }

  void search(const float* query, uint32_t k, std::vector<int64_t>& out) override {
    options_.k = k;
    auto hits = search_all({&view_, 1}, metric_, dimension_, {query, dimension_}, options_);
    JADE_ASSERT(hits.ok());
    out.clear();
    for (const Hit& hit : hits->front()) {
      out.push_back(static_cast<int64_t>(view_.segment->row_number(hit.offset)) - 1);
    }
  }

  size_t memory_bytes() const override { return sealed().memory_bytes(); }

  size_t disk_bytes() const override {
    size_t bytes = 0;
    (void)serialize(sealed(), [&](std::string_view piece) {
      bytes += piece.size();
      return Status();
    });
    std::error_code none;
    auto rows = sealed().stored() == nullptr ? 0 : std::filesystem::file_size(rows_file(), none);
    return bytes + rows;
  }

  bool forget_disk() override {
    // With few vectors they are in memory nevertheless.
    if (sealed().stored() == nullptr) return false;
    int file = open(rows_file().c_str(), O_RDONLY | O_CLOEXEC);
    JADE_ASSERT(file >= 0);
    (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
    return true;
  }

 private:
  const SealedSegment& sealed() const { return dynamic_cast<const SealedSegment&>(*view_.segment); }
  std::string rows_file() const { return (directory_->path() / "rows/1").string(); }
  void open_store() {
    directory_.emplace();
    auto store = SegmentStore::open(file_system(), directory_->path().string(), nullptr);
    JADE_ASSERT(store.ok());
    store_ = std::move(*store);
  }

  EngineKind kind_;
  std::shared_ptr<SharedGraph> shared_;
  std::optional<BenchDirectory> directory_;  // of the store, which ends first
  std::shared_ptr<SegmentStore> store_;
  Metric metric_ = Metric::l2;
  uint32_t dimension_ = 0;
  SegmentView view_;
  SearchOptions options_;
};

class Faiss final : public Engine {
 public:
  std::string name() const override { return "FAISS IndexHNSWFlat"; }

  void build(const Matrix& base, Metric metric, const IndexOptions& options) override {
    omp_set_num_threads(1);
    index_ = std::make_unique<faiss::IndexHNSWFlat>(
        static_cast<int>(base.dimension), static_cast<int>(options.m),
        metric == Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT);
    index_->hnsw.efConstruction = static_cast<int>(options.ef_construction);
    index_->add(static_cast<int64_t>(base.rows), base.values.data());
  }

  void set_ef(uint32_t ef) override { index_->hnsw.efSearch = static_cast<int>(ef); }

  void search(const float* query, uint32_t k, std::vector<int64_t>& out) override {
    // FAISS starts its threads anew for every thread that calls it.
    thread_local const bool alone = (omp_set_num_threads(1), true);
    (void)alone;
    out.resize(k);
    distances_.resize(k);
    index_->search(1, query, k, distances_.data(), out.data());
  }

 private:
  std::unique_ptr<faiss::IndexHNSWFlat> index_;
  std::vector<float> distances_;
};

}  // namespace

Contestant contestant_of(Engine& engine, const Workload& workload) {
  return {engine.name(), [&engine, &workload] {
            return Searcher([&](size_t query, uint32_t ef) {
              std::vector<int64_t> found;
              engine.set_ef(std::max(ef, workload.k));
              engine.search(workload.queries.row(query), workload.k, found);
              return found;
            });
          }};
}

std::unique_ptr<Engine> make_jade_index(const EngineKind& kind,
                                        std::shared_ptr<SharedGraph> shared) {
  return std::make_unique<JadeIndex>(kind, std::move(shared));
}
std::unique_ptr<Engine> make_faiss() { return std::make_unique<Faiss>(); }

std::unique_ptr<Engine> make_hnswlib() {
#if defined(__x86_64__)
  if (kernels().level == SimdLevel::avx512) return make_hnswlib_avx512("hnswlib (AVX-512)");
  if (kernels().level == SimdLevel::avx2) return make_hnswlib_avx2("hnswlib (AVX2)");
#endif
  return make_hnswlib_base("hnswlib (portable)");
}

}  // namespace jade
