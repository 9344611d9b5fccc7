#include "actors/ingest.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <iterator>
#include <set>
#include <unordered_map>
#include <utility>

#include "actors/deadline.h"
#include "actors/errors.h"
#include "actors/gather.h"
#include "actors/named_vectors.h"
#include "actors/partial_update.h"
#include "actors/random.h"
#include "actors/shard_key.h"
#include "actors/token.h"
#include "actors/vector_values.h"
#include "index/datatype.h"
#include "index/embedder.h"
#include "index/filter.h"
#include "index/metadata.h"
#include "index/vector_router.h"
#include "storage/bytes.h"
#include "storage/crc32c.h"
#include "storage/record.h"

namespace jade {
namespace {

std::string place(size_t row, const char* field) {
  return "vectors[" + std::to_string(row) + "]." + field;
}

Status check_values(const DatabaseSpec& spec, const UpsertRequest& request) {
  if (!request.named.empty()) {
    return invalid_argument("values are given by name, but database \"" + spec.name +
                            "\" has one vector without a name; give them as an array of numbers");
  }
  if (request.dimension != spec.dimension) {
    return invalid_argument(place(0, "values") + " has " + std::to_string(request.dimension) +
                            " values; database \"" + spec.name + "\" has dimension " +
                            std::to_string(spec.dimension));
  }
  if (request.values.size() != request.ids.size() * spec.dimension * sizeof(float)) {
    return invalid_argument("values has " + std::to_string(request.values.size()) +
                            " bytes; it must have ids × dimension × 4");
  }
  return {};
}

// `vectors[3].values.title`
std::string place(size_t row, const VectorSpec& vector) {
  return place(row, "values") + (vector.name.empty() ? "" : "." + vector.name);
}

const VectorColumn* find_column(const UpsertRequest& request, const std::string& name) {
  for (const VectorColumn& column : request.named) {
    if (column.name == name) return &column;
  }
  return nullptr;
}

Status check_column(const DatabaseSpec& spec, const UpsertRequest& request,
                    const VectorColumn& column) {
  size_t n = column.rows.size();
  bool ascends = std::adjacent_find(column.rows.begin(), column.rows.end(),
                                    std::greater_equal<>()) == column.rows.end();
  if (n == 0 || !ascends || column.rows.back() >= request.ids.size()) {
    return invalid_argument("the rows of vector \"" + column.name +
                            "\" must be positions of ids, ascending");
  }
  if (find_column(request, column.name) != &column) {
    return invalid_argument("vector \"" + column.name + "\" is given twice");
  }
  for (const VectorSpec& vector : spec.named_vectors) {
    if (vector.name != column.name) continue;
    if (column.dimension != vector.dimension) {
      return invalid_argument(place(column.rows.front(), vector) + " has " +
                              std::to_string(column.dimension) + " values; " +
                              title_of(spec, vector) + " has dimension " +
                              std::to_string(vector.dimension));
    }
    if (column.values.size() == n * vector.dimension * sizeof(float)) return {};
    return invalid_argument("the values of vector \"" + column.name + "\" have " +
                            std::to_string(column.values.size()) +
                            " bytes; they must have rows × dimension × 4");
  }
  return invalid_argument(place(column.rows.front(), "values") + " has \"" +
                          column.name.substr(0, Limits::name_bytes_max) +
                          "\"; the vectors of database \"" + spec.name + "\" are " +
                          names_of(spec));
}

Status check_columns(const DatabaseSpec& spec, const UpsertRequest& request) {
  if (!request.values.empty() || request.named.empty()) {
    return invalid_argument("values are given without names, but database \"" + spec.name +
                            "\" has the vectors " + names_of(spec) +
                            ": give them by name, in JSON as an object of one array for each");
  }
  std::vector<bool> present(request.ids.size());
  for (const VectorColumn& column : request.named) {
    JADE_RETURN_IF_ERROR(check_column(spec, request, column));
    for (uint32_t row : column.rows) present[row] = true;
  }
  auto without = std::find(present.begin(), present.end(), false);
  if (without == present.end()) return {};
  return invalid_argument(place(static_cast<size_t>(without - present.begin()), "values") +
                          " has none of the vectors " + names_of(spec));
}

Status check_shape(const DatabaseSpec& spec, const UpsertRequest& request) {
  size_t n = request.ids.size();
  JADE_RETURN_IF_ERROR(check_vector_count(n));
  if (!request.metadata.empty() && request.metadata.size() != n) {
    return invalid_argument("metadata has " + std::to_string(request.metadata.size()) +
                            " rows for " + std::to_string(n) + " ids");
  }
  if (!request.texts.empty()) {
    if (request.texts.size() != n || !request.values.empty() || !request.named.empty()) {
      return invalid_argument("give either values or text for every vector, not both");
    }
    return {};
  }
  return spec.named_vectors.empty() ? check_values(spec, request) : check_columns(spec, request);
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
    JADE_RETURN_IF_ERROR(
        embed_text(*embedder, {i}, request.texts[i], row.data(), request.metadata[i]));
    std::memcpy(request.values.data() + i * spec.dimension * sizeof(float), row.data(),
                spec.dimension * sizeof(float));
  }
  request.texts.clear();
  return {};
}

// Values become what is stored: rounded here, once, so that all replicas have the same.
Status store_rows(const DatabaseSpec& spec, UpsertRequest& request) {
  const RecordFormat format = record_format(spec);
  const std::vector<VectorSpec> vectors = vectors_of(spec);
  size_t given = 0;
  for (const VectorColumn& column : request.named) given += column.values.size();
  JADE_RETURN_IF_ERROR(check_stored_bytes(format, request.ids.size(), given));
  // What one vector of float32 is stored as, it is already.
  const bool as_given = !format.named() && spec.datatype == Datatype::float32;
  std::string stored(as_given ? 0 : request.ids.size() * format.row_bytes(), '\0');
  for (size_t v = 0; v < vectors.size(); ++v) {
    const VectorColumn* column = format.named() ? find_column(request, vectors[v].name) : nullptr;
    if (format.named() && column == nullptr) continue;
    const char* from = column != nullptr ? column->values.data() : request.values.data();
    const size_t n = column != nullptr ? column->rows.size() : request.ids.size();
    std::vector<float> values(vectors[v].dimension);
    const size_t bytes = values.size() * sizeof(float);
    for (size_t i = 0; i < n; ++i) {
      std::memcpy(values.data(), from + i * bytes, bytes);
      size_t row = column != nullptr ? column->rows[i] : i;
      char* out = as_given ? nullptr : stored.data() + row * format.row_bytes();
      JADE_RETURN_IF_ERROR(store_vector(format, v, {row}, values, out));
    }
  }
  if (!as_given) request.values = std::move(stored);
  request.named.clear();
  return {};
}

// The client's request id, or one that was drawn; they never meet.
std::string request_id(ingest_state& state, const std::string& given) {
  if (!given.empty()) return "c" + given;
  std::string drawn = "d";
  for (int i = 0; i < 2; ++i) append_big_endian(drawn, next_random(state.random));
  return drawn;
}

Status check_request_id(const std::string& id) {
  if (id.size() <= Limits::request_id_bytes_max) return {};
  return too_many_bytes("the idempotency key", id.size(), Limits::request_id_bytes_max);
}

// Of a whole request, so that its parts are known again however shards have been split
// since. Never 0.
class Fingerprint {
 public:
  void add(std::string_view part) {
    uint64_t size = part.size();
    crc_ = crc32c({reinterpret_cast<const char*>(&size), sizeof size}, crc_);
    crc_ = crc32c(part, crc_);
  }
  uint32_t value() const { return crc_ == 0 ? 1 : crc_; }

 private:
  uint32_t crc_ = 0;
};

// A command of one shard.
struct Part {
  uint64_t group = 0;
  std::string command;
  // Of an update, the first row of its part of the request: places of rows count from there.
  size_t first_row = 0;
  // When it is no longer sent again, by the actor clock; set as it is sent first.
  uint64_t retry_until_ms = 0;
};

bool is_empty(const UpsertCommand& command) { return command.ids.empty(); }
bool is_empty(const UpdateCommand& command) { return command.rows.empty(); }
bool is_empty(const DeleteCommand& command) { return command.ids.empty(); }

// Fills commands with rows, one for each shard that rows belong to. A request is cut
// into parts by the order and size of its rows alone; the rows of a part that belong to
// one shard are one command there, with the request's id and the number of the part.
// Whichever shard has a row now, or gets it by a split, knows by that whether the row
// has been written.
template <class Command>
class Splitter {
 public:
  Splitter(const DatabaseEntry& database, std::string request, uint32_t fingerprint,
           size_t part_bytes, size_t part_rows = std::numeric_limits<size_t>::max())
      : database_(database),
        request_(std::move(request)),
        fingerprint_(fingerprint),
        part_bytes_(part_bytes),
        part_rows_(part_rows),
        commands_(database.shards.size()) {}

  // The command that a row of so many bytes goes to.
  Command& take(std::string_view row_key, size_t bytes) {
    if (rows_ > 0 && (bytes_ + bytes > part_bytes_ || rows_ == part_rows_)) flush();
    bytes_ += bytes;
    ++rows_;
    return commands_[shard_of(row_key, database_)];
  }

  // Among those of its part, of the row that was taken last.
  size_t place() const { return rows_ - 1; }

  std::vector<Part> finish() {
    flush();
    return std::move(parts_);
  }

 private:
  void flush() {
    std::string id = request_ + "/" + std::to_string(number_++);
    for (size_t shard = 0; shard < commands_.size(); ++shard) {
      if (is_empty(commands_[shard])) continue;
      parts_.push_back({database_.shards[shard].group,
                        encode(commands_[shard], RequestId{id, fingerprint_}), first_row_});
      commands_[shard] = Command();
    }
    first_row_ += rows_;
    rows_ = 0;
    bytes_ = 0;
  }

  const DatabaseEntry& database_;
  std::string request_;
  uint32_t fingerprint_;
  size_t part_bytes_;
  size_t part_rows_;
  std::vector<Command> commands_;
  std::vector<Part> parts_;
  size_t bytes_ = 0;
  size_t rows_ = 0;
  size_t first_row_ = 0;
  size_t number_ = 0;
};

void add_row(UpsertCommand& command, const RecordFormat& format, const RowView& row) {
  command.dimension = format.stored_dimension();
  command.datatype = format.stored_datatype();
  command.ids.emplace_back(row.id);
  command.values.append(row.values);
  command.metadata.emplace_back(row.metadata);
}

void begin_update(UpdateCommand& command, const RecordFormat& format, uint32_t metadata_bytes_max) {
  command.dimension = format.stored_dimension();
  command.datatype = format.stored_datatype();
  command.metadata_bytes_max = metadata_bytes_max;
}

// Says to which shard each vector belongs, where they are sharded by vector.
class CellChooser {
 public:
  explicit CellChooser(const DatabaseEntry& database) : database_(database) {
    const RouterRecord* router = database.router_of_writes();
    if (router == nullptr) return;
    version_ = router->version;
    router_.emplace(database.spec.metric, database.spec.dimension, router->centres);
    row_.resize(database.spec.dimension);
  }

  // For the row that was added last.
  void choose(UpsertCommand& command, const RowView& row) {
    if (!database_.by_vector()) return;
    command.router = version_;
    command.cells.push_back(cell_of(row.id, row.values));
  }
  void choose(UpdateCommand& command) {
    if (!database_.by_vector()) return;
    command.router = version_;
    UpdateCommand::Row& row = command.rows.back();
    row.cell = row.values.empty() ? 0 : cell_of(row.id, row.values);
  }

 private:
  uint64_t cell_of(std::string_view id, std::string_view values) {
    size_t shard = 0;
    if (router_) {
      load_values(database_.spec.datatype, values.data(), row_.size(), row_.data());
      shard = router_->part_of(row_.data());
    } else {
      shard = shard_of(id, database_);
    }
    return database_.shards[shard].group;
  }

  const DatabaseEntry& database_;
  uint64_t version_ = 0;
  std::optional<VectorRouter> router_;
  std::vector<float> row_;
};

// `distinct`: how many different ids there are.
Result<std::vector<Part>> split_upsert(const DatabaseEntry& database, const UpsertRequest& request,
                                       const std::string& id, size_t part_bytes,
                                       uint64_t* distinct) {
  std::vector<std::string> keys(request.ids.size());
  Fingerprint fingerprint;
  for (size_t i = 0; i < keys.size(); ++i) {
    std::string_view metadata =
        request.metadata.empty() ? std::string_view() : std::string_view(request.metadata[i]);
    auto shard_key = key_of_metadata(database.spec, metadata);
    if (!shard_key.ok()) return shard_key.status().with_context(place(i, "metadata"));
    keys[i] = row_key(*shard_key, request.ids[i]);
    fingerprint.add(keys[i]);
    fingerprint.add(metadata);
  }
  fingerprint.add(request.values);
  // Of equal ids the last wins: only its row is written.
  std::unordered_map<std::string_view, size_t> last;
  last.reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) last[keys[i]] = i;
  *distinct = last.size();

  const RecordFormat format = record_format(database.spec);
  const size_t row_bytes = format.row_bytes();
  Splitter<UpsertCommand> splitter(database, id, fingerprint.value(), part_bytes);
  CellChooser cells(database);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (last[keys[i]] != i) continue;
    std::string_view values = std::string_view(request.values).substr(i * row_bytes, row_bytes);
    std::string_view metadata =
        request.metadata.empty() ? std::string_view() : std::string_view(request.metadata[i]);
    UpsertCommand& command =
        splitter.take(keys[i], keys[i].size() + row_bytes + metadata.size() + 32);
    RowView row{keys[i], values, metadata};
    add_row(command, format, row);
    cells.choose(command, row);
  }
  return splitter.finish();
}

std::vector<Part> split_update(const DatabaseEntry& database, const PreparedUpdate& update,
                               const std::string& id, size_t part_bytes) {
  Fingerprint fingerprint;
  for (const UpdateCommand::Row& row : update.rows) {
    for (std::string_view part :
         {std::string_view(row.id), std::string_view(row.metadata), std::string_view(row.values)}) {
      fingerprint.add(part);
    }
    fingerprint.add(std::string(1, static_cast<char>(row.without)));
  }
  const RecordFormat format = record_format(database.spec);
  Splitter<UpdateCommand> splitter(database, id, fingerprint.value(), part_bytes, update_rows_max);
  CellChooser cells(database);
  for (const UpdateCommand::Row& row : update.rows) {
    // Whole records will be written.
    size_t bytes = row.id.size() + format.row_bytes() + row.metadata.size() + 64;
    UpdateCommand& command = splitter.take(row.id, bytes);
    begin_update(command, format, update.metadata_bytes_max);
    command.rows.push_back(row);
    command.rows.back().place = static_cast<uint32_t>(splitter.place());
    cells.choose(command);
  }
  return splitter.finish();
}

std::vector<Part> split_delete(const DatabaseEntry& database, const DeleteRequest& request,
                               const std::string& id, size_t part_bytes) {
  Fingerprint fingerprint;
  for (const VectorId& vector : request.ids) fingerprint.add(row_key(request.key, vector));
  Splitter<DeleteCommand> splitter(database, id, fingerprint.value(), part_bytes);
  for (const VectorId& vector : request.ids) {
    std::string key = row_key(request.key, vector);
    DeleteCommand& command = splitter.take(key, key.size() + 16);
    command.ids.push_back(std::move(key));
  }
  return splitter.finish();
}

// The rows of a command where they belong now: its shard may have been split, or routed
// anew.
Result<std::vector<Part>> split_again(const DatabaseEntry& database, const Part& part) {
  std::vector<UpsertCommand> upserts(database.shards.size());
  std::vector<UpdateCommand> updates(database.shards.size());
  std::vector<DeleteCommand> deletes(database.shards.size());
  std::string id;
  RequestId request;
  CommandVisitor visitor;
  visitor.begin = [&](RequestId found) {
    id = found.id;
    request = {id, found.fingerprint};
    return true;
  };
  CellChooser cells(database);
  const RecordFormat format = record_format(database.spec);
  visitor.begin_upsert = [](size_t, uint32_t, Datatype) { return Status(); };
  visitor.upsert_row = [&](const RowView& row) {
    UpsertCommand& upsert = upserts[shard_of(row.id, database)];
    add_row(upsert, format, row);
    cells.choose(upsert, row);
    return Status();
  };
  visitor.update = [&](const UpdateCommand& before) {
    for (const UpdateCommand::Row& row : before.rows) {
      UpdateCommand& update = updates[shard_of(row.id, database)];
      begin_update(update, format, before.metadata_bytes_max);
      update.rows.push_back(row);
      cells.choose(update);
    }
    return Status();
  };
  visitor.erase = [&](const DeleteCommand& erase) {
    for (const std::string& key : erase.ids) {
      deletes[shard_of(key, database)].ids.push_back(key);
    }
    return Status();
  };
  // Only those three are sent from here.
  JADE_RETURN_IF_ERROR(visit_command(part.command, visitor));
  std::vector<Part> parts;
  for (size_t shard = 0; shard < database.shards.size(); ++shard) {
    const uint64_t group = database.shards[shard].group;
    auto add = [&](const auto& command) {
      if (is_empty(command)) return;
      parts.push_back({group, encode(command, request), part.first_row, part.retry_until_ms});
    };
    add(upserts[shard]);
    add(updates[shard]);
    add(deletes[shard]);
  }
  return parts;
}

using ingest_pointer = ingest_actor::stateful_pointer<ingest_state>;

struct Written {
  uint64_t affected = 0;
  std::string token;
  std::vector<bool> missing = {};  // of the rows of an update
};

// Which rows of an update's command its shard did not find.
Status note_missing(const Part& part, const ShardWritten& written, std::vector<bool>& missing) {
  CommandVisitor visitor;
  visitor.update = [&](const UpdateCommand& update) -> Status {
    for (const UpdateCommand::Row& row : update.rows) {
      bool said = row.place / 8 < written.missing.size() &&
                  (written.missing[row.place / 8] >> row.place % 8 & 1) != 0;
      if (said || written.affected == 0) missing.at(part.first_row + row.place) = true;
    }
    return {};
  };
  return visit_command(part.command, visitor);
}

// Parts of one request that are on their way to their shards at once. It keeps disks busy;
// more would only wait, on connections by which leaders say that they are still there.
constexpr size_t underway_bytes_max = 4u << 20;

// One request: its parts are written in order, several at once, and those whose answer is
// lost again, while time remains. After a failure no more are sent.
struct Writing {
  std::string database;
  uint64_t deadline_ms = 0;  // by the actor clock
  std::deque<Part> waiting;
  size_t underway_bytes = 0;
  size_t parts = 0;
  size_t missing = 0;  // that have no answer yet, or wait
  uint64_t affected = 0;
  // The entries that are counted, with their groups.
  std::set<std::pair<uint64_t, uint64_t>> counted;
  AppliedIndexes indexes;
  std::vector<bool> missing_rows;  // of an update
  Status failure;                  // of any part
  std::function<void(Result<Written>)> done;

  void count(const ShardWritten& written, const Part& part) {
    // Both halves of a shard that was split since remember the whole of what it did.
    if (counted.emplace(written.first_group, written.first_index).second) {
      affected += written.affected;
    }
    if (!missing_rows.empty()) {
      if (Status noted = note_missing(part, written, missing_rows); !noted.ok()) failure = noted;
    }
    see(written);
  }
  // For the token.
  void see(const ShardWritten& written) {
    note_applied(indexes, {{written.group, written.index}});
    note_applied(indexes, written.reached);
  }
  void finish_one() {
    if (--missing > 0) return;
    if (failure.ok()) {
      return done(Written{affected, encode_token(indexes), std::move(missing_rows)});
    }
    if (parts == 1) return done(failure);
    done(Status(failure.code(),
                failure.message() +
                    " (other parts of this request may have been written; sending it again is "
                    "safe)"));
  }
  void fail(const Status& status) {
    failure = status;
    missing -= waiting.size();
    waiting.clear();
    finish_one();
  }
};

// Of what is sent now.
uint64_t retry_until_ms(ingest_pointer self, const Writing& all) {
  return std::min(all.deadline_ms, now_ms(self) + to_ms(self->state.options.retry_for));
}

void write(ingest_pointer self, std::shared_ptr<Writing> all, Part part);

void write_more(ingest_pointer self, const std::shared_ptr<Writing>& all) {
  while (!all->waiting.empty()) {
    size_t bytes = all->waiting.front().command.size();
    if (all->underway_bytes > 0 && all->underway_bytes + bytes > underway_bytes_max) return;
    Part part = std::move(all->waiting.front());
    all->waiting.pop_front();
    part.retry_until_ms = retry_until_ms(self, *all);
    write(self, all, std::move(part));
  }
}

// A shard keeps its group when it is split, so the database that a part was for is gone;
// one that has its name now is another. That may have been so for long, where this node has just
// learned of it: to the client it exists.
Status dropped(const std::string& database) {
  return unavailable("database \"" + database +
                     "\" was dropped and created anew since this node last heard of it; try again");
}

// By the map of now.
void write_again(ingest_pointer self, const std::shared_ptr<Writing>& all, const Part& part) {
  auto database = self->state.routes.database(all->database);
  if (!database.ok()) return all->fail(database.status());
  if (find_shard(**database, part.group) == nullptr) return all->fail(dropped(all->database));
  auto parts = split_again(**database, part);
  if (!parts.ok()) return all->fail(parts.status());
  all->missing += parts->size() - 1;
  for (Part& again : *parts) write(self, all, std::move(again));
}

void write(ingest_pointer self, std::shared_ptr<Writing> all, Part part) {
  const Routes& routes = self->state.routes;
  auto database = routes.database(all->database);
  if (!database.ok()) return all->fail(database.status());
  const ShardPlacement* placement = find_shard(**database, part.group);
  if (placement == nullptr) return all->fail(dropped(all->database));
  auto shard = routes.shard(*placement);
  if (!shard.ok()) return all->fail(shard.status());
  auto kept = std::make_shared<const Part>(std::move(part));
  all->underway_bytes += kept->command.size();
  ShardWrite message;
  message.route.group = kept->group;
  message.command = kept->command;
  message.route.deadline_ms = all->deadline_ms;
  ask_until<ShardWritten>(
      self, self->state.timers, *shard, all->deadline_ms, std::move(message),
      [=](const ShardWritten& written) {
        all->underway_bytes -= kept->command.size();
        all->count(written, *kept);
        all->finish_one();
        write_more(self, all);
      },
      [=, replicas = (*database)->spec.replicas](const caf::error& error) {
        all->underway_bytes -= kept->command.size();
        Status status = to_status(error);
        bool again = status.code() == Code::unavailable || may_pass(status, replicas);
        if (!again || now_ms(self) >= kept->retry_until_ms) return all->fail(given_up(status));
        run_later(self, retry_interval, [=] { write_again(self, all, *kept); });
      });
}

std::shared_ptr<Writing> begin_writing(ingest_pointer self, const std::string& database) {
  auto all = std::make_shared<Writing>();
  all->database = database;
  all->deadline_ms = now_ms(self) + to_ms(self->state.options.write_timeout);
  return all;
}

// `updated_rows`: how many, of an update.
void write_all(ingest_pointer self, const std::string& database, std::vector<Part> parts,
               std::function<void(Result<Written>)> done, size_t updated_rows = 0) {
  auto all = begin_writing(self, database);
  all->missing_rows.resize(updated_rows);
  all->parts = all->missing = parts.size();
  all->done = std::move(done);
  std::move(parts.begin(), parts.end(), std::back_inserter(all->waiting));
  write_more(self, all);
}

auto deliver_deleted(caf::typed_response_promise<DeleteReply> promise) {
  return [promise](Result<Written> written) mutable {
    if (!written.ok()) return (void)promise.deliver(to_error(written.status()));
    promise.deliver(DeleteReply{written->affected, std::move(written->token)});
  };
}

auto deliver_updated(caf::typed_response_promise<UpdateReply> promise, std::vector<VectorId> ids,
                     std::vector<VectorId> keys) {
  return [promise, ids = std::move(ids), keys = std::move(keys)](Result<Written> written) mutable {
    if (!written.ok()) return (void)promise.deliver(to_error(written.status()));
    UpdateReply reply;
    reply.token = std::move(written->token);
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!written->missing[i]) continue;
      reply.missing.push_back(std::move(ids[i]));
      if (!keys.empty()) reply.missing_keys.push_back(std::move(keys[i]));
    }
    reply.updated = ids.size() - reply.missing.size();
    promise.deliver(std::move(reply));
  };
}

// Deletes by filter, in every shard, and in those that were split meanwhile again.
void delete_matching(ingest_pointer self, std::shared_ptr<Writing> all, uint64_t retry_until,
                     std::shared_ptr<const DeleteRequest> request) {
  const Routes& routes = self->state.routes;
  auto database = routes.database(all->database);
  if (!database.ok()) return all->done(database.status());
  const DatabaseEntry& entry = **database;
  ShardDeleteMatching question;
  question.filter = filter_of_key(entry.spec, request->key, request->filter);
  std::vector<std::pair<replica_actor, ShardDeleteMatching>> calls;
  for (size_t s = 0; s < entry.shards.size(); ++s) {
    if (request->key && s != shard_of(row_key_prefix(*request->key), entry)) continue;
    auto shard = routes.shard(entry.shards[s]);
    if (!shard.ok()) return all->done(shard.status());
    question.route.group = entry.shards[s].group;
    question.last_child = entry.shards[s].last_child;
    calls.emplace_back(*shard, question);
  }
  gather<ShardWritten>(
      self, all->deadline_ms, std::move(calls),
      [=, replicas = entry.spec.replicas](std::vector<Result<ShardWritten>>& answers) {
        bool again = false;
        all->parts = answers.size();
        all->missing = 1;
        all->failure = Status();
        for (const auto& answer : answers) {
          if (!answer.ok()) {
            all->failure = given_up(answer.status());
            if (all->failure.code() == Code::deadline_exceeded) {
              all->failure = Status(Code::deadline_exceeded,
                                    "not all vectors that match could be deleted in time; ask "
                                    "again for the rest");
            }
            again = again || may_pass(answer.status(), replicas);
            continue;
          }
          all->affected += answer->affected;
          all->see(*answer);
        }
        if (!again || now_ms(self) >= retry_until) return all->finish_one();
        run_later(self, retry_interval, [=] { delete_matching(self, all, retry_until, request); });
      });
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
    auto canonical = stored_metadata(metadata, place(i, "metadata"));
    if (!canonical.ok()) return canonical.status();
    metadata = std::move(*canonical);
  }
  JADE_RETURN_IF_ERROR(embed_texts(spec, request));
  return store_rows(spec, request);
}

ingest_actor::behavior_type ingest(ingest_actor::stateful_pointer<ingest_state> self,
                                   IngestOptions options) {
  self->state.options = options;
  self->state.random = mix(options.seed, now_ms(self) + 1);
  return {
      [self](RoutesChanged& changed) { self->state.routes.change(changed); },
      [](const Later& later) { later.run(); },
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
        auto parts = split_upsert(entry, request, request_id(self->state, request.request_id),
                                  self->state.options.command_bytes, &distinct);
        if (!parts.ok()) return to_error(parts.status());
        auto promise = self->make_response_promise<UpsertReply>();
        write_all(self, request.database, std::move(*parts),
                  [promise, distinct](Result<Written> written) mutable {
                    if (!written.ok()) return (void)promise.deliver(to_error(written.status()));
                    promise.deliver(UpsertReply{distinct, std::move(written->token)});
                  });
        return promise;
      },
      [self](UpdateRequest& request) -> caf::result<UpdateReply> {
        auto database = self->state.routes.database(request.database);
        if (!database.ok()) return to_error(database.status());
        auto update = prepare_update((*database)->spec, request);
        if (!update.ok()) return to_error(update.status());
        if (Status status = check_request_id(request.request_id); !status.ok()) {
          return to_error(status);
        }
        auto promise = self->make_response_promise<UpdateReply>();
        auto parts = split_update(**database, *update, request_id(self->state, request.request_id),
                                  self->state.options.command_bytes);
        size_t rows = update->ids.size();
        write_all(self, request.database, std::move(parts),
                  deliver_updated(promise, std::move(update->ids), std::move(update->keys)), rows);
        return promise;
      },
      [self](DeleteRequest& request) -> caf::result<DeleteReply> {
        auto database = self->state.routes.database(request.database);
        if (!database.ok()) return to_error(database.status());
        const DatabaseEntry& entry = **database;
        bool by_ids = request.filter.empty();
        Status valid = check_key(entry.spec, request.key, by_ids && !request.ids.empty());
        if (!valid.ok()) return to_error(valid);
        if (!by_ids) {
          if (!request.ids.empty()) {
            return to_error(invalid_argument("give either ids or filter, not both"));
          }
          if (auto filter = parse_filter(request.filter); !filter.ok()) {
            return to_error(filter.status().with_context("filter"));
          }
          auto promise = self->make_response_promise<DeleteReply>();
          auto all = begin_writing(self, request.database);
          all->done = deliver_deleted(promise);
          delete_matching(self, all, retry_until_ms(self, *all),
                          std::make_shared<const DeleteRequest>(std::move(request)));
          return promise;
        }
        if (request.ids.empty()) {
          return to_error(invalid_argument("ids is empty; give at least one"));
        }
        for (size_t i = 0; i < request.ids.size(); ++i) {
          if (Status valid_id = request.ids[i].validate(); !valid_id.ok()) {
            return to_error(valid_id.with_context("ids[" + std::to_string(i) + "]"));
          }
        }
        if (Status status = check_request_id(request.request_id); !status.ok()) {
          return to_error(status);
        }
        auto promise = self->make_response_promise<DeleteReply>();
        auto parts = split_delete(entry, request, request_id(self->state, request.request_id),
                                  self->state.options.command_bytes);
        write_all(self, request.database, std::move(parts), deliver_deleted(promise));
        return promise;
      },
  };
}

}  // namespace jade
