#include "actors/shard_key.h"

#include <boost/json.hpp>

#include "index/metadata.h"

namespace jade {

Status check_key(const DatabaseSpec& spec, const std::optional<VectorId>& key, bool required) {
  if (spec.shard_key.empty()) {
    if (!key) return {};
    return invalid_argument("key is given, but database \"" + spec.name +
                            "\" has no shard key; leave it out");
  }
  if (key) return key->validate().with_context("key");
  if (!required) return {};
  return invalid_argument("key is missing: database \"" + spec.name +
                          "\" is sharded by metadata field \"" + spec.shard_key +
                          "\", and its ids are unique within one value of that");
}

Result<std::optional<VectorId>> key_of_metadata(const DatabaseSpec& spec,
                                                std::string_view metadata) {
  if (spec.shard_key.empty()) return std::optional<VectorId>();
  auto field = find_field(metadata, canonical_string(spec.shard_key));
  if (!field) {
    return invalid_argument("field \"" + spec.shard_key +
                            "\" is missing, which tells the shard of a vector");
  }
  boost::json::error_code error;
  boost::json::value value = boost::json::parse({field->data(), field->size()}, error);
  std::optional<VectorId> key;
  if (!error && value.is_string()) {
    key = VectorId(std::string(value.as_string()));
  } else if (!error && value.is_int64() && value.as_int64() >= 0) {
    key = VectorId(static_cast<uint64_t>(value.as_int64()));
  } else if (!error && value.is_uint64()) {
    key = VectorId(value.as_uint64());
  } else {
    return invalid_argument("field \"" + spec.shard_key + "\" is " + std::string(*field) +
                            "; it tells the shard of a vector, and must be a string or an "
                            "integer from 0 to 18446744073709551615");
  }
  if (Status valid = key->validate(); !valid.ok()) {
    return valid.with_context("field \"" + spec.shard_key + "\"");
  }
  return key;
}

std::string filter_of_key(const DatabaseSpec& spec, const std::optional<VectorId>& key,
                          const std::string& filter) {
  if (!key) return filter;
  std::string value =
      key->is_integer() ? std::to_string(key->integer()) : canonical_string(key->text());
  std::string own = "{" + canonical_string(spec.shard_key) + ":" + value + "}";
  return filter.empty() ? own : "{\"$and\":[" + own + "," + filter + "]}";
}

}  // namespace jade
