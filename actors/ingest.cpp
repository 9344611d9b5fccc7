#include "actors/ingest.h"

#include <cmath>
#include <cstring>
#include <unordered_map>

#include "actors/errors.h"
#include "actors/gather.h"
#include "actors/random.h"
#include "actors/token.h"
#include "index/embedder.h"
#include "index/filter.h"
#include "index/metadata.h"
#include "storage/bytes.h"
#include "storage/record.h"

namespace jade {
namespace {

std::string place(size_t row, const char* field) {
  return "vectors[" + std::to_string(row) + "]." + field;
}

Status check_shape(const DatabaseSpec& spec, const UpsertRequest& request) {
  size_t n = request.ids.size();
  if (n == 0) return invalid_argument("vectors is empty; give at least one");
  if (n > Limits::vectors_per_upsert_max) {
    return Status(Code::too_large, "vectors has " + std::to_string(n) + " elements; at most " +
                                       std::to_string(Limits::vectors_per_upsert_max) +
                                       " are allowed in one request");
  }
  if (!request.metadata.empty() && request.metadata.size() != n) {
    return invalid_argument("metadata has " + std::to_string(request.metadata.size()) +
                            " rows for " + std::to_string(n) + " ids");
  }
  if (!request.texts.empty()) {
    if (request.texts.size() != n || !request.values.empty()) {
      return invalid_argument("give either values or text for every vector, not both");
    }
    return {};
  }
  if (request.dimension != spec.dimension) {
    return invalid_argument("the vectors have " + std::to_string(request.dimension) +
                            " values; database \"" + spec.name + "\" has dimension " +
                            std::to_string(spec.dimension));
  }
  if (request.values.size() != n * spec.dimension * sizeof(float)) {
    return invalid_argument("values has " + std::to_string(request.values.size()) +
                            " bytes; it must have ids × dimension × 4");
  }
  return {};
}

// Text becomes values, and is kept as metadata field "text" where there is none.
Status embed_texts(const DatabaseSpec& spec, UpsertRequest& request) {
  if (request.texts.empty()) return {};
  if (spec.embedder.empty()) {
    return invalid_argument("vectors[0].text is given, but database \"" + spec.name +
                            "\" has no embedder; give values");
  }
  auto embedder = find_embedder(spec.embedder, spec.dimension);
  if (!embedder) return internal_error("embedder \"" + spec.embedder + "\" is not available");
  request.values.resize(request.ids.size() * spec.dimension * sizeof(float));
  request.dimension = spec.dimension;
  if (request.metadata.empty()) request.metadata.resize(request.ids.size());
  std::vector<float> row(spec.dimension);
  for (size_t i = 0; i < request.ids.size(); ++i) {
    const std::string& text = request.texts[i];
    if (text.size() > Limits::text_bytes_max) {
      return Status(Code::too_large, place(i, "text") + " has " + std::to_string(text.size()) +
                                         " bytes; at most " +
                                         std::to_string(Limits::text_bytes_max) + " are allowed");
    }
    Status embedded = embedder->embed(text, row.data());
    if (!embedded.ok()) return embedded.with_context(place(i, "text"));
    std::memcpy(request.values.data() + i * spec.dimension * sizeof(float), row.data(),
                spec.dimension * sizeof(float));
    auto with_text = metadata_with_text(request.metadata[i], text);
    if (!with_text.ok()) return with_text.status().with_context(place(i, "metadata"));
    request.metadata[i] = std::move(*with_text);
  }
  request.texts.clear();
  return {};
}

Status check_values(const DatabaseSpec& spec, const UpsertRequest& request) {
  std::vector<float> row(spec.dimension);
  for (size_t i = 0; i < request.ids.size(); ++i) {
    std::memcpy(row.data(), request.values.data() + i * spec.dimension * sizeof(float),
                spec.dimension * sizeof(float));
    // One pass that the compiler vectorises; the culprit is looked for only when
    // there is one. A NaN or infinity makes the sum not finite, and so do values
    // whose squares overflow: distances to them would not be numbers.
    float norm = 0;
    for (float value : row) norm += value * value;
    if (!std::isfinite(norm)) {
      for (size_t j = 0; j < row.size(); ++j) {
        if (!std::isfinite(row[j])) {
          return invalid_argument(place(i, "values") + "[" + std::to_string(j) +
                                  "] is not a finite number");
        }
      }
      return invalid_argument(place(i, "values") + " is too large: its squared length overflows");
    }
    if (spec.metric == Metric::cosine && norm < std::numeric_limits<float>::min()) {
      return invalid_argument(
          place(i, "values") +
          " is a zero vector, which has no direction; metric \"cosine\" needs one");
    }
  }
  return {};
}

// One command of rows of one shard, being filled.
struct Builder {
  UpsertCommand command;
  size_t bytes = 0;
};

using ShardWrites = std::vector<std::pair<replica_actor, ShardWrite>>;

// Of the parts of one request: each shard counts those it gets.
class PartIds {
 public:
  PartIds(std::string request, size_t shards) : request_(std::move(request)), parts_(shards) {}
  std::string next(size_t shard) { return request_ + "/" + std::to_string(parts_[shard]++); }

 private:
  std::string request_;
  std::vector<size_t> parts_;
};

// The client's request id, or one that was drawn; they never meet.
std::string request_id(ingest_state& state, const std::string& given) {
  if (!given.empty()) return "c" + given;
  std::string drawn = "d";
  for (int i = 0; i < 2; ++i) append_big_endian(drawn, next_random(state.random));
  return drawn;
}

Status check_request_id(const std::string& id) {
  if (id.size() <= Limits::request_id_bytes_max) return {};
  return Status(Code::too_large, "the idempotency key has " + std::to_string(id.size()) +
                                     " bytes; at most " +
                                     std::to_string(Limits::request_id_bytes_max) + " are allowed");
}

// `distinct`: how many different ids there are.
Result<ShardWrites> split_upsert(const Routes& routes, const DatabaseEntry& database,
                                 const UpsertRequest& request, const std::string& id,
                                 size_t command_bytes, uint64_t* distinct) {
  auto shards = routes.all(database);
  if (!shards.ok()) return shards.status();
  // Of equal ids the last wins: only its row is written.
  std::vector<std::string> keys(request.ids.size());
  std::unordered_map<std::string_view, size_t> last;
  last.reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    keys[i] = request.ids[i].key();
    last[keys[i]] = i;
  }
  *distinct = last.size();

  ShardWrites calls;
  PartIds parts(id, shards->size());
  std::vector<Builder> builders(shards->size());
  auto flush = [&](size_t shard) {
    Builder& builder = builders[shard];
    if (builder.command.ids.empty()) return;
    calls.emplace_back((*shards)[shard], ShardWrite{{database.shards[shard].group},
                                                    encode(builder.command, parts.next(shard))});
    builder = Builder();
  };
  size_t row_bytes = database.spec.dimension * sizeof(float);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (last[keys[i]] != i) continue;
    size_t shard = shard_of(keys[i], database);
    Builder& builder = builders[shard];
    std::string_view metadata =
        request.metadata.empty() ? std::string_view() : std::string_view(request.metadata[i]);
    size_t bytes = keys[i].size() + row_bytes + metadata.size() + 32;
    if (builder.bytes + bytes > command_bytes) flush(shard);
    builder.bytes += bytes;
    builder.command.dimension = database.spec.dimension;
    builder.command.ids.push_back(keys[i]);
    builder.command.values.append(request.values, i * row_bytes, row_bytes);
    builder.command.metadata.emplace_back(metadata);
  }
  for (size_t shard = 0; shard < builders.size(); ++shard) flush(shard);
  return calls;
}

ShardWrites split_delete(const std::vector<replica_actor>& shards, const DatabaseEntry& database,
                         const std::vector<VectorId>& ids, const std::string& id,
                         size_t command_bytes) {
  ShardWrites calls;
  PartIds parts(id, shards.size());
  std::vector<DeleteCommand> commands(shards.size());
  std::vector<size_t> bytes(shards.size());
  auto flush = [&](size_t shard) {
    if (commands[shard].ids.empty()) return;
    calls.emplace_back(shards[shard], ShardWrite{{database.shards[shard].group},
                                                 encode(commands[shard], parts.next(shard))});
    commands[shard] = DeleteCommand();
    bytes[shard] = 0;
  };
  for (const VectorId& vector : ids) {
    std::string key = vector.key();
    size_t shard = shard_of(key, database);
    commands[shard].ids.push_back(std::move(key));
    bytes[shard] += commands[shard].ids.back().size() + 16;
    if (bytes[shard] > command_bytes) flush(shard);
  }
  for (size_t shard = 0; shard < shards.size(); ++shard) flush(shard);
  return calls;
}

using ingest_pointer = ingest_actor::stateful_pointer<ingest_state>;

// Not at once: whoever cannot answer now can hardly answer in the same moment.
constexpr auto retry_interval = std::chrono::milliseconds(50);

void retry(ingest_pointer self, std::function<void()> attempt) {
  if (self->state.retries.empty()) self->delayed_send(self, retry_interval, Tick{});
  self->state.retries.push_back(std::move(attempt));
}

// Sends the write, and again while it may not have been done and time remains.
void write(ingest_pointer self, const replica_actor& shard,
           std::shared_ptr<const ShardWrite> request, uint64_t retry_until_ms,
           std::function<void(Result<ShardWritten>)> done) {
  const ingest_state& state = self->state;
  self->request(shard, state.options.write_timeout, *request)
      .then([done](ShardWritten& written) { done(written); },
            [=](const caf::error& error) {
              Status status = to_status(error);
              bool again = status.code() == Code::unavailable && now_ms(self) < retry_until_ms;
              if (!again) return done(status);
              retry(self, [=] {
                // The way may be another one now.
                const Routes& routes = self->state.routes;
                const ShardPlacement* placement =
                    routes.map ? find_placement(*routes.map, request->route.group) : nullptr;
                auto handle =
                    placement != nullptr ? routes.shard(*placement) : Result<replica_actor>(status);
                if (!handle.ok()) return done(status);
                write(self, *handle, request, retry_until_ms, done);
              });
            });
}

// Calls finish(answers) when all are answered.
template <class Finish>
void write_all(ingest_pointer self, ShardWrites calls, Finish finish) {
  struct State {
    std::vector<Result<ShardWritten>> answers;
    size_t missing;
    Finish finish;
  };
  auto state = std::make_shared<State>(
      State{std::vector<Result<ShardWritten>>(calls.size(), unavailable("no answer")), calls.size(),
            std::move(finish)});
  uint64_t retry_ms = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(self->state.options.retry_for).count());
  for (size_t i = 0; i < calls.size(); ++i) {
    auto request = std::make_shared<const ShardWrite>(std::move(calls[i].second));
    write(self, calls[i].first, std::move(request), now_ms(self) + retry_ms,
          [state, i](Result<ShardWritten> answer) {
            state->answers[i] = std::move(answer);
            if (--state->missing == 0) state->finish(state->answers);
          });
  }
}

struct Written {
  uint64_t affected = 0;
  std::string token;
};

Result<Written> sum(const std::vector<Result<ShardWritten>>& answers) {
  Written out;
  AppliedIndexes indexes;
  for (const auto& answer : answers) {
    if (!answer.ok()) {
      if (answers.size() == 1) return answer.status();
      return Status(
          answer.status().code(),
          answer.status().message() +
              " (other parts of this request may have been written; sending it again is safe)");
    }
    out.affected += answer->affected;
    uint64_t& index = indexes[answer->group];
    index = std::max(index, answer->index);
  }
  out.token = encode_token(indexes);
  return out;
}

auto deliver_deleted(caf::typed_response_promise<DeleteReply> promise) {
  return [promise](const std::vector<Result<ShardWritten>>& answers) mutable {
    auto written = sum(answers);
    if (!written.ok()) {
      promise.deliver(to_error(written.status()));
    } else {
      promise.deliver(DeleteReply{written->affected, std::move(written->token)});
    }
  };
}

}  // namespace

Status prepare_upsert(const DatabaseSpec& spec, UpsertRequest& request) {
  JADE_RETURN_IF_ERROR(check_shape(spec, request));
  for (size_t i = 0; i < request.ids.size(); ++i) {
    if (Status valid = request.ids[i].validate(); !valid.ok()) {
      return valid.with_context("vectors[" + std::to_string(i) + "]");
    }
  }
  for (size_t i = 0; i < request.metadata.size(); ++i) {
    std::string& metadata = request.metadata[i];
    if (metadata.empty()) continue;
    if (metadata.size() > Limits::metadata_bytes_max) {
      return Status(Code::too_large, place(i, "metadata") + " has " +
                                         std::to_string(metadata.size()) + " bytes; at most " +
                                         std::to_string(Limits::metadata_bytes_max) +
                                         " are allowed");
    }
    auto canonical = canonical_metadata(metadata);
    if (!canonical.ok()) return canonical.status().with_context(place(i, "metadata"));
    metadata = std::move(*canonical);
  }
  JADE_RETURN_IF_ERROR(embed_texts(spec, request));
  return check_values(spec, request);
}

ingest_actor::behavior_type ingest(ingest_actor::stateful_pointer<ingest_state> self,
                                   IngestOptions options) {
  self->state.options = options;
  self->state.random = mix(options.seed, now_ms(self) + 1);
  return {
      [self](RoutesChanged& changed) { self->state.routes.change(changed); },
      [self](Tick) {
        for (auto& attempt : std::exchange(self->state.retries, {})) attempt();
      },
      [self](UpsertRequest& request) -> caf::result<UpsertReply> {
        auto database = self->state.routes.database(request.database);
        if (!database.ok()) return to_error(database.status());
        const DatabaseEntry& entry = **database;
        if (Status status = prepare_upsert(entry.spec, request); !status.ok()) {
          return to_error(status);
        }
        if (Status status = check_request_id(request.request_id); !status.ok()) {
          return to_error(status);
        }
        uint64_t distinct = 0;
        auto calls = split_upsert(self->state.routes, entry, request,
                                  request_id(self->state, request.request_id),
                                  self->state.options.command_bytes, &distinct);
        if (!calls.ok()) return to_error(calls.status());
        auto promise = self->make_response_promise<UpsertReply>();
        write_all(self, std::move(*calls), [promise, distinct](auto& answers) mutable {
          auto written = sum(answers);
          if (!written.ok()) {
            promise.deliver(to_error(written.status()));
          } else {
            promise.deliver(UpsertReply{distinct, std::move(written->token)});
          }
        });
        return promise;
      },
      [self](DeleteRequest& request) -> caf::result<DeleteReply> {
        auto database = self->state.routes.database(request.database);
        if (!database.ok()) return to_error(database.status());
        const DatabaseEntry& entry = **database;
        auto shards = self->state.routes.all(entry);
        if (!shards.ok()) return to_error(shards.status());
        caf::timespan timeout = self->state.options.write_timeout;
        if (!request.filter.empty()) {
          if (!request.ids.empty()) {
            return to_error(invalid_argument("give either ids or filter, not both"));
          }
          if (auto filter = parse_filter(request.filter); !filter.ok()) {
            return to_error(filter.status().with_context("filter"));
          }
          std::vector<std::pair<replica_actor, ShardDeleteMatching>> calls;
          for (size_t i = 0; i < shards->size(); ++i) {
            calls.emplace_back((*shards)[i],
                               ShardDeleteMatching{{entry.shards[i].group}, request.filter});
          }
          auto promise = self->make_response_promise<DeleteReply>();
          gather<ShardWritten>(self, timeout, std::move(calls), deliver_deleted(promise));
          return promise;
        }
        if (request.ids.empty()) {
          return to_error(invalid_argument("ids is empty; give at least one"));
        }
        for (size_t i = 0; i < request.ids.size(); ++i) {
          if (Status valid = request.ids[i].validate(); !valid.ok()) {
            return to_error(valid.with_context("ids[" + std::to_string(i) + "]"));
          }
        }
        if (Status status = check_request_id(request.request_id); !status.ok()) {
          return to_error(status);
        }
        auto calls =
            split_delete(*shards, entry, request.ids, request_id(self->state, request.request_id),
                         self->state.options.command_bytes);
        auto promise = self->make_response_promise<DeleteReply>();
        write_all(self, std::move(calls), deliver_deleted(promise));
        return promise;
      },
  };
}

}  // namespace jade
