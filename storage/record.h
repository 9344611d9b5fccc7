// Encoding and decoding of what storage/record.capnp describes. Decoding never
// trusts its input: anything that does not hold is Code::corruption.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
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
  bool trim = false;           // rows that belong to a shard that was split off
};

struct SealCommand {
  uint64_t segment = 0;
};

struct MergeCommand {
  uint64_t segment = 0;
  std::vector<uint64_t> sources;
  uint64_t seed = 0;
};

// From here on the leader changes the group's members as this version of its
// placement says; an older one is not followed any more.
struct PlacedCommand {
  uint64_t version = 0;
};

// From here on ids whose hash is `at` or more belong to group `child`, which begins
// with what this one has of them.
struct SplitCommand {
  uint64_t child = 0;
  uint64_t at = 0;
};

// The child needs nothing of this group any more, and its rows are deleted here.
struct SplitEndCommand {
  uint64_t child = 0;
};

// What tells a repeated request from a new one.
struct RequestId {
  std::string_view id;       // "": none
  uint32_t fingerprint = 0;  // of the request's content; the same id with another is refused
};

std::string encode(const UpsertCommand& command, RequestId request = {});
std::string encode(const DeleteCommand& command, RequestId request = {});
std::string encode(const SealCommand& command);
std::string encode(const MergeCommand& command);
std::string encode(const PlacedCommand& command);
std::string encode(const SplitCommand& command);
std::string encode(const SplitEndCommand& command);

// One row of an upsert; the views live as long as the call.
struct RowView {
  std::string_view id;
  std::string_view values;  // dimension float32, unaligned
  std::string_view metadata;
};

// What to do with each kind of command. A failure of a function is the result.
struct CommandVisitor {
  // Where the command has a request id, called first. False: nothing else is to be
  // done. May be empty.
  std::function<bool(RequestId request)> begin;
  // Called before the rows: their number and dimension.
  std::function<Status(size_t rows, uint32_t dimension)> begin_upsert;
  std::function<Status(const RowView& row)> upsert_row;
  std::function<Status(const DeleteCommand&)> erase;
  std::function<Status(const SealCommand&)> seal;
  std::function<Status(const MergeCommand&)> merge;
  std::function<Status(const PlacedCommand&)> placed;
  std::function<Status(const SplitCommand&)> split;
  std::function<Status(const SplitEndCommand&)> split_end;
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

// A split that has taken effect here and has not ended.
struct SplitState {
  uint64_t child = 0;  // group; 0: none
  uint64_t at = 0;     // its first hash
  // The log entry, and the number of the next row there: where the child begins.
  uint64_t index = 0;
  uint64_t term = 0;
  uint64_t next_row = 0;
  uint64_t end = 0;       // where the child's hashes end; 0: with the greatest
  bool trimming = false;  // its rows are being deleted here
};

struct ShardStateMeta {
  uint64_t applied_index = 0;
  uint64_t applied_term = 0;
  uint64_t next_row = 1;
  uint64_t next_segment = 2;
  std::vector<SegmentMeta> segments;
  std::vector<MergeCommand> merges;
  uint64_t placed = 0;    // version of the last PlacedCommand
  uint64_t hash_end = 0;  // ids with smaller hashes belong here; 0: all
  SplitState split;
  uint64_t last_child = 0;  // group that was split off; 0: none ever
};
std::string encode(const ShardStateMeta& state);
Result<ShardStateMeta> decode_shard_state(std::string_view bytes);

// Where the replicas of a shard are, and where they are going.
struct ShardRecord {
  uint64_t group = 0;             // Raft group; unique in the cluster, never used again
  std::vector<uint64_t> nodes;    // that hold a replica; the first leads if it can
  std::vector<uint64_t> leaving;  // those of them that are to give it up
  std::vector<uint64_t> joining;  // those of them that are still getting it
  // Index of the log entry that placed it so. As a command: of the placement that it
  // takes the place of; nothing happens when that is not the latest any more.
  uint64_t version = 0;
  // It has had a leader: a member without a log waits for it to send one.
  bool founded = false;
  uint8_t reason = 0;  // why it moves: MoveReason
  // Ids belong here whose hashes are at least this and less than the next shard's.
  uint64_t hash_begin = 0;
  // A split under way: of this shard, which child gets the hashes from where on, and
  // whether it is a shard of the database by now; of the child, its parent.
  uint64_t child = 0;
  uint64_t child_begin = 0;
  bool divided = false;
  uint64_t parent = 0;
  uint64_t last_child = 0;  // that has become a shard; 0: none ever

  bool is_splitting() const { return child != 0 || parent != 0; }

  friend bool operator==(const ShardRecord&, const ShardRecord&) = default;
};

struct DatabaseRecord {
  std::string name;
  uint32_t dimension = 0;
  uint8_t metric = 0;
  uint8_t index_kind = 0;
  uint32_t m = 0, ef_construction = 0, ef_search = 0, nlist = 0, nprobe = 0;
  uint8_t quantization = 0;
  double min_recall = 0;
  std::string embedder;
  uint32_t replicas = 1;
  std::string shard_key;
  std::vector<ShardRecord> shards;

  friend bool operator==(const DatabaseRecord&, const DatabaseRecord&) = default;
};

struct NodeRecord {
  uint64_t id = 0;  // unique for ever: drawn by the node itself
  std::string name;
  std::string address;      // HOST:PORT of its cluster port; empty: a cluster of one
  std::string api_address;  // for display
  bool draining = false;    // its replicas go elsewhere, and it gets no new ones
  uint8_t roles = 0;        // a set of NodeRole; 0: all of them

  friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

// The commands of the catalog, beside DatabaseRecord (create) and NodeRecord (join).
struct DropRecord {
  std::string name;
};
struct DrainRecord {
  uint64_t node = 0;
  bool draining = false;
};
struct RemoveRecord {
  uint64_t node = 0;
};
struct ReplicasRecord {
  std::string database;
  uint32_t replicas = 0;
};
struct FoundRecord {
  std::vector<uint64_t> groups;
};
// Steps of a split: it is decided; the shard's log has it, and the child takes its ids
// over; nothing is left to do.
enum class SplitStep : uint8_t { begin, cut_over, end };
struct SplitRecord {
  uint64_t group = 0;
  SplitStep step = SplitStep::begin;
  std::string database;  // to which it must belong; "": any
};
using CatalogCommand =
    std::variant<DatabaseRecord, DropRecord, NodeRecord, DrainRecord, RemoveRecord, ReplicasRecord,
                 ShardRecord, FoundRecord, SplitRecord>;
std::string encode(const CatalogCommand& command);
Result<CatalogCommand> decode_catalog_command(std::string_view bytes);

struct CatalogState {
  uint64_t version = 0;
  uint64_t next_group = 0;
  std::vector<DatabaseRecord> databases;
  std::vector<NodeRecord> nodes;
  std::vector<uint64_t> removed;
};
std::string encode(const CatalogState& state);
Result<CatalogState> decode_catalog_state(std::string_view bytes);

}  // namespace jade
