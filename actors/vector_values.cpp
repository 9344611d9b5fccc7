#include "actors/vector_values.h"

#include <algorithm>
#include <cmath>

#include "index/datatype.h"
#include "index/metadata.h"

namespace jade {
namespace {

// Of one request, whatever it has of it itself.
constexpr size_t stored_bytes_max = 64u << 20;

// `values`: as they are stored.
Status check_length(const RowFormat& format, const std::string& name, const RowPlace& place,
                    const std::vector<float>& values) {
  // Squares of floats do not overflow in double: what is not finite then is one of the values.
  double squared = 0;
  for (float value : values) squared += static_cast<double>(value) * value;
  if (!std::isfinite(squared)) {
    auto wrong = std::find_if_not(values.begin(), values.end(),
                                  [](float value) { return std::isfinite(value); });
    return invalid_argument(place.values(name) + "[" + std::to_string(wrong - values.begin()) +
                            "] is not a finite number");
  }
  std::string refused = refusal_of_length(format.metric(), squared);
  if (refused.empty()) return {};
  // Values that are not 0 may be by then.
  const char* stored =
      format.datatype() == Datatype::float16 ? ", as datatype \"float16\" stores it," : "";
  return invalid_argument(place.values(name) + stored + " " + refused);
}

}  // namespace

std::string RowPlace::vector() const {
  return alone ? "the vector" : "vectors[" + std::to_string(row) + "]";
}

std::string RowPlace::field(std::string_view name) const {
  return (alone ? "" : vector() + ".") + std::string(name);
}

std::string RowPlace::values(const std::string& name) const {
  return field("values") + (name.empty() ? "" : "." + name);
}

Status RowPlace::with_context(const Status& status) const {
  return alone ? status : status.with_context(vector());
}

Status too_many_bytes(const std::string& what, size_t bytes, size_t most) {
  return Status(Code::too_large, what + " has " + std::to_string(bytes) + " bytes; at most " +
                                     std::to_string(most) + " are allowed");
}

Status check_vector_count(size_t count) {
  if (count == 0) return invalid_argument("vectors is empty; give at least one");
  if (count <= Limits::vectors_per_upsert_max) return {};
  return Status(Code::too_large, "vectors has " + std::to_string(count) + " elements; at most " +
                                     std::to_string(Limits::vectors_per_upsert_max) +
                                     " are allowed in one request");
}

Status embed_text(const Embedder& embedder, const RowPlace& place, const std::string& text,
                  float* values, std::string& metadata) {
  if (text.size() > Limits::text_bytes_max) {
    return too_many_bytes(place.field("text"), text.size(), Limits::text_bytes_max);
  }
  Status embedded = embedder.embed(text, values);
  if (!embedded.ok()) return embedded.with_context(place.field("text"));
  auto with_text = metadata_with_text(metadata, text);
  if (!with_text.ok()) return with_text.status().with_context(place.field("metadata"));
  metadata = std::move(*with_text);
  return {};
}

Result<std::string> stored_metadata(const std::string& metadata, const std::string& what) {
  constexpr size_t most = Limits::metadata_bytes_max;
  if (metadata.size() > most) return too_many_bytes(what, metadata.size(), most);
  auto canonical = canonical_metadata(metadata);
  if (!canonical.ok()) return canonical.status().with_context(what);
  if (auto name = reserved_name(*canonical)) {
    return invalid_argument(what + " has a field " + std::string(*name) +
                            "; names that begin with $ are those of operators of filters");
  }
  // Numbers may become longer.
  if (canonical->size() > most) {
    return too_many_bytes(what + ", as it is stored,", canonical->size(), most);
  }
  return canonical;
}

Status check_stored_bytes(const RecordFormat& format, size_t rows, size_t given) {
  const size_t bytes = rows * format.row_bytes(), most = std::max(stored_bytes_max, given);
  if (!format.named() || bytes <= most) return {};
  return Status(Code::too_large,
                std::to_string(rows) + " vectors are stored as " + std::to_string(bytes) +
                    " bytes, as each has room for all of its named vectors; at most " +
                    std::to_string(most) + " are allowed in one request: send fewer at once");
}

Status store_vector(const RecordFormat& format, size_t v, const RowPlace& place,
                    std::vector<float>& values, char* stored) {
  const Datatype datatype = format.format(v).datatype();
  size_t at = 0;
  const char* wrong =
      datatype == Datatype::float32 ? nullptr : refusal(datatype, values.data(), values.size(), at);
  if (wrong != nullptr) {
    return invalid_argument(place.values(format.name(v)) + "[" + std::to_string(at) + "] " + wrong);
  }
  if (stored != nullptr) {
    const char* out = format.put(stored, v, values.data());
    // So that a vector that is zero by then is seen below.
    if (datatype != Datatype::float32) {
      load_values(datatype, out, values.size(), values.data());
    }
  }
  return check_length(format.format(v), format.name(v), place, values);
}

}  // namespace jade
