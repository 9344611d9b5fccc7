#include "storage/vector_id.h"

#include "storage/bytes.h"

namespace jade {
namespace {

constexpr char integer_tag = 0x01;
constexpr char string_tag = 0x02;

// Rejects overlong forms, surrogates and code points above U+10FFFF (RFC 3629).
bool is_utf8(std::string_view s) {
  size_t i = 0;
  while (i < s.size()) {
    auto lead = static_cast<unsigned char>(s[i]);
    size_t length = lead < 0x80       ? 1
                    : lead >> 5 == 6  ? 2
                    : lead >> 4 == 14 ? 3
                    : lead >> 3 == 30 ? 4
                                      : 0;
    if (length == 0 || i + length > s.size()) return false;
    uint32_t point = length == 1 ? lead : lead & (0xffu >> (length + 1));
    for (size_t j = 1; j < length; ++j) {
      auto next = static_cast<unsigned char>(s[i + j]);
      if (next >> 6 != 2) return false;
      point = point << 6 | (next & 0x3f);
    }
    constexpr uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < smallest[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
      return false;
    }
    i += length;
  }
  return true;
}

}  // namespace

std::string VectorId::to_string() const {
  return is_integer() ? std::to_string(integer()) : "\"" + text() + "\"";
}

std::string VectorId::key() const {
  std::string out;
  if (is_integer()) {
    out.push_back(integer_tag);
    append_big_endian(out, integer());
  } else {
    out.push_back(string_tag);
    out += text();
  }
  return out;
}

Result<VectorId> VectorId::from_key(std::string_view key) {
  if (key.size() == 9 && key[0] == integer_tag) {
    return VectorId(load_big_endian(key.substr(1)));
  }
  if (key.size() >= 2 && key[0] == string_tag) {
    VectorId id{std::string(key.substr(1))};
    JADE_RETURN_IF_ERROR(id.validate());
    return id;
  }
  return corruption("a vector id key has an unknown form");
}

Status VectorId::validate() const {
  if (is_integer()) return {};
  if (text().empty()) return invalid_argument("id must not be an empty string");
  if (text().size() > size_bytes_max) {
    return invalid_argument("id has " + std::to_string(text().size()) + " bytes; at most " +
                            std::to_string(size_bytes_max) + " are allowed");
  }
  if (text().find('\0') != std::string::npos) {
    return invalid_argument("id must not contain a NUL character");
  }
  if (!is_utf8(text())) return invalid_argument("id is not valid UTF-8");
  return {};
}

uint64_t VectorId::hash_of_key(std::string_view key) {
  // FNV-1a over the key form, then the finaliser of MurmurHash3 so that low
  // bits of neighbouring integers spread evenly over shards.
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : key) {
    h ^= static_cast<unsigned char>(c);
    h *= 0x100000001b3u;
  }
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdu;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53u;
  h ^= h >> 33;
  return h;
}

}  // namespace jade
