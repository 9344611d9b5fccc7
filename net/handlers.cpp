#include "net/handlers.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <span>

#include "net/binary_codec.h"
#include "net/json_codec.h"
#include "net/json_writer.h"
#include "net/metrics.h"
#include "net/openapi.h"
#include "net/url.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;

uint64_t micros_since(Clock::time_point start) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

double to_ms(uint64_t micros) { return static_cast<double>(micros) / 1000; }

HttpResponse json_response(std::string body, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

HttpResponse binary_response(std::string body) {
  HttpResponse response;
  response.content_type = content_type_binary;
  response.body = std::move(body);
  return response;
}

// Api::Done that answers with encode(value), or with the failure.
template <class T, class Encode>
Api::Done<T> answer(Responder respond, Encode encode, int status = 200) {
  return [respond, encode, status](Result<T> result) {
    if (!result) {
      respond(error_response(result.status()));
    } else {
      respond(json_response(encode(*result), status));
    }
  };
}

Include include_of(const SearchRequest& search) {
  return {search.include_metadata, search.include_values};
}

Result<Include> parse_include(std::string_view list) {
  Include include{false, false};
  while (!list.empty()) {
    size_t comma = list.find(',');
    std::string_view part = list.substr(0, comma);
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    if (part == "metadata") {
      include.metadata = true;
    } else if (part == "values") {
      include.values = true;
    } else {
      return invalid_argument("include names \"" + std::string(part) +
                              "\"; it may list metadata and values, with commas");
    }
  }
  return include;
}

Result<uint32_t> parse_number(const std::string& name, const std::string& text, uint32_t most) {
  uint32_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && number >= 1 && number <= most) {
    return number;
  }
  return invalid_argument(name + " is \"" + text + "\"; it must be an integer from 1 to " +
                          std::to_string(most));
}

Result<RecallRequest> parse_recall(std::string_view query) {
  auto pairs = parse_query(query);
  if (!pairs) return pairs.status();
  RecallRequest request;
  for (const auto& [name, value] : *pairs) {
    if (name == "min_recall") {
      double& out = request.min_recall.emplace();
      auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
      if (error == std::errc{} && end == value.data() + value.size()) continue;
      return invalid_argument("min_recall is \"" + value + "\"; it must be 0.5 to 0.999");
    }
    if (name == "using") {
      if (value.empty()) return invalid_argument("using is empty; name a vector");
      request.vector_name = value;
      continue;
    }
    uint32_t most = name == "k"           ? Limits::recall_k_max
                    : name == "sample"    ? Limits::recall_sample_max
                    : name == "ef_search" ? 10000
                    : name == "nprobe"    ? 65536
                    : name == "probes"    ? Limits::shards_max
                                          : 0;
    if (most == 0) {
      return invalid_argument(
          "unknown query parameter \"" + name +
          "\"; they are k, sample, ef_search, nprobe, probes, min_recall and using");
    }
    auto number = parse_number(name, value, most);
    if (!number) return number.status();
    if (name == "k") request.k = *number;
    if (name == "sample") request.sample = *number;
    if (name == "ef_search") request.ef_search = *number;
    if (name == "nprobe") request.nprobe = *number;
    if (name == "probes") request.probes = *number;
  }
  return request;
}

// Where the parameter says how new what is read must be; false: it is another.
template <class Read>
Result<bool> parse_how_new(const std::string& name, const std::string& value, Read& read) {
  if (name == "token") {
    read.token = value;
    return true;
  }
  if (name != "consistency") return false;
  auto consistency = parse_consistency(name, value);
  if (!consistency) return consistency.status();
  read.consistency = *consistency;
  return true;
}

// Where the parameter is the value of a shard key; false: it is another.
Result<bool> parse_key(const std::string& name, const std::string& value,
                       std::optional<VectorId>& key) {
  if (name != "key") return false;
  auto id = parse_id(value);
  if (!id) return id.status().with_context(name);
  key = *std::move(id);
  return true;
}

Result<ListRequest> parse_list(std::string_view query) {
  auto pairs = parse_query(query);
  if (!pairs) return pairs.status();
  ListRequest request;
  for (const auto& [name, value] : *pairs) {
    auto taken = parse_how_new(name, value, request);
    if (taken && !*taken) taken = parse_key(name, value, request.key);
    if (!taken) return taken.status();
    if (*taken) continue;
    if (name == "limit") {
      auto limit = parse_number(name, value, Limits::page_limit_max);
      if (!limit) return limit.status();
      request.limit = *limit;
    } else if (name == "after") {
      auto id = parse_id(value);
      if (!id) return id.status().with_context("after");
      request.after = *std::move(id);
    } else if (name == "include") {
      auto include = parse_include(value);
      if (!include) return include.status();
      request.include_metadata = include->metadata;
      request.include_values = include->values;
    } else {
      return invalid_argument("unknown query parameter \"" + name +
                              "\"; they are limit, after, key, include, consistency and token");
    }
  }
  return request;
}

Result<GetRequest> parse_get(std::string_view query) {
  auto pairs = parse_query(query);
  if (!pairs) return pairs.status();
  GetRequest request;
  for (const auto& [name, value] : *pairs) {
    auto taken = parse_how_new(name, value, request);
    if (taken && !*taken) taken = parse_key(name, value, request.key);
    if (!taken) return taken.status();
    if (*taken) continue;
    return invalid_argument("unknown query parameter \"" + name +
                            "\"; they are key, consistency and token");
  }
  return request;
}

// The parameters of a change of one vector: the value of its shard key, or nothing.
Result<std::optional<VectorId>> parse_key_alone(std::string_view query) {
  auto pairs = parse_query(query);
  if (!pairs) return pairs.status();
  std::optional<VectorId> key;
  for (const auto& [name, value] : *pairs) {
    auto taken = parse_key(name, value, key);
    if (!taken) return taken.status();
    if (*taken) continue;
    return invalid_argument("unknown query parameter \"" + name + "\"; there is only key");
  }
  return key;
}

// What was asked and how it is to be answered.
struct SearchPlan {
  bool binary = false;
  Clock::time_point start = Clock::now();
};

// What a binary reply has no place for.
Status check_reply(const SearchPlan& plan, std::span<const SearchRequest> searches) {
  if (!plan.binary) return {};
  for (const SearchRequest& search : searches) {
    if (search.partial) {
      return invalid_argument(
          "partial needs a JSON reply; a binary one cannot say what is missing");
    }
    if (search.explain) return invalid_argument("explain needs a JSON reply");
    if (!search.group_by.empty()) return invalid_argument("group_by needs a JSON reply");
  }
  return {};
}

void answer_one(const Responder& respond, SearchPlan plan, Include include,
                Result<SearchReply>& result) {
  if (!result) return respond(error_response(result.status()));
  uint64_t took_us = micros_since(plan.start);
  if (!plan.binary) {
    return respond(json_response(encode_search_json(*result, include, to_ms(took_us))));
  }
  TimedSearchReply reply;
  reply.took_us = took_us;
  reply.results.push_back(*std::move(result));
  respond(binary_response(encode_search_reply(reply)));
}

void answer_batch(const Responder& respond, SearchPlan plan, const std::vector<Include>& includes,
                  Result<SearchBatchReply>& result) {
  if (!result) return respond(error_response(result.status()));
  uint64_t took_us = micros_since(plan.start);
  if (plan.binary) {
    return respond(binary_response(encode_search_reply({std::move(result->results), took_us})));
  }
  if (includes.size() != result->results.size()) {
    return respond(error_response(internal_error("a batch was answered in part")));
  }
  respond(json_response(encode_search_batch_json(*result, includes, to_ms(took_us))));
}

std::string root_document() {
  return R"({"name":"JadeVectorDB","version":")" JADE_VERSION
         R"(","links":{"openapi":"/openapi.json","databases":"/v1/databases",)"
         R"("cluster":"/v1/cluster","health":"/healthz","ready":"/readyz","metrics":"/metrics"}})";
}

}  // namespace

Responder::State::~State() {
  if (!answered) deliver(error_response(unavailable("the node is stopping; try again")));
}

int http_status(Code code) {
  switch (code) {
    case Code::ok: return 200;
    case Code::invalid_argument: return 400;
    case Code::not_found: return 404;
    case Code::already_exists:
    case Code::failed_precondition: return 409;
    case Code::too_large: return 413;
    case Code::resource_exhausted: return 429;
    case Code::moved:
    case Code::unavailable: return 503;
    case Code::deadline_exceeded: return 504;
    case Code::disk_full: return 507;
    case Code::unimplemented: return 501;
    case Code::corruption:
    case Code::io_error:
    case Code::internal: return 500;
  }
  return 500;
}

HttpResponse error_response(const Status& status, int status_code) {
  HttpResponse response =
      json_response(encode_error(status), status_code ? status_code : http_status(status.code()));
  if (response.status == 429 || response.status == 503) response.retry_after_s = 1;
  return response;
}

Status Handlers::check_content_type(const Route& route, const HttpRequest& request) {
  // Browsers send forms, and requests without a body, wherever a page tells them to; not JSON.
  if (!route.has_body && route.method == HttpMethod::post &&
      request.content_type != MediaType::json &&
      (request.content_type != MediaType::none || request.of_web_page)) {
    return invalid_argument(
        "the path takes no body; send none and no Content-Type, or from a web "
        "page " +
        std::string(content_type_json));
  }
  if (!route.has_body || request.content_type == MediaType::json ||
      (route.has_binary && request.content_type == MediaType::binary)) {
    return {};
  }
  std::string right(content_type_json);
  if (route.has_binary) right.append(" or ").append(content_type_binary);
  return invalid_argument((request.content_type == MediaType::none
                               ? "the Content-Type header is missing"
                               : "the body has another Content-Type") +
                          std::string("; send ") + right);
}

void Handlers::handle(const RouteMatch& match, HttpRequest& request, Responder respond) {
  auto database = percent_decode(match.database);
  if (!database) return respond(error_response(database.status()));
  if (!gateway_ && match.route->pattern.starts_with("/v1/databases")) {
    return respond(error_response(
        unavailable("this node answers no clients, as its roles lack gateway; ask another")));
  }
  auto node = percent_decode(match.node);
  if (!node) return respond(error_response(node.status()));
  VectorId id;
  if (!match.vector_id.empty()) {
    auto text = percent_decode(match.vector_id);
    auto parsed = text ? parse_id(*text) : Result<VectorId>(text.status());
    if (!parsed) return respond(error_response(parsed.status()));
    id = *std::move(parsed);
  }
  // Probes of load balancers may append what they like; the API proper may not.
  bool strict = match.route->pattern.starts_with("/v1/");
  RouteId id_of_route = match.route->id;
  bool queried = id_of_route == RouteId::list_vectors || id_of_route == RouteId::recall ||
                 id_of_route == RouteId::get_vector || id_of_route == RouteId::update_vector ||
                 id_of_route == RouteId::delete_vector;
  if (strict && !match.query.empty() && !queried) {
    return respond(error_response(invalid_argument("this path takes no query parameters")));
  }
  switch (match.route->id) {
    case RouteId::root: return respond(json_response(root_document()));
    case RouteId::healthz: return respond(json_response(R"({"status":"ok"})"));
    case RouteId::readyz:
      return api_.ready([respond](Result<std::string> detail) {
        // Whatever the reason, it is the node that is not ready.
        if (!detail.ok()) {
          return respond(error_response(unavailable(detail.status().code() == Code::unavailable
                                                        ? detail.status().message()
                                                        : detail.status().to_string())));
        }
        std::string out;
        JsonObject(out).field("status", "ready").field("detail", *detail).close();
        respond(json_response(std::move(out)));
      });
    case RouteId::metrics: return show_metrics(std::move(respond));
    case RouteId::openapi: return respond(json_response(std::string(openapi_document())));
    case RouteId::cluster:
      return api_.cluster(answer<ClusterInfo>(std::move(respond), encode_cluster));
    case RouteId::create_database: return create_database(request, std::move(respond));
    case RouteId::list_databases:
      return api_.list_databases(
          answer<std::vector<DatabaseInfo>>(std::move(respond), encode_databases));
    case RouteId::describe_database:
      return api_.describe_database(*std::move(database),
                                    answer<DatabaseInfo>(std::move(respond), encode_database));
    case RouteId::drop_database:
      return api_.drop_database(*std::move(database),
                                answer<DatabaseInfo>(std::move(respond), encode_database));
    case RouteId::alter_database:
      return alter_database(*std::move(database), request, std::move(respond));
    case RouteId::recall: return recall(*std::move(database), match.query, std::move(respond));
    case RouteId::split_shard:
      return split_shard(*std::move(database), match.shard, std::move(respond));
    case RouteId::upsert: return upsert(*std::move(database), request, std::move(respond));
    case RouteId::list_vectors:
      return list_vectors(*std::move(database), match.query, std::move(respond));
    case RouteId::get_vector:
      return get_vector(*std::move(database), std::move(id), match.query, std::move(respond));
    case RouteId::update_vector:
      return update_vector(*std::move(database), std::move(id), match.query, request,
                           std::move(respond));
    case RouteId::update_vectors:
      return update_vectors(*std::move(database), request, std::move(respond));
    case RouteId::delete_vector:
      return delete_vector(*std::move(database), std::move(id), match.query, request,
                           std::move(respond));
    case RouteId::delete_vectors:
      return delete_vectors(*std::move(database), request, std::move(respond));
    case RouteId::search: return search(*std::move(database), request, std::move(respond));
    case RouteId::search_batch:
      return search_batch(*std::move(database), request, false, std::move(respond));
    case RouteId::drain_node:
      return change_node(*std::move(node), NodeChange::drain, std::move(respond));
    case RouteId::activate_node:
      return change_node(*std::move(node), NodeChange::activate, std::move(respond));
    case RouteId::remove_node:
      return change_node(*std::move(node), NodeChange::remove, std::move(respond));
  }
}

void Handlers::create_database(HttpRequest& request, Responder respond) {
  auto spec = decode_create(request.body);
  if (!spec) return respond(error_response(spec.status()));
  api_.create_database(*std::move(spec),
                       answer<DatabaseInfo>(std::move(respond), encode_database, 201));
}

void Handlers::alter_database(std::string database, HttpRequest& request, Responder respond) {
  auto alter = decode_alter(request.body);
  if (!alter) return respond(error_response(alter.status()));
  alter->name = std::move(database);
  api_.alter_database(*std::move(alter), answer<DatabaseInfo>(std::move(respond), encode_database));
}

void Handlers::recall(std::string database, std::string_view query, Responder respond) {
  auto request = parse_recall(query);
  if (!request) return respond(error_response(request.status()));
  request->database = std::move(database);
  api_.recall(*std::move(request), answer<RecallReply>(std::move(respond), encode_recall));
}

void Handlers::split_shard(std::string database, std::string_view shard, Responder respond) {
  SplitShardRequest request;
  auto [end, error] = std::from_chars(shard.data(), shard.data() + shard.size(), request.shard);
  if (error != std::errc{} || end != shard.data() + shard.size()) {
    return respond(error_response(not_found("database \"" + database + "\" has no shard " +
                                            std::string(shard.substr(0, 100)))));
  }
  request.database = std::move(database);
  api_.split_shard(std::move(request), answer<DatabaseInfo>(std::move(respond), encode_database));
}

void Handlers::change_node(std::string node, NodeChange change, Responder respond) {
  api_.change_node({std::move(node), change}, answer<NodeInfo>(std::move(respond), encode_node));
}

void Handlers::upsert(std::string database, HttpRequest& request, Responder respond) {
  auto decoded = request.content_type == MediaType::binary ? decode_upsert(request.body)
                                                           : decode_json_upsert(request.body);
  request.body = {};
  if (!decoded) return respond(error_response(decoded.status()));
  decoded->database = std::move(database);
  decoded->request_id = std::move(request.idempotency_key);
  api_.upsert(*std::move(decoded), answer<UpsertReply>(std::move(respond), encode_upsert_reply));
}

void Handlers::list_vectors(std::string database, std::string_view query, Responder respond) {
  auto request = parse_list(query);
  if (!request) return respond(error_response(request.status()));
  request->database = std::move(database);
  Include include{request->include_metadata, request->include_values};
  api_.list(*std::move(request),
            answer<ListReply>(std::move(respond), [include](const ListReply& reply) {
              return encode_page(reply, include);
            }));
}

void Handlers::get_vector(std::string database, VectorId id, std::string_view query,
                          Responder respond) {
  auto request = parse_get(query);
  if (!request) return respond(error_response(request.status()));
  request->database = std::move(database);
  request->id = std::move(id);
  api_.get(*std::move(request),
           answer<StoredVector>(std::move(respond), [](const StoredVector& vector) {
             return encode_vector(vector, {true, true});
           }));
}

void Handlers::update_vector(std::string database, VectorId id, std::string_view query,
                             HttpRequest& request, Responder respond) {
  auto key = parse_key_alone(query);
  if (!key) return respond(error_response(key.status()));
  auto update = decode_update_vector(request.body);
  if (!update) return respond(error_response(update.status()));
  update->id = std::move(id);
  UpdateRequest one;
  one.database = database;
  one.vectors.push_back(*std::move(update));
  one.key = *std::move(key);
  one.request_id = std::move(request.idempotency_key);
  one.named_by_client = true;
  api_.update(std::move(one), [respond, database](Result<UpdateReply> reply) {
    if (!reply) return respond(error_response(reply.status()));
    if (reply->missing.empty()) return respond(json_response(encode_updated(*reply)));
    respond(error_response(not_found("id " + reply->missing.front().to_string() +
                                     " does not exist in database \"" + database + "\"")));
  });
}

void Handlers::update_vectors(std::string database, HttpRequest& request, Responder respond) {
  auto decoded = decode_update(request.body);
  request.body = {};
  if (!decoded) return respond(error_response(decoded.status()));
  decoded->database = std::move(database);
  decoded->request_id = std::move(request.idempotency_key);
  api_.update(*std::move(decoded), answer<UpdateReply>(std::move(respond), encode_update_reply));
}

void Handlers::delete_vector(std::string database, VectorId id, std::string_view query,
                             HttpRequest& request, Responder respond) {
  auto key = parse_key_alone(query);
  if (!key) return respond(error_response(key.status()));
  DeleteRequest deletion;
  deletion.key = *std::move(key);
  deletion.database = std::move(database);
  deletion.ids.push_back(std::move(id));
  deletion.request_id = std::move(request.idempotency_key);
  api_.remove(std::move(deletion), answer<DeleteReply>(std::move(respond), encode_delete_reply));
}

void Handlers::delete_vectors(std::string database, HttpRequest& request, Responder respond) {
  auto decoded = decode_delete(request.body);
  if (!decoded) return respond(error_response(decoded.status()));
  decoded->database = std::move(database);
  decoded->request_id = std::move(request.idempotency_key);
  api_.remove(*std::move(decoded), answer<DeleteReply>(std::move(respond), encode_delete_reply));
}

void Handlers::search(std::string database, HttpRequest& request, Responder respond) {
  if (request.content_type == MediaType::binary) {
    return search_batch(std::move(database), request, true, std::move(respond));
  }
  SearchPlan plan{request.accepts_binary};
  auto decoded = decode_json_search(request.body);
  if (!decoded) return respond(error_response(decoded.status()));
  if (Status status = check_reply(plan, {&*decoded, 1}); !status.ok()) {
    return respond(error_response(status));
  }
  decoded->database = std::move(database);
  Include include = include_of(*decoded);
  api_.search(*std::move(decoded), [respond, plan, include](Result<SearchReply> result) {
    answer_one(respond, plan, include, result);
  });
}

// `one`: of the route of single searches, with a binary body.
void Handlers::search_batch(std::string database, HttpRequest& request, bool one,
                            Responder respond) {
  SearchPlan plan{request.accepts_binary};
  auto decoded = request.content_type == MediaType::binary ? decode_search(request.body)
                                                           : decode_json_search_batch(request.body);
  if (!decoded) return respond(error_response(decoded.status()));
  if (Status status = check_reply(plan, decoded->searches); !status.ok()) {
    return respond(error_response(status));
  }
  if (one && !plan.binary && decoded->searches.size() != 1) {
    return respond(error_response(
        invalid_argument("the body has " + std::to_string(decoded->searches.size()) +
                         " queries; send them to search/batch, or accept a binary reply")));
  }
  if (one && decoded->searches.size() == 1) {
    SearchRequest single = std::move(decoded->searches[0]);
    single.database = std::move(database);
    single.timeout_ms = decoded->timeout_ms;
    Include include = include_of(single);
    return api_.search(std::move(single), [respond, plan, include](Result<SearchReply> result) {
      answer_one(respond, plan, include, result);
    });
  }
  std::vector<Include> includes;
  for (SearchRequest& search : decoded->searches) includes.push_back(include_of(search));
  decoded->database = std::move(database);
  api_.search_batch(*std::move(decoded),
                    [respond, plan, includes](Result<SearchBatchReply> result) {
                      answer_batch(respond, plan, includes, result);
                    });
}

void Handlers::show_metrics(Responder respond) {
  api_.cluster([metrics = metrics_, respond](Result<ClusterInfo> cluster) {
    HttpResponse response;
    response.content_type = content_type_metrics;
    response.body = metrics->text(cluster ? &*cluster : nullptr);
    respond(std::move(response));
  });
}

}  // namespace jade
