#include "storage/row_key.h"

#include <algorithm>

namespace jade {
namespace {

constexpr char shard_key_tag = 3;
constexpr char integer_tag = 1;

// How long the shard key in front is, with its marks; 0: there is none.
size_t prefix_size(std::string_view key) {
  if (key.empty() || key[0] != shard_key_tag) return 0;
  if (key.size() > 1 && key[1] == integer_tag) return std::min<size_t>(key.size(), 10);
  size_t end = key.find('\0', 1);
  return end == std::string_view::npos ? key.size() : end + 1;
}

}  // namespace

std::string row_key_prefix(const VectorId& shard_key) {
  std::string out(1, shard_key_tag);
  out += shard_key.key();
  if (!shard_key.is_integer()) out.push_back('\0');  // which no text contains
  return out;
}

std::string row_key(const std::optional<VectorId>& shard_key, const VectorId& id) {
  return shard_key ? row_key_prefix(*shard_key) + id.key() : id.key();
}

Result<VectorId> id_of_row_key(std::string_view key) {
  return VectorId::from_key(key.substr(prefix_size(key)));
}

Result<std::optional<VectorId>> shard_key_of_row_key(std::string_view key) {
  std::string_view prefix = key.substr(0, prefix_size(key));
  if (prefix.empty()) return std::optional<VectorId>();
  prefix.remove_prefix(1);
  if (!prefix.empty() && prefix[0] != integer_tag) prefix.remove_suffix(1);
  auto shard_key = VectorId::from_key(prefix);
  if (!shard_key.ok()) return shard_key.status();
  return std::optional<VectorId>(std::move(*shard_key));
}

uint64_t hash_of_row_key(std::string_view key) {
  size_t prefix = prefix_size(key);
  return VectorId::hash_of_key(prefix == 0 ? key : key.substr(0, prefix));
}

}  // namespace jade
