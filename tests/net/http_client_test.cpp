#include "net/http_client.h"

#include "tests/net/server_fixture.h"

namespace jade {
namespace {

TEST_CASE("a server that restarts is connected to again") {
  test::ServerFixture f;
  CHECK(f.call("GET", "/healthz").status == 200);
  HttpServerOptions options;
  options.port = f.server->port();
  f.server->stop(1000);
  f.server.reset();
  CHECK(f.client->request("GET", "/healthz").status().code() == Code::unavailable);
  auto again = HttpServer::start(options, f.api);
  REQUIRE_MESSAGE(again.ok(), again.status().to_string());
  f.server = *std::move(again);
  CHECK(f.call("GET", "/healthz").status == 200);
}

TEST_CASE("a server that does not answer is given up") {
  test::ServerFixture f;
  HttpClientOptions options;
  options.request_timeout_ms = 20;
  auto client =
      HttpClient::connect("http://127.0.0.1:" + std::to_string(f.server->port()), options);
  REQUIRE(client.ok());
  f.api.hold(true);
  auto response = (*client)->request("GET", "/v1/databases");
  CHECK(response.status().code() == Code::deadline_exceeded);
  f.api.hold(false);
}

TEST_CASE("nobody there, no such URL, too long an answer") {
  CHECK(HttpClient::connect("http://127.0.0.1:1").status().code() == Code::unavailable);
  CHECK(HttpClient::connect("ftp://x").status().code() == Code::invalid_argument);
  test::ServerFixture f;
  HttpClientOptions options;
  options.response_bytes_max = 100;
  auto client =
      HttpClient::connect("http://127.0.0.1:" + std::to_string(f.server->port()), options);
  REQUIRE(client.ok());
  CHECK((*client)->request("GET", "/openapi.json").status().code() == Code::too_large);
}

TEST_CASE("a failure comes back with its code and message") {
  test::ServerFixture f;
  Status status = check_response(f.call("GET", "/v1/databases/none"));
  CHECK(status == Status(Code::not_found, "no database none"));
  CHECK(check_response(f.call("GET", "/healthz")).ok());
  HttpResponse foreign;
  foreign.body = "<html>";
  const std::pair<int, Code> codes[] = {{429, Code::resource_exhausted},
                                        {500, Code::internal},
                                        {502, Code::unavailable},
                                        {503, Code::unavailable},
                                        {504, Code::deadline_exceeded}};
  for (auto [http_status, code] : codes) {
    foreign.status = http_status;
    CHECK(check_response(foreign) == Status(code, "HTTP status " + std::to_string(http_status)));
  }
}

}  // namespace
}  // namespace jade
