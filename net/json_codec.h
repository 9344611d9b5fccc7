// JSON bodies to requests and replies to JSON bodies.
//
// Decoders take the body with 64 bytes of spare capacity (it is given them when it
// has not), and name what is wrong by its path: "vectors[3].values[17] is a string;
// it must be a number". Unknown and repeated fields, trailing bytes, invalid UTF-8,
// non-finite floats and nesting deeper than 32 are errors. Metadata and filters
// are passed on as raw JSON text, to be read by who knows their meaning. Requests
// come back without their `database`. Callable from any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "actors/api.h"
#include "storage/status.h"

namespace jade {

inline constexpr uint32_t json_depth_max = 32;

Result<DatabaseSpec> decode_create(std::string& body);
Result<AlterDatabaseRequest> decode_alter(std::string& body);
Result<UpsertRequest> decode_json_upsert(std::string& body);
Result<UpdateRequest> decode_update(std::string& body);
// Of one vector, without its id.
Result<VectorUpdate> decode_update_vector(std::string& body);
Result<DeleteRequest> decode_delete(std::string& body);
Result<SearchRequest> decode_json_search(std::string& body);
// `name` is where `value` was given, for the message.
Result<Consistency> parse_consistency(std::string_view name, std::string_view value);
Result<SearchBatchRequest> decode_json_search_batch(std::string& body);
// "\"a\\u0062\"" is "ab"; for ids in URLs.
Result<std::string> decode_json_string(std::string_view text);

// The fields that each object may have, in the order of the documentation: the
// decoders read by these very lists.
namespace json_fields {
std::span<const std::string_view> create();
std::span<const std::string_view> named_vector();
std::span<const std::string_view> alter();
std::span<const std::string_view> index();
std::span<const std::string_view> upsert();
std::span<const std::string_view> upsert_vector();
std::span<const std::string_view> update();
std::span<const std::string_view> update_vector();
std::span<const std::string_view> patch_vector();
std::span<const std::string_view> remove();
std::span<const std::string_view> search();
std::span<const std::string_view> search_batch();
}  // namespace json_fields

// Which parts of a stored vector a reply shows.
struct Include {
  bool metadata = true;
  bool values = false;
};

// {"error":{"code","message"}}
std::string encode_error(const Status& status);
std::string encode_database(const DatabaseInfo& info);
std::string encode_databases(const std::vector<DatabaseInfo>& infos);
std::string encode_upsert_reply(const UpsertReply& reply);
std::string encode_update_reply(const UpdateReply& reply);
// Of one vector, which was there.
std::string encode_updated(const UpdateReply& reply);
std::string encode_delete_reply(const DeleteReply& reply);
std::string encode_vector(const StoredVector& vector, Include include);
std::string encode_page(const ListReply& reply, Include include);
std::string encode_recall(const RecallReply& reply);
std::string encode_search_json(const SearchReply& reply, Include include, double took_ms);
// `includes` is as long as the results.
std::string encode_search_batch_json(const SearchBatchReply& reply,
                                     std::span<const Include> includes, double took_ms);
std::string encode_node(const NodeInfo& node);
std::string encode_cluster(const ClusterInfo& info);

}  // namespace jade
