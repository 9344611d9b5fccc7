#include "actors/message_reader.h"

namespace jade {

caf::error MessageReader::begin_object(uint16_t& type, std::string& name) {
  if (messages_left_ == 0) {
    return refuse("more than " + std::to_string(messages_max) + " messages in one");
  }
  --messages_left_;
  return keep(source_.begin_object(type, name));
}

caf::error MessageReader::begin_sequence(size_t& size) {
  if (auto error = count_sequence()) return error;
  if (auto error = keep(source_.begin_sequence(size))) return error;
  // Nothing that is sent takes less than a byte.
  if (size > source_.remaining()) {
    return refuse(std::to_string(size) + " elements in " + std::to_string(source_.remaining()) +
                  " bytes");
  }
  return caf::none;
}

caf::error MessageReader::count_sequence() {
  if (sequences_left_ == 0) return refuse("more strings and lists than so few bytes can have");
  --sequences_left_;
  return caf::none;
}

caf::error MessageReader::keep(caf::error error) {
  return error ? refuse("fewer bytes than it says") : caf::none;
}

caf::error MessageReader::refuse(std::string why) {
  if (refusal_.empty()) refusal_ = std::move(why);
  return caf::sec::runtime_error;
}

caf::error refuse_message(caf::deserializer& source, std::string why) {
  if (auto* reader = dynamic_cast<MessageReader*>(&source)) return reader->refuse(std::move(why));
  return caf::sec::runtime_error;
}

}  // namespace jade
