#include "actors/query.h"

#include <doctest/doctest.h>

#include <cmath>
#include <mutex>
#include <set>

#include "tests/actors/scripted_peer.h"

namespace jade {
namespace {

// Database "a" of dimension 1, sharded by vector: shard 10 + i is around the number i.
struct ByVector {
  static constexpr uint64_t shards = 4;

  test::ScriptedConfig config;
  caf::actor_system system{config};
  caf::scoped_actor self{system};
  std::mutex mutex;
  std::vector<ShardSearch> asked;
  // Answers a shard's question; called one at a time.
  std::function<Result<ShardHits>(const ShardSearch&)> answer;
  query_actor actor = system.spawn(query, QueryOptions());
  replica_actor peer;

  ByVector() {
    test::PeerScript script;
    script.search = [this](const ShardSearch& search) -> std::optional<Result<ShardHits>> {
      std::lock_guard lock(mutex);
      asked.push_back(search);
      return answer(search);
    };
    peer = system.spawn(test::scripted_peer, script);
    answer = [](const ShardSearch& search) { return hits_of(search, {}); };
    route(5, false);
  }
  ~ByVector() {
    caf::anon_send_exit(actor, caf::exit_reason::kill);
    caf::anon_send_exit(peer, caf::exit_reason::kill);
  }

  // The map with a router of this version; another one is on its way, where `moving`.
  void route(uint64_t version, bool moving) {
    RoutesChanged routes = test::routes_to(peer, 10, 1, {2});
    auto map = std::make_shared<ClusterMap>(*routes.map);
    DatabaseEntry& entry = map->databases["a"];
    entry.spec.sharding = Sharding::vector;
    entry.spec.shards = shards;
    entry.shards.clear();
    RouterRecord router;
    router.version = version;
    for (uint64_t i = 0; i < shards; ++i) {
      ShardPlacement& placement = entry.shards.emplace_back();
      placement.group = 10 + i;
      placement.nodes = {2};
      placement.hash_begin = i << 62;
      auto centre = static_cast<float>(i);
      router.centres.append(reinterpret_cast<const char*>(&centre), sizeof centre);
    }
    entry.router = std::make_shared<const RouterRecord>(router);
    router.version = version + 1;
    if (moving) entry.next_router = std::make_shared<const RouterRecord>(router);
    routes.map = publish(*map);
    self->send(actor, routes);
  }
  // For each query the hits: id and distance.
  static ShardHits hits_of(const ShardSearch& search,
                           std::vector<std::pair<uint64_t, float>> found) {
    ShardHits hits;
    for (size_t i = 0; i < search.queries.size() / sizeof(float); ++i) {
      auto& list = hits.queries.emplace_back();
      for (auto [id, distance] : found) list.push_back({VectorId(id).key(), distance, "", ""});
    }
    return hits;
  }
  static SearchRequest near(float value, std::optional<uint32_t> probes, uint32_t k = 1) {
    SearchRequest search;
    search.database = "a";
    search.vector = {value};
    search.probes = probes;
    search.k = k;
    return search;
  }
  Result<SearchReply> ask(const SearchRequest& request) {
    Result<SearchReply> out = unavailable("");
    self->request(actor, caf::infinite, request)
        .receive([&](SearchReply& reply) { out = std::move(reply); },
                 [&](const caf::error& error) { out = to_status(error); });
    return out;
  }
  std::multiset<uint64_t> groups_asked() {
    std::lock_guard lock(mutex);
    std::multiset<uint64_t> out;
    for (const ShardSearch& search : std::exchange(asked, {})) out.insert(search.route.group);
    return out;
  }
};

using Groups = std::multiset<uint64_t>;

}  // namespace

TEST_CASE(
    "with sharding by vector the nearest shards are asked, and more where they have too few") {
  ByVector v;
  v.answer = [](const ShardSearch& search) {
    CHECK(search.router == 5);
    return ByVector::hits_of(search, {{search.route.group, 1}});
  };
  auto found = v.ask(ByVector::near(2.2f, 1));
  REQUIRE_MESSAGE(found.ok(), found.status().to_string());
  CHECK(found->shards_searched == 1);
  CHECK(found->shards == 4);
  CHECK(v.groups_asked() == Groups{12});
  CHECK(v.ask(ByVector::near(2.2f, 2)).ok());
  CHECK(v.groups_asked() == Groups{12, 13});
  // Half of them and one, by default.
  CHECK(v.ask(ByVector::near(2.2f, std::nullopt))->shards_searched == 3);
  CHECK(v.groups_asked() == Groups{11, 12, 13});
  SearchRequest exact = ByVector::near(2.2f, 1);
  exact.exact = true;
  CHECK(v.ask(exact)->shards_searched == 4);
  CHECK(v.groups_asked().size() == 4);
  // Two that were asked have two; there are four.
  found = v.ask(ByVector::near(2.2f, 2, 4));
  REQUIRE(found.ok());
  CHECK(found->results.size() == 4);
  CHECK(found->shards_searched == 4);
  CHECK(v.groups_asked() == Groups{10, 11, 12, 12, 13, 13});

  SearchBatchRequest batch;
  batch.database = "a";
  for (float value : {0.0f, 3.0f, 0.1f}) batch.searches.push_back(ByVector::near(value, 1));
  std::vector<uint64_t> ids;
  v.self->request(v.actor, caf::infinite, batch)
      .receive(
          [&](const SearchBatchReply& reply) {
            for (const auto& one : reply.results) ids.push_back(one.results.at(0).id.integer());
          },
          [&](const caf::error& error) { FAIL(to_status(error).to_string()); });
  CHECK(ids == std::vector<uint64_t>{10, 13, 10});
  // One question for the two that are near to the same shard.
  CHECK(v.groups_asked() == Groups{10, 13});
}

TEST_CASE("with sharding by vector, others are asked in the place of shards that do not answer") {
  ByVector v;
  std::set<uint64_t> lost{10};
  v.answer = [&](const ShardSearch& search) -> Result<ShardHits> {
    if (lost.count(search.route.group) > 0) return unavailable("no replica leads");
    return ByVector::hits_of(search, {{search.route.group, 1}});
  };
  auto search = ByVector::near(0.2f, 1, 3);
  // What is lost is asked once, and those that answered once more.
  search.partial = true;
  for (uint32_t probes : {1u, 2u}) {
    CAPTURE(probes);
    search.probes = probes;
    auto found = v.ask(search);
    REQUIRE_MESSAGE(found.ok(), found.status().to_string());
    CHECK(found->results.size() == 3);
    CHECK(found->shards_searched == 4);
    CHECK(found->missing_shards == std::vector<uint64_t>{10});
    CHECK(v.groups_asked() == (probes == 1 ? Groups{10, 11, 12, 13} : Groups{10, 11, 11, 12, 13}));
  }
  // Enough was found without it.
  search.k = 1;
  auto found = v.ask(search);
  REQUIRE(found.ok());
  CHECK(found->shards_searched == 2);
  CHECK(found->missing_shards == std::vector<uint64_t>{10});
  CHECK(v.groups_asked() == Groups{10, 11});

  // Nobody answers, or what is missing matters: the reason, once.
  auto refused = [&](const std::string& which) {
    auto answer = v.ask(search);
    REQUIRE(answer.status().code() == Code::unavailable);
    const std::string& why = answer.status().message();
    CHECK_MESSAGE(why.find(which) != std::string::npos, why);
    CHECK(why.find("shard") == why.rfind("shard"));
  };
  search.partial = false;
  refused("shard 10 of database");
  lost = {10, 11, 12, 13};
  search.partial = true;
  refused("shards 10, 11, 12 and 13 of database");
}

TEST_CASE("a search has options that the type of the index of its database has, and no others") {
  for (IndexKind type : {IndexKind::hnsw, IndexKind::automatic, IndexKind::ivf, IndexKind::flat}) {
    DatabaseSpec spec;
    spec.name = "a";
    spec.dimension = 1;
    spec.metric = Metric::l2;
    spec.index.kind = type;
    const std::string is = "; it is \"" + std::string(to_string(type)) + "\"";
    auto refused = [&](auto change) {
      SearchRequest search;
      search.vector = {1};
      change(search);
      return prepare_search(spec, search).message();
    };
    CHECK(refused([](SearchRequest& s) { s.ef_search = 5; }) ==
          (has_graphs(type) ? "" : "ef_search needs index.type \"hnsw\" or \"auto\"" + is));
    CHECK(refused([](SearchRequest& s) { s.nprobe = 5; }) ==
          (has_lists(type) ? "" : "nprobe needs index.type \"ivf\"" + is));
    CHECK(refused([](SearchRequest& s) { s.ef_search = s.nprobe = 5; }).find(is) !=
          std::string::npos);
    CHECK(refused([](SearchRequest& s) { s.min_recall = 0.9; }).empty());
    CHECK(refused([](SearchRequest& s) { s.vector = {-2e18f}; }) ==
          "vector has a length of 2e+18; with metric \"l2\" it must be at most 1e+18, so that no "
          "distance overflows");
  }
}

TEST_CASE("while vectors move, all shards are asked, and who asks by an old router asks again") {
  ByVector v;
  v.route(5, true);
  v.answer = [](const ShardSearch& search) {
    CHECK(search.router == 0);
    return ByVector::hits_of(search, {{search.route.group, 1}});
  };
  CHECK(v.ask(ByVector::near(2, 1))->shards_searched == 4);
  v.groups_asked();
  v.route(5, false);
  v.answer = [&v](const ShardSearch& search) -> Result<ShardHits> {
    if (search.router == 6) return ByVector::hits_of(search, {{7, 1}});
    CHECK(search.router == 5);
    v.route(6, false);
    return Status(Code::moved, "another router");
  };
  auto found = v.ask(ByVector::near(2, 1));
  REQUIRE_MESSAGE(found.ok(), found.status().to_string());
  CHECK(found->results[0].id == VectorId(uint64_t{7}));
  CHECK(v.groups_asked() == Groups{12, 12});
}

TEST_CASE("answers of moments that do not go together are asked for again") {
  ByVector v;
  int round = 0;
  // A row has left shard 12 and arrived in 13 with entry 40, which 13 had not applied.
  v.answer = [&round](const ShardSearch& search) {
    ShardHits hits = ByVector::hits_of(search, {{1, 2}, {2, 3}});
    hits.applied_index = 39;
    if (search.route.group == 12) hits.after = {{13, 40}, {10, 99}};
    if (search.route.group == 13) {
      ++round;
      bool asked_for = search.applied_min == 40;
      CHECK(asked_for == (round == 2));
      hits = ByVector::hits_of(search, {{3, 1}});
      hits.applied_index = asked_for ? 41 : 39;
    }
    return hits;
  };
  auto found = v.ask(ByVector::near(2.6f, 2));
  REQUIRE_MESSAGE(found.ok(), found.status().to_string());
  CHECK(round == 2);
  CHECK(found->results[0].id == VectorId(uint64_t{3}));
  // Not where old answers will do.
  round = 0;
  SearchRequest eventual = ByVector::near(2.6f, 2);
  eventual.consistency = Consistency::eventual;
  CHECK(v.ask(eventual).ok());
  CHECK(round == 1);
}

TEST_CASE("an id that two shards have is asked for again, and shown once where both may be old") {
  ByVector v;
  int asked = 0;
  v.answer = [&asked](const ShardSearch& search) {
    // It leaves one of them when both have been asked once.
    bool gone = asked++ >= 2 && search.route.group == 12;
    return gone ? ByVector::hits_of(search, {{9, 5}})
                : ByVector::hits_of(search, {{1, static_cast<float>(search.route.group)}, {2, 50}});
  };
  auto found = v.ask(ByVector::near(2.6f, 2, 2));
  REQUIRE_MESSAGE(found.ok(), found.status().to_string());
  CHECK(asked == 4);
  REQUIRE(found->results.size() == 2);
  CHECK(found->results[0].id == VectorId(uint64_t{9}));
  CHECK(found->results[1].id == VectorId(uint64_t{1}));
  v.answer = [](const ShardSearch& search) {
    return ByVector::hits_of(search, {{1, static_cast<float>(search.route.group)}, {2, 50}});
  };
  SearchRequest eventual = ByVector::near(2.6f, 2, 2);
  eventual.consistency = Consistency::eventual;
  found = v.ask(eventual);
  REQUIRE(found.ok());
  REQUIRE(found->results.size() == 2);
  CHECK(found->results[0].id == VectorId(uint64_t{1}));
  CHECK(found->results[0].score == doctest::Approx(std::sqrt(12.0f)));
  CHECK(found->results[1].id == VectorId(uint64_t{2}));
}

TEST_CASE("a search that any replica may answer is asked of a second one when the first is slow") {
  test::ScriptedConfig config;
  caf::actor_system system(config);
  auto asked = std::make_shared<std::vector<uint64_t>>();
  std::vector<uint64_t> promised;  // what an answer must hold, and any that holds it may say
  // Only node 3 answers, with its number as an id.
  test::PeerScript script;
  script.search = [&](const ShardSearch& search) -> std::optional<Result<ShardHits>> {
    asked->push_back(search.route.node);
    const bool session = search.consistency == Consistency::session;
    promised.push_back(session ? search.applied_min : 0);
    if (search.route.node != 3) return std::nullopt;
    ShardHits hits;
    hits.queries.push_back({ShardHit{VectorId(search.route.node).key(), 0.5f, "", ""}});
    return hits;
  };
  auto peer = system.spawn(test::scripted_peer, script);
  QueryOptions options;
  options.read_timeout = std::chrono::seconds(2);
  auto actor = system.spawn(query, options);
  caf::scoped_actor self(system);
  self->send(actor, test::routes_to(peer, 7, 1, {2, 3}));
  SearchRequest search;
  search.database = "a";
  search.vector = {1};
  auto ask = [&](const SearchRequest& request) {
    Result<SearchReply> out = unavailable("");
    self->request(actor, caf::infinite, request)
        .receive([&](SearchReply& reply) { out = std::move(reply); },
                 [&](const caf::error& error) { out = to_status(error); });
    return out;
  };
  search.consistency = Consistency::eventual;
  auto found = ask(search);
  REQUIRE_MESSAGE(found.ok(), found.status().to_string());
  REQUIRE(found->results.size() == 1);
  CHECK(found->results[0].id == VectorId(uint64_t{3}));
  // Whoever has applied a write may answer who has its token.
  search.consistency = Consistency::session;
  search.token = "7:12";
  CHECK(ask(search).ok());
  // Also where any would do: what the token is for must be seen.
  search.consistency = Consistency::eventual;
  CHECK(ask(search).ok());
  CHECK(promised == std::vector<uint64_t>{0, 0, 12, 12, 12, 12});
  search.consistency = Consistency::session;
  // But only the leader who wants the latest: here it never answers.
  search.token = "";
  CHECK(ask(search).status().code() == Code::deadline_exceeded);
  CHECK(*asked == std::vector<uint64_t>{0, 3, 0, 3, 0, 3, 0});
}

TEST_CASE("what is read by id, listed or looked up for a search is as new as was asked for") {
  test::ScriptedConfig config;
  caf::actor_system system(config);
  struct Asked {
    Consistency consistency;
    uint64_t applied_min;
    bool operator==(const Asked&) const = default;
  };
  std::vector<Asked> gets, lists;
  test::PeerScript script;
  script.get = [&](const ShardGet& get) -> std::optional<Result<ShardVectors>> {
    gets.push_back({get.consistency, get.applied_min});
    return unavailable("none is here");
  };
  script.list = [&](const ShardList& list) -> std::optional<Result<ShardVectors>> {
    lists.push_back({list.consistency, list.applied_min});
    return ShardVectors{};
  };
  auto actor = system.spawn(query, QueryOptions{});
  caf::scoped_actor self(system);
  self->send(actor, test::routes_to(system.spawn(test::scripted_peer, script), 7, 1, {2, 3}));
  auto ask = [&](const auto& request, auto reply) {
    Status out;
    self->request(actor, caf::infinite, request)
        .receive([&](decltype(reply)&) {},
                 [&](const caf::error& error) { out = to_status(error); });
    return out;
  };
  GetRequest get{"a", VectorId(uint64_t{1})};
  ListRequest list;
  list.database = "a";
  SearchRequest search;
  search.database = "a";
  search.id = VectorId(uint64_t{1});
  auto read = [&](Consistency consistency, const std::string& token) {
    get.consistency = list.consistency = search.consistency = consistency;
    get.token = list.token = search.token = token;
    CHECK(ask(get, StoredVector{}).code() == Code::unavailable);
    CHECK(ask(list, ListReply{}).ok());
    CHECK(ask(search, SearchReply{}).code() == Code::unavailable);
  };
  read(Consistency::session, "");
  read(Consistency::strong, "");
  read(Consistency::eventual, "");
  read(Consistency::session, "7:12");
  // Of another shard.
  read(Consistency::eventual, "8:12");
  // What must be seen is, whoever answers.
  read(Consistency::eventual, "7:12");
  const std::vector<Asked> expected = {{Consistency::session, 0},  {Consistency::strong, 0},
                                       {Consistency::eventual, 0}, {Consistency::session, 12},
                                       {Consistency::eventual, 0}, {Consistency::session, 12}};
  CHECK(lists == expected);
  REQUIRE(gets.size() == 2 * expected.size());
  for (size_t i = 0; i < gets.size(); ++i) CHECK(gets[i] == expected[i / 2]);
  get.token = list.token = "nonsense";
  CHECK(ask(get, StoredVector{}).code() == Code::invalid_argument);
  CHECK(ask(list, ListReply{}).code() == Code::invalid_argument);
}

}  // namespace jade
