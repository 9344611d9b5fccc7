// The nodes of a cluster to ask, one after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_client.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace jade {

// "http://a:8080,http://b:8080": one or several URLs, with commas. At least one.
std::vector<std::string> split_urls(std::string_view urls);

// `--url`, which may be given several times, or list several with commas: `urls` gets them as
// split_urls() wants them.
CLI::Option* add_url_option(CLI::App& command, std::string& urls, const std::string& help);

// Whether a node that fails so is passed over, where the question is one for any of them.
bool may_be_asked_of_another(Code code);

// How long a node is given to say that it lives, where another could be asked in its place.
constexpr uint32_t node_patience_ms = 3'000;

// A connection to one of several nodes. Where others are left, `patience_ms` says so: a process
// that hangs takes connections and says nothing for as long as a request may last, so it is first
// asked whether it lives, and fails with `deadline_exceeded` where it does not say so in that
// time. Requests that follow may last as long as `options` say. 0: it is not asked.
Result<std::unique_ptr<HttpClient>> connect_to_node(const std::string& url,
                                                    const HttpClientOptions& options,
                                                    uint32_t patience_ms);

// Several nodes; the one that has answered is asked first from then on, so that what follows finds
// what it was told.
class AnyNode {
 public:
  // Whether an answer will do; `unavailable` where another node's may be better.
  using Check = std::function<Status(const HttpResponse&)>;

  explicit AnyNode(std::string_view urls, const HttpClientOptions& options = {},
                   uint32_t patience_ms = node_patience_ms);

  // The answer to what may be asked again, and of any of them: of the first node that answers it.
  // Who cannot be reached, does not answer in time, says that it is unavailable, or does not pass
  // `check` is passed over. Where all are, the failure names each with its reason; a URL that is
  // none fails with `invalid_argument`. All but the last are asked first whether they live: see
  // connect_to_node().
  Result<HttpResponse> ask(std::string_view method, std::string_view target,
                           std::string_view body = {}, const Check& check = {});

  // The answer to what must not be asked twice: only who cannot be reached, or does not live, is
  // passed over. Once it was sent, whatever comes of it is the result.
  Result<HttpResponse> ask_once(std::string_view method, std::string_view target,
                                std::string_view body = {});

 private:
  using Question = std::function<Result<HttpResponse>(HttpClient&)>;
  Result<HttpResponse> ask_in_turn(const HttpClientOptions& options, const Question& question);

  std::vector<std::string> urls_;
  HttpClientOptions options_;
  uint32_t patience_ms_;
};

// AnyNode::ask() for a single question.
Result<HttpResponse> ask_any_node(std::string_view urls, const HttpClientOptions& options,
                                  std::string_view method, std::string_view target,
                                  std::string_view body = {});

}  // namespace jade
