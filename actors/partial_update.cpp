#include "actors/partial_update.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "actors/named_vectors.h"
#include "actors/shard_key.h"
#include "actors/vector_values.h"
#include "index/embedder.h"
#include "index/metadata.h"
#include "storage/row_key.h"

namespace jade {
namespace {

// Several patches of one object, one after the other, as one. Of pairs, and of pairs of these, as
// merging each into all before it would take as long as the square of their number.
std::string merge_patches(std::vector<std::string> patches) {
  while (patches.size() > 1) {
    size_t merged = 0;
    for (size_t i = 0; i < patches.size(); i += 2) {
      patches[merged++] = i + 1 < patches.size() ? merge_metadata(patches[i], patches[i + 1], true)
                                                 : std::move(patches[i]);
    }
    patches.resize(merged);
  }
  return patches.empty() ? "" : std::move(patches.front());
}

class Preparer {
 public:
  explicit Preparer(const DatabaseSpec& spec) : spec_(spec), format_(record_format(spec)) {}

  // The row of one change, whose id is its key.
  Result<UpdateCommand::Row> prepare(VectorUpdate& update, const std::optional<VectorId>& key,
                                     const RowPlace& place) {
    place_ = place;
    UpdateCommand::Row row;
    if (Status valid = update.id.validate(); !valid.ok()) return place.with_context(valid);
    JADE_RETURN_IF_ERROR(prepare_metadata(update, row));
    bool by_values = !update.values.empty() || !update.named.empty() || !update.without.empty();
    if (by_values && update.text) {
      return invalid_argument(place.vector() + " has both values and text; give one of them");
    }
    JADE_RETURN_IF_ERROR(prepare_text(update, row));
    JADE_RETURN_IF_ERROR(format_.named() ? prepare_named(update, row)
                                         : prepare_unnamed(update, row));
    if (row.metadata.empty() && row.values.empty() && row.without == 0) {
      return invalid_argument(place.vector() +
                              " has nothing to change; give metadata, values or, where the "
                              "database has an embedder, text");
    }
    auto shard_key = key_of(row.metadata, key);
    if (!shard_key.ok()) return shard_key.status();
    row.id = row_key(*shard_key, update.id);
    return row;
  }

  // `row` with what `next`, of the same id, changes after it, but for metadata.
  void append(UpdateCommand::Row& row, const UpdateCommand::Row& next) const {
    uint8_t set = 0;
    for (size_t v = 0; format_.named() && !next.values.empty() && v < format_.size(); ++v) {
      set = static_cast<uint8_t>(set | format_.has(next.values, v) << v);
    }
    row.values = format_.merge(row.values, next.values, next.without);
    row.without = static_cast<uint8_t>((row.without & ~set) | next.without);
  }

 private:
  Status prepare_metadata(const VectorUpdate& update, UpdateCommand::Row& row) {
    if (update.metadata.empty()) return {};
    auto canonical = stored_metadata(update.metadata, place_.field("metadata"));
    if (!canonical.ok()) return canonical.status();
    if (*canonical != "{}") row.metadata = std::move(*canonical);
    return {};
  }

  // Text becomes values, and is kept as metadata field "text" unless that is given.
  Status prepare_text(VectorUpdate& update, UpdateCommand::Row& row) {
    if (!update.text) return {};
    const std::string& text = *update.text;
    if (spec_.embedder.empty()) {
      return invalid_argument(place_.field("text") + " is given, but database \"" + spec_.name +
                              "\" has no embedder; give values");
    }
    if (!embedder_) embedder_ = find_embedder(spec_.embedder, spec_.dimension);
    if (!embedder_) return internal_error("embedder \"" + spec_.embedder + "\" is not available");
    update.values.resize(spec_.dimension);
    return embed_text(*embedder_, place_, text, update.values.data(), row.metadata);
  }

  Status prepare_unnamed(VectorUpdate& update, UpdateCommand::Row& row) const {
    if (!update.named.empty() || !update.without.empty()) {
      return invalid_argument(place_.field("values") + " are given by name, but database \"" +
                              spec_.name +
                              "\" has one vector without a name; give them as an array of numbers");
    }
    return update.values.empty() ? Status() : put(0, update.values, row);
  }

  Status prepare_named(VectorUpdate& update, UpdateCommand::Row& row) const {
    if (!update.values.empty()) {
      return invalid_argument(place_.field("values") + " are given without names, but database \"" +
                              spec_.name + "\" has the vectors " + names_of(spec_) +
                              ": give them by name, in JSON as an object of one array for each");
    }
    uint8_t given = 0;
    auto find = [&](const std::string& name) -> Result<size_t> {
      for (size_t v = 0; v < format_.size(); ++v) {
        if (format_.name(v) != name) continue;
        if ((given >> v & 1) != 0) {
          return invalid_argument(place_.values(name) + " is given twice");
        }
        given = static_cast<uint8_t>(given | 1u << v);
        return v;
      }
      return invalid_argument(
          place_.field("values") + " has \"" + name.substr(0, Limits::name_bytes_max) +
          "\"; the vectors of database \"" + spec_.name + "\" are " + names_of(spec_));
    };
    for (NamedValues& one : update.named) {
      auto v = find(one.name);
      if (!v.ok()) return v.status();
      JADE_RETURN_IF_ERROR(put(*v, one.values, row));
    }
    for (const std::string& name : update.without) {
      auto v = find(name);
      if (!v.ok()) return v.status();
      row.without = static_cast<uint8_t>(row.without | 1u << *v);
    }
    return {};
  }

  Status put(size_t v, std::vector<float>& values, UpdateCommand::Row& row) const {
    const uint32_t dimension = format_.format(v).dimension();
    if (values.size() != dimension) {
      return invalid_argument(
          place_.values(format_.name(v)) + " has " + std::to_string(values.size()) + " values; " +
          title_of(spec_, vectors_of(spec_)[v]) + " has dimension " + std::to_string(dimension));
    }
    if (row.values.empty()) row.values.resize(format_.row_bytes());
    return store_vector(format_, v, place_, values, row.values.data());
  }

  // The shard key's value, which the metadata may name, but not change.
  Result<std::optional<VectorId>> key_of(const std::string& metadata,
                                         const std::optional<VectorId>& key) const {
    JADE_RETURN_IF_ERROR(check_key(spec_, key, false));
    if (spec_.shard_key.empty()) return std::optional<VectorId>();
    auto field = find_field(metadata, canonical_string(spec_.shard_key));
    if (!field) {
      if (Status given = check_key(spec_, key, true); !given.ok()) return given;
      return key;
    }
    const std::string name = place_.field("metadata") + "." + spec_.shard_key;
    if (*field == "null") {
      return invalid_argument(name +
                              " is null, but it tells the shard of a vector and cannot be taken "
                              "away");
    }
    auto named = key_of_metadata(spec_, metadata);
    if (!named.ok()) return named.status().with_context(place_.field("metadata"));
    if (key && *key != **named) {
      return invalid_argument(name + " is " + (*named)->to_string() + " and key is " +
                              key->to_string() +
                              "; it tells the shard of a vector and cannot be changed: delete the "
                              "vector and write it anew");
    }
    return named;
  }

  const DatabaseSpec& spec_;
  const RecordFormat format_;
  std::shared_ptr<const Embedder> embedder_;
  RowPlace place_;
};

}  // namespace

Result<PreparedUpdate> prepare_update(const DatabaseSpec& spec, UpdateRequest& request) {
  const size_t n = request.vectors.size();
  JADE_RETURN_IF_ERROR(check_vector_count(n));
  size_t with_values = 0, given = 0;
  for (const VectorUpdate& update : request.vectors) {
    with_values += update.named.empty() ? 0 : 1;
    for (const NamedValues& one : update.named) given += one.values.size() * sizeof(float);
  }
  JADE_RETURN_IF_ERROR(check_stored_bytes(record_format(spec), with_values, given));
  PreparedUpdate out;
  // A text is stored beside the metadata that came with it, where quotes and line ends take two.
  out.metadata_bytes_max = static_cast<uint32_t>(
      Limits::metadata_bytes_max + (spec.embedder.empty() ? 0 : 2 * Limits::text_bytes_max));
  Preparer preparer(spec);
  std::unordered_map<std::string, size_t> rows;    // by key
  std::vector<std::vector<std::string>> metadata;  // of each row, as it came
  for (size_t i = 0; i < n; ++i) {
    RowPlace place{i, request.named_by_client};
    auto row = preparer.prepare(request.vectors[i], request.key, place);
    if (!row.ok()) return row.status();
    std::string patch = std::exchange(row->metadata, {});
    auto [known, first] = rows.try_emplace(row->id, out.rows.size());
    if (first) {
      auto key = shard_key_of_row_key(row->id);
      if (!key.ok()) return key.status();
      if (*key) out.keys.push_back(**key);
      out.rows.push_back(std::move(*row));
      out.ids.push_back(std::move(request.vectors[i].id));
      metadata.emplace_back();
    } else {
      preparer.append(out.rows[known->second], *row);
    }
    if (!patch.empty()) metadata[known->second].push_back(std::move(patch));
  }
  for (size_t i = 0; i < out.rows.size(); ++i) {
    out.rows[i].metadata = merge_patches(std::move(metadata[i]));
    if (out.rows[i].metadata.size() <= out.metadata_bytes_max) continue;
    return too_many_bytes("what changes in the metadata of vector " + out.ids[i].to_string(),
                          out.rows[i].metadata.size(), out.metadata_bytes_max);
  }
  return out;
}

}  // namespace jade
