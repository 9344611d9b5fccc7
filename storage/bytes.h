// Fixed-width integers in byte strings. Values are little-endian; keys are
// big-endian, so that they sort by number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace jade {

namespace detail {
template <class T>
void append_little_endian(std::string& out, T value) {
  char bytes[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i) {
    bytes[i] = static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xff);
  }
  out.append(bytes, sizeof bytes);
}
}  // namespace detail

inline void append_u32(std::string& out, uint32_t value) {
  detail::append_little_endian(out, value);
}
inline void append_u64(std::string& out, uint64_t value) {
  detail::append_little_endian(out, value);
}

inline void append_big_endian(std::string& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8)
    out.push_back(static_cast<char>(value >> shift & 0xff));
}

inline void append_big_endian32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    out.push_back(static_cast<char>(value >> shift & 0xff));
}

// Of the first eight (or fewer, at the end) bytes.
inline uint64_t load_big_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (char c : bytes.substr(0, 8)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// Reads what was appended; nothing once the bytes run out.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  std::optional<uint8_t> u8() { return little_endian<uint8_t>(); }
  std::optional<uint32_t> u32() { return little_endian<uint32_t>(); }
  std::optional<uint64_t> u64() { return little_endian<uint64_t>(); }
  std::optional<std::string_view> bytes(size_t size) {
    if (size > bytes_.size()) return std::nullopt;
    std::string_view out = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return out;
  }
  std::string_view rest() const { return bytes_; }

 private:
  template <class T>
  std::optional<T> little_endian() {
    auto raw = bytes(sizeof(T));
    if (!raw) return std::nullopt;
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      value |= static_cast<uint64_t>(static_cast<unsigned char>((*raw)[i])) << (8 * i);
    }
    return static_cast<T>(value);
  }

  std::string_view bytes_;
};

}  // namespace jade
