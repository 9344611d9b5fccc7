// Which route a request means: REST v1 as a table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "net/http_message.h"

namespace jade {

enum class RouteId : uint8_t {
  root,
  healthz,
  readyz,
  metrics,
  openapi,
  cluster,
  create_database,
  list_databases,
  describe_database,
  drop_database,
  alter_database,
  recall,
  split_shard,
  upsert,
  list_vectors,
  get_vector,
  update_vector,
  delete_vector,
  update_vectors,
  delete_vectors,
  search,
  search_batch,
  drain_node,
  activate_node,
  remove_node,
};
inline constexpr size_t route_count = 25;

struct Route {
  RouteId id;
  HttpMethod method;
  // Segments in braces match one segment each: {db}, {id}, {node}, {shard}.
  std::string_view pattern;
  std::string_view name;    // of the operation, in metrics and OpenAPI
  bool has_body = false;    // which must then be JSON...
  bool has_binary = false;  // ...or also the binary body
};

// Indexed by RouteId.
std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;
  // Still percent-encoded, as in the target; they point into it.
  std::string_view database;
  std::string_view vector_id;
  std::string_view node;
  std::string_view shard;
  std::string_view query;
};

// A match, or the response that refuses the request: 404, 405 with Allow. HEAD
// matches the routes of GET. `target` must outlive the match.
std::variant<RouteMatch, HttpResponse> match_route(HttpMethod method, std::string_view target);

std::string_view to_string(HttpMethod method);

}  // namespace jade
