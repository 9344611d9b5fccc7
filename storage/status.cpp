#include "storage/status.h"

namespace jade {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::ok: return "ok";
    case Code::invalid_argument: return "invalid_argument";
    case Code::not_found: return "not_found";
    case Code::already_exists: return "already_exists";
    case Code::failed_precondition: return "failed_precondition";
    case Code::too_large: return "too_large";
    case Code::resource_exhausted: return "resource_exhausted";
    case Code::moved: return "moved";
    case Code::unavailable: return "unavailable";
    case Code::deadline_exceeded: return "deadline_exceeded";
    case Code::disk_full: return "disk_full";
    case Code::corruption: return "corruption";
    case Code::io_error: return "io_error";
    case Code::unimplemented: return "unimplemented";
    case Code::internal: return "internal";
  }
  return "unknown";
}

}  // namespace jade
