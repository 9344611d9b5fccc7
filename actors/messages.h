// Who talks to whom: every message and every typed actor interface.
//
//   Api calls ─► client ─► gateway ─┬─► ingest ─► shard(s) ─► log_writer
//                                   ├─► query  ─► shard(s) ─► searcher
//                                   └─► node   ─► master   ─► log_writer
//   node supervises all of them; shards hand index builds to builders.
//
//   node A: shard, master, query, ingest ─► peer ═══► peer :node B ─► shard, master
//
// A node's peer actor is all that other nodes see of it. Messages to shards and
// masters may cross nodes and are serialisable; bulk data in them is one opaque
// string, because CAF ships a std::vector<float> element by element, twenty times
// slower. So are searches as a whole (actors/search_wire.h). All others stay inside a node and may
// hold pointers to immutable shared data; each says so.
//
// Failures travel as caf::error of category "jade" (see actors/errors.h).
#pragma once

#include <atomic>
#include <caf/all.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "actors/api.h"
#include "actors/cluster_map.h"
#include "actors/inflow.h"
#include "actors/message_reader.h"
#include "actors/raft_message.h"
#include "actors/search_wire.h"
#include "storage/life.h"
#include "storage/log_store.h"
#include "storage/record.h"

namespace jade {

class ShardSnapshot;  // actors/shard_replica.h
struct SplitSource;   // actors/shard_split.h

// ---- to a shard: may cross nodes -------------------------------------------

// Which replica of a group is meant, how often the message was passed on, and how long it
// may take (actors/deadline.h).
struct Route {
  uint64_t group = 0;
  uint64_t node = 0;  // 0: any that can answer
  uint8_t hops = 0;
  uint8_t waits = 0;  // how often it was held back, as nobody could answer
  // What was left when it left its last node; 0: not bounded. Sent with what is for a
  // shard only.
  uint32_t budget_ms = 0;
  uint64_t deadline_ms = 0;  // by the clock of the node that it is in, never sent; 0: none
  size_t turn = 0;           // of those that can answer, who is asked first; never sent
  // Of a question from another node: counts for as long as it lives. Never sent.
  ReceiptPtr receipt = {};

  static constexpr uint8_t hops_max = 3;
  static constexpr uint8_t waits_max = 40;
  // `node` of what waits until there is a leader.
  static constexpr uint64_t nobody = UINT64_MAX;
  // Of what any replica may answer but the one of this node, which has nothing yet.
  static constexpr uint64_t another = UINT64_MAX - 1;
};

// Replicate and apply one command (encoded as in storage/record.capnp).
struct ShardWrite {
  Route route;
  std::string command;
  // With sharding by vector, of a home to a cell. Answered when it is applied here;
  // other writes when what they change elsewhere is.
  bool forwarded = false;
};

struct ShardWritten {
  uint64_t group = 0;
  uint64_t index = 0;     // of the log entry
  uint64_t affected = 0;  // rows written or deleted; of an update, those that were found
  // Of an update: ShardReplica::last_missing().
  std::string missing = {};
  // The entry that carried it out, where this one repeats it or a split brought it here: what
  // several shards answer with the same one, they affected together.
  uint64_t first_group = 0;
  uint64_t first_index = 0;
  // With sharding by vector: the entries of other groups with which searches see it.
  std::map<uint64_t, uint64_t> reached = {};
};

// One or several queries against one shard.
struct ShardSearch {
  Route route;
  std::string queries;  // n × dimension float32
  uint32_t dimension = 0;
  uint32_t vector = 0;  // which one of a record: its position in the database's RecordFormat
  uint32_t k = 10;
  uint32_t ef_search = 0;  // 0: the database's
  uint32_t nprobe = 0;     // 0: the database's
  double min_recall = 0;   // instead of both; 0: the database's, where they are 0 too
  std::string filter;      // JSON; "": none
  bool exact = false;
  bool include_metadata = true;
  bool include_values = false;
  bool has_threshold = false;
  float distance_max = 0;    // with has_threshold
  uint64_t applied_min = 0;  // the replica must have applied so much
  // Of the shard, as the asker's map has it: refused where it has been split since.
  uint64_t last_child = 0;
  // With sharding by vector: the router by which this shard is asked and others are not;
  // 0: all are. Refused where a later one has been announced.
  uint64_t router = 0;
  Consistency consistency = Consistency::session;
  bool explain = false;
};

// The recall that a ShardSearch or ShardRecall is to have; 0: ef_search and nprobe count.
template <class Question>
double min_recall_of(const Question& asked, const IndexOptions& index) {
  if (asked.min_recall > 0) return asked.min_recall;
  return asked.ef_search == 0 && asked.nprobe == 0 ? index.min_recall : 0;
}

struct ShardHit {
  std::string id;  // key of the row: storage/row_key.h
  float distance = 0;
  std::string metadata;
  std::string values;  // as stored: index/record_format.h
};

struct ShardHits {
  std::vector<std::vector<ShardHit>> queries;  // best first
  // With sharding by vector: what has been applied here, and by group the entries with
  // which rows that have left this shard arrived there. Who asks both must see those.
  uint64_t applied_index = 0;
  std::map<uint64_t, uint64_t> after = {};
  std::vector<ShardExplanation> explanations;  // of the queries; empty where none was asked for
};

struct ShardGet {
  Route route;
  std::string id;  // key of the row
  Consistency consistency = Consistency::session;
  uint64_t applied_min = 0;  // as in ShardSearch
};

// Rows after `after` in the order of their ids.
struct ShardList {
  Route route;
  std::string after;   // key of a row, exclusive; "": from the start
  std::string prefix;  // of the keys of rows; "": all
  uint32_t limit = 0;
  bool include_metadata = true;
  bool include_values = false;
  Consistency consistency = Consistency::session;
  uint64_t applied_min = 0;  // as in ShardSearch
  uint64_t last_child = 0;   // as in ShardSearch
};

struct ShardVectors {
  std::vector<ShardHit> rows;  // distance unused
};

// How well the shard's searches do: index/recall.h.
struct ShardRecall {
  Route route;
  uint32_t sample = 0;
  uint32_t k = 0;
  uint32_t ef_search = 0;  // 0: the database's
  uint32_t nprobe = 0;
  double min_recall = 0;  // as in ShardSearch
  uint32_t vector = 0;
  Consistency consistency = Consistency::eventual;
  uint64_t last_child = 0;  // as in ShardSearch
};

struct ShardRecallCount {
  uint64_t sampled = 0;
  uint64_t expected = 0;
  uint64_t found = 0;
  bool uncalibrated = false;  // as in RecallCount: index/recall.h
};

// Some rows of the shard, evenly spaced, with their values.
struct ShardSample {
  Route route;
  uint32_t count = 0;
};

// Delete every row that matches. Rows written while it runs may stay.
struct ShardDeleteMatching {
  Route route;
  std::string filter;
  uint64_t last_child = 0;  // as in ShardSearch
};

struct ShardDescribe {
  Route route;
  bool by_leader = false;  // who also knows of the others
};

// The state of a shard for a replica that lacks entries which the leader has
// dropped, or whose own state is damaged; answered by the leader, piece by piece, or, where there
// is none, by any other.
struct FetchState {
  Route route;
  uint64_t transfer = 0;  // 0: the first piece
  std::string after;      // the last key of the piece before
  uint64_t from = 0;      // the node that asks
  // The entry before the first of the asking replica's log: that goes on from the state, which
  // must not be older.
  uint64_t log_base = 0;
};
struct StateChunk {
  uint64_t transfer = 0;
  std::string bytes;     // as ShardStore::export_piece() gives them
  std::string last_key;  // "": this was the last piece
  // What the state holds: the Raft snapshot that goes with it.
  uint64_t index = 0;
  uint64_t term = 0;
  uint64_t configuration_index = 0;
  std::string configuration;
};

// What replicas that have applied the same must agree on.
struct ShardDigestRequest {
  uint64_t group = 0;
};
// One vector of a segment, as the log has decided on it: ShardReplica::decided_segments().
struct SegmentDigest {
  uint64_t id = 0;
  uint64_t vector = 0;  // of the format
  uint64_t begin_row = 0;
  uint64_t end_row = 0;
  // Of the rows that searches can find there. Which dead ones are left is each replica's own.
  uint64_t live = 0;
  uint64_t digest = 0;  // the sum of hashes of their numbers

  friend bool operator==(const SegmentDigest&, const SegmentDigest&) = default;
};
struct ShardDigest {
  uint64_t applied_index = 0;
  uint64_t digest = 0;  // CRC32C over the records
  std::vector<SegmentDigest> segments;
};

// ---- between nodes ------------------------------------------------------------

// One message of a Raft group, as RaftMessage::encode() makes it.
struct RaftWire {
  uint64_t group = 0;  // 0: none, this only tells the life
  uint64_t from = 0;
  std::string bytes;
  uint64_t life = 0;        // of the sender, whose peer fills it in (storage/life.h)
  ReceiptPtr receipt = {};  // as in Route
};

// Do you remember this life of yours? Before Raft messages of another one count.
struct CheckLife {
  uint64_t node = 0;  // who is meant
  Life known;
};
struct LifeChecked {
  uint64_t life = 0;  // that it has now
  bool remembered = false;
};

// Of the messages between nodes, and of what is in the logs that they share: those of another
// version may mean something else. But
// Hello and JoinCluster look the same in all, so that their sender is told so.
constexpr uint32_t cluster_protocol = 14;

// Who are you? failed_precondition: of another cluster, or another version. not_found: the node
// that asks was a member and has been removed, which whoever knows it knows for ever; one who is
// behind, or has not heard of a new node yet, answers as ever.
struct Hello {
  std::string cluster_id;  // "": not a member yet
  uint64_t node = 0;
  uint32_t protocol = cluster_protocol;
};
struct HelloReply {
  std::string cluster_id;
  uint64_t node = 0;
};

// How are your shards? Each node asks all others every second, which also shows whether they
// answer. not_found as to Hello.
//
// By these they also hear where the others are. The catalog may not know that yet: where several
// nodes have other addresses since their start, it cannot be changed before they have found each
// other.
struct AskNode {
  std::string cluster_id;
  uint64_t node = 0;
  std::string address;  // of its cluster port
};
struct NodeReport {
  // Why replicas there do not serve, by group: of the first 100.
  std::map<uint64_t, std::string> problems;
  // What nodes that are connected there say where they are, and its own.
  std::map<uint64_t, std::string> addresses = {};
};

// May this node become a member? From a node without a cluster, or one that has
// another address or name than when it was here last.
struct JoinCluster {
  Route route;
  std::string cluster_id;  // "": any
  uint64_t node = 0;
  std::string name;
  std::string address;
  std::string api_address;
  uint8_t roles = 0;
  uint32_t protocol = cluster_protocol;
};
struct JoinedCluster {
  std::string cluster_id;
  std::vector<RaftMember> members;  // of the metadata group: whom to connect to
};

// A catalog command. The master decides where the shards of a new database go, and
// what must not happen while nodes are away. Without a command the answer tells what version has
// all changes that were acknowledged before.
struct ChangeCatalog {
  Route route;
  std::string command = {};
};
struct CatalogApplied {
  uint64_t version = 0;
};

// ---- inside a node ----------------------------------------------------------

// Out of a group's member: to the member on `node`.
struct SendRaft {
  uint64_t node = 0;
  RaftWire wire;
};
// The members of the metadata group, by its log: where other nodes are.
struct MembersChanged {
  std::vector<RaftMember> members;
};
struct DescribePeers {};
struct PeerStates {
  std::vector<uint64_t> connected;
  std::map<uint64_t, std::string> problems;  // why a node that is there must not take part
  std::map<uint64_t, uint64_t> silent_ms;    // since when a node has not been heard of
  std::map<uint64_t, std::map<uint64_t, std::string>> shards;  // NodeReport::problems, by node
};
// This node must not take part in its cluster any more: peer to node.
struct NodeRefused {
  Status why;
};

// Why this node is not in touch with its cluster, or none yet, for a person; "": it is. Peer to
// node.
struct OutOfTouch {
  std::string why;
};

// Why the catalog of this node may be older than that of others, for a person; "": it is not.
// Master to node.
struct CatalogTrouble {
  std::string why;
  bool failed = false;  // it cannot be kept; else there is no master to hear of
};

// Make these entries durable. Answered by LogAppended.
struct AppendLog {
  uint64_t request = 0;
  LogAppend entries;
};
struct LogAppended {
  uint64_t request = 0;
  Status status;
};

// Answered when every AppendLog that was sent before has been dealt with.
struct DrainLog {};

// Run a blocking function where blocking is allowed; its result comes back.
struct BlockingTask {
  std::function<Status()> run;
};
struct TaskDone {
  Status status;
};

// A search over an immutable view: shard to searcher.
struct SearchTask {
  std::shared_ptr<const ShardSnapshot> view;
  ShardSearch search;
};
struct GetTask {
  std::shared_ptr<const ShardSnapshot> view;
  ShardGet get;
};
struct ListTask {
  std::shared_ptr<const ShardSnapshot> view;
  ShardList list;
};
struct RecallTask {
  std::shared_ptr<const ShardSnapshot> view;
  ShardRecall recall;
};
struct SampleTask {
  std::shared_ptr<const ShardSnapshot> view;
  uint32_t count = 0;
  uint64_t deadline_ms = 0;  // as in Route
};
struct DigestTask {
  std::shared_ptr<const ShardSnapshot> view;
  std::vector<SegmentMeta> segments;  // that are decided
};
struct ExportTask {
  std::shared_ptr<const ShardSnapshot> view;
  std::string after;
  StateChunk chunk;  // all but the piece
};
// The rows that match, to be deleted. Shared: it may be long.
struct MatchTask {
  std::shared_ptr<const ShardSnapshot> view;
  std::string filter;
  uint64_t deadline_ms = 0;  // as in Route
};
// Stored rows that belong to a shard that was split off, some of them.
struct TrimTask {
  std::shared_ptr<const ShardSnapshot> view;
};
struct MatchedRows {
  std::shared_ptr<std::vector<std::pair<std::string, uint64_t>>> rows;  // id key, row
};

// What the child of a split begins with: node to the parent's replica. unavailable: it
// has not come to the split yet; not_found: it has nothing to give any more. With
// `early`, what it would be now where the split has not happened.
struct GetSplit {
  uint64_t child = 0;
  bool early = false;
};
// The rows of this child have been copied, but for those that change meanwhile.
struct ChildPrepared {
  uint64_t child = 0;
};
struct SplitFound {
  std::shared_ptr<const SplitSource> source;
};
// Of the node to itself: try to make the shard's first state again.
struct MakeChild {
  uint64_t group = 0;
};

// The map has changed: node to shard.
struct Placed {
  ShardPlacement placement;
  IndexOptions index;                                       // of the database
  std::shared_ptr<const DatabaseEntry> database = nullptr;  // of one that is sharded by vector
};

// To itself, after a delay of the actor clock.
struct Tick {};
struct Later {
  std::function<void()> run;
};

struct Stop {};  // finish what is in flight, make it durable, quit
struct Stopped {};

// The latest map, the handles of its shards and why some have none.
struct RoutesChanged;

struct CreateDatabase {
  DatabaseSpec spec;
};
struct DropDatabase {
  std::string name;
};
struct AlterDatabase {
  std::string name;
  std::optional<uint32_t> replicas;
  std::optional<IndexChange> index;  // where there are no replicas
};
struct SplitShard {
  std::string database;
  uint64_t shard = 0;
};
struct ListDatabases {};
struct DescribeDatabase {
  std::string name;
};
struct DescribeCluster {};
struct CheckReady {};

// The catalog reached this map: master to node. `current`: nothing older than the
// start of this process; only then is what the map does not name removed from disk.
struct MapChanged {
  ClusterMapPtr map;
  bool current = false;
};
// Answered when the node has taken up this version of the map and, but for map_alone, each of its
// shards serves or has failed; with the failure, where one of `database` (of any
// database when empty) has.
struct AwaitVersion {
  uint64_t version = 0;
  std::string database = {};
  bool map_alone = false;
};
struct DescribeMaster {};
struct MasterInfo {
  uint64_t leader = 0;
  uint64_t version = 0;
  std::set<uint64_t> voters;  // on the catalog, as far as this member knows
  // Without a leader: how long ago there was one; none: not since this member has started.
  std::optional<uint64_t> leaderless_ms = std::nullopt;
};

// A shard cannot go on (its disk failed); the node restarts it.
struct ShardFailed {
  uint64_t group = 0;
  Status status;
};
// A replica has caught up with its log and answers, or passes on to its leader.
struct ShardServes {
  uint64_t group = 0;
};
// A replica lacks entries which its leader has dropped: it needs the state itself.
struct ShardBehind {
  uint64_t group = 0;
};
// The other half of the node, which is started after it.
struct Wired;

using DatabaseInfos = std::vector<DatabaseInfo>;

// ---- interfaces ---------------------------------------------------------------

// Whatever answers for shards: one of this node, or a peer that passes it on.
using replica_actor = caf::typed_actor<
    caf::replies_to<ShardWrite>::with<ShardWritten>, caf::replies_to<ShardSearch>::with<ShardHits>,
    caf::replies_to<ShardGet>::with<ShardVectors>, caf::replies_to<ShardList>::with<ShardVectors>,
    caf::replies_to<ShardRecall>::with<ShardRecallCount>,
    caf::replies_to<ShardSample>::with<ShardVectors>,
    caf::replies_to<ShardDeleteMatching>::with<ShardWritten>,
    caf::replies_to<ShardDescribe>::with<ShardInfo>, caf::replies_to<FetchState>::with<StateChunk>,
    caf::reacts_to<RaftWire>>;

// Owns one replica of one shard: the only writer of its state. Searches and
// reads are handed to searchers with an immutable snapshot.
using shard_actor =
    replica_actor::extend<caf::replies_to<ShardDigestRequest>::with<ShardDigest>,
                          caf::reacts_to<Placed>, caf::replies_to<GetSplit>::with<SplitFound>,
                          caf::reacts_to<ChildPrepared>, caf::replies_to<Stop>::with<Stopped>,
                          caf::reacts_to<Tick>>;

// A node as other nodes see it, and the way from here to them.
using peer_actor = replica_actor::extend<
    caf::replies_to<Hello>::with<HelloReply>, caf::replies_to<AskNode>::with<NodeReport>,
    caf::replies_to<JoinCluster>::with<JoinedCluster>,
    caf::replies_to<ChangeCatalog>::with<CatalogApplied>, caf::reacts_to<SendRaft>,
    caf::replies_to<CheckLife>::with<LifeChecked>, caf::reacts_to<MembersChanged>,
    caf::reacts_to<RoutesChanged>, caf::reacts_to<Wired>,
    caf::replies_to<DescribePeers>::with<PeerStates>, caf::reacts_to<Tick>>;

// Runs searches and reads over snapshots; a pool of them serves all shards.
using searcher_actor = caf::typed_actor<
    caf::replies_to<SearchTask>::with<ShardHits>, caf::replies_to<GetTask>::with<ShardVectors>,
    caf::replies_to<ListTask>::with<ShardVectors>,
    caf::replies_to<RecallTask>::with<ShardRecallCount>,
    caf::replies_to<SampleTask>::with<ShardVectors>, caf::replies_to<MatchTask>::with<MatchedRows>,
    caf::replies_to<TrimTask>::with<MatchedRows>, caf::replies_to<DigestTask>::with<ShardDigest>,
    caf::replies_to<ExportTask>::with<StateChunk>>;

// The one writer of the node's log: collects what waits into one synced write.
using log_writer_actor =
    caf::typed_actor<caf::replies_to<AppendLog>::with<LogAppended>,
                     caf::replies_to<DrainLog>::with<LogAppended>, caf::reacts_to<Tick>>;

// Runs blocking work: index builds (low priority) or syncs.
using blocking_actor = caf::typed_actor<caf::replies_to<BlockingTask>::with<TaskDone>>;

// Member of the metadata group; its Raft leader is the master of the cluster.
using master_actor =
    caf::typed_actor<caf::replies_to<CreateDatabase>::with<CatalogApplied>,
                     caf::replies_to<DropDatabase>::with<CatalogApplied>,
                     caf::replies_to<AlterDatabase>::with<CatalogApplied>,
                     caf::replies_to<SplitShard>::with<CatalogApplied>,
                     caf::replies_to<ChangeCatalog>::with<CatalogApplied>,
                     caf::replies_to<JoinCluster>::with<JoinedCluster>,
                     caf::replies_to<DescribeMaster>::with<MasterInfo>, caf::reacts_to<RaftWire>,
                     caf::replies_to<Stop>::with<Stopped>, caf::reacts_to<Tick>>;

// Supervises everything on a node and starts and stops shards as the map says.
using node_actor =
    caf::typed_actor<caf::reacts_to<Wired>, caf::reacts_to<MapChanged>, caf::reacts_to<ShardFailed>,
                     caf::reacts_to<ShardServes>, caf::reacts_to<ShardBehind>,
                     caf::reacts_to<NodeRefused>, caf::reacts_to<OutOfTouch>,
                     caf::reacts_to<CatalogTrouble>, caf::reacts_to<MakeChild>,
                     caf::replies_to<AwaitVersion>::with<CatalogApplied>,
                     caf::replies_to<CheckReady>::with<std::string>,
                     caf::replies_to<DescribeCluster>::with<ClusterInfo>,
                     caf::replies_to<ChangeNodeRequest>::with<NodeInfo>,
                     caf::replies_to<ShardDigestRequest>::with<ShardDigest>,
                     caf::replies_to<Stop>::with<Stopped>, caf::reacts_to<Tick>>;

// Validates writes, splits them by shard, waits for all.
using ingest_actor = caf::typed_actor<caf::reacts_to<RoutesChanged>, caf::reacts_to<Later>,
                                      caf::replies_to<UpsertRequest>::with<UpsertReply>,
                                      caf::replies_to<UpdateRequest>::with<UpdateReply>,
                                      caf::replies_to<DeleteRequest>::with<DeleteReply>>;

// Validates reads, fans out to shards, merges the answers.
using query_actor = caf::typed_actor<caf::reacts_to<RoutesChanged>, caf::reacts_to<Later>,
                                     caf::replies_to<SearchRequest>::with<SearchReply>,
                                     caf::replies_to<SearchBatchRequest>::with<SearchBatchReply>,
                                     caf::replies_to<GetRequest>::with<StoredVector>,
                                     caf::replies_to<ListRequest>::with<ListReply>,
                                     caf::replies_to<RecallRequest>::with<RecallReply>,
                                     caf::replies_to<ListDatabases>::with<DatabaseInfos>,
                                     caf::replies_to<DescribeDatabase>::with<DatabaseInfo>>;

// The one door: limits what is in flight and picks the actor that answers.
using gateway_actor = caf::typed_actor<
    caf::reacts_to<RoutesChanged>, caf::replies_to<CreateDatabase>::with<DatabaseInfo>,
    caf::replies_to<DropDatabase>::with<DatabaseInfo>,
    caf::replies_to<AlterDatabase>::with<DatabaseInfo>,
    caf::replies_to<SplitShard>::with<DatabaseInfo>,
    caf::replies_to<ListDatabases>::with<DatabaseInfos>,
    caf::replies_to<DescribeDatabase>::with<DatabaseInfo>,
    caf::replies_to<UpsertRequest>::with<UpsertReply>,
    caf::replies_to<UpdateRequest>::with<UpdateReply>,
    caf::replies_to<DeleteRequest>::with<DeleteReply>,
    caf::replies_to<GetRequest>::with<StoredVector>, caf::replies_to<ListRequest>::with<ListReply>,
    caf::replies_to<SearchRequest>::with<SearchReply>,
    caf::replies_to<SearchBatchRequest>::with<SearchBatchReply>,
    caf::replies_to<RecallRequest>::with<RecallReply>,
    caf::replies_to<DescribeCluster>::with<ClusterInfo>,
    caf::replies_to<ChangeNodeRequest>::with<NodeInfo>,
    caf::replies_to<CheckReady>::with<std::string>>;

// A shard that is in neither map is starting.
struct RoutesChanged {
  uint64_t node = 0;   // this one
  replica_actor peer;  // passes on to shards that are elsewhere
  ClusterMapPtr map;
  std::shared_ptr<const std::map<uint64_t, shard_actor>> shards;
  // All that run, also those that have not caught up.
  std::shared_ptr<const std::map<uint64_t, shard_actor>> replicas;
  std::shared_ptr<const std::map<uint64_t, Status>> failures;
  Status refused = {};  // why this node answers nothing any more
  // Why replicas of this node do not serve, by group: failures, and copies that are being made.
  std::map<uint64_t, std::string> problems = {};
  std::string map_trouble = {};  // CatalogTrouble
};

struct Wired {
  gateway_actor gateway;
  master_actor master;
  node_actor node;
};

// ---- serialisation --------------------------------------------------------------

#define JADE_INSPECT(type, ...)                                    \
  template <class Inspector>                                       \
  typename Inspector::result_type inspect(Inspector& f, type& x) { \
    return f(caf::meta::type_name("jade::" #type), __VA_ARGS__);   \
  }

JADE_INSPECT(Route, x.group, x.node, x.hops, x.waits)
JADE_INSPECT(ShardWrite, x.route, x.route.budget_ms, x.command, x.forwarded)
JADE_INSPECT(ShardWritten, x.group, x.index, x.affected, x.missing, x.first_group, x.first_index,
             x.reached)
JADE_INSPECT(ShardHit, x.id, x.distance, x.metadata, x.values)
JADE_INSPECT(SegmentExplanation, x.segment, x.kind, x.rows, x.live, x.matching, x.matching_exact,
             x.plan, x.fell_back, x.walk_cost, x.ef_search, x.ef, x.raised, x.nprobe,
             x.rows_visited, x.distances_by_codes, x.distances_by_values, x.rescored,
             x.metadata_read, x.min_recall, x.calibrated, x.measured_recall, x.filter_ns, x.walk_ns,
             x.scan_ns, x.rescore_ns)
JADE_INSPECT(ShardExplanation, x.shard, x.round, x.applied_index, x.took_ns, x.fetch_ns, x.segments)
// As one string: actors/search_wire.h.
template <class Inspector, class Message, class... Rest>
typename Inspector::result_type inspect_packed(Inspector& f, const char* name, Message& x,
                                               Rest&... rest) {
  std::string packed;
  if constexpr (std::is_base_of_v<caf::deserializer, Inspector>) {
    auto read = [&] {
      std::string wrong = unpack(packed, x);
      return wrong.empty() ? caf::error() : refuse_message(f, std::move(wrong));
    };
    return f(caf::meta::type_name(name), packed, caf::meta::load_callback(read), rest...);
  } else {
    packed = pack(x);
    return f(caf::meta::type_name(name), packed, rest...);
  }
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ShardSearch& x) {
  return inspect_packed(f, "jade::ShardSearch", x);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ShardHits& x) {
  return inspect_packed(f, "jade::ShardHits", x, x.explanations);
}

JADE_INSPECT(ShardGet, x.route, x.route.budget_ms, x.id, x.consistency, x.applied_min)
JADE_INSPECT(ShardList, x.route, x.route.budget_ms, x.after, x.prefix, x.limit, x.include_metadata,
             x.include_values, x.consistency, x.applied_min, x.last_child)
JADE_INSPECT(ShardVectors, x.rows)
JADE_INSPECT(ShardRecall, x.route, x.route.budget_ms, x.sample, x.k, x.ef_search, x.nprobe,
             x.min_recall, x.vector, x.consistency, x.last_child)
JADE_INSPECT(ShardRecallCount, x.sampled, x.expected, x.found, x.uncalibrated)
JADE_INSPECT(ShardSample, x.route, x.route.budget_ms, x.count)
JADE_INSPECT(ShardDeleteMatching, x.route, x.route.budget_ms, x.filter, x.last_child)
JADE_INSPECT(ShardDescribe, x.route, x.route.budget_ms, x.by_leader)
JADE_INSPECT(ShardDigestRequest, x.group)
JADE_INSPECT(SegmentDigest, x.id, x.vector, x.begin_row, x.end_row, x.live, x.digest)
JADE_INSPECT(ShardDigest, x.applied_index, x.digest, x.segments)
JADE_INSPECT(SegmentInfo, x.id, x.vector, x.state, x.kind, x.rows, x.dead_rows, x.quantization,
             x.vectors)
JADE_INSPECT(ReplicaInfo, x.node, x.voter, x.log_index, x.heard, x.copied)
JADE_INSPECT(ShardInfo, x.shard, x.nodes, x.leader, x.vectors, x.indexed_vectors, x.applied_index,
             x.segments, x.replicas, x.measured_recall)
JADE_INSPECT(FetchState, x.route, x.transfer, x.after, x.from, x.log_base)
JADE_INSPECT(StateChunk, x.transfer, x.bytes, x.last_key, x.index, x.term, x.configuration_index,
             x.configuration)
JADE_INSPECT(RaftWire, x.group, x.from, x.bytes, x.life)
JADE_INSPECT(CheckLife, x.node, x.known.id, x.known.version)
JADE_INSPECT(LifeChecked, x.life, x.remembered)
JADE_INSPECT(Hello, x.cluster_id, x.node, x.protocol)
JADE_INSPECT(HelloReply, x.cluster_id, x.node)
JADE_INSPECT(AskNode, x.cluster_id, x.node, x.address)
JADE_INSPECT(NodeReport, x.problems, x.addresses)
JADE_INSPECT(JoinCluster, x.route, x.cluster_id, x.node, x.name, x.address, x.api_address, x.roles,
             x.protocol)
JADE_INSPECT(RaftMember, x.node, x.voter, x.address)
JADE_INSPECT(JoinedCluster, x.cluster_id, x.members)
JADE_INSPECT(ChangeCatalog, x.route, x.command)
JADE_INSPECT(CatalogApplied, x.version)

#undef JADE_INSPECT

// Registers the serialisable messages with a system's configuration.
void add_message_types(caf::actor_system_config& config);

}  // namespace jade

// These never leave the node.
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::AppendLog)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SendRaft)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::MembersChanged)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DescribePeers)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::PeerStates)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::NodeRefused)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::OutOfTouch)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::CatalogTrouble)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::LogAppended)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DrainLog)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::BlockingTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::TaskDone)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SearchTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::GetTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ListTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DigestTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ExportTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::MatchTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::MatchedRows)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::TrimTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::GetSplit)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SplitFound)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ChildPrepared)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::MakeChild)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SplitShard)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::Placed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::Tick)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::Later)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::Stop)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::Stopped)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::RoutesChanged)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::CreateDatabase)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DropDatabase)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::AlterDatabase)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ChangeNodeRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::NodeInfo)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ListDatabases)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DescribeDatabase)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DescribeCluster)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::CheckReady)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::MapChanged)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::AwaitVersion)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DescribeMaster)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::MasterInfo)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ShardFailed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ShardServes)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ShardBehind)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::Wired)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::UpsertRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::UpsertReply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::UpdateRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::UpdateReply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DeleteRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DeleteReply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::GetRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::StoredVector)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ListRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ListReply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::RecallRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::RecallReply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::RecallTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SampleTask)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SearchRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SearchReply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SearchBatchRequest)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::SearchBatchReply)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DatabaseInfo)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::DatabaseInfos)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ClusterInfo)
