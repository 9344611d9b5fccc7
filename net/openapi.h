// The API's own description, in OpenAPI 3.1.
#pragma once

#include <string_view>

namespace jade {

// A JSON document, the same for the life of the process; tests hold it against
// the routes and the decoders.
std::string_view openapi_document();

}  // namespace jade
