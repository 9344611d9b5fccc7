#include "storage/record.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <cstring>

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

void write(wire::Node::Builder out, const NodeRecord& node) {
  out.setId(node.id);
  out.setName(as_text(node.name));
  out.setAddress(as_text(node.address));
  out.setApiAddress(as_text(node.api_address));
}

NodeRecord read(wire::Node::Reader in) {
  return {in.getId(), std::string(view(in.getName())), std::string(view(in.getAddress())),
          std::string(view(in.getApiAddress()))};
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
  out.setEmbedder(as_text(database.embedder));
  out.setReplicas(database.replicas);
  auto shards = out.initShards(static_cast<unsigned>(database.shards.size()));
  for (unsigned i = 0; i < shards.size(); ++i) {
    shards[i].setGroup(database.shards[i].group);
    const auto& from = database.shards[i].nodes;
    auto nodes = shards[i].initNodes(static_cast<unsigned>(from.size()));
    for (unsigned j = 0; j < nodes.size(); ++j) nodes.set(j, from[j]);
  }
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
  out.embedder = view(in.getEmbedder());
  out.replicas = in.getReplicas();
  for (auto shard : in.getShards()) {
    DatabaseRecord::Shard copy;
    copy.group = shard.getGroup();
    for (uint64_t node : shard.getNodes()) copy.nodes.push_back(node);
    out.shards.push_back(std::move(copy));
  }
  return out;
}

Status visit_upsert(wire::Upsert::Reader upsert, const CommandVisitor& visitor) {
  auto ids = upsert.getIds();
  auto metadata = upsert.getMetadata();
  std::string_view values = view(upsert.getValues());
  size_t row_bytes = size_t{upsert.getDimension()} * sizeof(float);
  if (metadata.size() != ids.size() || values.size() != ids.size() * row_bytes) {
    return corruption("an upsert command's columns differ in length");
  }
  JADE_RETURN_IF_ERROR(visitor.begin_upsert(ids.size(), upsert.getDimension()));
  for (unsigned i = 0; i < ids.size(); ++i) {
    RowView row{view(ids[i]), values.substr(i * row_bytes, row_bytes), view(metadata[i])};
    JADE_RETURN_IF_ERROR(visitor.upsert_row(row));
  }
  return {};
}

Status visit_delete(wire::Delete::Reader in, const CommandVisitor& visitor) {
  DeleteCommand command;
  for (auto id : in.getIds()) command.ids.emplace_back(view(id));
  for (uint64_t row : in.getRows()) command.rows.push_back(row);
  if (!command.rows.empty() && command.rows.size() != command.ids.size()) {
    return corruption("a delete command's columns differ in length");
  }
  return visitor.erase(command);
}

}  // namespace

std::string encode(const UpsertCommand& command) {
  size_t words = 64 + command.values.size() / 8 + command.ids.size() * 8;
  for (const auto& m : command.metadata) words += m.size() / 8 + 1;
  for (const auto& id : command.ids) words += id.size() / 8 + 1;
  capnp::MallocMessageBuilder message(static_cast<unsigned>(words));
  auto out = message.initRoot<wire::Command>().initUpsert();
  out.setDimension(command.dimension);
  out.setValues(as_data(command.values));
  auto ids = out.initIds(static_cast<unsigned>(command.ids.size()));
  auto metadata = out.initMetadata(static_cast<unsigned>(command.ids.size()));
  for (unsigned i = 0; i < ids.size(); ++i) {
    ids.set(i, as_data(command.ids[i]));
    metadata.set(i, as_text(command.metadata[i]));
  }
  return to_bytes(message);
}

std::string encode(const DeleteCommand& command) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Command>().initDelete();
  auto ids = out.initIds(static_cast<unsigned>(command.ids.size()));
  for (unsigned i = 0; i < ids.size(); ++i) ids.set(i, as_data(command.ids[i]));
  auto rows = out.initRows(static_cast<unsigned>(command.rows.size()));
  for (unsigned i = 0; i < rows.size(); ++i) rows.set(i, command.rows[i]);
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

Status visit_command(std::string_view bytes, const CommandVisitor& visitor) {
  return decode_as("a log entry", [&]() -> Status {
    Reader reader(bytes);
    auto command = reader.root<wire::Command>();
    switch (command.which()) {
      case wire::Command::UPSERT: return visit_upsert(command.getUpsert(), visitor);
      case wire::Command::DELETE: return visit_delete(command.getDelete(), visitor);
      case wire::Command::SEAL: return visitor.seal({command.getSeal().getSegment()});
      case wire::Command::MERGE: return visitor.merge(read(command.getMerge()));
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
    return out;
  });
}

std::string encode(const CatalogCommand& command) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::CatalogCommand>();
  if (command.join.id != 0) {
    write(out.initJoin(), command.join);
  } else if (command.create.name.empty()) {
    out.setDrop(as_text(command.drop));
  } else {
    write(out.initCreate(), command.create);
  }
  return to_bytes(message);
}

Result<CatalogCommand> decode_catalog_command(std::string_view bytes) {
  return decode_as("a catalog command", [&]() -> Result<CatalogCommand> {
    Reader reader(bytes);
    auto in = reader.root<wire::CatalogCommand>();
    CatalogCommand out;
    switch (in.which()) {
      case wire::CatalogCommand::CREATE: out.create = read(in.getCreate()); break;
      case wire::CatalogCommand::DROP: out.drop = view(in.getDrop()); break;
      case wire::CatalogCommand::JOIN: out.join = read(in.getJoin()); break;
      default: return corruption("a catalog command is of an unknown kind");
    }
    if (out.create.name.empty() && out.drop.empty() && out.join.id == 0) {
      return corruption("a catalog command names nothing");
    }
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
    return out;
  });
}

}  // namespace jade
