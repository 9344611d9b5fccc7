#include "storage/record.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "storage/record.capnp.h"

namespace jade {
namespace {

std::string to_bytes(capnp::MessageBuilder& message) {
  auto segments = message.getSegmentsForOutput();
  std::string out(capnp::computeSerializedSizeInWords(segments) * sizeof(capnp::word), '\0');
  kj::ArrayOutputStream stream(kj::arrayPtr(reinterpret_cast<kj::byte*>(out.data()), out.size()));
  capnp::writeMessage(stream, segments);
  return out;
}

// Cap'n Proto reads words; the input may lie anywhere.
class Reader {
 public:
  explicit Reader(std::string_view bytes)
      : words_((bytes.size() + sizeof(capnp::word) - 1) / sizeof(capnp::word)) {
    capnp::ReaderOptions options;
    // Each byte may be read a few times; more is an attack by shared pointers.
    options.traversalLimitInWords = words_ * 4 + 1024;
    options.nestingLimit = 16;
    const auto* start = reinterpret_cast<const capnp::word*>(bytes.data());
    if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(uint64_t) != 0 ||
        bytes.size() % sizeof(capnp::word) != 0) {
      aligned_ = kj::heapArray<capnp::word>(words_);
      std::memset(aligned_.begin(), 0, words_ * sizeof(capnp::word));
      std::memcpy(aligned_.begin(), bytes.data(), bytes.size());
      start = aligned_.begin();
    }
    reader_.emplace(kj::arrayPtr(start, words_), options);
  }

  template <class T>
  typename T::Reader root() {
    return reader_->getRoot<T>();
  }

 private:
  size_t words_;
  kj::Array<capnp::word> aligned_;
  std::optional<capnp::FlatArrayMessageReader> reader_;
};

// Runs `decode`, turning Cap'n Proto's exceptions into Code::corruption.
template <class Decode>
auto decode_as(const char* what, Decode decode) -> decltype(decode()) {
  try {
    return decode();
  } catch (const kj::Exception& error) {
    return corruption(std::string(what) + " cannot be decoded: " + error.getDescription().cStr());
  }
}

capnp::Data::Reader as_data(std::string_view bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

std::string_view view(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

std::string_view view(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

capnp::Text::Reader as_text(const std::string& value) { return {value.c_str(), value.size()}; }

void write(wire::Merge::Builder out, const MergeCommand& merge) {
  out.setSegment(merge.segment);
  out.setSeed(merge.seed);
  auto sources = out.initSources(static_cast<unsigned>(merge.sources.size()));
  for (unsigned i = 0; i < sources.size(); ++i) sources.set(i, merge.sources[i]);
}

MergeCommand read(wire::Merge::Reader in) {
  MergeCommand out;
  out.segment = in.getSegment();
  out.seed = in.getSeed();
  for (uint64_t source : in.getSources()) out.sources.push_back(source);
  return out;
}

void write(wire::Life::Builder out, const Life& life) {
  out.setId(life.id);
  out.setVersion(life.version);
}

Life read(wire::Life::Reader in) { return {in.getId(), in.getVersion()}; }

void write(wire::Node::Builder out, const NodeRecord& node) {
  out.setId(node.id);
  out.setName(as_text(node.name));
  out.setAddress(as_text(node.address));
  out.setApiAddress(as_text(node.api_address));
  out.setDraining(node.draining);
  out.setRoles(node.roles);
  if (node.life.id != 0) write(out.initLife(), node.life);
}

NodeRecord read(wire::Node::Reader in) {
  return {in.getId(),
          std::string(view(in.getName())),
          std::string(view(in.getAddress())),
          std::string(view(in.getApiAddress())),
          in.getDraining(),
          in.getRoles(),
          read(in.getLife())};
}

LivesRecord read(wire::Lives::Reader in) {
  LivesRecord out{in.getNode(), {}};
  for (auto life : in.getLives()) out.lives.push_back(read(life));
  return out;
}

template <class Builder>
void write_numbers(Builder out, const std::vector<uint64_t>& numbers) {
  for (unsigned i = 0; i < out.size(); ++i) out.set(i, numbers[i]);
}

template <class Reader>
std::vector<uint64_t> read_numbers(Reader in) {
  std::vector<uint64_t> out;
  for (uint64_t number : in) out.push_back(number);
  return out;
}

void write(wire::Database::Shard::Builder out, const ShardRecord& shard) {
  auto length = [](const auto& list) { return static_cast<unsigned>(list.size()); };
  out.setGroup(shard.group);
  write_numbers(out.initNodes(length(shard.nodes)), shard.nodes);
  write_numbers(out.initLeaving(length(shard.leaving)), shard.leaving);
  write_numbers(out.initJoining(length(shard.joining)), shard.joining);
  out.setVersion(shard.version);
  out.setFounded(shard.founded);
  out.setReason(shard.reason);
  out.setHashBegin(shard.hash_begin);
  out.setChild(shard.child);
  out.setChildBegin(shard.child_begin);
  out.setDivided(shard.divided);
  out.setParent(shard.parent);
  out.setLastChild(shard.last_child);
}

ShardRecord read(wire::Database::Shard::Reader in) {
  return {in.getGroup(),
          read_numbers(in.getNodes()),
          read_numbers(in.getLeaving()),
          read_numbers(in.getJoining()),
          in.getVersion(),
          in.getFounded(),
          in.getReason(),
          in.getHashBegin(),
          in.getChild(),
          in.getChildBegin(),
          in.getDivided(),
          in.getParent(),
          in.getLastChild()};
}

void write(wire::Router::Builder out, const RouterRecord& router) {
  out.setVersion(router.version);
  out.setCentres(as_data(router.centres));
  out.setVectors(router.vectors);
  write_numbers(out.initAnnounced(static_cast<unsigned>(router.announced.size())),
                router.announced);
  write_numbers(out.initDone(static_cast<unsigned>(router.done.size())), router.done);
}

RouterRecord read(wire::Router::Reader in) {
  return {in.getVersion(), std::string(view(in.getCentres())), in.getVectors(),
          read_numbers(in.getAnnounced()), read_numbers(in.getDone())};
}

void write(wire::Database::Builder out, const DatabaseRecord& database) {
  out.setName(as_text(database.name));
  out.setDimension(database.dimension);
  out.setMetric(database.metric);
  out.setIndexKind(database.index_kind);
  out.setM(database.m);
  out.setEfConstruction(database.ef_construction);
  out.setEfSearch(database.ef_search);
  out.setNlist(database.nlist);
  out.setNprobe(database.nprobe);
  out.setQuantization(database.quantization);
  out.setVectors(database.vectors);
  out.setMinRecall(database.min_recall);
  out.setDatatype(database.datatype);
  if (!database.named_vectors.empty()) {
    auto named = out.initNamedVectors(static_cast<unsigned>(database.named_vectors.size()));
    for (unsigned i = 0; i < named.size(); ++i) {
      const NamedVectorRecord& vector = database.named_vectors[i];
      named[i].setName(as_text(vector.name));
      named[i].setDimension(vector.dimension);
      named[i].setMetric(vector.metric);
      named[i].setDatatype(vector.datatype);
    }
  }
  out.setEmbedder(as_text(database.embedder));
  out.setReplicas(database.replicas);
  out.setShardKey(as_text(database.shard_key));
  out.setSharding(database.sharding);
  out.setProbes(database.probes);
  if (database.router.version != 0) write(out.initRouter(), database.router);
  if (database.next_router.version != 0) write(out.initNextRouter(), database.next_router);
  auto shards = out.initShards(static_cast<unsigned>(database.shards.size()));
  for (unsigned i = 0; i < shards.size(); ++i) write(shards[i], database.shards[i]);
}

DatabaseRecord read(wire::Database::Reader in) {
  DatabaseRecord out;
  out.name = view(in.getName());
  out.dimension = in.getDimension();
  out.metric = in.getMetric();
  out.index_kind = in.getIndexKind();
  out.m = in.getM();
  out.ef_construction = in.getEfConstruction();
  out.ef_search = in.getEfSearch();
  out.nlist = in.getNlist();
  out.nprobe = in.getNprobe();
  out.quantization = in.getQuantization();
  out.vectors = in.getVectors();
  out.min_recall = in.getMinRecall();
  out.datatype = in.getDatatype();
  for (auto vector : in.getNamedVectors()) {
    out.named_vectors.push_back({std::string(view(vector.getName())), vector.getDimension(),
                                 vector.getMetric(), vector.getDatatype()});
  }
  out.embedder = view(in.getEmbedder());
  out.replicas = in.getReplicas();
  out.shard_key = view(in.getShardKey());
  out.sharding = in.getSharding();
  out.probes = in.getProbes();
  out.router = read(in.getRouter());
  out.next_router = read(in.getNextRouter());
  for (auto shard : in.getShards()) out.shards.push_back(read(shard));
  return out;
}

void write(wire::Command::Builder out, const RequestId& request) {
  if (request.id.empty()) return;
  out.setRequest(as_data(request.id));
  out.setFingerprint(request.fingerprint);
}

Result<Datatype> read_datatype(wire::Upsert::Reader upsert) {
  if (upsert.getDatatype() > static_cast<uint8_t>(datatype_max)) {
    return corruption("an upsert command has values of an unknown datatype");
  }
  return static_cast<Datatype>(upsert.getDatatype());
}

Status visit_rows(wire::Upsert::Reader upsert, Datatype datatype,
                  const std::function<Status(const RowView&)>& each) {
  auto ids = upsert.getIds();
  auto metadata = upsert.getMetadata();
  auto cells = upsert.getCells();
  auto versions = upsert.getVersions();
  std::string_view values = view(upsert.getValues());
  size_t row_bytes = upsert.getDimension() * element_bytes(datatype);
  auto fits = [&](size_t size) { return size == 0 || size == ids.size(); };
  if (metadata.size() != ids.size() || values.size() != ids.size() * row_bytes ||
      !fits(cells.size()) || !fits(versions.size())) {
    return corruption("an upsert command's columns differ in length");
  }
  for (unsigned i = 0; i < ids.size(); ++i) {
    RowView row{view(ids[i]), values.substr(i * row_bytes, row_bytes), view(metadata[i]),
                cells.size() > 0 ? cells[i] : 0, versions.size() > 0 ? versions[i] : 0};
    JADE_RETURN_IF_ERROR(each(row));
  }
  return {};
}

Status visit_upsert(wire::Upsert::Reader upsert, const CommandVisitor& visitor) {
  auto datatype = read_datatype(upsert);
  if (!datatype.ok()) return datatype.status();
  JADE_RETURN_IF_ERROR(
      visitor.begin_upsert(upsert.getIds().size(), upsert.getDimension(), *datatype));
  return visit_rows(upsert, *datatype, visitor.upsert_row);
}

std::map<uint64_t, uint64_t> read_map(capnp::List<uint64_t>::Reader keys,
                                      capnp::List<uint64_t>::Reader values) {
  std::map<uint64_t, uint64_t> out;
  if (keys.size() != values.size()) return out;
  for (unsigned i = 0; i < keys.size(); ++i) out[keys[i]] = values[i];
  return out;
}

template <class Builder>
void write_map(Builder out, const std::map<uint64_t, uint64_t>& map) {
  auto keys = out.initAfterGroups(static_cast<unsigned>(map.size()));
  auto values = out.initAfterIndexes(static_cast<unsigned>(map.size()));
  unsigned i = 0;
  for (auto [key, value] : map) {
    keys.set(i, key);
    values.set(i++, value);
  }
}

Status visit_forward(wire::Forward::Reader in, const CommandVisitor& visitor) {
  ForwardCommand command;
  command.home = in.getHome();
  command.term = in.getTerm();
  command.sequence = in.getSequence();
  command.dimension = in.getTake().getDimension();
  auto datatype = read_datatype(in.getTake());
  if (!datatype.ok()) return datatype.status();
  command.datatype = *datatype;
  JADE_RETURN_IF_ERROR(visit_rows(in.getTake(), *datatype, [&](const RowView& row) {
    command.take.push_back(row);
    return Status();
  }));
  auto ids = in.getGiveUp().getIds();
  auto before = in.getGiveUp().getRows();
  if (ids.size() != before.size()) {
    return corruption("a forward command's columns differ in length");
  }
  for (unsigned i = 0; i < ids.size(); ++i) command.give_up.push_back({view(ids[i]), before[i]});
  command.after = read_map(in.getAfterGroups(), in.getAfterIndexes());
  return visitor.forward(command);
}

Status visit_reroute(wire::Reroute::Reader in, const CommandVisitor& visitor) {
  RerouteCommand command;
  command.router = in.getRouter();
  for (auto id : in.getIds()) command.ids.emplace_back(view(id));
  command.versions = read_numbers(in.getVersions());
  command.cells = read_numbers(in.getCells());
  if (command.versions.size() != command.ids.size() || command.cells.size() != command.ids.size()) {
    return corruption("a reroute command's columns differ in length");
  }
  return visitor.reroute(command);
}

Result<UpdateCommand> read(wire::Update::Reader in) {
  if (in.getDatatype() > static_cast<uint8_t>(datatype_max)) {
    return corruption("an update command has values of an unknown datatype");
  }
  UpdateCommand out;
  out.dimension = in.getDimension();
  out.datatype = static_cast<Datatype>(in.getDatatype());
  out.metadata_bytes_max = in.getMetadataBytesMax();
  out.router = in.getRouter();
  const auto ids = in.getIds();
  const auto metadata = in.getMetadata();
  const auto values = in.getValues();
  const auto without = in.getWithout();
  const auto places = in.getPlaces();
  const auto cells = in.getCells();
  const auto n = ids.size();
  const size_t row_bytes = out.dimension * element_bytes(out.datatype);
  if (metadata.size() != n || values.size() != n || without.size() != n || places.size() != n ||
      cells.size() != n) {
    return corruption("an update command's columns differ in length");
  }
  std::set<std::string_view> seen;
  for (unsigned i = 0; i < n; ++i) {
    UpdateCommand::Row row{std::string(view(ids[i])),
                           std::string(view(metadata[i])),
                           std::string(view(values[i])),
                           without[i],
                           places[i],
                           cells[i]};
    bool fits = row.values.empty() || row.values.size() == row_bytes;
    if (!fits || row.place >= update_rows_max || !seen.insert(view(ids[i])).second) {
      return corruption("an update command has a row of a wrong form");
    }
    out.rows.push_back(std::move(row));
  }
  return out;
}

Status visit_update(wire::Update::Reader in, const CommandVisitor& visitor) {
  auto command = read(in);
  return command.ok() ? visitor.update(*command) : command.status();
}

Status visit_delete(wire::Delete::Reader in, const CommandVisitor& visitor) {
  DeleteCommand command;
  for (auto id : in.getIds()) command.ids.emplace_back(view(id));
  for (uint64_t row : in.getRows()) command.rows.push_back(row);
  command.trim = in.getTrim();
  if (!command.rows.empty() && command.rows.size() != command.ids.size()) {
    return corruption("a delete command's columns differ in length");
  }
  return visitor.erase(command);
}

}  // namespace

std::string encode(const UpsertCommand& command, RequestId request) {
  size_t words = 64 + request.id.size() / 8 + command.values.size() / 8 + command.ids.size() * 8;
  for (const auto& m : command.metadata) words += m.size() / 8 + 1;
  for (const auto& id : command.ids) words += id.size() / 8 + 1;
  capnp::MallocMessageBuilder message(static_cast<unsigned>(words));
  auto root = message.initRoot<wire::Command>();
  write(root, request);
  auto out = root.initUpsert();
  out.setDimension(command.dimension);
  out.setDatatype(static_cast<uint8_t>(command.datatype));
  out.setValues(as_data(command.values));
  auto ids = out.initIds(static_cast<unsigned>(command.ids.size()));
  auto metadata = out.initMetadata(static_cast<unsigned>(command.ids.size()));
  for (unsigned i = 0; i < ids.size(); ++i) {
    ids.set(i, as_data(command.ids[i]));
    metadata.set(i, as_text(command.metadata[i]));
  }
  write_numbers(out.initCells(static_cast<unsigned>(command.cells.size())), command.cells);
  out.setRouter(command.router);
  return to_bytes(message);
}

std::string encode(const UpdateCommand& command, RequestId request) {
  size_t words = 64 + request.id.size() / 8;
  for (const auto& row : command.rows) {
    words += 16 + (row.id.size() + row.metadata.size() + row.values.size()) / 8;
  }
  capnp::MallocMessageBuilder message(static_cast<unsigned>(words));
  auto root = message.initRoot<wire::Command>();
  write(root, request);
  auto out = root.initUpdate();
  out.setDimension(command.dimension);
  out.setDatatype(static_cast<uint8_t>(command.datatype));
  out.setMetadataBytesMax(command.metadata_bytes_max);
  out.setRouter(command.router);
  const auto n = static_cast<unsigned>(command.rows.size());
  auto ids = out.initIds(n);
  auto metadata = out.initMetadata(n);
  auto values = out.initValues(n);
  auto without = out.initWithout(n);
  auto places = out.initPlaces(n);
  auto cells = out.initCells(n);
  for (unsigned i = 0; i < n; ++i) {
    const UpdateCommand::Row& row = command.rows[i];
    ids.set(i, as_data(row.id));
    metadata.set(i, as_text(row.metadata));
    values.set(i, as_data(row.values));
    without.set(i, row.without);
    places.set(i, row.place);
    cells.set(i, row.cell);
  }
  return to_bytes(message);
}

std::string encode(const DeleteCommand& command, RequestId request) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<wire::Command>();
  write(root, request);
  auto out = root.initDelete();
  auto ids = out.initIds(static_cast<unsigned>(command.ids.size()));
  for (unsigned i = 0; i < ids.size(); ++i) ids.set(i, as_data(command.ids[i]));
  auto rows = out.initRows(static_cast<unsigned>(command.rows.size()));
  for (unsigned i = 0; i < rows.size(); ++i) rows.set(i, command.rows[i]);
  out.setTrim(command.trim);
  return to_bytes(message);
}

std::string encode(const SealCommand& command) {
  capnp::MallocMessageBuilder message;
  message.initRoot<wire::Command>().initSeal().setSegment(command.segment);
  return to_bytes(message);
}

std::string encode(const MergeCommand& command) {
  capnp::MallocMessageBuilder message;
  write(message.initRoot<wire::Command>().initMerge(), command);
  return to_bytes(message);
}

std::string encode(const PlacedCommand& command) {
  capnp::MallocMessageBuilder message;
  message.initRoot<wire::Command>().setPlaced(command.version);
  return to_bytes(message);
}

std::string encode(const SplitCommand& command) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Command>().initSplit();
  out.setChild(command.child);
  out.setAt(command.at);
  return to_bytes(message);
}

std::string encode(const SplitEndCommand& command) {
  capnp::MallocMessageBuilder message;
  message.initRoot<wire::Command>().setSplitEnd(command.child);
  return to_bytes(message);
}

std::string encode(const ForwardCommand& command) {
  size_t words = 256;
  for (const RowView& row : command.take) {
    words += (row.id.size() + row.values.size() + row.metadata.size()) / 8 + 12;
  }
  capnp::MallocMessageBuilder message(static_cast<unsigned>(words));
  auto out = message.initRoot<wire::Command>().initForward();
  out.setHome(command.home);
  out.setTerm(command.term);
  out.setSequence(command.sequence);
  auto take = out.initTake();
  take.setDimension(command.dimension);
  take.setDatatype(static_cast<uint8_t>(command.datatype));
  auto rows = static_cast<unsigned>(command.take.size());
  auto ids = take.initIds(rows);
  auto metadata = take.initMetadata(rows);
  auto versions = take.initVersions(rows);
  size_t row_bytes = command.dimension * element_bytes(command.datatype);
  auto values = take.initValues(static_cast<unsigned>(rows * row_bytes));
  for (unsigned i = 0; i < rows; ++i) {
    const RowView& row = command.take[i];
    JADE_ASSERT(row.values.size() == row_bytes);
    ids.set(i, as_data(row.id));
    versions.set(i, row.version);
    std::copy(row.values.begin(), row.values.end(), values.begin() + i * row_bytes);
    auto text = metadata.init(i, static_cast<unsigned>(row.metadata.size()));
    std::copy(row.metadata.begin(), row.metadata.end(), text.begin());
  }
  auto give_up = out.initGiveUp();
  auto leaving = static_cast<unsigned>(command.give_up.size());
  auto leaving_ids = give_up.initIds(leaving);
  auto before = give_up.initRows(leaving);
  for (unsigned i = 0; i < leaving; ++i) {
    leaving_ids.set(i, as_data(command.give_up[i].id));
    before.set(i, command.give_up[i].before);
  }
  write_map(out, command.after);
  return to_bytes(message);
}

std::string encode(const ForwardedCommand& command) {
  capnp::MallocMessageBuilder message;
  message.initRoot<wire::Command>().setForwarded(command.through);
  return to_bytes(message);
}

std::string encode(const RouteCommand& command) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Command>().initRoute();
  out.setRouter(command.router);
  out.setStep(static_cast<uint8_t>(command.step));
  return to_bytes(message);
}

std::string encode(const RerouteCommand& command) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Command>().initReroute();
  out.setRouter(command.router);
  auto rows = static_cast<unsigned>(command.ids.size());
  auto ids = out.initIds(rows);
  for (unsigned i = 0; i < rows; ++i) ids.set(i, as_data(command.ids[i]));
  auto length = [](const auto& list) { return static_cast<unsigned>(list.size()); };
  write_numbers(out.initVersions(length(command.versions)), command.versions);
  write_numbers(out.initCells(length(command.cells)), command.cells);
  return to_bytes(message);
}

Result<CommandHead> head_of_command(std::string_view bytes) {
  return decode_as("a log entry", [&]() -> Result<CommandHead> {
    Reader reader(bytes);
    auto command = reader.root<wire::Command>();
    CommandHead head;
    head.request = view(command.getRequest());
    if (command.isUpsert()) {
      head.is_routed = true;
      head.router = command.getUpsert().getRouter();
    } else if (command.isUpdate()) {
      for (uint64_t cell : command.getUpdate().getCells()) {
        head.is_routed = head.is_routed || cell != 0;
      }
      head.router = command.getUpdate().getRouter();
    }
    return head;
  });
}

Status visit_command(std::string_view bytes, const CommandVisitor& visitor) {
  return decode_as("a log entry", [&]() -> Status {
    Reader reader(bytes);
    auto command = reader.root<wire::Command>();
    RequestId request{view(command.getRequest()), command.getFingerprint()};
    if (!request.id.empty() && visitor.begin && !visitor.begin(request)) return {};
    switch (command.which()) {
      case wire::Command::UPSERT: return visit_upsert(command.getUpsert(), visitor);
      case wire::Command::UPDATE:
        if (visitor.update) return visit_update(command.getUpdate(), visitor);
        break;
      case wire::Command::DELETE: return visit_delete(command.getDelete(), visitor);
      case wire::Command::SEAL: return visitor.seal({command.getSeal().getSegment()});
      case wire::Command::MERGE: return visitor.merge(read(command.getMerge()));
      case wire::Command::PLACED: return visitor.placed({command.getPlaced()});
      case wire::Command::SPLIT:
        return visitor.split({command.getSplit().getChild(), command.getSplit().getAt()});
      case wire::Command::SPLIT_END: return visitor.split_end({command.getSplitEnd()});
      case wire::Command::FORWARD:
        if (visitor.forward) return visit_forward(command.getForward(), visitor);
        break;
      case wire::Command::FORWARDED:
        if (visitor.forwarded) return visitor.forwarded({command.getForwarded()});
        break;
      case wire::Command::ROUTE: {
        auto step = static_cast<RouteStep>(command.getRoute().getStep());
        if (step > RouteStep::done) break;
        if (visitor.route) return visitor.route({command.getRoute().getRouter(), step});
        break;
      }
      case wire::Command::REROUTE:
        if (visitor.reroute) return visit_reroute(command.getReroute(), visitor);
        break;
    }
    return corruption("a log entry holds a command of an unknown kind");
  });
}

std::string encode_record(std::string_view id, std::string_view values, std::string_view metadata) {
  capnp::word scratch[512] = {};
  capnp::MallocMessageBuilder message(kj::arrayPtr(scratch, 512));
  auto out = message.initRoot<wire::Record>();
  out.setId(as_data(id));
  out.setValues(as_data(values));
  // A view need not end in the zero byte that Text wants.
  auto target = out.initMetadata(static_cast<unsigned>(metadata.size()));
  std::memcpy(target.begin(), metadata.data(), metadata.size());
  return to_bytes(message);
}

Result<Record> decode_record(std::string_view bytes) {
  return decode_as("a record", [&]() -> Result<Record> {
    Reader reader(bytes);
    auto record = reader.root<wire::Record>();
    return Record{std::string(view(record.getId())), std::string(view(record.getValues())),
                  std::string(view(record.getMetadata()))};
  });
}

std::string encode_home_record(const RowView& row, uint64_t from) {
  capnp::word scratch[512] = {};
  capnp::MallocMessageBuilder message(kj::arrayPtr(scratch, 512));
  auto out = message.initRoot<wire::HomeRecord>();
  out.setId(as_data(row.id));
  out.setValues(as_data(row.values));
  auto target = out.initMetadata(static_cast<unsigned>(row.metadata.size()));
  std::copy(row.metadata.begin(), row.metadata.end(), target.begin());
  out.setVersion(row.version);
  out.setCell(row.cell);
  out.setFrom(from);
  out.setValued(row.valued);
  return to_bytes(message);
}

Result<HomeRecord> decode_home_record(std::string_view bytes) {
  return decode_as("a record", [&]() -> Result<HomeRecord> {
    Reader reader(bytes);
    auto record = reader.root<wire::HomeRecord>();
    return HomeRecord{std::string(view(record.getId())),
                      std::string(view(record.getValues())),
                      std::string(view(record.getMetadata())),
                      record.getVersion(),
                      record.getCell(),
                      record.getFrom(),
                      record.getValued() != 0 ? record.getValued() : record.getVersion()};
  });
}

namespace {

void write(wire::Cells::Builder out, const CellsMeta& cells) {
  out.setNextVersion(cells.next_version);
  out.setVectors(cells.vectors);
  out.setAnnounced(cells.announced);
  out.setFollowed(cells.followed);
  out.setDone(cells.done);
  auto homes = out.initHomes(static_cast<unsigned>(cells.homes.size()));
  unsigned i = 0;
  for (const auto& [group, last] : cells.homes) {
    homes[i].setGroup(group);
    homes[i].setTerm(last.first);
    homes[i++].setSequence(last.second);
  }
  write_map(out, cells.after);
}

CellsMeta read(wire::Cells::Reader in) {
  CellsMeta out;
  out.next_version = std::max<uint64_t>(1, in.getNextVersion());
  out.vectors = in.getVectors();
  out.announced = in.getAnnounced();
  out.followed = in.getFollowed();
  out.done = in.getDone();
  for (auto home : in.getHomes()) {
    out.homes[home.getGroup()] = {home.getTerm(), home.getSequence()};
  }
  out.after = read_map(in.getAfterGroups(), in.getAfterIndexes());
  return out;
}

}  // namespace

std::string encode(const ShardStateMeta& state) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::ShardState>();
  out.setAppliedIndex(state.applied_index);
  out.setAppliedTerm(state.applied_term);
  out.setNextRow(state.next_row);
  out.setNextSegment(state.next_segment);
  auto segments = out.initSegments(static_cast<unsigned>(state.segments.size()));
  for (unsigned i = 0; i < segments.size(); ++i) {
    segments[i].setId(state.segments[i].id);
    segments[i].setBeginRow(state.segments[i].begin_row);
    segments[i].setEndRow(state.segments[i].end_row);
    segments[i].setBuilt(state.segments[i].built);
  }
  auto merges = out.initMerges(static_cast<unsigned>(state.merges.size()));
  for (unsigned i = 0; i < merges.size(); ++i) write(merges[i], state.merges[i]);
  out.setPlaced(state.placed);
  out.setHashEnd(state.hash_end);
  out.setLastChild(state.last_child);
  if (state.split.child != 0) {
    auto split = out.initSplit();
    split.setChild(state.split.child);
    split.setAt(state.split.at);
    split.setIndex(state.split.index);
    split.setTerm(state.split.term);
    split.setNextRow(state.split.next_row);
    split.setEnd(state.split.end);
    split.setTrimming(state.split.trimming);
  }
  // Written with every entry: not where it says nothing.
  if (state.cells.next_version > 1 || state.cells.announced > 0 || !state.cells.homes.empty()) {
    write(out.initCells(), state.cells);
  }
  return to_bytes(message);
}

Result<ShardStateMeta> decode_shard_state(std::string_view bytes) {
  return decode_as("a shard's state", [&]() -> Result<ShardStateMeta> {
    Reader reader(bytes);
    auto in = reader.root<wire::ShardState>();
    ShardStateMeta out;
    out.applied_index = in.getAppliedIndex();
    out.applied_term = in.getAppliedTerm();
    out.next_row = in.getNextRow();
    out.next_segment = in.getNextSegment();
    for (auto segment : in.getSegments()) {
      out.segments.push_back(
          {segment.getId(), segment.getBeginRow(), segment.getEndRow(), segment.getBuilt()});
    }
    for (auto merge : in.getMerges()) out.merges.push_back(read(merge));
    out.placed = in.getPlaced();
    out.hash_end = in.getHashEnd();
    out.last_child = in.getLastChild();
    auto split = in.getSplit();
    out.split = {split.getChild(),   split.getAt(),  split.getIndex(),   split.getTerm(),
                 split.getNextRow(), split.getEnd(), split.getTrimming()};
    out.cells = read(in.getCells());
    return out;
  });
}

namespace {

struct CommandWriter {
  wire::CatalogCommand::Builder out;

  void operator()(const DatabaseRecord& create) { write(out.initCreate(), create); }
  void operator()(const DropRecord& drop) { out.setDrop(as_text(drop.name)); }
  void operator()(const NodeRecord& join) { write(out.initJoin(), join); }
  void operator()(const DrainRecord& drain) {
    auto to = out.initDrain();
    to.setNode(drain.node);
    to.setDraining(drain.draining);
  }
  void operator()(const RemoveRecord& remove) { out.setRemove(remove.node); }
  void operator()(const ReplicasRecord& replicas) {
    auto to = out.initReplicas();
    to.setDatabase(as_text(replicas.database));
    to.setReplicas(replicas.replicas);
  }
  void operator()(const ReindexRecord& reindex) {
    auto to = out.initReindex();
    write(to.initTo(), reindex.to);
    to.setFields(reindex.fields);
  }
  void operator()(const ShardRecord& place) { write(out.initPlace(), place); }
  void operator()(const FoundRecord& found) {
    write_numbers(out.initFound(static_cast<unsigned>(found.groups.size())), found.groups);
  }
  void operator()(const SplitRecord& split) {
    auto to = out.initSplit();
    to.setGroup(split.group);
    to.setStep(static_cast<uint8_t>(split.step));
    to.setDatabase(as_text(split.database));
  }
  void operator()(const RouteRecord& route) {
    auto to = out.initRoute();
    to.setDatabase(as_text(route.database));
    to.setGroup(route.group);
    to.setStep(static_cast<uint8_t>(route.step));
    to.setRouter(route.router);
    to.setCentres(as_data(route.centres));
    to.setVectors(route.vectors);
  }
  void operator()(const LivesRecord& live) {
    auto to = out.initLive();
    to.setNode(live.node);
    auto lives = to.initLives(static_cast<unsigned>(live.lives.size()));
    for (unsigned i = 0; i < lives.size(); ++i) write(lives[i], live.lives[i]);
  }
};

CatalogCommand read(wire::CatalogCommand::Reader in) {
  switch (in.which()) {
    case wire::CatalogCommand::CREATE: return read(in.getCreate());
    case wire::CatalogCommand::DROP: return DropRecord{std::string(view(in.getDrop()))};
    case wire::CatalogCommand::JOIN: return read(in.getJoin());
    case wire::CatalogCommand::DRAIN:
      return DrainRecord{in.getDrain().getNode(), in.getDrain().getDraining()};
    case wire::CatalogCommand::REMOVE: return RemoveRecord{in.getRemove()};
    case wire::CatalogCommand::REPLICAS:
      return ReplicasRecord{std::string(view(in.getReplicas().getDatabase())),
                            in.getReplicas().getReplicas()};
    case wire::CatalogCommand::PLACE: return read(in.getPlace());
    case wire::CatalogCommand::REINDEX:
      return ReindexRecord{read(in.getReindex().getTo()), in.getReindex().getFields()};
    case wire::CatalogCommand::FOUND: return FoundRecord{read_numbers(in.getFound())};
    case wire::CatalogCommand::SPLIT:
      return SplitRecord{in.getSplit().getGroup(), static_cast<SplitStep>(in.getSplit().getStep()),
                         std::string(view(in.getSplit().getDatabase()))};
    case wire::CatalogCommand::ROUTE: {
      auto route = in.getRoute();
      return RouteRecord{std::string(view(route.getDatabase())),  route.getGroup(),
                         static_cast<RouteStep>(route.getStep()), route.getRouter(),
                         std::string(view(route.getCentres())),   route.getVectors()};
    }
    case wire::CatalogCommand::LIVE: return read(in.getLive());
  }
  return DropRecord{};  // of an unknown kind
}

struct NamesNothing {
  bool operator()(const DatabaseRecord& create) const { return create.name.empty(); }
  bool operator()(const DropRecord& drop) const { return drop.name.empty(); }
  bool operator()(const NodeRecord& join) const { return join.id == 0; }
  bool operator()(const DrainRecord& drain) const { return drain.node == 0; }
  bool operator()(const RemoveRecord& remove) const { return remove.node == 0; }
  bool operator()(const ReplicasRecord& replicas) const { return replicas.database.empty(); }
  bool operator()(const ReindexRecord& reindex) const { return reindex.to.name.empty(); }
  bool operator()(const ShardRecord& place) const { return place.group == 0; }
  bool operator()(const FoundRecord& found) const { return found.groups.empty(); }
  bool operator()(const SplitRecord& split) const {
    return split.group == 0 || split.step > SplitStep::end;
  }
  bool operator()(const RouteRecord& route) const {
    return route.database.empty() || route.step > RouteStep::done;
  }
  bool operator()(const LivesRecord& live) const {
    return live.node == 0 || live.lives.empty() || live.lives.back().id == 0;
  }
};

}  // namespace

std::string encode(const CatalogCommand& command) {
  capnp::MallocMessageBuilder message;
  std::visit(CommandWriter{message.initRoot<wire::CatalogCommand>()}, command);
  return to_bytes(message);
}

Result<CatalogCommand> decode_catalog_command(std::string_view bytes) {
  return decode_as("a catalog command", [&]() -> Result<CatalogCommand> {
    Reader reader(bytes);
    Result<CatalogCommand> out(read(reader.root<wire::CatalogCommand>()));
    if (std::visit(NamesNothing(), *out)) return corruption("a catalog command names nothing");
    return out;
  });
}

std::string encode(const CatalogState& state) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::CatalogState>();
  out.setVersion(state.version);
  out.setNextGroup(state.next_group);
  auto databases = out.initDatabases(static_cast<unsigned>(state.databases.size()));
  for (unsigned i = 0; i < databases.size(); ++i) write(databases[i], state.databases[i]);
  auto nodes = out.initNodes(static_cast<unsigned>(state.nodes.size()));
  for (unsigned i = 0; i < nodes.size(); ++i) write(nodes[i], state.nodes[i]);
  write_numbers(out.initRemoved(static_cast<unsigned>(state.removed.size())), state.removed);
  return to_bytes(message);
}

Result<CatalogState> decode_catalog_state(std::string_view bytes) {
  return decode_as("the catalog", [&]() -> Result<CatalogState> {
    Reader reader(bytes);
    auto in = reader.root<wire::CatalogState>();
    CatalogState out;
    out.version = in.getVersion();
    out.next_group = in.getNextGroup();
    for (auto database : in.getDatabases()) out.databases.push_back(read(database));
    for (auto node : in.getNodes()) out.nodes.push_back(read(node));
    out.removed = read_numbers(in.getRemoved());
    return out;
  });
}

}  // namespace jade
