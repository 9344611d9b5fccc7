#include "net/http_server.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <future>
#include <thread>

#include "net/binary_codec.h"
#include "net/url.h"
#include "tests/net/raw_socket.h"
#include "tests/net/server_fixture.h"

namespace jade {
namespace {

using test::RawSocket;
using test::ServerFixture;

boost::json::value json(const HttpResponse& response) {
  boost::system::error_code error;
  auto value = boost::json::parse(response.body, error);
  CHECK_MESSAGE(!error, response.body);
  return value;
}

std::string error_code(const HttpResponse& response) {
  return std::string(json(response).at("error").at("code").as_string());
}

std::string error_message(const HttpResponse& response) {
  return std::string(json(response).at("error").at("message").as_string());
}

constexpr const char* three = R"({"vectors":[
  {"id":42,"values":[0,0],"metadata":{"a":1}},
  {"id":"42","values":[3,4]},
  {"id":18446744073709551615,"values":[1,0],"metadata":{"b":"é\n"}}]})";

TEST_CASE("databases are created, listed, described and dropped") {
  ServerFixture f;
  auto created = f.call("POST", "/v1/databases",
                        R"({"name":"a.b","dimension":3,"metric":"dot","shards":2,"replicas":1,
                            "index":{"type":"ivf","nlist":7},"embedder":""})");
  CHECK(created.status == 201);
  CHECK(json(created).at("index").at("nlist") == 7);
  CHECK(json(created).at("index").at("type") == "ivf");
  CHECK_FALSE(json(created).at("index").as_object().contains("ef_search"));
  CHECK(json(created).at("metric") == "dot");
  CHECK(json(created).at("placement").at(0).at("segments").at(0).at("state") == "growing");
  auto again = f.call("POST", "/v1/databases", R"({"name":"a.b","dimension":3})");
  CHECK(again.status == 409);
  CHECK(error_code(again) == "already_exists");
  CHECK(json(f.call("GET", "/v1/databases")).at("databases").as_array().size() == 1);
  CHECK(json(f.call("GET", "/v1/databases/a%2Eb")).at("dimension") == 3);
  CHECK(f.call("DELETE", "/v1/databases/a.b").status == 200);
  CHECK(f.call("GET", "/v1/databases/a.b").status == 404);
}

TEST_CASE("vectors come back as they were given, by ids of either kind") {
  ServerFixture f;
  f.create_db();
  auto upserted = f.call("POST", "/v1/databases/db/vectors", three);
  CHECK(upserted.body == R"({"upserted":3,"token":"t1"})");
  CHECK(f.call("GET", "/v1/databases/db/vectors/42").body ==
        R"({"id":42,"values":[0,0],"metadata":{"a":1}})");
  CHECK(f.call("GET", "/v1/databases/db/vectors/%2242%22").body ==
        R"({"id":"42","values":[3,4],"metadata":{}})");
  CHECK(f.call("GET", "/v1/databases/db/vectors/18446744073709551615").status == 200);
  CHECK(f.call("GET", "/v1/databases/db/vectors/nobody").status == 404);
  CHECK(f.call("GET", "/v1/databases/db/vectors/%zz").status == 400);
  CHECK(f.call("GET", "/v1/databases/db/vectors/42?consistency=eventual&token=7:12").status == 200);
  CHECK(f.call("GET", "/v1/databases/db/vectors?consistency=strong").status == 200);
  for (const char* path : {"/42", ""}) {
    auto wrong =
        f.call("GET", std::string("/v1/databases/db/vectors") + path + "?consistency=weak");
    CHECK(wrong.status == 400);
    CHECK(error_message(wrong) ==
          R"(consistency is "weak"; it must be "session", "strong" or "eventual")");
  }
  CHECK(f.call("DELETE", "/v1/databases/db/vectors/%2242%22").body ==
        R"({"deleted":1,"token":"t2"})");
  CHECK(json(f.call("POST", "/v1/databases/db/vectors/delete", R"({"ids":[42,"x"]})"))
            .at("deleted") == 1);
  CHECK(json(f.call("POST", "/v1/databases/db/vectors/delete", R"({"filter":{"a":1}})"))
            .at("deleted") == 1);
}

TEST_CASE("parts of vectors that exist are changed, one by its path or several") {
  ServerFixture f;
  f.create_db();
  f.call("POST", "/v1/databases/db/vectors", three);
  auto patched = f.call("PATCH", "/v1/databases/db/vectors/42", R"({"metadata":{"b":2}})");
  CHECK(patched.status == 200);
  CHECK(patched.body == R"({"updated":1,"token":"t3"})");
  CHECK(f.call("PATCH", "/v1/databases/db/vectors/%2242%22?key=7", R"({"values":[5,6]})").status ==
        200);
  CHECK(f.call("GET", "/v1/databases/db/vectors/42").body ==
        R"({"id":42,"values":[0,0],"metadata":{"b":2}})");
  CHECK(f.call("GET", "/v1/databases/db/vectors/%2242%22").body ==
        R"({"id":"42","values":[5,6],"metadata":{}})");
  auto missing = f.call("PATCH", "/v1/databases/db/vectors/nobody", R"({"values":[5,6]})");
  CHECK(missing.status == 404);
  CHECK(error_message(missing) == "id \"nobody\" does not exist in database \"db\"");
  auto wrong = f.call("PATCH", "/v1/databases/db/vectors/42", R"({"values":[5]})");
  CHECK(wrong.status == 400);
  CHECK(error_message(wrong) == "values is wrong");
  CHECK(f.call("PATCH", "/v1/databases/db/vectors/42", R"({"id":42})").status == 400);
  CHECK(f.call("PATCH", "/v1/databases/db/vectors/42?ky=7", R"({"values":[5,6]})").status == 400);
  CHECK(f.call("PATCH", "/v1/databases/db/vectors/42", "{}", "text/plain").status == 415);

  auto several = f.call("POST", "/v1/databases/db/vectors/update",
                        R"({"vectors":[{"id":42,"values":[7,8]},{"id":"x","values":[1,2]},
                                       {"id":7,"metadata":{}}]})");
  CHECK(several.status == 200);
  CHECK(several.body == R"({"updated":1,"missing":["x",7],"token":"t3"})");
  CHECK(f.call("GET", "/v1/databases/db/vectors/42").body ==
        R"({"id":42,"values":[7,8],"metadata":{"b":2}})");
  several = f.call("POST", "/v1/databases/db/vectors/update", R"({"vectors":[{"id":42}]})");
  CHECK(several.body == R"({"updated":1,"missing":[],"token":"t3"})");
  CHECK(f.call("POST", "/v1/databases/db/vectors/update", "x", content_type_binary).status == 415);
  auto metrics = f.call("GET", "/metrics").body;
  CHECK(metrics.find("jade_http_requests_total{route=\"update_vector\",status=\"404\"} 1") !=
        std::string::npos);
  CHECK(metrics.find("jade_http_requests_total{route=\"update_vectors\",status=\"200\"} 2") !=
        std::string::npos);
}

TEST_CASE("pages follow each other through ids of both kinds") {
  ServerFixture f;
  f.create_db();
  f.call("POST", "/v1/databases/db/vectors", three);
  std::string target = "/v1/databases/db/vectors?limit=1&include=values,metadata";
  std::vector<std::string> ids;
  for (std::string after;;) {
    auto page = json(f.call("GET", target + after));
    auto& vectors = page.at("vectors").as_array();
    REQUIRE(vectors.size() == 1);
    CHECK(vectors[0].as_object().contains("values"));
    ids.push_back(boost::json::serialize(vectors[0].at("id")));
    if (page.at("next").is_null()) break;
    REQUIRE(ids.size() < 5);
    after = "&after=" + percent_encode(std::string_view(page.at("next").as_string()));
  }
  CHECK(ids == std::vector<std::string>{"42", "18446744073709551615", "\"42\""});
  CHECK(f.call("GET", "/v1/databases/db/vectors?limit=0").status == 400);
  CHECK(f.call("GET", "/v1/databases/db/vectors?limit=10001").status == 400);
  CHECK(f.call("GET", "/v1/databases/db/vectors?page=2").status == 400);
  CHECK(f.call("GET", "/v1/databases/db/vectors?include=all").status == 400);
  CHECK(f.call("GET", "/v1/databases?x=1").status == 400);
}

TEST_CASE("searches answer in JSON") {
  ServerFixture f;
  f.create_db();
  f.call("POST", "/v1/databases/db/vectors", three);
  auto found = json(f.call("POST", "/v1/databases/db/search", R"({"vector":[0.5,0],"k":2})"));
  auto& results = found.at("results").as_array();
  REQUIRE(results.size() == 2);
  CHECK(boost::json::serialize(results[0]) == R"({"id":42,"score":5E-1,"metadata":{"a":1}})");
  CHECK(results[1].at("metadata").at("b") == "é\n");
  CHECK(found.at("took_ms").is_number());
  auto batch = json(f.call("POST", "/v1/databases/db/search/batch",
                           R"({"searches":[{"vector":[3,4],"k":1,"include":[]},
                               {"vector":[1,0],"k":1,"include":["values"]}]})"));
  CHECK(boost::json::serialize(batch.at("results")) ==
        R"([[{"id":"42","score":0}],[{"id":18446744073709551615,"score":0,"values":[1,0]}]])");
  auto wrong = f.call("POST", "/v1/databases/db/search", R"({"vector":[1]})");
  CHECK(wrong.status == 400);
  CHECK(f.call("POST", "/v1/databases/none/search", R"({"vector":[1]})").status == 404);
}

TEST_CASE("upserts and searches in binary do what those in JSON do") {
  ServerFixture f;
  f.create_db();
  std::vector<VectorId> ids = {7, VectorId("x"), 9};
  std::vector<float> values = {0, 0, 3, 4, 1, 0};
  std::vector<std::string> metadata = {R"({"n":1})", "", R"({"n":3})"};
  auto upserted = f.call("POST", "/v1/databases/db/vectors",
                         encode_upsert({ids, ElementType::f32, 2, values.data(), metadata, true}),
                         content_type_binary);
  CHECK(upserted.body == R"({"upserted":3,"token":"t1"})");
  SearchRequest options;
  options.k = 2;
  options.include_values = true;
  std::vector<float> queries = {0.5f, 0, 3, 4};
  std::string body = encode_search(options, queries.data(), 2, 2);
  for (const char* path : {"/v1/databases/db/search", "/v1/databases/db/search/batch"}) {
    auto response = f.call("POST", path, body, content_type_binary, content_type_binary);
    REQUIRE(response.status == 200);
    CHECK(response.content_type == content_type_binary);
    auto reply = decode_search_reply(response.body);
    REQUIRE(reply.ok());
    REQUIRE(reply->results.size() == 2);
    REQUIRE(reply->results[0].results.size() == 2);
    const SearchHit& best = reply->results[1].results[0];
    CHECK(best.id == VectorId("x"));
    CHECK(best.score == 0);
    CHECK(best.values == std::vector<float>{3, 4});
    CHECK(reply->results[0].results[0].metadata == R"({"n":1})");
  }
  CHECK(json(f.call("POST", "/v1/databases/db/search/batch", body, content_type_binary))
            .at("results")
            .as_array()
            .size() == 2);
  CHECK(f.call("POST", "/v1/databases/db/search", body, content_type_binary).status == 400);
  auto one = f.call("POST", "/v1/databases/db/search", encode_search(options, queries.data(), 1, 2),
                    content_type_binary);
  CHECK(json(one).at("results").at(0).at("id") == 7);
  auto mixed = f.call("POST", "/v1/databases/db/search", R"({"vector":[3,4],"k":1})",
                      content_type_json, content_type_binary);
  REQUIRE(decode_search_reply(mixed.body).ok());
  for (const char* needs_json : {"explain", "partial", "group_by"}) {
    auto refused = f.call("POST", "/v1/databases/db/search",
                          R"({"vector":[3,4],")" + std::string(needs_json) + R"(":)" +
                              (needs_json == std::string("group_by") ? R"("kind"})" : "true}"),
                          content_type_json, content_type_binary);
    CHECK(refused.status == 400);
    CHECK(refused.body.find(std::string(needs_json) + " needs a JSON reply") != std::string::npos);
  }
  options.explain = true;
  body = encode_search(options, queries.data(), 1, 2);
  auto refused =
      f.call("POST", "/v1/databases/db/search", body, content_type_binary, content_type_binary);
  CHECK(refused.status == 400);
  CHECK(refused.body.find("explain needs a JSON reply") != std::string::npos);
  CHECK(f.call("POST", "/v1/databases/db/search", body, content_type_binary).status == 200);
}

TEST_CASE("the node's own pages") {
  ServerFixture f;
  f.create_db();
  CHECK(json(f.call("GET", "/")).at("name") == "JadeVectorDB");
  CHECK(f.call("GET", "/healthz").body == R"({"status":"ok"})");
  CHECK(f.call("GET", "/readyz?probe=1").status == 200);
  f.api.is_ready = false;
  auto waiting = f.call("GET", "/readyz");
  CHECK(waiting.status == 503);
  CHECK(waiting.retry_after_s == 1);
  CHECK(error_message(waiting) == "shard 3 is loading");
  auto cluster = json(f.call("GET", "/v1/cluster"));
  CHECK(cluster.at("master") == 1);
  CHECK(cluster.at("databases").at(0).at("name") == "db");
  auto metrics = f.call("GET", "/metrics");
  CHECK(metrics.content_type == content_type_metrics);
  for (const char* line : {"jade_http_requests_total{route=\"create_database\",status=\"201\"} 1",
                           "jade_http_requests_total{route=\"readyz\",status=\"503\"} 1",
                           "jade_vectors{database=\"db\",shard=\"5\"} 0",
                           "jade_applied_index{database=\"db\",shard=\"5\"} 9",
                           "jade_measured_recall{database=\"db\",shard=\"5\"} 0.975",
                           "jade_http_requests_in_flight 1", "jade_http_connections 1"}) {
    CHECK_MESSAGE(metrics.body.find(line) != std::string::npos, line);
  }
}

TEST_CASE("HEAD answers like GET without the body, on the same connection") {
  ServerFixture f;
  auto head = f.call("HEAD", "/healthz");
  CHECK(head.status == 200);
  CHECK(head.body.empty());
  CHECK(f.call("GET", "/healthz").body == R"({"status":"ok"})");
}

TEST_CASE("paths and methods that are not there are told so") {
  ServerFixture f;
  for (const char* path : {"/nowhere", "/v1/databases/", "/v1/databases/db/vectors/1/2", "//",
                           "/v1/databases/db/search/", "*"}) {
    CAPTURE(path);
    CHECK(f.call("GET", path).status == 404);
  }
  auto refused = f.call("PUT", "/v1/databases", "{}");
  CHECK(refused.status == 405);
  CHECK(refused.allow == "POST, GET, HEAD");
  CHECK(f.call("DELETE", "/v1/cluster").allow == "GET, HEAD");
  CHECK(f.call("PUT", "/v1/databases/db/vectors/delete").allow == "GET, HEAD, PATCH, DELETE, POST");
}

TEST_CASE("a body of another type is 415, and the connection lives on") {
  ServerFixture f;
  for (std::string_view type : {"text/plain", "application/x-www-form-urlencoded", ""}) {
    auto response = f.call("POST", "/v1/databases", "{}", type);
    CHECK(response.status == 415);
    CHECK(error_message(response).find("application/json") != std::string::npos);
  }
  CHECK(f.call("POST", "/v1/databases", "{}", content_type_binary).status == 415);
  CHECK(f.call("POST", "/v1/databases", "{}", "Application/JSON; charset=utf-8").status == 400);
}

TEST_CASE("no web page can change anything by a request without a body") {
  ServerFixture f;
  const std::string target = "/v1/cluster/nodes/nobody/activate";
  CHECK(f.call("POST", target, "", "").status == 404);
  CHECK(f.call("POST", target, "", "application/json").status == 404);
  for (std::string_view type : {"text/plain", "application/x-www-form-urlencoded"}) {
    CHECK(f.call("POST", target, "", type).status == 415);
    CHECK(f.call("POST", target, "a=b", type).status == 415);
  }
  auto from_page = [&](const std::string& more) {
    RawSocket socket(f.server->port());
    socket.send("POST " + target + " HTTP/1.1\r\nHost: x\r\nOrigin: http://a.example\r\n" + more +
                "Content-Length: 0\r\n\r\n");
    return socket.receive_until("\r\n\r\n").substr(9, 3);
  };
  CHECK(from_page("") == "415");
  // For which a browser asks first, in vain.
  CHECK(from_page("Content-Type: application/json\r\n") == "404");
}

TEST_CASE("pipelined requests are answered in order") {
  for (bool threaded : {true, false}) {
    ServerFixture f(test::options_on_free_port(), threaded);
    RawSocket socket(f.server->port());
    std::string burst;
    for (int i = 0; i < 500; ++i) {
      burst += "GET /v1/databases/d" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n";
    }
    burst += "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.send(burst);
    std::string all = socket.receive_to_end();
    size_t at = 0;
    for (int i = 0; i < 500; ++i) {
      at = all.find("no database d" + std::to_string(i) + "\"", at);
      REQUIRE(at != std::string::npos);
    }
    CHECK(all.find(R"({"status":"ok"})", at) != std::string::npos);
  }
}

TEST_CASE("a body may come in chunks, in pieces, and after a 100 Continue") {
  ServerFixture f;
  RawSocket socket(f.server->port());
  std::string head = "POST /v1/databases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  socket.send(head + "Transfer-Encoding: chunked\r\n\r\n10\r\n{\"name\":\"chunks\"\r\n");
  socket.send("10\r\n,\"dimension\":12}\r\n0\r\n\r\n");
  CHECK(socket.receive_until("\r\n\r\n").find("201 Created") != std::string::npos);
  std::string body = R"({"name":"waited","dimension":4})";
  socket.send(head + "Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n");
  CHECK(socket.receive_until("100 Continue\r\n\r\n").find("100 Continue") != std::string::npos);
  for (char c : body) socket.send({&c, 1});
  CHECK(socket.receive_until("waited").find("201 Created") != std::string::npos);
}

TEST_CASE("HTTP/1.0 and Connection: close end the connection after the answer") {
  ServerFixture f;
  for (const char* request : {"GET /healthz HTTP/1.0\r\n\r\n",
                              "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"}) {
    RawSocket socket(f.server->port());
    socket.send(request);
    std::string all = socket.receive_to_end();
    CHECK(all.starts_with("HTTP/1.1 200 OK"));
    CHECK(all.ends_with(R"({"status":"ok"})"));
  }
}

TEST_CASE("a port that is taken and a host that is not here are refused") {
  ServerFixture f;
  HttpServerOptions options;
  options.port = f.server->port();
  auto second = HttpServer::start(options, f.api);
  REQUIRE(!second.ok());
  CHECK(second.status().code() == Code::already_exists);
  CHECK(second.status().message().find(std::to_string(options.port)) != std::string::npos);
  options.port = 0;
  options.host = "192.0.2.1";
  CHECK(HttpServer::start(options, f.api).status().code() == Code::invalid_argument);
  options.host = "127.0.0.1";
  options.threads = 0;
  CHECK(HttpServer::start(options, f.api).status().code() == Code::invalid_argument);
}

TEST_CASE("an address that is taken is known, and refuses connections until it is served") {
  auto socket = ListenSocket::bind("localhost", 0);
  REQUIRE_MESSAGE(socket.ok(), socket.status().to_string());
  uint16_t port = socket->port();
  REQUIRE(port != 0);
  std::string address = socket->address();
  CHECK((address == "127.0.0.1:" + std::to_string(port) ||
         address == "[::1]:" + std::to_string(port)));
  auto ask = [&] {
    auto client = HttpClient::connect("http://" + address);
    return client ? (*client)->request("GET", "/healthz", "") : client.status();
  };
  CHECK(ask().status().code() == Code::unavailable);
  test::ModelApi api(true);
  auto server = HttpServer::start(test::options_on_free_port(), std::move(*socket), api);
  REQUIRE_MESSAGE(server.ok(), server.status().to_string());
  CHECK((*server)->port() == port);
  auto response = ask();
  REQUIRE_MESSAGE(response.ok(), response.status().to_string());
  CHECK(response->status == 200);
  CHECK(ListenSocket::bind("localhost", port).status().code() == Code::already_exists);
}

TEST_CASE("the address of a socket of IPv6 has its host in brackets") {
  auto socket = ListenSocket::bind("::1", 0);
  if (!socket.ok()) {
    MESSAGE("skipped, as this machine has no IPv6: " << socket.status().to_string());
    return;
  }
  CHECK(socket->address() == "[::1]:" + std::to_string(socket->port()));
}

TEST_CASE("a server on somebody else's loop leaves it before it stops") {
  HttpServerOptions options = test::options_on_free_port();
  SUBCASE("alone") {}
  SUBCASE("beside one of its own") { options.threads = 2; }
  SUBCASE("whose timers go off all the time") { options.idle_timeout_ms = 4; }
  for (int round = 0; round < 20; ++round) {
    auto loop = std::make_unique<boost::asio::io_context>(1);
    auto guard =
        std::make_unique<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>>(
            loop->get_executor());
    std::thread runs([&] { loop->run(); });
    options.loop = loop.get();
    ServerFixture f(options);
    RawSocket idle(f.server->port());
    RawSocket begun(f.server->port());
    begun.send("GET /v1/databases HTTP/1.1\r\nHo");
    // One is not answered while the server is there.
    RawSocket busy(f.server->port());
    f.api.hold(true);
    busy.send("GET /v1/databases HTTP/1.1\r\nHost: x\r\n\r\n");
    f.api.wait_for_calls(1);
    f.server->stop(0);
    // Nothing keeps the loop, and it may be gone before the server is.
    guard.reset();
    runs.join();
    loop.reset();
    f.server.reset();
    f.api.hold(false);
  }
}

TEST_CASE("stopping answers what is in flight and closes what is idle") {
  HttpServerOptions options = test::options_on_free_port();
  options.threads = 2;
  ServerFixture f(options);
  RawSocket idle(f.server->port());
  RawSocket busy(f.server->port());
  f.api.hold(true);
  busy.send("GET /v1/databases HTTP/1.1\r\nHost: x\r\n\r\n");
  f.api.wait_for_calls(1);
  std::thread stopping([&] { f.server->stop(20'000); });
  CHECK(idle.receive_to_end().empty());
  f.api.hold(false);
  std::string answer = busy.receive_to_end();
  CHECK(answer.starts_with("HTTP/1.1 200 OK"));
  CHECK(answer.find("Connection: close") != std::string::npos);
  stopping.join();
}

TEST_CASE("stopping cuts off what is not answered within the grace") {
  ServerFixture f;
  RawSocket busy(f.server->port());
  f.api.hold(true);
  busy.send("GET /v1/databases HTTP/1.1\r\nHost: x\r\n\r\n");
  f.api.wait_for_calls(1);
  f.server->stop(1);
  CHECK(busy.receive_to_end().empty());
  f.server.reset();
  f.api.hold(false);  // the late answer finds nobody
  f.api.wait_for_calls(0);
}

TEST_CASE("recall is measured with what the query says") {
  test::ServerFixture f;
  f.call("POST", "/v1/databases", R"({"name":"a","dimension":1,"metric":"l2"})");
  f.call("POST", "/v1/databases/a/vectors", R"({"vectors":[{"id":1,"values":[1]}]})");
  auto r = f.call("GET", "/v1/databases/a/recall?k=5&sample=20&ef_search=50&nprobe=2");
  CHECK(r.status == 200);
  CHECK(r.body == R"({"recall":0.5,"sampled":1,"shards_searched":1})");
  CHECK(f.call("GET", "/v1/databases/a/recall?min_recall=0.95").status == 200);
  for (auto [query, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {"k=0", "k is \\\"0\\\"; it must be an integer from 1 to 1000"},
           {"sample=1001", "from 1 to 1000"},
           {"ef_search=x", "ef_search is"},
           {"min_recall=high", "min_recall is \\\"high\\\"; it must be 0.5 to 0.999"},
           {"min_recall=", "min_recall is"},
           {"limit=1", "they are k, sample, ef_search, nprobe, probes, min_recall and using"},
           {"probes=257", "from 1 to 256"}}) {
    auto refused = f.call("GET", std::string("/v1/databases/a/recall?") + query);
    CHECK(refused.status == 400);
    CHECK_MESSAGE(refused.body.find(why) != std::string::npos, refused.body);
  }
}

TEST_CASE("a call that the node forgets is answered 503") {
  ServerFixture f;
  RawSocket socket(f.server->port());
  f.api.hold(true);
  socket.send("GET /v1/databases HTTP/1.1\r\nHost: x\r\n\r\n");
  f.api.wait_for_calls(1);
  f.api.drop_calls();
  CHECK(socket.receive_until("}}").starts_with("HTTP/1.1 503"));
}

}  // namespace
}  // namespace jade
