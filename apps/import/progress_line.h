// How far an import is, for people who watch it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/import/importer.h"

namespace jade {

// One line. `first_row`: with which row of the file it has begun; `end_row`: before which it ends,
// where that is known. How long it will take is said only while rows are acknowledged.
std::string progress_line(const ImportProgress& now, uint64_t first_row,
                          std::optional<uint64_t> end_row);

}  // namespace jade
