#include "sim/network.h"

#include <algorithm>

#include "actors/random.h"

namespace jade::sim {
namespace {

// After how long bytes are offered again that were not taken.
constexpr uint64_t retry_low_ns = 100'000, retry_high_ns = 100'000'000;

}  // namespace

void SimNetwork::listen(SimSystem& server, uint16_t port) {
  auto acceptor = caf::io::accept_handle::from_int(next_handle_++);
  acceptors_[&server.multiplexer()] = acceptor;
  server.multiplexer().provide_acceptor(port, acceptor);
}

SimNetwork::Link SimNetwork::connect(SimSystem& server, SimSystem& client, const std::string& host,
                                     uint16_t port) {
  auto acceptor = acceptors_.find(&server.multiplexer());
  JADE_ASSERT(acceptor != acceptors_.end());
  Multiplexer& dialler = client.multiplexer();
  if (dialler.has_pending_scribe(host, port)) {
    // Prepared before and never dialled. It may lead to a process that has ended.
    bool alive = std::any_of(links_.begin(), links_.end(), [&](const State& state) {
      return !state.accepted && !state.closed && state.joins(&server.multiplexer(), &dialler);
    });
    if (alive) return links_.size() - 1;
    (void)dialler.new_tcp_scribe(host, port);
  }
  auto server_end = caf::io::connection_handle::from_int(next_handle_++);
  auto client_end = caf::io::connection_handle::from_int(next_handle_++);
  server.multiplexer().prepare_connection(acceptor->second, server_end, client.multiplexer(), host,
                                          port, client_end);
  State state;
  state.host = host;
  state.port = port;
  state.directions[0].receiver = &server.multiplexer();
  state.directions[0].handle = server_end;
  state.directions[1].receiver = &client.multiplexer();
  state.directions[1].handle = client_end;
  links_.push_back(state);
  return links_.size() - 1;
}

void SimNetwork::block(Link link, bool blocked) {
  for (Direction& direction : links_[link].directions) direction.blocked = blocked;
}

void SimNetwork::block(const SimSystem& from, const SimSystem& to, bool blocked) {
  for (State& state : links_) {
    if (state.closed || !state.joins(&from.multiplexer(), &to.multiplexer())) continue;
    for (Direction& direction : state.directions) {
      if (direction.receiver == &to.multiplexer()) direction.blocked = blocked;
    }
  }
}

void SimNetwork::slow_down(const SimSystem& from, const SimSystem& to, uint64_t by_ns) {
  for (State& state : links_) {
    if (state.closed || !state.joins(&from.multiplexer(), &to.multiplexer())) continue;
    for (Direction& direction : state.directions) {
      if (direction.receiver == &to.multiplexer()) direction.slower_by_ns = by_ns;
    }
  }
}

void SimNetwork::disconnect(const SimSystem& one, const SimSystem& other) {
  for (Link link = 0; link < links_.size(); ++link) {
    if (links_[link].joins(&one.multiplexer(), &other.multiplexer())) disconnect(link);
  }
}

void SimNetwork::drop(SimSystem& system) {
  // CAF would accept what waits while it ends, when nobody can take it any more.
  system.multiplexer().pending_connects().clear();
  const Multiplexer* gone = &system.multiplexer();
  for (State& state : links_) {
    if (state.closed) continue;
    const Direction &server = state.directions[0], &client = state.directions[1];
    if (server.receiver != gone && client.receiver != gone) continue;
    state.closed = true;
    if (server.receiver != gone) {
      // Nobody is there any more to be accepted.
      std::erase_if(server.receiver->pending_connects(),
                    [&](const auto& pending) { return pending.second == server.handle; });
    }
    if (server.receiver == gone) {
      close_client(state);
    } else {
      close(server);
    }
  }
  std::erase_if(links_, [](const State& state) { return state.closed; });
  std::erase_if(closing_, [&](const Direction& direction) { return direction.receiver == gone; });
  acceptors_.erase(gone);
}

void SimNetwork::close(const Direction& direction) {
  direction.receiver->virtual_network_buffer(direction.handle).clear();
  if (auto scribe = direction.receiver->impl_ptr(direction.handle)) {
    if (scribe->detached()) {
      // Dialled, but still on its way to the actor that is to be told.
      closing_.push_back(direction);
    } else {
      scribe->io_failure(direction.receiver, caf::io::network::operation::read);
    }
  }
}

void SimNetwork::close_client(const State& state) {
  const Direction& client = state.directions[1];
  if (!client.receiver->impl_ptr(client.handle)) {
    // Not dialled, so nobody is to be told; but the next dial would take it and wait for
    // ever.
    (void)client.receiver->new_tcp_scribe(state.host, state.port);
    return;
  }
  close(client);
}

void SimNetwork::close_attached() {
  std::erase_if(closing_, [](const Direction& direction) {
    auto scribe = direction.receiver->impl_ptr(direction.handle);
    if (!scribe || scribe->detached()) return false;
    scribe->io_failure(direction.receiver, caf::io::network::operation::read);
    return true;
  });
}

void SimNetwork::disconnect(Link link) {
  State& state = links_[link];
  if (std::exchange(state.closed, true)) return;
  close(state.directions[0]);
  close_client(state);
}

void SimNetwork::schedule_arrivals(uint64_t now_ns) {
  for (State& state : links_) {
    if (state.closed) continue;
    for (Direction& direction : state.directions) {
      if (direction.blocked) continue;
      if (direction.due_ns || !direction.receiver->impl_ptr(direction.handle)) continue;
      if (direction.receiver->virtual_network_buffer(direction.handle).empty()) continue;
      uint64_t spread = latency_.high_ns - latency_.low_ns + 1;
      direction.due_ns =
          now_ns + direction.slower_by_ns + latency_.low_ns + next_random(random_) % spread;
      if (direction.receiver->virtual_network_buffer(direction.handle).size() == direction.unread) {
        *direction.due_ns += direction.later_ns;
      } else {
        direction.later_ns = 0;
      }
    }
  }
}

void SimNetwork::hang_up() {
  for (Link link = 0; link < links_.size(); ++link) {
    State& state = links_[link];
    if (state.closed || !state.accepted) continue;
    bool gone[2];
    for (int end : {0, 1}) {
      Direction& direction = state.directions[end];
      auto scribe = direction.receiver->impl_ptr(direction.handle);
      bool attached = scribe && !scribe->detached();
      gone[end] = direction.attached && !attached;
      direction.attached = direction.attached || attached;
    }
    if (!gone[0] && !gone[1]) continue;
    state.closed = true;
    for (int end : {0, 1}) {
      if (!gone[end]) close(state.directions[end]);
    }
  }
}

bool SimNetwork::deliver(uint64_t now_ns) {
  close_attached();
  hang_up();
  for (State& state : links_) {
    if (!state.accepted && !state.closed && !state.directions[0].blocked) {
      if (state.directions[0].receiver->try_accept_connection()) {
        state.accepted = true;
        return true;
      }
    }
  }
  schedule_arrivals(now_ns);
  for (State& state : links_) {
    if (state.closed) continue;
    for (Direction& direction : state.directions) {
      if (direction.blocked || !direction.due_ns || *direction.due_ns > now_ns) continue;
      direction.due_ns.reset();
      auto& buffer = direction.receiver->virtual_network_buffer(direction.handle);
      size_t before = buffer.size();
      bool read = direction.receiver->read_data(direction.handle);
      bytes_delivered_ += before - std::min(before, buffer.size());
      if (read) {
        direction.later_ns = 0;
        return true;
      }
      direction.unread = buffer.size();
      direction.later_ns = std::clamp(2 * direction.later_ns, retry_low_ns, retry_high_ns);
    }
  }
  return false;
}

std::optional<uint64_t> SimNetwork::next_arrival_ns(uint64_t now_ns) {
  schedule_arrivals(now_ns);
  std::optional<uint64_t> next;
  for (const State& state : links_) {
    if (state.closed) continue;
    for (const Direction& direction : state.directions) {
      if (!direction.blocked && direction.due_ns && (!next || *direction.due_ns < *next))
        next = direction.due_ns;
    }
  }
  return next;
}

}  // namespace jade::sim
