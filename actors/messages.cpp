#include "actors/messages.h"

namespace jade {

// Not in the header: CAF makes code of some hundred functions of it, which each file that
// includes it would compile for nothing.
void add_message_types(caf::actor_system_config& config) {
  config.add_message_type<ShardWrite>("jade::ShardWrite")
      .add_message_type<ShardWritten>("jade::ShardWritten")
      .add_message_type<ShardSearch>("jade::ShardSearch")
      .add_message_type<ShardHits>("jade::ShardHits")
      .add_message_type<ShardGet>("jade::ShardGet")
      .add_message_type<ShardList>("jade::ShardList")
      .add_message_type<ShardVectors>("jade::ShardVectors")
      .add_message_type<ShardRecall>("jade::ShardRecall")
      .add_message_type<ShardRecallCount>("jade::ShardRecallCount")
      .add_message_type<ShardSample>("jade::ShardSample")
      .add_message_type<ShardDeleteMatching>("jade::ShardDeleteMatching")
      .add_message_type<ShardDescribe>("jade::ShardDescribe")
      .add_message_type<ShardInfo>("jade::ShardInfo")
      .add_message_type<ShardDigestRequest>("jade::ShardDigestRequest")
      .add_message_type<ShardDigest>("jade::ShardDigest")
      .add_message_type<FetchState>("jade::FetchState")
      .add_message_type<StateChunk>("jade::StateChunk")
      .add_message_type<RaftWire>("jade::RaftWire")
      .add_message_type<CheckLife>("jade::CheckLife")
      .add_message_type<LifeChecked>("jade::LifeChecked")
      .add_message_type<Hello>("jade::Hello")
      .add_message_type<HelloReply>("jade::HelloReply")
      .add_message_type<AskNode>("jade::AskNode")
      .add_message_type<NodeReport>("jade::NodeReport")
      .add_message_type<JoinCluster>("jade::JoinCluster")
      .add_message_type<JoinedCluster>("jade::JoinedCluster")
      .add_message_type<ChangeCatalog>("jade::ChangeCatalog")
      .add_message_type<CatalogApplied>("jade::CatalogApplied");
}

}  // namespace jade
