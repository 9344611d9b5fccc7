#include "apps/node/any_node.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <utility>

namespace jade {
namespace {

// Whether the process answers at all: whatever it says, and however long requests take there.
Status check_alive(const std::string& url, HttpClientOptions options, uint32_t patience_ms) {
  options.connect_timeout_ms = std::min(options.connect_timeout_ms, patience_ms);
  options.request_timeout_ms = std::min(options.request_timeout_ms, patience_ms);
  auto client = HttpClient::connect(url, options);
  Status status = client ? (*client)->request("GET", "/healthz").status() : client.status();
  if (status.code() != Code::deadline_exceeded) return status;
  return Status(
      status.code(),
      "it has not said within " + std::to_string(options.request_timeout_ms) + " ms that it lives");
}

}  // namespace

bool may_be_asked_of_another(Code code) {
  return code == Code::unavailable || code == Code::deadline_exceeded;
}

std::vector<std::string> split_urls(std::string_view urls) {
  std::vector<std::string> out;
  while (!urls.empty()) {
    size_t comma = std::min(urls.find(','), urls.size());
    if (comma > 0) out.emplace_back(urls.substr(0, comma));
    urls.remove_prefix(std::min(comma + 1, urls.size()));
  }
  if (out.empty()) out.emplace_back();
  return out;
}

CLI::Option* add_url_option(CLI::App& command, std::string& urls, const std::string& help) {
  return command
      .add_option_function<std::vector<std::string>>(
          "--url",
          [&urls](const std::vector<std::string>& given) {
            urls.clear();
            for (const std::string& one : given) urls += (urls.empty() ? "" : ",") + one;
          },
          help + "; several with commas: the next is asked where one does not answer")
      ->allow_extra_args(false)  // what follows one is another argument
      ->type_name("URL,...")
      ->default_str(urls);
}

Result<std::unique_ptr<HttpClient>> connect_to_node(const std::string& url,
                                                    const HttpClientOptions& options,
                                                    uint32_t patience_ms) {
  if (patience_ms != 0) JADE_RETURN_IF_ERROR(check_alive(url, options, patience_ms));
  return HttpClient::connect(url, options);
}

AnyNode::AnyNode(std::string_view urls, const HttpClientOptions& options, uint32_t patience_ms)
    : urls_(split_urls(urls)), options_(options), patience_ms_(patience_ms) {}

// `question` gets a connection, and fails with what passes a node over.
Result<HttpResponse> AnyNode::ask_in_turn(const HttpClientOptions& options,
                                          const Question& question) {
  std::string failures;
  Status last;
  for (auto url = urls_.begin(); url != urls_.end(); ++url) {
    auto client = connect_to_node(*url, options, url + 1 == urls_.end() ? 0 : patience_ms_);
    auto response = client ? question(**client) : Result<HttpResponse>(client.status());
    if (response.ok() || !may_be_asked_of_another(response.status().code())) {
      std::rotate(urls_.begin(), url, url + 1);
      return response;
    }
    last = response.status();
    failures += (failures.empty() ? "" : "; ") + *url + ": " + last.message();
  }
  return urls_.size() == 1 ? last : Status(last.code(), failures);
}

Result<HttpResponse> AnyNode::ask(std::string_view method, std::string_view target,
                                  std::string_view body, const Check& check) {
  return ask_in_turn(options_, [&](HttpClient& client) -> Result<HttpResponse> {
    auto response = client.request(method, target, body);
    if (!response) return response.status();
    Status status = check_response(*response);
    if (status.code() == Code::unavailable) return status;
    if (check) JADE_RETURN_IF_ERROR(check(*response));
    return response;
  });
}

Result<HttpResponse> AnyNode::ask_once(std::string_view method, std::string_view target,
                                       std::string_view body) {
  HttpClientOptions once = options_;
  once.send_again = false;
  std::optional<Result<HttpResponse>> sent;
  auto answer = ask_in_turn(once, [&](HttpClient& client) {
    sent = client.request(method, target, body);
    // The nodes are not asked further, whatever has become of it.
    return sent->ok() ? *sent : Result<HttpResponse>(HttpResponse());
  });
  return sent ? *sent : answer;
}

Result<HttpResponse> ask_any_node(std::string_view urls, const HttpClientOptions& options,
                                  std::string_view method, std::string_view target,
                                  std::string_view body) {
  return AnyNode(urls, options).ask(method, target, body);
}

}  // namespace jade
