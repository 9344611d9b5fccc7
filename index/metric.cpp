#include "index/metric.h"

#include <cmath>
#include <cstdio>
#include <string>

namespace jade {
namespace {

// Calls take(bit, field of `change`, field of `index`) for each. The bits are on disk: new
// fields go to the end.
template <class Change, class Index, class Take>
void for_each_field(Change& change, Index&& index, Take take) {
  uint32_t bit = 1;
  auto next = [&](auto& field, auto& value) {
    take(bit, field, value);
    bit <<= 1;
  };
  next(change.kind, index.kind);
  next(change.m, index.m);
  next(change.ef_construction, index.ef_construction);
  next(change.ef_search, index.ef_search);
  next(change.nlist, index.nlist);
  next(change.nprobe, index.nprobe);
  next(change.quantization, index.quantization);
  next(change.vectors, index.vectors);
  next(change.min_recall, index.min_recall);
}

}  // namespace

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

Status check_is_known(const IndexOptions& index) {
  JADE_RETURN_IF_ERROR(check_is_known("index.type", index.kind, IndexKind::automatic));
  JADE_RETURN_IF_ERROR(check_is_known("index.quantization", index.quantization, Quantization::pq));
  return check_is_known("index.vectors", index.vectors, VectorPlace::disk);
}

Status IndexOptions::validate() const {
  JADE_RETURN_IF_ERROR(check_is_known(*this));
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
  JADE_RETURN_IF_ERROR(check_has_graphs("index.vectors is \"disk\", which", kind));
  if (quantization == Quantization::none) {
    return invalid_argument(
        "index.vectors is \"disk\", which needs an index.quantization to walk by; it is "
        "\"none\"");
  }
  return {};
}

Status check_has_graphs(std::string_view field, IndexKind type) {
  if (has_graphs(type)) return {};
  return invalid_argument(std::string(field) + " needs index.type \"hnsw\" or \"auto\"; it is \"" +
                          std::string(to_string(type)) + "\"");
}

Status check_has_lists(std::string_view field, IndexKind type) {
  if (has_lists(type)) return {};
  return invalid_argument(std::string(field) + " needs index.type \"ivf\"; it is \"" +
                          std::string(to_string(type)) + "\"");
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

IndexChange IndexChange::of(const IndexOptions& values, uint32_t fields) {
  IndexChange out;
  for_each_field(out, values, [&](uint32_t bit, auto& field, auto value) {
    if ((fields & bit) != 0) field = value;
  });
  return out;
}

uint32_t IndexChange::fields() const {
  uint32_t out = 0;
  for_each_field(*this, IndexOptions{}, [&](uint32_t bit, const auto& field, auto) {
    if (field) out |= bit;
  });
  return out;
}

Status IndexChange::check_type(IndexKind type) const {
  if (m) JADE_RETURN_IF_ERROR(check_has_graphs("index.m", type));
  if (ef_construction) JADE_RETURN_IF_ERROR(check_has_graphs("index.ef_construction", type));
  if (ef_search) JADE_RETURN_IF_ERROR(check_has_graphs("index.ef_search", type));
  if (nlist) JADE_RETURN_IF_ERROR(check_has_lists("index.nlist", type));
  if (nprobe) JADE_RETURN_IF_ERROR(check_has_lists("index.nprobe", type));
  // Which is so without graphs, too.
  if (quantization && *quantization != Quantization::none) {
    JADE_RETURN_IF_ERROR(check_has_graphs("index.quantization", type));
  }
  if (vectors == VectorPlace::disk) {
    JADE_RETURN_IF_ERROR(check_has_graphs("index.vectors is \"disk\", which", type));
  }
  return {};
}

IndexOptions IndexChange::applied_to(IndexOptions index) const {
  if (ef_search || nprobe) index.min_recall = 0;
  for_each_field(*this, index, [](uint32_t, const auto& field, auto& value) {
    if (field) value = *field;
  });
  return index;
}

std::string refusal_of_length(Metric metric, double squared_length) {
  if (metric == Metric::cosine) {
    if (squared_length > 0) return {};
    return "is a zero vector, which has no direction; metric \"cosine\" needs one";
  }
  if (squared_length <= length_max * length_max) return {};
  char text[128];
  std::snprintf(
      text, sizeof text,
      "has a length of %.3g; with metric \"%s\" it must be at most %g, so that no distance "
      "overflows",
      std::sqrt(squared_length), std::string(to_string(metric)).c_str(), length_max);
  return text;
}

Status check_min_recall(std::string_view field, double value) {
  if (value >= min_recall_low && value <= min_recall_high) return {};
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return invalid_argument(std::string(field) + " is " + text + "; it must be 0.5 to 0.999");
}

}  // namespace jade
