// Status as a caf::error and back. An error of another category is CAF's own: a
// lost peer, a dead actor or a timeout.
#pragma once

#include <caf/all.hpp>

#include "storage/status.h"

namespace jade {

constexpr caf::atom_value error_category = caf::atom("jade");

inline caf::error to_error(const Status& status) {
  return caf::error(static_cast<uint8_t>(status.code()), error_category,
                    caf::make_message(status.message()));
}

inline Status to_status(const caf::error& error) {
  if (error.category() == error_category) {
    const caf::message& context = error.context();
    std::string text =
        context.match_elements<std::string>() ? context.get_as<std::string>(0) : std::string();
    return Status(static_cast<Code>(error.code()), std::move(text));
  }
  if (error == caf::sec::request_timeout) {
    return Status(Code::deadline_exceeded, "no answer within the deadline; try again");
  }
  return unavailable("the part of the node that answers this is restarting; try again");
}

// The same of a question to a shard that may be asked twice. Where whoever was asked has
// ended, a replica that is being replaced say, the next map tells who answers now.
inline Status to_read_status(const caf::error& error) {
  Status status = to_status(error);
  bool ended = error.category() != error_category && status.code() == Code::unavailable;
  return ended ? Status(Code::moved, status.message()) : status;
}

}  // namespace jade
