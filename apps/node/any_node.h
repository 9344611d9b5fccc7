// The nodes of a cluster to ask, one after the other.
#pragma once

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

// The answer to a read, which may be asked again: of the first node that answers it. Who cannot be
// reached, does not answer in time, or says that it is unavailable is passed over. Where all are,
// the failure names each with its reason; a URL that is none fails with `invalid_argument`.
Result<HttpResponse> ask_any_node(std::string_view urls, const HttpClientOptions& options,
                                  std::string_view method, std::string_view target,
                                  std::string_view body = {});

}  // namespace jade
