#include "actors/partial_update.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <functional>
#include <map>
#include <random>

#include "actors/ingest.h"
#include "actors/named_vectors.h"
#include "actors/shard_replica.h"
#include "index/metadata.h"
#include "storage/row_key.h"
#include "tests/storage/fault_env.h"

namespace jade {
namespace {

DatabaseSpec named_spec() {
  DatabaseSpec spec;
  spec.name = "a";
  spec.named_vectors = {{"x", 1, Metric::l2, Datatype::float32},
                        {"y", 2, Metric::l2, Datatype::uint8},
                        {"z", 2, Metric::cosine, Datatype::float16}};
  return spec;
}

DatabaseSpec unnamed_spec() {
  DatabaseSpec spec;
  spec.name = "a";
  spec.dimension = 2;
  spec.metric = Metric::l2;
  return spec;
}

UpdateRequest request_of(VectorUpdate update) {
  UpdateRequest request;
  request.vectors.push_back(std::move(update));
  return request;
}

// As ingest makes it of one part.
std::string command_of(const DatabaseSpec& spec, UpdateRequest request, RequestId id = {},
                       uint64_t cell = 0, uint64_t router = 0) {
  auto prepared = prepare_update(spec, request);
  REQUIRE_MESSAGE(prepared.ok(), prepared.status().to_string());
  const RecordFormat format = record_format(spec);
  UpdateCommand command;
  command.dimension = format.stored_dimension();
  command.datatype = format.stored_datatype();
  command.metadata_bytes_max = prepared->metadata_bytes_max;
  command.router = router;
  command.rows = prepared->rows;
  for (size_t i = 0; i < command.rows.size(); ++i) {
    command.rows[i].place = static_cast<uint32_t>(i);
    if (!command.rows[i].values.empty()) command.rows[i].cell = cell;
  }
  return encode(command, id);
}

struct Shard {
  explicit Shard(const DatabaseSpec& of, bool by_vector = false) : spec(of) {
    options.env = &env;
    options.dir = "/node/shards/2";
    options.group = 2;
    options.format = record_format(spec);
    options.by_vector = by_vector;
    options.seal_rows_min = 40;
    options.seal_rows_max = 200;
    open();
  }
  void open() {
    replica.reset();
    auto opened = ShardReplica::open(options, [](std::string_view) {});
    REQUIRE_MESSAGE(opened.ok(), opened.status().to_string());
    replica = std::move(*opened);
  }
  Code apply(const std::string& command) {
    Status status = replica->apply(++index, 1, command);
    REQUIRE_MESSAGE(status.ok(), status.to_string());
    return replica->last_outcome().code();
  }
  Code update(UpdateRequest request, const std::string& id = "") {
    return apply(command_of(spec, std::move(request), {id, 7}));
  }
  Code upsert(uint64_t id, const std::string& stored, const std::string& metadata,
              uint64_t cell = 0, uint64_t router = 0) {
    UpsertCommand command;
    command.dimension = options.format.stored_dimension();
    command.datatype = options.format.stored_datatype();
    command.ids = {VectorId(id).key()};
    command.values = stored;
    command.metadata = {metadata};
    if (cell != 0) command.cells = {cell};
    command.router = router;
    return apply(encode(command));
  }
  std::optional<Record> find(uint64_t id) const {
    auto row = replica->store().find(VectorId(id).key());
    REQUIRE(row.ok());
    if (!row->has_value()) return std::nullopt;
    auto record = replica->store().get(**row);
    REQUIRE(record.ok());
    return *record;
  }
  std::string metadata(uint64_t id) const { return find(id)->metadata; }
  void maintain() {
    while (auto command = replica->plan_maintenance(true, ShardReplica::Pause::brief)) {
      apply(*command);
      while (auto job = replica->next_build()) {
        Status built = job->run();
        std::function<Status()> cleanup;
        REQUIRE(replica->finish_build(*job, built, &cleanup).ok());
        if (cleanup) REQUIRE(cleanup().ok());
      }
    }
  }
  uint64_t rows() const {
    uint64_t out = 0;
    for (const SegmentInfo& segment : replica->describe().segments) out += segment.rows;
    return out;
  }

  DatabaseSpec spec;
  FaultEnv env;
  ShardReplica::Options options;
  std::unique_ptr<ShardReplica> replica;
  uint64_t index = 0;
};

std::string floats(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4);
}

// What a record must be, by other means than the code's.
struct Expected {
  std::map<std::string, std::vector<float>> vectors;
  boost::json::object metadata;
};

}  // namespace

TEST_CASE("an update that no record could take is refused, by its place") {
  auto refused = [](const DatabaseSpec& spec, const UpdateRequest& request, const char* why) {
    UpdateRequest copy = request;
    auto prepared = prepare_update(spec, copy);
    REQUIRE(!prepared.ok());
    CHECK_MESSAGE(prepared.status().message() == why, prepared.status().message());
    return prepared.status().code();
  };
  auto one = [&](const DatabaseSpec& spec, const VectorUpdate& update, const char* why) {
    UpdateRequest request = request_of(update);
    request.named_by_client = true;
    return refused(spec, request, why);
  };
  VectorId id(uint64_t{1});
  DatabaseSpec plain = unnamed_spec(), named = named_spec();
  CHECK(refused(plain, {}, "vectors is empty; give at least one") == Code::invalid_argument);
  UpdateRequest second = request_of({id, R"({"a":1})"});
  second.vectors.push_back({VectorId(uint64_t{2}), "", {1, 2, 3}});
  refused(plain, second, "vectors[1].values has 3 values; database \"a\" has dimension 2");
  second.vectors[1] = {VectorId(uint64_t{2}), ""};
  refused(plain, second,
          "vectors[1] has nothing to change; give metadata, values or, where the database has an "
          "embedder, text");
  second.vectors[1] = {VectorId(std::string()), R"({"a":1})"};
  CHECK(prepare_update(plain, second).status().message().find("vectors[1]: ") == 0);
  one(plain, {id, "{}"},
      "the vector has nothing to change; give metadata, values or, where the database has an "
      "embedder, text");
  one(plain, {id, "", {1, std::numeric_limits<float>::infinity()}},
      "values[1] is not a finite number");
  one(plain, {id, "", {}, {{"x", {1}}}},
      "values are given by name, but database \"a\" has one vector without a name; give them as "
      "an array of numbers");
  one(plain, {id, "", {}, {}, {}, "text"},
      "text is given, but database \"a\" has no embedder; give values");
  one(plain, {id, "", {1, 2}, {}, {}, "text"},
      "the vector has both values and text; give one of them");
  CHECK(one(plain, {id, "{\"a\":\"" + std::string(64 * 1024, 'x') + "\"}"},
            "metadata has 65544 bytes; at most 65536 are allowed") == Code::too_large);
  plain.metric = Metric::cosine;
  one(plain, {id, "", {0, 0}},
      "values is a zero vector, which has no direction; metric \"cosine\" needs one");

  one(named, {id, "", {1, 2}},
      "values are given without names, but database \"a\" has the vectors \"x\", \"y\", \"z\": "
      "give them by name, in JSON as an object of one array for each");
  one(named, {id, "", {}, {{"w", {1}}}},
      "values has \"w\"; the vectors of database \"a\" are \"x\", \"y\", \"z\"");
  one(named, {id, "", {}, {}, {"w"}},
      "values has \"w\"; the vectors of database \"a\" are \"x\", \"y\", \"z\"");
  one(named, {id, "", {}, {{"x", {1}}}, {"x"}}, "values.x is given twice");
  one(named, {id, "", {}, {{"y", {1, 256}}}},
      "values.y[1] is not a whole number from 0 to 255, as datatype \"uint8\" asks for");
  one(named, {id, "", {}, {{"y", {1}}}},
      "values.y has 1 values; vector \"y\" of database \"a\" has dimension 2");

  DatabaseSpec keyed = unnamed_spec();
  keyed.shard_key = "tenant";
  one(keyed, {id, R"({"a":1})"},
      "key is missing: database \"a\" is sharded by metadata field \"tenant\", and its ids are "
      "unique within one value of that");
  one(keyed, {id, R"({"tenant":null})"},
      "metadata.tenant is null, but it tells the shard of a vector and cannot be taken away");
  UpdateRequest moved = request_of({id, R"({"tenant":"b"})"});
  moved.key = VectorId(std::string("a"));
  refused(keyed, moved,
          "vectors[0].metadata.tenant is \"b\" and key is \"a\"; it tells the shard of a vector "
          "and cannot be changed: delete the vector and write it anew");
  moved.key = VectorId(std::string("b"));
  auto same = prepare_update(keyed, moved);
  REQUIRE(same.ok());
  CHECK(same->rows[0].id == row_key(VectorId(std::string("b")), id));
  UpdateRequest own = request_of({id, R"({"tenant":"b"})"});
  CHECK(prepare_update(keyed, own)->rows[0].id == same->rows[0].id);
  own.key = VectorId(uint64_t{1});
  CHECK(!prepare_update(unnamed_spec(), own).ok());
}

TEST_CASE("many changes of one id are one, of bounded size, whatever their number") {
  DatabaseSpec spec = unnamed_spec();
  const VectorId id(uint64_t{1});
  std::mt19937 random(3);
  for (size_t count : {1u, 2u, 3u, 7u, 64u, 100u}) {
    UpdateRequest request;
    std::string expected;
    for (size_t i = 0; i < count; ++i) {
      const std::string field = "\"f" + std::to_string(random() % 10) + "\":";
      const std::string patch =
          "{" + field + (random() % 3 == 0 ? "null" : std::to_string(random() % 100)) + "}";
      request.vectors.push_back({id, patch});
      // By definition: one after the other.
      expected = merge_metadata(expected, patch, true);
    }
    auto prepared = prepare_update(spec, request);
    REQUIRE(prepared.ok());
    REQUIRE(prepared->rows.size() == 1);
    CHECK(prepared->rows[0].metadata == expected);
  }
  auto code = [&](size_t count, const std::function<std::string(size_t)>& patch) {
    UpdateRequest request;
    for (size_t i = 0; i < count; ++i) request.vectors.push_back({id, patch(i)});
    return prepare_update(spec, request).status();
  };
  Status large = code(20, [](size_t i) {
    return "{\"f" + std::to_string(i) + "\":\"" + std::string(60'000, 'x') + "\"}";
  });
  CHECK(large.code() == Code::too_large);
  CHECK(large.message().find("what changes in the metadata of vector 1 has 1200") == 0);
  CHECK(code(20'000, [](size_t i) { return "{\"f" + std::to_string(i) + "\":null}"; }).code() ==
        Code::too_large);
  // What others change again does not count.
  CHECK(code(20, [](size_t i) {
          return "{\"f\":\"" + std::string(60'000, static_cast<char>('a' + i)) + "\"}";
        }).ok());
}

TEST_CASE("what takes much more when stored than in its request is refused before it does") {
  DatabaseSpec spec = named_spec();
  spec.named_vectors = {{"x", 1, Metric::l2, Datatype::float32},
                        {"y", 16'383, Metric::l2, Datatype::float32}};
  for (size_t rows : {900u, 2000u}) {
    UpdateRequest update;
    UpsertRequest upsert;
    upsert.named.emplace_back().name = "x";
    upsert.named[0].dimension = 1;
    for (uint32_t i = 0; i < rows; ++i) {
      update.vectors.push_back({VectorId(uint64_t{i}), "", {}, {{"x", {1}}}});
      upsert.ids.emplace_back(uint64_t{i});
      upsert.named[0].rows.push_back(i);
      upsert.named[0].values.append("\0\0\0\0", 4);
    }
    const Code expected = rows == 900 ? Code::ok : Code::too_large;
    CHECK(prepare_update(spec, update).status().code() == expected);
    CHECK(prepare_upsert(spec, upsert).code() == expected);
  }
  // As long as it may be, but longer with its numbers as they are stored.
  std::string numbers = "{\"a\":[1e9";
  while (numbers.size() < 60'000) numbers += ",1e9";
  numbers += "]}";
  UpdateRequest update = request_of({VectorId(uint64_t{1}), numbers});
  CHECK(prepare_update(unnamed_spec(), update).status().code() == Code::too_large);
  UpsertRequest upsert;
  upsert.dimension = 2;
  upsert.ids.emplace_back(uint64_t{1});
  upsert.values.assign(8, '\0');
  upsert.metadata.push_back(numbers);
  Status refused = prepare_upsert(unnamed_spec(), upsert);
  CHECK(refused.message().find("vectors[0].metadata, as it is stored, has ") == 0);
  CHECK(refused.code() == Code::too_large);
}

TEST_CASE("what a record holds already decides about some updates, which then change nothing") {
  Shard shard(named_spec());
  const RecordFormat& format = shard.options.format;
  std::string stored(format.row_bytes(), '\0');
  float x = 5;
  format.put(stored.data(), 0, &x);
  std::string long_text(40 * 1024, 'a');
  REQUIRE(shard.upsert(1, stored, "{\"a\":\"" + long_text + "\"}") == Code::ok);
  REQUIRE(shard.upsert(2, stored, "{\"a\":1}") == Code::ok);
  UpdateRequest both = request_of({VectorId(uint64_t{2}), R"({"b":2})"});
  both.vectors.push_back({VectorId(uint64_t{1}), "{\"b\":\"" + long_text + "\"}"});
  CHECK(shard.update(both, "first") == Code::too_large);
  CHECK(shard.replica->last_outcome().message() ==
        "the metadata of vector 1 would have 81935 bytes with what it has already; at most 65536 "
        "are allowed");
  CHECK(shard.metadata(2) == "{\"a\":1}");
  CHECK(shard.metadata(1).size() == long_text.size() + 8);
  // Not remembered: sent again, it is tried again.
  CHECK(shard.update(request_of({VectorId(uint64_t{1}), R"({"a":null})"})) == Code::ok);
  CHECK(shard.metadata(1) == "{}");
  CHECK(shard.update(both, "first") == Code::ok);
  CHECK(shard.metadata(2) == R"({"a":1,"b":2})");

  CHECK(shard.update(request_of({VectorId(uint64_t{2}), R"({"c":2})", {}, {}, {"x"}})) ==
        Code::failed_precondition);
  CHECK(shard.replica->last_outcome().message() ==
        "the update would take all its vectors away from vector 2, which must keep one; delete it "
        "instead");
  CHECK(shard.metadata(2) == R"({"a":1,"b":2})");
  CHECK(shard.update(request_of({VectorId(uint64_t{2}), "", {}, {{"y", {1, 2}}}, {"x"}})) ==
        Code::ok);
  auto record = shard.find(2);
  CHECK(!format.has(record->values, 0));
  CHECK(format.load(record->values, 1) == std::vector<float>{1, 2});

  // Text that came beside much metadata makes it longer than updates may; but not for ever.
  REQUIRE(shard.upsert(3, stored, "{\"a\":\"" + long_text + long_text + "\",\"b\":22}") ==
          Code::ok);
  CHECK(shard.update(request_of({VectorId(uint64_t{3}), R"({"b":1})"})) == Code::ok);
  CHECK(shard.update(request_of({VectorId(uint64_t{3}), R"({"b":333})"})) == Code::too_large);
}

TEST_CASE("an update that is repeated is answered as it was, and changes nothing") {
  Shard shard(unnamed_spec());
  for (uint64_t id = 0; id < 20; id += 2) shard.upsert(id, floats({1, 2}), "");
  UpdateRequest request;
  for (uint64_t id = 0; id < 20; ++id) {
    request.vectors.emplace_back().id = VectorId(id);
    request.vectors.back().metadata = R"({"n":1})";
  }
  std::string missing;
  for (int round = 0; round < 3; ++round) {
    CHECK(shard.update(request, "first") == Code::ok);
    CHECK(shard.replica->last_affected() == 10);
    if (round == 0) missing = shard.replica->last_missing();
    CHECK(shard.replica->last_missing() == missing);
    REQUIRE(missing.size() == update_rows_max / 8);
    CHECK(missing.substr(0, 4) == std::string("\xaa\xaa\x0a\0", 4));
    CHECK(shard.metadata(4) == (round == 0 ? R"({"n":1})" : R"({"n":2})"));
    CHECK(!shard.find(5));
    if (round == 0) {
      CHECK(shard.update(request_of({VectorId(uint64_t{4}), R"({"n":2})"})) == Code::ok);
      CHECK(shard.replica->last_missing().empty());
    }
    if (round == 1) shard.open();
  }
  UpdateRequest none = request_of({VectorId(uint64_t{5}), R"({"n":1})"});
  CHECK(shard.update(none, "second") == Code::ok);
  CHECK(shard.replica->last_affected() == 0);
  CHECK(shard.replica->last_missing().empty());
}

TEST_CASE("an update that changes nothing costs no row") {
  Shard shard(unnamed_spec());
  shard.upsert(1, floats({1, 2}), R"({"n":1})");
  CHECK(shard.rows() == 1);
  CHECK(shard.update(request_of({VectorId(uint64_t{1}), R"({"n":1,"o":null})", {1, 2}})) ==
        Code::ok);
  CHECK(shard.replica->last_affected() == 1);
  CHECK(shard.rows() == 1);
  CHECK(shard.update(request_of({VectorId(uint64_t{1}), R"({"n":2})"})) == Code::ok);
  CHECK(shard.rows() == 2);
  CHECK(shard.replica->describe().vectors == 1);
}

TEST_CASE("records after random updates are those of a model, on every replica") {
  for (bool has_names : {false, true}) {
    CAPTURE(has_names);
    const DatabaseSpec spec = has_names ? named_spec() : unnamed_spec();
    const std::vector<VectorSpec> vectors = vectors_of(spec);
    const RecordFormat format = record_format(spec);
    Shard shard(spec), other(spec);
    std::map<uint64_t, Expected> model;
    std::mt19937 random(has_names ? 3 : 4);
    auto draw = [&](size_t n) { return static_cast<size_t>(random() % n); };
    auto values = [&](size_t v) {
      std::vector<float> out(vectors[v].dimension);
      for (float& value : out) value = static_cast<float>(1 + draw(200));
      return out;
    };
    auto apply = [&](const std::string& command) {
      Code code = shard.apply(command);
      CHECK(other.apply(command) == code);
      CHECK(other.replica->last_missing() == shard.replica->last_missing());
      return code;
    };
    auto patch_of = [&](Expected* expected) {
      std::string patch;
      for (int i = 0; i < 3; ++i) {
        std::string name(1, static_cast<char>('a' + draw(6)));
        if (patch.find("\"" + name + "\":") != std::string::npos) continue;
        std::string value = draw(3) == 0   ? "null"
                            : draw(2) == 0 ? std::to_string(draw(100))
                                           : "{\"deep\":null}";
        patch += (patch.empty() ? "{\"" : ",\"") + name + "\":" + value;
        if (expected == nullptr) continue;
        if (value == "null") {
          expected->metadata.erase(name);
        } else {
          expected->metadata[name] = boost::json::parse(value);
        }
      }
      return patch + "}";
    };
    // Changes `expected`, where there is one, as the result says.
    auto update_of = [&](uint64_t id, Expected* expected) {
      VectorUpdate update{VectorId(id)};
      if (draw(3) > 0) update.metadata = patch_of(expected);
      for (size_t v = 0; v < vectors.size(); ++v) {
        if (draw(2) == 0) continue;
        const std::string& name = vectors[v].name;
        // The first one stays, so that there is one.
        if (v > 0 && draw(3) == 0) {
          update.without.push_back(name);
          if (expected != nullptr) expected->vectors.erase(name);
          continue;
        }
        auto set = values(v);
        if (expected != nullptr) expected->vectors[name] = set;
        if (has_names) {
          update.named.push_back({name, set});
        } else {
          update.values = set;
        }
      }
      if (update.metadata.empty() && update.values.empty() && update.named.empty() &&
          update.without.empty()) {
        update.metadata = patch_of(expected);
      }
      return update;
    };
    for (int round = 0; round < 300; ++round) {
      CAPTURE(round);
      if (draw(3) == 0) {
        uint64_t id = draw(60);
        std::string stored(format.row_bytes(), '\0');
        Expected expected;
        for (size_t v = 0; v < vectors.size(); ++v) {
          if (v > 0 && draw(2) == 0) continue;
          auto set = values(v);
          format.put(stored.data(), v, set.data());
          expected.vectors[vectors[v].name] = set;
        }
        expected.metadata = {{"a", draw(9)}, {"f", nullptr}};
        std::string metadata =
            *canonical_metadata(boost::json::serialize(boost::json::value(expected.metadata)));
        UpsertCommand upsert{format.stored_dimension(), {VectorId(id).key()}, stored, {metadata}};
        upsert.datatype = format.stored_datatype();
        CHECK(apply(encode(upsert)) == Code::ok);
        model[id] = expected;
      } else if (draw(12) == 0) {
        uint64_t id = draw(60);
        CHECK(apply(encode(DeleteCommand{{VectorId(id).key()}, {}, false})) == Code::ok);
        model.erase(id);
      } else {
        UpdateRequest request;
        std::vector<uint64_t> order;  // as rows are
        for (size_t i = 0; i < 1 + draw(12); ++i) {
          uint64_t id = draw(60);
          if (std::find(order.begin(), order.end(), id) == order.end()) order.push_back(id);
          auto found = model.find(id);
          request.vectors.push_back(update_of(id, found == model.end() ? nullptr : &found->second));
        }
        CHECK(apply(command_of(spec, request)) == Code::ok);
        uint64_t found = 0;
        for (uint64_t id : order) found += model.count(id);
        CHECK(shard.replica->last_affected() == found);
        const std::string& missing = shard.replica->last_missing();
        CHECK(missing.empty() == (found == 0 || found == order.size()));
        for (size_t i = 0; !missing.empty() && i < order.size(); ++i) {
          CHECK(((missing[i / 8] >> i % 8 & 1) != 0) == (model.count(order[i]) == 0));
        }
      }
      if (draw(40) == 0) other.open();
      if (draw(50) == 0) {
        // Both decide alike, though one was opened since.
        if (auto command = shard.replica->plan_maintenance(true, ShardReplica::Pause::brief))
          apply(*command);
      }
      if (round % 20 != 19) continue;
      CHECK(shard.replica->describe().vectors == model.size());
      for (uint64_t id = 0; id < 60; ++id) {
        CAPTURE(id);
        auto record = shard.find(id);
        REQUIRE(record.has_value() == (model.count(id) == 1));
        if (!record) continue;
        const Expected& expected = model[id];
        CHECK(boost::json::parse(record->metadata.empty() ? "{}" : record->metadata) ==
              boost::json::value(expected.metadata));
        CHECK(format.fits(record->values));
        for (size_t v = 0; v < vectors.size(); ++v) {
          auto own = expected.vectors.find(vectors[v].name);
          REQUIRE(format.has(record->values, v) == (own != expected.vectors.end()));
          if (own != expected.vectors.end()) CHECK(format.load(record->values, v) == own->second);
        }
      }
      auto digest = [](Shard& of) {
        return *of.replica->store().digest(of.replica->snapshot()->records);
      };
      CHECK(digest(shard) == digest(other));
    }
    shard.maintain();
    shard.open();
    CHECK(shard.replica->describe().vectors == model.size());
  }
}

TEST_CASE("with sharding by vector, metadata changes where the vector is, and values say where") {
  DatabaseSpec spec = unnamed_spec();
  Shard shard(spec, true);
  auto home = [&](uint64_t id) {
    auto record = shard.replica->store().find_home(VectorId(id).key());
    REQUIRE(record.ok());
    return *record;
  };
  REQUIRE(shard.upsert(1, floats({1, 2}), R"({"n":1})", 4) == Code::ok);
  CHECK(shard.update(request_of({VectorId(uint64_t{1}), R"({"n":2})"})) == Code::ok);
  CHECK(home(1)->metadata == R"({"n":2})");
  CHECK(home(1)->cell == 4);
  CHECK(home(1)->version == 2);
  CHECK(home(1)->valued == 1);
  CHECK(shard.replica->cells().vectors == 1);
  CHECK(shard.replica->homes()->changes() == 2);
  CHECK(shard.update(request_of({VectorId(uint64_t{9}), R"({"n":2})"})) == Code::ok);
  CHECK(shard.replica->last_affected() == 0);
  CHECK(!home(9));

  // What was looked at before the metadata changed is rerouted all the same.
  RerouteCommand reroute{7, {VectorId(uint64_t{1}).key()}, {1}, {5}};
  CHECK(shard.apply(encode(RouteCommand{7, RouteStep::announce})) == Code::ok);
  CHECK(shard.apply(encode(RouteCommand{7, RouteStep::follow})) == Code::ok);
  CHECK(shard.apply(encode(reroute)) == Code::ok);
  CHECK(home(1)->cell == 5);
  CHECK(home(1)->metadata == R"({"n":2})");
  // As without updates, so that logs of before do the same.
  CHECK(home(1)->valued == home(1)->version);
  // Metadata does not say where vectors belong, values do.
  CHECK(shard.update(request_of({VectorId(uint64_t{1}), R"({"n":3})"})) == Code::ok);
  CHECK(home(1)->cell == 5);
  UpdateRequest values = request_of({VectorId(uint64_t{1}), "", {3, 4}});
  CHECK(shard.apply(command_of(spec, values, {"a", 1}, 6, 6)) == Code::moved);
  CHECK(home(1)->values == floats({1, 2}));
  CHECK(shard.apply(command_of(spec, values, {"a", 1}, 6, 7)) == Code::ok);
  CHECK(home(1)->values == floats({3, 4}));
  CHECK(home(1)->metadata == R"({"n":3})");
  CHECK(home(1)->cell == 6);
  CHECK(home(1)->valued == home(1)->version);
  shard.open();
  CHECK(shard.apply(command_of(spec, values, {"a", 1}, 6, 6)) == Code::ok);  // repeated
  CHECK(shard.replica->last_affected() == 1);
  // A reroute by values that have been replaced since.
  reroute.cells = {4};
  CHECK(shard.apply(encode(reroute)) == Code::ok);
  CHECK(home(1)->cell == 6);
  // No values without a shard for them.
  CHECK(shard.replica->apply(++shard.index, 1, command_of(spec, values, {}, 0, 7)).code() ==
        Code::corruption);
}

TEST_CASE("updates of ids that were split off are refused as moved") {
  Shard shard(unnamed_spec());
  uint64_t below = 0, above = 0;
  const uint64_t half = uint64_t{1} << 63;
  for (uint64_t id = 1; below == 0 || above == 0; ++id) {
    (hash_of_row_key(VectorId(id).key()) < half ? below : above) = id;
  }
  shard.upsert(below, floats({1, 2}), "");
  shard.upsert(above, floats({1, 2}), "");
  UpdateRequest request = request_of({VectorId(above), R"({"n":1})"});
  CHECK(shard.update(request, "before") == Code::ok);
  CHECK(shard.apply(encode(SplitCommand{9, half})) == Code::ok);
  UpdateRequest both = request_of({VectorId(below), R"({"n":1})"});
  both.vectors.push_back({VectorId(above), R"({"n":1})"});
  CHECK(shard.update(both, "after") == Code::moved);
  CHECK(shard.metadata(below).empty());
  CHECK(shard.update(request, "before") == Code::moved);  // the child remembers it
  CHECK(shard.update(request_of({VectorId(below), R"({"n":1})"}), "after") == Code::ok);
  CHECK(shard.metadata(below) == R"({"n":1})");
  // By an old map: nobody may hear that all of it has been done.
  CHECK(shard.update(both, "after") == Code::moved);
  CHECK(shard.update(request_of({VectorId(below), R"({"n":1})"}), "after") == Code::ok);
  CHECK(shard.replica->last_affected() == 1);
}

}  // namespace jade
