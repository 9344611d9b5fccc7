#include "apps/node/any_node.h"

#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "tests/apps/scripted_server.h"

namespace jade {
namespace {

using Texts = std::vector<std::string>;

// Of a server that has ended: nobody listens there.
std::string dead_url() { return ScriptedServer({}).url(); }

Result<HttpResponse> ask(const std::string& urls) {
  return ask_any_node(urls, {}, "POST", "/v1/databases/d/search", "{}");
}

}  // namespace

TEST_CASE("lists of URLs") {
  CHECK(split_urls("a") == Texts{"a"});
  CHECK(split_urls("a,b:1,,c,") == Texts{"a", "b:1", "c"});
  CHECK(split_urls("") == Texts{""});
}

TEST_CASE("URLs are given with commas or one after the other") {
  for (Texts arguments : {Texts{"--url", "a", "--url", "b", "x"}, Texts{"x", "--url", "a,b"},
                          Texts{"--url", "a,b", "x"}, Texts{"--url=a,b", "x"}}) {
    CLI::App app;
    std::string urls = "default", file;
    app.add_option("FILE", file);
    add_url_option(app, urls, "a node");
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
    CHECK(split_urls(urls) == Texts{"a", "b"});
    CHECK(file == "x");
  }
}

TEST_CASE("the next node is asked where one does not answer") {
  ScriptedServer busy({refusal(503, "unavailable", "")}), good({{200, "", "good", false}});
  auto answer = ask(dead_url() + "," + busy.url() + "," + good.url());
  REQUIRE_MESSAGE(answer.ok(), answer.status().to_string());
  CHECK(answer->body == "good");
  CHECK(busy.requests().size() == 1);
  CHECK(good.requests().size() == 1);
}

TEST_CASE("an answer is an answer, also one that refuses") {
  ScriptedServer first({refusal(404, "not_found", "")}), second({});
  auto answer = ask(first.url() + "," + second.url());
  REQUIRE(answer.ok());
  CHECK(answer->status == 404);
  CHECK(second.requests().empty());
}

TEST_CASE("where nobody answers each is named with its reason") {
  std::string dead = dead_url();
  ScriptedServer busy({refusal(503, "unavailable", "")});
  auto answer = ask(dead + "," + busy.url());
  REQUIRE(!answer.ok());
  CHECK(answer.status().message().starts_with(dead + ": "));
  CHECK(answer.status().message().ends_with("; " + busy.url() + ": nounavailable"));
  // One alone is known by whoever has given it.
  CHECK(!ask(dead).status().message().starts_with(dead));
  CHECK(ask("http://x:y").status().code() == Code::invalid_argument);
}

TEST_CASE("a node that hangs is passed over where another is left") {
  HungServer hung;
  std::string dead = dead_url();
  ScriptedServer good({{200, "", "good", false}});
  HttpClientOptions forever;
  forever.request_timeout_ms = 3'600'000;
  auto ask = [&](const std::string& urls) {
    return AnyNode(urls, forever, 50).ask("POST", "/v1/databases/d/search", "{}");
  };
  auto answer = ask(hung.url() + "," + good.url());
  REQUIRE_MESSAGE(answer.ok(), answer.status().to_string());
  CHECK(answer->body == "good");
  auto none = ask(hung.url() + "," + dead);
  REQUIRE(!none.ok());
  CHECK(none.status().message().starts_with(
      hung.url() + ": it has not said within 50 ms that it lives; " + dead + ": "));
}

TEST_CASE("the last node has the time that a request may take") {
  HungServer hung;
  HttpClientOptions options;
  options.request_timeout_ms = 50;
  // By the request itself, not by the question whether it lives.
  auto answer = AnyNode(dead_url() + "," + hung.url(), options, 3'600'000).ask("GET", "/");
  REQUIRE(!answer.ok());
  CHECK(answer.status().code() == Code::deadline_exceeded);
  CHECK(answer.status().message().ends_with(hung.url() + ": the server did not answer in time"));
}

TEST_CASE("who has answered is asked first from then on") {
  ScriptedServer busy({refusal(503, "unavailable", "")}), good({});
  AnyNode nodes(busy.url() + "," + good.url());
  REQUIRE(nodes.ask("GET", "/a").ok());
  REQUIRE(nodes.ask("GET", "/b").ok());
  CHECK(busy.targets() == Texts{"GET /a"});
  CHECK(good.targets() == Texts{"GET /a", "GET /b"});
}

TEST_CASE("what must not be asked twice goes on only where nobody has got it") {
  for (const Answer& lost : {Answer{200, "", "", true}, refusal(503, "unavailable", "")}) {
    HungServer hung;
    ScriptedServer first({lost}), second({});
    AnyNode nodes(dead_url() + "," + hung.url() + "," + first.url() + "," + second.url(), {}, 50);
    auto answer = nodes.ask_once("POST", "/a");
    CHECK((answer ? check_response(*answer) : answer.status()).code() == Code::unavailable);
    CHECK(first.targets() == Texts{"POST /a"});
    CHECK(second.targets().empty());
  }
  std::string dead = dead_url();
  auto nobody = AnyNode(dead + "," + dead).ask_once("POST", "/a");
  REQUIRE(!nobody.ok());
  CHECK(nobody.status().message().starts_with(dead + ": "));
}

}  // namespace jade
