#include "actors/search_wire.h"

#include <bit>
#include <optional>

#include "actors/messages.h"
#include "storage/bytes.h"

namespace jade {
namespace {

// The least that each takes.
constexpr size_t hit_bytes_min = 4 * sizeof(uint32_t);
constexpr size_t query_bytes_min = sizeof(uint32_t);
constexpr size_t after_bytes = 2 * sizeof(uint64_t);

class Packer {
 public:
  void operator()(uint64_t value) { append_u64(out, value); }
  void operator()(uint32_t value) { append_u32(out, value); }
  void operator()(uint8_t value) { out.push_back(static_cast<char>(value)); }
  void operator()(bool value) { out.push_back(value ? 1 : 0); }
  void operator()(float value) { append_u32(out, std::bit_cast<uint32_t>(value)); }
  void operator()(double value) { append_u64(out, std::bit_cast<uint64_t>(value)); }
  void operator()(Consistency value) { (*this)(static_cast<uint8_t>(value)); }
  void operator()(const std::string& value) {
    size(value.size());
    out += value;
  }
  void size(size_t count) { append_u32(out, static_cast<uint32_t>(count)); }

  std::string out;
};

// Once something was wrong, nothing more is read.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : reader_(bytes) {}

  void operator()(uint64_t& value) { take(reader_.u64(), value); }
  void operator()(uint32_t& value) { take(reader_.u32(), value); }
  void operator()(uint8_t& value) { take(reader_.u8(), value); }
  void operator()(bool& value) {
    uint8_t byte = 0;
    (*this)(byte);
    value = byte != 0;
  }
  void operator()(float& value) {
    uint32_t bits = 0;
    (*this)(bits);
    value = std::bit_cast<float>(bits);
  }
  void operator()(double& value) {
    uint64_t bits = 0;
    (*this)(bits);
    value = std::bit_cast<double>(bits);
  }
  void operator()(Consistency& value) {
    uint8_t byte = 0;
    (*this)(byte);
    if (byte > static_cast<uint8_t>(Consistency::eventual)) fail("an unknown consistency");
    value = static_cast<Consistency>(byte);
  }
  void operator()(std::string& value) {
    uint32_t length = 0;
    (*this)(length);
    if (!failure_.empty()) return;
    auto bytes = reader_.bytes(length);
    if (!bytes) return fail("a string of " + std::to_string(length) + " bytes in fewer");
    value = *bytes;
  }
  // How many follow, of which each takes so many bytes at least.
  size_t size(size_t least_bytes) {
    uint32_t count = 0;
    (*this)(count);
    if (!failure_.empty()) return 0;
    const size_t left = reader_.rest().size();
    if (count <= left / least_bytes) return count;
    fail(std::to_string(count) + " elements in " + std::to_string(left) + " bytes");
    return 0;
  }

  std::string end() {
    if (failure_.empty() && !reader_.rest().empty()) fail("more bytes than it says");
    return std::move(failure_);
  }

 private:
  template <class T>
  void take(std::optional<T> read, T& value) {
    if (!failure_.empty()) return;
    if (!read) return fail("fewer bytes than it says");
    value = *read;
  }
  void fail(std::string why) {
    if (failure_.empty()) failure_ = std::move(why);
  }

  ByteReader reader_;
  std::string failure_;
};

// The fields in their order, for both ways.
template <class Wire, class Search>
void fields(Wire& wire, Search& search) {
  wire(search.route.group);
  wire(search.route.node);
  wire(search.route.hops);
  wire(search.route.waits);
  wire(search.route.budget_ms);
  wire(search.queries);
  wire(search.dimension);
  wire(search.vector);
  wire(search.k);
  wire(search.ef_search);
  wire(search.nprobe);
  wire(search.min_recall);
  wire(search.filter);
  wire(search.exact);
  wire(search.include_metadata);
  wire(search.include_values);
  wire(search.has_threshold);
  wire(search.distance_max);
  wire(search.applied_min);
  wire(search.last_child);
  wire(search.router);
  wire(search.consistency);
  wire(search.explain);
}

template <class Wire, class Hit>
void hit_fields(Wire& wire, Hit& hit) {
  wire(hit.id);
  wire(hit.distance);
  wire(hit.metadata);
  wire(hit.values);
}

}  // namespace

std::string pack(const ShardSearch& search) {
  Packer packer;
  packer.out.reserve(sizeof search + search.queries.size() + search.filter.size());
  fields(packer, search);
  return std::move(packer.out);
}

std::string unpack(std::string_view bytes, ShardSearch& out) {
  Unpacker unpacker(bytes);
  fields(unpacker, out);
  return unpacker.end();
}

std::string pack(const ShardHits& hits) {
  Packer packer;
  size_t count = 0;
  for (const auto& query : hits.queries) count += query.size();
  packer.out.reserve(64 + count * sizeof(ShardHit));
  packer(hits.applied_index);
  packer.size(hits.after.size());
  for (const auto& [group, index] : hits.after) {
    packer(group);
    packer(index);
  }
  packer.size(hits.queries.size());
  for (const auto& query : hits.queries) {
    packer.size(query.size());
    for (const ShardHit& hit : query) hit_fields(packer, hit);
  }
  return std::move(packer.out);
}

std::string unpack(std::string_view bytes, ShardHits& out) {
  Unpacker unpacker(bytes);
  unpacker(out.applied_index);
  out.after.clear();
  for (size_t left = unpacker.size(after_bytes); left > 0; --left) {
    uint64_t group = 0, index = 0;
    unpacker(group);
    unpacker(index);
    out.after[group] = index;
  }
  out.queries.resize(unpacker.size(query_bytes_min));
  for (auto& query : out.queries) {
    query.resize(unpacker.size(hit_bytes_min));
    for (ShardHit& hit : query) hit_fields(unpacker, hit);
  }
  return unpacker.end();
}

}  // namespace jade
