// Databases that are sharded by a field of the metadata: see DatabaseSpec::shard_key.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "actors/api.h"

namespace jade {

// invalid_argument: a key where ids tell the shard; or none, and it is `required`.
Status check_key(const DatabaseSpec& spec, const std::optional<VectorId>& key, bool required);

// The shard key in canonical metadata; nothing where ids tell the shard.
// invalid_argument: the field is missing, or neither a string nor an integer that can
// be an id.
Result<std::optional<VectorId>> key_of_metadata(const DatabaseSpec& spec,
                                                std::string_view metadata);

// `filter` (JSON, or "": none) for vectors of this key only.
std::string filter_of_key(const DatabaseSpec& spec, const std::optional<VectorId>& key,
                          const std::string& filter);

}  // namespace jade
