// Splitting a shard in two. Each replica of the shard, the parent, first copies the
// rows that are to go into a store of their own, while they are read and written as
// ever. Then a `split` entry in the log says from which hash on ids belong to another
// group, the child. From that entry on the parent neither changes nor shows those
// rows, so that each replica can complete the child's first state by itself: the rows,
// and the requests to be remembered, as they were at that entry. All make the same,
// and the child's log begins there. Once the child has a leader, a majority has its
// state on disk; then the parent deletes its rows. A replica that comes too late for
// that takes a copy from the others.
#pragma once

#include <memory>
#include <vector>

#include "actors/shard_replica.h"

namespace jade {

struct NodeContext;

// What the child of a split begins with, as far as it is known: before the split has
// happened split.index is 0. Immutable; of one node.
struct SplitSource {
  uint64_t group = 0;
  std::shared_ptr<const ShardSnapshot> view;
  SplitState split;
};

// Copies to the child what differs, so that little is left to do when the split
// happens. Blocks.
Status prepare_child(const NodeContext& context, const SplitSource& source);

// Completes the state of split.child, compares it with the parent's, and begins its
// log, with `members` as its voters. Durable on return. Blocks.
Status make_child(const NodeContext& context, const SplitSource& source,
                  const std::vector<uint64_t>& members);

}  // namespace jade
