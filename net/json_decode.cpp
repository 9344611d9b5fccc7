#include "index/datatype.h"
#include "net/json_codec.h"
#include "net/json_reader.h"

namespace jade {
namespace {

// Each enum below counts through the list of names beside it.
enum CreateField {
  c_name,
  c_dimension,
  c_metric,
  c_shards,
  c_replicas,
  c_index,
  c_embedder,
  c_shard_key,
  c_sharding,
  c_probes,
  c_datatype,
  c_named_vectors
};
enum AlterField { a_replicas, a_index };
constexpr std::string_view alter_names[] = {"replicas", "index"};
constexpr std::string_view create_names[] = {"name",     "dimension", "metric",   "shards",
                                             "replicas", "index",     "embedder", "shard_key",
                                             "sharding", "probes",    "datatype", "named_vectors"};
enum NamedVectorField { n_dimension, n_metric, n_datatype };
constexpr std::string_view named_vector_names[] = {"dimension", "metric", "datatype"};
// As in IndexChange.
enum IndexField {
  i_type,
  i_m,
  i_ef_construction,
  i_ef_search,
  i_nlist,
  i_nprobe,
  i_quantization,
  i_vectors,
  i_min_recall
};
constexpr std::string_view index_names[] = {"type",         "m",       "ef_construction",
                                            "ef_search",    "nlist",   "nprobe",
                                            "quantization", "vectors", "min_recall"};
enum UpsertField { u_vectors };
constexpr std::string_view upsert_names[] = {"vectors"};
enum VectorField { v_id, v_values, v_metadata, v_text };
constexpr std::string_view vector_names[] = {"id", "values", "metadata", "text"};
enum UpdateField { p_vectors, p_key };
constexpr std::string_view update_names[] = {"vectors", "key"};
// Of one whose id is known; others have it as well.
enum PatchField { f_values, f_metadata, f_text, f_id };
constexpr std::string_view update_vector_names[] = {"values", "metadata", "text", "id"};
constexpr std::span<const std::string_view> patch_names(update_vector_names, f_id);
enum RemoveField { r_ids, r_filter, r_key };
constexpr std::string_view remove_names[] = {"ids", "filter", "key"};
enum SearchField {
  s_vector,
  s_text,
  s_k,
  s_filter,
  s_include,
  s_consistency,
  s_token,
  s_ef_search,
  s_nprobe,
  s_score_threshold,
  s_exact,
  s_partial,
  s_key,
  s_id,
  s_positive,
  s_negative,
  s_offset,
  s_group_by,
  s_group_size,
  s_probes,
  s_timeout_ms,
  s_explain,
  s_min_recall,
  s_using
};
constexpr std::string_view search_names[] = {
    "vector",     "text",      "k",          "filter",          "include",    "consistency",
    "token",      "ef_search", "nprobe",     "score_threshold", "exact",      "partial",
    "key",        "id",        "positive",   "negative",        "offset",     "group_by",
    "group_size", "probes",    "timeout_ms", "explain",         "min_recall", "using"};
enum BatchField { b_searches, b_timeout_ms };
constexpr std::string_view batch_names[] = {"searches", "timeout_ms"};

constexpr size_t token_bytes_max = 4096;
constexpr size_t word_bytes_max = 128;  // of names, metrics, kinds

bool has(uint32_t seen, unsigned field) { return (seen & (1u << field)) != 0; }

Status read_index_fields(JsonValue& value, const JsonPath& path, IndexOptions& index,
                         uint32_t& seen) {
  return read_object(value, path, index_names, seen,
                     [&](size_t i, JsonValue v, const JsonPath& at) -> Status {
                       switch (i) {
                         case i_type: {
                           std::string name;
                           JADE_RETURN_IF_ERROR(read_string(v, at, word_bytes_max, name));
                           auto kind = parse_index_kind(name);
                           if (!kind) return kind.status();
                           index.kind = *kind;
                           return {};
                         }
                         case i_m: return read_uint(v, at, index.m, {4, 64});
                         case i_ef_construction:
                           return read_uint(v, at, index.ef_construction, {4, 2000});
                         case i_ef_search: return read_uint(v, at, index.ef_search, {1, 10000});
                         case i_nlist: return read_uint(v, at, index.nlist, {0, 65536});
                         case i_nprobe: return read_uint(v, at, index.nprobe, {0, 65536});
                         case i_vectors: {
                           std::string name;
                           JADE_RETURN_IF_ERROR(read_string(v, at, word_bytes_max, name));
                           auto place = parse_vector_place(name);
                           if (!place) return place.status();
                           index.vectors = *place;
                           return {};
                         }
                         case i_min_recall: return read_double(v, at, index.min_recall);
                         default: {
                           std::string name;
                           JADE_RETURN_IF_ERROR(read_string(v, at, word_bytes_max, name));
                           auto quantization = parse_quantization(name);
                           if (!quantization) return quantization.status();
                           index.quantization = *quantization;
                           return {};
                         }
                       }
                     });
}

// `seen` gets the fields that are there.
Status read_index(JsonValue& value, const JsonPath& path, IndexOptions& index, uint32_t& seen) {
  JADE_RETURN_IF_ERROR(read_index_fields(value, path, index, seen));
  for (unsigned effort : {i_ef_search, i_nprobe}) {
    if (!has(seen, i_min_recall) || !has(seen, effort)) continue;
    return invalid_argument(path.to_string() + " has both min_recall and " +
                            std::string(index_names[effort]) +
                            "; each says how much effort to make, so give one");
  }
  return {};
}

Result<IndexChange> read_index_change(JsonValue& value, const JsonPath& path) {
  IndexOptions given;
  uint32_t seen = 0;
  JADE_RETURN_IF_ERROR(read_index(value, path, given, seen));
  if (seen == 0) return invalid_argument(path.to_string() + " is empty; name what is to change");
  return IndexChange::of(given, seen);
}

Status read_datatype(JsonValue& value, const JsonPath& path, Datatype& datatype) {
  std::string name;
  JADE_RETURN_IF_ERROR(read_string(value, path, word_bytes_max, name));
  auto parsed = parse_datatype(name);
  if (!parsed) return parsed.status();
  datatype = *parsed;
  return {};
}

Status read_metric(JsonValue& value, const JsonPath& path, Metric& metric) {
  std::string name;
  JADE_RETURN_IF_ERROR(read_string(value, path, word_bytes_max, name));
  auto parsed = parse_metric(name);
  if (!parsed) return parsed.status();
  metric = *parsed;
  return {};
}

Status read_named_vector(JsonValue& value, const JsonPath& path, VectorSpec& vector) {
  uint32_t seen = 0;
  JADE_RETURN_IF_ERROR(read_object(
      value, path, named_vector_names, seen, [&](size_t i, JsonValue v, const JsonPath& at) {
        switch (i) {
          case n_dimension: return read_uint(v, at, vector.dimension, {1, dimension_max});
          case n_metric: return read_metric(v, at, vector.metric);
          default: return read_datatype(v, at, vector.datatype);
        }
      }));
  return has(seen, n_dimension) ? Status() : missing_field("dimension", path);
}

Status read_named_vectors(JsonValue& value, const JsonPath& path, std::vector<VectorSpec>& out) {
  JADE_RETURN_IF_ERROR(read_members(
      value, path, [&](std::string_view name, JsonValue v, const JsonPath& at) -> Status {
        if (out.size() == Limits::named_vectors_max) {
          return invalid_argument(path.to_string() + " has more than " +
                                  std::to_string(out.size()) + " vectors");
        }
        VectorSpec& vector = out.emplace_back();
        vector.name = name;
        return read_named_vector(v, at, vector);
      }));
  return out.empty() ? invalid_argument(path.to_string() + " is empty; name at least one vector")
                     : Status();
}

Status too_many(const JsonPath& path, size_t most) {
  return Status(Code::too_large, path.to_string() + " has more than " + std::to_string(most) +
                                     " elements; send them in several requests");
}

// Gathers rows into the columns of an UpsertRequest.
class UpsertReader {
 public:
  Result<UpsertRequest> read(std::string& body) {
    uint32_t seen = 0;
    JsonDocument document(body);
    JADE_RETURN_IF_ERROR(
        document.read(upsert_names, seen, [&](size_t, JsonValue vectors, const JsonPath& path) {
          return read_array(vectors, path, [&](size_t i, JsonValue& v, const JsonPath& at) {
            return i < Limits::vectors_per_upsert_max
                       ? read_row(v, at)
                       : too_many(path, Limits::vectors_per_upsert_max);
          });
        }));
    if (!has(seen, u_vectors)) return missing_field("vectors", {});
    if (request_.ids.empty()) return invalid_argument("vectors is empty; give at least one");
    return std::move(request_);
  }

 private:
  Status read_row(JsonValue& value, const JsonPath& path) {
    uint32_t seen = 0;
    size_t row = request_.ids.size();
    request_.ids.emplace_back();
    JADE_RETURN_IF_ERROR(read_object(
        value, path, vector_names, seen, [&](size_t i, JsonValue v, const JsonPath& at) -> Status {
          switch (i) {
            case v_id: return read_id(v, at, request_.ids[row]);
            case v_values: return read_values(v, at);
            case v_metadata:
              request_.metadata.resize(row + 1);
              return read_raw_object(v, at, Limits::metadata_bytes_max, request_.metadata[row]);
            default:
              request_.texts.resize(row + 1);
              return read_string(v, at, Limits::text_bytes_max, request_.texts[row]);
          }
        }));
    if (!has(seen, v_id)) return missing_field("id", path);
    if (has(seen, v_values) == has(seen, v_text)) {
      return invalid_argument(path.to_string() + " must have either \"values\" or \"text\"");
    }
    if (row == 0) by_text_ = has(seen, v_text);
    if (has(seen, v_text) != by_text_) {
      return invalid_argument(path.to_string() + " has " + (by_text_ ? "values" : "text") +
                              " and those before it have " + (by_text_ ? "text" : "values") +
                              "; one request holds one kind");
    }
    if (!request_.metadata.empty()) request_.metadata.resize(row + 1);
    return {};
  }

  // An array or, where vectors have names, an object of arrays.
  Status read_values(JsonValue& value, const JsonPath& path) {
    simdjson::ondemand::json_type type;
    if (auto error = value.type().get(type)) return malformed(error, path);
    const bool by_name = type == simdjson::ondemand::json_type::object;
    if (!by_name && type != simdjson::ondemand::json_type::array) {
      return wrong_type(value, path, "an array, or an object of arrays by name");
    }
    if (by_name ? !request_.values.empty() : !request_.named.empty()) {
      return invalid_argument(path.to_string() + " is " + (by_name ? "an object" : "an array") +
                              ", and the values before it are not; one request holds one kind");
    }
    return by_name ? read_named(value, path) : read_unnamed(value, path);
  }

  Status read_named(JsonValue& value, const JsonPath& path) {
    bool any = false;
    JADE_RETURN_IF_ERROR(
        read_members(value, path, [&](std::string_view name, JsonValue v, const JsonPath& at) {
          any = true;
          return read_one_named(name, v, at);
        }));
    return any ? Status()
               : invalid_argument(path.to_string() + " is empty; give at least one vector");
  }

  Status read_one_named(std::string_view name, JsonValue& value, const JsonPath& path) {
    const auto row = static_cast<uint32_t>(request_.ids.size() - 1);
    VectorColumn* column = column_of(name);
    if (column == nullptr) {
      return invalid_argument(path.to_string() + " is one vector too many: those before it have " +
                              std::to_string(request_.named.size()) +
                              " names, which is as many as a database can have");
    }
    if (!column->rows.empty() && column->rows.back() == row) {
      return repeated_field(name, *path.parent);
    }
    column->rows.push_back(row);
    return read_row_of(value, path, column->dimension, column->values);
  }

  // Null: there are too many others.
  VectorColumn* column_of(std::string_view name) {
    for (VectorColumn& column : request_.named) {
      if (column.name == name) return &column;
    }
    if (request_.named.size() == Limits::named_vectors_max) return nullptr;
    VectorColumn& column = request_.named.emplace_back();
    column.name = name;
    return &column;
  }

  Status read_unnamed(JsonValue& value, const JsonPath& path) {
    return read_row_of(value, path, request_.dimension, request_.values);
  }

  // `dimension`: of the rows before, or 0.
  Status read_row_of(JsonValue& value, const JsonPath& path, uint32_t& dimension,
                     std::string& values) {
    JADE_RETURN_IF_ERROR(read_floats(value, path, row_));
    if (row_.empty()) return invalid_argument(path.to_string() + " is empty");
    if (dimension == 0) dimension = static_cast<uint32_t>(row_.size());
    if (row_.size() != dimension) {
      return invalid_argument(path.to_string() + " has " + std::to_string(row_.size()) +
                              " numbers and the vectors before it have " +
                              std::to_string(dimension));
    }
    values.append(reinterpret_cast<const char*>(row_.data()), row_.size() * sizeof(float));
    return {};
  }

  UpsertRequest request_;
  std::vector<float> row_;
  bool by_text_ = false;
};

Status read_set_values(JsonValue& value, const JsonPath& path, std::vector<float>& out) {
  JADE_RETURN_IF_ERROR(read_floats(value, path, out));
  return out.empty() ? invalid_argument(path.to_string() + " is empty") : Status();
}

// An array or, where vectors have names, an object of arrays and nulls.
Status read_changed_values(JsonValue& value, const JsonPath& path, VectorUpdate& update) {
  simdjson::ondemand::json_type type;
  if (auto error = value.type().get(type)) return malformed(error, path);
  if (type == simdjson::ondemand::json_type::array) {
    return read_set_values(value, path, update.values);
  }
  if (type != simdjson::ondemand::json_type::object) {
    return wrong_type(value, path, "an array, or an object of arrays, or null, by name");
  }
  JADE_RETURN_IF_ERROR(read_members(
      value, path, [&](std::string_view name, JsonValue v, const JsonPath& at) -> Status {
        simdjson::ondemand::json_type of_one;
        if (auto error = v.type().get(of_one)) return malformed(error, at);
        if (of_one == simdjson::ondemand::json_type::null) {
          bool null = false;
          if (auto error = v.is_null().get(null)) return malformed(error, at);
          update.without.emplace_back(name);
          return {};
        }
        NamedValues& one = update.named.emplace_back();
        one.name = name;
        return read_set_values(v, at, one.values);
      }));
  if (!update.named.empty() || !update.without.empty()) return {};
  return invalid_argument(path.to_string() + " is empty; give at least one vector");
}

Status read_patch_field(size_t field, JsonValue& v, const JsonPath& at, VectorUpdate& update) {
  switch (field) {
    case f_values: return read_changed_values(v, at, update);
    case f_metadata: return read_raw_object(v, at, Limits::metadata_bytes_max, update.metadata);
    case f_text: return read_string(v, at, Limits::text_bytes_max, update.text.emplace());
    default: return read_id(v, at, update.id);
  }
}

Status read_include(JsonValue& value, const JsonPath& path, SearchRequest& search) {
  search.include_metadata = search.include_values = false;
  return read_array(value, path, [&](size_t, JsonValue& v, const JsonPath& at) -> Status {
    std::string part;
    JADE_RETURN_IF_ERROR(read_string(v, at, word_bytes_max, part));
    if (part == "metadata") {
      search.include_metadata = true;
    } else if (part == "values") {
      search.include_values = true;
    } else {
      return invalid_argument(at.to_string() + " is \"" + part +
                              "\"; it must be \"metadata\" or \"values\"");
    }
    return {};
  });
}

Status read_consistency(JsonValue& value, const JsonPath& path, Consistency& consistency) {
  std::string name;
  JADE_RETURN_IF_ERROR(read_string(value, path, word_bytes_max, name));
  auto known = parse_consistency(path.to_string(), name);
  if (!known) return known.status();
  consistency = *known;
  return {};
}

// Each is an id or an array of numbers.
Status read_examples(JsonValue& value, const JsonPath& path, std::vector<Example>& examples) {
  return read_array(value, path, [&](size_t i, JsonValue& v, const JsonPath& at) -> Status {
    if (i == Limits::examples_max) {
      return Status(Code::too_large, path.to_string() + " has more than " + std::to_string(i) +
                                         " examples, which is the most");
    }
    Example& example = examples.emplace_back();
    simdjson::ondemand::json_type type;
    if (auto error = v.type().get(type)) return malformed(error, at);
    if (type != simdjson::ondemand::json_type::array) return read_id(v, at, example.id.emplace());
    JADE_RETURN_IF_ERROR(read_floats(v, at, example.vector));
    return example.vector.empty() ? invalid_argument(at.to_string() + " is empty") : Status();
  });
}

Status read_timeout(JsonValue& value, const JsonPath& path, std::optional<uint32_t>& timeout_ms) {
  JADE_RETURN_IF_ERROR(read_uint(value, path, timeout_ms.emplace(), {1, Limits::timeout_ms_max}));
  if (*timeout_ms >= 1 && *timeout_ms <= Limits::timeout_ms_max) return {};
  return invalid_argument(path.to_string() + " is " + std::to_string(*timeout_ms) +
                          "; it must be 1 to " + std::to_string(Limits::timeout_ms_max));
}

Status read_search_field(size_t i, JsonValue& v, const JsonPath& at, SearchRequest& search) {
  switch (i) {
    case s_vector: return read_floats(v, at, search.vector);
    case s_text: return read_string(v, at, Limits::text_bytes_max, search.text);
    case s_k: return read_uint(v, at, search.k, {1, Limits::k_max});
    case s_filter: return read_raw_object(v, at, Limits::metadata_bytes_max, search.filter);
    case s_include: return read_include(v, at, search);
    case s_consistency: return read_consistency(v, at, search.consistency);
    case s_token: return read_string(v, at, token_bytes_max, search.token);
    case s_ef_search: return read_uint(v, at, search.ef_search.emplace(), {1, 10000});
    case s_nprobe: return read_uint(v, at, search.nprobe.emplace(), {1, 65536});
    case s_score_threshold: return read_float(v, at, search.score_threshold.emplace());
    case s_exact: return read_bool(v, at, search.exact);
    case s_partial: return read_bool(v, at, search.partial);
    case s_id: return read_id(v, at, search.id.emplace());
    case s_positive: return read_examples(v, at, search.positive);
    case s_negative: return read_examples(v, at, search.negative);
    case s_offset: return read_uint(v, at, search.offset, {0, Limits::k_max - 1});
    case s_group_by: return read_string(v, at, Limits::group_by_bytes_max, search.group_by);
    case s_group_size: return read_uint(v, at, search.group_size, {1, Limits::group_size_max});
    case s_probes: return read_uint(v, at, search.probes.emplace(), {1, Limits::shards_max});
    case s_timeout_ms: return read_timeout(v, at, search.timeout_ms);
    case s_min_recall: return read_double(v, at, search.min_recall.emplace());
    case s_using: return read_string(v, at, Limits::name_bytes_max, search.vector_name);
    case s_explain: return read_bool(v, at, search.explain);
    default: return read_id(v, at, search.key.emplace());
  }
}

// What no database could accept; the rest is for who knows the database.
Status check_search(const SearchRequest& search, uint32_t seen, const JsonPath& path) {
  std::string prefix = path.to_string();
  if (!prefix.empty()) prefix += '.';
  if (has(seen, s_vector) + has(seen, s_text) + has(seen, s_id) + has(seen, s_positive) != 1) {
    std::string subject = path.to_string();
    return invalid_argument((subject.empty() ? "the search" : subject) +
                            " must have exactly one of \"vector\", \"text\", \"id\" and "
                            "\"positive\"");
  }
  for (unsigned field : {s_positive, s_negative}) {
    const auto& examples = field == s_positive ? search.positive : search.negative;
    if (has(seen, field) && examples.empty()) {
      return invalid_argument(prefix + std::string(search_names[field]) +
                              " is empty; give at least one example");
    }
  }
  if (has(seen, s_group_by) && search.group_by.empty()) {
    return invalid_argument(prefix + "group_by is empty; name a metadata field");
  }
  if (has(seen, s_using) && search.vector_name.empty()) {
    return invalid_argument(prefix + "using is empty; name a vector");
  }
  if (has(seen, s_vector) && search.vector.empty()) {
    return invalid_argument(prefix + "vector is empty");
  }
  if (search.k == 0 || search.k > Limits::k_max) {
    return invalid_argument(prefix + "k is " + std::to_string(search.k) + "; it must be 1 to " +
                            std::to_string(Limits::k_max));
  }
  return {};
}

// `name`: "" where none was given.
Status set_sharding(const std::string& name, DatabaseSpec& spec) {
  bool by_key = !spec.shard_key.empty();
  if (name == "vector") {
    spec.sharding = Sharding::vector;
  } else if (name == "key" && !by_key) {
    return invalid_argument(
        "sharding is \"key\", but shard_key is missing: name the metadata field that chooses the "
        "shard");
  } else if (name == "hash" && by_key) {
    return invalid_argument(
        "sharding is \"hash\", by the id, and a shard_key is given, by which it would be \"key\"; "
        "leave one of them out");
  } else if (!name.empty() && name != "hash" && name != "key") {
    return invalid_argument("sharding is \"" + name +
                            "\"; it must be \"hash\", \"key\" (with a shard_key) or \"vector\"");
  }
  return {};
}

}  // namespace

Result<Consistency> parse_consistency(std::string_view name, std::string_view value) {
  if (value == "session") return Consistency::session;
  if (value == "strong") return Consistency::strong;
  if (value == "eventual") return Consistency::eventual;
  return invalid_argument(std::string(name) + " is \"" + std::string(value) +
                          "\"; it must be \"session\", \"strong\" or \"eventual\"");
}

Result<DatabaseSpec> decode_create(std::string& body) {
  DatabaseSpec spec;
  std::string sharding;
  uint32_t seen = 0, index_fields = 0;
  JsonDocument document(body);
  JADE_RETURN_IF_ERROR(
      document.read(create_names, seen, [&](size_t i, JsonValue v, const JsonPath& at) -> Status {
        switch (i) {
          case c_name: return read_string(v, at, 4 * Limits::name_bytes_max, spec.name);
          case c_dimension: return read_uint(v, at, spec.dimension, {1, dimension_max});
          case c_metric: return read_metric(v, at, spec.metric);
          case c_datatype: return read_datatype(v, at, spec.datatype);
          case c_shards: return read_uint(v, at, spec.shards, {1, Limits::shards_max});
          case c_replicas: return read_uint(v, at, spec.replicas, {1, Limits::replicas_max});
          case c_index: return read_index(v, at, spec.index, index_fields);
          case c_embedder: return read_string(v, at, word_bytes_max, spec.embedder);
          case c_sharding: return read_string(v, at, word_bytes_max, sharding);
          case c_named_vectors: return read_named_vectors(v, at, spec.named_vectors);
          case c_probes: return read_uint(v, at, spec.probes, {0, Limits::shards_max});
          default: return read_string(v, at, 4 * Limits::name_bytes_max, spec.shard_key);
        }
      }));
  JADE_RETURN_IF_ERROR(IndexChange::of(spec.index, index_fields).check_type(spec.index.kind));
  JADE_RETURN_IF_ERROR(set_sharding(sharding, spec));
  if (!has(seen, c_name)) return missing_field("name", {});
  if (!has(seen, c_named_vectors)) {
    return has(seen, c_dimension) ? Result<DatabaseSpec>(std::move(spec))
                                  : missing_field("dimension", {});
  }
  for (unsigned other : {c_dimension, c_metric, c_datatype}) {
    if (!has(seen, other)) continue;
    return invalid_argument("named_vectors and " + std::string(create_names[other]) +
                            " are given; each named vector has its own");
  }
  return spec;
}

Result<AlterDatabaseRequest> decode_alter(std::string& body) {
  AlterDatabaseRequest request;
  uint32_t seen = 0;
  JsonDocument document(body);
  JADE_RETURN_IF_ERROR(
      document.read(alter_names, seen, [&](size_t i, JsonValue v, const JsonPath& at) -> Status {
        if (i == a_replicas)
          return read_uint(v, at, request.replicas.emplace(), {1, Limits::replicas_max});
        auto index = read_index_change(v, at);
        if (!index) return index.status();
        request.index = *index;
        return {};
      }));
  if (request.replicas.has_value() == request.index.has_value()) {
    return invalid_argument("give either replicas or index, what is to be changed");
  }
  return request;
}

Result<UpsertRequest> decode_json_upsert(std::string& body) { return UpsertReader().read(body); }

Result<UpdateRequest> decode_update(std::string& body) {
  UpdateRequest request;
  uint32_t seen = 0;
  auto read_one = [&](size_t n, JsonValue& value, const JsonPath& path) -> Status {
    if (n == Limits::vectors_per_upsert_max) return too_many(*path.parent, n);
    VectorUpdate& update = request.vectors.emplace_back();
    uint32_t fields = 0;
    JADE_RETURN_IF_ERROR(read_object(value, path, update_vector_names, fields,
                                     [&](size_t i, JsonValue v, const JsonPath& at) {
                                       return read_patch_field(i, v, at, update);
                                     }));
    return has(fields, f_id) ? Status() : missing_field("id", path);
  };
  JsonDocument document(body);
  JADE_RETURN_IF_ERROR(
      document.read(update_names, seen, [&](size_t i, JsonValue v, const JsonPath& at) {
        return i == p_key ? read_id(v, at, request.key.emplace()) : read_array(v, at, read_one);
      }));
  if (!has(seen, p_vectors)) return missing_field("vectors", {});
  if (request.vectors.empty()) return invalid_argument("vectors is empty; give at least one");
  return request;
}

Result<VectorUpdate> decode_update_vector(std::string& body) {
  VectorUpdate update;
  uint32_t seen = 0;
  JsonDocument document(body);
  JADE_RETURN_IF_ERROR(
      document.read(patch_names, seen, [&](size_t i, JsonValue v, const JsonPath& at) {
        return read_patch_field(i, v, at, update);
      }));
  return update;
}

Result<DeleteRequest> decode_delete(std::string& body) {
  DeleteRequest request;
  uint32_t seen = 0;
  JsonDocument document(body);
  JADE_RETURN_IF_ERROR(
      document.read(remove_names, seen, [&](size_t i, JsonValue v, const JsonPath& at) -> Status {
        if (i == r_filter) {
          return read_raw_object(v, at, Limits::metadata_bytes_max, request.filter);
        }
        if (i == r_key) return read_id(v, at, request.key.emplace());
        return read_array(v, at, [&](size_t n, JsonValue& id, const JsonPath& id_at) -> Status {
          if (n == Limits::vectors_per_upsert_max) return too_many(at, n);
          return read_id(id, id_at, request.ids.emplace_back());
        });
      }));
  if (has(seen, r_ids) == has(seen, r_filter)) {
    return invalid_argument("a deletion must have either \"ids\" or \"filter\"");
  }
  if (has(seen, r_ids) && request.ids.empty()) {
    return invalid_argument("ids is empty; give at least one");
  }
  return request;
}

Result<SearchRequest> decode_json_search(std::string& body) {
  SearchRequest search;
  uint32_t seen = 0;
  JsonDocument document(body);
  JADE_RETURN_IF_ERROR(
      document.read(search_names, seen, [&](size_t i, JsonValue v, const JsonPath& at) {
        return read_search_field(i, v, at, search);
      }));
  JADE_RETURN_IF_ERROR(check_search(search, seen, {}));
  return search;
}

Result<SearchBatchRequest> decode_json_search_batch(std::string& body) {
  SearchBatchRequest batch;
  uint32_t batch_seen = 0;
  auto read_one = [&](size_t n, JsonValue& value, const JsonPath& path) -> Status {
    if (n == Limits::searches_per_batch_max) return too_many(*path.parent, n);
    SearchRequest& search = batch.searches.emplace_back();
    uint32_t seen = 0;
    JADE_RETURN_IF_ERROR(read_object(value, path, search_names, seen,
                                     [&](size_t i, JsonValue v, const JsonPath& at) {
                                       return read_search_field(i, v, at, search);
                                     }));
    if (has(seen, s_timeout_ms)) {
      return invalid_argument(path.field("timeout_ms").to_string() +
                              " is given; a batch has one for all its searches");
    }
    return check_search(search, seen, path);
  };
  JsonDocument document(body);
  JADE_RETURN_IF_ERROR(
      document.read(batch_names, batch_seen, [&](size_t i, JsonValue v, const JsonPath& at) {
        return i == b_searches ? read_array(v, at, read_one)
                               : read_timeout(v, at, batch.timeout_ms);
      }));
  if (!has(batch_seen, b_searches)) return missing_field("searches", {});
  if (batch.searches.empty()) return invalid_argument("searches is empty; give at least one");
  return batch;
}

namespace json_fields {
std::span<const std::string_view> create() { return create_names; }
std::span<const std::string_view> named_vector() { return named_vector_names; }
std::span<const std::string_view> alter() { return alter_names; }
std::span<const std::string_view> index() { return index_names; }
std::span<const std::string_view> upsert() { return upsert_names; }
std::span<const std::string_view> upsert_vector() { return vector_names; }
std::span<const std::string_view> update() { return update_names; }
std::span<const std::string_view> update_vector() { return update_vector_names; }
std::span<const std::string_view> patch_vector() { return patch_names; }
std::span<const std::string_view> remove() { return remove_names; }
std::span<const std::string_view> search() { return search_names; }
std::span<const std::string_view> search_batch() { return batch_names; }
}  // namespace json_fields

}  // namespace jade
