// LevelDB's log format written by hand, so that the checker is tested against the
// format and not against itself.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "storage/bytes.h"
#include "storage/crc32c.h"

namespace jade {

constexpr size_t wal_block_bytes = 32768;
constexpr size_t wal_header_bytes = 7;

inline void append_wal_fragment(std::string& file, char type, std::string_view part) {
  uint32_t crc = crc32c(std::string(1, type) + std::string(part));
  append_u32(file, (crc >> 15 | crc << 17) + 0xa282ead8u);
  file.push_back(static_cast<char>(part.size() & 0xff));
  file.push_back(static_cast<char>(part.size() >> 8));
  file.push_back(type);
  file += part;
}

// One record, split over blocks where it does not fit.
inline void append_wal_record(std::string& file, std::string_view record) {
  bool begin = true;
  for (;;) {
    size_t left = wal_block_bytes - file.size() % wal_block_bytes;
    if (left < wal_header_bytes) {
      file.append(left, '\0');
      left = wal_block_bytes;
    }
    size_t size = std::min(record.size(), left - wal_header_bytes);
    bool end = size == record.size();
    char type = begin ? (end ? 1 : 2) : (end ? 4 : 3);
    append_wal_fragment(file, type, record.substr(0, size));
    record.remove_prefix(size);
    begin = false;
    if (end) return;
  }
}

}  // namespace jade
