#include "apps/node/any_node.h"

#include <CLI/CLI.hpp>
#include <algorithm>

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

Result<HttpResponse> ask_node_once(const std::string& url, const HttpClientOptions& options,
                                   uint32_t patience_ms, std::string_view method,
                                   std::string_view target, std::string_view body) {
  auto client = connect_to_node(url, options, patience_ms);
  if (!client) return client.status();
  auto response = (*client)->request(method, target, body);
  if (!response) return response.status();
  Status status = check_response(*response);
  if (status.code() == Code::unavailable) return status;
  return response;
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

Result<HttpResponse> ask_any_node(std::string_view urls, const HttpClientOptions& options,
                                  std::string_view method, std::string_view target,
                                  std::string_view body, uint32_t patience_ms) {
  const std::vector<std::string> nodes = split_urls(urls);
  std::string failures;
  Status last;
  for (const std::string& url : nodes) {
    const bool last_one = &url == &nodes.back();
    auto response = ask_node_once(url, options, last_one ? 0 : patience_ms, method, target, body);
    if (response.ok() || !may_be_asked_of_another(response.status().code())) return response;
    last = response.status();
    failures += (failures.empty() ? "" : "; ") + url + ": " + last.message();
  }
  return nodes.size() == 1 ? last : Status(last.code(), failures);
}

}  // namespace jade
