#include "sim/network.h"

#include <algorithm>

#include "actors/random.h"

namespace jade::sim {

SimNetwork::Link SimNetwork::connect(SimSystem& server, SimSystem& client, const std::string& host,
                                     uint16_t port) {
  auto acceptor = caf::io::accept_handle::from_int(next_handle_++);
  auto server_end = caf::io::connection_handle::from_int(next_handle_++);
  auto client_end = caf::io::connection_handle::from_int(next_handle_++);
  server.multiplexer().prepare_connection(acceptor, server_end, client.multiplexer(), host, port,
                                          client_end);
  State state;
  state.directions[0] = {&server.multiplexer(), server_end, std::nullopt};
  state.directions[1] = {&client.multiplexer(), client_end, std::nullopt};
  state.server = &server.multiplexer();
  links_.push_back(state);
  return links_.size() - 1;
}

void SimNetwork::close(const Direction& direction) {
  direction.receiver->virtual_network_buffer(direction.handle).clear();
  if (auto scribe = direction.receiver->impl_ptr(direction.handle)) {
    scribe->io_failure(direction.receiver, caf::io::network::operation::read);
  }
}

void SimNetwork::disconnect(Link link) {
  State& state = links_[link];
  if (std::exchange(state.closed, true)) return;
  for (const Direction& direction : state.directions) close(direction);
}

void SimNetwork::schedule_arrivals(uint64_t now_ns) {
  for (State& state : links_) {
    if (state.closed || state.blocked) continue;
    for (Direction& direction : state.directions) {
      if (direction.due_ns || !direction.receiver->impl_ptr(direction.handle)) continue;
      if (direction.receiver->virtual_network_buffer(direction.handle).empty()) continue;
      uint64_t spread = latency_.high_ns - latency_.low_ns + 1;
      direction.due_ns = now_ns + latency_.low_ns + next_random(random_) % spread;
    }
  }
}

bool SimNetwork::deliver(uint64_t now_ns) {
  for (State& state : links_) {
    if (!state.accepted && !state.closed && !state.blocked) {
      if (state.server->try_accept_connection()) {
        state.accepted = true;
        return true;
      }
    }
  }
  schedule_arrivals(now_ns);
  for (State& state : links_) {
    if (state.closed || state.blocked) continue;
    for (Direction& direction : state.directions) {
      if (!direction.due_ns || *direction.due_ns > now_ns) continue;
      direction.due_ns.reset();
      auto& buffer = direction.receiver->virtual_network_buffer(direction.handle);
      size_t before = buffer.size();
      bool read = direction.receiver->read_data(direction.handle);
      bytes_delivered_ += before - std::min(before, buffer.size());
      if (read) return true;
    }
  }
  return false;
}

std::optional<uint64_t> SimNetwork::next_arrival_ns(uint64_t now_ns) {
  schedule_arrivals(now_ns);
  std::optional<uint64_t> next;
  for (const State& state : links_) {
    if (state.closed || state.blocked) continue;
    for (const Direction& direction : state.directions) {
      if (direction.due_ns && (!next || *direction.due_ns < *next)) next = direction.due_ns;
    }
  }
  return next;
}

}  // namespace jade::sim
