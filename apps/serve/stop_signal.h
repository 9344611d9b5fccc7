// SIGTERM and SIGINT as something to wait for.
#pragma once

#include <csignal>

namespace jade {

// While one lives, SIGTERM and SIGINT wait to be taken by wait(), in this thread
// and in all that it starts. To be made in the main thread before it has started
// another.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The name of the signal. Afterwards another such signal ends the process.
  const char* wait();

 private:
  sigset_t before_;
};

}  // namespace jade
