// How two vectors are compared, and what kind of index a database has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "storage/status.h"

namespace jade {

// What a caller sees as `score`: cosine similarity and dot product (larger is
// better), or Euclidean distance (smaller is better; not squared).
enum class Metric : uint8_t { cosine = 0, l2 = 1, dot = 2 };

// `automatic`: by size, each time that a segment is built. A few vectors are compared one by
// one, and found exactly; more of them get a graph.
enum class IndexKind : uint8_t { hnsw = 0, ivf = 1, flat = 2, automatic = 3 };
inline constexpr auto index_kind_max = IndexKind::automatic;

// What graphs are walked by; the best of what is found is compared by its values anyway.
// Whole numbers of 7 bits (sq8, a byte) or of 4 bits (sq4, half a byte) a dimension, one bit
// a dimension after a rotation (rabitq), a byte for several dimensions at once, by what a
// sample of the rows looks like (pq), or the values themselves.
enum class Quantization : uint8_t { sq8 = 0, sq4 = 1, none = 2, rabitq = 3, pq = 4 };
inline constexpr auto quantization_max = Quantization::pq;

// Where the vectors of sealed segments are kept, with which the best of what a
// walk finds are compared: in memory, or on disk only, to be read one by one.
enum class VectorPlace : uint8_t { memory = 0, disk = 1 };

inline std::string_view to_string(Metric m) {
  switch (m) {
    case Metric::cosine: return "cosine";
    case Metric::l2: return "l2";
    case Metric::dot: return "dot";
  }
  return "unknown";
}

inline std::string_view to_string(IndexKind k) {
  switch (k) {
    case IndexKind::hnsw: return "hnsw";
    case IndexKind::ivf: return "ivf";
    case IndexKind::flat: return "flat";
    case IndexKind::automatic: return "auto";
  }
  return "unknown";
}

inline std::string_view to_string(Quantization q) {
  switch (q) {
    case Quantization::sq8: return "sq8";
    case Quantization::sq4: return "sq4";
    case Quantization::none: return "none";
    case Quantization::rabitq: return "rabitq";
    case Quantization::pq: return "pq";
  }
  return "unknown";
}

inline std::string_view to_string(VectorPlace p) {
  return p == VectorPlace::disk ? "disk" : "memory";
}

Result<Metric> parse_metric(std::string_view name);
Result<IndexKind> parse_index_kind(std::string_view name);
Result<Quantization> parse_quantization(std::string_view name);
Result<VectorPlace> parse_vector_place(std::string_view name);

// How sealed segments are built and searched. The defaults reach recall@10 of
// 0.95 and more on the data sets in docs/performance.md.
struct IndexOptions {
  IndexKind kind = IndexKind::hnsw;
  uint32_t m = 16;                 // HNSW: links per node above level 0 (2m on level 0); 4 to 64
  uint32_t ef_construction = 200;  // HNSW: beam width while building; m to 2,000
  uint32_t ef_search = 128;        // HNSW: default beam width of a search; 1 to 10,000
  uint32_t nlist = 0;              // IVF: number of lists; 0 chooses by size; up to 65,536
  uint32_t nprobe = 0;             // IVF: default lists visited; 0: measured by each segment
  Quantization quantization = Quantization::sq8;  // HNSW
  VectorPlace vectors = VectorPlace::memory;      // disk: HNSW with a quantization
  // Share of what an exact search finds that others are to find, instead of ef_search and
  // nprobe; 0: those count. min_recall_low to min_recall_high.
  double min_recall = 0;

  // Names the field and the allowed range.
  Status validate() const;

  friend bool operator==(const IndexOptions&, const IndexOptions&) = default;
};

// Whether databases with this type of index have graphs, and lists; `auto` makes graphs as well.
inline bool has_graphs(IndexKind type) {
  return type == IndexKind::hnsw || type == IndexKind::automatic;
}
inline bool has_lists(IndexKind type) { return type == IndexKind::ivf; }
// For `field`, an option of graphs or of lists, which would be of no effect otherwise.
Status check_has_graphs(std::string_view field, IndexKind type);
Status check_has_lists(std::string_view field, IndexKind type);

// Whether a segment that was built as one of them says is what the other asks for: what
// only tells searches how much effort to make does not count.
bool build_alike(const IndexOptions& a, const IndexOptions& b);

// What is to be different: only the fields that are there.
struct IndexChange {
  std::optional<IndexKind> kind;
  std::optional<uint32_t> m, ef_construction, ef_search, nlist, nprobe;
  std::optional<Quantization> quantization;
  std::optional<VectorPlace> vectors;
  std::optional<double> min_recall;

  // Those of `values` that `fields` names: a bit each in the order above, the lowest for
  // `kind`. Bits of no field are ignored.
  static IndexChange of(const IndexOptions& values, uint32_t fields);
  // Which are there, as bits likewise.
  uint32_t fields() const;

  // Where it is for an index of this type: names the first field that would be of no effect.
  Status check_type(IndexKind type) const;

  // Of min_recall and the others that say how much effort to make, what is given here
  // counts from now on.
  IndexOptions applied_to(IndexOptions index) const;
};

inline constexpr uint32_t dimension_max = 16384;

// Of an enumeration whose last value is `last`: whether `value` is one of it, as what a program
// passes, or a file says, may be none. `field` names it in the error.
template <class Enum>
Status check_is_known(std::string_view field, Enum value, Enum last) {
  if (value <= last) return {};
  return invalid_argument(std::string(field) + " is " + std::to_string(static_cast<int>(value)) +
                          ", which stands for nothing; the last that does is " +
                          std::to_string(static_cast<int>(last)));
}
// Of all enumerations of `index`.
Status check_is_known(const IndexOptions& index);

// How long vectors that are compared by l2 or dot may be, stored ones and those of searches: no
// distance overflows then, nor what codes and lists are made of.
inline constexpr double length_max = 1e18;
// "" where a vector, of this length squared, can be compared so, else what is wrong with it: as
// "is a zero vector, ...".
std::string refusal_of_length(Metric metric, double squared_length);

// What a search may ask for. Less would be no search, and more no sample could tell.
inline constexpr double min_recall_low = 0.5;
inline constexpr double min_recall_high = 0.999;
Status check_min_recall(std::string_view field, double value);

}  // namespace jade
