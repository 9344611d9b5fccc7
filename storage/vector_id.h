// The id of a vector: a string or an unsigned 64-bit integer, kept as given.
//
// Its key form is order-preserving bytes: 0x01 and eight big-endian bytes for an
// integer, 0x02 and the bytes themselves for a string. Comparing keys as bytes
// orders integers numerically, before all strings, and strings bytewise; that is
// the order of paging and of ties between equal scores.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "storage/status.h"

namespace jade {

class VectorId {
 public:
  static constexpr size_t size_bytes_max = 512;  // of a string id

  VectorId() = default;
  VectorId(uint64_t number) : value_(number) {}
  VectorId(std::string text) : value_(std::move(text)) {}

  bool is_integer() const { return value_.index() == 0; }
  uint64_t integer() const { return std::get<0>(value_); }
  const std::string& text() const { return std::get<1>(value_); }

  // "42" or "\"a-42\"", for messages and logs.
  std::string to_string() const;

  std::string key() const;
  static Result<VectorId> from_key(std::string_view key);

  // An empty string, one longer than size_bytes_max, one that is not UTF-8 or
  // holds a NUL byte is no id.
  Status validate() const;

  // The same on every machine and in every version: shards are chosen by it.
  uint64_t hash() const { return hash_of_key(key()); }
  static uint64_t hash_of_key(std::string_view key);

  friend bool operator==(const VectorId&, const VectorId&) = default;
  // Integers before strings, as in the key form (std::variant compares so;
  // std::string compares as unsigned bytes).
  friend std::strong_ordering operator<=>(const VectorId&, const VectorId&) = default;

 private:
  std::variant<uint64_t, std::string> value_;
};

}  // namespace jade
