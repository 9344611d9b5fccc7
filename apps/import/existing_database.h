// Whether a database that exists is the one that `jade import --create` was to make.
#pragma once

#include <boost/json.hpp>

#include "storage/status.h"

namespace jade {

// `wanted`: what was asked for by name, in the form of a body of POST /v1/databases; `description`:
// the database's, as GET answers. failed_precondition names the first field that differs, with
// both values.
Status check_existing(const boost::json::object& wanted, const boost::json::value& description);

}  // namespace jade
