// How stores guard their values: a CRC-32C in front, over the key and the payload,
// so that a value under the wrong key is damage too.
#pragma once

#include <leveldb/slice.h>

#include <optional>
#include <string>
#include <string_view>

#include "storage/bytes.h"
#include "storage/crc32c.h"

namespace jade {

// Appends the checksum (u32) and the payload.
inline void append_checked(std::string& out, std::string_view key, std::string_view payload) {
  out.reserve(out.size() + sizeof(uint32_t) + payload.size());
  append_u32(out, crc32c(payload, crc32c(key)));
  out += payload;
}

inline std::string checked(std::string_view key, std::string_view payload) {
  std::string out;
  append_checked(out, key, payload);
  return out;
}

// The payload of what append_checked wrote; nothing when the checksum does not hold.
inline std::optional<std::string_view> check(std::string_view key, std::string_view value) {
  ByteReader reader(value);
  auto crc = reader.u32();
  if (!crc || crc32c(reader.rest(), crc32c(key)) != *crc) return std::nullopt;
  return reader.rest();
}

inline std::string_view view_of(const leveldb::Slice& slice) {
  return {slice.data(), slice.size()};
}

}  // namespace jade
