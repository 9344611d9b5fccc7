// What a node tells of its cluster.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <string>

#include "apps/node/any_node.h"

namespace jade {

struct ClusterView {
  std::string body;         // as it came
  boost::json::value json;  // an object
  uint64_t version = 0;     // of the catalog
  // Not ok: nobody knows better than a node that takes no part in its cluster any more. Names each
  // that was asked, with its reason.
  Status outdated;
};

// GET /v1/cluster, of the first node that is in touch with a master and knows the catalog of
// `version_min`, or a later one. Where none is, of one that takes part at least.
Result<ClusterView> ask_cluster(AnyNode& nodes, uint64_t version_min = 0);

// The node of this name or id; nullptr where there is none.
const boost::json::object* find_node(const ClusterView& view, const std::string& name);

// The array of objects of this name; empty where it is missing.
const boost::json::array& array_of(const ClusterView& view, const char* name);

}  // namespace jade
