// What each route does: decode, ask the Api, encode. No HTTP grammar, no sockets.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "actors/api.h"
#include "net/http_message.h"
#include "net/responder.h"
#include "net/router.h"

namespace jade {

class Metrics;

// The HTTP status of a failure: see the comments of Code.
int http_status(Code code);
// `status_code` 0: by the failure's code.
HttpResponse error_response(const Status& status, int status_code = 0);

// Callable from any thread. `api` must outlive all answers.
class Handlers {
 public:
  // `gateway`: see HttpServerOptions.
  Handlers(Api& api, std::shared_ptr<const Metrics> metrics, bool gateway)
      : api_(api), metrics_(std::move(metrics)), gateway_(gateway) {}

  // Whether the body that the header announces is one for the route: 415 if not.
  // Called before the body is received.
  static Status check_content_type(const Route& route, const HttpRequest& request);

  // REQUIRES: `match` is of request.target. Answers at once or on a thread of the
  // Api.
  void handle(const RouteMatch& match, HttpRequest& request, Responder respond);

 private:
  void create_database(HttpRequest& request, Responder respond);
  void alter_database(std::string database, HttpRequest& request, Responder respond);
  void recall(std::string database, std::string_view query, Responder respond);
  void split_shard(std::string database, std::string_view shard, Responder respond);
  void change_node(std::string node, NodeChange change, Responder respond);
  void upsert(std::string database, HttpRequest& request, Responder respond);
  void list_vectors(std::string database, std::string_view query, Responder respond);
  void get_vector(std::string database, VectorId id, std::string_view query, Responder respond);
  void update_vector(std::string database, VectorId id, std::string_view query,
                     HttpRequest& request, Responder respond);
  void update_vectors(std::string database, HttpRequest& request, Responder respond);
  void delete_vector(std::string database, VectorId id, std::string_view query,
                     HttpRequest& request, Responder respond);
  void delete_vectors(std::string database, HttpRequest& request, Responder respond);
  void search(std::string database, HttpRequest& request, Responder respond);
  void search_batch(std::string database, HttpRequest& request, bool one, Responder respond);
  void show_metrics(Responder respond);

  Api& api_;
  std::shared_ptr<const Metrics> metrics_;
  bool gateway_;
};

}  // namespace jade
