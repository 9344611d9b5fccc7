#include "actors/client.h"

#include <atomic>

#include "actors/errors.h"
#include "actors/scheduler.h"

namespace jade {
namespace {

struct client_state {
  static inline const char* name = "client";
};

caf::behavior client(caf::stateful_actor<client_state>* self) {
  return {[self](ClientCall& call) { call.run(self); }};
}

}  // namespace

// Whether what is asked takes each actor on its way microseconds: it has one vector at most.
template <class Request>
constexpr bool is_brief =
    std::is_same_v<Request, SearchRequest> || std::is_same_v<Request, GetRequest>;

struct ApiClient::Impl {
  caf::actor_system& system;
  gateway_actor gateway;
  std::shared_ptr<const std::atomic<bool>> asks_others;
  std::vector<caf::actor> actors;
  std::atomic<size_t> next{0};
};

ApiClient::ApiClient(caf::actor_system& system, gateway_actor gateway, uint32_t actors,
                     std::shared_ptr<const std::atomic<bool>> asks_others)
    : impl_(new Impl{system, std::move(gateway), std::move(asks_others), {}, 0}) {
  for (uint32_t i = 0; i < actors; ++i) impl_->actors.push_back(system.spawn(client));
}

ApiClient::~ApiClient() {
  for (auto& actor : impl_->actors) caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
}

template <class Reply, class Request>
void ApiClient::call(Request request, Done<Reply> done) {
  size_t turn = impl_->next.fetch_add(1, std::memory_order_relaxed);
  const caf::actor& actor = impl_->actors[turn % impl_->actors.size()];
  // std::function wants copies; the request is moved out on its only run.
  auto carried = std::make_shared<Request>(std::move(request));
  // Called once, also when the node dies with the request inside it.
  struct Once {
    Done<Reply> done;
    ~Once() {
      if (done) finish(unavailable("the node is shutting down"));
    }
    void finish(Result<Reply> result) noexcept {
      try {
        std::exchange(done, nullptr)(std::move(result));
      } catch (...) {
        // It would end the actor by which the answers to others come, too.
      }
    }
  };
  auto once = std::make_shared<Once>();
  once->done = std::move(done);
  auto element = caf::make_mailbox_element(
      nullptr, caf::make_message_id(), {},
      ClientCall{[gateway = impl_->gateway, carried, once](caf::event_based_actor* self) {
        // The actors behind the gateway each bound their own time.
        self->request(gateway, caf::infinite, std::move(*carried))
            .then([once](Reply& reply) { once->finish(std::move(reply)); },
                  [once](const caf::error& error) { once->finish(to_status(error)); });
      }});
  caf::abstract_actor* to = caf::actor_cast<caf::abstract_actor*>(actor);
  if (is_brief<Request> && impl_->asks_others->load(std::memory_order_relaxed)) {
    BriefTurns turns(impl_->system, BriefTurns::Thread::of_caller);
    to->enqueue(std::move(element), &turns);
  } else {
    to->enqueue(std::move(element), nullptr);
  }
}

void ApiClient::create_database(DatabaseSpec spec, Done<DatabaseInfo> done) {
  call<DatabaseInfo>(CreateDatabase{std::move(spec)}, std::move(done));
}
void ApiClient::list_databases(Done<std::vector<DatabaseInfo>> done) {
  call<std::vector<DatabaseInfo>>(ListDatabases{}, std::move(done));
}
void ApiClient::describe_database(std::string name, Done<DatabaseInfo> done) {
  call<DatabaseInfo>(DescribeDatabase{std::move(name)}, std::move(done));
}
void ApiClient::drop_database(std::string name, Done<DatabaseInfo> done) {
  call<DatabaseInfo>(DropDatabase{std::move(name)}, std::move(done));
}
void ApiClient::alter_database(AlterDatabaseRequest request, Done<DatabaseInfo> done) {
  call<DatabaseInfo>(AlterDatabase{std::move(request.name), request.replicas, request.index},
                     std::move(done));
}
void ApiClient::split_shard(SplitShardRequest request, Done<DatabaseInfo> done) {
  call<DatabaseInfo>(SplitShard{std::move(request.database), request.shard}, std::move(done));
}
void ApiClient::upsert(UpsertRequest request, Done<UpsertReply> done) {
  call<UpsertReply>(std::move(request), std::move(done));
}
void ApiClient::update(UpdateRequest request, Done<UpdateReply> done) {
  call<UpdateReply>(std::move(request), std::move(done));
}
void ApiClient::remove(DeleteRequest request, Done<DeleteReply> done) {
  call<DeleteReply>(std::move(request), std::move(done));
}
void ApiClient::get(GetRequest request, Done<StoredVector> done) {
  call<StoredVector>(std::move(request), std::move(done));
}
void ApiClient::list(ListRequest request, Done<ListReply> done) {
  call<ListReply>(std::move(request), std::move(done));
}
void ApiClient::recall(RecallRequest request, Done<RecallReply> done) {
  call<RecallReply>(std::move(request), std::move(done));
}
void ApiClient::search(SearchRequest request, Done<SearchReply> done) {
  call<SearchReply>(std::move(request), std::move(done));
}
void ApiClient::search_batch(SearchBatchRequest request, Done<SearchBatchReply> done) {
  call<SearchBatchReply>(std::move(request), std::move(done));
}
void ApiClient::cluster(Done<ClusterInfo> done) {
  call<ClusterInfo>(DescribeCluster{}, std::move(done));
}
void ApiClient::change_node(ChangeNodeRequest request, Done<NodeInfo> done) {
  call<NodeInfo>(std::move(request), std::move(done));
}
void ApiClient::ready(Done<std::string> done) { call<std::string>(CheckReady{}, std::move(done)); }

}  // namespace jade
