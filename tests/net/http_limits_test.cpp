// Clients that are slow, greedy, half gone or no HTTP clients at all. Timeouts are
// short and their effect is awaited; nothing sleeps.
#include "net/binary_codec.h"
#include "tests/net/raw_socket.h"
#include "tests/net/server_fixture.h"

namespace jade {
namespace {

using test::options_on_free_port;
using test::RawSocket;
using test::ServerFixture;

constexpr const char* post_head =
    "POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

std::string status_of(const std::string& response) {
  return response.starts_with("HTTP/1.1 ") ? response.substr(9, 3) : "none: " + response;
}

// Sends, and reads to the end of the connection, which the server must close.
std::string last_words(ServerFixture& f, std::string_view bytes) {
  RawSocket socket(f.server->port());
  socket.send(bytes);
  return socket.receive_to_end();
}

void still_serves(ServerFixture& f) { CHECK(f.call("GET", "/healthz").status == 200); }

TEST_CASE("what is not HTTP is told so and closed") {
  ServerFixture f;
  for (const char* bytes :
       {"hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n"}) {
    CAPTURE(bytes);
    CHECK(status_of(last_words(f, bytes)) == "400");
  }
  CHECK(status_of(last_words(f, "GET / HTTP/3.0\r\nHost: x\r\n\r\n")) == "505");
  CHECK(status_of(last_words(f, std::string("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 11))) == "400");
  still_serves(f);
}

TEST_CASE("a header over the limit is 431") {
  ServerFixture f;
  std::string endless = "GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(17 * 1024, 'a');
  CHECK(status_of(last_words(f, endless)) == "431");
  CHECK(status_of(last_words(f, "GET /" + std::string(17 * 1024, 'a'))) == "431");
  std::string many = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 3000; ++i) many += "X" + std::to_string(i) + ": y\r\n";
  CHECK(status_of(last_words(f, many + "\r\n")) == "431");
  still_serves(f);
}

TEST_CASE("a body over the limit is 413 before it is sent, and as it grows") {
  HttpServerOptions options = options_on_free_port();
  options.body_bytes_max = 100'000;
  ServerFixture f(options);
  std::string head = post_head;
  CHECK(status_of(last_words(f, head + "Content-Length: 100001\r\n\r\n")) == "413");
  CHECK(status_of(last_words(f, head + "Content-Length: 18446744073709551615\r\n\r\n")) == "413");
  CHECK(status_of(last_words(f, head + "Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n")) ==
        "413");
  std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 30; ++i) chunked += "1000\r\n" + std::string(4096, 'x') + "\r\n";
  CHECK(status_of(last_words(f, chunked)) == "413");
  CHECK(status_of(last_words(
            f, head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")) == "400");
  CHECK(status_of(last_words(
            f, head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx")) == "413");
  still_serves(f);
}

TEST_CASE("a chunk header without an end is cut") {
  HttpServerOptions options = options_on_free_port();
  options.header_bytes_max = 1024;
  ServerFixture f(options);
  std::string endless =
      std::string(post_head) + "Transfer-Encoding: chunked\r\n\r\n1;" + std::string(1 << 20, 'x');
  CHECK(status_of(last_words(f, endless)) == "400");
  still_serves(f);
}

TEST_CASE("slow clients are cut, wherever they dawdle") {
  HttpServerOptions options = options_on_free_port();
  options.idle_timeout_ms = 30;
  options.read_timeout_ms = 30;
  ServerFixture f(options);
  CHECK(last_words(f, "").empty());
  CHECK(status_of(last_words(f, "GET / HT")) == "408");
  CHECK(status_of(last_words(f, std::string(post_head) + "Content-Length: 10\r\n\r\n{")) == "408");
  CHECK(status_of(last_words(f, std::string(post_head) + "Expect: 100-continue\r\n"
                                                         "Content-Length: 10\r\n\r\n"))
            .starts_with("100"));
  still_serves(f);
}

TEST_CASE("a client that trickles gains no time by it") {
  HttpServerOptions options = options_on_free_port();
  options.read_timeout_ms = 50;
  options.rate_bytes_per_s_min = 1u << 30;
  ServerFixture f(options);
  RawSocket socket(f.server->port());
  socket.send(
      "POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Content-Length: 50000000\r\n\r\n");
  // Ends because the server closes: at this pace the body would take hours.
  size_t sent = 0;
  while (socket.send("x")) ++sent;
  CHECK(sent < 50'000'000);
  still_serves(f);
}

TEST_CASE("a client that does not read its answers is cut") {
  HttpServerOptions options = options_on_free_port();
  options.write_timeout_ms = 30;
  options.rate_bytes_per_s_min = 1u << 30;
  ServerFixture f(options);
  RawSocket socket(f.server->port());
  std::string burst;
  for (int i = 0; i < 1000; ++i) burst += "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
  while (socket.send(burst)) {
  }
  still_serves(f);
}

TEST_CASE("a half-closed client gets its answer, or why there is none") {
  ServerFixture f;
  RawSocket complete(f.server->port());
  complete.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  complete.close_sending();
  CHECK(status_of(complete.receive_to_end()) == "200");
  RawSocket cut(f.server->port());
  cut.send(std::string(post_head) + "Content-Length: 100\r\n\r\n{\"name\":");
  cut.close_sending();
  CHECK(status_of(cut.receive_to_end()) == "400");
  RawSocket silent(f.server->port());
  silent.close_sending();
  CHECK(silent.receive_to_end().empty());
}

TEST_CASE("connections over the limit are refused, and those before them are served") {
  HttpServerOptions options = options_on_free_port();
  options.connections_max = 8;
  ServerFixture f(options);
  still_serves(f);
  std::vector<std::unique_ptr<RawSocket>> sockets;
  for (int i = 0; i < 7; ++i) {
    sockets.push_back(std::make_unique<RawSocket>(f.server->port()));
    sockets.back()->send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(status_of(sockets.back()->receive_until("}")) == "200");
  }
  for (int i = 0; i < 50; ++i) CHECK(status_of(last_words(f, "")) == "503");
  still_serves(f);
  CHECK(f.call("GET", "/metrics").body.find("jade_http_connections_refused_total 50") !=
        std::string::npos);
  sockets.clear();
}

TEST_CASE("bytes in flight over the limit are 429 with Retry-After, and free again after") {
  HttpServerOptions options = options_on_free_port();
  options.body_bytes_max = 300'000;
  options.inflight_body_bytes_max = 300'000;
  ServerFixture f(options);
  f.create_db(1);
  std::vector<float> values(50'000);
  std::vector<VectorId> ids;
  for (uint64_t i = 0; i < 20'000; ++i) ids.emplace_back(i);
  ids.resize(20'000);
  std::string body = encode_upsert({ids, ElementType::f32, 1, values.data(), {}, false});
  std::string target = "/v1/databases/db/vectors";
  f.api.hold(true);
  RawSocket first(f.server->port());
  first.send("POST " + target +
             " HTTP/1.1\r\nHost: x\r\nContent-Type: " + std::string(content_type_binary) +
             "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  f.api.wait_for_calls(1);
  auto refused = f.call("POST", target, body, content_type_binary);
  CHECK(refused.status == 429);
  CHECK(refused.retry_after_s == 1);
  f.api.hold(false);
  CHECK(status_of(first.receive_until("}")) == "200");
  CHECK(f.call("POST", target, body, content_type_binary).status == 200);
}

TEST_CASE("a refused request's body is skipped and the connection goes on") {
  ServerFixture f;
  RawSocket socket(f.server->port());
  socket.send(
      "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
      "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
      "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  std::string all = socket.receive_to_end();
  size_t second = all.find("HTTP/1.1 200", all.find("HTTP/1.1 404"));
  REQUIRE(second != std::string::npos);
  CHECK(all.find("HTTP/1.1 200", second + 1) != std::string::npos);
}

TEST_CASE("bad bodies are 400, change nothing, and say what is wrong") {
  ServerFixture f;
  f.create_db();
  struct Case {
    const char* path;
    const char* body;
    const char* message;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"vectors", R"({"vectors":[{"id":1,"values":[1,2,3]}]})", "the database has 2"},
           {"vectors", R"({"vectors":[{"id":1,"values":[1,1e999]}]})", "values[1]"},
           {"vectors", R"({"vectors":[{"id":1,"values":[1,)", "not valid JSON"},
           {"search", R"({"vector":[1,2],"k":0})", "k is 0"},
           {"search", R"({"vector":[1,2],"k":10001})", "1 to 10000"},
           {"search", R"({"vector":[1,2],"kk":1})", "unknown field \\\"kk\\\""},
           {"vectors/update", R"({"vectors":[{"id":1,"values":7}]})", "vectors[0].values"},
           {"vectors/delete", "{}", "either"}}) {
    CAPTURE(c.body);
    auto response = f.call("POST", std::string("/v1/databases/db/") + c.path, c.body);
    CHECK(response.status == 400);
    CHECK_MESSAGE(response.body.find(c.message) != std::string::npos, response.body);
  }
  CHECK(f.call("GET", "/v1/databases/db/vectors").body == R"({"vectors":[],"next":null})");
}

TEST_CASE("mutated requests never take the server down") {
  ServerFixture f;
  f.create_db();
  std::string json_body = R"({"vectors":[{"id":1,"values":[1,2],"metadata":{"a":[1]}}]})";
  std::string valid =
      "POST /v1/databases/db/vectors HTTP/1.1\r\nHost: x\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(json_body.size()) + "\r\n\r\n" + json_body;
  uint32_t seed = 12345;
  auto random = [&](size_t n) { return (seed = seed * 1664525u + 1013904223u, seed >> 8) % n; };
  for (int i = 0; i < 1500; ++i) {
    std::string bytes = valid;
    for (size_t changes = 1 + random(3); changes > 0; --changes) {
      bytes[random(bytes.size())] = static_cast<char>(random(256));
    }
    RawSocket socket(f.server->port());
    socket.send(bytes);
    socket.close_sending();
    socket.receive_to_end();
  }
  still_serves(f);
}

}  // namespace
}  // namespace jade
