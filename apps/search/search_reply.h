// The body of a search's reply as a table.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/search/table.h"
#include "storage/status.h"

namespace jade {

// Columns: the score, the id, then of each hit's metadata the keys named in
// `columns`, or all in the order of their appearance where that is empty.
Result<Table> table_of_reply(std::string_view json, const std::vector<std::string>& columns);

// A row for each segment of each shard that was searched: what was done there and how long
// it took. Of the reply to a search with `explain`.
Result<Table> table_of_explanation(std::string_view json);

}  // namespace jade
