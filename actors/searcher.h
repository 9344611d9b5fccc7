// Runs searches and reads over immutable snapshots of shards.
#pragma once

#include "actors/messages.h"

namespace jade {

// Hands what is long to one of `long_searchers`: messages between nodes are not to wait for it,
// whose actors share the workers of a searcher (actors/scheduler.h).
searcher_actor::behavior_type searcher(searcher_actor::pointer self,
                                       std::vector<searcher_actor> long_searchers);

struct long_searcher_state {
  static inline const char* name = "long_searcher";
};
// Runs all that comes.
searcher_actor::behavior_type long_searcher(
    searcher_actor::stateful_pointer<long_searcher_state> self);

// Whether a search is likely to take more than some milliseconds, by how many values it compares.
bool is_long(const SearchTask& task);

}  // namespace jade
