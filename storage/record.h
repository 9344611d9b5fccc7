// Encoding and decoding of what storage/record.capnp describes. Decoding never
// trusts its input: anything that does not hold is Code::corruption.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "storage/datatype.h"
#include "storage/life.h"
#include "storage/status.h"

namespace jade {

struct UpsertCommand {
  uint32_t dimension = 0;
  std::vector<std::string> ids;  // key form
  std::string values;            // ids × dimension × element_bytes(datatype)
  std::vector<std::string> metadata;
  // In a database that is sharded by vector, one for each id: the group that the vector
  // belongs to by this version of the router.
  std::vector<uint64_t> cells = {};
  uint64_t router = 0;
  Datatype datatype = Datatype::float32;
};

// What is to be different of records that exist; of others nothing comes into being.
struct UpdateCommand {
  struct Row {
    std::string id;        // key form; one row for each
    std::string metadata;  // as merge_metadata() takes it (index/metadata.h); "": as it is
    std::string values;    // of those vectors that are set: index/record_format.h; "": none
    uint8_t without = 0;   // bit i: the i-th vector is taken away
    uint32_t place = 0;    // among all rows of its part of the request: below update_rows_max
    uint64_t cell = 0;     // as in UpsertCommand, where values are set
  };
  uint32_t dimension = 0;  // of values, as in UpsertCommand
  Datatype datatype = Datatype::float32;
  std::vector<Row> rows;
  // Metadata that would become longer, and longer than this, is refused.
  uint32_t metadata_bytes_max = 0;
  uint64_t router = 0;
};
// An entry writes whole records, which may be long although what changes is not.
constexpr size_t update_rows_max = 256;

struct DeleteCommand {
  std::vector<std::string> ids;
  // Empty, or one for each id: delete it only while it has this row, or version where the
  // database is sharded by vector.
  std::vector<uint64_t> rows;
  bool trim = false;  // rows that belong to a shard that was split off
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

// One row of an upsert; the views live as long as the call.
struct RowView {
  std::string_view id;
  std::string_view values;  // dimension × element_bytes(datatype), unaligned
  std::string_view metadata;
  uint64_t cell = 0;     // where the command has such
  uint64_t version = 0;  // in a ForwardCommand
  uint64_t valued = 0;   // as in HomeRecord; 0: its values are new
};

// In a database that is sharded by vector: what the shard that ids belong to, their home,
// tells one that their vectors belong to, or belonged to. See actors/home_records.h.
struct ForwardCommand {
  uint64_t home = 0;  // group
  // Of the home's leader, and counted by it. What is not later than the last one that a
  // shard has had from this home is void.
  uint64_t term = 0;
  uint64_t sequence = 0;
  uint32_t dimension = 0;
  Datatype datatype = Datatype::float32;
  std::vector<RowView> take;
  // Rows with these ids, where their versions are smaller, go.
  struct Leaving {
    std::string_view id;
    uint64_t before = 0;
  };
  std::vector<Leaving> give_up;
  // By group, the log entry with which they have arrived where they are now.
  std::map<uint64_t, uint64_t> after;
};

// The changes up to this version have arrived where they belong.
struct ForwardedCommand {
  uint64_t through = 0;
};

// How far a shard has got with a new router. announce: searches that were routed by an
// earlier one are refused from here on. follow: so are writes. done: all its vectors are
// where the router says.
enum class RouteStep : uint8_t { announce, follow, done };
struct RouteCommand {
  uint64_t router = 0;
  RouteStep step = RouteStep::announce;
};

// These vectors belong to other groups by this router, while their values have these
// versions.
struct RerouteCommand {
  uint64_t router = 0;
  std::vector<std::string> ids;
  std::vector<uint64_t> versions;  // HomeRecord::valued
  std::vector<uint64_t> cells;
};

// What tells a repeated request from a new one.
struct RequestId {
  std::string_view id;       // "": none
  uint32_t fingerprint = 0;  // of the request's content; the same id with another is refused
};

std::string encode(const UpsertCommand& command, RequestId request = {});
std::string encode(const UpdateCommand& command, RequestId request = {});
std::string encode(const DeleteCommand& command, RequestId request = {});
std::string encode(const SealCommand& command);
std::string encode(const MergeCommand& command);
std::string encode(const PlacedCommand& command);
std::string encode(const SplitCommand& command);
std::string encode(const SplitEndCommand& command);
std::string encode(const ForwardCommand& command);
std::string encode(const ForwardedCommand& command);
std::string encode(const RouteCommand& command);
std::string encode(const RerouteCommand& command);

// What to do with each kind of command. A failure of a function is the result.
struct CommandVisitor {
  // Where the command has a request id, called first. False: nothing else is to be
  // done. May be empty.
  std::function<bool(RequestId request)> begin;
  // Called before the rows: their number, dimension and datatype.
  std::function<Status(size_t rows, uint32_t dimension, Datatype datatype)> begin_upsert;
  std::function<Status(const RowView& row)> upsert_row;
  std::function<Status(const UpdateCommand&)> update;
  std::function<Status(const DeleteCommand&)> erase;
  std::function<Status(const SealCommand&)> seal;
  std::function<Status(const MergeCommand&)> merge;
  std::function<Status(const PlacedCommand&)> placed;
  std::function<Status(const SplitCommand&)> split;
  std::function<Status(const SplitEndCommand&)> split_end;
  // Those of databases that are sharded by vector; where they are empty, such a command
  // is corruption.
  std::function<Status(const ForwardCommand&)> forward;
  std::function<Status(const ForwardedCommand&)> forwarded;
  std::function<Status(const RouteCommand&)> route;
  std::function<Status(const RerouteCommand&)> reroute;
};
Status visit_command(std::string_view bytes, const CommandVisitor& visitor);

// What must be known of a command before it is carried out.
struct CommandHead {
  std::string request;     // "": none
  bool is_routed = false;  // it says by a router where vectors belong
  uint64_t router = 0;     // that one
};
Result<CommandHead> head_of_command(std::string_view bytes);

struct Record {
  std::string id;
  std::string values;
  std::string metadata;
};
std::string encode_record(std::string_view id, std::string_view values, std::string_view metadata);
Result<Record> decode_record(std::string_view bytes);

// A vector of a database that is sharded by vector, as its home has it.
struct HomeRecord {
  std::string id;
  std::string values;
  std::string metadata;
  uint64_t version = 0;  // rises with each change of an id
  uint64_t cell = 0;     // the group that has it for searches; 0: it is deleted
  uint64_t from = 0;     // of a change that is on its way: the group before; 0: none
  uint64_t valued = 0;   // the version that its values came with, or were last rerouted with
};
std::string encode_home_record(const RowView& row, uint64_t from);
Result<HomeRecord> decode_home_record(std::string_view bytes);

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

// Of a shard in a database that is sharded by vector.
struct CellsMeta {
  uint64_t next_version = 1;
  uint64_t vectors = 0;  // whose ids belong here
  // Versions of the routers that have got so far here: RouteStep.
  uint64_t announced = 0;
  uint64_t followed = 0;
  uint64_t done = 0;
  // The last command of each home that has sent one: term and sequence.
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> homes;
  // As in ForwardCommand, of all rows that have gone to this group.
  std::map<uint64_t, uint64_t> after;
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
  CellsMeta cells = {};
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

// Tells to which shard a vector belongs: the one whose centre is nearest.
struct RouterRecord {
  uint64_t version = 0;  // index of the log entry that brought it; 0: there is none
  std::string centres;   // shards × dimension float32
  uint64_t vectors = 0;  // about how many there were when it was trained
  // The groups that have got so far: RouteStep.
  std::vector<uint64_t> announced;
  std::vector<uint64_t> done;

  friend bool operator==(const RouterRecord&, const RouterRecord&) = default;
};

struct NamedVectorRecord {
  std::string name;
  uint32_t dimension = 0;
  uint8_t metric = 0;
  uint8_t datatype = 0;

  friend bool operator==(const NamedVectorRecord&, const NamedVectorRecord&) = default;
};

struct DatabaseRecord {
  std::string name;
  uint32_t dimension = 0;
  uint8_t metric = 0;
  uint8_t index_kind = 0;
  uint32_t m = 0, ef_construction = 0, ef_search = 0, nlist = 0, nprobe = 0;
  uint8_t quantization = 0;
  uint8_t vectors = 0;
  double min_recall = 0;
  uint8_t datatype = 0;
  std::vector<NamedVectorRecord> named_vectors;  // instead of dimension, metric and datatype
  std::string embedder;
  uint32_t replicas = 1;
  std::string shard_key;
  uint8_t sharding = 0;  // Sharding
  uint32_t probes = 0;
  RouterRecord router;       // in force
  RouterRecord next_router;  // on its way
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
  Life life = {};           // recorded last; none in a command

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
// What is to be different of how a database is indexed.
struct ReindexRecord {
  DatabaseRecord to;    // the database's name, and values
  uint32_t fields = 0;  // which of the values count; a bit each
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
// A new router, or how far a shard has got with it.
struct RouteRecord {
  std::string database;
  uint64_t group = 0;  // whose leader says so
  RouteStep step = RouteStep::announce;
  uint64_t router = 0;   // with centres: the one that it is to follow; 0: there was none
  std::string centres;   // of a new router; empty otherwise
  uint64_t vectors = 0;  // as in RouterRecord
};
// A node has started.
struct LivesRecord {
  uint64_t node = 0;
  std::vector<Life> lives;  // all that it remembers, oldest first; the last is this one
};
using CatalogCommand =
    std::variant<DatabaseRecord, DropRecord, NodeRecord, DrainRecord, RemoveRecord, ReplicasRecord,
                 ShardRecord, FoundRecord, SplitRecord, RouteRecord, LivesRecord, ReindexRecord>;
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
