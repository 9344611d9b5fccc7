// Searches of a benchmark over HTTP, with the binary body.
#pragma once

#include <string>

#include "apps/bench/measure.h"

namespace jade {

// What `jade bench` asks of a node: the k nearest, without metadata.
SearchRequest bench_request(uint32_t k, uint32_t ef);
std::vector<int64_t> ids_of(const SearchReply& reply);

// A connection of its own to the node at `url`; aborts the program where it, or a search, fails.
// The workload outlives it. For one thread.
Searcher http_searcher(const std::string& url, const std::string& database,
                       const Workload& workload);

}  // namespace jade
