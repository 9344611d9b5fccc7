#include "actors/log_writer.h"

#include <algorithm>
#include <map>

namespace jade {

void log_writer_state::flush() {
  auto batch = std::exchange(waiting, {});
  if (batch.empty()) return;
  Status status;
  if (damaged) {
    // LevelDB may have left half a record behind; writing after it would hide
    // what follows. Reopening cuts the torn tail off.
    status = log->reopen().with_context("reopening the log after a failed write");
    damaged = !status.ok();
  }
  if (status.ok()) {
    std::vector<LogAppend> appends;
    appends.reserve(batch.size());
    for (auto& [message, promise] : batch) appends.push_back(std::move(message.entries));
    status = log->append(appends);
    damaged = !status.ok();
  }
  for (auto& [message, promise] : batch) promise.deliver(LogAppended{message.request, status});
}

log_writer_actor::behavior_type log_writer(
    log_writer_actor::stateful_pointer<log_writer_state> self, std::shared_ptr<LogStore> log) {
  self->state.log = std::move(log);
  return {
      [self](AppendLog& message) -> caf::result<LogAppended> {
        auto promise = self->make_response_promise<LogAppended>();
        // The first of a batch queues the flush behind all that is already in
        // the mailbox: those join the batch.
        if (self->state.waiting.empty()) self->send(self, Tick{});
        self->state.waiting.emplace_back(std::move(message), promise);
        return promise;
      },
      [self](DrainLog) {
        self->state.flush();
        return LogAppended();
      },
      [self](Tick) { self->state.flush(); },
  };
}

}  // namespace jade
