// CRC-32C (Castagnoli), as in RFC 3720: the checksum of everything on disk.
#pragma once

#include <cstdint>
#include <string_view>

namespace jade {

// The checksum of `bytes` after bytes whose checksum is `seed`. Uses the
// processor's instruction where there is one.
uint32_t crc32c(std::string_view bytes, uint32_t seed = 0);

// The same by table, for processors without the instruction and for tests.
uint32_t crc32c_portable(std::string_view bytes, uint32_t seed = 0);

}  // namespace jade
