// The operations of the database as plain values: what net/ decodes from HTTP,
// what the embedding face offers, and what the gateway actor is asked.
//
// No CAF, FAISS or LevelDB type appears here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "index/explanation.h"
#include "index/metric.h"
#include "storage/datatype.h"
#include "storage/status.h"
#include "storage/vector_id.h"

namespace jade {

// Limits of a request. Sizes are checked before memory is taken.
struct Limits {
  static constexpr uint32_t k_max = 10000;
  static constexpr uint32_t page_limit_max = 10000;
  static constexpr uint32_t page_limit_default = 100;
  static constexpr uint32_t searches_per_batch_max = 1024;
  static constexpr uint32_t vectors_per_upsert_max = 100000;
  static constexpr uint32_t shards_max = 256;
  static constexpr uint32_t replicas_max = 7;
  // Of ids, metadata and values that one shard may answer with, and all shards together.
  static constexpr size_t answer_bytes_max = size_t{64} << 20;
  static constexpr size_t answers_bytes_max = size_t{128} << 20;
  static constexpr size_t metadata_bytes_max = 64 * 1024;  // of one vector, as JSON text
  static constexpr size_t text_bytes_max = 64 * 1024;      // of one vector or search
  static constexpr size_t name_bytes_max = 128;            // of a database
  static constexpr size_t named_vectors_max = 8;           // of a database
  static constexpr size_t request_id_bytes_max = 128;
  static constexpr size_t examples_max = 100;  // positive, and negative, of one search
  static constexpr uint32_t recall_k_max = 1000;
  static constexpr uint32_t recall_sample_max = 1000;
  static constexpr uint32_t groups_max = 500;  // k + offset of a search with group_by
  static constexpr uint32_t group_size_max = 100;
  static constexpr size_t group_by_bytes_max = 512;
  static constexpr uint32_t timeout_ms_max = 30'000;  // and what a request has by default
};

// What tells the shard that a vector is in.
enum class Sharding : uint8_t {
  hash = 0,    // the hash of its id, or of its shard key
  vector = 1,  // itself: vectors that are near to each other are in one shard
};

// One of several vectors that each record may have, by name. Fields as in DatabaseSpec.
struct VectorSpec {
  std::string name;  // as a database's
  uint32_t dimension = 0;
  Metric metric = Metric::cosine;
  Datatype datatype = Datatype::float32;

  friend bool operator==(const VectorSpec&, const VectorSpec&) = default;
};

// A database's name is 1 to 128 characters of [A-Za-z0-9_.-], starting with a
// letter or digit.
struct DatabaseSpec {
  std::string name;
  uint32_t dimension = 0;  // 1 to dimension_max
  Metric metric = Metric::cosine;
  // As what vectors are stored, everywhere: float16 takes half of float32, and values are
  // rounded to the nearest there is; uint8 a quarter, for whole numbers from 0 to 255. What
  // cannot be stored is refused. Cannot be changed.
  Datatype datatype = Datatype::float32;
  // Instead of the three above: 1 to Limits::named_vectors_max vectors with names. A record
  // may lack some of them, but not all, and is then not found by searches for those. What is
  // stored of one record is at most dimension_max × 4 bytes. The index is of each.
  // Cannot be changed.
  std::vector<VectorSpec> named_vectors = {};
  uint32_t shards = 1;    // 1 to Limits::shards_max
  uint32_t replicas = 1;  // each on a node of its own, at most Limits::replicas_max
  IndexOptions index;
  std::string embedder;  // empty: none. See index/embedder.h
  // Empty: an id tells its shard. Otherwise the metadata field whose value does, a
  // string or an integer: all vectors of one value (of a tenant, say) are in one shard,
  // every vector must have it, and ids are unique within it. Cannot be changed.
  std::string shard_key;
  // By vector, a search asks only the shards that are likeliest to have what it looks for.
  // Cannot be changed.
  Sharding sharding = Sharding::hash;
  // With sharding by vector, how many of them; 0: default_probes().
  uint32_t probes = 0;

  friend bool operator==(const DatabaseSpec&, const DatabaseSpec&) = default;
};

// Of so many shards.
inline uint32_t default_probes(uint32_t shards) { return shards / 2 + 1; }

struct SegmentInfo {
  uint64_t id = 0;
  std::string state;  // "growing", "sealed" (awaiting its index) or "indexed"
  IndexKind kind = IndexKind::flat;
  uint64_t rows = 0;  // live and dead
  uint64_t dead_rows = 0;
  // What its graph is walked by, and where its vectors are: not always what the database
  // asks for. Of other kinds: none.
  Quantization quantization = Quantization::none;
  VectorPlace vectors = VectorPlace::memory;
  std::string vector = {};  // that it is of, where they have names; else ""
};

// One replica of a shard, as its leader knows it.
struct ReplicaInfo {
  uint64_t node = 0;
  bool voter = false;      // false: it is still catching up
  uint64_t log_index = 0;  // how much of the log it is known to have
  double copied = -1;      // of the state that it is being sent, 0 to 1; -1: none
  bool heard = true;       // false: it has not answered this leader yet: log_index is not known
};

// Why a replica does not serve, as its node tells.
struct ReplicaProblem {
  uint64_t node = 0;
  std::string problem;

  friend bool operator==(const ReplicaProblem&, const ReplicaProblem&) = default;
};

struct ShardInfo {
  uint64_t shard = 0;  // raft group id; unique in the cluster
  // It has the ids whose hashes are from here to where the next shard's begin.
  uint64_t hash_begin = 0;
  std::vector<uint64_t> nodes;
  uint64_t leader = 0;  // node id; 0: none known
  uint64_t vectors = 0;
  uint64_t indexed_vectors = 0;  // those in a built index (or too few to need one)
  uint64_t applied_index = 0;
  std::vector<SegmentInfo> segments;
  std::vector<ReplicaInfo> replicas;  // while it moves
  // Recall@10 of searches by the database's defaults, on a sample of the shard's own rows;
  // negative: it was not measured. Nothing is where no search asked for a recall.
  double measured_recall = -1;
  // Why nothing is known of it but where it is to be, as no replica has answered: the counts are
  // 0 then. "": one has.
  std::string unknown = {};
  std::vector<ReplicaProblem> problems = {};  // of cluster() only
};

struct DatabaseInfo {
  DatabaseSpec spec;
  uint64_t vectors = 0;
  uint64_t indexed_vectors = 0;
  std::string index_state;  // "ready" or "indexing"
  // With sharding by vector: "untrained" (too few vectors: searches ask all shards),
  // "moving" (vectors are on their way to other shards: as well), "ready". Else empty.
  std::string router_state;
  std::vector<ShardInfo> placement;
};

struct NamedValues {
  std::string name;
  std::vector<float> values;
};

// One of the named vectors, of those rows of an upsert that have it.
struct VectorColumn {
  std::string name;
  uint32_t dimension = 0;
  std::vector<uint32_t> rows;  // positions in UpsertRequest::ids, ascending
  std::string values;          // rows × dimension float32, row-major, native bytes
};

// Rows are columns of one length n: ids[i], values[i*dimension .. +dimension),
// metadata[i], texts[i].
struct UpsertRequest {
  std::string database;
  std::vector<VectorId> ids;
  // n × dimension float32, row-major, native (little-endian) bytes. Empty when
  // `texts` is given.
  std::string values;
  uint32_t dimension = 0;  // of `values`; must be the database's
  // Instead of `values`, where vectors have names: a column for each that some row has.
  std::vector<VectorColumn> named = {};
  std::vector<std::string> metadata;  // JSON objects as text; "" for none; empty or n long
  std::vector<std::string> texts;     // to be embedded; empty or n long
  // Tells a repeated request from a new one: however often it arrives, it is carried
  // out once. At most Limits::request_id_bytes_max bytes; "": one is drawn.
  std::string request_id;
};

struct UpsertReply {
  uint64_t upserted = 0;  // distinct ids written: of equal ids in one request the last wins
  std::string token;      // hand it to a later search to see at least this write
};

// What is to be different of one record that exists; at least one thing. The rest stays.
struct VectorUpdate {
  VectorId id;
  // JSON object as text, whose fields take the place of those of their names, or are added;
  // null takes a field away (RFC 7396, of the fields of the metadata itself). "": none.
  std::string metadata = {};
  // Empty: as they are. Of the database's dimension, where its vectors have no names.
  std::vector<float> values = {};
  // Where they have names: those to be set, and the names of those to be taken away. A record
  // keeps one at least.
  std::vector<NamedValues> named = {};
  std::vector<std::string> without = {};
  // Instead of values, where there is an embedder; also becomes the field "text" of the
  // metadata unless `metadata` names that.
  std::optional<std::string> text = std::nullopt;
};

// Each record changes at once, between other writes of it. What would make metadata longer than
// Limits::metadata_bytes_max (with an embedder: by twice Limits::text_bytes_max more) or leave a
// record without a vector is refused with too_large and failed_precondition, and then, of a request
// of several records, others may have changed.
struct UpdateRequest {
  std::string database;
  std::vector<VectorUpdate> vectors;  // those of one id are taken together, in their order
  // Value of the shard key, where there is one, of all of them. None: each says its own in its
  // metadata. It cannot be changed.
  std::optional<VectorId> key = std::nullopt;
  std::string request_id = {};  // as in UpsertRequest
  // There is one vector and the client has named it, so that messages name its fields alone.
  bool named_by_client = false;
};

struct UpdateReply {
  uint64_t updated = 0;           // distinct ids
  std::vector<VectorId> missing;  // that do not exist, in the order of the request
  // Where there is a shard key, its values of those, in the same order: an id alone says nothing.
  std::vector<VectorId> missing_keys = {};
  std::string token;  // as in UpsertReply
};

// Exactly one of `ids` and `filter` is given.
struct DeleteRequest {
  std::string database;
  std::vector<VectorId> ids;
  std::string filter;           // JSON text
  std::optional<VectorId> key;  // value of the shard key; with ids, where there is one
  std::string request_id;       // as in UpsertRequest; of no use with a filter
};

struct DeleteReply {
  uint64_t deleted = 0;
  std::string token;
};

struct StoredVector {
  VectorId id;
  std::vector<float> values;  // as stored; empty when not asked for
  std::string metadata;       // JSON object text; "" for none or when not asked for
  // Instead of `values`, where vectors have names: those that it has, as the database
  // orders them.
  std::vector<NamedValues> named = {};
};

enum class Consistency : uint8_t {
  session = 0,  // an acknowledged write is seen by the next search of anybody
  strong = 1,   // linearizable
  eventual = 2  // any replica, whatever it has applied
};

struct GetRequest {
  std::string database;
  VectorId id;
  std::optional<VectorId> key = std::nullopt;  // value of the shard key, where there is one
  Consistency consistency = Consistency::session;
  std::string token = {};  // of a write that must be visible; "": none
};

// Pages over all vectors in the order of their ids.
struct ListRequest {
  std::string database;
  uint32_t limit = Limits::page_limit_default;
  std::optional<VectorId> after;  // exclusive
  std::optional<VectorId> key;    // value of the shard key, where there is one
  bool include_metadata = true;
  bool include_values = false;
  Consistency consistency = Consistency::session;
  std::string token;  // of a write that must be visible; "": none
};

struct ListReply {
  std::vector<StoredVector> vectors;
  std::optional<VectorId> next;  // pass as `after`; none: this was the last page
};

// A stored vector by its id, or values.
struct Example {
  std::optional<VectorId> id;
  std::vector<float> vector;
};

// Exactly one of `vector`, `text`, `id` and `positive` is given.
struct SearchRequest {
  std::string database;
  // Which of the named vectors is searched; "" where they have none, or there is only one.
  std::string vector_name = {};
  std::vector<float> vector;
  std::string text;
  // Near to a stored vector, or near to the positive examples and away from the negative
  // ones. Vectors that are named by id are not among the results; where there is a shard
  // key, `key` says of which value they are.
  std::optional<VectorId> id;
  std::vector<Example> positive;
  std::vector<Example> negative;
  uint32_t k = 10;      // 1 to Limits::k_max, with offset
  uint32_t offset = 0;  // so many of the best are left out
  // Not single vectors but groups with equal values of this metadata field ("a.b" for
  // field b of object a); k and offset then count groups. Vectors without the field are
  // left out. A group has at most `group_size` vectors and stands where its best would.
  std::string group_by;
  uint32_t group_size = 1;
  std::string filter;  // JSON text; "": none
  // Only vectors with this value of the shard key; only their shard is asked.
  std::optional<VectorId> key;
  bool include_metadata = true;
  bool include_values = false;
  Consistency consistency = Consistency::session;
  std::string token;                  // of a write that must be visible; "": none
  std::optional<uint32_t> ef_search;  // 1 to 10,000; raised to k where smaller
  std::optional<uint32_t> nprobe;     // IVF
  // Instead of both: the share of what an exact search finds that is to be found, 0.5 to
  // 0.999, by what was measured of the shard's own rows. None of the three: the database's.
  std::optional<double> min_recall;
  std::optional<uint32_t> probes;        // shards to ask, with sharding by vector
  std::optional<float> score_threshold;  // only results at least this good
  bool exact = false;                    // compare with every vector, whatever the index
  // Where shards cannot be reached, answer with what the others have found, and say
  // which are missing. Otherwise such a search fails with `unavailable`.
  bool partial = false;
  // What has no answer after so long fails with `deadline_exceeded`, and nobody works on it
  // any more. 1 to Limits::timeout_ms_max, which is the default. Of a batch: see there.
  std::optional<uint32_t> timeout_ms = std::nullopt;
  // Say what was done: SearchReply::explanation.
  bool explain = false;
};

struct SearchHit {
  VectorId id;
  float score = 0;
  std::string metadata;
  std::vector<float> values;
  std::vector<NamedValues> named = {};  // as in StoredVector
};

struct SearchGroup {
  std::string value;  // of the field, as JSON text
  std::vector<SearchHit> results;
};

// What one shard did for a search.
struct ShardExplanation {
  uint64_t shard = 0;  // ShardInfo::shard
  // Of the rounds of a search with group_by, or one that asked more shards (all of its
  // batch are asked again then) as the near ones had too little. From 0.
  uint32_t round = 0;
  uint64_t applied_index = 0;  // of the replica that answered
  // In nanoseconds, of all searches of a batch that were carried out together: from
  // beginning to end, and getting what the hits show.
  uint64_t took_ns = 0;
  uint64_t fetch_ns = 0;
  std::vector<SegmentExplanation> segments;
};

// Best first, ties by id.
struct SearchReply {
  std::vector<SearchHit> results;
  std::vector<uint64_t> missing_shards = {};  // only where SearchRequest::partial allowed it
  // With sharding by vector: how many of the database's shards were asked. Else 0.
  uint32_t shards_searched = 0;
  uint32_t shards = 0;
  bool grouped = false;                  // with group_by: `groups`, and no `results`
  std::vector<SearchGroup> groups = {};  // by their best vectors
  bool explained = false;                // with SearchRequest::explain
  std::vector<ShardExplanation> explanation = {};
};

struct SearchBatchRequest {
  std::string database;
  std::vector<SearchRequest> searches;  // their `database` is ignored
  // Of all together, as in SearchRequest; none of them has its own.
  std::optional<uint32_t> timeout_ms = std::nullopt;
};

struct SearchBatchReply {
  std::vector<SearchReply> results;
};

// How much of what an exact search finds others do, by the database's own vectors.
struct RecallRequest {
  std::string database;
  std::string vector_name = {};  // as in SearchRequest
  uint32_t k = 10;               // 1 to 1,000
  uint32_t sample = 50;          // vectors whose neighbours are searched for, 1 to 1,000
  std::optional<uint32_t> ef_search = std::nullopt;  // as in SearchRequest
  std::optional<uint32_t> nprobe = std::nullopt;
  std::optional<uint32_t> probes = std::nullopt;
  std::optional<double> min_recall = std::nullopt;
};

struct RecallReply {
  double recall = 1;           // share of the neighbours that were found; 1 where there are none
  uint64_t sampled = 0;        // vectors
  double shards_searched = 1;  // share of the database's that a search asks, in the mean
  // Where a least recall is asked for, or the database's: whether all of it was by what was
  // measured of the segments, so that later searches do no better.
  std::optional<bool> calibrated = std::nullopt;
};

struct NodeInfo {
  uint64_t id = 0;
  std::string name;
  std::string address;          // of its API
  std::string cluster_address;  // for other nodes
  std::vector<std::string> roles;
  bool alive = true;        // answers the node that was asked
  bool alive_known = true;  // false: that one may not ask, and knows nothing of others
  // Of one that is not alive: since when it has not been heard of; none: not since the node that
  // was asked has started.
  std::optional<uint64_t> silent_ms = std::nullopt;
  std::string state;  // "active", "draining", or "drained": it holds nothing any more
  uint64_t replicas = 0;
  uint64_t leads = 0;   // shards
  bool votes = false;   // on the catalog: a majority of those who do must keep it
  std::string problem;  // why it must not take part; "": it may
  // Why replicas stay on a node that is drained or not alive, and no task takes them away; "":
  // there are none, or some does.
  std::string waiting_for = {};
};

// A shard on its way from one node to another, or being split in two, or giving vectors
// away that belong elsewhere by a new router.
struct TaskInfo {
  std::string kind;  // why: "drain", "replace", "replicas", "balance", "split" or "route"
  std::string database;
  uint64_t shard = 0;
  uint64_t from = 0;   // node; 0: none, a replica is added
  uint64_t to = 0;     // node; 0: none, a replica is taken away
  uint64_t child = 0;  // the shard that is split off; 0: none
  // "waiting", "copying", "catching up" or "removing"; of a split, "dividing" or
  // "trimming"; of a router, "announcing" or "moving"
  std::string state;
  double progress = 0;  // 0 to 1
  // What must be before it can go on, for a person to read: "node-3, which has not been heard of
  // for 12 s". "": it is being worked on.
  std::string waiting_for = {};
};

struct ClusterInfo {
  std::string cluster_id;
  uint64_t master = 0;  // node id; 0: none known
  uint64_t catalog_version = 0;
  uint64_t answered_by = 0;  // node id
  // Why that one takes no part any more, and knows nothing newer; "": it does.
  std::string problem = {};
  // Where no master is known: how long ago one was last heard of. What the catalog says is from
  // then. None: not since the node that was asked has started.
  std::optional<uint64_t> catalog_age_ms = std::nullopt;
  std::vector<NodeInfo> nodes;
  std::vector<DatabaseInfo> databases;
  std::vector<TaskInfo> tasks;
};

enum class NodeChange : uint8_t {
  drain,     // its replicas go to other nodes, and it gets no new ones
  activate,  // takes a drain back
  remove,    // an empty node leaves the cluster for good
};

struct ChangeNodeRequest {
  std::string node;  // name or id
  NodeChange change = NodeChange::drain;
};

struct SplitShardRequest {
  std::string database;
  uint64_t shard = 0;  // ShardInfo::shard
};

// One of the two is to be different.
struct AlterDatabaseRequest {
  std::string name;
  std::optional<uint32_t> replicas;
  // Segments that are to be built differently are built anew in the background, and serve
  // as they are until then.
  std::optional<IndexChange> index;
};

// The asynchronous face of a node. Each call returns at once and calls `done`
// exactly once, on a thread of the node's choosing, which must not be blocked, and never
// inside of the call. What it throws is lost. All calls may be made from any thread. The node must
// outlive the callbacks.
class Api {
 public:
  template <class T>
  using Done = std::function<void(Result<T>)>;

  virtual ~Api() = default;

  virtual void create_database(DatabaseSpec spec, Done<DatabaseInfo> done) = 0;
  virtual void list_databases(Done<std::vector<DatabaseInfo>> done) = 0;
  virtual void describe_database(std::string name, Done<DatabaseInfo> done) = 0;
  virtual void drop_database(std::string name, Done<DatabaseInfo> done) = 0;

  virtual void alter_database(AlterDatabaseRequest request, Done<DatabaseInfo> done) = 0;
  // One more shard gets half of what this one has. Answered when it is decided; then it
  // happens while both serve.
  virtual void split_shard(SplitShardRequest request, Done<DatabaseInfo> done) = 0;

  virtual void upsert(UpsertRequest request, Done<UpsertReply> done) = 0;
  virtual void update(UpdateRequest request, Done<UpdateReply> done) = 0;
  virtual void remove(DeleteRequest request, Done<DeleteReply> done) = 0;
  virtual void get(GetRequest request, Done<StoredVector> done) = 0;
  virtual void list(ListRequest request, Done<ListReply> done) = 0;
  virtual void search(SearchRequest request, Done<SearchReply> done) = 0;
  virtual void search_batch(SearchBatchRequest request, Done<SearchBatchReply> done) = 0;

  // Takes as long as `sample` exact searches.
  virtual void recall(RecallRequest request, Done<RecallReply> done) = 0;

  virtual void cluster(Done<ClusterInfo> done) = 0;
  // Answered when it is decided; what has to move then moves. With the node as it is
  // then, or was before it was removed.
  virtual void change_node(ChangeNodeRequest request, Done<NodeInfo> done) = 0;
  // Fails with `unavailable` and the reason until every shard of this node serves.
  virtual void ready(Done<std::string> done) = 0;
};

}  // namespace jade
