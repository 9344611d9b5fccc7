// Runs searches and reads over immutable snapshots of shards.
#pragma once

#include "actors/messages.h"

namespace jade {

searcher_actor::behavior_type searcher(searcher_actor::pointer self);

}  // namespace jade
