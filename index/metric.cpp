#include "index/metric.h"

#include <cstdio>
#include <string>

namespace jade {

Result<Metric> parse_metric(std::string_view name) {
  for (auto m : {Metric::cosine, Metric::l2, Metric::dot}) {
    if (name == to_string(m)) return m;
  }
  return invalid_argument("metric \"" + std::string(name) +
                          "\" is unknown; use \"cosine\", \"l2\" or \"dot\"");
}

Result<IndexKind> parse_index_kind(std::string_view name) {
  for (auto k : {IndexKind::hnsw, IndexKind::ivf, IndexKind::flat, IndexKind::automatic}) {
    if (name == to_string(k)) return k;
  }
  return invalid_argument("index.type \"" + std::string(name) +
                          "\" is unknown; use \"hnsw\", \"ivf\", \"flat\" or \"auto\"");
}

Result<Quantization> parse_quantization(std::string_view name) {
  for (auto q : {Quantization::sq8, Quantization::sq4, Quantization::rabitq, Quantization::pq,
                 Quantization::none}) {
    if (name == to_string(q)) return q;
  }
  return invalid_argument("index.quantization \"" + std::string(name) +
                          "\" is unknown; use \"sq8\", \"sq4\", \"rabitq\", \"pq\" or \"none\"");
}

Result<VectorPlace> parse_vector_place(std::string_view name) {
  for (auto p : {VectorPlace::memory, VectorPlace::disk}) {
    if (name == to_string(p)) return p;
  }
  return invalid_argument("index.vectors \"" + std::string(name) +
                          "\" is unknown; use \"memory\" or \"disk\"");
}

Status IndexOptions::validate() const {
  auto check = [](const char* field, uint32_t value, uint32_t low, uint32_t high) -> Status {
    if (value >= low && value <= high) return {};
    return invalid_argument("index." + std::string(field) + " is " + std::to_string(value) +
                            "; it must be " + std::to_string(low) + " to " + std::to_string(high));
  };
  JADE_RETURN_IF_ERROR(check("m", m, 4, 64));
  JADE_RETURN_IF_ERROR(check("ef_construction", ef_construction, m, 2000));
  JADE_RETURN_IF_ERROR(check("ef_search", ef_search, 1, 10000));
  JADE_RETURN_IF_ERROR(check("nlist", nlist, 0, 65536));
  JADE_RETURN_IF_ERROR(check("nprobe", nprobe, 0, 65536));
  if (min_recall != 0) JADE_RETURN_IF_ERROR(check_min_recall("index.min_recall", min_recall));
  if (vectors == VectorPlace::memory) return {};
  if (kind != IndexKind::hnsw && kind != IndexKind::automatic) {
    return invalid_argument(
        "index.vectors is \"disk\", which needs index.type \"hnsw\" or \"auto\"; it is \"" +
        std::string(jade::to_string(kind)) + "\"");
  }
  if (quantization == Quantization::none) {
    return invalid_argument(
        "index.vectors is \"disk\", which needs an index.quantization to walk by; it is "
        "\"none\"");
  }
  return {};
}

bool build_alike(const IndexOptions& a, const IndexOptions& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case IndexKind::flat: return true;
    case IndexKind::ivf: return a.nlist == b.nlist;
    case IndexKind::hnsw:
    case IndexKind::automatic: break;
  }
  return a.m == b.m && a.ef_construction == b.ef_construction && a.quantization == b.quantization &&
         a.vectors == b.vectors;
}

IndexOptions IndexChange::applied_to(IndexOptions index) const {
  index.kind = kind.value_or(index.kind);
  index.m = m.value_or(index.m);
  index.ef_construction = ef_construction.value_or(index.ef_construction);
  index.nlist = nlist.value_or(index.nlist);
  index.quantization = quantization.value_or(index.quantization);
  index.vectors = vectors.value_or(index.vectors);
  index.ef_search = ef_search.value_or(index.ef_search);
  index.nprobe = nprobe.value_or(index.nprobe);
  if (ef_search || nprobe) index.min_recall = 0;
  index.min_recall = min_recall.value_or(index.min_recall);
  return index;
}

Status check_min_recall(std::string_view field, double value) {
  if (value >= min_recall_low && value <= min_recall_high) return {};
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return invalid_argument(std::string(field) + " is " + text + "; it must be 0.5 to 0.999");
}

}  // namespace jade
