// What GET /v1/cluster answers, as text for a person.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "storage/status.h"

namespace jade {

// Tables of the cluster, its nodes, its shards and its tasks, at most `width` columns
// wide. Reads nodes older and newer than itself: fields it does not know are passed
// over, optional ones that no row has get no column, and what is missing or of another
// type is shown as it is rather than refused. Only an answer that is no JSON object with
// a cluster_id and nodes is an error (`corruption`).
Result<std::string> report_of_cluster(std::string_view reply, size_t width);

}  // namespace jade
