#include "storage/record.h"

#include <doctest/doctest.h>

#include <random>

namespace jade {
namespace {

// What a command says, as text; or why it cannot be read.
std::string describe(std::string_view bytes) {
  std::string out;
  auto number = [&out](uint64_t n) { out += std::to_string(n) + " "; };
  CommandVisitor visitor;
  visitor.begin_upsert = [&](size_t rows, uint32_t dimension, Datatype datatype) {
    out += "upsert ";
    if (datatype != Datatype::float32) number(static_cast<uint64_t>(datatype));
    number(rows);
    number(dimension);
    return Status();
  };
  visitor.upsert_row = [&](const RowView& row) {
    out += std::string(row.id) + "=" + std::string(row.values) + std::string(row.metadata) + " ";
    return Status();
  };
  visitor.update = [&](const UpdateCommand& command) {
    out += "update ";
    number(command.dimension);
    number(static_cast<uint64_t>(command.datatype));
    number(command.metadata_bytes_max);
    number(command.router);
    for (const auto& row : command.rows) {
      out += row.id + "=" + row.values + row.metadata + " ";
      number(row.without);
      number(row.place);
      number(row.cell);
    }
    return Status();
  };
  visitor.erase = [&](const DeleteCommand& command) {
    out += "delete ";
    for (const std::string& id : command.ids) out += id + " ";
    for (uint64_t row : command.rows) number(row);
    return Status();
  };
  visitor.seal = [&](const SealCommand& command) {
    out += "seal ";
    number(command.segment);
    return Status();
  };
  visitor.merge = [&](const MergeCommand& command) {
    out += "merge ";
    number(command.segment);
    for (uint64_t source : command.sources) number(source);
    number(command.seed);
    return Status();
  };
  visitor.placed = [&](const PlacedCommand& command) {
    out += "placed ";
    number(command.version);
    return Status();
  };
  visitor.split = [&](const SplitCommand& command) {
    out += "split ";
    number(command.child);
    number(command.at);
    return Status();
  };
  visitor.split_end = [&](const SplitEndCommand& command) {
    out += "split_end ";
    number(command.child);
    return Status();
  };
  visitor.forward = [&](const ForwardCommand& command) {
    out += "forward ";
    number(command.home);
    number(command.term);
    number(command.sequence);
    for (const RowView& row : command.take) {
      out += std::string(row.id) + "=" + std::string(row.values) + std::string(row.metadata) + " ";
      number(row.version);
    }
    for (const auto& leaving : command.give_up) {
      out += "-" + std::string(leaving.id) + " ";
      number(leaving.before);
    }
    for (auto [group, index] : command.after) {
      number(group);
      number(index);
    }
    return Status();
  };
  visitor.forwarded = [&](const ForwardedCommand& command) {
    out += "forwarded ";
    number(command.through);
    return Status();
  };
  visitor.route = [&](const RouteCommand& command) {
    out += "route ";
    number(command.router);
    number(static_cast<uint64_t>(command.step));
    return Status();
  };
  visitor.reroute = [&](const RerouteCommand& command) {
    out += "reroute ";
    number(command.router);
    for (size_t i = 0; i < command.ids.size(); ++i) {
      out += command.ids[i] + " ";
      number(command.versions[i]);
      number(command.cells[i]);
    }
    return Status();
  };
  Status status = visit_command(bytes, visitor);
  return status.ok() ? out : status.to_string();
}

UpsertCommand sample_upsert() {
  return {
      2, {"a", "b", "c"}, "11112222333344445555666" + std::string("6"), {"", "{}", "{\"n\":1}"}};
}

ForwardCommand sample_forward() {
  ForwardCommand out;
  out.home = 4;
  out.term = 2;
  out.sequence = 9;
  out.dimension = 1;
  out.take = {{"a", "1111", "{}", 0, 7}, {"b", "2222", "", 0, UINT64_MAX}};
  out.give_up = {{"c", 8}};
  out.after = {{3, 30}, {5, 50}};
  return out;
}

RerouteCommand sample_reroute() { return {6, {"a", "b"}, {1, 2}, {3, 4}}; }

DatabaseRecord sample_database() {
  DatabaseRecord out;
  out.name = "docs";
  out.dimension = 384;
  out.metric = 1;
  out.index_kind = 2;
  out.m = 16;
  out.ef_construction = 200;
  out.ef_search = 64;
  out.nlist = 5;
  out.nprobe = 6;
  out.quantization = 1;
  out.vectors = 1;
  out.datatype = 2;
  out.named_vectors = {{"title", 128, 0, 1}, {"body", 768, 2, 0}};
  out.min_recall = 0.95;
  out.embedder = "lexical";
  out.replicas = 3;
  out.shard_key = "tenant";
  out.sharding = 1;
  out.probes = 2;
  out.router = {5, "12345678", 100, {7, 8}, {7, 8}};
  out.next_router = {9, "87654321", 800, {7}, {}};
  out.shards = {{7, {1, 2, 3}, {2}, {3}, 12, true, 4, 0, 8, 1u << 20, true, 0, 8},
                {8, {}, {}, {}, 0, false, 0, 1u << 20, 0, 0, false, 7, 0}};
  return out;
}

NodeRecord sample_node() { return {5, "n", "a:1", "b:2", true, 3, {77, 12}}; }

ShardStateMeta sample_state() {
  ShardStateMeta out{9,
                     2,
                     100,
                     5,
                     {{1, 0, 40, true}, {4, 40, 0, false}},
                     {{3, {1, 2}, 77}},
                     31,
                     1u << 30,
                     {8, 1u << 30, 7, 2, 90, UINT64_MAX, true},
                     8};
  out.cells = {12, 5, 4, 3, 2, {{7, {1, 9}}, {8, {2, 1}}}, {{7, 100}}};
  return out;
}

// Decodes what became of `bytes` after random damage: any answer will do, but
// there must be one.
template <class Decode>
void survive_mutations(const std::string& bytes, Decode decode) {
  std::mt19937 random(11);
  for (int i = 0; i < 1500; ++i) {
    std::string mutated = bytes;
    for (auto n = 1 + random() % 4; n > 0; --n) {
      size_t at = random() % mutated.size();
      switch (random() % 4) {
        case 0: mutated[at] = static_cast<char>(random()); break;
        case 1: mutated[at] = static_cast<char>(mutated[at] ^ 1 << random() % 8); break;
        case 2: mutated[at] = static_cast<char>(random() % 2 == 0 ? 0xff : 0); break;
        default: mutated.insert(at, 1, static_cast<char>(random()));
      }
    }
    decode(mutated);
  }
  for (size_t size = 0; size < bytes.size(); ++size) decode(bytes.substr(0, size));
}

}  // namespace

TEST_CASE("commands come back as they were, from any alignment") {
  DeleteCommand both{{"a", "b"}, {1, 2}};
  struct {
    std::string bytes, meaning;
  } commands[] = {
      {encode(sample_upsert()), "upsert 3 2 a=11112222 b=33334444{} c=55556666{\"n\":1} "},
      {encode(UpsertCommand{}), "upsert 0 0 "},
      {encode(DeleteCommand{{"a", "b"}, {}}), "delete a b "},
      {encode(both), "delete a b 1 2 "},
      {encode(SealCommand{12}), "seal 12 "},
      {encode(MergeCommand{9, {3, 4}, UINT64_MAX}), "merge 9 3 4 18446744073709551615 "},
      {encode(SplitCommand{7, UINT64_MAX}), "split 7 18446744073709551615 "},
      {encode(SplitEndCommand{7}), "split_end 7 "},
      {encode(sample_forward()),
       "forward 4 2 9 a=1111{} 7 b=2222 18446744073709551615 -c 8 3 30 5 50 "},
      {encode(ForwardedCommand{11}), "forwarded 11 "},
      {encode(RouteCommand{6, RouteStep::follow}), "route 6 1 "},
      {encode(sample_reroute()), "reroute 6 a 1 3 b 2 4 "}};
  for (const auto& [bytes, meaning] : commands) {
    for (size_t shift = 0; shift < 8; ++shift) {
      std::string shifted = std::string(shift, 'x') + bytes;
      CHECK(describe(std::string_view(shifted).substr(shift)) == meaning);
    }
  }
}

TEST_CASE("values are as long as their datatype says") {
  UpsertCommand upsert = sample_upsert();
  upsert.dimension = 4;
  upsert.datatype = Datatype::float16;
  CHECK(describe(encode(upsert)) == "upsert 1 3 4 a=11112222 b=33334444{} c=55556666{\"n\":1} ");
  upsert.dimension = 8;
  upsert.datatype = Datatype::uint8;
  CHECK(describe(encode(upsert)) == "upsert 2 3 8 a=11112222 b=33334444{} c=55556666{\"n\":1} ");
  upsert.datatype = Datatype::float32;
  CHECK(describe(encode(upsert)).find("corruption") == 0);
  upsert.datatype = static_cast<Datatype>(3);
  CHECK(describe(encode(upsert)) ==
        "corruption: an upsert command has values of an unknown datatype");

  ForwardCommand forward = sample_forward();
  forward.dimension = 4;
  forward.datatype = Datatype::uint8;
  Datatype found = Datatype::float32;
  CommandVisitor visitor;
  visitor.forward = [&](const ForwardCommand& command) {
    found = command.datatype;
    CHECK(command.take[1].values == "2222");
    return Status();
  };
  CHECK(visit_command(encode(forward), visitor).ok());
  CHECK(found == Datatype::uint8);
}

TEST_CASE("columns of different lengths are corruption") {
  UpsertCommand command = sample_upsert();
  command.values.pop_back();
  CHECK(describe(encode(command)) == "corruption: an upsert command's columns differ in length");
  command = sample_upsert();
  command.dimension = UINT32_MAX;
  CHECK(describe(encode(command)).find("corruption") == 0);
  CHECK(describe(encode(DeleteCommand{{"a", "b"}, {1}})) ==
        "corruption: a delete command's columns differ in length");
  command = sample_upsert();
  command.cells = {1};
  CHECK(describe(encode(command)).find("corruption") == 0);
  RerouteCommand reroute = sample_reroute();
  reroute.cells.pop_back();
  CHECK(describe(encode(reroute)).find("corruption") == 0);
  CHECK(describe(encode(RouteCommand{1, static_cast<RouteStep>(3)})).find("corruption") == 0);
}

TEST_CASE("an update says what is to be different of each row") {
  UpdateCommand command;
  command.dimension = 4;
  command.datatype = Datatype::uint8;
  command.metadata_bytes_max = 99;
  command.rows = {{"a", "{\"n\":null}", "", 0, 3}, {"b", "", "1234", 130, 255}};
  CHECK(describe(encode(command)) == "update 4 2 99 0 a={\"n\":null} 0 3 0 b=1234 130 255 0 ");
  CHECK_FALSE(head_of_command(encode(command))->is_routed);
  command.rows[1].cell = 7;
  command.router = 5;
  CHECK(describe(encode(command)) == "update 4 2 99 5 a={\"n\":null} 0 3 0 b=1234 130 255 7 ");
  CHECK(head_of_command(encode(command))->is_routed);
  CHECK(head_of_command(encode(command))->router == 5);
  for (int wrong = 0; wrong < 3; ++wrong) {
    UpdateCommand damaged = command;
    if (wrong == 0) damaged.rows[1].id = "a";
    if (wrong == 1) damaged.rows[1].values = "123";
    if (wrong == 2) damaged.rows[1].place = update_rows_max;
    CHECK(describe(encode(damaged)) == "corruption: an update command has a row of a wrong form");
  }
  // As many as there may be, each as long as they may be.
  command.rows.clear();
  for (uint32_t i = 0; i < update_rows_max; ++i) {
    command.rows.push_back({std::to_string(i), std::string(65536, 'x'), "1234", 0, i, 1});
  }
  CHECK(describe(encode(command)).size() > 256 * 65536);
}

TEST_CASE("an upsert names the cell of each row, and its head the router") {
  UpsertCommand command = sample_upsert();
  command.cells = {4, 5, 6};
  command.router = 12;
  std::string bytes = encode(command, {"key", 1});
  std::vector<uint64_t> cells;
  CommandVisitor visitor;
  visitor.begin_upsert = [](size_t, uint32_t, Datatype) { return Status(); };
  visitor.upsert_row = [&](const RowView& row) {
    cells.push_back(row.cell);
    return Status();
  };
  REQUIRE(visit_command(bytes, visitor).ok());
  CHECK(cells == command.cells);
  auto head = head_of_command(bytes);
  REQUIRE(head.ok());
  CHECK(head->is_routed);
  CHECK(head->router == 12);
  CHECK(head->request == "key");
  head = head_of_command(encode(SealCommand{1}));
  REQUIRE(head.ok());
  CHECK_FALSE(head->is_routed);
  CHECK(head->request.empty());
  // A state machine that knows of no cells.
  CHECK(visit_command(encode(sample_forward()), visitor).code() == Code::corruption);
}

TEST_CASE("a visitor's failure is the result and ends the visit") {
  int rows = 0;
  CommandVisitor visitor;
  visitor.begin_upsert = [](size_t, uint32_t, Datatype) { return Status(); };
  visitor.upsert_row = [&rows](const RowView&) {
    return ++rows == 2 ? unavailable("enough") : Status();
  };
  CHECK(visit_command(encode(sample_upsert()), visitor).message() == "enough");
  CHECK(rows == 2);
}

TEST_CASE("records, states and catalogs come back as they were") {
  using namespace std::string_literals;
  for (size_t size : {0, 1, 4, 6000}) {
    auto record = decode_record(encode_record("k\0y"s, std::string(size, 'v'), "{\"a\":1}"));
    REQUIRE(record.ok());
    CHECK(record->id == "k\0y"s);
    CHECK(record->values == std::string(size, 'v'));
    CHECK(record->metadata == "{\"a\":1}");
  }
  auto home = decode_home_record(encode_home_record({"id", "1234", "{}", 5, 6}, 7));
  REQUIRE(home.ok());
  CHECK(home->id == "id");
  CHECK(home->values == "1234");
  CHECK(home->metadata == "{}");
  CHECK(home->cell == 5);
  CHECK(home->version == 6);
  CHECK(home->from == 7);
  auto state = decode_shard_state(encode(sample_state()));
  REQUIRE(state.ok());
  CHECK(state->cells.next_version == 12);
  CHECK(state->cells.vectors == 5);
  CHECK(state->cells.announced == 4);
  CHECK(state->cells.followed == 3);
  CHECK(state->cells.done == 2);
  CHECK(state->cells.homes == sample_state().cells.homes);
  CHECK(state->cells.after == sample_state().cells.after);
  CHECK(state->applied_index == 9);
  CHECK(state->applied_term == 2);
  CHECK(state->next_row == 100);
  CHECK(state->next_segment == 5);
  REQUIRE(state->segments.size() == 2);
  CHECK(state->segments[0].id == 1);
  CHECK(state->segments[0].end_row == 40);
  CHECK(state->segments[0].built);
  CHECK(state->segments[1].begin_row == 40);
  CHECK(!state->segments[1].built);
  REQUIRE(state->merges.size() == 1);
  CHECK(state->merges[0].sources == std::vector<uint64_t>{1, 2});
  CHECK(state->merges[0].seed == 77);
  CHECK(state->placed == 31);
  auto catalog = decode_catalog_state(
      encode(CatalogState{4, 9, {sample_database(), {}}, {sample_node()}, {6}}));
  REQUIRE(catalog.ok());
  CHECK(catalog->version == 4);
  CHECK(catalog->next_group == 9);
  REQUIRE(catalog->databases.size() == 2);
  CHECK(catalog->databases[0] == sample_database());
  REQUIRE(catalog->nodes.size() == 1);
  CHECK(catalog->nodes[0] == sample_node());
  CHECK(catalog->removed == std::vector<uint64_t>{6});
}

TEST_CASE("catalog commands come back as they were") {
  auto back = [](const CatalogCommand& command) {
    auto decoded = decode_catalog_command(encode(command));
    REQUIRE(decoded.ok());
    REQUIRE(decoded->index() == command.index());
    return *decoded;
  };
  CHECK(std::get<DatabaseRecord>(back(sample_database())) == sample_database());
  CHECK(std::get<NodeRecord>(back(sample_node())) == sample_node());
  CHECK(std::get<DropRecord>(back(DropRecord{"docs"})).name == "docs");
  auto drain = std::get<DrainRecord>(back(DrainRecord{7, true}));
  CHECK(drain.node == 7);
  CHECK(drain.draining);
  CHECK(std::get<RemoveRecord>(back(RemoveRecord{8})).node == 8);
  auto replicas = std::get<ReplicasRecord>(back(ReplicasRecord{"docs", 3}));
  CHECK(replicas.database == "docs");
  CHECK(replicas.replicas == 3);
  ShardRecord shard = sample_database().shards[0];
  CHECK(std::get<ShardRecord>(back(shard)) == shard);
  CHECK(std::get<FoundRecord>(back(FoundRecord{{3, 4}})).groups == std::vector<uint64_t>{3, 4});
  auto split = std::get<SplitRecord>(back(SplitRecord{9, SplitStep::cut_over, "docs"}));
  CHECK(split.group == 9);
  CHECK(split.step == SplitStep::cut_over);
  CHECK(split.database == "docs");
  auto route = std::get<RouteRecord>(back(RouteRecord{"docs", 4, RouteStep::done, 3, "1234", 99}));
  CHECK(route.database == "docs");
  CHECK(route.group == 4);
  CHECK(route.step == RouteStep::done);
  CHECK(route.router == 3);
  CHECK(route.centres == "1234");
  CHECK(route.vectors == 99);
  auto live = std::get<LivesRecord>(back(LivesRecord{5, {{7, 9}, {8, 0}}}));
  CHECK(live.node == 5);
  CHECK(live.lives == std::vector<Life>{{7, 9}, {8, 0}});
  for (const CatalogCommand& nothing :
       {CatalogCommand(LivesRecord()), CatalogCommand(LivesRecord{5, {}}),
        CatalogCommand(LivesRecord{0, {{7, 9}}}), CatalogCommand(DatabaseRecord()),
        CatalogCommand(DropRecord()), CatalogCommand(NodeRecord()), CatalogCommand(RemoveRecord()),
        CatalogCommand(FoundRecord())}) {
    CHECK(decode_catalog_command(encode(nothing)).status().code() == Code::corruption);
  }
}

TEST_CASE("a request id comes first, and may end the visit") {
  std::string bytes = encode(sample_upsert(), {"key", 77});
  int rows = 0;
  std::string seen;
  CommandVisitor visitor;
  visitor.begin_upsert = [](size_t, uint32_t, Datatype) { return Status(); };
  visitor.upsert_row = [&](const RowView&) {
    ++rows;
    return Status();
  };
  visitor.begin = [&](RequestId id) {
    seen = id.id;
    CHECK(id.fingerprint == 77);
    return rows == 0;
  };
  CHECK(visit_command(bytes, visitor).ok());
  CHECK(seen == "key");
  CHECK(rows == 3);
  CHECK(visit_command(bytes, visitor).ok());
  CHECK(rows == 3);
}

TEST_CASE("damaged bytes give an error or a value") {
  int errors = 0, values = 0;
  auto count = [&](const Status& status) {
    if (status.ok()) {
      ++values;
    } else {
      REQUIRE(status.code() == Code::corruption);
      ++errors;
    }
  };
  for (const std::string& bytes :
       {encode(sample_upsert()), encode(DeleteCommand{{"a", "b"}, {1, 2}}), encode(SealCommand{12}),
        encode(MergeCommand{9, {3, 4}, 5}), encode(SplitCommand{5, 6}), encode(SplitEndCommand{5}),
        encode(sample_forward()), encode(sample_reroute())}) {
    survive_mutations(bytes, [&](const std::string& mutated) {
      std::string said = describe(mutated);
      count(said.find("corruption: ") == 0 ? corruption(said) : Status());
    });
  }
  survive_mutations(encode_home_record({"key", "values", "{}", 1, 2}, 3),
                    [&](const std::string& b) { count(decode_home_record(b).status()); });
  survive_mutations(encode_record("key", "values", "{}"),
                    [&](const std::string& b) { count(decode_record(b).status()); });
  survive_mutations(encode(sample_state()),
                    [&](const std::string& b) { count(decode_shard_state(b).status()); });
  survive_mutations(encode(CatalogCommand(sample_database())),
                    [&](const std::string& b) { count(decode_catalog_command(b).status()); });
  survive_mutations(
      encode(CatalogState{4, 9, {sample_database(), sample_database()}, {sample_node()}, {6}}),
      [&](const std::string& b) { count(decode_catalog_state(b).status()); });
  CHECK(errors > 1000);
  CHECK(values > 1000);
}

}  // namespace jade
