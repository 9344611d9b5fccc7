// The state machine of a shard: what its log entries do, and the segments that
// make it searchable. Plain functions, no actors: the shard actor calls apply()
// with committed entries and hands out snapshots.
//
// Records (id, values, metadata) are the truth and live in data/; segments are
// derived from them and live in segments/, so that a damaged one is rebuilt. Rows
// are numbered in the order of their log entries. New rows go to the growing
// segment. A `seal` entry closes it; a `merge` entry names neighbouring segments
// to be replaced by one index. Which rows a merge covers is thus the same on all
// replicas; when its build ends is each replica's own affair, and until then the
// old segments serve.
//
// Where records have several vectors, by name, a segment is one index for each of them,
// over the rows that have it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "actors/api.h"
#include "actors/cluster_map.h"
#include "actors/home_records.h"
#include "index/growing_segment.h"
#include "index/record_format.h"
#include "index/sealed_segment.h"
#include "index/shard_view.h"
#include "storage/log_store.h"
#include "storage/record.h"
#include "storage/segment_store.h"
#include "storage/shard_store.h"

namespace jade {

// An immutable view of a shard at one applied index; may be read from any
// thread, and keeps what it needs alive.
class ShardSnapshot {
 public:
  explicit ShardSnapshot(RecordFormat of) : format(std::move(of)) {}

  const RecordFormat format;
  IndexOptions index;
  uint64_t applied_index = 0;
  // By vector of the format. A row without a vector is not in its segments.
  std::vector<std::vector<SegmentView>> segments;
  uint64_t hash_end = 0;  // rows of greater hashes are not shown; 0: none are
  bool by_vector = false;
  // By group, the log entry with which rows that have left this shard arrived there.
  std::map<uint64_t, uint64_t> after;
  std::shared_ptr<ShardStore> store;
  Snapshot records;  // the store at applied_index
};

// A merge to be carried out by a builder.
struct BuildJob {
  uint64_t segment = 0;           // id of what it makes
  std::vector<uint64_t> sources;  // ids of what it replaces
  // By vector of the records.
  std::shared_ptr<std::vector<std::shared_ptr<const SealedSegment>>> built;
  std::function<Status()> run;  // on the builder's thread, and those of Options::workers
};

class ShardReplica {
 public:
  struct Options {
    leveldb::Env* env = nullptr;
    std::string dir;  // holds data/ and segments/
    std::shared_ptr<leveldb::Cache> cache;
    uint64_t group = 0;
    RecordFormat format{RowFormat(Metric::cosine, 0, Datatype::float32)};
    IndexOptions index;          // of each vector
    bool by_vector = false;      // see actors/home_records.h
    uint32_t seal_rows_min = 0;  // 0: by dimension
    uint32_t seal_rows_max = 0;
    std::shared_ptr<Workers> workers;  // share in what builders do; null: none
    // Rows from which on segments without an index have lists. 0: by their type.
    uint32_t listed_rows_min = 0;
  };

  // Opens or creates the replica; loads segments without rebuilding them. A
  // segment that is missing or damaged is said to `warn` and rebuilt later from
  // its records; so is what was cut off a torn log; damaged records are corruption.
  // `warn` must be callable. Blocks.
  static Result<std::unique_ptr<ShardReplica>> open(Options options, Warn warn);

  uint64_t applied_index() const { return meta_.applied_index; }

  // Applies the entry at `index`, one more than the last. On failure the state
  // on disk is as before and the replica must be reopened.
  Status apply(uint64_t index, uint64_t term, std::string_view command);
  // Takes note that entries up to `index` hold nothing for this state machine.
  Status pass(uint64_t index, uint64_t term);
  // Rows written or deleted by the last entry; by the earlier one where it repeats
  // a request.
  uint64_t last_affected() const { return last_affected_; }
  // Of an update, which of its records do not exist: Request::missing. "": all of them, where
  // it affected none, and otherwise none.
  const std::string& last_missing() const { return last_missing_; }
  // The group and index of the entry that carried the last one's request out: an earlier one
  // where it repeats a request, and of another group where that was before a split.
  std::pair<uint64_t, uint64_t> last_entry() const { return last_entry_; }
  // The last entry changed nothing: failed_precondition, as its request id stands for
  // another command, a home sent something else since, or an update would leave a record
  // without a vector; too_large, as one would make its metadata so; moved, as some of its ids
  // belong to a shard that was split off, or it was routed by an old router.
  const Status& last_outcome() const { return last_outcome_; }
  // Version of the placement that the group's members follow.
  uint64_t placed() const { return meta_.placed; }
  // Ids with smaller hashes belong here; 0: all that are sent.
  uint64_t hash_end() const { return meta_.hash_end; }
  bool owns(std::string_view id_key) const {
    return is_before(hash_of_row_key(id_key), meta_.hash_end);
  }
  // The refusal of what asks for other ids.
  Status moved() const;
  // A split that has not ended; child 0: none. While it is not trimming, what its child
  // begins with is here and does not change.
  const SplitState& split() const { return meta_.split; }
  // The group that was split off last; 0: none ever. Later ones have greater numbers.
  uint64_t last_child() const { return meta_.last_child; }

  // Of a database that is sharded by vector; else null.
  const HomeRecords* homes() const { return homes_.get(); }
  const CellsMeta& cells() const { return meta_.cells; }
  const ShardStore& store() const { return *store_; }
  const RecordFormat& format() const { return options_.format; }

  std::shared_ptr<const ShardSnapshot> snapshot();
  // The segments that the log has decided on, by their rows; the last one grows. A merge counts
  // from its log entry on, whether it is built here or not, so that these are the same on all
  // replicas that have applied the same; `built` says nothing.
  std::vector<SegmentMeta> decided_segments() const;

  // Makes all that was applied durable; callable from any thread, also when the
  // replica is gone.
  std::function<Status()> syncer() const;

  // For how long there have been no writes.
  enum class Pause { none, brief, lasting };
  // The seal or merge that the leader should propose now, if any. `idle`: no
  // build is under way.
  std::optional<std::string> plan_maintenance(bool idle, Pause pause) const;
  // The oldest merge that is decided but not built.
  std::optional<BuildJob> next_build();
  // Takes the new segment up; of a build that failed next_build() tells again. On
  // success `cleanup` removes what was replaced, and gives its space back; it blocks.
  Status finish_build(const BuildJob& job, const Status& status, std::function<Status()>* cleanup);
  // Segments without a graph that extend() has something to do for.
  std::vector<std::shared_ptr<GrowingSegment>> extensible() const;
  // Whether the rows of these that are in no list are so many that writes have to wait.
  bool lists_lag() const;
  void cancel_builds();
  // How segments are to be built and searched from now on. Those that were built otherwise
  // are built anew, one after another, each in its place.
  // Whether a command from another node is one that clients give, for rows of this form. In the log
  // any other would end all replicas.
  Status check_asked(std::string_view command) const;
  void set_index(const IndexOptions& index);
  const IndexOptions& index() const { return options_.index; }

  ShardInfo describe() const;
  // See ShardInfo.
  double measured_recall() const;
  // Which part of the state lies before the store's `key`, about: 0 to 1.
  double share_before(std::string_view key) const;

 private:
  // One vector of a part's rows; those that lack it are not there.
  struct Column {
    std::shared_ptr<GrowingSegment> growing;      // sealed without an index, or growing
    std::shared_ptr<const SealedSegment> sealed;  // exactly one of the two
    std::shared_ptr<Bitmap> dead;                 // null: none
    bool damaged = false;                         // its stored form is; see is_damaged()
    bool dead_shared = false;                     // a view holds it: copy before writing
    uint64_t dead_count = 0;

    // Its stored form is, or its vectors on disk turned out to be: rebuild it.
    bool is_damaged() const;
    // Worth an index of its own without them.
    // More than one of so many rows.
    bool has_dead(uint32_t one_of) const { return sealed && dead_count * one_of > rows(); }
    std::shared_ptr<const Segment> segment() const;
    uint32_t rows() const { return segment()->rows(); }
    uint64_t live() const { return rows() - dead_count; }
    // An immutable view: what dies later is marked in a copy.
    SegmentView share(uint64_t id);
    // Returns whether it was there, and alive.
    bool kill(uint64_t row);
    // Makes `dead` as long as there are rows.
    void cover();
  };
  struct Part {
    uint64_t id = 0;
    uint64_t begin_row = 0;  // [begin, end): neighbours touch
    uint64_t end_row = 0;
    std::vector<Column> columns;  // by vector of the format
    uint64_t live = 0;            // rows, whichever vectors they have

    bool built() const;  // all columns are
    bool is_damaged() const;
    // It is built, but not as `index` says.
    bool is_outdated(const IndexOptions& index) const;
    bool has_dead(uint32_t one_of) const;
    // Of the column that has most.
    uint32_t rows() const;
    uint64_t count_live() const;
    // Whether it was alive.
    bool kill(uint64_t row);
  };

  explicit ShardReplica(Options options) : options_(std::move(options)) {}

  Status load(const Warn& warn);
  Status load_part(const SegmentMeta& meta, const Warn& warn);
  Result<std::shared_ptr<const SealedSegment>> load_column(uint64_t segment, size_t vector) const;
  Part make_part(uint64_t id, uint64_t begin_row) const;
  uint32_t listed_rows_min() const;
  // Values of the log that are not what this shard has: corruption.
  Status check_values(uint32_t dimension, Datatype datatype) const;

  Status apply_upsert(const RowView& row, ShardStore::Batch& batch);
  // Some of a record, before or after an update.
  struct Content {
    std::string values;
    std::string metadata;
    uint64_t cell = 0;    // with sharding by vector
    uint64_t valued = 0;  // as in HomeRecord

    friend bool operator==(const Content&, const Content&) = default;
  };
  // As of the entry before.
  Result<std::optional<Content>> find_content(const std::string& id) const;
  // What an update makes of it; too_large and failed_precondition: it must not.
  Result<Content> merge(const Content& old, const UpdateCommand& command,
                        const UpdateCommand::Row& row) const;
  Status apply_update(const UpdateCommand& command, ShardStore::Batch& batch);
  // As a home, and as a cell, of a database that is sharded by vector.
  Status apply_home_delete(const DeleteCommand& command, ShardStore::Batch& batch);
  Status apply_forward(const ForwardCommand& command, ShardStore::Batch& batch);
  void apply_route(const RouteCommand& command);
  // moved: the command is new and was routed by a router that is not followed any more.
  Status check_router(std::string_view command) const;
  Status apply_delete(const DeleteCommand& command, ShardStore::Batch& batch);
  void apply_seal(const SealCommand& command);
  void apply_merge(MergeCommand command);
  // Whether a merge of it is decided and not built yet.
  bool is_merging(uint64_t segment) const;
  void apply_split(const SplitCommand& command, uint64_t index, uint64_t term);
  // moved: the command names ids that do not belong here.
  Status check_owned(std::string_view command) const;
  // Marks the rows that do not belong here dead; how many lived.
  uint64_t kill_foreign(Part& part) const;
  // Whether the command with this request id is yet to be carried out.
  bool begin_request(std::string_view id, uint32_t fingerprint);
  void remember(Request request);
  void forget_requests(ShardStore::Batch& batch);
  // Whether it was alive.
  bool kill_row(uint64_t row);
  Part* part_of(uint64_t row);
  // Where `sources` lie next to each other in parts_; the end when they do not.
  std::vector<Part>::iterator find_sources(const std::vector<uint64_t>& sources);
  BuildJob make_job(uint64_t segment, const std::vector<uint64_t>& sources, uint64_t seed);
  // The first of the neighbours, up to the last sealed one, that are worth
  // merging; none: parts_.size().
  size_t merge_start(Pause pause) const;
  double measured_recall(size_t vector) const;
  uint32_t seal_rows_min() const;
  uint32_t seal_rows_max() const;
  void update_meta();

  Options options_;
  std::shared_ptr<ShardStore> store_;
  std::shared_ptr<SegmentStore> blobs_;
  ShardStateMeta meta_;
  std::unique_ptr<HomeRecords> homes_;
  std::vector<Part> parts_;  // the segments by begin_row; the last one grows
  std::unordered_map<std::string, uint64_t> batch_rows_;  // ids of the entry at hand
  std::shared_ptr<const ShardSnapshot> snapshot_;
  std::shared_ptr<std::atomic<bool>> cancel_ = std::make_shared<std::atomic<bool>>(false);
  std::deque<Request> requests_;  // by log entry; the latest requests_kept
  std::unordered_map<std::string_view, const Request*> request_by_id_;
  uint64_t last_affected_ = 0;
  std::string last_missing_;
  std::pair<uint64_t, uint64_t> last_entry_;
  Status last_outcome_;
  uint64_t live_rows_ = 0;
};

}  // namespace jade
