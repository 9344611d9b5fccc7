// The values of vectors as requests give them, on their way to what is stored.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "actors/api.h"
#include "index/embedder.h"
#include "index/record_format.h"

namespace jade {

// Where a vector is in its request, for messages.
struct RowPlace {
  size_t row = 0;
  bool alone = false;  // the client knows which one it is

  std::string vector() const;                         // `vectors[3]`
  std::string field(std::string_view name) const;     // `vectors[3].text`, or `text`
  std::string values(const std::string& name) const;  // `vectors[3].values.title`
  Status with_context(const Status& status) const;    // `vectors[3]: ...`
};

Status too_many_bytes(const std::string& what, size_t bytes, size_t most);

// How many vectors a request may have: one, and no more than Limits say.
Status check_vector_count(size_t count);

// Makes values of a text, as many as the embedder does, and keeps the text as field "text" of
// the metadata, canonical or "", unless that is there.
Status embed_text(const Embedder& embedder, const RowPlace& place, const std::string& text,
                  float* values, std::string& metadata);

// `metadata`, canonical, as it is stored. too_large where it is, or was given, too long;
// invalid_argument: it is no metadata. Both name it as `what`.
Result<std::string> stored_metadata(const std::string& metadata, const std::string& what);

// too_large where so many rows with values take much more than the `given` bytes in which their
// values came: with several vectors, each row has room for all of them.
Status check_stored_bytes(const RecordFormat& format, size_t rows, size_t given);

// Checks the values of one vector, the v-th of the format, and puts them as they are stored to
// `stored` (see RecordFormat::put()), where that is not null: what one vector of float32 is
// stored as, it is already. invalid_argument: they cannot be stored, or distances to them would
// not be numbers. Changes `values` to what is stored.
Status store_vector(const RecordFormat& format, size_t v, const RowPlace& place,
                    std::vector<float>& values, char* stored);

}  // namespace jade
