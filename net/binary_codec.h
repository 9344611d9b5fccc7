// The binary body for bulk upserts and searches: docs/binary-protocol.md is its
// byte-for-byte specification. Values land by one copy, and counts are checked
// against the size of the body before memory is taken.
//
// Decoders run on the server (requests) and the client (replies); encoders the
// other way round. All functions are pure and may be called from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "actors/api.h"
#include "storage/status.h"

namespace jade {

enum class ElementType : uint8_t { f32 = 0, f16 = 1, u8 = 2 };
inline constexpr size_t size_bytes(ElementType type) {
  return type == ElementType::f32 ? 4 : type == ElementType::f16 ? 2 : 1;
}

// One of the named vectors, of those rows that have it.
struct NamedView {
  std::string_view name;  // 1 to 255 bytes
  ElementType type = ElementType::f32;
  uint32_t dimension = 0;
  const void* values = nullptr;         // one row after another, of those that have it
  std::span<const uint32_t> rows = {};  // positions in the ids, ascending; empty: all
};

// What a client sends; all pointers are borrowed for the call.
struct UpsertView {
  std::span<const VectorId> ids;  // n
  ElementType type = ElementType::f32;
  uint32_t dimension = 0;
  const void* values = nullptr;           // n * dimension elements of `type`, row-major
  std::span<const std::string> metadata;  // JSON objects as text; empty or n long
  bool checksum = false;                  // append a CRC32C that the server verifies
  // Instead of `type`, `dimension` and `values`, where vectors have names: at most
  // Limits::named_vectors_max.
  std::span<const NamedView> named = {};
};
// REQUIRES: a metadata span that is empty or as long as ids; less than 4 GiB of
// metadata and of string ids.
std::string encode_upsert(const UpsertView& upsert);

// `queries`: n * dimension floats, row-major. Of `options` what the binary form has a place for
// (docs/binary-protocol.md) is sent and holds for all n. Send it to .../search/batch, or to
// .../search (n > 1 only with a binary reply).
std::string encode_search(const SearchRequest& options, const float* queries, uint32_t n,
                          uint32_t dimension, bool checksum = false);

struct TimedSearchReply {
  std::vector<SearchReply> results;  // one a query
  uint64_t took_us = 0;              // in the server, without the network
};
// A reply to a search sent with Accept: content_type_binary.
Result<TimedSearchReply> decode_search_reply(std::string_view body);

// The server's half. Failures are invalid_argument, or too_large over the limits
// of api.h, and say at which byte the body is wrong. `database` is left empty.
Result<UpsertRequest> decode_upsert(std::string_view body);
// All requests of the batch share one set of options.
Result<SearchBatchRequest> decode_search(std::string_view body);
// REQUIRES: hits with values all have equally many, or all have named ones, of at most
// Limits::named_vectors_max names and each of one dimension.
std::string encode_search_reply(const TimedSearchReply& reply);

}  // namespace jade
