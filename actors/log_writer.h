// The one writer of a node's log. Appends of all Raft groups that wait in its
// mailbox become one LevelDB write with one sync (group commit): the more load,
// the fewer syncs an entry costs.
#pragma once

#include <memory>
#include <vector>

#include "actors/messages.h"

namespace jade {

struct log_writer_state {
  static inline const char* name = "log_writer";
  std::shared_ptr<LogStore> log;
  std::vector<std::pair<AppendLog, caf::typed_response_promise<LogAppended>>> waiting;
  bool damaged = false;  // the last write failed: reopen before the next

  void flush();
};

// Blocks in fsync: spawn it detached in production.
log_writer_actor::behavior_type log_writer(
    log_writer_actor::stateful_pointer<log_writer_state> self, std::shared_ptr<LogStore> log);

}  // namespace jade
