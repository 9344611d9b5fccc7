#include "sim/records.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "index/datatype.h"

namespace jade::sim {
namespace {

void append(std::string& out, const std::vector<float>& values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

}  // namespace

uint64_t bucket_of(uint64_t id, uint64_t version) { return mix(id, version) % 10; }

std::string metadata_of(uint64_t id, uint64_t version, uint64_t mark) {
  std::string revision = revision_of(id, version);
  return revision.substr(0, revision.size() - 1) + "," + marking_of(mark).substr(1);
}

std::string revision_of(uint64_t id, uint64_t version) {
  return "{\"version\":" + std::to_string(version) +
         ",\"bucket\":" + std::to_string(bucket_of(id, version)) + "}";
}

std::string marking_of(uint64_t mark) { return "{\"mark\":" + std::to_string(mark) + "}"; }

std::optional<RecordState> state_of(uint64_t id, const std::string& metadata) {
  constexpr std::string_view start = "{\"version\":", middle = "\"mark\":";
  size_t mark = metadata.find(middle);
  if (metadata.compare(0, start.size(), start) != 0 || mark == metadata.npos) return std::nullopt;
  RecordState state{std::strtoull(metadata.c_str() + start.size(), nullptr, 10),
                    std::strtoull(metadata.c_str() + mark + middle.size(), nullptr, 10)};
  if (metadata != metadata_of(id, state.version, state.mark)) return std::nullopt;
  return state;
}

std::vector<float> vector_of(uint64_t id, uint64_t version, uint32_t dimension) {
  uint64_t state = mix(id * 1'000'003 + version, 7);
  std::vector<float> out(dimension);
  for (float& value : out) {
    value = static_cast<float>(next_random(state) >> 40) / float(1 << 24) - 0.5f;
  }
  out[0] += 1;  // never a zero vector
  return out;
}

Records::Records(const SimulationOptions& options, Run& run)
    : named_(!options.by_vector && mix(options.seed, 0x53u) % 3 == 0),
      by_vector_(options.by_vector),
      shards_(options.shards),
      replicas_(std::min(options.nodes, options.replicas == 0 ? 3u : options.replicas)) {
  vectors_ = {{"", options.dimension, static_cast<Metric>(run.draw(3)),
               static_cast<Datatype>(mix(options.seed, 0x52u) % 3)}};
  if (!named_) return;
  vectors_[0].name = "all";
  vectors_.push_back({"some", options.dimension + 3, static_cast<Metric>(run.draw(3)),
                      static_cast<Datatype>(run.draw(3))});
}

DatabaseSpec Records::shared_spec() const {
  DatabaseSpec spec;
  spec.name = shared_database;
  spec.dimension = vectors_[0].dimension;
  spec.metric = vectors_[0].metric;
  spec.datatype = vectors_[0].datatype;
  // With one, nothing would move between shards.
  spec.shards = by_vector_ ? shards_ : 1;
  spec.replicas = replicas_;
  if (by_vector_) spec.sharding = Sharding::vector;
  return spec;
}

DatabaseSpec Records::own_spec() const {
  DatabaseSpec spec = shared_spec();
  spec.name = own_database;
  spec.shards = shards_;
  if (!named_) return spec;
  spec.named_vectors = vectors_;
  spec.dimension = 0;
  spec.metric = Metric::cosine;
  spec.datatype = Datatype::float32;
  return spec;
}

bool Records::has_vector(uint64_t id, uint64_t version, size_t vector) {
  return vector == 0 || mix(id, version + 1) % 2 == 0;
}

std::vector<float> Records::sent(uint64_t id, uint64_t version, size_t vector) const {
  auto out = vector_of(id, version, vectors_[vector].dimension);
  for (float& value : out) {
    if (vectors_[vector].datatype == Datatype::uint8) value = std::round(100 * (value + 0.5f));
  }
  return out;
}

std::vector<float> Records::stored(uint64_t id, uint64_t version, size_t vector) const {
  auto out = sent(id, version, vector);
  const Datatype datatype = vectors_[vector].datatype;
  std::vector<char> bytes(out.size() * element_bytes(datatype));
  store_values(datatype, out.data(), out.size(), bytes.data());
  load_values(datatype, bytes.data(), out.size(), out.data());
  return out;
}

void Records::add(UpsertRequest& request, uint64_t id, uint64_t version) const {
  if (!named_) return add_shared(request, id, version);
  request.ids.emplace_back(id);
  request.metadata.push_back(metadata_of(id, version, version));
  for (size_t v = 0; v < vectors_.size(); ++v) {
    if (!has_vector(id, version, v)) continue;
    auto own = std::find_if(request.named.begin(), request.named.end(),
                            [&](const VectorColumn& c) { return c.name == vectors_[v].name; });
    if (own == request.named.end()) {
      own =
          request.named.insert(own, VectorColumn{vectors_[v].name, vectors_[v].dimension, {}, {}});
    }
    own->rows.push_back(static_cast<uint32_t>(request.ids.size() - 1));
    append(own->values, sent(id, version, v));
  }
}

void Records::add_shared(UpsertRequest& request, uint64_t id, uint64_t version) const {
  request.ids.emplace_back(id);
  request.metadata.push_back(metadata_of(id, version, version));
  request.dimension = vectors_[0].dimension;
  append(request.values, sent(id, version));
}

VectorUpdate Records::revision(uint64_t id, uint64_t version) const {
  VectorUpdate out{VectorId(id), revision_of(id, version)};
  if (!named_) {
    out.values = sent(id, version);
    return out;
  }
  for (size_t v = 0; v < vectors_.size(); ++v) {
    if (has_vector(id, version, v)) {
      out.named.push_back({vectors_[v].name, sent(id, version, v)});
    } else {
      out.without.push_back(vectors_[v].name);
    }
  }
  return out;
}

bool Records::holds(const StoredVector& found, uint64_t id, uint64_t version) const {
  if (!named_) return found.named.empty() && found.values == stored(id, version);
  size_t next = 0;
  for (size_t v = 0; v < vectors_.size(); ++v) {
    if (!has_vector(id, version, v)) continue;
    if (next == found.named.size() || found.named[next].name != vectors_[v].name ||
        found.named[next].values != stored(id, version, v)) {
      return false;
    }
    ++next;
  }
  return found.values.empty() && next == found.named.size();
}

}  // namespace jade::sim
