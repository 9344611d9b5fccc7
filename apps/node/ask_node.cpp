#include "apps/node/ask_node.h"

namespace jade {

Result<boost::json::value> read_answer(const HttpResponse& response) {
  JADE_RETURN_IF_ERROR(check_response(response));
  boost::json::error_code error;
  boost::json::value reply = boost::json::parse(response.body, error);
  if (error || !reply.is_object()) return corruption("the answer is not that of a jade node");
  return reply;
}

Result<boost::json::value> ask_node(HttpClient& client, std::string_view method,
                                    const std::string& target) {
  auto response = client.request(method, target);
  return response.ok() ? read_answer(*response) : response.status();
}

}  // namespace jade
