#include "apps/bench/http_searcher.h"

#include "net/binary_codec.h"
#include "net/http_client.h"
#include "storage/status.h"

namespace jade {

SearchRequest bench_request(uint32_t k, uint32_t ef) {
  SearchRequest request;
  request.k = k;
  request.ef_search = ef;
  request.include_metadata = false;
  return request;
}

std::vector<int64_t> ids_of(const SearchReply& reply) {
  std::vector<int64_t> out;
  for (const SearchHit& hit : reply.results) out.push_back(static_cast<int64_t>(hit.id.integer()));
  return out;
}

Searcher http_searcher(const std::string& url, const std::string& database,
                       const Workload& workload) {
  auto connected = HttpClient::connect(url);
  JADE_ASSERT(connected.ok());
  auto client = std::shared_ptr<HttpClient>(std::move(*connected));
  return [client, &workload, path = "/v1/databases/" + database + "/search"](size_t query,
                                                                             uint32_t ef) {
    std::string body = encode_search(bench_request(workload.k, ef), workload.queries.row(query), 1,
                                     workload.queries.dimension);
    auto response = client->request("POST", path, body, content_type_binary, content_type_binary);
    JADE_ASSERT(response.ok() && response->ok());
    auto reply = decode_search_reply(response->body);
    JADE_ASSERT(reply.ok());
    return ids_of(reply->results.front());
  };
}

}  // namespace jade
