// CRC-32C (Castagnoli, as in RFC 3720), for the checksum of binary bodies.
#pragma once

#include <cstdint>
#include <string_view>

namespace jade {

// crc32c("123456789") is 0xe3069283.
uint32_t crc32c(std::string_view bytes);

}  // namespace jade
