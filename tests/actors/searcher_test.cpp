#include "actors/searcher.h"

#include <doctest/doctest.h>

#include "actors/errors.h"
#include "actors/scheduler.h"
#include "actors/shard_replica.h"

namespace jade {
namespace {

// Of so many rows, which are not there.
SearchTask search_of(uint32_t rows, uint32_t dimension, size_t queries) {
  auto view = std::make_shared<ShardSnapshot>(
      RecordFormat(RowFormat(Metric::l2, dimension, Datatype::float32)));
  view->segments.resize(1);
  if (rows > 0) view->segments[0].push_back({nullptr, nullptr, rows, 0, 1});
  SearchTask task;
  task.view = std::move(view);
  task.search.dimension = dimension;
  task.search.queries.assign(queries * dimension * sizeof(float), '\0');
  return task;
}

struct Config : caf::actor_system_config {
  Config() {
    jade::add_message_types(*this);
    use_node_scheduler(*this);
  }
};

}  // namespace

TEST_CASE("searches are long by what they compare") {
  CHECK(!is_long(search_of(200'000, 128, 1)));
  CHECK(is_long(search_of(200'000, 128, 200)));
  CHECK(!is_long(search_of(100, 128, 200)));
  CHECK(!is_long(search_of(0, 128, 1000)));
  CHECK(!is_long(SearchTask()));
  SearchTask exact = search_of(200'000, 128, 1);
  exact.search.exact = true;
  CHECK(is_long(exact));
  SearchTask few = search_of(20'000, 128, 1);
  few.search.exact = true;
  CHECK(!is_long(few));
  SearchTask many = search_of(200'000, 128, 1);
  many.search.k = 10'000;
  CHECK(is_long(many));
  SearchTask thorough = search_of(200'000, 128, 1);
  thorough.search.ef_search = 10'000;
  CHECK(is_long(thorough));
  SearchTask certain = search_of(200'000, 128, 30);
  CHECK(!is_long(certain));
  certain.search.min_recall = 0.9;
  CHECK(is_long(certain));
  SearchTask wrong = search_of(200'000, 128, 200);
  wrong.search.vector = 3;
  CHECK(!is_long(wrong));
}

TEST_CASE("what is long is handed on, and what is short is not") {
  Config config;
  caf::actor_system system(config);
  // It has ended, so that nobody has an answer of it.
  auto other = system.spawn(long_searcher);
  caf::anon_send_exit(other, caf::exit_reason::kill);
  auto searcher = system.spawn(jade::searcher, std::vector<searcher_actor>{other});
  caf::scoped_actor self(system);
  self->wait_for(other);
  auto answered = [&](SearchTask task) {
    bool ok = false;
    self->request(searcher, caf::infinite, std::move(task))
        .receive([&](const ShardHits&) { ok = true; }, [](const caf::error&) {});
    return ok;
  };
  CHECK(answered(search_of(0, 128, 1)));
  CHECK(answered(search_of(0, 128, 1000)));
  CHECK(!answered(search_of(200'000, 128, 1000)));
  CHECK(answered(search_of(0, 128, 1)));
  caf::anon_send_exit(searcher, caf::exit_reason::kill);
}

}  // namespace jade
