// hnswlib behind the Engine interface; compiled once for each set of instructions.
#include <hnswlib/hnswlib.h>

#include "apps/bench/engine.h"

namespace jade {
namespace {

class Hnswlib final : public Engine {
 public:
  explicit Hnswlib(std::string label) : label_(std::move(label)) {}

  std::string name() const override { return label_; }

  void build(const Matrix& base, Metric metric, const IndexOptions& options) override {
    if (metric == Metric::l2) {
      space_ = std::make_unique<hnswlib::L2Space>(base.dimension);
    } else {
      space_ = std::make_unique<hnswlib::InnerProductSpace>(base.dimension);
    }
    index_ = std::make_unique<hnswlib::HierarchicalNSW<float>>(space_.get(), base.rows, options.m,
                                                               options.ef_construction);
    for (size_t i = 0; i < base.rows; ++i) index_->addPoint(base.row(i), i);
  }

  void set_ef(uint32_t ef) override { index_->setEf(ef); }

  void search(const float* query, uint32_t k, std::vector<int64_t>& out) override {
    auto found = index_->searchKnn(query, k);
    out.resize(found.size());
    for (size_t i = found.size(); i > 0; --i) {
      out[i - 1] = static_cast<int64_t>(found.top().second);
      found.pop();
    }
  }

 private:
  std::string label_;
  std::unique_ptr<hnswlib::SpaceInterface<float>> space_;
  std::unique_ptr<hnswlib::HierarchicalNSW<float>> index_;
};

}  // namespace

std::unique_ptr<Engine> JADE_PEER_FACTORY(std::string label) {
  return std::make_unique<Hnswlib>(std::move(label));
}

}  // namespace jade
