#include "actors/named_vectors.h"

#include <algorithm>

namespace jade {

std::vector<VectorSpec> vectors_of(const DatabaseSpec& spec) {
  if (!spec.named_vectors.empty()) return spec.named_vectors;
  return {{"", spec.dimension, spec.metric, spec.datatype}};
}

RecordFormat record_format(const DatabaseSpec& spec) {
  std::vector<RecordFormat::Vector> out;
  for (VectorSpec& vector : vectors_of(spec)) {
    out.push_back({std::move(vector.name), {vector.metric, vector.dimension, vector.datatype}});
  }
  return RecordFormat(std::move(out));
}

Result<uint32_t> find_vector(const DatabaseSpec& spec, const std::string& vector_name) {
  const auto& named = spec.named_vectors;
  if (named.empty()) {
    if (vector_name.empty()) return 0;
    return invalid_argument("using is \"" + vector_name + "\", but database \"" + spec.name +
                            "\" has one vector without a name; leave using out");
  }
  if (vector_name.empty()) {
    if (named.size() == 1) return 0;
    return invalid_argument("using is missing: database \"" + spec.name +
                            "\" has several vectors; name one of " + names_of(spec));
  }
  auto found = std::find_if(named.begin(), named.end(),
                            [&](const VectorSpec& vector) { return vector.name == vector_name; });
  if (found != named.end()) return static_cast<uint32_t>(found - named.begin());
  return invalid_argument("using is \"" + vector_name.substr(0, Limits::name_bytes_max) +
                          "\"; the vectors of database \"" + spec.name + "\" are " +
                          names_of(spec));
}

std::string title_of(const DatabaseSpec& spec, const VectorSpec& vector) {
  std::string database = "database \"" + spec.name + "\"";
  return vector.name.empty() ? database : "vector \"" + vector.name + "\" of " + database;
}

std::string names_of(const DatabaseSpec& spec) {
  std::string out;
  for (const VectorSpec& vector : spec.named_vectors) {
    if (!out.empty()) out += ", ";
    out += '"' + vector.name + '"';
  }
  return out;
}

Status show_values(const RecordFormat& format, const std::string& stored,
                   std::vector<float>& values, std::vector<NamedValues>& named) {
  if (stored.empty()) return {};
  if (!format.fits(stored)) {
    return corruption("a shard has values of another length or form than its database");
  }
  for (size_t v = 0; v < format.size(); ++v) {
    if (!format.has(stored, v)) continue;
    if (format.named()) {
      named.push_back({format.name(v), format.load(stored, v)});
    } else {
      values = format.load(stored, v);
    }
  }
  return {};
}

Result<std::vector<float>> values_of(const DatabaseSpec& spec, const VectorSpec& vector,
                                     const StoredVector& stored) {
  if (vector.name.empty()) return stored.values;
  for (const NamedValues& one : stored.named) {
    if (one.name == vector.name) return one.values;
  }
  return not_found("id " + stored.id.to_string() + " has no " + title_of(spec, vector));
}

}  // namespace jade
