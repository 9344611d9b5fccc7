#include "net/openapi.h"

namespace jade {

std::string_view openapi_document() {
  static constexpr char text[] =
#include "net/openapi.inc"
      ;
  return {text, sizeof text - 1};
}

}  // namespace jade
