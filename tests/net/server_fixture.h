// A server on a free port over the model, and a client for it.
#pragma once

#include <doctest/doctest.h>

#include "net/http_client.h"
#include "net/http_server.h"
#include "tests/net/model_api.h"

namespace jade::test {

inline HttpServerOptions options_on_free_port() {
  HttpServerOptions options;
  options.port = 0;
  return options;
}

struct ServerFixture {
  explicit ServerFixture(HttpServerOptions options = options_on_free_port(), bool threaded = true)
      : api(threaded) {
    auto started = HttpServer::start(options, api);
    REQUIRE(started.ok());
    server = *std::move(started);
    client = connect();
  }

  std::unique_ptr<HttpClient> connect() {
    auto connected = HttpClient::connect("http://127.0.0.1:" + std::to_string(server->port()));
    REQUIRE(connected.ok());
    return *std::move(connected);
  }

  HttpResponse call(std::string_view method, std::string_view target, std::string_view body = "",
                    std::string_view type = content_type_json,
                    std::string_view accept = content_type_json) {
    auto response = client->request(method, target, body, type, accept);
    CHECK_MESSAGE(response.ok(), response.status().to_string());
    return response ? *response : HttpResponse{};
  }

  void create_db(uint32_t dimension = 2) {
    auto response =
        call("POST", "/v1/databases",
             R"({"name":"db","metric":"l2","dimension":)" + std::to_string(dimension) + "}");
    REQUIRE(response.status == 201);
  }

  ModelApi api;
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<HttpClient> client;
};

}  // namespace jade::test
