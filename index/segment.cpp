#include "index/segment.h"

#include <vector>

namespace jade {

Status Segment::read_vector(uint32_t offset, float* out) const {
  if (format_.datatype() == Datatype::float32) {
    return read_row(offset, reinterpret_cast<char*>(out));
  }
  // Aligned as any element is.
  std::vector<char> stored(format_.row_bytes());
  JADE_RETURN_IF_ERROR(read_row(offset, stored.data()));
  format_.to_floats(stored.data(), out);
  return {};
}

}  // namespace jade
