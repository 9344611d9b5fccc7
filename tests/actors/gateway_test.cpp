#include "actors/gateway.h"

#include <doctest/doctest.h>

#include "actors/errors.h"
#include "actors/scheduler.h"

namespace jade {
namespace {

// Answers at once, but the first update when it hears of routes.
ingest_actor::behavior_type slow_ingest(
    ingest_actor::pointer self,
    const std::shared_ptr<caf::typed_response_promise<UpdateReply>>& held) {
  return {
      [=](const RoutesChanged&) {
        held->deliver(UpdateReply{1, {}, {}, "t"});
      },
      [](const Later&) {},
      [](const UpsertRequest&) -> caf::result<UpsertReply> {
        return UpsertReply{1, "t"};
      },
      [=](const UpdateRequest&) -> caf::result<UpdateReply> {
        if (held->pending()) return UpdateReply{1, {}, {}, "t"};
        *held = self->make_response_promise<UpdateReply>();
        return *held;
      },
      [](const DeleteRequest&) -> caf::result<DeleteReply> {
        return DeleteReply{1, "t"};
      },
  };
}

}  // namespace

TEST_CASE("what is written beyond what may be in flight is refused until there is room") {
  caf::actor_system_config config;
  use_node_scheduler(config);
  caf::actor_system system(config);
  auto held = std::make_shared<caf::typed_response_promise<UpdateReply>>();
  auto ingest = system.spawn(slow_ingest, held);
  GatewayOptions options;
  options.inflight_bytes_max = 100'000;
  auto actor = system.spawn(gateway, options, ingest, query_actor(), master_actor(), node_actor());
  caf::scoped_actor self(system);
  UpdateRequest update;
  update.vectors.emplace_back().metadata = std::string(99'000, 'x');
  update.vectors.back().values.resize(100);
  UpsertRequest upsert;
  upsert.ids = {VectorId(uint64_t{1})};
  upsert.values = std::string(10'000, '\0');
  auto code_of = [&](const auto& request, const auto& reply) {
    Code code = Code::ok;
    self->request(actor, caf::infinite, request)
        .receive([](const std::decay_t<decltype(reply)>&) {},
                 [&](const caf::error& error) { code = to_status(error).code(); });
    return code;
  };
  // Alone it may be as long as it likes.
  auto first = self->request(actor, caf::infinite, update);
  CHECK(code_of(update, UpdateReply()) == Code::resource_exhausted);
  CHECK(code_of(upsert, UpsertReply()) == Code::resource_exhausted);
  self->send(ingest, RoutesChanged());
  bool done = false;
  first.receive([&](const UpdateReply& reply) { done = reply.updated == 1; },
                [](const caf::error&) {});
  CHECK(done);
  CHECK(code_of(upsert, UpsertReply()) == Code::ok);
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  caf::anon_send_exit(ingest, caf::exit_reason::user_shutdown);
}

TEST_CASE("databases are created for whose shards there are files enough") {
  gateway_state state;
  DatabaseSpec spec;
  spec.shards = 4;
  spec.replicas = 3;
  state.replicas = 60;
  CHECK(state.check_room(spec).ok());  // there is no limit
  state.options.replicas_max = 64;
  CHECK(state.check_room(spec) ==
        Status(Code::failed_precondition,
               "the node has replicas of 60 shards, and would get 12 more, but the limit of open "
               "files (ulimit -n) leaves room for 64 only; raise it and start the node again"));
  state.nodes = 3;  // each of which gets a third
  CHECK(state.check_room(spec).ok());
  state.replicas = 61;
  CHECK(state.check_room(spec).code() == Code::failed_precondition);
}

}  // namespace jade
