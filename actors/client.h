// The Api of a node: turns calls from any thread into requests to its gateway.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "actors/messages.h"

namespace jade {

// Runs what it is sent; requests made inside come back to it.
struct ClientCall {
  std::function<void(caf::event_based_actor*)> run;
};

class ApiClient final : public Api {
 public:
  // Several actors share the calls, so that callbacks run in parallel. `asks_others`: whether
  // searches go to other nodes at present. Then the thread that calls carries them on their way,
  // which saves waking one more; where the search is here, that one is to be woken at once.
  ApiClient(caf::actor_system& system, gateway_actor gateway, uint32_t actors,
            std::shared_ptr<const std::atomic<bool>> asks_others);
  ~ApiClient() override;

  void create_database(DatabaseSpec spec, Done<DatabaseInfo> done) override;
  void list_databases(Done<std::vector<DatabaseInfo>> done) override;
  void describe_database(std::string name, Done<DatabaseInfo> done) override;
  void drop_database(std::string name, Done<DatabaseInfo> done) override;
  void alter_database(AlterDatabaseRequest request, Done<DatabaseInfo> done) override;
  void split_shard(SplitShardRequest request, Done<DatabaseInfo> done) override;
  void upsert(UpsertRequest request, Done<UpsertReply> done) override;
  void update(UpdateRequest request, Done<UpdateReply> done) override;
  void remove(DeleteRequest request, Done<DeleteReply> done) override;
  void get(GetRequest request, Done<StoredVector> done) override;
  void list(ListRequest request, Done<ListReply> done) override;
  void recall(RecallRequest request, Done<RecallReply> done) override;
  void search(SearchRequest request, Done<SearchReply> done) override;
  void search_batch(SearchBatchRequest request, Done<SearchBatchReply> done) override;
  void cluster(Done<ClusterInfo> done) override;
  void change_node(ChangeNodeRequest request, Done<NodeInfo> done) override;
  void ready(Done<std::string> done) override;

 private:
  struct Impl;
  template <class Reply, class Request>
  void call(Request request, Done<Reply> done);

  std::unique_ptr<Impl> impl_;
};

}  // namespace jade

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(jade::ClientCall)
