// How much the answer to one request may have: it crosses the network as one message, and is held
// several times over on its way to the client. Few bytes can ask for gigabytes: a batch of searches
// for many results each, with values and metadata.
#pragma once

#include <string>

#include "actors/api.h"
#include "actors/messages.h"

namespace jade {

class AnswerSize {
 public:
  // `bytes_max`: Limits::answer_bytes_max of one shard, Limits::answers_bytes_max of all together.
  explicit AnswerSize(size_t bytes_max) : bytes_max_(bytes_max) {}

  // too_large: it has more than it may.
  static Status check(size_t bytes, size_t bytes_max) {
    if (bytes <= bytes_max) return {};
    return Status(Code::too_large,
                  "the answer would have more than " + std::to_string(bytes_max >> 20) +
                      " MiB; ask for less at once: fewer results, fewer searches, or without "
                      "metadata or values");
  }

  // The same with this.
  Status add(const ShardHit& row) {
    bytes_ += row_bytes + row.id.size() + row.metadata.size() + row.values.size();
    return check(bytes_, bytes_max_);
  }
  Status add(const ShardHits& hits) {
    for (const auto& query : hits.queries) {
      for (const ShardHit& row : query) JADE_RETURN_IF_ERROR(add(row));
    }
    return {};
  }

 private:
  // That a row has beside those.
  static constexpr size_t row_bytes = 32;

  size_t bytes_max_;
  size_t bytes_ = 0;
};

}  // namespace jade
