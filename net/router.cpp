#include "net/router.h"

#include <algorithm>
#include <array>
#include <utility>

#include "net/handlers.h"

namespace jade {
namespace {

using enum HttpMethod;
constexpr bool body = true;
constexpr bool binary = true;

constexpr Route table[route_count] = {
    {RouteId::root, get, "/", "root"},
    {RouteId::healthz, get, "/healthz", "healthz"},
    {RouteId::readyz, get, "/readyz", "readyz"},
    {RouteId::metrics, get, "/metrics", "metrics"},
    {RouteId::openapi, get, "/openapi.json", "openapi"},
    {RouteId::cluster, get, "/v1/cluster", "cluster"},
    {RouteId::create_database, post, "/v1/databases", "create_database", body},
    {RouteId::list_databases, get, "/v1/databases", "list_databases"},
    {RouteId::describe_database, get, "/v1/databases/{db}", "describe_database"},
    {RouteId::drop_database, del, "/v1/databases/{db}", "drop_database"},
    {RouteId::alter_database, patch, "/v1/databases/{db}", "alter_database", body},
    {RouteId::recall, get, "/v1/databases/{db}/recall", "recall"},
    {RouteId::split_shard, post, "/v1/databases/{db}/shards/{shard}/split", "split_shard"},
    {RouteId::upsert, post, "/v1/databases/{db}/vectors", "upsert", body, binary},
    {RouteId::list_vectors, get, "/v1/databases/{db}/vectors", "list_vectors"},
    {RouteId::get_vector, get, "/v1/databases/{db}/vectors/{id}", "get_vector"},
    {RouteId::update_vector, patch, "/v1/databases/{db}/vectors/{id}", "update_vector", body},
    {RouteId::delete_vector, del, "/v1/databases/{db}/vectors/{id}", "delete_vector"},
    {RouteId::update_vectors, post, "/v1/databases/{db}/vectors/update", "update_vectors", body},
    {RouteId::delete_vectors, post, "/v1/databases/{db}/vectors/delete", "delete_vectors", body},
    {RouteId::search, post, "/v1/databases/{db}/search", "search", body, binary},
    {RouteId::search_batch, post, "/v1/databases/{db}/search/batch", "search_batch", body, binary},
    {RouteId::drain_node, post, "/v1/cluster/nodes/{node}/drain", "drain_node"},
    {RouteId::activate_node, post, "/v1/cluster/nodes/{node}/activate", "activate_node"},
    {RouteId::remove_node, del, "/v1/cluster/nodes/{node}", "remove_node"},
};

// Of a path, what follows each "/". Without any where it does not begin with one, or has more of
// them than a route.
struct Segments {
  static constexpr size_t most = 6;

  std::array<std::string_view, most> at;
  size_t count = 0;

  constexpr explicit Segments(std::string_view path) {
    while (path.starts_with('/')) {
      if (count == most) {
        count = 0;
        return;
      }
      size_t end = std::min(path.find('/', 1), path.size());
      at[count++] = path.substr(1, end - 1);
      path.remove_prefix(end);
    }
  }
};

template <size_t... i>
constexpr std::array<Segments, route_count> segments_of(std::index_sequence<i...>) {
  return {Segments(table[i].pattern)...};
}
// By route.
constexpr auto patterns = segments_of(std::make_index_sequence<route_count>());
static_assert(std::ranges::all_of(patterns, [](const Segments& s) { return s.count > 0; }));

// Where a segment in braces goes.
std::string_view& part_of(RouteMatch& match, std::string_view expected) {
  if (expected == "{db}") return match.database;
  if (expected == "{id}") return match.vector_id;
  return expected == "{node}" ? match.node : match.shard;
}

bool matches(const Segments& pattern, const Segments& path, RouteMatch& match) {
  if (pattern.count != path.count) return false;
  for (size_t i = 0; i < path.count; ++i) {
    std::string_view expected = pattern.at[i];
    if (!expected.starts_with('{')) {
      if (expected != path.at[i]) return false;
      continue;
    }
    if (path.at[i].empty()) return false;
    part_of(match, expected) = path.at[i];
  }
  return true;
}

void allow(std::string& list, HttpMethod method) {
  if (!list.empty()) list += ", ";
  list += to_string(method);
  if (method == get) list += ", HEAD";
}

}  // namespace

std::span<const Route> routes() { return table; }

std::variant<RouteMatch, HttpResponse> match_route(HttpMethod method, std::string_view target) {
  size_t question = target.find('?');
  std::string_view path = target.substr(0, question);
  std::string_view query = question == std::string_view::npos ? "" : target.substr(question + 1);
  HttpMethod wanted = method == head ? get : method;
  const Segments segments(path);
  std::string allowed;
  for (size_t i = 0; i < route_count; ++i) {
    const Route& route = table[i];
    RouteMatch match;
    if (!matches(patterns[i], segments, match)) continue;
    if (route.method == wanted) {
      match.route = &route;
      match.query = query;
      return match;
    }
    allow(allowed, route.method);
  }
  std::string shown(path.substr(0, 100));
  if (allowed.empty()) {
    return error_response(not_found("no such path: " + shown + "; see /openapi.json for all"));
  }
  HttpResponse response =
      error_response(invalid_argument("the methods of " + shown + " are " + allowed), 405);
  response.allow = allowed;
  return response;
}

std::string_view to_string(HttpMethod method) {
  switch (method) {
    case get: return "GET";
    case post: return "POST";
    case patch: return "PATCH";
    case del: return "DELETE";
    case head: return "HEAD";
    case other: break;
  }
  return "other";
}

}  // namespace jade
