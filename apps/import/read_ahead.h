// The first rows of a file, looked at before a database is made for them.
#pragma once

#include <cstdint>
#include <memory>

#include "apps/data/vector_reader.h"
#include "apps/import/importer.h"

namespace jade {

// A reader of the same rows, for run_import() with these options, which has read the rows of the
// first request already. Fails, as the import would, where they cannot be read or sent: a line is
// no JSON object, or its values are not of the `dimension` that the database is to have. Lines are
// not looked at with count_bad_rows.
Result<std::unique_ptr<VectorReader>> read_ahead(std::unique_ptr<VectorReader> reader,
                                                 const ImportOptions& options, uint32_t dimension);

}  // namespace jade
