#include "actors/gateway.h"

#include <algorithm>
#include <utility>

#include "actors/catalog.h"
#include "actors/errors.h"
#include "actors/routes.h"

namespace jade {
namespace {

// For the master to be asked, and for what it says to come here.
constexpr auto renew_timeout = std::chrono::seconds(3);

// The answer to a CreateDatabase: describe it once this node serves its shards.
void describe_when_served(gateway_actor::stateful_pointer<gateway_state> self, node_actor node,
                          query_actor query, uint64_t version, std::string database,
                          caf::typed_response_promise<DatabaseInfo> promise) {
  auto fail = [promise](const caf::error& error) mutable { promise.deliver(error); };
  self->request(node, self->state.options.create_timeout, AwaitVersion{version, database})
      .then(
          [=](const CatalogApplied&) mutable {
            promise.delegate(query, DescribeDatabase{database});
          },
          fail);
}

size_t size_of(const UpsertRequest& request) {
  size_t bytes = request.values.size() + request.ids.size() * sizeof(VectorId);
  for (const VectorColumn& column : request.named) {
    bytes += column.values.size() + column.rows.size() * sizeof(uint32_t);
  }
  for (const auto& text : request.metadata) bytes += text.size();
  for (const auto& text : request.texts) bytes += text.size();
  return bytes;
}

size_t size_of(const UpdateRequest& request) {
  size_t bytes = 0;
  for (const VectorUpdate& update : request.vectors) {
    bytes += sizeof update + update.metadata.size() + update.values.size() * sizeof(float);
    for (const NamedValues& one : update.named) {
      bytes += sizeof one + one.name.size() + one.values.size() * sizeof(float);
    }
    for (const std::string& name : update.without) bytes += sizeof name + name.size();
    if (update.text) bytes += update.text->size();
  }
  return bytes;
}

using Self = gateway_actor::stateful_pointer<gateway_state>;

void renew_map(Self self) {
  gateway_state& state = self->state;
  state.renewing = true;
  auto renewed = [=, asked = std::exchange(state.waiting, {})](const Status& status) {
    for (const auto& then : asked) then(status);
    self->state.renewing = false;
    if (!self->state.waiting.empty()) renew_map(self);
  };
  auto failed = [renewed](const caf::error& error) { renewed(to_status(error)); };
  self->request(state.master, renew_timeout, ChangeCatalog{{metadata_group}})
      .then(
          [=](const CatalogApplied& latest) {
            self->request(self->state.node, renew_timeout, AwaitVersion{latest.version, {}, true})
                .then([renewed](const CatalogApplied&) { renewed({}); }, failed);
          },
          failed);
}

// Where it is not known yet what there is, the actor behind says so.
bool knows(const gateway_state& state, const std::string& database) {
  return !state.map || state.map->find(database) != nullptr;
}

Status may_exist(const std::string& database, const std::string& why) {
  return unavailable("this node knows no database \"" + database +
                     "\", but its catalog may be old: " + why + "; try again, or ask another node");
}

// Tells whether there is such a database once that is known here.
void when_known(Self self, const std::string& database, const gateway_state::Renewed& then) {
  gateway_state& state = self->state;
  if (!state.map_trouble.empty()) return then(may_exist(database, state.map_trouble));
  state.waiting.push_back([=](const Status& renewed) {
    if (!renewed.ok()) return then(may_exist(database, renewed.message()));
    then(knows(self->state, database) ? Status() : no_database(database));
  });
  if (!state.renewing) renew_map(self);
}

const std::string& database_of(const DescribeDatabase& describe) { return describe.name; }
template <class Request>
const std::string& database_of(const Request& request) {
  return request.database;
}

// To an actor that answers it.
template <class Reply, class Actor, class Request>
caf::result<Reply> pass_on(Self self, const Actor& actor, Request& request) {
  if (knows(self->state, database_of(request))) return self->delegate(actor, std::move(request));
  auto promise = self->template make_response_promise<Reply>();
  auto held = std::make_shared<Request>(std::move(request));
  when_known(self, database_of(*held), [=](const Status& known) mutable {
    if (!known.ok()) return (void)promise.deliver(to_error(known));
    promise.delegate(actor, std::move(*held));
  });
  return promise;
}

// The same of a write, while there is room for it.
template <class Reply, class Request>
caf::result<Reply> admit(Self self, const ingest_actor& ingest, Request& request) {
  gateway_state& state = self->state;
  size_t bytes = size_of(request);
  if (state.inflight_bytes > 0 && state.inflight_bytes + bytes > state.options.inflight_bytes_max) {
    return to_error(
        Status(Code::resource_exhausted, "too many writes in flight; try again in a second"));
  }
  state.inflight_bytes += bytes;
  auto promise = self->template make_response_promise<Reply>();
  auto pass = [=](Request&& admitted) {
    // ingest bounds its own time, so this needs no deadline of its own.
    self->request(ingest, caf::infinite, std::move(admitted))
        .then(
            [=](Reply& reply) mutable {
              self->state.inflight_bytes -= bytes;
              promise.deliver(std::move(reply));
            },
            [=](const caf::error& error) mutable {
              self->state.inflight_bytes -= bytes;
              promise.deliver(error);
            });
  };
  if (knows(state, request.database)) {
    pass(std::move(request));
    return promise;
  }
  auto held = std::make_shared<Request>(std::move(request));
  when_known(self, held->database, [=](const Status& known) mutable {
    if (known.ok()) return pass(std::move(*held));
    self->state.inflight_bytes -= bytes;
    promise.deliver(to_error(known));
  });
  return promise;
}

// Of a node that must not take part any more: it says why.
gateway_actor::behavior_type refusing(gateway_actor::pointer self, const caf::error& why,
                                      const node_actor& node) {
  return {
      [](const RoutesChanged&) {},
      [=](const CreateDatabase&) -> caf::result<DatabaseInfo> { return why; },
      [=](const DropDatabase&) -> caf::result<DatabaseInfo> { return why; },
      [=](const AlterDatabase&) -> caf::result<DatabaseInfo> { return why; },
      [=](const SplitShard&) -> caf::result<DatabaseInfo> { return why; },
      [=](const ListDatabases&) -> caf::result<DatabaseInfos> { return why; },
      [=](const DescribeDatabase&) -> caf::result<DatabaseInfo> { return why; },
      [=](const UpsertRequest&) -> caf::result<UpsertReply> { return why; },
      [=](const UpdateRequest&) -> caf::result<UpdateReply> { return why; },
      [=](const DeleteRequest&) -> caf::result<DeleteReply> { return why; },
      [=](const GetRequest&) -> caf::result<StoredVector> { return why; },
      [=](const ListRequest&) -> caf::result<ListReply> { return why; },
      [=](const SearchRequest&) -> caf::result<SearchReply> { return why; },
      [=](const SearchBatchRequest&) -> caf::result<SearchBatchReply> { return why; },
      [=](const RecallRequest&) -> caf::result<RecallReply> { return why; },
      [=](DescribeCluster describe) { return self->delegate(node, describe); },
      [=](const ChangeNodeRequest&) -> caf::result<NodeInfo> { return why; },
      [=](CheckReady check) { return self->delegate(node, check); },
  };
}

}  // namespace

Status gateway_state::check_room(const DatabaseSpec& spec) const {
  const size_t share = (size_t{spec.shards} * spec.replicas + nodes - 1) / nodes;
  if (options.replicas_max == 0 || replicas + share <= options.replicas_max) return {};
  return Status(Code::failed_precondition,
                "the node has replicas of " + std::to_string(replicas) + " shards, and would get " +
                    std::to_string(share) +
                    " more, but the limit of open files (ulimit -n) leaves room for " +
                    std::to_string(options.replicas_max) +
                    " only; raise it and start the node again");
}

gateway_actor::behavior_type gateway(gateway_actor::stateful_pointer<gateway_state> self,
                                     GatewayOptions options, ingest_actor ingest, query_actor query,
                                     master_actor master, node_actor node) {
  self->state.options = options;
  self->state.master = master;
  self->state.node = node;
  auto change_database = [=](std::string name, auto& change) -> caf::result<DatabaseInfo> {
    auto promise = self->make_response_promise<DatabaseInfo>();
    self->request(master, options.create_timeout, std::move(change))
        .then(
            [=](const CatalogApplied& applied) {
              describe_when_served(self, node, query, applied.version, name, promise);
            },
            [=](const caf::error& error) mutable { promise.deliver(error); });
    return promise;
  };
  return {
      [=](RoutesChanged& routes) {
        if (!routes.refused.ok()) {
          auto why = to_error(unavailable(routes.refused.message()));
          return self->become(refusing(self, why, node));
        }
        if (routes.replicas) self->state.replicas = routes.replicas->size();
        if (routes.map) self->state.nodes = std::max<size_t>(1, routes.map->nodes.size());
        self->state.map = routes.map;
        self->state.map_trouble = routes.map_trouble;
        self->send(ingest, routes);
        self->send(query, routes);
      },
      [=](CreateDatabase& create) -> caf::result<DatabaseInfo> {
        Status status = validate(create.spec);
        if (status.ok()) status = self->state.check_room(create.spec);
        if (!status.ok()) return to_error(status);
        return change_database(create.spec.name, create);
      },
      [=](DropDatabase& drop) -> caf::result<DatabaseInfo> {
        // Answered with what it was.
        auto promise = self->make_response_promise<DatabaseInfo>();
        auto fail = [=](const caf::error& error) mutable { promise.deliver(error); };
        auto described = [=](DatabaseInfo& info) {
          auto was = std::make_shared<DatabaseInfo>(std::move(info));
          self->request(master, options.create_timeout, drop)
              .then(
                  [=](const CatalogApplied& applied) {
                    // What other databases are waiting for is no concern of it.
                    self->request(node, options.create_timeout,
                                  AwaitVersion{applied.version, drop.name})
                        .then(
                            [=](const CatalogApplied&) mutable {
                              promise.deliver(DatabaseInfo(*was));
                            },
                            fail);
                  },
                  fail);
        };
        self->request(gateway_actor(self), options.create_timeout, DescribeDatabase{drop.name})
            .then(described, fail);
        return promise;
      },
      [=](AlterDatabase& alter) { return change_database(alter.name, alter); },
      [=](SplitShard& split) -> caf::result<DatabaseInfo> {
        // In the catalog it would mean that no shard is named.
        if (split.shard == 0) {
          return to_error(not_found("there is no shard 0 of database \"" + split.database + "\""));
        }
        return change_database(split.database, split);
      },
      [=](ListDatabases list) { return self->delegate(query, list); },
      [=](DescribeDatabase& describe) { return pass_on<DatabaseInfo>(self, query, describe); },
      [=](UpsertRequest& request) { return admit<UpsertReply>(self, ingest, request); },
      [=](UpdateRequest& request) { return admit<UpdateReply>(self, ingest, request); },
      [=](DeleteRequest& request) { return pass_on<DeleteReply>(self, ingest, request); },
      [=](GetRequest& request) { return pass_on<StoredVector>(self, query, request); },
      [=](ListRequest& request) { return pass_on<ListReply>(self, query, request); },
      [=](SearchRequest& request) { return pass_on<SearchReply>(self, query, request); },
      [=](RecallRequest& request) { return pass_on<RecallReply>(self, query, request); },
      [=](SearchBatchRequest& request) { return pass_on<SearchBatchReply>(self, query, request); },
      [=](DescribeCluster describe) { return self->delegate(node, describe); },
      [=](ChangeNodeRequest& change) { return self->delegate(node, std::move(change)); },
      [=](CheckReady check) { return self->delegate(node, check); },
  };
}

}  // namespace jade
