#include "actors/jade.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

namespace jade {
namespace {

// A node on a directory of its own, which goes with the test.
struct TestNode {
  std::filesystem::path dir;
  std::vector<std::string> warnings;  // look at them while no node is open
  std::mutex warnings_mutex;
  std::unique_ptr<Node> node;

  TestNode() {
    std::string name = (std::filesystem::temp_directory_path() / "jade-node-XXXXXX").string();
    dir = mkdtemp(name.data());
    open();
  }
  ~TestNode() {
    node.reset();
    std::filesystem::remove_all(dir);
  }
  Status try_open() {
    NodeOptions options;
    options.data_dir = (dir / "data").string();
    options.log = [this](LogLevel level, std::string_view, std::string_view message) {
      std::lock_guard lock(warnings_mutex);
      if (level == LogLevel::warning) warnings.emplace_back(message);
    };
    auto opened = Node::open(options);
    if (!opened.ok()) return opened.status();
    node = std::move(*opened);
    return {};
  }
  void open() { REQUIRE(try_open().to_string() == "ok"); }
  void reopen() {
    node.reset();
    open();
  }
};

DatabaseSpec spec_of(std::string name, uint32_t dimension, Metric metric, uint32_t shards = 1) {
  DatabaseSpec spec;
  spec.name = std::move(name);
  spec.dimension = dimension;
  spec.metric = metric;
  spec.shards = shards;
  return spec;
}

void add(UpsertRequest& request, VectorId id, const std::vector<float>& values,
         std::string metadata = "") {
  request.dimension = static_cast<uint32_t>(values.size());
  request.ids.push_back(std::move(id));
  request.values.append(reinterpret_cast<const char*>(values.data()),
                        values.size() * sizeof(float));
  request.metadata.push_back(std::move(metadata));
}

UpsertRequest upsert_of(std::string database, VectorId id, const std::vector<float>& values,
                        std::string metadata = "") {
  UpsertRequest request;
  request.database = std::move(database);
  add(request, std::move(id), values, std::move(metadata));
  return request;
}

SearchRequest search_of(std::string database, std::vector<float> vector, uint32_t k = 10) {
  SearchRequest request;
  request.database = std::move(database);
  request.vector = std::move(vector);
  request.k = k;
  return request;
}

template <class T>
Code code_of(const Result<T>& result) {
  return result.status().code();
}

}  // namespace

TEST_CASE("an acknowledged upsert is found by the next search, and after a restart") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 3, Metric::l2)).ok());
  UpsertRequest request;
  request.database = "a";
  add(request, uint64_t{7}, {1, 0, 0}, R"({"color": "red"})");
  add(request, std::string("seven"), {0, 2, 0});
  auto reply = test.node->upsert(request);
  REQUIRE(reply.ok());
  CHECK(reply->upserted == 2);
  for (int round = 0; round < 2; ++round) {
    auto found = test.node->search(search_of("a", {1, 0, 0}));
    REQUIRE(found.ok());
    REQUIRE(found->results.size() == 2);
    CHECK(found->results[0].id == VectorId(uint64_t{7}));
    CHECK(found->results[0].score == doctest::Approx(0));
    CHECK(found->results[0].metadata == R"({"color":"red"})");
    CHECK(found->results[1].id == VectorId(std::string("seven")));
    CHECK(found->results[1].score == doctest::Approx(std::sqrt(5.0)));
    test.reopen();
  }
}

TEST_CASE("updates replace, deletes remove, and both survive a restart") {
  TestNode test;
  for (uint32_t shards : {1u, 3u}) {
    std::string name = "db" + std::to_string(shards);
    REQUIRE(test.node->create_database(spec_of(name, 2, Metric::dot, shards)).ok());
    UpsertRequest request;
    request.database = name;
    for (uint64_t i = 0; i < 100; ++i)
      add(request, i, {float(i), 1}, "{\"n\":" + std::to_string(i) + "}");
    REQUIRE(test.node->upsert(request).ok());
    REQUIRE(test.node->upsert(upsert_of(name, uint64_t{5}, {1000, 1})).ok());
    DeleteRequest by_id;
    by_id.database = name;
    by_id.ids = {VectorId(uint64_t{99}), VectorId(uint64_t{98}), VectorId(uint64_t{12345})};
    auto deleted = test.node->remove(by_id);
    REQUIRE(deleted.ok());
    CHECK(deleted->deleted == 2);
    DeleteRequest by_filter;
    by_filter.database = name;
    by_filter.filter = R"({"n": {"$gte": 90}})";
    deleted = test.node->remove(by_filter);
    REQUIRE(deleted.ok());
    CHECK(deleted->deleted == 8);
    for (int round = 0; round < 2; ++round) {
      auto found = test.node->search(search_of(name, {1, 0}, 3));
      REQUIRE(found.ok());
      REQUIRE(found->results.size() == 3);
      CHECK(found->results[0].id == VectorId(uint64_t{5}));
      CHECK(found->results[0].score == 1000);
      CHECK(found->results[1].id == VectorId(uint64_t{89}));
      auto info = test.node->describe_database(name);
      REQUIRE(info.ok());
      CHECK(info->vectors == 90);
      CHECK(code_of(test.node->get({name, VectorId(uint64_t{99})})) == Code::not_found);
      auto five = test.node->get({name, VectorId(uint64_t{5})});
      REQUIRE(five.ok());
      CHECK(five->values == std::vector<float>{1000, 1});
      test.reopen();
    }
  }
}

TEST_CASE("parts of a record change, found at once, and after a restart") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 2, Metric::l2, 3)).ok());
  UpsertRequest request;
  request.database = "a";
  for (uint64_t id = 0; id < 50; ++id) {
    add(request, id, {static_cast<float>(id), 0}, R"({"n":)" + std::to_string(id) + R"(,"m":1})");
  }
  REQUIRE(test.node->upsert(request).ok());
  UpdateRequest update;
  update.database = "a";
  update.request_id = "first";
  for (uint64_t id = 0; id < 80; id += 2) {
    update.vectors.emplace_back().id = VectorId(id);
    update.vectors.back().metadata = R"({"m":null,"new":true})";
    if (id % 4 == 0) update.vectors.back().values = {static_cast<float>(id), 7};
  }
  auto first = test.node->update(update);
  REQUIRE_MESSAGE(first.ok(), first.status().to_string());
  CHECK(first->updated == 25);
  std::vector<VectorId> missing;
  for (uint64_t id = 50; id < 80; id += 2) missing.emplace_back(id);
  CHECK(first->missing == missing);
  CHECK(first->missing_keys.empty());
  // What is written since is not undone by the same request.
  REQUIRE(test.node->upsert(upsert_of("a", uint64_t{60}, {60, 0})).ok());
  UpdateRequest later;
  later.database = "a";
  later.vectors = {{VectorId(uint64_t{2}), R"({"m":5})"}};
  REQUIRE(test.node->update(later)->updated == 1);
  for (int round = 0; round < 2; ++round) {
    auto again = test.node->update(update);
    REQUIRE(again.ok());
    CHECK(again->updated == 25);
    CHECK(again->missing == missing);
    CHECK(test.node->describe_database("a")->vectors == 51);
    for (uint64_t id = 0; id < 50; ++id) {
      CAPTURE(id);
      auto found = test.node->get({"a", VectorId(id)});
      REQUIRE(found.ok());
      std::string n = R"({"n":)" + std::to_string(id);
      CHECK(found->metadata == (id == 2       ? n + R"(,"new":true,"m":5})"
                                : id % 2 == 0 ? n + R"(,"new":true})"
                                              : n + R"(,"m":1})"));
      CHECK(found->values == std::vector<float>{static_cast<float>(id), id % 4 == 0 ? 7.0f : 0});
    }
    SearchRequest search = search_of("a", {8, 7}, 100);
    search.filter = R"({"new":true})";
    search.token = first->token;
    auto found = test.node->search(search);
    REQUIRE(found.ok());
    REQUIRE(found->results.size() == 25);
    CHECK(found->results[0].id == VectorId(uint64_t{8}));
    CHECK(found->results[0].score == 0);
    test.reopen();
  }
  update.vectors.pop_back();
  CHECK(code_of(test.node->update(update)) == Code::failed_precondition);
  update.request_id.clear();
  update.vectors = {{VectorId(uint64_t{1}), "", {1, 2, 3}}};
  CHECK(code_of(test.node->update(update)) == Code::invalid_argument);
  update.vectors = {{VectorId(uint64_t{1}), R"({"big":")" + std::string(65000, 'x') + "\"}"}};
  REQUIRE(test.node->update(update).ok());
  update.vectors = {{VectorId(uint64_t{1}), R"({"too":")" + std::string(1000, 'x') + "\"}"}};
  CHECK(code_of(test.node->update(update)) == Code::too_large);
  update.database = "b";
  CHECK(code_of(test.node->update(update)) == Code::not_found);
}

TEST_CASE("an index is built in the background, finds what is there, and is loaded at start") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("big", 16, Metric::cosine, 2)).ok());
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> rows(6000, std::vector<float>(16));
  for (size_t first = 0; first < rows.size(); first += 1000) {
    UpsertRequest request;
    request.database = "big";
    for (size_t i = first; i < first + 1000; ++i) {
      for (float& value : rows[i]) value = normal(random);
      add(request, i, rows[i], "{\"even\":" + std::string(i % 2 == 0 ? "true" : "false") + "}");
    }
    REQUIRE(test.node->upsert(request).ok());
  }
  REQUIRE(test.node->wait_until_indexed("big").to_string() == "ok");
  for (int round = 0; round < 2; ++round) {
    auto info = test.node->describe_database("big");
    REQUIRE(info.ok());
    CHECK(info->index_state == "ready");
    CHECK(info->indexed_vectors == 6000);
    size_t graphs = 0;
    for (const auto& shard : info->placement) {
      for (const auto& segment : shard.segments) graphs += segment.kind == IndexKind::hnsw ? 1 : 0;
    }
    CHECK(graphs >= 2);
    size_t hits = 0;
    for (size_t q = 0; q < 50; ++q) {
      SearchRequest approximate = search_of("big", rows[q * 100]);
      SearchRequest exact = approximate;
      exact.exact = true;
      auto near = test.node->search(approximate), truth = test.node->search(exact);
      REQUIRE(near.ok());
      REQUIRE(truth.ok());
      REQUIRE(truth->results.size() == 10);
      CHECK(truth->results[0].id == VectorId(q * 100));
      for (const auto& hit : near->results) {
        for (const auto& good : truth->results) hits += hit.id == good.id ? 1 : 0;
      }
      SearchRequest filtered = approximate;
      filtered.filter = R"({"even": true})";
      auto even = test.node->search(filtered);
      REQUIRE(even.ok());
      REQUIRE(even->results.size() == 10);
      for (const auto& hit : even->results) CHECK(hit.id.integer() % 2 == 0);
    }
    CHECK(hits >= 475);
    test.reopen();
  }
}

TEST_CASE("paging lists every vector once, in the order of ids") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("p", 2, Metric::l2, 3)).ok());
  UpsertRequest request;
  request.database = "p";
  for (uint64_t i = 0; i < 25; ++i) add(request, i, {float(i), 0});
  add(request, std::string("x"), {1, 1});
  REQUIRE(test.node->upsert(request).ok());
  std::vector<VectorId> seen;
  ListRequest list;
  list.database = "p";
  list.limit = 10;
  for (;;) {
    auto page = test.node->list(list);
    REQUIRE(page.ok());
    for (const auto& vector : page->vectors) seen.push_back(vector.id);
    if (!page->next) break;
    list.after = page->next;
  }
  REQUIRE(seen.size() == 26);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  CHECK(seen.back() == VectorId(std::string("x")));
}

TEST_CASE("an answer that would be too large is refused, whatever it consists of") {
  TestNode test;
  const std::string text(60'000, 'x');
  for (uint32_t shards : {1u, 3u}) {
    const std::string name = "db" + std::to_string(shards);
    REQUIRE(test.node->create_database(spec_of(name, 1, Metric::l2, shards)).ok());
    UpsertRequest request;
    request.database = name;
    for (uint64_t i = 0; i < 60; ++i) add(request, i, {float(i)}, "{\"t\":\"" + text + "\"}");
    REQUIRE(test.node->upsert(request).ok());
    auto batch = [&](size_t searches, bool metadata) {
      SearchBatchRequest asked;
      asked.database = name;
      asked.searches.assign(searches, search_of(name, {0}, 60));
      for (SearchRequest& search : asked.searches) search.include_metadata = metadata;
      return test.node->search_batch(asked);
    };
    // Each has 3.6 MB of metadata: a shard may answer with 64 MiB, all together with 128.
    const size_t fit = shards == 1 ? 18 : 37;
    auto found = batch(fit, true);
    REQUIRE_MESSAGE(found.ok(), found.status().to_string());
    CHECK(found->results.back().results.size() == 60);
    auto refused = batch(fit + 1, true).status();
    CHECK(refused.code() == Code::too_large);
    CHECK(refused.message() ==
          "the answer would have more than " + std::string(shards == 1 ? "64" : "128") +
              " MiB; ask for less at once: fewer results, fewer searches, or without metadata or "
              "values");
    CHECK(batch(1000, false).ok());
  }
  ListRequest page;
  page.database = "db1";
  page.limit = 60;
  CHECK(test.node->list(page).ok());
}

TEST_CASE("bad requests are refused with a reason and change nothing") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("v", 2, Metric::cosine)).ok());
  Node& node = *test.node;
  CHECK(code_of(node.create_database(spec_of("v", 2, Metric::l2))) == Code::already_exists);
  CHECK(code_of(node.create_database(spec_of("bad name", 2, Metric::l2))) ==
        Code::invalid_argument);
  CHECK(code_of(node.create_database(spec_of("", 2, Metric::l2))) == Code::invalid_argument);
  CHECK(code_of(node.create_database(spec_of("z", 0, Metric::l2))) == Code::invalid_argument);
  CHECK(code_of(node.create_database(spec_of("z", 2, Metric::l2, 9999))) == Code::invalid_argument);
  CHECK(code_of(node.drop_database("nothing")) == Code::not_found);
  CHECK(code_of(node.describe_database("nothing")) == Code::not_found);

  CHECK(code_of(node.upsert(upsert_of("nothing", uint64_t{1}, {1, 2}))) == Code::not_found);
  auto wrong = node.upsert(upsert_of("v", uint64_t{1}, {1, 2, 3}));
  CHECK(code_of(wrong) == Code::invalid_argument);
  CHECK(wrong.status().message().find("dimension 2") != std::string::npos);
  float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  auto not_finite = node.upsert(upsert_of("v", uint64_t{1}, {1, nan}));
  CHECK(not_finite.status().message() == "vectors[0].values[1] is not a finite number");
  CHECK(code_of(node.upsert(upsert_of("v", uint64_t{1}, {inf, 0}))) == Code::invalid_argument);
  CHECK(code_of(node.upsert(upsert_of("v", uint64_t{1}, {0, 0}))) == Code::invalid_argument);
  CHECK(code_of(node.upsert(upsert_of("v", std::string(600, 'x'), {1, 0}))) ==
        Code::invalid_argument);
  CHECK(code_of(node.upsert(upsert_of("v", std::string(), {1, 0}))) == Code::invalid_argument);
  CHECK(code_of(node.upsert(upsert_of("v", uint64_t{1}, {1, 0}, "[1]"))) == Code::invalid_argument);
  CHECK(code_of(node.upsert(upsert_of("v", uint64_t{1}, {1, 0}, "{\"a\":"))) ==
        Code::invalid_argument);
  UpsertRequest with_text;
  with_text.database = "v";
  with_text.ids = {uint64_t{1}};
  with_text.texts = {"hello"};
  CHECK(code_of(node.upsert(with_text)) == Code::invalid_argument);

  CHECK(code_of(node.search(search_of("nothing", {1, 0}))) == Code::not_found);
  CHECK(code_of(node.search(search_of("v", {1, 0, 0}))) == Code::invalid_argument);
  CHECK(code_of(node.search(search_of("v", {0, 0}))) == Code::invalid_argument);
  CHECK(code_of(node.search(search_of("v", {1, nan}))) == Code::invalid_argument);
  CHECK(code_of(node.search(search_of("v", {1, 0}, 0))) == Code::invalid_argument);
  CHECK(code_of(node.search(search_of("v", {1, 0}, 1000000))) == Code::invalid_argument);
  SearchRequest bad_filter = search_of("v", {1, 0});
  bad_filter.filter = R"({"a": {"$like": "x"}})";
  auto refused = node.search(bad_filter);
  CHECK(code_of(refused) == Code::invalid_argument);
  CHECK(refused.status().message().find("$like") != std::string::npos);
  SearchRequest bad_token = search_of("v", {1, 0});
  bad_token.token = "nonsense";
  CHECK(code_of(node.search(bad_token)) == Code::invalid_argument);

  auto info = node.describe_database("v");
  REQUIRE(info.ok());
  CHECK(info->vectors == 0);
}

TEST_CASE("of equal ids in one request the last wins, and counts once") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("d", 1, Metric::l2)).ok());
  UpsertRequest request;
  request.database = "d";
  add(request, uint64_t{1}, {1});
  add(request, uint64_t{1}, {2});
  auto reply = test.node->upsert(request);
  REQUIRE(reply.ok());
  CHECK(reply->upserted == 1);
  CHECK(test.node->get({"d", VectorId(uint64_t{1})})->values == std::vector<float>{2});
}

TEST_CASE("a dropped database is gone, also after a restart, and its name is free") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("gone", 1, Metric::l2, 2)).ok());
  REQUIRE(test.node->upsert(upsert_of("gone", uint64_t{1}, {1})).ok());
  auto was = test.node->drop_database("gone");
  REQUIRE(was.ok());
  CHECK(was->vectors == 1);
  CHECK(code_of(test.node->describe_database("gone")) == Code::not_found);
  test.reopen();
  CHECK(code_of(test.node->describe_database("gone")) == Code::not_found);
  REQUIRE(test.node->create_database(spec_of("gone", 3, Metric::l2)).ok());
  CHECK(test.node->describe_database("gone")->vectors == 0);
}

TEST_CASE("what matches a filter is deleted, also where other fields of it change meanwhile") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 1, Metric::l2)).ok());
  for (uint64_t round = 0; round < 5; ++round) {
    UpsertRequest request;
    request.database = "a";
    for (uint64_t id = 0; id < 2000; ++id) add(request, id, {0}, R"({"g":1})");
    REQUIRE(test.node->upsert(request).ok());
    std::atomic<bool> over{false};
    std::thread updates([&] {
      for (uint64_t turn = 0; !over; ++turn) {
        UpdateRequest update;
        update.database = "a";
        for (uint64_t i = 0; i < 100; ++i) {
          VectorUpdate& one = update.vectors.emplace_back();
          one.id = (turn * 100 + i) % 2000;
          one.metadata = R"({"x":)" + std::to_string(turn) + "}";
        }
        // Of what is gone none is updated.
        (void)test.node->update(std::move(update));
      }
    });
    DeleteRequest all;
    all.database = "a";
    all.filter = R"({"g":1})";
    auto deleted = test.node->remove(all);
    over = true;
    updates.join();
    REQUIRE(deleted.ok());
    CHECK(deleted->deleted == 2000);
    CHECK(test.node->describe_database("a")->vectors == 0);
  }
}

TEST_CASE("a directory whose log is lost is refused, and nothing in it is deleted") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 1, Metric::l2)).ok());
  REQUIRE(test.node->upsert(upsert_of("a", uint64_t{1}, {1})).ok());
  test.node.reset();
  const auto log = test.dir / "data" / "log", aside = test.dir / "aside";
  const auto shards = test.dir / "data" / "shards";
  std::filesystem::rename(log, aside);
  Status lost = test.try_open();
  CHECK(lost.code() == Code::failed_precondition);
  CHECK(lost.message().find("has shards, but its log is empty") != std::string::npos);
  std::filesystem::remove_all(log);
  std::filesystem::rename(aside, log);

  // One that the catalog cannot know of yet.
  std::filesystem::create_directories(shards / "77");
  Status cut = test.try_open();
  CHECK(cut.message().find("shard 77 is on disk, but the catalog has not come that far") !=
        std::string::npos);
  test.node.reset();
  CHECK(std::filesystem::exists(shards / "77"));
  std::filesystem::remove(shards / "77");
  test.open();
  CHECK(test.node->get({"a", VectorId(uint64_t{1})}).ok());
}

namespace {

// Splits the shard and waits until that is over.
void split_and_wait(Node& node, const std::string& database, uint64_t shard) {
  auto info = node.split_shard({database, shard});
  REQUIRE_MESSAGE(info.ok(), info.status().to_string());
  for (;;) {
    std::promise<bool> settled;
    node.api().cluster([&](Result<ClusterInfo> cluster) {
      settled.set_value(cluster.ok() && cluster->tasks.empty());
    });
    if (settled.get_future().get()) return;
  }
}

}  // namespace

TEST_CASE("a shard is split while it is written and read, and nothing is lost") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 2, Metric::l2)).ok());
  constexpr uint64_t before = 3000, all = 6000;
  UpsertRequest request;
  request.database = "a";
  for (uint64_t id = 0; id < before; ++id) add(request, id, {static_cast<float>(id), 0});
  REQUIRE(test.node->upsert(request).ok());
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> written = before, searches = 0;
  std::mutex mutex;
  std::set<std::string> wrong;
  auto note = [&](const Status& status) {
    std::lock_guard lock(mutex);
    if (!status.ok()) wrong.insert(status.to_string());
  };
  std::thread writer([&] {
    for (uint64_t id = before; id < all; ++id) {
      float x = static_cast<float>(id);
      // New ones, and old ones anew: what was true before the split must not come back.
      auto reply = test.node->upsert(upsert_of("a", id, {x, 0}));
      auto again = test.node->upsert(upsert_of("a", id - before, {x - before, 1}));
      note(reply.status());
      note(again.status());
      written = id + 1;
    }
  });
  std::thread reader([&] {
    while (!stop) {
      uint64_t id = written - 1;
      float x = static_cast<float>(id);
      SearchRequest search = search_of("a", {x, 0}, 1);
      search.exact = true;
      auto found = test.node->search(search);
      bool right = found.ok() && found->results.size() == 1 && found->results[0].id == VectorId(id);
      note(right ? Status() : found.ok() ? not_found("the last vector") : found.status());
      note(test.node->get({"a", VectorId(id)}).status());
      ++searches;
    }
  });
  split_and_wait(*test.node, "a", 2);
  split_and_wait(*test.node, "a", 3);
  writer.join();
  stop = true;
  reader.join();
  for (const std::string& what : wrong) FAIL_CHECK(what);
  MESSAGE(searches.load() << " searches meanwhile");
  CHECK(searches > 0);
  for (int round = 0; round < 2; ++round) {
    auto info = test.node->describe_database("a");
    REQUIRE(info.ok());
    CHECK(info->vectors == all);
    CHECK(info->spec.shards == 3);
    REQUIRE(info->placement.size() == 3);
    for (const ShardInfo& shard : info->placement) CHECK(shard.vectors > all / 8);
    ListRequest list;
    list.database = "a";
    list.limit = 7000;
    list.include_values = true;
    auto page = test.node->list(list);
    REQUIRE(page.ok());
    REQUIRE(page->vectors.size() == all);
    for (uint64_t id = 0; id < all; ++id) {
      REQUIRE(page->vectors[id].id == VectorId(id));
      CHECK(page->vectors[id].values ==
            std::vector<float>{static_cast<float>(id), id < all - before ? 1.0f : 0.0f});
    }
    test.reopen();
  }
  auto unknown = test.node->split_shard({"a", 99});
  CHECK(code_of(unknown) == Code::not_found);
}

TEST_CASE("a request that is repeated after a split is still carried out once") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 1, Metric::l2)).ok());
  UpsertRequest request;
  request.database = "a";
  request.request_id = "first";
  for (uint64_t id = 0; id < 200; ++id) add(request, id, {1});
  REQUIRE(test.node->upsert(request).ok());
  UpsertRequest later;
  later.database = "a";
  for (uint64_t id = 0; id < 200; ++id) add(later, id, {2});
  REQUIRE(test.node->upsert(later).ok());
  split_and_wait(*test.node, "a", 2);
  for (int round = 0; round < 2; ++round) {
    REQUIRE(test.node->upsert(request).ok());
    for (uint64_t id = 0; id < 200; ++id) {
      auto found = test.node->get({"a", VectorId(id)});
      REQUIRE(found.ok());
      CHECK(found->values == std::vector<float>{2});
    }
    test.reopen();
  }
  later.request_id = "first";
  CHECK(code_of(test.node->upsert(later)) == Code::failed_precondition);
}

TEST_CASE("an update that is repeated after a split has its first answer") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 1, Metric::l2)).ok());
  UpsertRequest request;
  request.database = "a";
  for (uint64_t id = 0; id < 600; id += 3) add(request, id, {1}, R"({"n":1})");
  REQUIRE(test.node->upsert(request).ok());
  UpdateRequest update;
  update.database = "a";
  update.request_id = "first";
  // In several parts.
  for (uint64_t id = 0; id < 600; ++id) {
    update.vectors.emplace_back().id = VectorId(id);
    update.vectors.back().metadata = R"({"n":2})";
  }
  auto first = test.node->update(update);
  REQUIRE(first.ok());
  CHECK(first->updated == 200);
  CHECK(first->missing.size() == 400);
  UpdateRequest later = update;
  later.request_id.clear();
  for (auto& one : later.vectors) one.metadata = R"({"n":3})";
  REQUIRE(test.node->update(later)->updated == 200);
  request.ids = {VectorId(uint64_t{1})};
  request.values.resize(4);
  request.metadata.resize(1);
  REQUIRE(test.node->upsert(request).ok());
  split_and_wait(*test.node, "a", 2);
  for (int round = 0; round < 2; ++round) {
    auto again = test.node->update(update);
    REQUIRE(again.ok());
    CHECK(again->updated == 200);
    CHECK(again->missing == first->missing);
    for (uint64_t id = 0; id < 600; id += 3) {
      CHECK(test.node->get({"a", VectorId(id)})->metadata == R"({"n":3})");
    }
    test.reopen();
  }
}

TEST_CASE("what was copied for a split goes with its database, whenever that is dropped") {
  TestNode test;
  for (int round = 0; round < 8; ++round) {
    auto created = test.node->create_database(spec_of("a", 8, Metric::l2));
    REQUIRE(created.ok());
    UpsertRequest request;
    request.database = "a";
    for (uint64_t id = 0; id < 3000; ++id) {
      add(request, id, std::vector<float>(8, static_cast<float>(id)));
    }
    REQUIRE(test.node->upsert(request).ok());
    REQUIRE(test.node->split_shard({"a", created->placement[0].shard}).ok());
    // Before, while or after rows are copied.
    for (int i = 0; i < 40 * round; ++i) REQUIRE(test.node->list_databases().ok());
    REQUIRE(test.node->drop_database("a").ok());
    while (!std::filesystem::is_empty(test.dir / "data" / "shards")) {
      REQUIRE(test.node->list_databases().ok());
    }
  }
}

TEST_CASE("a deletion that is repeated after splits counts what it deleted once") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 1, Metric::l2)).ok());
  UpsertRequest request;
  request.database = "a";
  for (uint64_t id = 0; id < 400; ++id) add(request, id, {1});
  REQUIRE(test.node->upsert(request).ok());
  DeleteRequest erase;
  erase.database = "a";
  erase.request_id = "before";
  for (uint64_t id = 0; id < 100; ++id) erase.ids.emplace_back(id);
  REQUIRE(test.node->remove(erase)->deleted == 100);
  DeleteRequest between = erase;
  between.request_id = "between";
  // Those that are there no longer are not counted.
  for (uint64_t id = 100; id < 200; ++id) between.ids.emplace_back(id);
  for (uint64_t shard = 2; shard <= 4; ++shard) {
    split_and_wait(*test.node, "a", shard);
    if (shard == 2) REQUIRE(test.node->remove(between)->deleted == 100);
    for (int round = 0; round < 2; ++round) {
      CHECK(test.node->remove(erase)->deleted == 100);
      CHECK(test.node->remove(between)->deleted == 100);
      test.reopen();
    }
  }
  CHECK(test.node->get({"a", VectorId(uint64_t{200})}).ok());
}

TEST_CASE("with a shard key, an update finds its record by it, and cannot change it") {
  TestNode test;
  DatabaseSpec spec = spec_of("a", 1, Metric::l2, 4);
  spec.shard_key = "tenant";
  REQUIRE(test.node->create_database(spec).ok());
  for (const char* tenant : {"a", "b"}) {
    std::string metadata = std::string(R"({"tenant":")") + tenant + "\"}";
    REQUIRE(test.node->upsert(upsert_of("a", uint64_t{1}, {1}, metadata)).ok());
  }
  auto get = [&](const char* tenant) {
    return test.node->get({"a", VectorId(uint64_t{1}), VectorId(std::string(tenant))})->metadata;
  };
  UpdateRequest update;
  update.database = "a";
  update.vectors = {{VectorId(uint64_t{1}), R"({"n":1})"}};
  CHECK(code_of(test.node->update(update)) == Code::invalid_argument);
  update.key = VectorId(std::string("b"));
  CHECK(test.node->update(update)->updated == 1);
  CHECK(get("a") == R"({"tenant":"a"})");
  CHECK(get("b") == R"({"tenant":"b","n":1})");
  for (const char* wrong : {R"({"tenant":"a"})", R"({"tenant":null})", R"({"tenant":1.5})"}) {
    CAPTURE(wrong);
    update.vectors[0].metadata = wrong;
    CHECK(code_of(test.node->update(update)) == Code::invalid_argument);
  }
  // Each record says its own.
  update.key.reset();
  update.vectors = {{VectorId(uint64_t{1}), R"({"tenant":"a","n":2})"},
                    {VectorId(uint64_t{1}), R"({"tenant":"b","n":3})"},
                    {VectorId(uint64_t{1}), R"({"tenant":"c","n":4})"}};
  auto reply = test.node->update(update);
  REQUIRE(reply.ok());
  CHECK(reply->updated == 2);
  CHECK(reply->missing == std::vector<VectorId>{VectorId(uint64_t{1})});
  CHECK(reply->missing_keys == std::vector<VectorId>{VectorId(std::string("c"))});
  CHECK(get("a") == R"({"tenant":"a","n":2})");
  CHECK(get("b") == R"({"tenant":"b","n":3})");
}

TEST_CASE("with sharding by vector, updates are seen by searches wherever vectors go") {
  TestNode test;
  DatabaseSpec spec = spec_of("a", 2, Metric::l2, 4);
  spec.sharding = Sharding::vector;
  REQUIRE(test.node->create_database(spec).ok());
  UpsertRequest request;
  request.database = "a";
  std::mt19937 random(1);
  std::uniform_real_distribution<float> somewhere(0, 100);
  for (uint64_t id = 0; id < 1600; ++id) {
    add(request, id, {somewhere(random), somewhere(random)}, R"({"n":0})");
  }
  REQUIRE(test.node->upsert(request).ok());
  for (int round = 1; round < 12; ++round) {
    CAPTURE(round);
    UpdateRequest update;
    update.database = "a";
    std::map<uint64_t, std::vector<float>> moved;
    for (uint64_t i = 0; i < 62; ++i) {
      const uint64_t id = i < 60 ? 10 * i : 1540 + i;
      update.vectors.emplace_back().id = VectorId(id);
      update.vectors.back().metadata = R"({"n":)" + std::to_string(round) + "}";
      if (id % 20 == 0 && i < 60) {
        moved[id] = {somewhere(random), somewhere(random)};
        update.vectors.back().values = moved[id];
      }
    }
    auto reply = test.node->update(update);
    REQUIRE_MESSAGE(reply.ok(), reply.status().to_string());
    CHECK(reply->updated == 60);
    CHECK(reply->missing.size() == 2);
    SearchRequest search = search_of("a", {50, 50}, 100);
    search.filter = R"({"n":)" + std::to_string(round) + "}";
    search.exact = true;
    CHECK(test.node->search(search)->results.size() == 60);
    for (const auto& [id, values] : moved) {
      auto found = test.node->search(search_of("a", values, 1));
      REQUIRE(found.ok());
      CHECK(found->results[0].id == VectorId(id));
      CHECK(found->results[0].metadata == R"({"n":)" + std::to_string(round) + "}");
    }
    if (round == 6) test.reopen();
  }
  CHECK(test.node->describe_database("a")->vectors == 1600);
}

TEST_CASE("with a shard key, ids are unique within its values, and one shard has all of them") {
  TestNode test;
  DatabaseSpec spec = spec_of("a", 1, Metric::l2, 4);
  spec.shard_key = "tenant";
  REQUIRE(test.node->create_database(spec).ok());
  CHECK(test.node->describe_database("a")->spec.shard_key == "tenant");
  UpsertRequest request;
  request.database = "a";
  for (uint64_t tenant = 0; tenant < 20; ++tenant) {
    for (uint64_t id = 0; id < 10; ++id) {
      add(request, id, {static_cast<float>(tenant)},
          R"({"tenant":)" +
              (tenant % 2 ? std::to_string(tenant) : "\"t" + std::to_string(tenant) + "\"") + "}");
    }
  }
  auto reply = test.node->upsert(request);
  REQUIRE_MESSAGE(reply.ok(), reply.status().to_string());
  CHECK(reply->upserted == 200);
  auto key_of = [](uint64_t tenant) {
    return tenant % 2 ? VectorId(tenant) : VectorId("t" + std::to_string(tenant));
  };
  auto check = [&] {
    auto info = test.node->describe_database("a");
    REQUIRE(info.ok());
    CHECK(info->vectors == 200);
    for (const ShardInfo& shard : info->placement) CHECK(shard.vectors % 10 == 0);
    for (uint64_t tenant = 0; tenant < 20; ++tenant) {
      CAPTURE(tenant);
      SearchRequest search = search_of("a", {0}, 50);
      search.key = key_of(tenant);
      auto found = test.node->search(search);
      REQUIRE_MESSAGE(found.ok(), found.status().to_string());
      CHECK(found->results.size() == 10);
      for (const SearchHit& hit : found->results) CHECK(hit.score == static_cast<float>(tenant));
      search.filter = R"({"tenant":"t2"})";
      CHECK(test.node->search(search)->results.size() == (tenant == 2 ? 10 : 0));
      auto got = test.node->get({"a", VectorId(uint64_t{3}), key_of(tenant)});
      REQUIRE(got.ok());
      CHECK(got->values == std::vector<float>{static_cast<float>(tenant)});
      ListRequest list;
      list.database = "a";
      list.key = key_of(tenant);
      list.limit = 4;
      list.include_values = true;
      std::vector<uint64_t> ids;
      for (;;) {
        auto page = test.node->list(list);
        REQUIRE(page.ok());
        for (const StoredVector& vector : page->vectors) {
          ids.push_back(vector.id.integer());
          CHECK(vector.values == std::vector<float>{static_cast<float>(tenant)});
        }
        if (!page->next) break;
        list.after = page->next;
      }
      CHECK(ids == std::vector<uint64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    }
    CHECK(test.node->search(search_of("a", {0}, 1000))->results.size() == 200);
  };
  check();
  test.reopen();
  check();
  // All of one value stay together.
  auto before = test.node->describe_database("a");
  REQUIRE(before.ok());
  for (const ShardInfo& shard : before->placement) {
    split_and_wait(*test.node, "a", shard.shard);
  }
  check();

  DeleteRequest remove;
  remove.database = "a";
  remove.ids = {VectorId(uint64_t{3})};
  CHECK(code_of(test.node->remove(remove)) == Code::invalid_argument);
  remove.key = key_of(4);
  CHECK(test.node->remove(remove)->deleted == 1);
  CHECK(code_of(test.node->get({"a", VectorId(uint64_t{3}), key_of(4)})) == Code::not_found);
  CHECK(test.node->get({"a", VectorId(uint64_t{3}), key_of(5)}).ok());
  DeleteRequest all_of_one;
  all_of_one.database = "a";
  all_of_one.key = key_of(6);
  all_of_one.filter = "{}";
  CHECK(test.node->remove(all_of_one)->deleted == 10);
  CHECK(test.node->describe_database("a")->vectors == 189);

  CHECK(code_of(test.node->get({"a", VectorId(uint64_t{3})})) == Code::invalid_argument);
  ListRequest keyless;
  keyless.database = "a";
  CHECK(code_of(test.node->list(keyless)) == Code::invalid_argument);
  for (const char* bad : {"", "{}", R"({"tenant":1.5})", R"({"tenant":-1})", R"({"tenant":null})",
                          R"({"tenant":""})", R"({"tenant":["a"]})"}) {
    CAPTURE(bad);
    CHECK(code_of(test.node->upsert(upsert_of("a", uint64_t{1}, {1}, bad))) ==
          Code::invalid_argument);
  }
  REQUIRE(test.node->create_database(spec_of("b", 1, Metric::l2)).ok());
  SearchRequest keyed = search_of("b", {0});
  keyed.key = VectorId(uint64_t{1});
  CHECK(code_of(test.node->search(keyed)) == Code::invalid_argument);
  spec.name = "c";
  spec.shard_key = "a.b";
  CHECK(code_of(test.node->create_database(spec)) == Code::invalid_argument);
}

TEST_CASE("searches by id, by examples, from an offset and for groups") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 2, Metric::l2, 3)).ok());
  UpsertRequest rows;
  rows.database = "a";
  for (uint64_t i = 0; i < 100; ++i) {
    add(rows, i, {static_cast<float>(i), 0}, R"({"tens":)" + std::to_string(i / 10) + "}");
  }
  REQUIRE(test.node->upsert(rows).ok());
  auto ids = [&](const SearchRequest& search) {
    auto found = test.node->search(search);
    REQUIRE_MESSAGE(found.ok(), found.status().to_string());
    std::vector<uint64_t> out;
    for (const SearchHit& hit : found->results) out.push_back(hit.id.integer());
    return out;
  };
  using Ids = std::vector<uint64_t>;
  SearchRequest search;
  search.database = "a";
  search.k = 3;
  search.vector = {0, 0};
  search.offset = 5;
  CHECK(ids(search) == Ids{5, 6, 7});
  search.offset = 98;
  CHECK(ids(search) == Ids{98, 99});

  SearchRequest like;
  like.database = "a";
  like.k = 4;
  like.id = VectorId(uint64_t{50});
  CHECK(ids(like) == Ids{49, 51, 48, 52});
  like.offset = 1;
  CHECK(ids(like) == Ids{51, 48, 52, 47});
  like.id = VectorId(uint64_t{500});
  CHECK(code_of(test.node->search(like)) == Code::not_found);

  SearchRequest between;
  between.database = "a";
  between.k = 2;
  between.positive = {{VectorId(uint64_t{10}), {}}, {std::nullopt, {30, 0}}};
  CHECK(ids(between) == Ids{20, 19});
  between.negative = {{VectorId(uint64_t{0}), {}}};
  CHECK(ids(between) == Ids{40, 39});

  SearchRequest groups;
  groups.database = "a";
  groups.vector = {41, 0};
  groups.k = 3;
  groups.group_by = "tens";
  groups.group_size = 2;
  SearchBatchRequest batch;
  batch.database = "a";
  batch.searches = {search, groups, like, groups};
  batch.searches[2].id = VectorId(uint64_t{1});
  auto replies = test.node->search_batch(batch);
  REQUIRE_MESSAGE(replies.ok(), replies.status().to_string());
  REQUIRE(replies->results.size() == 4);
  CHECK(replies->results[0].results.size() == 2);
  CHECK(replies->results[2].results.size() == 4);
  CHECK(replies->results[2].results[0].id == VectorId(uint64_t{2}));
  for (size_t i : {1, 3}) {
    const SearchReply& reply = replies->results[i];
    REQUIRE(reply.groups.size() == 3);
    CHECK(reply.groups[0].value == "4");
    CHECK(reply.groups[1].value == "3");
    CHECK(reply.groups[2].value == "5");
    REQUIRE(reply.groups[1].results.size() == 2);
    CHECK(reply.groups[1].results[0].id == VectorId(uint64_t{39}));
    CHECK(reply.groups[1].results[1].id == VectorId(uint64_t{38}));
  }
  batch.searches[2].id = VectorId(uint64_t{1000});
  Status failed = test.node->search_batch(batch).status();
  CHECK(failed.code() == Code::not_found);
  CHECK(failed.message().find("searches[2]") == 0);
  search.offset = Limits::k_max;
  CHECK(code_of(test.node->search(search)) == Code::invalid_argument);
}

TEST_CASE("with sharding by vector, vectors move between shards and searches ask the near ones") {
  TestNode test;
  DatabaseSpec spec = spec_of("a", 3, Metric::l2, 4);
  spec.sharding = Sharding::vector;
  spec.probes = 1;
  REQUIRE(test.node->create_database(spec).ok());
  auto describe = [&] {
    auto info = test.node->describe_database("a");
    REQUIRE_MESSAGE(info.ok(), info.status().to_string());
    return *info;
  };
  CHECK(describe().router_state == "untrained");
  // Around four far corners.
  std::mt19937 random(3);
  std::normal_distribution<float> noise(0, 0.1f);
  auto vector_near = [&](uint64_t corner) {
    std::vector<float> out(3);
    for (size_t i = 0; i < 3; ++i) out[i] = noise(random) + (corner == i + 1 ? 10.0f : 0.0f);
    return out;
  };
  constexpr uint64_t rows = 1600;
  std::vector<std::vector<float>> stored;
  for (uint64_t begin = 0; begin < rows; begin += 200) {
    UpsertRequest request;
    request.database = "a";
    for (uint64_t id = begin; id < begin + 200; ++id) {
      stored.push_back(vector_near(id % 4));
      add(request, id, stored.back(), "{\"n\":" + std::to_string(id % 4) + "}");
    }
    auto written = test.node->upsert(request);
    REQUIRE_MESSAGE(written.ok(), written.status().to_string());
    // At once, whatever is trained and moved meanwhile.
    auto found = test.node->search(search_of("a", stored.back(), 1));
    REQUIRE_MESSAGE(found.ok(), found.status().to_string());
    REQUIRE(found->results.size() == 1);
    CHECK(found->results[0].id == VectorId(begin + 199));
  }
  while (describe().router_state != "ready") std::this_thread::yield();
  DatabaseInfo info = describe();
  CHECK(info.vectors == rows);
  for (const ShardInfo& shard : info.placement) CHECK(shard.vectors == rows / 4);

  // More than the nearest shard has, where a threshold leaves out none, and where it does.
  SearchRequest wide = search_of("a", stored[0], rows / 2);
  wide.score_threshold = 1000;
  CHECK(test.node->search(wide)->results.size() == rows / 2);
  wide.score_threshold = 5;
  CHECK(test.node->search(wide)->results.size() == rows / 4);

  // One shard of four has all neighbours.
  auto found = test.node->search(search_of("a", {0, 10, 0}, 50));
  REQUIRE(found.ok());
  CHECK(found->shards == 4);
  CHECK(found->shards_searched == 1);
  REQUIRE(found->results.size() == 50);
  for (const SearchHit& hit : found->results) CHECK(hit.id.integer() % 4 == 2);
  // What was done there is told of each search of a batch, though each has its own shard.
  SearchBatchRequest corners;
  corners.database = "a";
  for (size_t corner : {2, 0, 3, 1, 2}) {
    SearchRequest one = search_of("a", {0, 0, 0}, 5);
    if (corner > 0) one.vector[corner - 1] = 10;
    one.explain = true;
    corners.searches.push_back(one);
  }
  auto batch = test.node->search_batch(corners);
  REQUIRE_MESSAGE(batch.ok(), batch.status().to_string());
  REQUIRE(batch->results.size() == 5);
  std::set<uint64_t> explained;
  for (size_t i = 0; i < 5; ++i) {
    auto alone = test.node->search(corners.searches[i]);
    REQUIRE(alone.ok());
    REQUIRE(alone->explanation.size() == 1);
    REQUIRE(batch->results[i].explanation.size() == 1);
    const ShardExplanation& shard = batch->results[i].explanation[0];
    CHECK(shard.shard == alone->explanation[0].shard);
    CHECK(shard.round == 0);
    explained.insert(shard.shard);
  }
  CHECK(explained.size() == 4);

  // As many as asked for, although one shard does not have them.
  SearchRequest all = search_of("a", {0, 10, 0}, 1000);
  all.explain = true;
  found = test.node->search(all);
  REQUIRE(found.ok());
  CHECK(found->results.size() == 1000);
  CHECK(found->shards_searched == 4);
  REQUIRE(found->explanation.size() == 5);  // the near shard, and then all
  for (size_t i = 0; i < 5; ++i) CHECK(found->explanation[i].round == (i == 0 ? 0 : 1));
  all = search_of("a", {0, 10, 0}, 5);
  all.filter = "{\"n\":3}";
  found = test.node->search(all);
  REQUIRE(found.ok());
  CHECK(found->results.size() == 5);
  RecallRequest recall;
  recall.database = "a";
  recall.sample = 40;
  auto measured = test.node->recall(recall);
  REQUIRE_MESSAGE(measured.ok(), measured.status().to_string());
  CHECK(measured->sampled == 40);
  CHECK(measured->recall == 1);
  CHECK(measured->shards_searched == 0.25);

  // A vector moves from corner to corner, and is found where it is and nowhere else.
  for (uint64_t corner : {1, 2, 3, 0, 2}) {
    CAPTURE(corner);
    auto moved = vector_near(corner);
    REQUIRE(test.node->upsert(upsert_of("a", uint64_t{4}, moved)).ok());
    found = test.node->search(search_of("a", moved, 1));
    REQUIRE(found.ok());
    CHECK(found->results[0].id == VectorId(uint64_t{4}));
    SearchRequest everywhere = search_of("a", moved, 2000);
    found = test.node->search(everywhere);
    REQUIRE(found.ok());
    CHECK(found->results.size() == rows);
    GetRequest get{"a", uint64_t{4}};
    auto one = test.node->get(get);
    REQUIRE(one.ok());
    CHECK(one->values == moved);
  }
  // Two at once of the same id: one of them stays, once.
  std::vector<std::future<bool>> racing;
  for (int i = 0; i < 8; ++i) {
    racing.push_back(std::async(std::launch::async, [&, at = vector_near(i % 4)] {
      return test.node->upsert(upsert_of("a", uint64_t{8}, at)).ok();
    }));
  }
  for (auto& one : racing) CHECK(one.get());
  found = test.node->search(search_of("a", {0, 0, 0}, 2000));
  REQUIRE(found.ok());
  CHECK(found->results.size() == rows);
  CHECK(describe().vectors == rows);

  DeleteRequest erase;
  erase.database = "a";
  erase.ids = {uint64_t{4}, uint64_t{5}, uint64_t{999'999}};
  auto deleted = test.node->remove(erase);
  REQUIRE(deleted.ok());
  CHECK(deleted->deleted == 2);
  CHECK(code_of(test.node->get({"a", uint64_t{4}})) == Code::not_found);
  erase.ids.clear();
  erase.filter = "{\"n\":1}";
  deleted = test.node->remove(erase);
  REQUIRE_MESSAGE(deleted.ok(), deleted.status().to_string());
  CHECK(deleted->deleted == rows / 4 - 1);
  found = test.node->search(search_of("a", {10, 0, 0}, 2000));
  REQUIRE(found.ok());
  CHECK(found->results.size() == rows - rows / 4 - 1);

  test.reopen();
  CHECK(describe().router_state == "ready");
  found = test.node->search(search_of("a", {10, 0, 0}, 2000));
  REQUIRE(found.ok());
  CHECK(found->results.size() == rows - rows / 4 - 1);
  ListRequest list;
  list.database = "a";
  list.limit = 5000;
  auto listed = test.node->list(list);
  REQUIRE(listed.ok());
  REQUIRE(listed->vectors.size() == rows - rows / 4 - 1);
  CHECK(listed->vectors[0].id == VectorId(uint64_t{0}));

  SearchRequest wrong = search_of("a", {0, 0, 0});
  wrong.probes = 0;
  CHECK(code_of(test.node->search(wrong)) == Code::invalid_argument);
  REQUIRE(test.node->create_database(spec_of("b", 3, Metric::l2, 2)).ok());
  wrong = search_of("b", {0, 0, 0});
  wrong.probes = 1;
  CHECK(code_of(test.node->search(wrong)) == Code::invalid_argument);
  CHECK(code_of(test.node->split_shard({"a", info.placement[0].shard})) ==
        Code::failed_precondition);
}

TEST_CASE("a search says what it did in each shard where that is asked") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 2, Metric::l2, 3)).ok());
  UpsertRequest rows;
  rows.database = "a";
  for (uint64_t i = 0; i < 100; ++i) {
    add(rows, i, {static_cast<float>(i), 0}, R"({"tens":)" + std::to_string(i / 10) + "}");
  }
  REQUIRE(test.node->upsert(rows).ok());
  DeleteRequest deletion;
  deletion.database = "a";
  for (uint64_t i = 0; i < 7; ++i) deletion.ids.emplace_back(i);
  REQUIRE(test.node->remove(deletion).ok());
  auto placement = test.node->describe_database("a")->placement;

  SearchRequest search = search_of("a", {50, 0}, 3);
  search.explain = true;
  SearchRequest plain = search_of("a", {50, 0}, 3);
  SearchRequest groups = search;
  groups.group_by = "tens";
  groups.group_size = 4;
  SearchBatchRequest batch;
  batch.database = "a";
  batch.searches = {search, search, plain, groups};
  auto replies = test.node->search_batch(batch);
  REQUIRE_MESSAGE(replies.ok(), replies.status().to_string());
  REQUIRE(replies->results.size() == 4);
  for (size_t i : {0, 1}) {
    const SearchReply& reply = replies->results[i];
    CHECK(reply.explained);
    REQUIRE(reply.explanation.size() == 3);
    uint64_t live = 0, compared = 0;
    for (size_t s = 0; s < 3; ++s) {
      const ShardExplanation& shard = reply.explanation[s];
      CHECK(shard.shard == placement[s].shard);
      CHECK(shard.applied_index > 0);
      CHECK(shard.took_ns >= shard.fetch_ns);
      REQUIRE(shard.segments.size() == placement[s].segments.size());
      for (size_t n = 0; n < shard.segments.size(); ++n) {
        CHECK(shard.segments[n].segment == placement[s].segments[n].id);
        CHECK(shard.segments[n].rows == placement[s].segments[n].rows);
        live += shard.segments[n].live;
        compared += shard.segments[n].distances();
      }
    }
    CHECK(live == 93);
    CHECK(compared == 93);
    CHECK(reply.results.size() == 3);
  }
  CHECK(!replies->results[2].explained);
  CHECK(replies->results[2].explanation.empty());
  // Of each round of the search for groups.
  const SearchReply& grouped = replies->results[3];
  CHECK(grouped.explained);
  REQUIRE(grouped.explanation.size() >= 3);
  CHECK(grouped.explanation.size() % 3 == 0);
  CHECK(grouped.explanation.front().round == 0);
  for (const ShardExplanation& shard : grouped.explanation) {
    CHECK(shard.round <= grouped.explanation.back().round);
  }
}

TEST_CASE("a search may ask for a recall, for which segments are measured") {
  TestNode test;
  DatabaseSpec defaults = spec_of("by_default", 16, Metric::l2);
  defaults.index.min_recall = 0.9;
  REQUIRE(test.node->create_database(spec_of("asked", 16, Metric::l2)).ok());
  REQUIRE(test.node->create_database(defaults).ok());
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> vector(16);
  for (const char* database : {"asked", "by_default"}) {
    UpsertRequest request;
    request.database = database;
    for (uint64_t i = 0; i < 4000; ++i) {
      for (float& value : vector) value = normal(random);
      add(request, i, vector);
    }
    REQUIRE(test.node->upsert(request).ok());
    REQUIRE(test.node->wait_until_indexed(database).to_string() == "ok");
  }
  auto measured = [&](const char* database) {
    return test.node->describe_database(database)->placement.front().measured_recall;
  };
  // What it did in the largest segment.
  auto done = [&](const SearchRequest& search) {
    auto reply = test.node->search(search);
    REQUIRE_MESSAGE(reply.ok(), reply.status().to_string());
    CHECK(reply->results.size() == search.k);
    SegmentExplanation largest;
    for (const auto& segment : reply->explanation.front().segments) {
      if (segment.rows > largest.rows) largest = segment;
    }
    return largest;
  };
  SearchRequest search = search_of("asked", vector);
  search.explain = true;
  CHECK(done(search).min_recall == 0);
  search.min_recall = 0.95;
  SegmentExplanation first = done(search);
  CHECK(first.min_recall == 0.95);
  // The first one lets it be measured; each that follows may find that done.
  while (!done(search).calibrated) std::this_thread::yield();
  SegmentExplanation said = done(search);
  CHECK((said.measured_recall >= 0.95 || said.plan == SegmentPlan::scan));
  CHECK(measured("asked") > 0.5);
  RecallRequest recall;
  recall.database = "asked";
  recall.min_recall = 0.95;
  auto found = test.node->recall(recall);
  REQUIRE_MESSAGE(found.ok(), found.status().to_string());
  CHECK(found->recall >= 0.9);
  CHECK(found->calibrated == true);
  recall.k = 40;  // of which nothing is measured yet
  CHECK(test.node->recall(recall)->calibrated == false);
  while (test.node->recall(recall)->calibrated == false) std::this_thread::yield();
  recall.min_recall.reset();
  CHECK_FALSE(test.node->recall(recall)->calibrated);
  recall.database = "by_default";
  CHECK(test.node->recall(recall)->calibrated);
  recall.ef_search = 50;
  CHECK_FALSE(test.node->recall(recall)->calibrated);
  recall.ef_search.reset();

  SearchRequest plain = search_of("by_default", vector);
  plain.explain = true;
  while (!done(plain).calibrated) std::this_thread::yield();
  CHECK(done(plain).min_recall == 0.9);
  CHECK(measured("by_default") >= 0.9);
  plain.ef_search = 50;
  CHECK(done(plain).min_recall == 0);
  CHECK(done(plain).ef_search == 50);
  plain.min_recall = 0.9;
  Status both = test.node->search(plain).status();
  CHECK(both.code() == Code::invalid_argument);
  CHECK(both.message().find("min_recall and ef_search are both given") == 0);
  plain.ef_search.reset();
  for (double wrong : {0.0, 0.49, 1.0, -1.0, std::nan("")}) {
    plain.min_recall = wrong;
    CHECK(code_of(test.node->search(plain)) == Code::invalid_argument);
    recall.min_recall = wrong;
    CHECK(code_of(test.node->recall(recall)) == Code::invalid_argument);
  }
  test.reopen();
  CHECK(test.node->describe_database("by_default")->spec.index.min_recall == 0.9);
  defaults.name = "c";
  defaults.index.min_recall = 0.9999;
  CHECK(code_of(test.node->create_database(defaults)) == Code::invalid_argument);
}

TEST_CASE("a vector is within a threshold of 1 of itself, under cosine") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 2, Metric::cosine)).ok());
  UpsertRequest request;
  request.database = "a";
  add(request, 1, {1, 1});  // whose score with itself is 0.99999994
  add(request, 2, {1, 1.01f});
  REQUIRE(test.node->upsert(request).ok());
  SearchRequest search = search_of("a", {1, 1});
  search.score_threshold = 1;
  auto found = test.node->search(search);
  REQUIRE(found.ok());
  REQUIRE(found->results.size() == 1);
  CHECK(found->results[0].id == VectorId(uint64_t{1}));
}

TEST_CASE("what searches find is known once nobody writes, without being asked for") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 16, Metric::l2)).ok());
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> vector(16);
  UpsertRequest request;
  request.database = "a";
  for (uint64_t i = 0; i < 4000; ++i) {
    for (float& value : vector) value = normal(random);
    add(request, i, vector);
  }
  REQUIRE(test.node->upsert(request).ok());
  auto measured = [&] {
    return test.node->describe_database("a")->placement.front().measured_recall;
  };
  while (measured() < 0) std::this_thread::yield();
  CHECK(measured() > 0.9);
}

TEST_CASE("with sharding by vector, a recall is asked of the shards that are near") {
  TestNode test;
  DatabaseSpec spec = spec_of("a", 4, Metric::l2, 2);
  spec.sharding = Sharding::vector;
  REQUIRE(test.node->create_database(spec).ok());
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> vector(4);
  UpsertRequest request;
  request.database = "a";
  for (uint64_t id = 0; id < 6000; ++id) {
    for (float& value : vector) value = normal(random) + (id % 2 == 0 ? 0.0f : 20.0f);
    add(request, id, vector);
  }
  REQUIRE(test.node->upsert(request).ok());
  auto describe = [&] {
    auto info = test.node->describe_database("a");
    REQUIRE_MESSAGE(info.ok(), info.status().to_string());
    return *info;
  };
  while (describe().router_state != "ready") std::this_thread::yield();
  REQUIRE(test.node->wait_until_indexed("a").to_string() == "ok");
  RecallRequest recall;
  recall.database = "a";
  recall.k = 9;  // each vector is found beside its neighbours
  recall.sample = 20;
  recall.probes = 1;
  recall.min_recall = 0.95;
  // The searches let segments be measured.
  for (bool measured = false; !measured;) {
    auto found = test.node->recall(recall);
    REQUIRE_MESSAGE(found.ok(), found.status().to_string());
    CHECK(found->shards_searched == 0.5);
    CHECK(found->recall >= 0.9);
    measured = found->calibrated.value();
    for (const ShardInfo& shard : describe().placement) measured &= shard.measured_recall >= 0;
  }
  SearchRequest search = search_of("a", vector);
  search.probes = 1;
  search.min_recall = 0.95;
  search.explain = true;
  auto found = test.node->search(search);
  REQUIRE_MESSAGE(found.ok(), found.status().to_string());
  REQUIRE(found->explanation.size() == 1);
  for (const SegmentExplanation& segment : found->explanation[0].segments) {
    if (segment.kind != IndexKind::hnsw) continue;
    CHECK(segment.min_recall == 0.95);
    CHECK(segment.calibrated);
  }
  recall.nprobe = 3;
  CHECK(code_of(test.node->recall(recall)) == Code::invalid_argument);
  recall.nprobe.reset();
  recall.min_recall = 0.3;
  CHECK(code_of(test.node->recall(recall)) == Code::invalid_argument);
}

TEST_CASE("recall is measured by the stored vectors") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 2, Metric::l2, 2)).ok());
  RecallRequest request;
  request.database = "a";
  auto empty = test.node->recall(request);
  REQUIRE_MESSAGE(empty.ok(), empty.status().to_string());
  CHECK(empty->sampled == 0);
  CHECK(empty->recall == 1);
  UpsertRequest rows;
  rows.database = "a";
  for (uint64_t i = 0; i < 100; ++i) add(rows, i, {static_cast<float>(i % 7), 0});
  REQUIRE(test.node->upsert(rows).ok());
  // Without an index all searches are exact.
  request.sample = 20;
  auto exact = test.node->recall(request);
  REQUIRE(exact.ok());
  CHECK(exact->sampled == 20);
  CHECK(exact->recall == 1);
  request.k = 0;
  CHECK(code_of(test.node->recall(request)) == Code::invalid_argument);
  request.k = 10;
  request.sample = Limits::recall_sample_max + 1;
  CHECK(code_of(test.node->recall(request)) == Code::invalid_argument);
  request.sample = 1;
  request.database = "b";
  CHECK(code_of(test.node->recall(request)) == Code::not_found);
}

TEST_CASE("a database with an embedder takes text for vectors and for searches") {
  TestNode test;
  DatabaseSpec spec = spec_of("t", 128, Metric::cosine);
  spec.embedder = "lexical";
  REQUIRE(test.node->create_database(spec).ok());
  UpsertRequest request;
  request.database = "t";
  request.ids = {uint64_t{1}, uint64_t{2}};
  request.texts = {"convert video files between formats", "a spreadsheet for small offices"};
  REQUIRE(test.node->upsert(request).ok());
  SearchRequest search;
  search.database = "t";
  search.text = "video converter";
  auto found = test.node->search(search);
  REQUIRE(found.ok());
  REQUIRE(found->results.size() == 2);
  CHECK(found->results[0].id == VectorId(uint64_t{1}));
  CHECK(found->results[0].metadata == R"({"text":"convert video files between formats"})");
}

TEST_CASE("an update by text changes the vector, and what is kept of the text") {
  TestNode test;
  DatabaseSpec spec = spec_of("a", 384, Metric::cosine);
  spec.embedder = "lexical";
  REQUIRE(test.node->create_database(spec).ok());
  UpsertRequest request;
  request.database = "a";
  request.ids = {VectorId(uint64_t{1}), VectorId(uint64_t{2})};
  request.texts = {"the green house", "a yellow boat"};
  request.metadata = {R"({"n":1})", ""};
  REQUIRE(test.node->upsert(request).ok());
  UpdateRequest update;
  update.database = "a";
  update.vectors = {{VectorId(uint64_t{1})}};
  update.vectors[0].text = "three blue mountains";
  REQUIRE(test.node->update(update).ok());
  SearchRequest search;
  search.database = "a";
  search.text = "a blue mountain";
  search.k = 1;
  auto found = test.node->search(search);
  REQUIRE(found.ok());
  CHECK(found->results[0].id == VectorId(uint64_t{1}));
  CHECK(found->results[0].metadata == R"({"n":1,"text":"three blue mountains"})");
  update.vectors[0].metadata = R"({"text":null})";
  REQUIRE(test.node->update(update).ok());
  CHECK(test.node->get({"a", VectorId(uint64_t{1})})->metadata == R"({"n":1})");
  update.vectors[0].text = " ";
  CHECK(code_of(test.node->update(update)) == Code::invalid_argument);
}

TEST_CASE("a node says at its start what it cut off torn logs") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("a", 2, Metric::l2)).ok());
  REQUIRE(test.node->upsert(upsert_of("a", uint64_t{1}, {1, 2})).ok());
  test.node.reset();
  std::vector<std::string> expected;
  for (const char* store : {"log", "shards/2/data", "shards/2/segments"}) {
    for (const auto& file : std::filesystem::directory_iterator(test.dir / "data" / store)) {
      if (file.path().extension() != ".log") continue;
      std::ofstream(file.path(), std::ios::app) << "torn";
      expected.push_back("cut 4 bytes off the torn end of " + file.path().string());
    }
  }
  REQUIRE(expected.size() == 3);
  CHECK(test.warnings.empty());
  test.reopen();
  CHECK(test.node->get({"a", VectorId(uint64_t{1})}).ok());
  test.node.reset();
  CHECK(test.warnings == expected);
}

TEST_CASE("clients at once do not disturb each other") {
  // For the thread sanitizer more than for the checks.
  constexpr uint64_t writers = 2, rounds = 40, rows = 100;
  TestNode test;
  for (const char* name : {"shared", "other"}) {
    REQUIRE(test.node->create_database(spec_of(name, 8, Metric::cosine, 2)).ok());
  }
  std::atomic<int> failures{0};
  std::atomic<uint64_t> writing{writers};
  auto expect = [&](bool ok) { failures += ok ? 0 : 1; };
  auto vector_of = [](uint64_t id) {
    std::mt19937 random(static_cast<uint32_t>(id));
    std::vector<float> values(8);
    for (float& v : values) v = std::normal_distribution<float>()(random);
    return values;
  };
  std::vector<std::thread> clients;
  for (uint64_t writer = 0; writer < writers; ++writer) {
    clients.emplace_back([&, writer] {
      for (uint64_t round = 0; round < rounds; ++round) {
        UpsertRequest request;
        request.database = "shared";
        uint64_t first = (round * writers + writer) * rows;
        for (uint64_t id = first; id < first + rows; ++id) add(request, id, vector_of(id), "{}");
        expect(test.node->upsert(std::move(request)).ok());
        expect(test.node->get({"shared", VectorId(first + rows / 2)}).ok());
        auto found = test.node->search(search_of("shared", vector_of(first), 1));
        expect(found.ok() && found->results.size() == 1 && found->results[0].id == VectorId(first));
      }
      --writing;
    });
  }
  clients.emplace_back([&] {
    while (writing > 0) {
      ListRequest list;
      list.database = "shared";
      list.limit = 50;
      list.include_values = true;
      expect(test.node->list(list).ok());
      expect(test.node->describe_database("shared").ok());
      expect(test.node->list_databases().ok());
    }
  });
  clients.emplace_back([&] {
    for (uint64_t round = 0; writing > 0; ++round) {
      expect(test.node->upsert(upsert_of("other", round, vector_of(round), R"({"n": 1})")).ok());
      DeleteRequest request;
      request.database = "other";
      request.filter = R"({"n": 1})";
      auto deleted = test.node->remove(request);
      expect(deleted.ok() && deleted->deleted == 1);
      if (round % 8 == 7) {
        expect(test.node->drop_database("other").ok());
        expect(test.node->create_database(spec_of("other", 8, Metric::cosine, 2)).ok());
      }
    }
  });
  for (std::thread& client : clients) client.join();
  CHECK(failures == 0);
  CHECK(test.node->describe_database("shared")->vectors == writers * rounds * rows);
  CHECK(test.node->wait_until_indexed("shared").ok());
}

TEST_CASE("calls in flight are answered when the node is closed") {
  TestNode test;
  REQUIRE(test.node->create_database(spec_of("d", 2, Metric::l2, 2)).ok());
  constexpr int calls = 200;
  std::atomic<int> answers{0};
  for (int i = 0; i < calls; ++i) {
    auto request = upsert_of("d", static_cast<uint64_t>(i), {float(i), 1});
    test.node->api().upsert(std::move(request), [&](Result<UpsertReply>) { ++answers; });
  }
  CHECK(test.node->close().ok());
  CHECK(answers == calls);
}

TEST_CASE("calls of threads are answered while others close the node, and refused after that") {
  for (int round = 0; round < 5; ++round) {
    TestNode test;
    REQUIRE(test.node->create_database(spec_of("d", 2, Metric::l2, 2)).ok());
    std::atomic<int> begun{0};
    std::vector<std::thread> threads;
    auto until_closed = [&](auto&& call) {
      threads.emplace_back([&begun, call] {
        ++begun;
        for (Status status; status.code() != Code::unavailable;) status = call();
      });
    };
    Node& node = *test.node;
    until_closed([&] { return node.upsert(upsert_of("d", 1, {1, 1})).status(); });
    until_closed([&] { return node.search(search_of("d", {1, 1}, 1)).status(); });
    until_closed([&] { return node.wait_until_indexed("d"); });
    until_closed([&] { return node.list_databases().status(); });
    while (begun < 4) std::this_thread::yield();
    for (int i = 0; i < 2; ++i) threads.emplace_back([&] { CHECK(node.close().ok()); });
    for (std::thread& thread : threads) thread.join();
    CHECK(node.search(search_of("d", {1, 1}, 1)).status().code() == Code::unavailable);
    CHECK(node.close().ok());
  }
}

TEST_CASE("a program that passes what stands for nothing is told so, and nothing is damaged") {
  TestNode test;
  DatabaseSpec spec = spec_of("bad", 2, static_cast<Metric>(3));
  CHECK(test.node->create_database(spec).status().code() == Code::invalid_argument);
  REQUIRE(test.node->create_database(spec_of("d", 2, Metric::l2)).ok());
  AlterDatabaseRequest alter;
  alter.name = "d";
  alter.index.emplace().quantization = static_cast<Quantization>(9);
  std::promise<Status> altered;
  test.node->api().alter_database(
      alter, [&](Result<DatabaseInfo> info) { altered.set_value(info.status()); });
  CHECK(altered.get_future().get().code() == Code::invalid_argument);
  test.reopen();
  CHECK(test.node->list_databases()->size() == 1);
}

TEST_CASE("a second node cannot open the directory; a foreign one is refused") {
  TestNode test;
  NodeOptions options;
  options.data_dir = (test.dir / "data").string();
  auto second = Node::open(options);
  CHECK(code_of(second) == Code::failed_precondition);
  CHECK(second.status().message().find("in use") != std::string::npos);
  options.data_dir = test.dir.string();
  CHECK(code_of(Node::open(options)) == Code::failed_precondition);
}

}  // namespace jade
