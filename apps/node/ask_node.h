// Questions of the commands to a running node.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "net/http_client.h"

namespace jade {

// The JSON object of an answer; its error, or corruption where it is not that of a jade node.
Result<boost::json::value> read_answer(const HttpResponse& response);

// The JSON object that it answers; its error, or corruption where it is no jade node.
Result<boost::json::value> ask_node(HttpClient& client, std::string_view method,
                                    const std::string& target);

}  // namespace jade
