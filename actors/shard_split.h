// Splitting a shard in two. A `split` entry in the shard's log says from which hash
// on its ids belong to another group, the child. From that entry on the parent
// neither changes nor shows those rows, so that each of its replicas can make the
// child's first state by itself: the rows, and the requests to be remembered, as
// they were at that entry. All make the same, and the child's log begins there. Once
// the child has a leader, a majority has its state on disk; then the parent deletes
// its rows. A replica that comes too late for that takes a copy from the others.
#pragma once

#include <memory>
#include <vector>

#include "actors/shard_replica.h"

namespace jade {

// What the child of a split begins with. Immutable; of one node.
struct SplitSource {
  std::shared_ptr<const ShardSnapshot> view;
  SplitState split;
};

// Makes the state and the log of split.child, with `members` as its voters, in the
// place of what there is of them; reads everything back and compares. Durable on
// return. Blocks.
Status make_child(const NodeContext& context, const SplitSource& source,
                  const std::vector<uint64_t>& members);

// The child is not to be made here any more: its state will be copied from another
// replica. Removes what there is of it. Blocks.
Status await_copy(const NodeContext& context, uint64_t child);

}  // namespace jade
