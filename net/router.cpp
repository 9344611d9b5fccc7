#include "net/router.h"

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

// Takes the first segment, of which both start with "/".
std::string_view take_segment(std::string_view& path) {
  size_t end = path.find('/', 1);
  std::string_view segment = path.substr(1, end == std::string_view::npos ? end : end - 1);
  path = end == std::string_view::npos ? std::string_view() : path.substr(end);
  return segment;
}

bool matches(std::string_view pattern, std::string_view path, RouteMatch& match) {
  while (!pattern.empty() && !path.empty()) {
    std::string_view expected = take_segment(pattern);
    std::string_view found = take_segment(path);
    if (expected == "{db}" && !found.empty()) {
      match.database = found;
    } else if (expected == "{id}" && !found.empty()) {
      match.vector_id = found;
    } else if (expected == "{node}" && !found.empty()) {
      match.node = found;
    } else if (expected == "{shard}" && !found.empty()) {
      match.shard = found;
    } else if (expected != found) {
      return false;
    }
  }
  return pattern.empty() && path.empty();
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
  std::string allowed;
  for (const Route& route : table) {
    RouteMatch match;
    if (!path.starts_with('/') || !matches(route.pattern, path, match)) continue;
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
