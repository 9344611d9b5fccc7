// Encoding and decoding of what storage/record.capnp describes. Decoding never
// trusts its input: anything that does not hold is Code::corruption.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "storage/status.h"

namespace jade {

struct UpsertCommand {
  uint32_t dimension = 0;
  std::vector<std::string> ids;  // key form
  std::string values;            // ids × dimension float32
  std::vector<std::string> metadata;
};

struct DeleteCommand {
  std::vector<std::string> ids;
  std::vector<uint64_t> rows;  // empty, or one for each id
};

struct SealCommand {
  uint64_t segment = 0;
};

struct MergeCommand {
  uint64_t segment = 0;
  std::vector<uint64_t> sources;
  uint64_t seed = 0;
};

std::string encode(const UpsertCommand& command);
std::string encode(const DeleteCommand& command);
std::string encode(const SealCommand& command);
std::string encode(const MergeCommand& command);

// One row of an upsert; the views live as long as the call.
struct RowView {
  std::string_view id;
  std::string_view values;  // dimension float32, unaligned
  std::string_view metadata;
};

// What to do with each kind of command. A failure of a function is the result.
struct CommandVisitor {
  // Called before the rows: their number and dimension.
  std::function<Status(size_t rows, uint32_t dimension)> begin_upsert;
  std::function<Status(const RowView& row)> upsert_row;
  std::function<Status(const DeleteCommand&)> erase;
  std::function<Status(const SealCommand&)> seal;
  std::function<Status(const MergeCommand&)> merge;
};
Status visit_command(std::string_view bytes, const CommandVisitor& visitor);

struct Record {
  std::string id;
  std::string values;
  std::string metadata;
};
std::string encode_record(std::string_view id, std::string_view values, std::string_view metadata);
Result<Record> decode_record(std::string_view bytes);

struct SegmentMeta {
  uint64_t id = 0;
  uint64_t begin_row = 0;
  uint64_t end_row = 0;
  bool built = false;
};

struct ShardStateMeta {
  uint64_t applied_index = 0;
  uint64_t applied_term = 0;
  uint64_t next_row = 1;
  uint64_t next_segment = 2;
  std::vector<SegmentMeta> segments;
  std::vector<MergeCommand> merges;
};
std::string encode(const ShardStateMeta& state);
Result<ShardStateMeta> decode_shard_state(std::string_view bytes);

struct DatabaseRecord {
  struct Shard {
    uint64_t group = 0;
    std::vector<uint64_t> nodes;
  };
  std::string name;
  uint32_t dimension = 0;
  uint8_t metric = 0;
  uint8_t index_kind = 0;
  uint32_t m = 0, ef_construction = 0, ef_search = 0, nlist = 0, nprobe = 0;
  std::string embedder;
  uint32_t replicas = 1;
  std::vector<Shard> shards;
};

struct NodeRecord {
  uint64_t id = 0;
  std::string name;
  std::string address;
  std::string api_address;
};

// Exactly one of `create` (name not empty), `drop` and `join` (id not 0).
struct CatalogCommand {
  DatabaseRecord create;
  std::string drop;
  NodeRecord join;
};
std::string encode(const CatalogCommand& command);
Result<CatalogCommand> decode_catalog_command(std::string_view bytes);

struct CatalogState {
  uint64_t version = 0;
  uint64_t next_group = 0;
  std::vector<DatabaseRecord> databases;
  std::vector<NodeRecord> nodes;
};
std::string encode(const CatalogState& state);
Result<CatalogState> decode_catalog_state(std::string_view bytes);

}  // namespace jade
