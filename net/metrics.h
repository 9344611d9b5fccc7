// Counters of the server and gauges of the node, in the Prometheus text format.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "actors/api.h"
#include "net/router.h"

namespace jade {

// All functions may be called from any thread.
class Metrics {
 public:
  Metrics();
  ~Metrics();

  void connection_opened();
  void connection_closed();
  void connection_refused();
  void request_started();
  // `route` is null when none matched. `bytes_in` and `bytes_out` are of the bodies.
  void request_finished(const Route* route, int status, double seconds, size_t bytes_in,
                        size_t bytes_out);

  // `cluster` may be null when the node could not tell.
  std::string text(const ClusterInfo* cluster) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace jade
